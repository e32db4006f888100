"""Which contrast to make: the phase, and how much of it. Known without PyTorch, for panels and scenes."""

from __future__ import annotations

from dataclasses import dataclass

from SyntheticContrastLib.ct.errors import InputError

LEVEL_HU = {"arterial": 350.0, "pulmonary": 400.0, "portal": 150.0}  # of each phase, where the user does not say
LEVEL_RANGE_HU = (80.0, 1000.0)


@dataclass(frozen=True)
class Contrast:
    """What contrast to make: the phase, and the level in HU of the vessels that are brightest in it."""

    phase: str = "arterial"
    level_hu: float = LEVEL_HU["arterial"]

    @classmethod
    def of(cls, phase: str | None, level_hu: float | None) -> Contrast:
        """Raises InputError: for a phase that is unknown or a level that no patient has."""
        phase = phase or "arterial"
        if phase not in LEVEL_HU:
            raise InputError(f"there is no phase {phase!r}: use {', '.join(LEVEL_HU)}")
        level = LEVEL_HU[phase] if level_hu is None else float(level_hu)
        low, high = LEVEL_RANGE_HU
        if not low <= level <= high:
            raise InputError(f"a level of {level:g} HU cannot be: use {low:g} to {high:g} HU")
        return cls(phase, level)

    @property
    def words(self) -> str:
        """As volumes and series are named: "arterial 350"."""
        return f"{self.phase} {self.level_hu:g}"

"""What an sCECT node says of its contrast, for as long as the scene is kept: phase, level, unenhanced blood, name."""

from __future__ import annotations

import re
from dataclasses import dataclass

import slicer

from SyntheticContrastLib.synthesis.contrast import LEVEL_HU, Contrast

PHASE_ATTRIBUTE = "SyntheticContrast.Phase"
LEVEL_ATTRIBUTE = "SyntheticContrast.LevelHU"
NATIVE_ATTRIBUTE = "SyntheticContrast.NativeHU"
# The end of a name that was given here: Slicer makes a name unique by a number after it.
_NAMED = re.compile(rf"(?P<before>.*sCECT)(?: (?:{'|'.join(LEVEL_HU)}) [\d.]+)?(?P<number>_\d+)?", re.DOTALL)


@dataclass(frozen=True)
class MadeContrast:
    """The contrast of an sCECT; `native_hu` is the unenhanced blood of its NCCT."""

    contrast: Contrast
    native_hu: float


def contrastOf(node: slicer.vtkMRMLNode | None) -> MadeContrast | None:
    """None where the node does not say it, or says what cannot be."""
    if node is None:
        return None
    try:
        level, native = (float(node.GetAttribute(name)) for name in (LEVEL_ATTRIBUTE, NATIVE_ATTRIBUTE))
    except (TypeError, ValueError):
        return None
    phase = node.GetAttribute(PHASE_ATTRIBUTE)
    return MadeContrast(Contrast(phase, level), native) if phase in LEVEL_HU and level > native else None


def markContrast(node: slicer.vtkMRMLNode, made: MadeContrast | None) -> None:
    """Write it into the node's attributes, and into its name unless the user has given another. None: forget it."""
    if made is None:
        values = dict.fromkeys((PHASE_ATTRIBUTE, LEVEL_ATTRIBUTE, NATIVE_ATTRIBUTE))
    else:
        values = {
            PHASE_ATTRIBUTE: made.contrast.phase,
            LEVEL_ATTRIBUTE: f"{made.contrast.level_hu:g}",
            NATIVE_ATTRIBUTE: f"{made.native_hu:g}",
        }
    with slicer.util.NodeModify(node):
        for name, value in values.items():
            node.SetAttribute(name, value)
        if found := _NAMED.fullmatch(node.GetName() or ""):
            words = f" {made.contrast.words}" if made is not None else ""
            node.SetName(f"{found['before']}{words}{found['number'] or ''}")

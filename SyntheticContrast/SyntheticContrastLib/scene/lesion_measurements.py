"""The CNR of each lesion in each volume, measured again where something changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import slicer

from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.cnr import LesionCnr, measure_cnr
from SyntheticContrastLib.analysis.cnr_table import cnr_row
from SyntheticContrastLib.analysis.csv_table import Row
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume
from SyntheticContrastLib.scene.lesion import Lesion
from SyntheticContrastLib.scene.world import worldCT


class LesionMeasurements:
    """`volumes` are nodes by their name in the table: "NCCT", "sCECT", "CECT"."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], LesionCnr | str] = {}
        self._circles: dict[str, dict[str, Circle]] = {}

    def measure(
        self,
        lesions: Sequence[Lesion],
        volumes: Mapping[str, slicer.vtkMRMLScalarVolumeNode],
        changed: set[str],
    ) -> None:
        """Measure what is new, and the lesions whose IDs are in `changed`; forget what is gone."""
        cts: dict[str, CTVolume | str] = {}
        wanted = {(lesion.node.GetID(), name) for lesion in lesions for name in volumes}
        self._found = {key: found for key, found in self._found.items() if key in wanted and key[0] not in changed}
        for lesion in lesions:
            identifier = lesion.node.GetID()
            for name, node in volumes.items():
                if (identifier, name) not in self._found:
                    if name not in cts:
                        cts[name] = _ct(node)
                    self._found[identifier, name] = self._measure(lesion, cts[name])

    def forget(self) -> None:
        """Measure everything the next time: a volume changed."""
        self._found.clear()

    def of(self, lesion: Lesion, volume: str) -> LesionCnr | str | None:
        """What was measured, or why it could not be; None where the volume is not chosen."""
        return self._found.get((lesion.node.GetID(), volume))

    def rows(self, lesions: Sequence[Lesion], volumes: Sequence[str]) -> list[Row]:
        """The rows of the table, a lesion after the other."""
        return [
            cnr_row(lesion.name, name, self._circles.get(lesion.node.GetID(), {}), found)
            for lesion in lesions
            for name in volumes
            if (found := self.of(lesion, name)) is not None
        ]

    def _measure(self, lesion: Lesion, ct: CTVolume | str) -> LesionCnr | str:
        if isinstance(ct, str):
            return ct
        try:
            circles = self._circles[lesion.node.GetID()] = lesion.circles()
            return measure_cnr(ct.hu, ct.grid.canonical_affine, circles)
        except InputError as error:
            return str(error)


def _ct(node: slicer.vtkMRMLScalarVolumeNode) -> CTVolume | str:
    try:
        return worldCT(node)
    except InputError as error:
        return str(error)

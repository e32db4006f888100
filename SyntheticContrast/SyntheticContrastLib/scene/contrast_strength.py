"""Another level of contrast in an sCECT that is there: its change is in proportion to level - unenhanced blood."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import slicer
from numpy.typing import NDArray

from SyntheticContrastLib.scene.contrast_mark import contrastOf, markContrast
from SyntheticContrastLib.scene.volumes import sourceOf

NOT_MEASURED_HU = -1024  # at or below it the NCCT holds nothing, and the sCECT stays as it is


@dataclass(frozen=True)
class _Base:
    """What the run made: the voxels that it changed, flat indices into (K, J, I), and by how much."""

    level: float  # HU
    where: NDArray[np.int32]
    ncct: NDArray[np.float32]  # HU
    change: NDArray[np.float32]  # HU
    state: tuple[int, int]  # of both images, as they were left: others may have written into them


class ContrastStrength:
    """Keeps of each sCECT what its run made, so that going back and forth loses nothing to rounding."""

    def __init__(self) -> None:
        self._bases: dict[str, tuple[slicer.vtkMRMLVolumeNode, _Base]] = {}  # by node ID

    def setLevel(self, node: slicer.vtkMRMLScalarVolumeNode, level: float) -> bool:
        """Bring the contrast of an sCECT to `level` HU: voxels, attributes and name. False where it cannot be done.

        Without what the run made, in a scene that was loaded, the current voxels at their current level are the base.
        """
        made, ncct = contrastOf(node), sourceOf(node)
        if made is None or ncct is None or not level > made.native_hu:
            return False
        if None in (node.GetImageData(), ncct.GetImageData()):
            return False
        self._forgetRemoved()
        known = self._bases.get(node.GetID())
        base = known[1] if known is not None and known[0] is node and known[1].state == _state(node, ncct) else None
        base = base or _baseOf(node, ncct, made.contrast.level_hu)
        if base is None:
            return False
        values = slicer.util.arrayFromVolume(node)
        factor = np.float32((level - made.native_hu) / (base.level - made.native_hu))
        limits = np.iinfo(np.int16)
        changed = base.change * factor
        changed += base.ncct
        np.rint(changed, out=changed)
        np.clip(changed, limits.min, limits.max, out=changed)
        values.reshape(-1)[base.where] = changed.astype(np.int16)
        with slicer.util.NodeModify(node):
            markContrast(node, dataclasses.replace(made, contrast=dataclasses.replace(made.contrast, level_hu=level)))
            slicer.util.arrayFromVolumeModified(node)
        self._bases[node.GetID()] = (node, dataclasses.replace(base, state=_state(node, ncct)))
        return True

    def _forgetRemoved(self) -> None:
        self._bases = {key: kept for key, kept in self._bases.items() if kept[0].GetScene() is not None}


def _state(node: slicer.vtkMRMLVolumeNode, ncct: slicer.vtkMRMLVolumeNode) -> tuple[int, int]:
    return node.GetImageData().GetMTime(), ncct.GetImageData().GetMTime()


def _baseOf(node: slicer.vtkMRMLVolumeNode, ncct: slicer.vtkMRMLVolumeNode, level: float) -> _Base | None:
    """None where the NCCT is on another grid by now."""
    made, before = slicer.util.arrayFromVolume(node), slicer.util.arrayFromVolume(ncct)
    if made.shape != before.shape:
        return None
    where, ncctHU, changes = [], [], []
    size = made[0].size
    for k in range(len(made)):  # a whole volume in float32 would be large
        own = np.rint(before[k]).astype(np.float32).ravel()
        change = made[k].astype(np.float32).ravel() - own
        found = np.flatnonzero((change != 0) & (own > NOT_MEASURED_HU))
        where.append((found + k * size).astype(np.int32))
        ncctHU.append(own[found])
        changes.append(change[found])
    joined = [np.concatenate(parts) for parts in (where, ncctHU, changes)]
    return _Base(level, joined[0], joined[1], joined[2], _state(node, ncct))

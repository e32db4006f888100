"""The left heart chambers of a volume node: a region, a threshold in it, and the segment that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from slicer.i18n import tr as _

from SyntheticContrastLib.analysis.chambers import (
    DEFAULT_THRESHOLD,
    large_pieces_ml,
    reference_threshold,
    threshold_chambers,
    volume_ml,
)
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.heart_region import heart_region
from SyntheticContrastLib.ct.volume import Grid
from SyntheticContrastLib.scene.masks import Look, Mask, addSegmentation, boxOf, maskOf, putSegment
from SyntheticContrastLib.scene.measured import ctOf

_HEART, _LEFT = "SCT^80891009^Heart", "SCT^7771000^Left"
RED = (0.86, 0.24, 0.22)
HEART_REGION = Look("heart", "heart region", (0.35, 0.75, 0.45), _HEART)
STRUCTURES = {
    "left heart chambers": Look("leftHeart", "left heart chambers", RED, _HEART, _LEFT),
    "left atrium": Look("leftAtrium", "left atrium", (0.93, 0.47, 0.58), "SCT^82471001^Left Atrium"),
    "left ventricle": Look("leftVentricle", "left ventricle", (0.75, 0.16, 0.32), "SCT^87878005^Left Ventricle"),
}


@dataclass(frozen=True)
class Threshold:
    """HU, and what is done about noise and holes; see `analysis.chambers.threshold_chambers`."""

    hu: float = DEFAULT_THRESHOLD
    smoothingMm: float = 0.0
    keepLargest: bool = False
    fillHoles: bool = False


class ChamberSearch:
    """The part of a volume within a region, held ready: one threshold after another is quick.

    Raises:
        InputError: the volume or the region cannot be used, or they do not meet.
    """

    def __init__(self, volume: slicer.vtkMRMLScalarVolumeNode, region: slicer.vtkMRMLNode | None, segment: str) -> None:
        ct = ctOf(volume)
        if region is None:
            raise InputError(_("no heart region is chosen: choose a segment, a box or a label map, or Propose one"))
        heart = maskOf(region, segment, volume)
        if not heart.any():
            text = _("the heart region {region} holds no voxel of {volume}: move or redraw it")
            raise InputError(text.format(region=region.GetName(), volume=volume.GetName()))
        box = boxOf(heart)
        k, j, i = (part.start for part in box)
        self.first = (k, j, i)
        size_k, size_j, size_i = heart[box].shape
        affine = ct.grid.affine.copy()
        affine[:3, 3] = (ct.grid.affine @ [i, j, k, 1])[:3]
        self._grid = Grid((size_i, size_j, size_k), affine)
        self._hu = self._grid.from_stored(ct.to_stored(ct.hu)[box]).copy()
        self._heart = self._grid.from_stored(heart[box])

    def find(self, threshold: Threshold) -> Mask:
        """(K, J, I) of the box that begins at voxel `first`.

        Raises:
            InputError: no voxel passes.
        """
        found = threshold_chambers(
            self._hu,
            self._heart,
            self._grid.spacing_zyx,
            threshold.hu,
            smoothing_mm=threshold.smoothingMm,
            keep_largest=threshold.keepLargest,
            fill_holes=threshold.fillHoles,
        )
        return self._grid.to_stored(found)

    def volumeMl(self, found: Mask) -> float:
        """mL of what `find` found."""
        return volume_ml(found, self._grid.spacing[::-1])

    def largePiecesMl(self, found: Mask) -> list[float]:
        """mL of what `find` found, piece by piece, without small ones."""
        return large_pieces_ml(found, self._grid.spacing[::-1])


def proposeRegion(volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation with the heart region that is found in the image: atria, ventricles, roots of the vessels.

    Raises:
        InputError: none is found.
    """
    ct = ctOf(volume)
    region = ct.to_stored(heart_region(ct.hu, ct.spacing_zyx))
    node = addSegmentation(volume, f"{volume.GetName()} heart region")
    box = boxOf(region)
    putSegment(node, HEART_REGION, volume, region[box], _start(box))
    node.GetDisplayNode().SetOpacity2DFill(0.15)
    return node


def thresholdOfReference(
    volume: slicer.vtkMRMLScalarVolumeNode, reference: slicer.vtkMRMLNode | None, segment: str
) -> float:
    """HU: the mean over the reference's segments of the lowest HU inside each (Santini 2018, 2.3).

    Raises:
        InputError: there is no reference, or it marks no voxel of the volume.
    """
    ct = ctOf(volume)
    if reference is None:
        raise InputError(_("no reference is chosen: choose the reference chambers below"))
    segments: Sequence[str] = [segment]
    if reference.IsA("vtkMRMLSegmentationNode") and not segment:
        segments = reference.GetSegmentation().GetSegmentIDs() or [""]
    masks = [ct.from_stored(maskOf(reference, one, volume)) for one in segments]
    masks = [mask for mask in masks if mask.any()]
    if not masks:
        raise InputError(emptyReference(reference, volume))
    return reference_threshold((ct.hu, mask) for mask in masks)


def emptyReference(reference: slicer.vtkMRMLNode, volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    text = _("the reference {reference} marks no voxel of {volume}: choose the chambers of this patient")
    return text.format(reference=reference.GetName(), volume=volume.GetName())


def middle(volume: slicer.vtkMRMLScalarVolumeNode, mask: Mask) -> tuple[float, float, float]:
    """(Z, Y, X) of the centre of a (K, J, I) mask."""
    z, y, x = np.argwhere(ctOf(volume).from_stored(mask)).mean(axis=0)
    return float(z), float(y), float(x)


def _start(box: tuple[slice, slice, slice]) -> tuple[int, int, int]:
    return box[0].start, box[1].start, box[2].start

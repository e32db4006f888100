"""The heart that a user has segmented, as a file for the child process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK
import slicer
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.write import write_whole
from SyntheticContrastLib.scene.masks import segmentsOf
from SyntheticContrastLib.scene.volumes import gridOf


def oneSegmentOf(segmentation: slicer.vtkMRMLSegmentationNode, segment: str) -> list[str]:
    """The id of the segment, alone. Raises InputError where there is none, or there are several and none is named."""
    found = segmentsOf(segmentation, segment)
    if len(found) > 1:
        raise InputError(
            _("{name} has {n} segments: choose the one that is the heart").format(
                name=segmentation.GetName(), n=len(found)
            )
        )
    return found


def writeHeartMask(
    segmentation: slicer.vtkMRMLSegmentationNode,
    segment: str,
    ncct: slicer.vtkMRMLScalarVolumeNode,
    folder: Path,
) -> Path:
    """Write a segment as `heart.nrrd` on the grid of `ncct`; parent transforms of both count.

    segment: its id, empty for the only one.

    Raises:
        InputError: there are several segments and none is named, or no voxel of the volume is in it.
        OSError: no space, or no permission.
    """
    [identifier] = oneSegmentOf(segmentation, segment)
    mask = (slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, ncct) > 0).astype(np.uint8)
    if not mask.any():
        raise InputError(
            _("the segmentation {name} marks no voxel of {volume}: choose another").format(
                name=segmentation.GetName(), volume=ncct.GetName()
            )
        )
    grid = gridOf(ncct)
    image = SimpleITK.GetImageFromArray(mask)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    path = Path(folder) / "heart.nrrd"
    write_whole(path, image, compress=True)
    return path

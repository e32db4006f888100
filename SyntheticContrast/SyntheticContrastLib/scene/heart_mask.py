"""The heart that a user has segmented, as a file for the child process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK
import slicer
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.scene.volumes import gridOf


def writeHeartMask(
    segmentation: slicer.vtkMRMLSegmentationNode, ncct: slicer.vtkMRMLScalarVolumeNode, folder: Path
) -> Path:
    """Write all segments together as `heart.nrrd` on the grid of `ncct`; parent transforms of both count.

    Raises:
        InputError: no voxel of the volume is in a segment.
        OSError: no space, or no permission.
    """
    mask = np.zeros(slicer.util.arrayFromVolume(ncct).shape, np.uint8)
    for identifier in segmentation.GetSegmentation().GetSegmentIDs():
        mask |= slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, ncct) > 0
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
    try:
        SimpleITK.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(_("cannot write {path}: no space, or no permission").format(path=path)) from error
    return path

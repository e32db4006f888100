"""Read a mask that was drawn on some grid onto the grid of a CT."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from .errors import InputError
from .quiet import quiet_libraries
from .read import IMAGE_SUFFIXES, _check_metaimage_is_whole, _check_nifti_is_whole
from .volume import Grid


def read_mask(path: str | Path, grid: Grid, transform: SimpleITK.Transform | None = None) -> NDArray[np.bool_]:
    """(Z, Y, X) on the canonical axes of `grid`: where the image holds anything but 0, whatever its own grid.

    The images meet in the patient's coordinates; each voxel of `grid` takes the nearest one of the image.

    Args:
        transform: from points of `grid` to points of the mask, LPS mm, where they lie apart.

    Raises:
        InputError: for a file that is missing, of another type, damaged or not one volume, or when no voxel is left.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"the mask {path.name} does not exist or is no file: check the path")
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        raise InputError(f"the mask {path.name} is of no known type: give a file {', '.join(IMAGE_SUFFIXES)}")
    with quiet_libraries():
        image = _read(path)
        resampled = SimpleITK.Resample(
            image != 0,
            grid.size,
            transform or SimpleITK.Transform(),
            SimpleITK.sitkNearestNeighbor,
            grid.origin,
            grid.spacing,
            grid.direction.ravel().tolist(),
            0.0,
        )
    mask = grid.from_stored(SimpleITK.GetArrayFromImage(resampled) > 0)
    if not mask.any():
        raise InputError(f"the mask {path.name} marks no voxel of this CT: give the mask of this patient and scan")
    return mask


def _read(path: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
            raise InputError(f"the mask {path.name} is not one volume of one value a voxel: export a single label map")
        if path.name.lower().endswith((".nii", ".nii.gz")):
            _check_nifti_is_whole(path, reader)
        if path.suffix.lower() in (".mha", ".mhd"):
            _check_metaimage_is_whole(path, reader)
        return reader.Execute()
    except (RuntimeError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"the mask {path.name} cannot be read, it is truncated or damaged: export it again") from error

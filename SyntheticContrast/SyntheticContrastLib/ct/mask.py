"""Read a mask that was drawn on some grid onto the grid of a CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from .errors import InputError
from .image_file import IMAGE_SUFFIXES, open_image
from .quiet import quiet_libraries
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
    try:
        return open_image(path)
    except InputError as error:
        raise InputError(f"the mask {error}") from error

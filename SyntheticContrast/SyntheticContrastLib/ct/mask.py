"""Read a mask that was drawn on some grid onto the grid of a CT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from .errors import InputError
from .image_file import IMAGE_SUFFIXES, open_image
from .names import check_name
from .quiet import quiet_libraries
from .volume import Grid

MOST_LABELS = 255  # an image with more values than that is no segmentation
NEARLY_ALL = 0.9  # of the CT; a heart, its chambers or a box around them leave more


def read_mask(
    path: str | Path, grid: Grid, transform: SimpleITK.Transform | None = None, labels: Sequence[int] = ()
) -> NDArray[np.bool_]:
    """(Z, Y, X) on the canonical axes of `grid`: where the image holds its one label, or those named by `labels`.

    The images meet in the patient's coordinates, whatever the image's own grid; each voxel of `grid` takes the nearest
    one of the image. 0 is the background.

    Args:
        transform: from points of `grid` to points of the mask, LPS mm, where they lie apart.
        labels: values of the image; none where it holds but one.

    Raises:
        InputError: for a file that is missing, of another type, damaged or not one volume; one that is no label map,
            or has several labels and none is named, or not the one named; when no voxel is left, or nearly all are.
    """
    path = Path(path)
    check_name(path)
    if not path.is_file():
        raise InputError(f"the mask {path.name} does not exist or is no file: check the path")
    if not path.name.lower().endswith(IMAGE_SUFFIXES):
        raise InputError(f"the mask {path.name} is of no known type: give a file {', '.join(IMAGE_SUFFIXES)}")
    with quiet_libraries():
        image = _read(path)
        marked = np.isin(SimpleITK.GetArrayViewFromImage(image), _chosen(path.name, image, labels))
        mask_image = SimpleITK.GetImageFromArray(marked.astype(np.uint8))
        mask_image.CopyInformation(image)
        resampled = SimpleITK.Resample(
            mask_image,
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
    if (share := float(mask.mean())) > NEARLY_ALL:
        raise InputError(
            f"the mask {path.name} marks {share:.0%} of this CT: give one of the organ, not of all around it"
        )
    return mask


def _chosen(name: str, image: SimpleITK.Image, labels: Sequence[int]) -> list[int]:
    """The labels to take.

    Raises:
        InputError
    """
    values: NDArray = np.unique(SimpleITK.GetArrayViewFromImage(image))
    if not np.isfinite(values).all():
        raise InputError(f"the mask {name} holds values that are not a number: export it as a label map, background 0")
    if (values != np.rint(values)).any():
        raise InputError(
            f"the mask {name} holds fractions, as a map of probabilities does: set a threshold, give labels"
        )
    found = [int(value) for value in values if value != 0]
    if len(found) > MOST_LABELS or any(value < 0 for value in found):
        raise InputError(
            f"the mask {name} holds {len(found)} values from {found[0]} to {found[-1]}, as a CT does: give a label map"
        )
    if missing := [label for label in labels if label not in found]:
        raise InputError(f"the mask {name} has no label {missing[0]}, but {_listed(found) or 'none at all'}")
    if len(found) > 1 and not labels:
        raise InputError(f"the mask {name} has {len(found)} labels, {_listed(found)}: name the one to take")
    return list(labels) or found


def _listed(labels: Sequence[int]) -> str:
    return ", ".join(str(label) for label in labels[:10]) + (", ..." if len(labels) > 10 else "")


def _read(path: Path) -> SimpleITK.Image:
    try:
        return open_image(path)
    except InputError as error:
        raise InputError(f"the mask {error}") from error

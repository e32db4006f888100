"""The patient's body in one axial slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TISSUE_HU = -300.0  # above it: tissue; below it: air, lung, most of the table
TABLE_MM = 6.0  # a table is thinner than this; no part of the trunk is
PIXEL_MM = 2.0  # about: quick enough to follow a circle that is dragged


def body_mask(slice_hu: NDArray, spacing_yx: tuple[float, float]) -> NDArray[np.bool_]:
    """(Y, X): the trunk with the lungs in it, without the table, the arms and the air around; true to `PIXEL_MM`.

    slice_hu: (Y, X), HU. spacing_yx: mm. Empty where there is no tissue.
    """
    from scipy import ndimage

    steps = [max(1, round(PIXEL_MM / side)) for side in spacing_yx]
    reach = [max(1, round(TABLE_MM / 2 / (side * step))) for side, step in zip(spacing_yx, steps, strict=True)]
    y, x = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    disc = (y / reach[0]) ** 2 + (x / reach[1]) ** 2 <= 1
    filled = ndimage.binary_fill_holes(slice_hu[:: steps[0], :: steps[1]] > TISSUE_HU)
    opened = ndimage.binary_dilation(ndimage.binary_erosion(filled, disc, border_value=1), disc)
    labels, count = ndimage.label(opened)
    trunk = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if count else opened
    fine = np.repeat(np.repeat(trunk & filled, steps[0], axis=0), steps[1], axis=1)
    result: NDArray[np.bool_] = fine[: slice_hu.shape[0], : slice_hu.shape[1]]
    return result

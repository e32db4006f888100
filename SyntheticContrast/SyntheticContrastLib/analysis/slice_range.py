"""The slices from the top of the aortic arch to the diaphragm, on which Choi 2021 compared images: a proposal.

Found in a chest CT with or without contrast, from the image alone: the arch as the first large piece of soft tissue to
the left of the midline, beside the left lung, that goes on downwards; the diaphragm as the dome that rises into the
right lung, or, where effusion or collapse hides that, as the level where the left lung gives way. Look at both before
use: a mass beside the arch, or fluid on both sides, misleads it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.chest import Spine, coarse_chest, find_carina, find_lungs, find_right_dome, find_spine
from SyntheticContrastLib.ct.errors import InputError

Spacing = tuple[float, float, float]

ADVICE = "give first_slice and last_slice yourself"
PIXEL_MM = 1.5  # about: the arch is looked for on pixels of this size
SOFT_TISSUE_HU = -5.0  # above fat
ARCH_RADIUS_MM = 8.5  # the arch holds such a disc; the vessels that leave it do not
ARCH_AREA_MM2 = 800.0
ARCH_HEIGHT_MM = 10.0  # it stays that large downwards
ABOVE_ARCH_MM = (
    30.0  # nothing so large for that long above it; in a CT that begins lower, it may be the pulmonary artery
)
RANGE_MM = (60.0, 220.0)


@dataclass(frozen=True)
class SliceRange:
    """Slices along the canonical Z, counted from 0 at the superior end, both included; `note` where one is unsure."""

    first: int
    last: int
    note: str = ""


def propose_slice_range(hu: NDArray, spacing_zyx: Spacing) -> SliceRange:
    """From the top of the aortic arch to the diaphragm.

    Args:
        hu: (Z, Y, X) HU of a chest CT, Z from superior to inferior.
        spacing_zyx: mm.

    Raises:
        InputError: the arch or the diaphragm is not in the CT, or not to be told.
    """
    try:
        coarse, steps = coarse_chest(hu, spacing_zyx)
        z, y, x = (side * step for side, step in zip(spacing_zyx, steps, strict=True))
        lungs = find_lungs(coarse, (z, y, x))
    except InputError as error:
        raise InputError(f"no slice range found: there are no lungs in this CT, {ADVICE}") from error
    spine = find_spine(coarse, lungs, (z, y, x))
    note = ""
    end = find_right_dome(lungs, spine, find_carina(coarse, lungs, spine, (z, y, x)), (z, y, x))
    if end is None:
        end = _left_diaphragm(lungs, spine, z)
        note = "the right diaphragm is not to be seen, the last slice is where the left lung gives way"
    if end is None:
        raise InputError(f"no slice range found: the CT does not show the diaphragm, {ADVICE}")
    top = _arch_top(hu, spacing_zyx, lungs, spine, steps, int(end / spacing_zyx[0]))
    last = min(round(end / spacing_zyx[0]), len(hu) - 1)
    if not RANGE_MM[0] <= (last - top) * spacing_zyx[0] <= RANGE_MM[1]:
        raise InputError(
            f"no slice range found: slices {top + 1} to {last + 1} are no chest from arch to diaphragm, {ADVICE}"
        )
    return SliceRange(top, last, note)


def _left_diaphragm(lungs: NDArray[np.bool_], spine: Spine, spacing_z: float) -> float | None:
    """Depth in mm where the left lung has lost a fifth of its largest area for good; None where it does not end."""
    area = np.array([np.count_nonzero(plane[:, round(x) :]) for plane, x in zip(lungs, spine.x, strict=True)])
    large = area > 0.8 * area.max()
    if area[-1] > 0.5 * area.max() or not area.any():  # the heart alone takes less
        return None
    return float(np.flatnonzero(large)[-1]) * spacing_z


def _arch_top(
    hu: NDArray,
    spacing: Spacing,
    lungs: NDArray[np.bool_],
    spine: Spine,
    steps: tuple[int, int, int],
    end: int,
) -> int:
    """The first slice with the arch.

    Raises:
        InputError: there is none before slice `end`, or the volume does not reach far enough above it.
    """
    needed = max(2, round(ARCH_HEIGHT_MM / spacing[0]))
    run = 0
    for z in range(end):
        coarse_z = z // steps[0]
        area = _area_left_of_midline(
            hu[z], spacing, lungs[coarse_z], spine.x[coarse_z] * steps[2], spine.front[coarse_z] * steps[1]
        )
        run = run + 1 if area >= ARCH_AREA_MM2 else 0
        if run > needed:
            if (z - needed) * spacing[0] < ABOVE_ARCH_MM:
                raise InputError(
                    f"no slice range found: the CT begins in the aortic arch or too close above it, {ADVICE}"
                )
            return z - needed
    raise InputError(f"no slice range found: there is no aortic arch above the diaphragm, {ADVICE}")


def _area_left_of_midline(
    slice_hu: NDArray, spacing: Spacing, lung: NDArray[np.bool_], middle: float, front: float
) -> float:
    """mm^2: the largest piece of thick soft tissue left of the midline, before the spine and beside the left lung.

    slice_hu: (Y, X). lung: (Y, X), coarse. middle, front: column of the midline, row of the spine's front, in pixels.
    """
    from scipy import ndimage

    step_y, step_x = (max(1, round(PIXEL_MM / side)) for side in spacing[1:])
    height, width = slice_hu.shape[0] // step_y, slice_hu.shape[1] // step_x
    blocks = np.clip(slice_hu[: height * step_y, : width * step_x], -1024, 400).astype(np.float32)
    image = blocks.reshape(height, step_y, width, step_x).mean(axis=(1, 3))
    y_mm, x_mm = spacing[1] * step_y, spacing[2] * step_x
    image = ndimage.gaussian_filter(image, (1.0 / y_mm, 1.0 / x_mm))
    left = (np.arange(width) - middle / step_x)[None] * x_mm
    before = (front / step_y - np.arange(height))[:, None] * y_mm
    rows = np.minimum(np.arange(height) * lung.shape[0] // height, lung.shape[0] - 1)
    columns = np.minimum(np.arange(width) * lung.shape[1] // width, lung.shape[1] - 1)
    left_lung = lung[np.ix_(rows, columns)] & (left > 0)
    beside_lung = np.maximum.accumulate(left_lung[:, ::-1], axis=1)[:, ::-1]
    window = (left > -5.0) & (left < 75.0) & (before > -12.0) & (before < 75.0)
    tissue = (image > SOFT_TISSUE_HU) & window & beside_lung
    reach_y, reach_x = int(ARCH_RADIUS_MM / y_mm), int(ARCH_RADIUS_MM / x_mm)
    y, x = np.ogrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1]
    disc = (y * y_mm) ** 2 + (x * x_mm) ** 2 <= ARCH_RADIUS_MM**2
    labels, count = ndimage.label(ndimage.binary_opening(tissue, disc))
    return float(np.bincount(labels.ravel())[1:].max() * y_mm * x_mm) if count else 0.0

"""The left heart chambers by a threshold in the heart, and how they agree with a reference (Santini 2018, 2.4).

All masks are (Z, Y, X) and share one grid. A reference counts on the slices on which it has a voxel, and so does what
is compared with it: Santini 2018 left out all other slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.errors import InputError

Mask = NDArray[np.bool_]

DEFAULT_THRESHOLD = 300.0  # HU: Santini 2018, section 3


@dataclass(frozen=True, eq=False)
class ChamberAgreement:
    """Over the slices with a reference: Dice of each and of all of them, volumes, and |V - Vref| / Vref x 100.

    `elsewhere_ml` is what was found on the other slices and is part of no other number.
    """

    slices: NDArray[np.intp]  # (N,): the slices with a reference, along Z
    dice_of_slices: NDArray[np.float64]  # (N,)
    dice: float
    volume_ml: float
    reference_ml: float
    volume_error_percent: float
    elsewhere_ml: float

    def figures(self) -> dict[str, float]:
        """The columns of a table; the SD of the slices has ddof 1 and is NaN for one slice."""
        several = len(self.slices) > 1
        return {
            "compared_ml": self.volume_ml,
            "reference_ml": self.reference_ml,
            "volume_error_percent": self.volume_error_percent,
            "dice": self.dice,
            "slices": len(self.slices),
            "slice_dice_mean": float(self.dice_of_slices.mean()),
            "slice_dice_sd": float(np.std(self.dice_of_slices, ddof=1)) if several else math.nan,
            "elsewhere_ml": self.elsewhere_ml,
        }


def threshold_chambers(
    hu: NDArray,
    heart: Mask,
    spacing_zyx: tuple[float, float, float],
    threshold: float = DEFAULT_THRESHOLD,
    *,
    smoothing_mm: float = 0.0,
    keep_largest: bool = False,
    fill_holes: bool = False,
) -> Mask:
    """(Z, Y, X): the voxels of the heart of at least `threshold` HU.

    Every chamber that is as bright passes: with contrast in the right heart, give a heart mask of the left one.

    Args:
        hu: (Z, Y, X), HU.
        spacing_zyx: mm.
        smoothing_mm: SD of a Gaussian in the slice on HU before the threshold; 0 for none.
        keep_largest: only the largest piece (6-connected), before holes are filled.
        fill_holes: slice by slice, as papillary muscles leave them; only inside the heart.

    Raises:
        InputError: the shapes differ, the heart mask is empty, or no voxel passes.
    """
    from scipy import ndimage

    if hu.shape != heart.shape:
        raise InputError(f"the heart mask of {heart.shape} voxels is not on the grid of the CT of {hu.shape}")
    if not heart.any():
        raise InputError("the heart mask is empty: mark the heart first")
    box = ndimage.find_objects(heart.astype(np.int8))[0]
    inside, values = heart[box], hu[box]
    if smoothing_mm > 0:
        values = _smoothed_within(values, inside, spacing_zyx, smoothing_mm)
    chambers = inside & (values >= threshold)
    if not chambers.any():
        raise InputError(f"nothing in the heart reaches {threshold:g} HU: lower the threshold, or check the contrast")
    if keep_largest:
        labels, _ = ndimage.label(chambers)
        chambers = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    if fill_holes:
        chambers = np.stack([ndimage.binary_fill_holes(plane) for plane in chambers]) & inside
    result = np.zeros(hu.shape, bool)
    result[box] = chambers
    return result


def reference_threshold(cases: Iterable[tuple[NDArray, Mask]]) -> float:
    """HU: the mean over cases of the lowest HU inside the reference chambers (Santini 2018, 2.3, v_th).

    cases: (Z, Y, X) HU and reference of each.

    Raises:
        InputError: no case, an empty reference, or one that is not on its CT's grid.
    """
    lowest = []
    for hu, reference in cases:
        _check_reference(hu.shape, reference)
        lowest.append(float(hu[reference].min()))
    if not lowest:
        raise InputError("there is no reference to take a threshold from: give a CT with its chambers")
    return float(np.mean(lowest))


def compare_chambers(chambers: Mask, reference: Mask, spacing_zyx: tuple[float, float, float]) -> ChamberAgreement:
    """Dice, slice by slice and of the volume, volumes and their error, over the slices with a reference.

    Raises:
        InputError: the grids differ, or the reference is empty.
    """
    _check_reference(chambers.shape, reference)
    voxel_ml = float(np.prod(spacing_zyx)) / 1000
    ours, theirs, both = (np.count_nonzero(mask, axis=(1, 2)) for mask in (chambers, reference, chambers & reference))
    (slices,) = np.nonzero(theirs)
    elsewhere = float(ours.sum() - ours[slices].sum()) * voxel_ml
    ours, theirs, both = (counts[slices].astype(np.float64) for counts in (ours, theirs, both))
    return ChamberAgreement(
        slices,
        2 * both / (ours + theirs),
        float(2 * both.sum() / (ours.sum() + theirs.sum())),
        float(ours.sum()) * voxel_ml,
        float(theirs.sum()) * voxel_ml,
        float(abs(ours.sum() - theirs.sum()) / theirs.sum() * 100),
        elsewhere,
    )


def volume_ml(mask: Mask, spacing_zyx: tuple[float, float, float]) -> float:
    """mL of a mask; spacing in mm."""
    return float(np.count_nonzero(mask) * np.prod(spacing_zyx)) / 1000


def large_pieces_ml(mask: Mask, spacing_zyx: tuple[float, float, float], share: float = 0.25) -> list[float]:
    """mL of the 6-connected pieces of at least `share` of the largest, from large to small; spacing in mm.

    Several of them in a heart mean that more than the left chambers passed the threshold, or that they fell apart.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    sizes = np.sort(np.bincount(labels.ravel(), minlength=count + 1)[1:])[::-1] * float(np.prod(spacing_zyx)) / 1000
    return [float(size) for size in sizes if size >= share * sizes[0]]


def _smoothed_within(values: NDArray, inside: Mask, spacing: tuple[float, float, float], sigma_mm: float) -> NDArray:
    """Gaussian in the slice over the voxels of the heart alone: lung beside it does not darken its edge."""
    from scipy import ndimage

    sigma = (0.0, sigma_mm / spacing[1], sigma_mm / spacing[2])
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(inside, values, 0).astype(np.float32), sigma)
    smoothed: NDArray = total / np.maximum(weight, 1e-3)
    return smoothed


def _check_reference(shape: tuple[int, ...], reference: Mask) -> None:
    if reference.shape != shape:
        raise InputError(f"the reference of {reference.shape} voxels is not on the grid of {shape}: resample it first")
    if not reference.any():
        raise InputError("the reference is empty: give the reference chambers of this case")

"""What a volume must satisfy to be read as a chest CT in HU. Every refusal is an InputError of one line."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

MAX_ANGLE_DEGREES = 5.0
SMALLEST_MM, LARGEST_MM = 0.1, 200.0  # of a voxel: a unit that is not mm goes far beyond
NOT_MEASURED_HU = -1024  # padded voxels come out at this or lower
MIN_HU_RANGE = 100.0  # a CT that holds air and soft tissue spans more than 1000
# In the public scans at hand, cropped ones too, at least 16 % are below AIR_HU and 14 % are soft tissue.
AIR_HU, LEAST_AIR = -400.0, 0.005
SOFT_TISSUE_HU, LEAST_SOFT_TISSUE = (-200.0, 200.0), 0.01
# A clip leaves a heap at the end of the values. Below air it cuts off nothing, above contrast little.
LOWEST_CUT_HU = -900.0
HIGHEST_CUT_HU, LEAST_HEAP, LEAST_HIGH_HEAP = 1000.0, 0.001, 0.01
HEAP_REACH_HU, HEAP_RATIO, HEAP_VOXELS = 20.0, 2.0, 20
SAMPLE_VOXELS = 4_000_000
_ROUNDING_DEGREES = 0.01  # headers round their cosines


def check_slice_count(count: int) -> None:
    """Raises InputError for fewer than 2 slices."""
    if count < 2:
        raise InputError(f"the volume has {count} slice: a CT volume needs at least 2; give the whole series")


def check_positions(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Refuse missing, doubled, uneven or staggered slices.

    positions: (N, 3) LPS mm of the first voxel of each slice, sorted along `normal` (3,), a unit vector.
    A gap may differ from the others, and a slice from the straight even row, by max(0.1 mm, 5 % of the spacing).

    Raises:
        InputError: with the first offending slices, counted from 1 along the normal (for an axial scan from the feet).
    """
    gaps = np.diff(positions @ normal)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # the lower median: a missing slice widens a gap
    tolerance = max(0.1, 0.05 * usual) + 1e-3  # headers rounded to 0.1 mm pass

    doubled = np.flatnonzero(gaps < min(tolerance, 0.01))
    if doubled.size:
        first = int(doubled[0]) + 1
        raise InputError(
            f"slices {first} and {first + 1} lie at the same position ({doubled.size} such pairs): the folder holds "
            "slices twice, or several phases in one series; keep one of each"
        )
    uneven = np.flatnonzero(np.abs(gaps - usual) > tolerance)
    if uneven.size:
        first = int(uneven[0]) + 1
        gap = float(gaps[uneven[0]])
        where = f"gap of {gap:.1f} mm between slices {first} and {first + 1}, elsewhere {usual:.1f} mm"
        missing = round(gap / usual) - 1
        if missing < 1 or abs(gap - (missing + 1) * usual) > tolerance:
            raise InputError(f"the slices are not evenly spaced: {where}; resample the series to even slices")
        verb = "slice is" if missing == 1 else "slices are"
        raise InputError(f"{where}: {missing} {verb} missing; export the whole series again")

    even = np.linspace(positions[0], positions[-1], len(positions))
    apart = np.linalg.norm(positions - even, axis=1)
    if apart.max() > tolerance:
        worst = int(apart.argmax())
        raise InputError(
            f"the slices do not lie in one straight, even row: slice {worst + 1} is off by {apart[worst]:.1f} mm; "
            "resample the series"
        )


def check_angles(affine: NDArray[np.float64]) -> None:
    """Refuse gantry tilt and oblique volumes beyond 5 degrees; up to that the exact affine is kept.

    affine: (4, 4), IJK -> LPS mm.

    Raises:
        InputError: with the angle.
    """
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    between = np.abs(cosines.T @ cosines)[np.triu_indices(3, 1)].max()
    tilt = np.degrees(np.arcsin(min(1.0, between)))
    if tilt > MAX_ANGLE_DEGREES + _ROUNDING_DEGREES:
        raise InputError(
            f"the slices are sheared by {tilt:.1f} degrees (gantry tilt), at most {MAX_ANGLE_DEGREES:.0f} are "
            "accepted: resample the volume to a straight grid"
        )
    oblique = np.degrees(np.arccos(np.clip(np.abs(cosines).max(axis=0), 0, 1))).max()
    if oblique > MAX_ANGLE_DEGREES + _ROUNDING_DEGREES:
        raise InputError(
            f"the volume lies oblique to the patient by {oblique:.1f} degrees, at most {MAX_ANGLE_DEGREES:.0f} are "
            "accepted: resample it to straight axial slices"
        )


def check_spacing(spacing: Iterable[float]) -> None:
    """Refuse a spacing that no CT has, which is in another unit or none at all. spacing: mm, any number of axes.

    Raises:
        InputError: with the spacing.
    """
    values = [float(mm) for mm in spacing]
    if not all(SMALLEST_MM <= mm <= LARGEST_MM for mm in values):  # written so that NaN is refused
        raise InputError(
            f"the spacing is {' x '.join(f'{mm:.4g}' for mm in values)} mm, which no CT has ({SMALLEST_MM:g} to "
            f"{LARGEST_MM:g} mm): it is wrong or in another unit; correct the header, or export the scan again"
        )


def check_hu(hu: NDArray) -> None:
    """Refuse values that cannot be HU. hu: any shape; of a large volume a part of the voxels is looked at.

    What lies at or below -1024 was not measured. Of the rest, a chest holds lung or at least air, and soft tissue, and
    neither end of the values is cut off where HU go on.

    Raises:
        InputError: NaN or infinite values, one value everywhere, normalised values, no value below 0, a window that
            was applied, no lung and no air, no soft tissue.
    """
    low, high = float(hu.min()), float(hu.max())
    if not np.isfinite([low, high]).all():
        raise InputError("the volume holds values that are not a number, or infinite: export it again from the scanner")
    if low == high:
        raise InputError(f"all voxels have the same value ({low:g}): the volume is empty; export it again")
    if high - low < MIN_HU_RANGE:
        raise InputError(
            f"the values run from {low:.4g} to {high:.4g}, which is not HU: the data look normalised; give the CT in HU"
        )
    sample = _sample(hu)
    measured = sample[sample > NOT_MEASURED_HU]
    if not measured.size:
        raise InputError(f"no value is above {NOT_MEASURED_HU} HU: the volume is empty; export it again")
    low, high = float(measured.min()), float(measured.max())
    if low >= 0:
        raise InputError(
            f"no value is below 0 HU (lowest {low:.4g}): the rescale intercept was not applied; give the CT in HU"
        )
    for end, inwards, least in (
        (low, 1, LEAST_HEAP if low > LOWEST_CUT_HU else 1.0),
        (high, -1, LEAST_HEAP if high < HIGHEST_CUT_HU else LEAST_HIGH_HEAP),
    ):
        if _is_cut(measured, end, inwards, least):
            raise InputError(f"the values are cut off at {end:.4g} HU: a window was applied; give the original CT")
    if _share(measured, low, AIR_HU) < LEAST_AIR:
        raise InputError(
            f"hardly a value is as low as lung or air (lowest {low:.4g} HU): the data are not the HU of a chest, but "
            "perhaps shifted, windowed, normalised or an iodine map; give the original CT"
        )
    if _share(measured, *SOFT_TISSUE_HU) < LEAST_SOFT_TISSUE:
        raise InputError(
            f"hardly a value is that of soft tissue ({SOFT_TISSUE_HU[0]:.0f} to {SOFT_TISSUE_HU[1]:.0f} HU): the data "
            "are not HU, but perhaps scaled; give the original CT"
        )


def _sample(values: NDArray) -> NDArray:
    """Every n-th value along the last two axes, so that a large volume is judged in no time."""
    step = max(1, int((values.size / SAMPLE_VOXELS) ** 0.5))
    return values[..., ::step, ::step]


def _is_cut(values: NDArray, end: float, inwards: int, least: float) -> bool:
    """True if the lowest or highest value is a heap, more than `least` of all, beside which the values thin out: what
    a clip leaves behind. A heap with nothing beside it is a fill value, or the image is made up of few values.
    """
    heap = int((values == end).sum())
    beside = int(((values - end) * inwards <= HEAP_REACH_HU).sum()) - heap
    return heap > max(HEAP_VOXELS, least * values.size) and 0 < HEAP_RATIO * beside < heap


def _share(values: NDArray, low: float, high: float) -> float:
    """The share of the values from `low` to `high`."""
    return float(((values >= low) & (values <= high)).mean())

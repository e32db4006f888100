"""What a volume must satisfy to be read as a chest CT in HU. Every refusal is an InputError of one line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

MAX_ANGLE_DEGREES = 5.0
MIN_HU_RANGE = 100.0  # a CT that holds air and soft tissue spans more than 1000
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


def check_hu(hu: NDArray) -> None:
    """Refuse values that cannot be HU. hu: any shape.

    Raises:
        InputError: NaN or infinite values, one value everywhere, normalised values, or no value below 0.
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
    if low >= 0:
        raise InputError(
            f"no value is below 0 HU (lowest {low:.4g}): the rescale intercept was not applied; give the CT in HU"
        )

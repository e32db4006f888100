"""The contrast-to-noise ratio (CNR) of a lesion, as Choi 2021 measured that of mediastinal lymph nodes.

CNR = |HU_aorta - HU_lesion| / noise, noise = sqrt((SD_fat_right^2 + SD_fat_left^2) / 2): HU is the mean and SD the
sample SD (ddof = 1; the paper does not say) in a circle. The circles of a lesion are all of one size, 90 % of its
short-axis diameter, drawn on one axial CECT slice and measured at the same place in every volume.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.analysis.body import body_mask
from SyntheticContrastLib.analysis.circles import Circle, RoiStatistics, statistics, voxels_inside
from SyntheticContrastLib.ct.errors import InputError

LESION, AORTA, FAT_RIGHT, FAT_LEFT = ROLES = ("lesion", "aorta", "fat right", "fat left")
SHARE_OF_SHORT_AXIS = 0.9
FAT_HU = (-130.0, -70.0)
MOST_NON_FAT = 0.05
NOISE_LIMIT_HU = 25.0  # more spread than that in a circle is not noise
BLOOD_HU = (0.0, 800.0)  # anaemia without contrast to a dense arterial phase
SAME_SIZE_MM = 0.05


@dataclass(frozen=True)
class LesionCnr:
    """The four ROIs, by role; noise in HU; warnings, one line each, empty if the circles lie well."""

    rois: dict[str, RoiStatistics]
    noise: float
    cnr: float
    warnings: tuple[str, ...] = ()


def circle_diameter(short_axis_mm: float) -> float:
    """mm: of the four circles of a lesion, 90 % of its short axis. Raises InputError where that is not above 0."""
    if not (math.isfinite(short_axis_mm) and short_axis_mm > 0):
        raise InputError(f"a short axis of {short_axis_mm:g} mm is none: measure the lesion on an axial slice")
    return SHARE_OF_SHORT_AXIS * short_axis_mm


def contrast_to_noise(aorta: float, lesion: float, sd_fat_right: float, sd_fat_left: float) -> tuple[float, float]:
    """Background noise in HU, and CNR, from the means of aorta and lesion and the SDs of fat, in HU.

    Raises:
        InputError: there is no SD (a single voxel), or no noise at all.
    """
    noise = math.sqrt((sd_fat_right**2 + sd_fat_left**2) / 2)
    if not noise > 0:  # NaN as well
        raise InputError("the fat circles show no noise to compare with: make them larger, or check the image")
    return noise, abs(aorta - lesion) / noise


def measure_cnr(array: NDArray, affine: NDArray[np.float64], circles: Mapping[str, Circle]) -> LesionCnr:
    """Measure one lesion in one volume.

    Args:
        array: (Z, Y, X), HU, canonical axes.
        affine: (4, 4), array voxel (x, y, z, 1) -> mm of the circles.
        circles: one for each of `ROLES`.

    Raises:
        InputError: a role has no circle, a circle lies outside the volume or holds no voxel, or there is no noise.
    """
    if missing := [role for role in ROLES if role not in circles]:
        raise InputError(f"the circle {missing[0]} is missing: place one for each of {', '.join(ROLES)}")
    shape_z, shape_y, shape_x = array.shape
    inside = {}
    for role in ROLES:
        try:
            inside[role] = voxels_inside((shape_z, shape_y, shape_x), affine, circles[role])
        except InputError as error:
            raise InputError(f"{role}: {error}") from error
    values = {role: array[tuple(where.T)].astype(np.float64) for role, where in inside.items()}
    rois = {role: statistics(values[role]) for role in ROLES}
    noise, cnr = contrast_to_noise(rois[AORTA].mean, rois[LESION].mean, rois[FAT_RIGHT].sd, rois[FAT_LEFT].sd)
    warnings = [
        *_size_warnings(circles),
        *_body_warnings(array, affine, inside),
        *(line for role in (FAT_RIGHT, FAT_LEFT) for line in fat_warnings(role, values[role])),
        *aorta_warnings(values[AORTA]),
    ]
    return LesionCnr(rois, noise, cnr, tuple(warnings))


def fat_warnings(role: str, values: NDArray[np.float64]) -> list[str]:
    """A line if more than 5 % of the voxels are no fat: beyond -130 to -70 HU by more than twice the noise."""
    noise = min(_robust_sd(values), NOISE_LIMIT_HU)
    share = float(np.mean((values < FAT_HU[0] - 2 * noise) | (values > FAT_HU[1] + 2 * noise)))
    return [f"{role}: {share:.0%} of the circle is not fat, move it"] if share > MOST_NON_FAT else []


def aorta_warnings(values: NDArray[np.float64]) -> list[str]:
    """A line for voxels darker (the wall and beyond) or brighter (calcium) than blood with its noise."""
    blood = float(np.median(values))
    if not BLOOD_HU[0] <= blood <= BLOOD_HU[1]:
        return [f"aorta: the circle is not in blood (median {blood:.0f} HU), move it"]
    margin = max(60.0, 5 * min(_robust_sd(values), NOISE_LIMIT_HU))
    lines = []
    if (values < blood - margin).any():
        lines.append("aorta: the circle touches the wall, move it to the middle or check its size")
    if (values > blood + margin).any():
        lines.append("aorta: the circle touches calcium or other bright material, move it")
    return lines


def _size_warnings(circles: Mapping[str, Circle]) -> list[str]:
    diameters = [circles[role].diameter for role in ROLES]
    if max(diameters) - min(diameters) <= SAME_SIZE_MM:
        return []
    return [f"the circles differ in size ({min(diameters):.1f} to {max(diameters):.1f} mm): make them equal"]


def _body_warnings(array: NDArray, affine: NDArray[np.float64], inside: Mapping[str, NDArray[np.intp]]) -> list[str]:
    spacing_x, spacing_y = (float(np.linalg.norm(affine[:3, axis])) for axis in (0, 1))
    slices = sorted({int(z) for where in inside.values() for z in where[:, 0]})
    body = {z: body_mask(array[z], (spacing_y, spacing_x)) for z in slices}
    return [
        f"{role}: the circle leaves the body, move it inside"
        for role, where in inside.items()
        if not all(body[int(z)][y, x] for z, y, x in where)
    ]


def _robust_sd(values: NDArray[np.float64]) -> float:
    """From the median of the absolute deviations, which a minority of other tissue does not widen."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))

"""A CT on another grid, and the way between arrays and SimpleITK's images."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .errors import InputError
from .volume import CTVolume, Grid

OUTSIDE_HU = -1024
NOWHERE = -1e6  # marks what lies outside the moving scan while it is resampled


def resample_to(
    moving: CTVolume, grid: Grid, transform: sitk.Transform, default: int = OUTSIDE_HU
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Reslice a scan onto another grid, by linear interpolation in HU.

    A scan with much thinner slices than the grid should first be averaged to them, see `reslice`.

    transform: point of the grid -> point of `moving`, LPS mm.
    default: HU of what lies outside the field of view of `moving`; what its scanner did not measure is -1024 HU.

    Returns (Z, Y, X) HU on the grid's canonical axes, and (Z, Y, X) True where `moving` covers the voxel.
    """
    resampler = sitk.ResampleImageFilter()
    z, y, x = grid.shape_zyx
    resampler.SetSize((x, y, z))
    spacing, origin, direction = _parts(grid.canonical_affine)
    resampler.SetOutputSpacing(spacing)
    resampler.SetOutputOrigin(origin)
    resampler.SetOutputDirection(direction)
    resampler.SetTransform(transform)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(NOWHERE)
    resampler.SetOutputPixelType(sitk.sitkFloat32)  # ITK truncates into integers: round here instead
    image = to_image(np.maximum(to_int16(moving.hu), OUTSIDE_HU), moving.grid.canonical_affine)
    hu = to_array(resampler.Execute(image))
    covered = hu > 0.5 * NOWHERE
    hu[~covered] = default
    return np.rint(hu, out=hu).astype(np.int16), covered


def reslice(volume: CTVolume, spacing_z_mm: float) -> CTVolume:
    """Slices of another thickness on the same in-plane grid (3 mm in Santini 2018, section 2.2).

    To thicker slices: the mean over each new slice, voxels counted by how much of them it covers. To thinner slices:
    linear interpolation. The first slice starts where the scan starts, at its top; a rest thinner than a slice at the
    bottom is left out. The stored grid of the result is the canonical one, Z from superior to inferior.

    Raises:
        InputError: if the spacing is no length, or leaves fewer than 2 slices.
    """
    old = volume.spacing_zyx[0]
    if not (np.isfinite(spacing_z_mm) and spacing_z_mm > 0):
        raise InputError(f"a slice spacing of {spacing_z_mm:g} mm is not possible: give a length above 0")
    count = int(len(volume.hu) * old / spacing_z_mm + 1e-3)
    if count < 2:
        raise InputError(
            f"slices of {spacing_z_mm:g} mm leave {count} of a scan of {len(volume.hu) * old:.0f} mm: give thinner ones"
        )
    weights = slice_weights(len(volume.hu), count, spacing_z_mm / old)
    hu = np.empty((count, *volume.hu.shape[1:]), np.int16)
    for row, plane in zip(weights, hu, strict=True):
        used = np.flatnonzero(row)
        mean = np.tensordot(row[used].astype(np.float32), volume.hu[used].astype(np.float32), axes=1)
        plane[:] = np.rint(mean)

    affine = volume.grid.canonical_affine.copy()
    step = affine[:3, 2] / old
    affine[:3, 3] += step * (spacing_z_mm - old) / 2
    affine[:3, 2] = step * spacing_z_mm
    z, y, x = hu.shape
    return CTVolume(hu, Grid((x, y, z), affine))


def slice_weights(old: int, new: int, ratio: float) -> NDArray[np.float64]:
    """(new, old): the part of each old slice in each new one; `ratio` is new over old spacing. Rows add up to 1."""
    if ratio >= 1:
        top = np.arange(new)[:, None] * ratio
        first = np.arange(old)
        part = np.minimum(top + ratio, first + 1) - np.maximum(top, first)
        weights = np.maximum(part, 0.0)
    else:
        middle = np.clip((np.arange(new) + 0.5) * ratio - 0.5, 0, old - 1)
        weights = np.maximum(1 - np.abs(middle[:, None] - np.arange(old)), 0.0)
    weights[weights < 1e-6] = 0.0
    return weights / weights.sum(axis=1, keepdims=True)


def to_image(array_zyx: NDArray, affine: NDArray[np.float64]) -> sitk.Image:
    """(Z, Y, X) and the affine from its voxels (x, y, z, 1) to LPS mm, as an image."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array_zyx))
    spacing, origin, direction = _parts(affine)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def _parts(affine: NDArray[np.float64]) -> tuple[list[float], list[float], list[float]]:
    """Spacing, origin and direction as ITK takes them."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return spacing.tolist(), affine[:3, 3].tolist(), (affine[:3, :3] / spacing).ravel().tolist()


def to_array(image: sitk.Image) -> NDArray[Any]:
    return np.asarray(sitk.GetArrayFromImage(image))


def to_int16(hu: NDArray) -> NDArray[np.int16]:
    return hu if hu.dtype == np.int16 else np.rint(np.clip(hu, -32768, 32767)).astype(np.int16)

"""The grid on which a network of contrast shares sees every CT: the same millimetres, the body alone, air around it.

What it finds is brought back to the CT's own voxels with the CT's own edges: the network gives the share of contrast in
the *tissue* of a coarse voxel, and each voxel of the CT takes of it what it holds of tissue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.resample import slice_weights

CANONICAL_MM = (3.0, 1.5, 1.5)  # (z, y, x)
AIR_HU = -1000.0
HU_RANGE = (-1024, 1500)  # of what is resampled: metal would spread to its neighbours
MARGIN = 8  # voxels around the body
LEAST_TISSUE = 0.15  # of a coarse voxel, below which its share says nothing
BODY_HU = -300
BONE_HU = (130.0, 170.0)  # between them contrast fades: bone and calcium take up none
SLAB = 16  # slices brought back at once

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class CanonicalCT:
    """A CT on the canonical grid, cut to its body.

    hu: (Z, Y, X) float32, air outside the body. tissue: what part of each voxel is soft tissue, 0 outside the body.
    shape_zyx, spacing_zyx: of the CT itself.
    box: where `hu` lies in the canonical grid of the whole field of view, which has `full_zyx` voxels.
    """

    hu: NDArray[np.float32]
    tissue: NDArray[np.float32]
    box: Box
    full_zyx: tuple[int, int, int]
    shape_zyx: tuple[int, int, int]
    spacing_zyx: tuple[float, float, float]

    def also(self, values: NDArray) -> NDArray[np.float32]:
        """(Z, Y, X) of the CT's grid to that of `hu`; not cut to the body."""
        return resampled(values, self.spacing_zyx)[self.box]


def to_canonical(hu: NDArray, spacing_zyx: tuple[float, float, float]) -> CanonicalCT:
    """(Z, Y, X) HU, spacing in mm, to the canonical grid: coarser axes by the mean over each voxel, finer linearly."""
    full = canonical_shape(hu.shape, spacing_zyx)
    low = resampled(hu, spacing_zyx)
    body = find_body(low)
    rows, columns = (np.flatnonzero(body.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    y_part, x_part = (
        slice(max(0, int(used[0]) - MARGIN), min(size, int(used[-1]) + 1 + MARGIN)) if len(used) else slice(0, size)
        for used, size in zip((rows, columns), full[1:], strict=True)
    )
    box = slice(0, full[0]), y_part, x_part
    inside = body[box]
    part = resampled(tissue(hu), spacing_zyx)[box]
    z, y, x = hu.shape
    return CanonicalCT(
        np.where(inside, low[box], np.float32(AIR_HU)),
        np.where(inside, part, np.float32(0)),
        box,
        full,
        (z, y, x),
        spacing_zyx,
    )


def canonical_shape(shape_zyx: tuple[int, ...], spacing_zyx: tuple[float, float, float]) -> tuple[int, int, int]:
    z, y, x = (
        max(1, round(size * mm / wanted)) for size, mm, wanted in zip(shape_zyx, spacing_zyx, CANONICAL_MM, strict=True)
    )
    return z, y, x


def resampled(values: NDArray, spacing_zyx: tuple[float, float, float]) -> NDArray[np.float32]:
    """(Z, Y, X) of the CT's grid on the canonical grid of its whole field of view."""
    from scipy.sparse import csr_array

    z_weights, y_weights, x_weights = (
        csr_array(slice_weights(size, new, wanted / mm).astype(np.float32))
        for size, new, wanted, mm in zip(
            values.shape, canonical_shape(values.shape, spacing_zyx), CANONICAL_MM, spacing_zyx, strict=True
        )
    )
    planes = np.empty((len(values), y_weights.shape[0], x_weights.shape[0]), np.float32)
    for plane, slice_ in zip(planes, values, strict=True):
        plane[:] = _in_plane(np.clip(slice_, *HU_RANGE).astype(np.float32), y_weights, x_weights)
    return np.asarray(z_weights @ planes.reshape(len(planes), -1)).reshape(-1, *planes.shape[1:])


def _in_plane(plane: NDArray[np.float32], y_weights: Any, x_weights: Any) -> NDArray[np.float32]:
    """(Y, X) to another grid; the weights are sparse: (new Y, Y) and (new X, X)."""
    return np.asarray((x_weights @ (y_weights @ plane).T).T)


def find_body(low: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(Z, Y, X): the largest thing that is not air, with what it encloses in its slices; no table, no blanket."""
    from scipy import ndimage

    solid = ndimage.binary_opening(low > BODY_HU, np.ones((1, 5, 5)))
    parts, count = ndimage.label(solid)
    if not count:
        return np.zeros(low.shape, bool)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    grown = ndimage.binary_dilation(largest, np.ones((1, 3, 3)))  # the skin that the opening took
    return np.stack([ndimage.binary_fill_holes(slice_) for slice_ in grown])


def tissue(hu: NDArray) -> NDArray[np.float32]:
    """What part of a voxel is soft tissue: 0 in lung and air, 1 from fat up, partial volume between."""
    return np.clip((hu + np.float32(250)) / 200, 0, 1).astype(np.float32)


def takes_contrast(hu: NDArray) -> NDArray[np.float32]:
    """(Z, Y, X) HU of the CT itself to the part of each voxel that contrast can reach, in [0, 1]: tissue, not bone."""
    from scipy.ndimage import gaussian_filter

    low, high = BONE_HU
    values = hu.astype(np.float32)
    calm = gaussian_filter(values, (0, 0.7, 0.7), truncate=2)
    part = np.clip((values + np.float32(250)) * np.float32(1 / 250), 0, 1)
    part *= np.clip((np.float32(high) - calm) * np.float32(1 / (high - low)), 0, 1)
    return part


def back(shares: NDArray[np.float32], canonical: CanonicalCT) -> Iterator[tuple[Box, NDArray[np.float32]]]:
    """The share in the tissue of each voxel of the CT, from the canonical grid: some slices at a time, from the top,
    each of them the part around the body.

    shares: (Z, Y, X) of `canonical.hu`.
    """
    from scipy.sparse import csr_array

    z_weights, y_weights, x_weights = (
        slice_weights(full, size, mm / wanted).astype(np.float32)[:, where]
        for full, size, mm, wanted, where in zip(
            canonical.full_zyx, canonical.shape_zyx, canonical.spacing_zyx, CANONICAL_MM, canonical.box, strict=True
        )
    )
    y_part, x_part = (_reached(weights) for weights in (y_weights, x_weights))
    y_sparse, x_sparse = csr_array(y_weights[y_part]), csr_array(x_weights[x_part])
    held = shares * canonical.tissue
    for first in range(0, canonical.shape_zyx[0], SLAB):
        rows = slice(first, min(first + SLAB, canonical.shape_zyx[0]))
        seen = _reached(z_weights[rows].T)
        part, whole = (
            np.stack(
                [
                    _in_plane(plane, y_sparse, x_sparse)
                    for plane in np.tensordot(z_weights[rows, seen], values[seen], axes=1)
                ]
            )
            for values in (held, canonical.tissue)
        )
        part /= np.maximum(whole, LEAST_TISSUE, out=whole)
        yield (rows, y_part, x_part), part


def _reached(weights: NDArray[np.float32]) -> slice:
    """The rows, from the first to the last, that are not all 0."""
    used = np.flatnonzero(weights.any(axis=1))
    return slice(int(used[0]), int(used[-1]) + 1)

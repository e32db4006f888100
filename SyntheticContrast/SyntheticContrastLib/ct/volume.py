"""A CT volume on canonical axes, and the stored voxel grid that it came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, permutations
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The canonical array axes (Z, Y, X) as (LPS axis, direction along it): superior to inferior, anterior to posterior,
# right to left.
_CANONICAL = ((2, -1), (1, 1), (0, 1))


@dataclass(frozen=True, eq=False)
class Grid:
    """A stored voxel grid. Stored arrays are (K, J, I), as numpy sees an ITK image."""

    size: tuple[int, int, int]  # (I, J, K)
    affine: NDArray[np.float64]  # (4, 4): (i, j, k, 1) -> LPS mm; may be left-handed or sheared

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError("the affine of a grid is a finite, invertible 4 x 4 matrix")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "size", tuple(int(n) for n in self.size))

    @classmethod
    def from_parts(cls, size: Iterable[int], spacing: ArrayLike, origin: ArrayLike, direction: ArrayLike) -> Grid:
        """From ITK's parts: size (I, J, K), spacing and origin in mm, direction 3 x 3 (or its 9 values by rows).

        The columns of the direction are cosines; headers round them, which does not shrink the spacing.
        """
        affine = np.eye(4)
        cosines = np.reshape(np.asarray(direction, dtype=np.float64), (3, 3))
        lengths = np.linalg.norm(cosines, axis=0)
        if not (np.abs(lengths - 1) < 0.01).all():
            raise ValueError("the columns of a direction are unit vectors")
        affine[:3, :3] = cosines / lengths * np.asarray(spacing)
        affine[:3, 3] = origin
        i, j, k = size
        return cls((i, j, k), affine)

    @classmethod
    def axial(cls, shape_zyx: tuple[int, int, int], spacing_zyx: tuple[float, float, float]) -> Grid:
        """The grid of a plain axial scan, centred on the origin: I to the left, J to the back, K to the head."""
        size = shape_zyx[::-1]
        spacing = np.asarray(spacing_zyx[::-1])
        return cls.from_parts(size, spacing, -spacing * (np.asarray(size) - 1) / 2, np.eye(3))

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """mm along (I, J, K)."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def origin(self) -> tuple[float, float, float]:
        """LPS mm of voxel (0, 0, 0)."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3): the columns are the unit vectors of I, J and K in LPS."""
        return self.affine[:3, :3] / np.asarray(self.spacing)

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of an array on the canonical axes."""
        z, y, x = (self.size[axis] for axis, _ in self._canonical_axes)
        return z, y, x

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """mm along the canonical axes."""
        z, y, x = (self.spacing[axis] for axis, _ in self._canonical_axes)
        return z, y, x

    @property
    def canonical_affine(self) -> NDArray[np.float64]:
        """(4, 4): canonical voxel (x, y, z, 1) -> LPS mm."""
        result = np.eye(4)
        result[:3, 3] = self.origin
        for column, (axis, flipped) in zip((2, 1, 0), self._canonical_axes, strict=True):
            step = self.affine[:3, axis]
            result[:3, column] = -step if flipped else step
            if flipped:
                result[:3, 3] += step * (self.size[axis] - 1)
        return result

    def to_stored(self, array_zyx: NDArray) -> NDArray:
        """(Z, Y, X) -> (K, J, I): a view, by transposing and flipping only. Exact inverse of `from_stored`."""
        if array_zyx.shape != self.shape_zyx:
            raise ValueError(f"an array of shape {array_zyx.shape} is not on this grid of shape {self.shape_zyx}")
        flipped = array_zyx[tuple(slice(None, None, -1 if flip else 1) for _, flip in self._canonical_axes)]
        return flipped.transpose(np.argsort([2 - axis for axis, _ in self._canonical_axes]))

    def from_stored(self, array_kji: NDArray) -> NDArray:
        """(K, J, I) -> (Z, Y, X): a view, by transposing and flipping only."""
        if array_kji.shape != self.size[::-1]:
            raise ValueError(f"an array of shape {array_kji.shape} is not on this grid of size {self.size}")
        transposed = array_kji.transpose([2 - axis for axis, _ in self._canonical_axes])
        return transposed[tuple(slice(None, None, -1 if flip else 1) for _, flip in self._canonical_axes)]

    def matches(self, other: Grid, tolerance_mm: float = 1e-2) -> bool:
        """True if the sizes are equal and no corner of the two grids lies further apart than the tolerance."""
        if self.size != other.size:
            return False
        corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(self.size) - 1)
        homogeneous = np.c_[corners, np.ones(8)]
        apart = homogeneous @ (self.affine - other.affine).T
        return bool(np.linalg.norm(apart[:, :3], axis=1).max() <= tolerance_mm)

    @cached_property
    def _canonical_axes(self) -> tuple[tuple[int, bool], ...]:
        """For each of (Z, Y, X): the stored axis (0 I, 1 J, 2 K) that runs nearest to it, and if it runs backwards."""
        cosines = self.direction
        nearest = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[lps, axes[lps]]) for lps in range(3)))
        return tuple((nearest[lps], bool(cosines[lps, nearest[lps]] * sign < 0)) for lps, sign in _CANONICAL)


@dataclass(frozen=True)
class DicomSource:
    """Where a volume's slices came from, in K order: enough to derive a series from, light for thousands of slices."""

    series_uid: str
    files: tuple[Path, ...]
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CTVolume:
    """A CT in HU on the canonical axes. Voxels that the scanner did not measure are <= -1024 HU."""

    hu: NDArray  # (Z, Y, X), int16 if every value is an integer that fits, else float32
    grid: Grid  # the stored grid
    source: DicomSource | None = None

    def __post_init__(self) -> None:
        if self.hu.shape != self.grid.shape_zyx:
            raise ValueError(f"HU of shape {self.hu.shape} are not on a grid of shape {self.grid.shape_zyx}")

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """mm along (Z, Y, X)."""
        return self.grid.spacing_zyx

    def to_stored(self, array_zyx: NDArray) -> NDArray:
        """(Z, Y, X) -> (K, J, I) of the stored grid: a view."""
        return self.grid.to_stored(array_zyx)

    def from_stored(self, array_kji: NDArray) -> NDArray:
        """(K, J, I) of the stored grid -> (Z, Y, X): a view."""
        return self.grid.from_stored(array_kji)


def gather_hu(slices_kji: Iterable[NDArray], grid: Grid) -> NDArray:
    """Put stored slices, each (J, I), into one new (Z, Y, X) array: int16 as long as all values allow it, else float32.

    Only one slice at a time exists in another type, so a long volume is never held twice in a wide one.
    """
    slices = iter(slices_kji)
    first = next(slices)  # before memory is taken for all: a damaged header may claim any size
    hu: NDArray = np.empty(grid.shape_zyx, np.int16)
    stored = grid.to_stored(hu)
    for k, values in enumerate(chain([first], slices)):
        if hu.dtype == np.int16 and not _fits_int16(values):
            hu = hu.astype(np.float32)
            stored = grid.to_stored(hu)
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which the checks refuse
            stored[k] = values
    return hu


def _fits_int16(values: NDArray) -> bool:
    low, high = values.min(), values.max()
    if not (low >= -32768 and high <= 32767):  # written so that NaN does not fit
        return False
    return values.dtype.kind in "iu" or bool((np.rint(values) == values).all())

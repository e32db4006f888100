"""In-plane resampling of a stack of slices: another pixel size, turned, magnified and gently bent, the same for all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BEND_KNOTS = 4  # a side of the grid of random displacements
MARGIN = 3  # pixels around the sampled points, for the bicubic kernel


@dataclass(frozen=True)
class Placement:
    """Where the pixels of a crop lie in a slice: `centre` + `step` R (pixel - middle of the crop) + bend.

    Args:
        centre_yx: where the middle of the crop lies, in pixels of the slice.
        crop: pixels a side.
        step: pixels of the slice from one pixel of the crop to the next; a pair for y and x where they differ.
        degrees: by which R turns.
        bend: random displacements on a coarse grid, (2, K, K) for y and x, in pixels of the slice.
    """

    centre_yx: tuple[float, float]
    crop: int
    step: float | tuple[float, float] = 1.0
    degrees: float = 0.0
    bend: NDArray[np.float32] | None = None

    @property
    def step_yx(self) -> tuple[float, float]:
        return self.step if isinstance(self.step, tuple) else (self.step, self.step)

    def points(self) -> NDArray[np.float32]:
        """(2, crop, crop) of y and x in pixels of the slice."""
        import torch
        import torch.nn.functional as F

        axis = np.arange(self.crop, dtype=np.float32) - (self.crop - 1) / 2
        y, x = np.meshgrid(axis, axis, indexing="ij")
        angle = np.deg2rad(self.degrees)
        turned = np.stack([np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x])
        centre, step = (np.asarray(pair, np.float32)[:, None, None] for pair in (self.centre_yx, self.step_yx))
        points = centre + step * turned
        if self.bend is not None:
            knots = torch.from_numpy(self.bend)[None]
            points += F.interpolate(knots, size=(self.crop, self.crop), mode="bicubic", align_corners=True)[0].numpy()
        return points.astype(np.float32)


def sample(volume: NDArray, placement: Placement, outside: float, nearest: bool = False) -> NDArray[np.float32]:
    """(Z, crop, crop) of a (Z, Y, X) volume by bicubic (or nearest) interpolation; `outside` beyond the slice.

    Where the crop's pixels are larger than the slice's, these are smoothed first, lest fine noise turn into coarse.
    """
    import torch
    import torch.nn.functional as F
    from scipy.ndimage import gaussian_filter1d

    points = placement.points()
    first = np.floor(points.min(axis=(1, 2))).astype(int) - MARGIN
    last = np.ceil(points.max(axis=(1, 2))).astype(int) + MARGIN + 1
    part = cut_out(volume, tuple(first), tuple(last - first), outside).astype(np.float32)
    size = torch.tensor(part.shape[1:], dtype=torch.float32) - 1
    for axis, step in enumerate(placement.step_yx, 1):
        if step > 1 and not nearest:
            part = gaussian_filter1d(part, 0.5 * math.sqrt(step**2 - 1), axis=axis, mode="nearest")
    within = torch.from_numpy(points - first[:, None, None].astype(np.float32)).movedim(0, -1)
    grid = (2 * within / size - 1).flip(-1)[None]
    mode = "nearest" if nearest else "bicubic"
    return F.grid_sample(torch.from_numpy(part)[None], grid, mode=mode, padding_mode="border", align_corners=True)[
        0
    ].numpy()


def cut_out(volume: NDArray, first_yx: tuple[int, ...], size_yx: tuple[int, ...], outside: float) -> NDArray:
    """(Z, *size_yx) of a (Z, Y, X) volume from a first pixel that may lie outside it; `outside` beyond the slice."""
    result = np.full((len(volume), *size_yx), outside, dtype=volume.dtype)
    inside, source = [], []
    for first, length, size in zip(first_yx, size_yx, volume.shape[1:], strict=True):
        low, high = max(first, 0), min(first + length, size)
        if low >= high:
            return result
        inside.append(slice(low - first, high - first))
        source.append(slice(low, high))
    result[:, inside[0], inside[1]] = volume[:, source[0], source[1]]
    return result


def heart_centre(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """(y, x) in pixels: the middle of the in-plane bounding box of a (Z, Y, X) mask that is not empty."""
    (top, bottom), (left, right) = in_plane_bounds(mask)
    return (top + bottom) / 2, (left + right) / 2


def in_plane_bounds(mask: NDArray[np.bool_]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last row, first and last column, of a (Z, Y, X) mask that is not empty, over all its slices."""
    rows, columns = (np.flatnonzero(mask.any(axis=others)) for others in ((0, 2), (0, 1)))
    return (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))

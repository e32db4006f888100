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
        step: pixels of the slice from one pixel of the crop to the next.
        degrees: by which R turns.
        bend: random displacements on a coarse grid, (2, K, K) for y and x, in pixels of the slice.
    """

    centre_yx: tuple[float, float]
    crop: int
    step: float = 1.0
    degrees: float = 0.0
    bend: NDArray[np.float32] | None = None

    def points(self) -> NDArray[np.float32]:
        """(2, crop, crop) of y and x in pixels of the slice."""
        import torch
        import torch.nn.functional as F

        axis = np.arange(self.crop, dtype=np.float32) - (self.crop - 1) / 2
        y, x = np.meshgrid(axis, axis, indexing="ij")
        angle = np.deg2rad(self.degrees)
        turned = np.stack([np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x])
        points = np.asarray(self.centre_yx, np.float32)[:, None, None] + np.float32(self.step) * turned
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
    if placement.step > 1 and not nearest:
        sigma = 0.5 * math.sqrt(placement.step**2 - 1)
        for axis in (1, 2):
            part = gaussian_filter1d(part, sigma, axis=axis, mode="nearest")
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

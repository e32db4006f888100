"""Synthesis of the heart region, slice by slice, with a 2D network (Santini 2018).

The network sees a square around the heart at its own, coarser pixel size. What it adds is brought back to the pixels of
the CT and added there, so that the CT keeps its resolution and its noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from SyntheticContrastLib.ct.in_plane import Placement, heart_centre, in_plane_bounds, sample
from SyntheticContrastLib.ct.window import to_windows
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.predict import predict
from SyntheticContrastLib.synthesis.process import check_cancelled
from SyntheticContrastLib.synthesis.sliding_window import AIR_HU, OUTSIDE_HU, Synthesis

EDGE_MM = 4.0  # over which the change rises from nothing at the rim of the heart to its whole
HU_RANGE = (-1024, 3071)  # of what is resampled: metal and padding would spread to their neighbours
SLAB = 8  # slices whose soft edge is computed together


@dataclass(frozen=True)
class HeartCrop:
    """What a network takes and gives: a square of `crop` pixels of `pixel_mm` mm, in one (width, level) window."""

    crop: int
    pixel_mm: float
    window: tuple[float, float]


def heart_placement(
    mask: NDArray[np.bool_], spacing_zyx: tuple[float, float, float], crop: int, pixel_mm: float
) -> Placement:
    """Where a network's square lies: one place for all slices of a volume. spacing_zyx: mm."""
    _, y_mm, x_mm = spacing_zyx
    return Placement(heart_centre(mask), crop, (pixel_mm / y_mm, pixel_mm / x_mm))


def synthesise_heart(
    hu: NDArray,
    mask: NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
    network: nn.Module,
    crop: HeartCrop,
    compute: Compute,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_fallback: Callable[[str], None] = lambda message: None,
) -> Synthesis:
    """Run `network` over the slices of a CT that hold the heart; elsewhere the CT stays as it is.

    Args:
        hu: (Z, Y, X) in HU, Z from superior to inferior.
        mask: (Z, Y, X), the heart; at least one voxel. Outside it the network was never trained.
        spacing_zyx: mm.
        network: takes and gives (N, 1, crop, crop); [-1, 1] is the window.
        on_progress: called with the slices of the heart that are done and that there are.
        on_fallback: called with a line for a person whenever memory forces smaller work.

    Returns int16 HU, -1000 where the scanner measured nothing (at or below -1024 HU), and no uncertainty.

    Raises:
        OutOfMemoryError: when even one slice does not fit on the CPU.
        Cancelled: when the process was asked to stop.
    """
    result = np.empty(hu.shape, np.int16)
    for z, values in enumerate(hu):
        result[z] = _finished(values, values)
    placement = heart_placement(mask, spacing_zyx, crop.crop, crop.pixel_mm)
    region = _Region.around(mask, placement)
    slices = [z for z in range(len(mask)) if mask[z].any()]

    def seen() -> Iterator[Tensor]:
        for z in slices:
            values = sample(np.clip(hu[z : z + 1], *HU_RANGE), placement, AIR_HU)
            yield torch.from_numpy(to_windows(values, [crop.window]))

    at_once = 1 if compute.device == "cpu" else 32
    changes = predict(_Change(network), seen(), compute, on_fallback, at_once=at_once, name="slice")
    edges = region.soft_edges(mask, slices, spacing_zyx)
    for number, (z, change, edge) in enumerate(zip(slices, changes, edges, strict=True), 1):
        part = (z, *region.pixels)
        added = region.bring_back(change.cpu().numpy() * np.float32(crop.window[0] / 2), placement) * edge
        result[part] = _finished(hu[part] + added, hu[part])
        on_progress(number, len(slices))
        check_cancelled()
    return Synthesis(result, None)


class _Change(nn.Module):
    """What a network adds to its input, in the input's precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).to(x.dtype) - x


@dataclass(frozen=True)
class _Region:
    """The rows and columns of a slice that hold the heart and that the network sees."""

    pixels: tuple[slice, slice]

    @classmethod
    def around(cls, mask: NDArray[np.bool_], placement: Placement) -> _Region:
        reach = (placement.crop - 1) / 2
        sides = []
        for (first, last), centre, step in zip(
            in_plane_bounds(mask), placement.centre_yx, placement.step_yx, strict=True
        ):
            low, high = max(first, math.ceil(centre - reach * step)), min(last, math.floor(centre + reach * step))
            sides.append(slice(low, high + 1))
        return cls((sides[0], sides[1]))

    def bring_back(self, crop: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
        """A (crop, crop) image at `placement` to the pixels of this region."""
        rows, columns = self.pixels
        side = max(rows.stop - rows.start, columns.stop - columns.start)
        middle = [pixels.start + (side - 1) / 2 for pixels in self.pixels]
        y, x = (
            (at - centre) / step + (placement.crop - 1) / 2
            for at, centre, step in zip(middle, placement.centre_yx, placement.step_yx, strict=True)
        )
        y_step, x_step = placement.step_yx
        square = sample(crop[None], Placement((y, x), side, (1 / y_step, 1 / x_step)), 0.0)[0]
        return square[: rows.stop - rows.start, : columns.stop - columns.start]

    def soft_edges(
        self, mask: NDArray[np.bool_], slices: list[int], spacing_zyx: tuple[float, float, float]
    ) -> Iterator[NDArray[np.float32]]:
        """For each of the mask's `slices` the weights of this region's pixels: from 0 at the mask's rim to 1 inside.

        The rim is where the mask ends in any direction, up and down too, but not where the CT ends. Slices that are
        thicker than the edge are counted as thinner: the first and the last are changed in part.
        """
        from scipy.ndimage import distance_transform_edt

        rows, columns = self.pixels
        around, inner = [], []  # the region with one row and column more on each side, where the CT has them
        for pixels, size in zip(self.pixels, mask.shape[1:], strict=True):
            start = max(0, pixels.start - 1)
            around.append(slice(start, min(size, pixels.stop + 1)))
            inner.append(slice(pixels.start - start, pixels.stop - start))
        wanted = set(slices)
        z_mm, y_mm, x_mm = spacing_zyx
        z_mm = min(z_mm, EDGE_MM / 2)
        above = math.ceil(EDGE_MM / z_mm)
        for first in range(slices[0], slices[-1] + 1, SLAB):
            low, high = max(0, first - above), min(len(mask), first + SLAB + above)
            inside = np.zeros((high - low, *(pixels.stop - pixels.start for pixels in around)), bool)
            inside[:, inner[0], inner[1]] = mask[low:high, rows, columns]
            if inside.all():  # there is no rim to be at a distance from
                depth = np.full(inside.shape, EDGE_MM)
            else:
                depth = distance_transform_edt(inside, sampling=(z_mm, y_mm, x_mm))
            for z in range(first, min(first + SLAB, slices[-1] + 1)):
                if z in wanted:
                    t = np.minimum(depth[z - low, inner[0], inner[1]] / EDGE_MM, 1).astype(np.float32)
                    yield t * t * (3 - 2 * t)


def _finished(values: NDArray, ncct: NDArray) -> NDArray[np.int16]:
    """HU rounded to int16; air where the NCCT shows that nothing was measured."""
    limits = np.iinfo(np.int16)
    rounded = np.clip(np.rint(values), limits.min, limits.max)
    return np.where(ncct <= OUTSIDE_HU, AIR_HU, rounded).astype(np.int16)

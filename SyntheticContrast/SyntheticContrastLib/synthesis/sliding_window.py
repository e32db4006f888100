"""Sliding-window synthesis of a whole volume (Choi 2021, "Applying the deep learning model").

One window of `depth` slices at a time from the top; the overlapping predictions of a slice are averaged with equal
weights. The buffers hold one window, so that the memory beyond input and output does not grow with the volume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.window import from_window, to_windows
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.predict import predict
from SyntheticContrastLib.synthesis.process import check_cancelled

AIR_HU = -1000
OUTSIDE_HU = -1024  # at or below it the scanner measured nothing: outside the scan circle, or the end of its scale


@dataclass(frozen=True)
class Patch:
    """What a network takes and gives: `depth` slices, (width, level) windows in and out, in-plane size."""

    depth: int
    input_windows: tuple[tuple[float, float], ...]
    output_window: tuple[float, float]
    in_plane_multiple: int
    minimum_in_plane: int
    residual: bool = False  # the output is the input with a change: what the window clips of a CT is kept


@dataclass(frozen=True)
class Synthesis:
    """sCECT in HU, int16 (Z, Y, X), and if asked for the standard deviation (ddof 0) of each voxel's overlapping
    predictions in HU, float32 (Z, Y, X); 0 where a voxel was predicted once."""

    hu: NDArray[np.int16]
    uncertainty: NDArray[np.float32] | None


def window_starts(slices: int, depth: int, step: int) -> list[int]:
    """First slice of each window: every `step` slices from the top, and one that ends at the last slice.

    `slices` >= `depth` >= `step` >= 1.
    """
    starts = list(range(0, slices - depth + 1, step))
    if starts[-1] != slices - depth:
        starts.append(slices - depth)
    return starts


def synthesise(
    hu: NDArray,
    network: nn.Module,
    patch: Patch,
    compute: Compute,
    *,
    step: int = 1,
    uncertainty: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_fallback: Callable[[str], None] = lambda message: None,
) -> Synthesis:
    """Run `network` over a CT volume.

    Args:
        hu: (Z, Y, X) in HU, Z from superior to inferior, at least one slice.
        network: takes (N, C, depth, Y, X) in [-1, 1], gives (N, >= 1, depth, Y, X); channel 0 is in the output window.
        step: slices from one window to the next, 1 (the paper's) to the patch's depth.
        on_progress: called with the slices that are final and the slices in all.
        on_fallback: called with a line for a person whenever memory forces smaller work.

    Raises:
        InputError: for a step out of range.
        OutOfMemoryError: when even one window does not fit on the CPU.
        Cancelled: when the process was asked to stop.
    """
    depth = patch.depth
    if not 1 <= step <= depth:
        raise InputError(f"step {step} is out of range: use 1 to {depth} slices")
    slices = len(hu)
    missing = max(0, depth - slices)  # a thin volume is continued by its edge slices
    sources = np.clip(np.arange(slices + missing) - missing // 2, 0, slices - 1)
    y_pad, x_pad = (_in_plane_padding(size, patch) for size in hu.shape[1:])

    def load(first: int, last: int) -> Tensor:
        """(C, last - first, Y, X) of slices in the input windows, surrounded by air in plane."""
        values = np.pad(hu[sources[first:last]], ((0, 0), y_pad, x_pad), constant_values=AIR_HU)
        return torch.from_numpy(to_windows(values, patch.input_windows))

    result = np.empty(hu.shape, np.int16)
    spread = np.empty(hu.shape, np.float32) if uncertainty else None
    inside = np.s_[:, y_pad[0] : y_pad[0] + hu.shape[1], x_pad[0] : x_pad[0] + hu.shape[2]]
    average = _RunningAverage(depth, hu.shape[1:], uncertainty)
    starts = window_starts(len(sources), depth, step)
    windows = _Windows(load, depth)
    inputs = (windows.at(start) for start in starts)
    at_once = 1 if compute.device == "cpu" else 4
    predictions = predict(network, inputs, compute, on_fallback, at_once=at_once, name="window")
    for number, prediction in enumerate(predictions):
        start = starts[number]
        average.add(start, prediction[inside])
        final_until = starts[number + 1] if number + 1 < len(starts) else len(sources)
        for position in range(start, final_until):
            mean, deviation = average.take(position)
            z = position - missing // 2
            if 0 <= z < slices:
                values = from_window(mean, patch.output_window)
                if patch.residual:
                    width, level = patch.output_window
                    values = values + hu[z] - np.clip(hu[z], level - width / 2, level + width / 2)
                result[z] = np.where(hu[z] <= OUTSIDE_HU, AIR_HU, np.rint(values).clip(-32768, 32767))
                if spread is not None:
                    spread[z] = deviation * (patch.output_window[0] / 2)
        on_progress(min(slices, max(0, final_until - missing // 2)), slices)
        check_cancelled()
    return Synthesis(result, spread)


class _Windows:
    """The network's input at one start after another; only slices that come into view are loaded."""

    def __init__(self, load: Callable[[int, int], Tensor], depth: int) -> None:
        self.load = load
        self.start = 0
        self.seen = load(0, depth)

    def at(self, start: int) -> Tensor:
        """(1, C, depth, Y, X) of the window that begins at slice `start`, which never goes back."""
        depth = self.seen.shape[1]
        if new := min(start - self.start, depth):
            self.seen = torch.cat([self.seen[:, new:], self.load(start + depth - new, start + depth)], dim=1)
            self.start = start
        return self.seen[None]


class _RunningAverage:
    """Mean, and on demand standard deviation, of overlapping windows (Welford), in a ring of `depth` slices."""

    def __init__(self, depth: int, plane: tuple[int, ...], with_deviation: bool) -> None:
        self.count = np.zeros(depth, int)
        self.mean = torch.zeros(depth, *plane)
        self.squares = torch.zeros(depth, *plane) if with_deviation else None

    def add(self, start: int, window: Tensor) -> None:
        for offset, values in enumerate(window):
            at = (start + offset) % len(self.count)
            self.count[at] += 1
            difference = values - self.mean[at]
            self.mean[at].add_(difference, alpha=1 / self.count[at])
            if self.squares is not None:
                self.squares[at].addcmul_(difference, values - self.mean[at])

    def take(self, position: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of a slice; its place in the ring becomes free."""
        at = position % len(self.count)
        mean = self.mean[at].numpy().copy()
        deviation = np.zeros_like(mean)
        if self.squares is not None:
            deviation = (self.squares[at] / self.count[at]).sqrt().numpy()
            self.squares[at] = 0
        self.count[at] = 0
        self.mean[at] = 0
        return mean, deviation


def _in_plane_padding(size: int, patch: Patch) -> tuple[int, int]:
    """Voxels of air before and after, so that the size suits the network."""
    multiple = patch.in_plane_multiple
    wanted = max(patch.minimum_in_plane, -(-size // multiple) * multiple)
    return (wanted - size) // 2, (wanted - size + 1) // 2

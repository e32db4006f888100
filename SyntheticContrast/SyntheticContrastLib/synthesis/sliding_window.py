"""Sliding-window synthesis of a whole volume (Choi 2021, "Applying the deep learning model").

One window of `depth` slices at a time from the top; the overlapping predictions of a slice are averaged with equal
weights. The buffers hold one window, so that the memory beyond input and output does not grow with the volume. They lie
on the device that computes: each slice travels there once, and once back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.predict import predict
from SyntheticContrastLib.synthesis.preparation import prepare_network
from SyntheticContrastLib.synthesis.process import check_cancelled, is_out_of_memory

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
    if not 1 <= step <= patch.depth:
        raise InputError(f"step {step} is out of range: use 1 to {patch.depth} slices")
    try:
        return _synthesise(hu, network, patch, compute, step, uncertainty, on_progress, on_fallback)
    except (MemoryError, RuntimeError) as error:
        if compute.device == "cpu" or not is_out_of_memory(error):
            raise
    # Outside the handler, whose traceback would keep the tensors alive.
    on_fallback(f"{compute.device} is out of memory: starting again on the CPU in fp32")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    on_cpu = Compute("cpu", "fp32", "the GPU is out of memory", "safe on this device")
    return _synthesise(hu, network, patch, on_cpu, step, uncertainty, on_progress, on_fallback)


def _synthesise(
    hu: NDArray,
    network: nn.Module,
    patch: Patch,
    compute: Compute,
    step: int,
    uncertainty: bool,
    on_progress: Callable[[int, int], None],
    on_fallback: Callable[[str], None],
) -> Synthesis:
    depth, slices = patch.depth, len(hu)
    missing = max(0, depth - slices)  # a thin volume is continued by its edge slices
    sources = np.clip(np.arange(slices + missing) - missing // 2, 0, slices - 1)
    y_pad, x_pad = (_in_plane_padding(size, patch) for size in hu.shape[1:])
    device = torch.device(compute.device)

    def load(first: int, last: int) -> Tensor:
        """(C, last - first, Y, X) of slices in the input windows, surrounded by air in plane."""
        values = np.pad(hu[sources[first:last]], ((0, 0), y_pad, x_pad), constant_values=AIR_HU)
        return _in_windows(_send(values, device), patch.input_windows)

    on_gpu = device.type == "cuda"
    result = torch.empty(hu.shape, dtype=torch.int16, pin_memory=on_gpu)
    spread = torch.empty(hu.shape, pin_memory=on_gpu) if uncertainty else None
    inside = np.s_[:, y_pad[0] : y_pad[0] + hu.shape[1], x_pad[0] : x_pad[0] + hu.shape[2]]
    average = _RunningAverage(depth, hu.shape[1:], device, uncertainty)
    starts = window_starts(len(sources), depth, step)
    windows = _Windows(load, depth)
    inputs = (windows.at(start) for start in starts)
    at_once = prepare_network(network, windows.at(0), compute)
    predictions = predict(network, inputs, compute, on_fallback, at_once=at_once, name="window")
    queue = _Queue(device, 2 * at_once)
    for number, prediction in enumerate(predictions):
        start = starts[number]
        average.add(start, prediction[inside].to(device))
        final_until = starts[number + 1] if number + 1 < len(starts) else len(sources)
        mean, deviation = average.take(start, final_until - start)
        first, last = (min(slices, max(0, position - missing // 2)) for position in (start, final_until))
        if first < last:
            kept = slice(first - start + missing // 2, last - start + missing // 2)
            values = _to_hu(mean[kept], _send(hu[first:last], device), patch)
            result[first:last].copy_(values, non_blocking=on_gpu)
            if spread is not None and deviation is not None:
                spread[first:last].copy_(deviation[kept] * (patch.output_window[0] / 2), non_blocking=on_gpu)
        queue.add()
        on_progress(last, slices)
        check_cancelled()
    queue.finish()
    return Synthesis(result.numpy(), None if spread is None else spread.numpy())


def _send(values: NDArray, device: torch.device) -> Tensor:
    """float32 on the device; the copy to a GPU does not wait for what the GPU is computing."""
    tensor = torch.from_numpy(np.array(values, order="C"))  # a copy: PyTorch warns of arrays that are read-only
    if device.type == "cuda":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device).float()


def _in_windows(hu: Tensor, windows: Sequence[tuple[float, float]]) -> Tensor:
    """`ct.window.to_windows`, on the device of the tensor."""
    return torch.stack([((hu - level) / (width / 2)).clamp(-1, 1) for width, level in windows])


def _to_hu(mean: Tensor, source: Tensor, patch: Patch) -> Tensor:
    """int16 (Z, Y, X) of averaged predictions in the output window, for slices `source` in HU."""
    width, level = patch.output_window
    values = mean * (width / 2) + level
    if patch.residual:
        values += source - source.clamp(level - width / 2, level + width / 2)
    return values.round_().clamp_(-32768, 32767).masked_fill_(source <= OUTSIDE_HU, AIR_HU).to(torch.int16)


class _Queue:
    """Lets the host run some windows ahead of a GPU, no more, so that progress and cancelling stay honest."""

    def __init__(self, device: torch.device, ahead: int) -> None:
        self.device, self.ahead = device, ahead
        self.events: deque[torch.cuda.Event] = deque()

    def add(self) -> None:
        if self.device.type == "cuda":
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(self.device))
            self.events.append(event)
            if len(self.events) > self.ahead:
                self.events.popleft().synchronize()

    def finish(self) -> None:
        for event in self.events:
            event.synchronize()


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

    def __init__(self, depth: int, plane: tuple[int, ...], device: torch.device, with_deviation: bool) -> None:
        self.count = torch.zeros(depth, 1, 1, device=device)
        self.mean = torch.zeros(depth, *plane, device=device)
        self.squares = torch.zeros(depth, *plane, device=device) if with_deviation else None

    def add(self, start: int, window: Tensor) -> None:
        for ring, part in self._parts(start, len(window)):
            self.count[ring] += 1
            difference = window[part] - self.mean[ring]
            self.mean[ring].addcdiv_(difference, self.count[ring])
            if self.squares is not None:
                self.squares[ring].addcmul_(difference, window[part] - self.mean[ring])

    def take(self, start: int, slices: int) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation of some slices, (slices, Y, X); their places in the ring become free."""
        rings = [ring for ring, _ in self._parts(start, slices)]
        mean = torch.cat([self.mean[ring] for ring in rings])
        deviation = None
        if self.squares is not None:
            deviation = torch.cat([(self.squares[ring] / self.count[ring]).sqrt() for ring in rings])
        for values in (self.count, self.mean) if self.squares is None else (self.count, self.mean, self.squares):
            for ring in rings:
                values[ring] = 0
        return mean, deviation

    def _parts(self, start: int, slices: int) -> Iterator[tuple[slice, slice]]:
        """Where successive slices lie in the ring, and which of them: two parts where they run over its end."""
        at, size = start % len(self.count), len(self.count)
        before_end = min(slices, size - at)
        yield slice(at, at + before_end), slice(0, before_end)
        if before_end < slices:
            yield slice(0, slices - before_end), slice(before_end, slices)


def _in_plane_padding(size: int, patch: Patch) -> tuple[int, int]:
    """Voxels of air before and after, so that the size suits the network."""
    multiple = patch.in_plane_multiple
    wanted = max(patch.minimum_in_plane, -(-size // multiple) * multiple)
    return (wanted - size) // 2, (wanted - size + 1) // 2

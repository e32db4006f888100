"""Sliding-window synthesis against a plain one that keeps everything, and at the edges of what it accepts."""

import dataclasses

import numpy as np
import pytest
import torch

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.window import to_windows
from SyntheticContrastLib.models.choi2021 import Generator
from SyntheticContrastLib.models.folding import fold
from SyntheticContrastLib.synthesis import predict, preparation, process, sliding_window
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.sliding_window import Patch, synthesise, window_starts
from unit.tiny import WINDOWS

CPU = Compute("cpu", "fp32", "", "")
PATCH = Patch(16, WINDOWS, (2000.0, 0.0), 8, 8)


class Identity(torch.nn.Module):
    """Gives its first channel: the HU clipped to -1000..1000."""

    def forward(self, x):
        return x[:, :1]


class DependsOnWindow(torch.nn.Module):
    """Each slice's prediction depends on the whole window and on the slice's place in it."""

    def forward(self, x):
        places = torch.linspace(-0.2, 0.2, x.shape[2], device=x.device).view(1, 1, -1, 1, 1)
        return torch.tanh(x[:, :1] + 0.5 * x[:, 1:2].mean(dim=(2, 3, 4), keepdim=True) + places)


def random_hu(shape, seed=0):
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)


def plain_synthesis(hu, network, step):
    """All windows' predictions kept; mean and SD of each slice."""
    predictions = [[] for _ in hu]
    for start in window_starts(len(hu), 16, step):
        window = torch.from_numpy(to_windows(hu[start : start + 16], WINDOWS))[None]
        for offset, values in enumerate(network(window)[0, 0].numpy()):
            predictions[start + offset].append(1000.0 * values)
    mean = np.stack([np.mean(p, axis=0) for p in predictions])
    return np.rint(mean), np.stack([np.std(p, axis=0) for p in predictions])


@pytest.mark.parametrize(("slices", "step"), [(16, 1), (17, 1), (40, 1), (40, 4), (41, 8), (43, 16), (45, 7)])
def test_equals_the_plain_average(slices, step):
    hu = random_hu((slices, 16, 24))
    result = synthesise(hu, DependsOnWindow(), PATCH, CPU, step=step, uncertainty=True)
    mean, deviation = plain_synthesis(hu, DependsOnWindow(), step)
    assert np.abs(result.hu - mean).max() <= 1  # halves may round the other way
    assert (result.hu == mean).mean() > 0.999
    np.testing.assert_allclose(result.uncertainty, deviation, atol=0.01)
    assert result.hu.dtype == np.int16 and result.uncertainty.dtype == np.float32


@pytest.mark.parametrize(("slices", "step", "count"), [(16, 1, 1), (64, 1, 49), (64, 8, 7), (65, 8, 8), (30, 16, 2)])
def test_windows_start_at_the_top_and_reach_the_end(slices, step, count):
    starts = window_starts(slices, 16, step)
    assert len(starts) == count
    assert starts[0] == 0 and starts[-1] == slices - 16
    assert set().union(*(range(start, start + 16) for start in starts)) == set(range(slices))


def test_a_volume_that_is_read_only_is_taken():
    """As one that is mapped from a file; PyTorch warns of such, and warnings are errors here."""
    hu = random_hu((17, 16, 16))
    hu.flags.writeable = False
    assert np.array_equal(synthesise(hu, Identity(), PATCH, CPU).hu, hu)


@pytest.mark.parametrize("slices", [1, 2, 5, 15])
def test_thin_volume_is_continued_by_its_edges_and_cropped(slices):
    hu = random_hu((slices, 16, 16))
    seen = []

    class Spy(Identity):
        def forward(self, x):
            seen.append(x[0, 0].numpy() * 1000)
            return super().forward(x)

    result = synthesise(hu, Spy(), PATCH, CPU)
    assert np.array_equal(result.hu, hu)
    (window,) = seen
    before = (16 - slices) // 2
    for place, values in enumerate(window):
        np.testing.assert_allclose(values, hu[np.clip(place - before, 0, slices - 1)], atol=1e-3)


@pytest.mark.parametrize("plane", [(8, 8), (11, 13), (7, 40), (1, 9)])
def test_in_plane_sizes_are_padded_with_air_and_cropped(plane):
    hu = random_hu((18, *plane))
    shapes = set()

    class Spy(Identity):
        def forward(self, x):
            shapes.add(x.shape[3:])
            if plane[0] % 8 and plane[1] % 8:
                assert torch.all(x[0, :, :, -1, -1] == -1)
            return super().forward(x)

    result = synthesise(hu, Spy(), PATCH, CPU)
    assert np.array_equal(result.hu, hu)
    assert shapes == {tuple(-(-side // 8) * 8 for side in plane)}


def test_what_the_window_clips_is_kept_by_a_residual_network_only():
    hu = random_hu((18, 16, 16))
    hu[3, 4, 4:7] = 1500, 3071, -1020
    hu[5, 1, 1] = -1024
    assert synthesise(hu, Identity(), PATCH, CPU).hu[3, 4, 4:7].tolist() == [1000, 1000, -1000]
    kept = synthesise(hu, Identity(), dataclasses.replace(PATCH, residual=True), CPU).hu
    assert kept[5, 1, 1] == -1000
    kept[5, 1, 1] = -1024
    assert np.array_equal(kept, hu)


def test_minimum_in_plane_of_the_network_is_kept():
    patch = Patch(16, WINDOWS, (2000.0, 0.0), 8, 32)
    sizes = []

    class Spy(Identity):
        def forward(self, x):
            sizes.append(tuple(x.shape[3:]))
            return super().forward(x)

    synthesise(random_hu((16, 8, 40)), Spy(), patch, CPU)
    assert sizes == [(32, 40)]


def test_values_beyond_the_scale_and_outside_the_scan_circle():
    hu = np.zeros((16, 8, 8), np.int16)
    hu[:, 0, 0], hu[:, 0, 1], hu[:, 0, 2], hu[:, 0, 3] = 3000, -1010, -1024, -3024
    network = torch.nn.Sequential(Identity())
    network.register_forward_hook(lambda module, inputs, output: output + 0.25)
    result = synthesise(hu, network, PATCH, CPU).hu
    assert result[5, 1, 1] == 250
    assert result[5, 0, 1] == -750  # air is synthesised like all else
    assert result[5, 0, 2] == result[5, 0, 3] == -1000  # what was not measured is air
    assert result[5, 0, 0] == 1250  # input clipped at 1000


def test_floats_are_rounded_not_truncated():
    hu = np.full((16, 8, 8), 10.6, np.float32)
    hu[:, 0] = -10.6
    result = synthesise(hu, Identity(), PATCH, CPU).hu
    assert result[0, 1, 0] == 11 and result[0, 0, 0] == -11


@pytest.mark.parametrize("step", [0, 17, -1])
def test_step_out_of_range_is_refused(step):
    with pytest.raises(InputError, match="1 to 16"):
        synthesise(random_hu((20, 8, 8)), Identity(), PATCH, CPU, step=step)


def test_progress_counts_final_slices():
    told = []
    synthesise(random_hu((20, 8, 8)), Identity(), PATCH, CPU, on_progress=lambda *counts: told.append(counts))
    assert told == [(1, 20), (2, 20), (3, 20), (4, 20), (20, 20)]
    told.clear()
    synthesise(random_hu((5, 8, 8)), Identity(), PATCH, CPU, on_progress=lambda *counts: told.append(counts))
    assert told == [(5, 5)]


class FakeGpu(Identity):
    """Runs out of memory above `limit` windows at once, as long as it has not been moved to the CPU."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit
        self.batches = []
        self.moves = 0

    def to(self, *args, **kwargs):
        self.moves += 1
        return self

    def forward(self, x):
        if self.moves < 2 and len(x) > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        self.batches.append(len(x))
        return super().forward(x)


@pytest.mark.parametrize(("limit", "batches", "messages"), [(4, 4, 0), (2, 2, 1), (1, 1, 2), (0, 1, 3)])
def test_out_of_memory_falls_back_and_says_so(monkeypatch, limit, batches, messages):
    """Fewer windows at once, then the CPU. What stands in for the GPU computes on the CPU."""
    forward = predict._forward
    monkeypatch.setattr(
        predict,
        "_forward",
        lambda network, inputs, device, dtype: forward(network, inputs, torch.device("cpu"), dtype),
    )
    inputs = torch.rand(9, 1, 1, 4, 8, 8)
    network, said = FakeGpu(limit), []
    cuda = Compute("cuda:0", "fp32", "", "")
    given = predict.predict(network, iter(inputs), cuda, said.append, at_once=4, name="window")
    assert torch.equal(torch.stack(list(given)), inputs[:, 0, 0])
    assert network.batches[0] == batches
    assert len(said) == messages
    assert ("CPU" in said[-1]) if limit == 0 else all("window(s) at once" in line for line in said)


def test_out_of_memory_beside_the_network_starts_again_on_the_cpu(monkeypatch):
    """As when another job fills the card before the windows are made."""
    devices, said = [], []
    convert = sliding_window._synthesise

    def run(hu, network, patch, compute, *others):
        devices.append(compute.device)
        if compute.device != "cpu":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return convert(hu, network, patch, compute, *others)

    monkeypatch.setattr(sliding_window, "_synthesise", run)
    hu = random_hu((17, 8, 8))
    found = synthesise(hu, Identity(), PATCH, Compute("cuda:0", "bf16", "", ""), on_fallback=said.append)
    assert np.array_equal(found.hu, hu) and devices == ["cuda:0", "cpu"]
    assert said == ["cuda:0 is out of memory: starting again on the CPU in fp32"]


def test_out_of_memory_on_the_cpu_ends_with_a_clear_line():
    class Hungry(Identity):
        def forward(self, x):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: tried 1 EB")

    with pytest.raises(process.OutOfMemoryError, match="smaller model or CT"):
        synthesise(random_hu((16, 8, 8)), Hungry(), PATCH, CPU)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
@pytest.mark.parametrize("norm", ["keras", "instance"])
def test_on_a_cpu_kernels_lie_channels_last_and_give_the_same(norm):
    torch.manual_seed(0)
    network = fold(Generator(gf=6, norm=norm))
    hu, patch = random_hu((17, 256, 256)), dataclasses.replace(PATCH, in_plane_multiple=128, minimum_in_plane=256)
    with torch.inference_mode():
        expected = 1000 * network(torch.from_numpy(to_windows(hu[:16], WINDOWS))[None])[0, 0].numpy()
    found = synthesise(hu, network, patch, CPU).hu
    assert network.down[1].conv.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert np.abs(found[0] - expected[0]).max() <= 0.6


def test_in_bf16_on_a_cpu_kernels_are_kept_in_bf16_and_give_what_autocast_gives():
    torch.manual_seed(0)
    network = fold(Generator(gf=2, norm="keras")).to(memory_format=torch.channels_last_3d)
    hu, patch = random_hu((17, 128, 128)), dataclasses.replace(PATCH, in_plane_multiple=128, minimum_in_plane=128)
    window = torch.from_numpy(to_windows(hu[:16], WINDOWS))[None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = 1000 * network(window)[0, 0].float().numpy()
    found = synthesise(hu, network, patch, dataclasses.replace(CPU, precision="bf16")).hu
    assert {p.dtype for p in network.parameters() if p.dim() > 1} == {torch.bfloat16}
    assert {p.dtype for p in network.parameters() if p.dim() == 1} == {torch.float32}
    assert np.abs(found[0] - expected[0]).max() <= 0.5


def test_the_faster_layout_is_taken_and_computes_the_same():
    network = torch.nn.Conv3d(2, 4, 3, padding=1).eval()
    window = torch.rand(1, 2, 4, 16, 16)
    expected = network(window)
    layout = preparation.fastest_layout(network, window, CPU)
    assert layout in preparation.LAYOUTS
    torch.testing.assert_close(network.to(memory_format=layout)(window), expected)


@pytest.mark.parametrize(
    ("needed", "free", "at_once"), [(10, 1000, 16), (100, 1000, 7), (900, 1000, 1), (5000, 1000, 1)]
)
def test_as_many_windows_at_once_as_fit_on_the_gpu(monkeypatch, needed, free, at_once):
    """The GPU's own account of its memory is stood in for."""
    for name, value in {
        "memory_allocated": 50, "max_memory_allocated": 50 + needed, "mem_get_info": (1000, 2000),
        "reset_peak_memory_stats": None, "empty_cache": None,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    assert preparation.windows_that_fit(Identity(), torch.zeros(1, 1, 2, 8, 8), CPU) == at_once


def test_other_errors_are_not_taken_for_memory():
    class Broken(Identity):
        def forward(self, x):
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        synthesise(random_hu((16, 8, 8)), Broken(), PATCH, CPU)


def test_a_cancel_whose_exception_was_lost_still_stops(monkeypatch):
    windows = []

    class Cancelling(Identity):
        def forward(self, x):
            windows.append(1)
            monkeypatch.setattr(process, "_cancel_asked", True)
            return super().forward(x)

    with pytest.raises(process.Cancelled):
        synthesise(random_hu((40, 8, 8)), Cancelling(), PATCH, CPU)
    assert len(windows) == 1


def test_memory_beyond_input_and_output_does_not_grow_with_the_slices():
    """Bytes allocated by numpy and held by torch tensors at the end of every window, against the input's size."""
    import gc
    import tracemalloc

    def peak_beyond_output(slices):
        hu = random_hu((slices, 64, 64))
        tensors = []

        class Spy(Identity):
            def forward(self, x):
                held = [o for o in gc.get_objects() if type(o) is torch.Tensor]
                tensors.append(sum(t.numel() * t.element_size() for t in held))
                return super().forward(x)

        tracemalloc.start()
        synthesise(hu, Spy(), PATCH, CPU, step=8)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, max(tensors) - hu.nbytes  # the result is a tensor, too

    numpy_short, torch_short = peak_beyond_output(32)
    numpy_long, torch_long = peak_beyond_output(256)
    assert numpy_long < numpy_short + 100_000
    assert torch_long < torch_short + 100_000

"""Synthesis of the heart region: where it changes a CT, by how much, and where not at all."""

import copy

import numpy as np
import pytest
import torch

from SyntheticContrastLib.ct.in_plane import sample
from SyntheticContrastLib.models.santini2018 import fold_for_inference
from SyntheticContrastLib.synthesis import predict, process
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.heart_slices import (
    EDGE_MM,
    HeartCrop,
    _Region,
    heart_placement,
    synthesise_heart,
)
from unit.tiny import HEART_WINDOW, identity_heart_network, tiny_heart_network

CPU = Compute("cpu", "fp32", "", "")
CROP = HeartCrop(128, 1.5625, HEART_WINDOW)
SPACING = (3.0, 0.8, 0.8)


class Adds(torch.nn.Module):
    """Adds an image to its input, in units of the window."""

    def __init__(self, added):
        super().__init__()
        self.added = torch.as_tensor(added, dtype=torch.float32) / 500

    def forward(self, x):
        return x + self.added


def noisy_hu(shape, seed=0):
    """Soft tissue with noise, no value that was not measured."""
    return np.random.default_rng(seed).normal(40, 20, shape).round().astype(np.int16)


def ball(shape, spacing, radius_mm, centre=None):
    centre = centre or [(size - 1) / 2 for size in shape]
    parts = [((np.arange(size) - middle) * mm) ** 2 for size, mm, middle in zip(shape, spacing, centre, strict=True)]
    return parts[0][:, None, None] + parts[1][:, None] + parts[2] <= radius_mm**2


def run(hu, mask, network, spacing=SPACING, crop=CROP, compute=CPU, **options):
    return synthesise_heart(hu, mask, spacing, network, crop, compute, **options)


def test_a_network_that_gives_its_input_gives_back_the_ncct():
    """Exactly, values beyond the window too; only what was not measured becomes air, as with the sliding window."""
    hu = noisy_hu((12, 200, 240))
    hu[:, 90:100, 90:100] = 2500
    hu[:, 110:120, 90:100] = -1023
    hu[:, :10] = -2000
    result = run(hu, ball(hu.shape, SPACING, 50), identity_heart_network())
    assert result.hu.dtype == np.int16 and result.uncertainty is None
    assert np.array_equal(result.hu[:, 10:], hu[:, 10:])
    assert np.all(result.hu[:, :10] == -1000)


def test_outside_the_mask_nothing_changes_inside_all_is_added():
    hu = noisy_hu((16, 200, 240))
    mask = ball(hu.shape, SPACING, 40, (8, 90, 130))
    result = run(hu, mask, identity_heart_network(added=0.5)).hu
    change = result.astype(int) - hu
    assert np.all(change[~mask] == 0)
    deep = ball(hu.shape, SPACING, 40 - EDGE_MM - 2, (8, 90, 130))
    assert np.all(np.abs(change[deep] - 250) <= 1)


@pytest.mark.parametrize("z_mm", [1.0, 3.0, 5.0, 8.0])
def test_the_change_rises_smoothly_from_the_rim(z_mm):
    hu = np.zeros((round(110 / z_mm), 160, 160), np.int16)
    spacing = (z_mm, 0.8, 0.8)
    change = run(hu, ball(hu.shape, spacing, 45), identity_heart_network(added=0.6), spacing).hu
    row = change[len(hu) // 2, 80].astype(int)
    assert row.max() == 300
    assert np.abs(np.diff(row)).max() < 300 * 0.3  # a hard edge would be a step of 300
    column = change[:, 80, 80].astype(int)  # the top and bottom slices are softer as well
    first = np.flatnonzero(column)[0]
    assert first > 0 and 0 < column[first] < 170


def test_at_the_border_of_the_ct_there_is_no_rim():
    """A CT cut to the heart shows it up to its border."""
    hu = np.zeros((6, 60, 60), np.int16)
    change = run(hu, np.ones(hu.shape, bool), identity_heart_network(added=0.6)).hu
    assert np.all(np.abs(change - 300) <= 1)


@pytest.mark.parametrize("spacing", [(3.0, 0.8, 0.8), (3.0, 0.5, 0.9), (3.0, 2.5, 2.5)])
def test_a_smooth_change_comes_back_where_it_was(spacing):
    """Painted in the crop as a function of mm, it is found on the CT's pixels at the same mm: no shift, no scale."""
    shape = (5, *(round(170 / mm) for mm in spacing[1:]))
    mask = ball(shape, spacing, 70, (2, shape[1] * 0.45, shape[2] * 0.55))

    def painted(y_mm, x_mm):
        return 150 + 100 * np.sin(y_mm / 14) + 80 * np.cos(x_mm / 11 + y_mm / 30)

    placement = heart_placement(mask, spacing, CROP.crop, CROP.pixel_mm)
    y, x = placement.points()
    change = painted(y * spacing[1], x * spacing[2])
    result = run(np.zeros(shape, np.int16), mask, Adds(change), spacing).hu
    y, x = np.mgrid[: shape[1], : shape[2]]
    expected = painted(y * spacing[1], x * spacing[2])
    deep = ball(shape, spacing, 70 - 8, (2, shape[1] * 0.45, shape[2] * 0.55))[2]
    error = result[2][deep] - expected[deep]
    assert np.abs(error).max() < (4 if spacing[1] < CROP.pixel_mm else 12)  # coarser pixels average the change
    assert abs(error.mean()) < 1


def test_what_the_network_sees_is_the_shared_crop_in_its_window():
    hu = noisy_hu((4, 150, 170))
    mask = np.zeros(hu.shape, bool)
    mask[1:3, 40:91, 50:120] = True
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x

    run(hu, mask, Spy())
    images = torch.cat(seen)
    assert images.shape == (2, 1, 128, 128)
    placement = heart_placement(mask, SPACING, 128, 1.5625)
    assert placement.centre_yx == (65, 84.5)
    expected = (sample(hu[1:3], placement, -1000) - 200) / 500
    np.testing.assert_allclose(images[:, 0], np.clip(expected, -1, 1), atol=1e-6)


def test_a_heart_larger_than_the_crop_ends_softly():
    hu = np.zeros((4, 300, 300), np.int16)
    mask = np.zeros(hu.shape, bool)
    mask[:, 10:290, 10:290] = True  # 224 mm; the crop holds 200
    change = run(hu, mask, identity_heart_network(added=0.6)).hu.astype(int)
    assert change[2, 150, 150] == 300
    assert np.all(change[:, :20] == 0) and np.all(change[:, -20:] == 0)
    assert np.abs(np.diff(change[2, 150])).max() < 300 * 0.3


def test_slices_without_heart_between_others_are_left_out():
    hu = noisy_hu((30, 100, 100))
    mask = np.zeros(hu.shape, bool)
    mask[[3, 4, 20, 27], 30:70, 30:70] = True
    told = []
    result = run(hu, mask, identity_heart_network(added=0.5), on_progress=lambda *counts: told.append(counts)).hu
    assert [z for z in range(30) if not np.array_equal(result[z], hu[z])] == [3, 4, 20, 27]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_soft_edges_do_not_depend_on_the_slab_they_are_computed_in(monkeypatch):
    mask = ball((40, 80, 80), (1.5, 1.2, 1.2), 28)
    region = _Region.around(mask, heart_placement(mask, (1.5, 1.2, 1.2), 128, 1.5625))
    slices = [z for z in range(40) if mask[z].any()]
    by_slabs = list(region.soft_edges(mask, slices, (1.5, 1.2, 1.2)))
    monkeypatch.setattr("SyntheticContrastLib.synthesis.heart_slices.SLAB", 1000)
    at_once = list(region.soft_edges(mask, slices, (1.5, 1.2, 1.2)))
    assert len(by_slabs) == len(slices) > 16
    np.testing.assert_allclose(by_slabs, at_once, atol=1e-6)


def test_batch_norm_folded_into_the_weights_gives_the_same():
    hu = noisy_hu((6, 120, 120))
    mask = ball(hu.shape, SPACING, 30)
    network = tiny_heart_network(batch_norm=True)
    folded = fold_for_inference(copy.deepcopy(network))
    found, expected = (run(hu, mask, net).hu.astype(int) for net in (folded, network))
    assert np.abs(expected - hu).max() > 20
    assert np.abs(found - expected).max() <= 1


def test_half_precision_costs_little():
    hu = noisy_hu((4, 100, 100))
    mask = ball(hu.shape, SPACING, 30)
    full, half = (run(hu, mask, tiny_heart_network(), compute=Compute("cpu", p, "", "")).hu for p in ("fp32", "bf16"))
    assert np.abs(full.astype(int) - hu).max() > 50
    assert np.abs(full.astype(int) - half).mean() < 1


def test_float_volumes_are_rounded_and_kept_in_range():
    hu = np.full((4, 80, 80), 10.6, np.float32)
    hu[:, :4] = 40000.0
    result = run(hu, ball(hu.shape, SPACING, 20), identity_heart_network()).hu
    assert result[2, 40, 40] == 11 and np.all(result[:, :4] == 32767)


def test_out_of_memory_takes_fewer_slices_at_once_then_the_cpu(monkeypatch):
    """What stands in for the GPU computes on the CPU."""
    forward = predict._forward
    monkeypatch.setattr(
        predict,
        "_forward",
        lambda network, inputs, device, dtype: forward(network, inputs, torch.device("cpu"), dtype),
    )

    class Hungry(torch.nn.Module):
        batches = ()

        def forward(self, x):
            if len(x) > limit:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            self.batches += (len(x),)
            return x

    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *args, **kwargs: self)
    hu, limit, said = noisy_hu((20, 60, 60)), 5, []
    network = Hungry()
    result = run(
        hu, np.ones(hu.shape, bool), network, compute=Compute("cuda:0", "fp32", "", ""), on_fallback=said.append
    )
    assert np.array_equal(result.hu, hu)
    assert network.batches == (4, 4, 4, 4, 4)
    assert len(said) == 3 and all("slice(s) at once" in line for line in said)


def test_out_of_memory_for_one_slice_ends_with_a_clear_line():
    class Hungry(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: tried 1 EB")

    hu = noisy_hu((9, 60, 60))
    with pytest.raises(process.OutOfMemoryError, match="out of memory for one slice on the CPU"):
        run(hu, np.ones(hu.shape, bool), Hungry())


def test_a_cancel_whose_exception_was_lost_still_stops(monkeypatch):
    class Cancelling(torch.nn.Module):
        def forward(self, x):
            monkeypatch.setattr(process, "_cancel_asked", True)
            return x

    hu = noisy_hu((9, 60, 60))
    with pytest.raises(process.Cancelled):
        run(hu, np.ones(hu.shape, bool), Cancelling())

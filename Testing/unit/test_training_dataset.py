"""Stacks of slices: each once an epoch, cut alike, over the whole field of view, the same when a run is resumed."""

import dataclasses
import threading
import time
from collections import Counter

import numpy as np
import pytest

from SyntheticContrastLib.ct.in_plane import cut_out
from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastTrainingLib.dataset import AIR_HU, Pair, Stacks, augment, random_offset
from SyntheticContrastTrainingLib.lesions import grainy_noise
from SyntheticContrastTrainingLib.loading import read_ahead
from SyntheticContrastTrainingLib.prepared import read_manifest
from SyntheticContrastTrainingLib.recipes import Recipe

PLAIN = Recipe("test", epochs=1, max_shift=9)


def numbered(slices, size, first=0):
    """Volumes whose voxels tell where they are: the CECT is the NCCT + 1."""
    ncct = (first + np.arange(slices * size * size) % 20000).reshape(slices, size, size).astype(np.int16)
    return Pair(ncct, ncct + np.int16(1))


def test_both_volumes_are_cut_alike():
    stacks = Stacks([numbered(20, 40)], depth=16)
    for place in range(50):
        pair = stacks.draw(PLAIN, place, crop=32)
        assert pair.ncct.shape == pair.cect.shape == (16, 32, 32)
        inside = pair.ncct != AIR_HU
        assert np.array_equal(pair.cect[inside], pair.ncct[inside] + 1)
        assert (pair.cect[~inside] == AIR_HU).all()


@pytest.mark.parametrize(("size", "crop"), [(64, 32), (64, 64), (40, 64)])
def test_crops_cover_the_whole_field_of_view(size, crop):
    stacks = Stacks([Pair(*(np.arange(size * size, dtype=np.int16).reshape(1, size, size),) * 2)], depth=1)
    seen = Counter()
    for place in range(600):
        seen.update(np.unique(stacks.draw(dataclasses.replace(PLAIN, max_shift=6), place, crop).ncct).tolist())
    seen.pop(AIR_HU, None)
    assert len(seen) == size * size
    corners = [seen[index] for index in (0, size - 1, size * (size - 1), size * size - 1)]
    assert min(corners) > 0.005 * 600  # a central crop would never show a corner


def test_every_stack_of_every_volume_is_seen_once_an_epoch_in_another_order():
    stacks = Stacks([numbered(16, 8), numbered(20, 8), numbered(15, 8)], depth=16)
    assert [stacks.places[number] for number in range(len(stacks))] == [(0, 0)] + [(1, z) for z in range(5)]
    orders = [tuple(stacks.number_at(0, 6 * epoch + place) for place in range(6)) for epoch in range(20)]
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert len(set(orders)) > 15
    assert [stacks.number_at(1, place) for place in range(60)] != [stacks.number_at(0, place) for place in range(60)]


def test_a_place_in_the_stream_has_the_same_data_whenever_it_is_read():
    stacks = Stacks([numbered(24, 40)], depth=16)
    recipe = dataclasses.replace(PLAIN, noise_hu=10.0, iodine=(0.5, 1.5))
    other = dataclasses.replace(recipe, seed=4)
    first, again, next_place, other_seed = (
        stacks.draw(asked, place, 32).ncct for asked, place in ((recipe, 7), (recipe, 7), (recipe, 8), (other, 7))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, next_place)
    assert not np.array_equal(first, other_seed)


def test_cut_out_fills_with_air():
    volume = np.ones((2, 4, 4), np.int16)
    result = cut_out(volume, (-1, 2), (4, 4), AIR_HU)
    expected = np.full((4, 4), AIR_HU)
    expected[1:, :2] = 1
    assert (result == expected).all()
    assert (cut_out(volume, (9, 0), (4, 4), AIR_HU) == AIR_HU).all()


def test_a_small_image_lies_whole_in_the_crop():
    random = np.random.default_rng(0)
    offsets = [random_offset(random, 20, 32, 0) for _ in range(300)]
    assert min(offsets) == -12
    assert max(offsets) == 0


def test_a_shift_reaches_both_ends_and_no_further():
    random = np.random.default_rng(0)
    offsets = {random_offset(random, 512, 512, 50) for _ in range(3000)}
    assert offsets == set(range(-50, 51))


def test_iodine_scales_what_contrast_adds_and_nothing_else():
    random = np.random.default_rng(0)
    ncct = np.full((2, 8, 8), 40, np.int16)
    pair = Pair(ncct, ncct + np.int16(200))
    enhanced = []
    for _ in range(200):
        changed = augment(pair, random, dataclasses.replace(PLAIN, iodine=(0.5, 1.5)))
        assert np.array_equal(changed.ncct, ncct)
        assert len(np.unique(changed.cect)) == 1
        enhanced.append(int(changed.cect[0, 0, 0]) - 40)
    assert min(enhanced) >= 100 and max(enhanced) <= 300
    assert min(enhanced) < 110 and max(enhanced) > 290


def test_noise_is_the_same_in_input_and_target():
    ncct = np.zeros((2, 64, 64), np.int16)
    changed = augment(
        Pair(ncct, ncct + np.int16(300)), np.random.default_rng(3), dataclasses.replace(PLAIN, noise_hu=20.0)
    )
    assert 1 < changed.ncct.std() < 20
    assert np.array_equal(changed.cect - changed.ncct, np.full(ncct.shape, 300))


def test_nothing_is_altered_in_the_papers_recipes():
    pair = numbered(2, 8)
    assert augment(pair, np.random.default_rng(0), PLAIN) == pair


def test_reading_ahead_keeps_the_order_and_the_limit():
    begun, lock = [], threading.Lock()

    def read(step):
        with lock:
            begun.append(step)
        time.sleep(0.02 if step % 2 else 0)  # odd ones come late
        return step * step

    with read_ahead(read, 3, 20, threads=3) as ahead:
        assert ahead.next() == 9
        time.sleep(0.2)
        assert max(begun) < 3 + 8
        assert [ahead.next() for _ in range(4, 20)] == [step * step for step in range(4, 20)]
        with pytest.raises(IndexError):
            ahead.next()
    assert sorted(begun) == list(range(3, 20))


def test_an_error_while_reading_ahead_comes_with_its_step():
    def read(step):
        if step == 2:
            raise OSError("the disk is gone")
        return step

    with read_ahead(read, 0, 5, threads=2) as ahead:
        assert [ahead.next(), ahead.next()] == [0, 1]
        with pytest.raises(OSError, match="the disk is gone"):
            ahead.next()


# Other geometries


def ramp(slices=24, size=64, spacing=(2.0, 0.5, 0.5)):
    """Values that rise linearly along x, a step of 10 HU a pixel, and along z by 3 HU a slice."""
    z, _, x = np.meshgrid(np.arange(slices), np.arange(size), np.arange(size), indexing="ij")
    ncct = (10 * x + 3 * z).astype(np.int16)
    return Pair(ncct, ncct + np.int16(100), spacing)


def test_thicker_slices_are_means_of_neighbours_and_end_with_the_volume():
    stacks = Stacks([ramp()], depth=8)
    recipe = dataclasses.replace(PLAIN, slice_mm=6.5, max_shift=0)
    seen = Counter()
    for place in range(200):
        stack = stacks.draw(recipe, place, 64)
        thickness = round(stack.spacing_zyx[0] / 2.0)
        seen[thickness] += 1
        assert stack.ncct.shape == stack.cect.shape == (8, 64, 64)
        assert np.allclose(np.diff(stack.ncct[:, 0, 0]), 3 * thickness, atol=1)
    assert set(seen) == {1, 2, 3}


def test_slices_as_thick_as_asked_are_left_alone():
    stacks = Stacks([ramp(spacing=(5.0, 0.5, 0.5))], depth=8)
    recipe = dataclasses.replace(PLAIN, slice_mm=6.5)
    assert all(stacks.draw(recipe, place, 64).spacing_zyx[0] == 5.0 for place in range(30))


@pytest.mark.parametrize(("pixel_mm", "magnification", "rise"), [(1.0, 1.0, 20.0), (0.25, 1.0, 5.0), (0.0, 2.0, 5.0)])
def test_pixels_of_another_size(pixel_mm, magnification, rise):
    stacks = Stacks([ramp()], depth=8)
    recipe = dataclasses.replace(PLAIN, pixel_mm=pixel_mm, magnification=(magnification,) * 2, max_shift=0)
    stack = stacks.draw(recipe, 0, 16)
    inner = stack.ncct[0, 4:12, 4:12].astype(float)
    assert np.diff(inner, axis=1).mean() == pytest.approx(rise, rel=0.1)
    assert np.allclose(np.diff(inner, axis=1), rise, atol=2)  # bicubic interpolation follows a line to some per cent
    assert np.abs(stack.cect[0, 4:12, 4:12] - inner - 100).max() <= 1


def test_both_are_turned_and_bent_alike():
    stacks = Stacks([ramp()], depth=8)
    recipe = dataclasses.replace(PLAIN, rotation=25.0, bend=3.0, max_shift=0)
    turns = []
    for place in range(60):
        stack = stacks.draw(recipe, place, 32)
        inner = np.s_[:, 12:20, 12:20]  # never interpolated with the air beyond the slice
        assert np.abs(stack.cect[inner].astype(int) - stack.ncct[inner] - 100).max() <= 1
        down, across = (np.diff(stack.ncct[inner][0].astype(float), axis=axis).mean() for axis in (0, 1))
        turns.append(np.degrees(np.arctan2(-down, across)))
    assert min(turns) < -15 and max(turns) > 15
    only_turned = dataclasses.replace(recipe, bend=0.0)
    bent = [not np.array_equal(stacks.draw(recipe, n, 32).ncct, stacks.draw(only_turned, n, 32).ncct) for n in range(5)]
    assert all(bent)


def test_lesions_replace_lung_alike_and_leave_vessels_bone_and_air_outside_alone():
    phantom = thorax_phantom((16, 128, 128), (15.0, 2.8, 2.8))
    pair = Pair(phantom.ncct, phantom.cect, phantom.spacing_zyx)
    recipe = dataclasses.replace(PLAIN, lesions=1.0)
    shares = []
    for seed in range(8):
        changed = augment(pair, np.random.default_rng(seed), recipe)
        differs = changed.ncct != pair.ncct
        assert (differs != (changed.cect != pair.cect)).mean() < 0.001  # but for a chance equality
        filled = differs & (changed.ncct > -100)
        assert np.abs(changed.ncct[filled].astype(int) - changed.cect[filled]).mean() < 5  # they do not enhance
        if filled.sum() > 300:  # a small one is mostly edge here
            assert 0 < np.median(changed.ncct[filled]) < 65
        kept = phantom.mask("aorta") | phantom.mask("left_ventricle")
        assert differs[kept].mean() < 0.001  # but for what is blurred into the lung
        assert not differs[pair.ncct > 150].any()
        assert differs[phantom.mask("air")].mean() < 0.02
        shares.append(differs[phantom.mask("lung")].mean())
    assert 0.02 < max(shares) < 0.9 and len(set(shares)) > 5


def test_every_other_lesion_lies_at_blood_and_takes_the_place_of_what_does_not_enhance():
    """Fat, a vessel, lung, side by side: a lesion in the lung takes its place alone, or the fat's, too."""
    ncct = np.full((8, 64, 64), -850, np.int16)
    fat, blood = np.s_[:, :, :20], np.s_[:, :, 20:32]
    ncct[fat], ncct[blood] = -100, 40
    cect = ncct.copy()
    cect[blood] += 300
    pair = Pair(ncct, cect, (5.0, 2.0, 2.0))
    replaced = 0
    for seed in range(24):
        changed = augment(pair, np.random.default_rng(seed), dataclasses.replace(PLAIN, lesions=1.0))
        assert np.array_equal(changed.cect[blood], cect[blood])
        assert np.array_equal(changed.cect[fat], changed.ncct[fat])
        replaced += (changed.ncct[fat] > -20).mean() > 0.01
    assert 4 <= replaced <= 20


def test_a_lesion_has_the_grain_of_a_ct():
    """Neighbours in plane are alike, slices are not: a network cannot tell a lesion by white noise."""
    noise = grainy_noise((8, 64, 64), np.random.default_rng(3))
    across = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
    along = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
    assert across > 0.1 and abs(along) < 0.05 and 6 <= noise.std() <= 20


def test_without_lungs_there_are_no_lesions():
    soft = np.full((4, 32, 32), 40, np.int16)
    pair = Pair(soft, soft)
    changed = augment(pair, np.random.default_rng(0), dataclasses.replace(PLAIN, lesions=1.0))
    assert np.array_equal(changed.ncct, pair.ncct)


@pytest.mark.parametrize(("blood_hu", "expected"), [(140.0, 340.0), (440.0, 340.0), (None, 240.0)])
def test_the_iodine_of_every_patient_is_brought_to_one_level(blood_hu, expected):
    """Blood is at 40 HU without contrast, by 200 HU higher with it: scaled by (340 - 40) / (blood - 40)."""
    ncct = np.full((1, 4, 4), 40, np.int16)
    added = 200 if blood_hu is None else blood_hu - 40
    pair = Pair(ncct, ncct + np.int16(added), blood_hu=blood_hu)
    changed = augment(pair, np.random.default_rng(0), dataclasses.replace(PLAIN, blood_hu=340.0))
    assert np.array_equal(changed.ncct, ncct) and (changed.cect == expected).all()
    assert np.array_equal(augment(pair, np.random.default_rng(0), PLAIN).cect, pair.cect)


def test_a_stack_keeps_the_blood_level_of_its_volume():
    volumes = Pair(*(np.zeros((3, 8, 8), np.int16),) * 2, blood_hu=300.0)
    stacks = Stacks([volumes], depth=2)
    assert stacks.read(0).blood_hu == stacks.draw(PLAIN, 0, 8).blood_hu == 300.0


@pytest.mark.parametrize("slices", [1, 5, 15])
def test_a_thin_volume_is_continued_by_its_edge_slices(tmp_path, slices):
    from unit.training_set import write_training_set

    data = write_training_set(tmp_path / "set", ["thin"])
    for name in ("ncct", "cect"):
        path = data / "thin" / f"{name}.npy"
        np.save(path, np.load(path)[:slices])
    [case] = read_manifest(data)
    case = dataclasses.replace(case, shape_zyx=(slices, *case.shape_zyx[1:]))
    stacks = Stacks.open(data, [case], depth=16)
    assert len(stacks) == 1
    stack, stored = stacks.read(0), np.load(data / "thin" / "cect.npy")
    before = (16 - slices) // 2
    assert np.array_equal(stack.cect[before : before + slices], stored)
    assert (stack.cect[:before] == stored[0]).all() and (stack.cect[before + slices :] == stored[-1]).all()

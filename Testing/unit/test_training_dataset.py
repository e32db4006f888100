"""Random stacks: one cut-out for both volumes, the whole field of view, every stack as likely as another."""

from collections import Counter

import numpy as np
import pytest

from SyntheticContrastTrainingLib.dataset import AIR_HU, Pair, Stacks, cut_out, random_offset


def numbered(slices, size, first=0):
    """Volumes whose voxels tell where they are: the CECT is the NCCT + 1."""
    ncct = (first + np.arange(slices * size * size) % 20000).reshape(slices, size, size).astype(np.int16)
    return Pair(ncct, ncct + np.int16(1))


def test_both_volumes_are_cut_alike():
    stacks = Stacks([numbered(20, 40)], depth=16)
    for step in range(50):
        pair = stacks.draw(seed=1, step=step, crop=32, max_shift=9)
        assert pair.ncct.shape == pair.cect.shape == (16, 32, 32)
        inside = pair.ncct != AIR_HU
        assert np.array_equal(pair.cect[inside], pair.ncct[inside] + 1)
        assert (pair.cect[~inside] == AIR_HU).all()


@pytest.mark.parametrize(("size", "crop"), [(64, 32), (64, 64), (40, 64)])
def test_crops_cover_the_whole_field_of_view(size, crop):
    stacks = Stacks([Pair(*(np.arange(size * size, dtype=np.int16).reshape(1, size, size),) * 2)], depth=1)
    seen = Counter()
    for step in range(600):
        seen.update(np.unique(stacks.draw(0, step, crop, max_shift=6).ncct).tolist())
    seen.pop(AIR_HU, None)
    assert len(seen) == size * size
    corners = [seen[index] for index in (0, size - 1, size * (size - 1), size * size - 1)]
    assert min(corners) > 0.005 * 600  # a central crop would never show a corner


def test_every_stack_of_every_volume_is_equally_likely():
    stacks = Stacks([numbered(16, 8), numbered(20, 8)], depth=16)
    assert len(stacks) == 1 + 5
    drawn = Counter(int(np.random.default_rng([0, step]).integers(len(stacks))) for step in range(3000))
    assert set(drawn) == set(range(6))
    assert max(drawn.values()) < 1.25 * min(drawn.values())
    assert [stacks.places[number] for number in range(6)] == [(0, 0), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]


def test_a_step_sees_the_same_data_whenever_it_runs():
    stacks = Stacks([numbered(24, 40)], depth=16)
    first, again, other, other_seed = (
        stacks.draw(seed, step, 32, 5).ncct for seed, step in ((3, 7), (3, 7), (3, 8), (4, 7))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, other_seed)


def test_cut_out_fills_with_air():
    volume = np.ones((2, 4, 4), np.int16)
    result = cut_out(volume, (-1, 2), 4)
    expected = np.full((4, 4), AIR_HU)
    expected[1:, :2] = 1
    assert (result == expected).all()
    assert (cut_out(volume, (9, 0), 4) == AIR_HU).all()


def test_a_small_image_lies_whole_in_the_crop():
    random = np.random.default_rng(0)
    offsets = [random_offset(random, 20, 32, 0) for _ in range(300)]
    assert min(offsets) == -12
    assert max(offsets) == 0

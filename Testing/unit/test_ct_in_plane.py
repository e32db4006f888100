"""In-plane resampling against values known beforehand: exact, shifted, turned, coarser, bent."""

import numpy as np
import pytest

from SyntheticContrastLib.ct.in_plane import BEND_KNOTS, Placement, cut_out, heart_centre, in_plane_bounds, sample

AIR = -1000


def random_hu(*shape):
    return np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16)


def smooth(y, x):
    """HU of a smooth slice at y, x (pixels)."""
    return 200 * np.sin(y / 6) + 150 * np.cos(x / 5) + 2 * y - x


def smooth_slice(height, width):
    y, x = np.mgrid[:height, :width]
    return smooth(y, x)[None].astype(np.float32)


def middle(size):
    return (size - 1) / 2


def test_identity_is_exact():
    hu = random_hu(3, 24, 24)
    found = sample(hu, Placement((middle(24), middle(24)), 24), AIR)
    assert found.shape == (3, 24, 24) and found.dtype == np.float32
    np.testing.assert_allclose(found, hu, rtol=0, atol=0.02)
    assert np.array_equal(sample(hu, Placement((middle(24), middle(24)), 24), AIR, nearest=True), hu)


@pytest.mark.parametrize("shift", [(3, -5), (-4, 2), (0, 7)])
def test_shift_and_air_outside(shift):
    hu = random_hu(2, 20, 26)
    found = sample(hu, Placement((middle(20) + shift[0], middle(20) + 3 + shift[1]), 20), AIR)
    padded = np.pad(hu, ((0, 0), (10, 10), (10, 10)), constant_values=AIR)
    expected = padded[:, 10 + shift[0] :, 13 + shift[1] :][:, :20, :20]
    assert (expected == AIR).any()
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)


def test_far_outside_is_air():
    np.testing.assert_allclose(sample(random_hu(2, 10, 10), Placement((200.0, -300.0), 16), AIR), AIR, rtol=1e-6)


def test_half_a_pixel_and_finer_pixels_interpolate():
    """PyTorch's bicubic kernel (-0.75) is off by up to a tenth of the slope, here 40 HU a pixel."""
    hu = smooth_slice(60, 60)
    for centre, step in (((30.5, 29.0), 1.0), ((30.0, 29.5), 0.5), ((28.0, 31.0), 0.3)):
        placement = Placement(centre, 32, step)
        y, x = placement.points()
        np.testing.assert_allclose(sample(hu, placement, AIR)[0], smooth(y, x), rtol=0, atol=4)


def test_rotation_by_90_degrees_is_exact():
    """What was the lower left corner of the slice is the upper left one of the crop."""
    hu = random_hu(2, 21, 21)
    found = sample(hu, Placement((10.0, 10.0), 21, degrees=90), AIR)
    np.testing.assert_allclose(found, np.rot90(hu, -1, axes=(1, 2)), rtol=0, atol=0.05)


def test_coarser_pixels_are_smoothed_but_keep_the_mean():
    hu = smooth_slice(200, 200)
    noise = np.random.default_rng(1).standard_normal(hu.shape).astype(np.float32) * 100
    placement = Placement((99.5, 99.5), 40, 3.0)
    y, x = placement.points()
    found, with_noise = (sample(values, placement, AIR)[0] for values in (hu, hu + noise))
    assert abs(found.mean() - smooth(y, x).mean()) < 1
    assert (with_noise - found).std() < 35  # picked without smoothing it would stay near 100
    labels = sample((hu > 0).astype(np.uint8), placement, 0, nearest=True)
    assert set(np.unique(labels)) == {0, 1}


def test_pixels_that_are_not_square():
    hu = smooth_slice(80, 50)
    placement = Placement((40.0, 25.0), 20, (2.0, 1.0))
    y, x = placement.points()
    np.testing.assert_allclose(y[:, 0], 40 + 2 * (np.arange(20) - 9.5))
    np.testing.assert_allclose(x[0], 25 + np.arange(20) - 9.5)
    np.testing.assert_allclose(sample(hu, placement, AIR)[0], smooth(y, x), rtol=0, atol=12)  # smoothed along y
    square = Placement((40.0, 25.0), 20, 1.7)
    assert np.array_equal(square.points(), Placement((40.0, 25.0), 20, (1.7, 1.7)).points())


def test_bend_moves_the_points_smoothly():
    plain = Placement((30.0, 30.0), 25).points()
    for y, x in ((0.0, 0.0), (2.0, -3.0)):
        bend = np.broadcast_to(np.array([y, x], np.float32)[:, None, None], (2, BEND_KNOTS, BEND_KNOTS)).copy()
        moved = Placement((30.0, 30.0), 25, bend=bend).points() - plain
        np.testing.assert_allclose(moved[0], y, atol=1e-4)
        np.testing.assert_allclose(moved[1], x, atol=1e-4)
    knots = np.random.default_rng(2).standard_normal((2, BEND_KNOTS, BEND_KNOTS)).astype(np.float32)
    bend = Placement((30.0, 30.0), 25, bend=knots).points() - plain
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        np.testing.assert_allclose(bend[(slice(None), *corner)], knots[(slice(None), *corner)], atol=1e-4)
    assert np.abs(np.diff(bend, axis=1)).max() < 1


def test_cut_out_beyond_the_slice():
    hu = random_hu(2, 6, 7)
    found = cut_out(hu, (-2, 4), (5, 5), AIR)
    assert found.dtype == hu.dtype and found.shape == (2, 5, 5)
    assert np.array_equal(found[:, 2:, :3], hu[:, :3, 4:])
    assert np.all(found[:, :2] == AIR) and np.all(found[:, :, 3:] == AIR)


def test_centre_and_bounds_of_a_mask_over_all_slices():
    mask = np.zeros((4, 20, 30), bool)
    mask[1, 3:8, 10:12] = True
    mask[3, 6:13, 9:25] = True
    assert in_plane_bounds(mask) == ((3, 12), (9, 24))
    assert heart_centre(mask) == (7.5, 16.5)

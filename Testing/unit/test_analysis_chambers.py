"""Chambers: spheres with a closed form, and a right heart that passes the threshold too."""

import math

import numpy as np
import pytest
from skimage.measure import label as skimage_label
from torchmetrics.functional.classification import binary_f1_score

from SyntheticContrastLib.analysis.chambers import (
    compare_chambers,
    large_pieces_ml,
    reference_threshold,
    threshold_chambers,
    volume_ml,
)
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.phantom import thorax_phantom

SPACING = (2.0, 1.0, 1.0)


def ball(centre, radius, shape=(60, 90, 120), spacing=SPACING):
    """Centre (z, y, x) and radius in mm."""
    axes = np.ogrid[tuple(slice(size) for size in shape)]
    return sum((axis * side - at) ** 2 for axis, side, at in zip(axes, spacing, centre, strict=True)) <= radius**2


def test_dice_of_two_overlapping_spheres():
    radius, apart = 30.0, 20.0
    one, other = ball((60, 45, 45), radius), ball((60, 45, 45 + apart), radius)
    found = compare_chambers(one, other, SPACING)
    sphere = 4 / 3 * math.pi * radius**3
    lens = math.pi * (4 * radius + apart) * (2 * radius - apart) ** 2 / 12
    assert found.dice == pytest.approx(lens / sphere, abs=0.005)
    assert found.volume_ml == pytest.approx(sphere / 1000, rel=0.01)
    assert found.volume_error_percent == pytest.approx(0, abs=0.2)
    assert found.elsewhere_ml == 0
    # the middle slice: two discs of the same radius and distance
    half = apart / 2
    segment = 2 * (radius**2 * math.acos(half / radius) - half * math.sqrt(radius**2 - half**2))
    middle = found.dice_of_slices[found.slices.tolist().index(30)]
    assert middle == pytest.approx(segment / (math.pi * radius**2), abs=0.01)


def test_volume_error_of_concentric_spheres():
    found = compare_chambers(ball((60, 45, 60), 33), ball((60, 45, 60), 30), SPACING)
    # the small sphere's slices alone count: the caps of the large one beyond them are elsewhere
    caps = 2 * math.pi * (33**2 - 32**2) * 2 / 1000  # one slice of 2 mm at either end, 32 mm from the middle
    large, small = (4 / 3 * math.pi * r**3 / 1000 for r in (33, 30))
    assert found.elsewhere_ml == pytest.approx(caps, rel=0.05)
    assert found.volume_ml + found.elsewhere_ml == pytest.approx(large, rel=0.01)
    assert found.volume_error_percent == pytest.approx((found.volume_ml - small) / small * 100, abs=1.0)
    assert found.dice == pytest.approx(2 * small / (small + found.volume_ml), abs=0.005)


def test_slices_and_dice_are_torchmetrics():
    import torch

    random = np.random.default_rng(0)
    one, other = random.random((6, 20, 20)) < 0.4, random.random((6, 20, 20)) < 0.5
    other[[0, 4]] = False
    found = compare_chambers(one, other, (1, 1, 1))
    assert found.slices.tolist() == [1, 2, 3, 5]
    for index, dice in zip(found.slices, found.dice_of_slices, strict=True):
        wanted = binary_f1_score(torch.from_numpy(one[index]).int(), torch.from_numpy(other[index]).int())
        assert dice == pytest.approx(float(wanted), abs=1e-6)
    assert found.elsewhere_ml == pytest.approx((one[0].sum() + one[4].sum()) / 1000)


def test_no_overlap_is_0_and_nothing_found_is_0():
    reference = ball((60, 45, 30), 10)
    assert compare_chambers(ball((60, 45, 90), 10), reference, SPACING).dice == 0
    nothing = compare_chambers(np.zeros_like(reference), reference, SPACING)
    assert (nothing.dice, nothing.volume_ml, nothing.volume_error_percent) == (0, 0, 100)


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom()


def heart_of(phantom, *names):
    return np.logical_or.reduce([phantom.mask(name) for name in names])


def test_the_right_heart_passes_the_threshold_too(phantom):
    """At 250 HU all four chambers pass: only the heart mask, or the largest piece, tells left from right."""
    left = heart_of(phantom, "left_ventricle", "left_atrium")
    right = heart_of(phantom, "right_ventricle", "right_atrium")
    heart = left | right | phantom.mask("myocardium")
    found = threshold_chambers(phantom.cect, heart, phantom.spacing_zyx, 250)
    assert (found & right).sum() > 0.5 * right.sum()
    both = compare_chambers(found, left, phantom.spacing_zyx)
    assert both.volume_error_percent > 50
    masked = compare_chambers(
        threshold_chambers(phantom.cect, left | phantom.mask("myocardium"), phantom.spacing_zyx, 250),
        left,
        phantom.spacing_zyx,
    )
    assert masked.dice > 0.93 > both.dice


def test_keep_largest_is_skimages(phantom):
    heart = heart_of(phantom, "left_ventricle", "left_atrium", "right_ventricle", "right_atrium", "myocardium")
    plain = threshold_chambers(phantom.cect, heart, phantom.spacing_zyx, 330)
    found = threshold_chambers(phantom.cect, heart, phantom.spacing_zyx, 330, keep_largest=True)
    labels = skimage_label(plain, connectivity=1)
    assert labels.max() > 1
    assert np.array_equal(found, labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))


def test_the_threshold_itself_passes():
    hu = np.array([[[299, 300, 301]]], np.int16)
    assert threshold_chambers(hu, np.ones(hu.shape, bool), (1, 1, 1)).tolist() == [[[False, True, True]]]


def test_holes_are_filled_inside_the_heart_only():
    hu, heart = np.full((1, 15, 15), 400), np.ones((1, 15, 15), bool)
    hu[0, 6:9, 6:9] = 80  # a papillary muscle
    heart[0, 3, 3] = False
    plain = threshold_chambers(hu, heart, (1, 1, 1))
    filled = threshold_chambers(hu, heart, (1, 1, 1), fill_holes=True)
    assert plain.sum() == 225 - 10 and filled.sum() == 224 and not filled[0, 3, 3]


def test_smoothing_takes_noise_away_and_not_the_edge():
    heart = ball((60, 45, 60), 30)
    hu = np.where(heart, 330, -800) + np.random.default_rng(0).normal(0, 40, heart.shape)
    plain = threshold_chambers(hu, heart, SPACING)
    smooth = threshold_chambers(hu, heart, SPACING, smoothing_mm=2)
    assert plain.sum() < 0.85 * heart.sum()
    assert smooth.sum() > 0.99 * heart.sum()  # lung beside the heart does not darken its edge


def test_threshold_from_references():
    one, other = np.array([[[310, 350, 200]]]), np.array([[[280, 400, 90]]])
    mask = np.array([[[True, True, False]]])
    assert reference_threshold([(one, mask), (other, mask)]) == pytest.approx((310 + 280) / 2)
    with pytest.raises(InputError, match="no reference"):
        reference_threshold([])
    with pytest.raises(InputError, match="reference is empty"):
        reference_threshold([(one, ~np.ones((1, 1, 3), bool))])


def test_volume():
    assert volume_ml(np.ones((10, 10, 10), bool), (2.0, 1.0, 0.5)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda a, full, none: threshold_chambers(a, none, SPACING), "heart mask is empty"),
        (lambda a, full, none: threshold_chambers(a, full[:1], SPACING), "not on the grid"),
        (lambda a, full, none: threshold_chambers(a, full, SPACING, 900), "reaches 900 HU"),
        (lambda a, full, none: compare_chambers(full, none, SPACING), "reference is empty"),
        (lambda a, full, none: compare_chambers(full, full[:1], SPACING), "resample it"),
    ],
)
def test_bad_input(call, says):
    a = np.full((2, 3, 4), 350)
    with pytest.raises(InputError, match=says):
        call(a, np.ones(a.shape, bool), np.zeros(a.shape, bool))


def test_large_pieces_from_large_to_small():
    mask = np.zeros((1, 4, 40), bool)
    mask[0, :, :10], mask[0, :, 12:18], mask[0, 0, 30:33] = True, True, True
    assert large_pieces_ml(mask, (5.0, 2.0, 1.0)) == pytest.approx([0.4, 0.24])

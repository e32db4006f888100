"""The simulated VNC on a phantom whose true NCCT is known."""

import numpy as np
import pytest
from scipy import ndimage

from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastTrainingLib.vnc import find_aorta, simulate_vnc

POOLS = ("aorta", "left_ventricle", "right_ventricle", "left_atrium", "right_atrium", "vena_cava", "pulmonary_artery")


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom((24, 384, 384), (10.0, 0.93, 0.93))


@pytest.fixture(scope="module")
def made(phantom):
    return simulate_vnc(phantom.cect, phantom.spacing_zyx)


def interior(phantom, *names):
    mask = np.logical_or.reduce([phantom.mask(name) for name in names])
    return np.stack([ndimage.binary_erosion(plane, iterations=3) for plane in mask])


def in_plane_gradient(hu):
    return np.hypot(*np.gradient(ndimage.gaussian_filter(hu.astype(np.float32), (0, 1, 1)), axis=(1, 2)))


def test_vnc_and_iodine_add_up_to_the_cect(phantom, made):
    assert made.vnc_hu.dtype == made.iodine_hu.dtype == np.int16
    assert np.array_equal(made.vnc_hu + made.iodine_hu, phantom.cect)
    assert ndimage.gaussian_filter(made.iodine_hu.astype(np.float32), (0, 3, 3)).min() > -5  # but for its noise
    assert abs(made.blood_hu - 350) < 15


@pytest.mark.parametrize("name", POOLS)
def test_blood_is_taken_to_its_unenhanced_level(phantom, made, name):
    pool = interior(phantom, name)
    assert phantom.cect[pool].mean() > 250
    assert abs(made.vnc_hu[pool].mean() - 40) < 8


def test_the_noise_of_the_blood_stays(phantom, made):
    pool = interior(phantom, "left_ventricle", "right_ventricle", "aorta")
    assert 0.6 < made.vnc_hu[pool].std() / phantom.ncct[pool].std() < 1.3


def test_bone_and_marrow_are_left_alone(phantom, made):
    for name, allowed in (("bone", 3), ("marrow", 10), ("spinal_canal", 3)):
        assert np.mean(made.iodine_hu[phantom.mask(name)]) < allowed, name


def test_what_has_no_iodine_is_left_alone(phantom, made):
    for name in ("lung", "fat", "air", "table"):
        assert np.mean(made.iodine_hu[phantom.mask(name)]) < 3, name


def test_edges_of_the_blood_are_no_sharper_than_those_of_the_ncct(phantom, made):
    """A rim would tell a network where the contrast was."""
    blood = np.logical_or.reduce([phantom.mask(name) for name in POOLS])
    rim = ndimage.binary_dilation(blood, iterations=2) & ~ndimage.binary_erosion(blood, iterations=2)
    rim &= ndimage.minimum_filter(phantom.ncct, (1, 7, 7)) > -300  # against lung every edge is steep
    true, made_up, with_contrast = (
        np.percentile(in_plane_gradient(hu)[rim], 95) for hu in (phantom.ncct, made.vnc_hu, phantom.cect)
    )
    assert made_up < 1.15 * true
    assert with_contrast > 1.5 * true  # the measure sees an edge that was left


def test_noise_at_the_edges_of_the_blood_is_that_of_the_ncct(phantom, made):
    """Where an edge was made lower its noise was, too; what is missing has to be made up."""
    blood = np.logical_or.reduce([phantom.mask(name) for name in POOLS])
    rim = ndimage.binary_dilation(blood, iterations=2) & ~ndimage.binary_erosion(blood, iterations=2)
    rim &= ndimage.minimum_filter(phantom.ncct, (1, 7, 7)) > -40  # heart muscle, not fat
    assert rim.sum() > 1000
    fine = [hu - ndimage.gaussian_filter(hu.astype(np.float32), (0, 2, 2)) for hu in (phantom.ncct, made.vnc_hu)]
    true, made_up = (values[rim].std() for values in fine)
    assert 0.75 < made_up / true < 1.25


def test_the_aorta_is_the_longest_pile_of_even_discs():
    """A denser vein is shorter, a vertebra has a shell, and a larger lump is no disc."""
    spacing = (5.0, 1.5, 1.5)
    z, y, x = np.ogrid[:20, :120, :160]
    hu = np.full((20, 120, 160), 40, np.float32)

    def cylinder(row, column, radius):
        return np.broadcast_to(np.hypot(y - row, x - column) * 1.5 < radius, hu.shape)

    hu[cylinder(75, 75, 16)] = 500  # cortex
    hu[cylinder(75, 75, 12)] = 300  # marrow
    hu[cylinder(70, 95, 12)] = 300
    hu[cylinder(35, 60, 9) & (z < 10)] = 900
    hu[10:, 20:60, 80:140] = 280
    level, core = find_aorta(hu, spacing)
    assert level == 300
    assert not (core & ~cylinder(70, 95, 12)).any()
    hu[cylinder(70, 95, 12)] = 80  # weaker than what is taken for contrast
    assert find_aorta(np.minimum(hu, 84), spacing) is None


@pytest.mark.parametrize("native", [18, 58])
def test_blood_is_left_at_the_native_level_that_is_asked_for(phantom, native):
    part = np.s_[10:18]
    made = simulate_vnc(phantom.cect[part], phantom.spacing_zyx, native_hu=native)
    for name in ("left_ventricle", "aorta"):
        pool = interior(phantom, name)[part]
        assert abs(made.vnc_hu[part.start - 10 :][pool].mean() - native) < 8
    muscle = interior(phantom, "myocardium")[part]
    assert abs(made.vnc_hu[muscle].mean() - phantom.ncct[part][muscle].mean()) < 12


def test_the_same_cect_gives_the_same_vnc(phantom):
    part = phantom.cect[12:16]
    first, again = (simulate_vnc(part, phantom.spacing_zyx) for _ in range(2))
    assert np.array_equal(first.vnc_hu, again.vnc_hu)


def test_small_lung_vessels_lose_their_iodine(phantom, made):
    vessels = phantom.mask("lung_vessel")
    before, after, true = (hu[vessels].mean() for hu in (phantom.cect, made.vnc_hu, phantom.ncct))
    assert abs(after - true) < 0.3 * (before - true)


def test_a_ct_without_contrast_comes_back_as_it_is(phantom):
    made = simulate_vnc(phantom.ncct, phantom.spacing_zyx)
    assert np.isnan(made.blood_hu)
    assert np.array_equal(made.vnc_hu, phantom.ncct)


def test_air_alone_is_no_error():
    made = simulate_vnc(np.full((4, 32, 32), -1000, np.int16), (5.0, 1.0, 1.0))
    assert not made.iodine_hu.any()

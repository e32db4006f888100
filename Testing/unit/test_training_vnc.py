"""The simulated VNC on a phantom whose true NCCT is known."""

import numpy as np
import pytest
from scipy import ndimage

from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastTrainingLib.vnc import edge_ends, noise_like, simulate_vnc

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
    assert ndimage.gaussian_filter(made.iodine_hu.astype(np.float32), (0, 3, 3)).min() > -5  # but for exchanged noise
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


def test_edge_ends_are_the_two_tissues_beside_an_edge():
    hu = np.tile(np.array([0, 0, 0, 20, 100, 180, 200, 200, 200], np.float32), (1, 5, 1))
    low, high = (hu.ravel()[ends] for ends in edge_ends(hu, step=5))
    assert np.all(low[0, 2, 3:6] == 0)
    assert np.all(high[0, 2, 3:6] == 200)
    assert np.all(low[0, 2, :2] == high[0, 2, :2])  # level ground is its own end


def test_noise_like_has_the_spectrum_of_its_sample_and_is_the_same_again():
    sample = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 30, (8, 64, 64)).astype(np.float32), (0, 1, 1))
    sample[:, :, 40:] = 0
    everywhere = np.ones(sample.shape, bool)
    noise = noise_like(sample, everywhere)

    def neighbours(values):
        return np.corrcoef(values[:, :, 1:].ravel(), values[:, :, :-1].ravel())[0, 1]

    assert abs(noise.std() - 1) < 0.1
    assert abs(neighbours(noise) - neighbours(sample[:, :, :40])) < 0.05
    assert np.array_equal(noise, noise_like(sample, everywhere))


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

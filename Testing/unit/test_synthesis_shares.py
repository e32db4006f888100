"""Synthesis by shares: level and phase are the user's, the geometry and everything outside tissue the CT's."""

import numpy as np
import pytest

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastLib.synthesis.contrast import Contrast
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.shares import _slabs, synthesise_shares
from unit.tiny import SHARE_WINDOWS, tiny_share_network

SPACING = (6.0, 2.8, 2.8)
CPU = Compute("cpu", "fp32", "as asked", "as asked")


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom((40, 128, 128), SPACING)


ARTERIAL = Contrast()


def made(hu, network, contrast=ARTERIAL, **more):
    return synthesise_shares(hu, SPACING, network, SHARE_WINDOWS, contrast, CPU, **more)


def test_blood_comes_to_the_level_that_was_asked_for(phantom):
    """A share of 1 everywhere: all soft tissue rises by level - native."""
    pool = phantom.mask("left_ventricle")
    for level in (150.0, 350.0):
        result = made(phantom.ncct, tiny_share_network(1.0), Contrast("arterial", level))
        assert result.hu.dtype == np.int16
        risen = result.hu[pool].mean() - phantom.ncct[pool].mean()
        assert risen == pytest.approx(level - result.native_hu, rel=0.08)
        assert 30 < result.native_hu < 65  # here all soft tissue is taken for blood, so blood lies a little below


def test_lung_air_and_what_was_not_measured_stay(phantom):
    result = made(phantom.ncct, tiny_share_network(1.0))
    change = result.hu - phantom.ncct.astype(int)
    outside = phantom.ncct <= -1024
    assert not change[(phantom.ncct <= -250) & ~outside].any()
    assert not change[phantom.mask("table") & ~outside].any()
    assert (result.hu[outside] == -1000).all()
    assert not change[(phantom.labels == 0) & ~outside].any()


def test_another_level_is_the_same_change_in_proportion(phantom):
    """So the panel's slider needs no new run."""
    network = tiny_share_network()
    low, high = (made(phantom.ncct, network, Contrast("arterial", level)) for level in (200.0, 350.0))
    ratio = (200 - low.native_hu) / (350 - high.native_hu)
    inside = phantom.ncct > -1024
    expected = (high.hu - phantom.ncct.astype(float))[inside] * ratio
    assert np.abs((low.hu - phantom.ncct.astype(float))[inside] - expected).max() <= 1.01


def test_phases_join_the_compartments_differently(phantom):
    network = tiny_share_network(1.0)
    pool = phantom.mask("left_ventricle")
    network.head.bias.data[1] = -20  # nothing enhances in the portal phase
    network.head.bias.data[2] = -20  # nothing is the right heart
    rises = {}
    for phase in ("arterial", "pulmonary", "portal"):
        result = made(phantom.ncct, network, Contrast(phase, 300.0))
        rises[phase] = (result.hu[pool].mean() - phantom.ncct[pool].mean()) / (300 - result.native_hu)
    assert rises == pytest.approx({"arterial": 1, "pulmonary": 0.65, "portal": 0}, abs=0.07)


def test_slabs_join_without_a_seam(phantom):
    """More slices than one slab: the same as one of all slices, but for what slabs do not see."""
    parts = _slabs(150)
    kept = np.concatenate([np.arange(150)[part] for _, _, part in parts])
    assert kept.tolist() == list(range(150))
    assert all(
        first <= part.start - min(part.start, 16) and last >= min(150, part.stop + 16) for first, last, part in parts
    )
    tall = np.concatenate([phantom.ncct] * 3)
    result = made(tall, tiny_share_network(0.8))
    change = (result.hu - tall.astype(int))[tall > -1024]
    assert result.hu.shape == tall.shape
    assert change.max() < 0.85 * 350


def test_uncertainty_is_the_spread_over_shifted_readings(phantom):
    sure = made(phantom.ncct, tiny_share_network(1.0), uncertainty=True)
    assert sure.uncertainty is not None
    assert sure.uncertainty.max() < 1e-2  # the same share whatever it sees
    unsure = made(phantom.ncct, tiny_share_network(), uncertainty=True)
    assert unsure.uncertainty is not None and unsure.uncertainty.max() > 0.1
    assert np.array_equal(unsure.hu, made(phantom.ncct, tiny_share_network()).hu)


def test_progress_counts_up_to_all_slices(phantom):
    told = []
    made(phantom.ncct, tiny_share_network(), on_progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (40, 40)
    assert all(done < 40 for done, _ in told[:-1])


@pytest.mark.parametrize("shape", [(1, 40, 40), (2, 200, 90), (9, 33, 47)])
def test_small_volumes_are_no_error(shape):
    hu = np.full(shape, -1000, np.int16)
    hu[:, 8:-8, 8:-8] = 40
    assert made(hu, tiny_share_network()).hu.shape == shape


def test_levels_and_phases_that_cannot_be_are_refused():
    assert Contrast.of(None, None) == Contrast("arterial", 350.0)
    assert Contrast.of("portal", None).level_hu == 150
    assert Contrast.of("pulmonary", 500).words == "pulmonary 500"
    with pytest.raises(InputError, match="no phase 'venous'"):
        Contrast.of("venous", None)
    for level in (20, 5000, float("nan")):
        with pytest.raises(InputError, match="use 80 to 1000 HU"):
            Contrast.of(None, level)


def test_fluid_well_below_the_blood_takes_no_contrast(phantom):
    """An effusion has the shape of nothing, but 25 HU less than the blood of the same scan."""
    hu = phantom.ncct.copy()
    effusion = phantom.mask("lung") & (np.arange(hu.shape[2]) < 55)
    rng = np.random.default_rng(0)
    hu[effusion] = 8 + rng.normal(0, 15, int(effusion.sum()))
    result = made(hu, tiny_share_network(1.0))
    from scipy.ndimage import binary_erosion

    risen = (result.hu - hu.astype(float)) / (350 - result.native_hu)
    assert risen[binary_erosion(effusion, iterations=3)].mean() < 0.1
    assert risen[phantom.mask("left_ventricle")].mean() > 0.95

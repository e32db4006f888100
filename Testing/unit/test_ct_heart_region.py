"""The heart region of the phantom: it holds the heart, whatever the grid, and refuses what has no lungs."""

import numpy as np
import pytest

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.heart_region import heart_region
from SyntheticContrastLib.ct.phantom import thorax_phantom

CHAMBERS = ("left_ventricle", "left_atrium", "right_ventricle", "right_atrium")


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom()


@pytest.fixture(scope="module", params=["ncct", "cect"])
def region(request, phantom):
    return heart_region(getattr(phantom, request.param), phantom.spacing_zyx)


def test_it_is_a_mask_of_one_piece_on_the_grid_of_the_image(phantom, region):
    from scipy import ndimage

    assert region.dtype == bool
    assert region.shape == phantom.ncct.shape
    assert ndimage.label(region)[1] == 1


@pytest.mark.parametrize("chamber", CHAMBERS)
def test_it_holds_the_chambers(phantom, region, chamber):
    assert (
        region[phantom.mask(chamber)].mean() > 0.85
    )  # the left atrium of the phantom has veins that reach into the lungs


@pytest.mark.parametrize("tissue", ["bone", "marrow", "skin", "spinal_canal", "lung", "table"])
def test_it_leaves_out(phantom, region, tissue):
    assert region[phantom.mask(tissue)].mean() < 0.03


def test_little_of_it_is_liver(phantom, region):
    assert phantom.mask("liver")[region].mean() < 0.15


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_few_slices_through_the_heart(phantom, count):
    first = int(np.argmax(phantom.mask("left_ventricle").sum(axis=(1, 2)))) - 3
    part = np.s_[first : first + count]
    region = heart_region(phantom.ncct[part], phantom.spacing_zyx)
    assert region.shape == phantom.ncct[part].shape
    assert region[phantom.mask("left_ventricle")[part]].mean() > 0.9
    assert not region[phantom.mask("marrow")[part]].any()


def test_thin_slices_and_sizes_that_are_no_multiple_of_the_coarse_voxels(phantom):
    thin = np.repeat(phantom.ncct[:, :-3, :-5], 4, axis=0)[:-1]
    region = heart_region(thin, (1.25, 1.4, 1.4))
    assert region.shape == thin.shape
    inside = np.repeat(phantom.mask("left_ventricle")[:, :-3, :-5], 4, axis=0)[:-1]
    assert region[inside].mean() > 0.9


def test_the_image_is_not_changed(phantom):
    before = phantom.ncct.copy()
    heart_region(phantom.ncct, phantom.spacing_zyx)
    np.testing.assert_array_equal(phantom.ncct, before)


@pytest.mark.parametrize("hu", [-1000, 40])
def test_without_lungs_it_says_so(hu):
    with pytest.raises(InputError, match=r"^no heart found: .* give a heart mask$"):
        heart_region(np.full((8, 64, 64), hu, np.int16), (5.0, 3.0, 3.0))

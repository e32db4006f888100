"""Proposed circles on the phantom: they lie where its labels say, in every phase and grid."""

import numpy as np
import pytest
import SimpleITK as sitk

from SyntheticContrastLib.analysis.circle_proposal import propose_circles
from SyntheticContrastLib.analysis.circles import voxels_inside
from SyntheticContrastLib.analysis.cnr import AORTA, FAT_LEFT, FAT_RIGHT, LESION, measure_cnr
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastLib.ct.read import read_ct


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom()


@pytest.fixture(scope="module")
def cect(phantom):
    return phantom.volume(phantom.cect)


def share(mask, volume, circle):
    """The share of a circle's voxels that is in a mask."""
    return float(mask[tuple(voxels_inside(mask.shape, volume.grid.canonical_affine, circle).T)].mean())


@pytest.mark.parametrize("z", [18, 20, 23, 35, 40])
def test_each_lies_in_its_tissue(phantom, cect, z):
    circles = propose_circles(cect, z, 9.0)
    assert set(circles) == {AORTA, FAT_RIGHT, FAT_LEFT}
    assert all(circle.diameter == 9.0 for circle in circles.values())
    assert share(phantom.mask("aorta"), cect, circles[AORTA]) == 1
    middle = cect.grid.canonical_affine[0, 3] + cect.hu.shape[2] / 2 * cect.spacing_zyx[2]
    for role, side in ((FAT_RIGHT, -1), (FAT_LEFT, 1)):
        assert share(phantom.mask("fat"), cect, circles[role]) == 1
        assert side * (circles[role].centre[0] - middle) > 30
    assert measure_cnr(cect.hu, cect.grid.canonical_affine, {**circles, LESION: circles[AORTA]}).warnings == ()


def test_all_lie_in_the_slice(cect):
    for circle in propose_circles(cect, 20, 9.0).values():
        place = np.linalg.inv(cect.grid.canonical_affine) @ [*circle.centre, 1]
        assert place[2] == pytest.approx(20)


def test_nothing_is_proposed_that_is_not_there(phantom, cect):
    assert propose_circles(phantom.volume(phantom.ncct), 35, 9.0)[AORTA] is None  # no bright blood
    too_large = propose_circles(cect, 35, 30.0)
    assert too_large[FAT_RIGHT] is None and too_large[FAT_LEFT] is None
    air = phantom.volume(np.full_like(phantom.cect, -1000))
    assert list(propose_circles(air, 20, 9.0).values()) == [None] * 3


def test_a_turned_and_flipped_grid(phantom, tmp_path):
    """Places are in the patient's space: a file stored the other way up gives the same."""
    image = sitk.GetImageFromArray(phantom.cect[::-1].copy())
    image.SetSpacing(phantom.spacing_zyx[::-1])
    image.SetOrigin((-100, 20, 300))
    flipped = sitk.Flip(image, [True, False, True])
    for name, stored in (("plain", image), ("flipped", flipped)):
        sitk.WriteImage(stored, str(tmp_path / f"{name}.nrrd"))
    plain, other = (propose_circles(read_ct(tmp_path / f"{name}.nrrd"), 20, 9.0) for name in ("plain", "flipped"))
    for role, circle in plain.items():
        assert circle.centre == pytest.approx(other[role].centre)


def test_no_such_slice(cect):
    with pytest.raises(InputError, match="slice 49 is not in the CT of 48 slices"):
        propose_circles(cect, 48, 9.0)

"""The slice range on the phantom, whose anatomy is known, with and without contrast."""

import numpy as np
import pytest

from SyntheticContrastLib.analysis.slice_range import propose_slice_range
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.phantom import thorax_phantom


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom()


def truth(phantom):
    """First slice with more than a great vessel's width of arch, first slice with liver."""
    area = phantom.mask("aorta").sum(axis=(1, 2)) * np.prod(phantom.spacing_zyx[1:])
    return int(np.argmax(area > 800)), int(np.argmax(phantom.mask("liver").any(axis=(1, 2))))


@pytest.mark.parametrize("phase", ["ncct", "cect"])
def test_arch_to_diaphragm(phantom, phase):
    found = propose_slice_range(getattr(phantom, phase), phantom.spacing_zyx)
    arch, liver = truth(phantom)
    assert abs(found.first - arch) * phantom.spacing_zyx[0] <= 7.5
    assert 0 <= (found.last - liver) * phantom.spacing_zyx[0] <= 15  # once it fills part of the lung's place
    assert found.note == ""


def test_the_grid_does_not_matter(phantom):
    fine = np.repeat(phantom.ncct, 2, axis=0)  # 2.5 mm slices
    found = propose_slice_range(fine, (2.5, *phantom.spacing_zyx[1:]))
    coarse = propose_slice_range(phantom.ncct, phantom.spacing_zyx)
    assert abs(found.first - 2 * coarse.first) <= 2
    assert abs(found.last - 2 * coarse.last) <= 2


def test_effusion_on_the_right(phantom):
    """Fluid around the right lung base hides the diaphragm: the left lung tells, and the note says so."""
    hu = phantom.ncct.copy()
    half = hu.shape[2] // 2
    fluid = phantom.mask("lung")[:, :, :half] | phantom.mask("lung_vessel")[:, :, :half]
    fluid[:25] = False
    hu[:, :, :half][fluid] = 10
    found = propose_slice_range(hu, phantom.spacing_zyx)
    assert "right diaphragm is not to be seen" in found.note
    plain = propose_slice_range(phantom.ncct, phantom.spacing_zyx)
    assert found.first == plain.first
    assert 0 <= (found.last - plain.last) * phantom.spacing_zyx[0] <= 40  # the left dome stands lower


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (np.s_[13:], "begins in the aortic arch"),
        (np.s_[16:], "begins in the aortic arch"),  # the next thing so large is the pulmonary artery
        (np.s_[:28], "does not show the diaphragm"),
        (np.s_[:4], "no slice range found"),
    ],
)
def test_a_part_of_the_chest(phantom, cut, says):
    with pytest.raises(InputError, match=says) as caught:
        propose_slice_range(phantom.ncct[cut], phantom.spacing_zyx)
    assert "give first_slice and last_slice" in str(caught.value)


def test_no_chest_at_all():
    with pytest.raises(InputError, match="no lungs"):
        propose_slice_range(np.full((30, 100, 100), -1000, np.int16), (5.0, 3.0, 3.0))

"""A CT that is enhanced already: the phantom's CECT is noticed, its NCCT is not, whatever else in it is bright."""

import dataclasses

import numpy as np
import pytest

from SyntheticContrastLib.ct.enhanced import contrast_agent, enhancement_note, is_enhanced
from SyntheticContrastLib.ct.phantom import thorax_phantom, write_phantom_series
from SyntheticContrastLib.ct.read import read_ct

VESSELS = ("aorta", "pulmonary_artery", "vena_cava", "left_ventricle", "right_ventricle", "left_atrium", "right_atrium")


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom((24, 128, 128), (10.0, 2.8, 2.8))


def blood_at(phantom, hu):
    """The NCCT with blood of this HU."""
    image = phantom.ncct.copy()
    for vessel in VESSELS:
        image[phantom.mask(vessel)] += np.int16(hu - 40)
    return image


def test_with_and_without_contrast(phantom):
    assert is_enhanced(phantom.cect, phantom.spacing_zyx)
    assert not is_enhanced(phantom.ncct, phantom.spacing_zyx)


@pytest.mark.parametrize(("hu", "expected"), [(14, False), (69, False), (105, True), (160, True)])
def test_weak_contrast_is_told_from_bright_blood(phantom, hu, expected):
    assert is_enhanced(blood_at(phantom, hu), phantom.spacing_zyx) is expected


def test_bone_oral_contrast_and_calcium_do_not_count(phantom):
    image = phantom.ncct.copy()
    for tissue in ("bone", "marrow", "stomach", "lymph_node"):
        image[phantom.mask(tissue)] = 900
    assert not is_enhanced(image, phantom.spacing_zyx)


@pytest.mark.parametrize("part", [np.s_[:6], np.s_[12:16], np.s_[14:15]], ids=["apex", "heart", "one slice"])
def test_a_part_of_a_chest(phantom, part):
    assert is_enhanced(phantom.cect[part], phantom.spacing_zyx)
    assert not is_enhanced(phantom.ncct[part], phantom.spacing_zyx)


@pytest.mark.parametrize("hu", [-1000, 40])
def test_without_lungs_nothing_is_said(hu):
    assert not is_enhanced(np.full((8, 64, 64), hu, np.int16), (5.0, 3.0, 3.0))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, ""),
        ({"ContrastBolusAgent": "Iopromide 370"}, "Iopromide 370"),
        ({"ContrastBolusAgent": "none"}, ""),
        ({"ContrastBolusAgent": ""}, ""),
        ({"ContrastBolusAgent": "ORAL"}, ""),
        ({"ContrastBolusAgent": "Gastrografin", "ContrastBolusRoute": "Oral route"}, ""),
    ],
)
def test_the_contrast_agent_of_the_header(phantom, tmp_path, tags, expected):
    import pydicom

    write_phantom_series(tmp_path, phantom.ncct[:3], phantom.spacing_zyx)
    for file in tmp_path.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(file)
    volume = read_ct(tmp_path)
    assert contrast_agent(volume.source) == expected
    assert (expected in enhancement_note(volume)) if expected else enhancement_note(volume) == ""


def test_the_note_is_one_line_and_says_what_was_noticed(phantom):
    enhanced = phantom.volume(phantom.cect)
    note = enhancement_note(enhanced)
    assert note.startswith("this CT seems to be enhanced already: heart and great vessels are bright")
    assert "\n" not in note
    assert enhancement_note(dataclasses.replace(enhanced, hu=phantom.ncct)) == ""

"""The simulated VNC of a real arterial chest CT with streaks and undiluted contrast in the superior vena cava."""

import numpy as np
import pytest
from scipy import ndimage

from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastTrainingLib.vnc import simulate_vnc

pytestmark = pytest.mark.realdata

FIRST, LAST = 10, 34
# Centre (z, y, x) and half side of squares placed by eye in blood, and in tissue that holds no iodine or is bone.
BLOOD = {
    "descending aorta": (16, 333, 284, 8),
    "pulmonary artery": (16, 290, 283, 5),
    "left atrium": (24, 289, 262, 8),
    "left ventricle": (30, 217, 322, 8),
}
UNDILUTED = (27, 229, 218, 7)  # contrast in the right atrium, as dense as bone
UNTOUCHED = {"marrow": (16, 350, 243, 5), "effusion": (30, 300, 170, 15), "sternum": (27, 172, 268, 4)}


@pytest.fixture(scope="module")
def volumes(shared_data):
    ct = read_ct(shared_data / "cect" / "rider-0109_arterial_5mm.nii.gz")
    cect = ct.hu[FIRST:LAST, 100:440]
    made = simulate_vnc(cect, ct.spacing_zyx)
    assert 220 < made.blood_hu < 270
    return cect, made.vnc_hu


def square(volume, place):
    z, y, x, half = place
    return volume[z - FIRST, y - 100 - half : y - 100 + half + 1, x - half : x + half + 1]


@pytest.mark.parametrize("name", BLOOD)
def test_blood_is_unenhanced(volumes, name):
    cect, vnc = (square(volume, BLOOD[name]) for volume in volumes)
    assert cect.mean() > 190
    assert abs(vnc.mean() - 40) < 8
    assert vnc.std() < max(25, 1.3 * cect.std())


def test_undiluted_contrast_is_not_left_as_bone(volumes):
    cect, vnc = (square(volume, UNDILUTED) for volume in volumes)
    assert cect.mean() > 300
    assert abs(vnc.mean() - 40) < 15


def test_the_border_to_the_septum_is_gone(volumes):
    """In a real non-contrast CT the gradient in the heart is 1.2 to 1.5 times that inside the ventricle; here 1.7."""
    z, rows, columns = 30 - FIRST, slice(70, 150), slice(270, 360)
    steep = []
    for hu in volumes:
        smooth = ndimage.gaussian_filter(hu[z].astype(np.float32), 2 / 0.7)
        steep.append(np.hypot(*np.gradient(smooth))[rows, columns])
    border = steep[0] > np.percentile(steep[0], 80)
    border &= ndimage.minimum_filter(volumes[0][z].astype(np.float32), 17)[rows, columns] > -50
    assert border.sum() > 200
    before, after = (values[border].mean() / np.median(values) for values in steep)
    assert before > 2
    assert after < 1.8


def test_noise_of_the_aorta_stays(volumes):
    cect, vnc = (square(volume, BLOOD["descending aorta"]) for volume in volumes)
    assert 0.6 < vnc.std() / cect.std() < 1.2


@pytest.mark.parametrize("name", UNTOUCHED)
def test_bone_and_fluid_are_left_alone(volumes, name):
    cect, vnc = (square(volume, UNTOUCHED[name]).astype(float) for volume in volumes)
    assert np.abs(vnc - cect).mean() < 3


def test_fat_and_lung_are_left_alone(volumes):
    cect, vnc = (volume.astype(float) for volume in volumes)
    for low, high in ((-130, -70), (-1000, -800)):
        tissue = (cect > low) & (cect < high)
        assert np.abs(vnc - cect)[tissue].mean() < 2


def test_little_of_the_enhancement_is_left(volumes):
    """Of what is brighter than the blood's half level and no bone (cortex above 350 HU aside), most goes."""
    cect, vnc = volumes
    heart = np.s_[10:, 60:220, 200:360]
    bright = (cect[heart] > 180) & (cect[heart] < 350)
    assert bright.sum() > 50000
    assert (vnc[heart][bright] > 120).mean() < 0.06


# Circles placed by eye, (z, y, x) and radius in voxels: what contrast fills, and what must stay.
CIRCLES = {
    "hcc-007-1997": {"aorta": (25, 238, 307, 6), "spleen": (25, 270, 408, 8), "marrow": (25, 250, 252, 6)},
    "hcc-011-10": {"aorta": (22, 252, 272, 8), "oral contrast": (22, 238, 362, 12), "marrow": (22, 300, 236, 7)},
    "hcc-013-08": {"aorta": (40, 268, 255, 6), "oral contrast": (40, 198, 348, 12), "marrow": (40, 320, 246, 8)},
}
EXPECTED = {"aorta": (40, 12), "spleen": (50, 20)}  # unenhanced HU and what it may be off


@pytest.mark.parametrize("name", CIRCLES)
def test_aorta_and_spleen_lose_their_iodine_and_oral_contrast_and_marrow_do_not(shared_data, name):
    ct = read_ct(shared_data / "pairs" / f"{name}_arterial.nii.gz")
    first = min(max(CIRCLES[name]["aorta"][0] - 5, 0), len(ct.hu) - 10)
    part = slice(first, first + 10)
    made = simulate_vnc(ct.hu[part], ct.spacing_zyx)
    rows, columns = np.ogrid[: ct.hu.shape[1], : ct.hu.shape[2]]
    for place, (z, y, x, radius) in CIRCLES[name].items():
        circle = np.hypot(rows - y, columns - x) <= radius
        before, after = (float(hu[z - first][circle].mean()) for hu in (ct.hu[part], made.vnc_hu))
        wanted, tolerance = EXPECTED.get(place, (before, 5))
        assert abs(after - wanted) < tolerance, f"{place}: {before:.0f} to {after:.0f} HU"


# One slice range of each CT with heart and aorta in it, and the level of its aorta.
LEVELS = {
    "cect/lidc-idri-0001_arterial_2.5mm": (70, 400),
    "cect/rider-0117_pulmonary_2.4mm": (10, 235),
    "cect/cptac-pda-c3n-00249_late_3mm": (55, 110),
    "cect/hcc-002_arterial": (8, 350),
    "cect/hcc-015_arterial": (2, 480),
    "cta-crops/pulmonary/ct": (46, None),  # dissected: two lumens, two levels
    "cta-crops/aorta/ct": (45, None),
    "pairs/hcc-007-1997_portal": (5, 150),
    "pairs/hcc-007-1998_arterial": (5, 270),
    "pairs/hcc-011-10_arterial": (2, 300),
    "pairs/hcc-013-08_arterial": (5, 230),
}


@pytest.mark.parametrize("path", LEVELS)
def test_no_ct_that_shows_heart_and_aorta_is_refused(shared_data, path):
    ct = read_ct(shared_data / f"{path}.nii.gz")
    first, level = LEVELS[path]
    made = simulate_vnc(ct.hu[first : first + 8], ct.spacing_zyx)
    assert np.isfinite(made.blood_hu)
    assert level is None or abs(made.blood_hu - level) < 0.15 * level

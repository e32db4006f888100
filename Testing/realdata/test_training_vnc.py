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
    "superior vena cava": (12, 256, 218, 6),
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
    """In a real non-contrast CT the gradient in the heart is 1.2 to 1.5 times that inside the ventricle."""
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
    assert after < 1.6


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

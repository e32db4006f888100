"""The heart region on real CTs: points of the left chambers, read off the pictures, are in it, and others are not."""

import numpy as np
import pytest
import SimpleITK

from realdata.chamber_labels import SEEDS
from realdata.roi_report import ROIS
from SyntheticContrastLib.ct.heart_region import heart_region
from SyntheticContrastLib.ct.read import read_ct

pytestmark = pytest.mark.realdata


def share(region, disc):
    """The share of a disc [z, y, x, radius] (voxels) that is in the region."""
    z, y, x, radius = disc
    rows, columns = np.ogrid[: region.shape[1], : region.shape[2]]
    return float(region[z][(rows - y) ** 2 + (columns - x) ** 2 <= radius**2].mean())


@pytest.mark.parametrize("name", ROIS)
def test_without_contrast(name, shared_data):
    volume = read_ct(shared_data / ROIS[name]["path"])
    region = heart_region(volume.hu, volume.spacing_zyx)
    assert region.shape == volume.hu.shape
    rois = ROIS[name]["rois"]
    for tissue in ("left atrium", "left ventricle"):
        assert share(region, rois[tissue]) > 0.99, tissue
    for tissue in ("paraspinal muscle", "shoulder muscle", "subcutaneous fat", "lung", "vertebra", "liver"):
        assert share(region, rois[tissue]) == 0, tissue
    assert 300 < region.sum() * np.prod(volume.spacing_zyx) / 1000 < 1200


@pytest.mark.parametrize("name", ["lidc-0001", "rider-0109"])
def test_with_contrast(name, shared_data):
    volume = read_ct(shared_data / SEEDS[name]["path"])
    region = heart_region(volume.hu, volume.spacing_zyx)
    discs = SEEDS[name]["left ventricle"] + SEEDS[name]["left atrium"]
    assert np.mean([share(region, disc) for disc in discs]) > 0.95
    assert 300 < region.sum() * np.prod(volume.spacing_zyx) / 1000 < 1200


def test_a_crop_around_the_heart(shared_data):
    folder = shared_data / "cta-crops" / "pulmonary"
    volume = read_ct(folder / "ct.nii.gz")
    heart = volume.from_stored(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "heart.nii.gz")))) > 0
    region = heart_region(volume.hu, volume.spacing_zyx)
    image = SimpleITK.GetImageFromArray(heart.astype(np.uint8))
    image.SetSpacing(volume.spacing_zyx[::-1])
    away = SimpleITK.GetArrayFromImage(SimpleITK.SignedMaurerDistanceMap(image, False, False, True))
    assert region[heart].mean() > 0.9
    assert (away[region] > 10).mean() < 0.06


# mL at least and at most; discs in the heart and in the liver, placed by eye: [z, y, x, radius] in voxels.
HEARTS = {
    "pairs/hcc-007-1997_arterial": (400, 620, [[5, 162, 315, 12], [12, 155, 317, 12]], [[12, 215, 125, 10]]),
    "pairs/hcc-007-1997_portal": (430, 660, [[5, 164, 315, 12], [13, 157, 320, 12]], []),
    "pairs/hcc-007-1997_unenhanced": (480, 820, [[1, 175, 311, 12], [3, 163, 317, 12]], []),
    "pairs/hcc-007-1998_arterial": (600, 860, [[7, 175, 289, 12], [17, 161, 298, 12]], []),
    "pairs/hcc-007-1998_unenhanced": (560, 860, [[1, 177, 301, 12], [3, 169, 310, 12]], []),
    "pairs/hcc-011-10_arterial": (370, 560, [[4, 183, 295, 12], [9, 176, 302, 12]], [[9, 232, 130, 10]]),
    "pairs/hcc-011-10_unenhanced": (60, 200, [[0, 141, 310, 12]], []),
    "pairs/hcc-013-08_arterial": (780, 1100, [[7, 203, 296, 12], [16, 191, 301, 12]], [[16, 220, 130, 10]]),
    "pairs/hcc-013-08_unenhanced": (780, 1150, [[2, 207, 295, 12], [4, 196, 299, 12]], []),
    "cect/cptac-pda-c3n-00249_late_3mm": (640, 900, [[39, 239, 265, 12], [50, 227, 285, 12]], []),
    "cect/hcc-002_arterial": (400, 620, [[6, 167, 269, 12], [14, 159, 278, 12]], [[14, 204, 143, 10]]),
    "cect/hcc-015_arterial": (30, 100, [[1, 178, 279, 8]], []),
    "cect/rider-0117_pulmonary_2.4mm": (330, 500, [[7, 130, 279, 12], [18, 125, 305, 12]], [[18, 171, 94, 10]]),
}


@pytest.mark.parametrize("name", HEARTS)
def test_a_heart_that_the_scan_may_cut(name, shared_data):
    volume = read_ct(shared_data / f"{name}.nii.gz")
    low, high, heart, liver = HEARTS[name]
    region = heart_region(volume.hu, volume.spacing_zyx)
    assert low < region.sum() * np.prod(volume.spacing_zyx) / 1000 < high
    assert all(share(region, disc) > 0.95 for disc in heart)
    assert all(share(region, disc) == 0 for disc in liver)

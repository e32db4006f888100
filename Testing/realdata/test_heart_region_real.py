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
    assert region[heart].mean() > 0.93
    assert (away[region] > 10).mean() < 0.12

"""Every contrast CT at hand is noticed, and no other: volumes of all phases, and single slices of 36 patients."""

import csv

import numpy as np
import pytest

from SyntheticContrastLib.ct.enhanced import enhanced_share, is_enhanced
from SyntheticContrastLib.ct.read import read_ct

pytestmark = pytest.mark.realdata

ENHANCED = [
    *(f"pairs/hcc-{name}.nii.gz" for name in ("007-1997_arterial", "007-1997_portal", "007-1998_arterial")),
    *(f"pairs/hcc-{name}.nii.gz" for name in ("011-10_arterial", "013-08_arterial")),
    *(f"cect/hcc-{name}_arterial.nii.gz" for name in ("002", "015")),
    "cect/cptac-pda-c3n-00249_late_3mm.nii.gz",
    "cect/lidc-idri-0001_arterial_2.5mm.nii.gz",
    "cect/rider-0109_arterial_5mm.nii.gz",
    "cect/rider-0117_pulmonary_2.4mm.nii.gz",
    "cta-crops/pulmonary/ct.nii.gz",
    "cta-crops/aorta/ct.nii.gz",
]
UNENHANCED = [
    *(f"pairs/hcc-{name}_unenhanced.nii.gz" for name in ("007-1997", "007-1998", "011-10", "013-08")),
    "ncct/lidc-idri-0314_3mm.nii.gz",
    "ncct/lung-dx-a0001_dicom",
]


@pytest.mark.parametrize(("path", "expected"), [(p, True) for p in ENHANCED] + [(p, False) for p in UNENHANCED])
def test_a_volume(path, expected, shared_data):
    volume = read_ct(shared_data / path)
    assert is_enhanced(volume.hu, volume.spacing_zyx) is expected


def test_the_weakest_contrast_lasts_an_offset_of_the_scanner(shared_data):
    volume = read_ct(shared_data / "cect/cptac-pda-c3n-00249_late_3mm.nii.gz")
    assert is_enhanced(volume.hu - np.int16(8), volume.spacing_zyx)
    volume = read_ct(shared_data / "ncct/lidc-idri-0314_3mm.nii.gz")
    assert not is_enhanced(volume.hu + np.int16(15), volume.spacing_zyx)


def test_single_slices(shared_data):
    hu = np.load(shared_data / "slices2d_tcga.npz")["hu"]
    with (shared_data / "slices2d_tcga.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {True: [], False: []}
    for image, row in zip(hu, rows, strict=True):
        pixel = float(row["spacing_mm"])
        spacing = (float(row["thickness_mm"]), pixel, pixel)
        if enhanced_share(image[None], spacing) is not None:  # there are lungs in it
            found[row["use"] != "NCCT"].append(is_enhanced(image[None], spacing))
    assert len(found[True]) >= 27 and all(found[True])
    assert len(found[False]) >= 20 and sum(found[False]) <= 2  # the sternum weighs more in a single slice

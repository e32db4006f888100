"""Slice ranges and circles on real CTs; what is expected was read off the pictures, slice by slice."""

import csv
import re

import numpy as np
import pytest

from SyntheticContrastLib.analysis.circle_proposal import propose_circles
from SyntheticContrastLib.analysis.circles import measure
from SyntheticContrastLib.analysis.cnr import AORTA, FAT_LEFT, FAT_RIGHT, LESION, measure_cnr
from SyntheticContrastLib.analysis.slice_range import propose_slice_range
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.volume import CTVolume, Grid

pytestmark = pytest.mark.realdata

LIDC1 = "cect/lidc-idri-0001_arterial_2.5mm.nii.gz"
RIDER = "cect/rider-0109_arterial_5mm.nii.gz"
CPTAC = "cect/cptac-pda-c3n-00249_late_3mm.nii.gz"


@pytest.mark.parametrize(
    ("path", "arch", "diaphragm"),  # first slice with the arch, first slice with the right dome, from 0
    [
        ("ncct/lung-dx-a0001_dicom", 16, 47),
        ("ncct/lidc-idri-0314_3mm.nii.gz", 24, 53),
        (LIDC1, 28, 68),
        (CPTAC, 16, 55),
    ],
)
def test_arch_to_diaphragm(path, arch, diaphragm, shared_data):
    volume = read_ct(shared_data / path)
    found = propose_slice_range(volume.hu, volume.spacing_zyx)
    assert abs(found.first - arch) * volume.spacing_zyx[0] <= 5
    assert -5 <= (found.last - diaphragm) * volume.spacing_zyx[0] <= 10
    assert found.note == ""


def test_a_large_effusion(shared_data):
    volume = read_ct(shared_data / RIDER)
    found = propose_slice_range(volume.hu, volume.spacing_zyx)
    assert found.first in (6, 7)
    assert 35 <= found.last <= 38  # stomach and spleen rise into the left lung in slice 38
    assert "right diaphragm" in found.note


@pytest.mark.parametrize(
    (
        "path",
        "slices",
        "blood",
    ),  # mean HU of the aorta by the README of the data, measured elsewhere; the places were seen
    [
        (LIDC1, (43, 57, 66), (367, 437)),
        (RIDER, (17, 27, 37), (214, 266)),
        (CPTAC, (30, 47, 56), (100, 114)),
    ],
)
def test_circles(path, slices, blood, shared_data):
    volume = read_ct(shared_data / path)
    affine = volume.grid.canonical_affine
    for z in slices:
        circles = propose_circles(volume, z, 11.0)
        x = {role: circles[role].centre[0] for role in (FAT_RIGHT, AORTA, FAT_LEFT)}
        assert x[FAT_RIGHT] < x[AORTA] - 30 and x[FAT_LEFT] > x[AORTA] + 30
        measured = measure_cnr(volume.hu, affine, {**circles, LESION: circles[AORTA]})
        assert measured.warnings == ()
        assert blood[0] - 20 < measured.rois[AORTA].mean < blood[1] + 20
        for role in (FAT_RIGHT, FAT_LEFT):
            assert -130 < measured.rois[role].mean < -70
            assert measured.rois[role].sd < 25


@pytest.mark.parametrize("path", ["ncct/lung-dx-a0001_dicom", "ncct/lidc-idri-0314_3mm.nii.gz"])
def test_no_aorta_without_contrast(path, shared_data):
    volume = read_ct(shared_data / path)
    for z in (30, 40):
        assert propose_circles(volume, z, 11.0)[AORTA] is None


def test_the_aorta_on_single_slices_of_36_patients(shared_data):
    """Where the table gives the HU of the descending aorta, the circle measures it; without contrast there is none."""
    with (shared_data / "slices2d_tcga.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    slices = np.load(shared_data / "slices2d_tcga.npz")["hu"]
    apart, without, missed = [], 0, 0
    for row in rows:
        hu, mm = slices[int(row["index"])][None], float(row["spacing_mm"])
        volume = CTVolume(hu, Grid.axial(hu.shape, (5.0, mm, mm)))
        aorta = propose_circles(volume, 0, 10.0)[AORTA]
        if row["use"] == "NCCT":
            without += aorta is not None
        elif known := re.search(r"desc (\d+)", row["hu"]):
            missed += aorta is None
            if aorta is not None:
                apart.append(abs(measure(hu, volume.grid.canonical_affine, aorta).mean - float(known[1])))
    assert without == 0
    assert len(apart) >= 20 and missed <= 4
    assert np.median(apart) < 8
    assert (
        sorted(apart)[-2] < 25
    )  # the last is slice 11: by the picture the circle lies in the aorta, the table does not

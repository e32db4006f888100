"""Real scans: read as ITK reads them, and written back exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from SyntheticContrastLib.ct.dicom_write import write_dicom_series
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.ct.write import write_image

pytestmark = pytest.mark.realdata

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
DICOM = DATA / "ncct" / "lung-dx-a0001_dicom"
IMAGES = (
    "ncct/lidc-idri-0314_3mm.nii.gz",
    "cect/lidc-idri-0001_arterial_2.5mm.nii.gz",
    "cect/rider-0109_arterial_5mm.nii.gz",
    "cect/cptac-pda-c3n-00249_late_3mm.nii.gz",
    "cta-crops/pulmonary/ct.nii.gz",
    "cta-crops/aorta/ct.nii.gz",
)


@pytest.fixture(scope="module")
def scan() -> CTVolume:
    return read_ct(DICOM)


def assert_same_as_itk(volume: CTVolume, image: SimpleITK.Image) -> None:
    grid = Grid.from_parts(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    assert volume.grid.size == grid.size
    np.testing.assert_allclose(volume.grid.affine, grid.affine, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(volume.to_stored(volume.hu), SimpleITK.GetArrayViewFromImage(image))


def itk_series(folder: Path) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_dicom_as_itk_reads_it(scan: CTVolume) -> None:
    assert_same_as_itk(scan, itk_series(DICOM))
    assert scan.hu.dtype == np.int16
    assert scan.hu.shape == (64, 512, 512)
    assert scan.spacing_zyx == pytest.approx((5.0, 0.842, 0.842), abs=1e-3)


@pytest.mark.parametrize("name", IMAGES)
def test_nifti_as_itk_reads_it(name: str) -> None:
    assert_same_as_itk(read_ct(DATA / name), SimpleITK.ReadImage(str(DATA / name)))


def test_the_patient_lies_as_the_axes_say(scan: CTVolume) -> None:
    """The table, the densest straight thing behind the patient, is at the back; the lungs are above the abdomen."""
    air_in_body = ((scan.hu > -950) & (scan.hu < -700)).sum(axis=(1, 2))
    third = len(air_in_body) // 3
    assert air_in_body[:third].sum() > air_in_body[-third:].sum() * 0.5
    bone = (scan.hu > 300).sum(axis=(0, 2))
    middle = len(bone) // 2
    assert bone[middle:].sum() > 1.5 * bone[:middle].sum()  # spine and scapulae lie behind


@pytest.mark.parametrize("name", ["out.nrrd", "out.nii.gz"])
def test_image_round_trip(name: str, scan: CTVolume, tmp_path: Path) -> None:
    write_image(tmp_path / name, scan.hu, scan)
    again = read_ct(tmp_path / name)
    np.testing.assert_array_equal(again.hu, scan.hu)
    assert again.grid.matches(scan.grid, 1e-4)


def test_dicom_round_trip(scan: CTVolume, tmp_path: Path) -> None:
    uid = write_dicom_series(tmp_path / "made", scan.hu, scan, description="sCECT", derivation="a test")
    again = read_ct(tmp_path / "made", [uid])
    np.testing.assert_array_equal(again.hu, scan.hu)
    np.testing.assert_array_equal(again.grid.affine, scan.grid.affine)
    assert_same_as_itk(scan, itk_series(tmp_path / "made"))

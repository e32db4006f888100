"""The chest phantom is a chest, the same one for the same seed, and travels as DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.ndimage import binary_erosion

from SyntheticContrastLib.ct.check import check_hu
from SyntheticContrastLib.ct.phantom import NOISE_HU, TISSUES, Phantom, thorax_phantom, write_phantom_series
from SyntheticContrastLib.ct.read import read_ct


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return thorax_phantom((24, 128, 128), (10.0, 2.8, 2.8), seed=3)


def test_types_and_shapes(phantom: Phantom) -> None:
    for array, dtype in ((phantom.ncct, np.int16), (phantom.cect, np.int16), (phantom.labels, np.uint8)):
        assert array.shape == (24, 128, 128)
        assert array.dtype == dtype
    check_hu(phantom.ncct)


def test_every_tissue_is_there(phantom: Phantom) -> None:
    assert set(np.unique(phantom.labels)) == {label for label, _, _ in TISSUES.values()}


@pytest.mark.parametrize(
    "name", ["aorta", "left_ventricle", "right_ventricle", "left_atrium", "liver", "muscle", "lung"]
)
def test_values_inside_a_tissue(name: str, phantom: Phantom) -> None:
    inside = binary_erosion(phantom.mask(name), np.ones((1, 3, 3)), iterations=2)
    assert inside.sum() > 20
    _, plain, enhanced = TISSUES[name]
    assert abs(phantom.ncct[inside].mean() - plain) < 8
    assert abs(phantom.cect[inside].mean() - enhanced) < 8


def test_noise(phantom: Phantom) -> None:
    inside = binary_erosion(phantom.mask("liver"), np.ones((1, 3, 3)), iterations=2)
    assert phantom.ncct[inside].std() == pytest.approx(NOISE_HU, rel=0.15)
    difference = phantom.cect[inside].astype(float) - phantom.ncct[inside]
    assert difference.std() == pytest.approx(NOISE_HU * np.sqrt(2), rel=0.15)  # two scans, two noises


def test_left_is_left_and_the_liver_is_low(phantom: Phantom) -> None:
    """x runs to the patient's left, y to the back, z to the feet."""
    z, y, x = (np.mean(axis) for axis in np.nonzero(phantom.mask("left_ventricle")))
    liver_z, _, liver_x = (np.mean(axis) for axis in np.nonzero(phantom.mask("liver")))
    _, spine_y, _ = (np.mean(axis) for axis in np.nonzero(phantom.mask("spinal_canal")))
    assert x > 64 > liver_x
    assert spine_y > y
    assert liver_z > z


def test_outside_the_scan_circle(phantom: Phantom) -> None:
    assert (phantom.ncct[:, 0, 0] == -1024).all()
    assert phantom.ncct.min() == -1024


def test_the_seed_decides(phantom: Phantom) -> None:
    again = thorax_phantom((24, 128, 128), (10.0, 2.8, 2.8), seed=3)
    np.testing.assert_array_equal(again.ncct, phantom.ncct)
    np.testing.assert_array_equal(again.cect, phantom.cect)
    other = thorax_phantom((24, 128, 128), (10.0, 2.8, 2.8), seed=4)
    assert (other.ncct != phantom.ncct).any()
    assert (other.labels != phantom.labels).any()


def test_as_a_dicom_series(phantom: Phantom, tmp_path: Path) -> None:
    uid = write_phantom_series(tmp_path / "series", phantom.ncct, phantom.spacing_zyx)
    volume = read_ct(tmp_path / "series")
    np.testing.assert_array_equal(volume.hu, phantom.ncct)
    assert volume.grid.matches(phantom.volume(phantom.ncct).grid)
    assert volume.source is not None
    assert volume.source.series_uid == uid
    header = pydicom.dcmread(volume.source.files[0], stop_before_pixels=True)
    assert header.PatientID == "PHANTOM"
    assert list(header.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL"]

"""NRRD and NIfTI: back onto the stored grid."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.mask import read_mask
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.ct.write import write_image
from unit.ct_factory import chest_values, ct_slices, save_all, save_image

HU = chest_values((6, 10, 12))
LEFT_HANDED_CORONAL = np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]])


def sheared() -> CTVolume:
    affine = np.diag([0.5, 0.75, 5.0, 1.0])
    affine[1, 2] = 0.3
    grid = Grid((12, 10, 6), affine)
    return CTVolume(np.ascontiguousarray(grid.from_stored(HU)), grid)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("name", ["out.nrrd", "out.nii", "out.nii.gz"])
@pytest.mark.parametrize("direction", [np.eye(3), LEFT_HANDED_CORONAL], ids=["axial", "left-handed coronal"])
def test_round_trip_keeps_values_and_grid(dtype: type, name: str, direction: np.ndarray, tmp_path: Path) -> None:
    source = save_image(tmp_path / "in.nrrd", HU, direction)
    volume = read_ct(source)
    values = (volume.hu % 200).astype(dtype) if dtype == np.uint8 else volume.hu.astype(dtype) + dtype(0.5)
    write_image(tmp_path / name, values, volume)

    given, written = SimpleITK.ReadImage(str(source)), SimpleITK.ReadImage(str(tmp_path / name))
    assert written.GetSize() == given.GetSize()
    exact = 0 if name.endswith("nrrd") else 1e-5  # NIfTI keeps 32-bit floats
    for part in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(written, part)(), getattr(given, part)(), rtol=1e-15, atol=exact)
    stored = SimpleITK.GetArrayFromImage(written)
    assert stored.dtype == dtype
    np.testing.assert_array_equal(volume.from_stored(stored), values)


def test_an_nrrd_lies_exactly_on_the_dicom_it_came_from(tmp_path: Path) -> None:
    volume = read_ct(save_all(tmp_path / "dicom", ct_slices()))
    write_image(tmp_path / "out.nrrd", volume.hu, volume)
    again = read_ct(tmp_path / "out.nrrd")
    assert again.grid.size == volume.grid.size
    np.testing.assert_allclose(again.grid.affine, volume.grid.affine, atol=1e-12)
    np.testing.assert_array_equal(again.hu, volume.hu)


def test_nrrd_is_compressed_unless_time_matters(tmp_path: Path) -> None:
    volume = read_ct(save_image(tmp_path / "in.nrrd", HU))
    for compress, encoding in [(True, b"encoding: gzip"), (False, b"encoding: raw")]:
        write_image(tmp_path / "out.nrrd", volume.hu, volume, compress=compress)
        assert encoding in (tmp_path / "out.nrrd").read_bytes()[:1000]
        assert np.array_equal(read_ct(tmp_path / "out.nrrd").hu, volume.hu)


@pytest.mark.parametrize(("name", "key"), [("out.nrrd", "description"), ("out.nii.gz", "descrip")])
def test_the_description_is_in_the_header(name: str, key: str, tmp_path: Path) -> None:
    volume = read_ct(save_image(tmp_path / "in.nrrd", HU))
    write_image(tmp_path / name, volume.hu, volume, "synthetic - not for diagnosis")
    assert SimpleITK.ReadImage(str(tmp_path / name)).GetMetaData(key) == "synthetic - not for diagnosis"


def test_nrrd_keeps_a_shear(tmp_path: Path) -> None:
    volume = sheared()
    write_image(tmp_path / "out.nrrd", volume.hu, volume)
    again = read_ct(tmp_path / "out.nrrd")
    np.testing.assert_allclose(again.grid.affine, volume.grid.affine, atol=1e-12)
    np.testing.assert_array_equal(again.hu, volume.hu)


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_nifti_refuses_a_shear(name: str, tmp_path: Path) -> None:
    volume = sheared()
    with pytest.raises(InputError, match="write NRRD or DICOM"):
        write_image(tmp_path / name, volume.hu, volume)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.nhdr", "out.mha", "out.dcm", "out"])
def test_other_extensions_are_refused(name: str, tmp_path: Path) -> None:
    volume = sheared()
    with pytest.raises(InputError, match=r"\.nrrd, \.nii or \.nii\.gz"):
        write_image(tmp_path / name, volume.hu, volume)


def test_wrong_shape_and_type_are_refused(tmp_path: Path) -> None:
    volume = sheared()
    with pytest.raises(ValueError, match="shape"):
        write_image(tmp_path / "out.nrrd", volume.hu[1:], volume)
    with pytest.raises(ValueError, match="float64"):
        write_image(tmp_path / "out.nrrd", volume.hu.astype(np.float64), volume)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = sheared()
    (tmp_path / "out.nrrd").write_text("the former result")

    def full_disk(image: object, name: str, **options: object) -> None:
        Path(name).write_bytes(b"half")
        raise RuntimeError("no space")

    monkeypatch.setattr(SimpleITK, "WriteImage", full_disk)
    with pytest.raises(OSError, match=r"cannot write out\.nrrd"):
        write_image(tmp_path / "out.nrrd", volume.hu, volume)
    assert [path.name for path in tmp_path.iterdir()] == ["out.nrrd"]
    assert (tmp_path / "out.nrrd").read_text() == "the former result"


@pytest.mark.skipif(os.name == "nt", reason="POSIX: a limit on the size of files")
@pytest.mark.parametrize("name", ["o.nrrd", "o.nii", "o.nii.gz"])
@pytest.mark.parametrize("missing", [1, 5_000])
def test_bytes_that_the_disk_did_not_take_are_noticed(name: str, missing: int, tmp_path: Path) -> None:
    """The NIfTI library does not say so."""
    hu = np.random.default_rng(0).integers(-1000, 1000, (8, 40, 40)).astype(np.int16)
    volume = CTVolume(hu, Grid.axial(hu.shape, (3.0, 1.0, 1.0)))
    write_image(tmp_path / name, hu, volume)
    whole = (tmp_path / name).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - missing, limits[1]))
    try:
        with pytest.raises(OSError, match=f"cannot write {name}"):
            write_image(tmp_path / name, hu, volume)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_bytes() == whole


@pytest.mark.parametrize("name", ["OUT.NII.GZ", "Out.Nii.gz", "OUT.NII", "OUT.NRRD"])
def test_suffixes_in_capitals_are_written(name: str, tmp_path: Path) -> None:
    hu = np.arange(2 * 8 * 8, dtype=np.int16).reshape(2, 8, 8)
    write_image(tmp_path / name, hu, CTVolume(hu, Grid.axial(hu.shape, (3.0, 1.0, 1.0))))
    small = (tmp_path / name).rename(tmp_path / name.lower())
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(small)))[::-1], hu)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    hu = np.zeros((2, 8, 8), np.int16)
    volume = CTVolume(hu, Grid.axial(hu.shape, (3.0, 1.0, 1.0)))
    path = tmp_path / os.fsdecode(b"M\xfcller.nrrd")
    with pytest.raises(InputError, match=r"path of M\\xfcller.nrrd is not UTF-8"):
        write_image(path, hu, volume)
    path.write_bytes(b"NRRD0004")
    for read in (read_ct, lambda found: read_mask(found, volume.grid)):
        with pytest.raises(InputError, match=r"path of M\\xfcller.nrrd is not UTF-8"):
            read(path)

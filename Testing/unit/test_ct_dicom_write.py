"""The derived DICOM series: its identity, its honesty, its geometry, its values."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from SyntheticContrastLib.ct.dicom_write import write_dicom_series
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from unit.ct_factory import CT, chest_values, ct_slices, odd_values, save_all, save_image

DERIVATION = "Synthetic contrast by a neural network. Not for diagnosis."


def rich(ds: Dataset, k: int) -> None:
    """What a scanner's header holds, the parts that must not be carried on among it."""
    ds.InstitutionName, ds.Manufacturer, ds.ManufacturerModelName = "Clinic", "ACME", "CT 3000"
    ds.StudyDescription, ds.ReferringPhysicianName, ds.PatientAge = "Thorax", "REF", "070Y"
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = "MÜLLER^JÖRG"
    ds.SliceLocation = -100.0 + 5 * k
    ds.AcquisitionDate, ds.AcquisitionTime, ds.ContentDate, ds.ContentTime = "20200304", "050600", "20200304", "050600"
    ds.ContrastBolusAgent = "none"
    ds.add_new("PixelPaddingValue", "US", 24)
    ds.add_new("SmallestImagePixelValue", "US", 0)
    ds.add_new("LargestImagePixelValue", "US", 4000)
    ds.WindowCenter, ds.WindowWidth = -600, 1500
    ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", 12
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    block = ds.private_block(0x0009, "ACME PRIVATE", create=True)
    block.add_new(0x01, "LO", "secret")
    ds.OperatorsName = "OPERATOR"


@pytest.fixture
def volume(tmp_path: Path) -> CTVolume:
    return read_ct(save_all(tmp_path / "source", ct_slices(), rich))


def write(tmp_path: Path, hu: NDArray, volume: CTVolume, **options: object) -> list[Dataset]:
    """Write, and give the headers back in K order."""
    write_dicom_series(tmp_path / "made", hu, volume, **{"description": "sCECT", "derivation": DERIVATION, **options})
    slices = [pydicom.dcmread(path) for path in (tmp_path / "made").iterdir()]
    return sorted(slices, key=lambda ds: -int(ds.InstanceNumber))


def sources(volume: CTVolume) -> list[Dataset]:
    assert volume.source is not None
    return [pydicom.dcmread(path) for path in volume.source.files]


def gdcm_image(folder: Path) -> SimpleITK.Image:
    """The series as ITK, and so Slicer, sees it."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_it_joins_the_patient_and_study_as_a_new_series(volume: CTVolume, tmp_path: Path) -> None:
    made, given = write(tmp_path, volume.hu, volume), sources(volume)
    for new, old in zip(made, given, strict=True):
        for keyword in (
            *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID"),
            *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription", "ReferringPhysicianName"),
            *("FrameOfReferenceUID", "AcquisitionDate", "KVP", "SpecificCharacterSet", "SliceLocation"),
            *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "PatientPosition"),
        ):
            assert new[keyword].value == old[keyword].value, keyword
        assert new.SeriesInstanceUID != old.SeriesInstanceUID
        assert new.SeriesNumber != old.SeriesNumber
        assert new.ContentDate > old.ContentDate
        assert new.SeriesDate == new.ContentDate
    assert len({ds.SeriesInstanceUID for ds in made}) == 1
    uids = [uid for ds in made for uid in (ds.SOPInstanceUID, ds.SeriesInstanceUID)]
    assert len({ds.SOPInstanceUID for ds in made} - {ds.SOPInstanceUID for ds in given}) == len(made)
    assert all(uid.is_valid and len(uid) <= 64 for uid in uids)
    assert [ds.InstanceNumber for ds in made] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
def test_a_source_without_study_or_frame_gets_one(keyword: str, empty: bool, tmp_path: Path) -> None:
    """Both are required in DICOM: without a study an archive refuses the series, or merges it with another."""

    def lost(ds: Dataset, k: int) -> None:
        setattr(ds, keyword, "") if empty else delattr(ds, keyword)

    volume = read_ct(save_all(tmp_path / "source", ct_slices(), lost))
    other = read_ct(save_all(tmp_path / "other", ct_slices(), lost))
    first = {ds[keyword].value for ds in write(tmp_path, volume.hu, volume)}
    again = {ds[keyword].value for ds in write(tmp_path, volume.hu, volume, overwrite=True)}
    another = {ds[keyword].value for ds in write(tmp_path, other.hu, other, overwrite=True)}
    assert first == again and len(first) == 1 and all(uid.is_valid and uid for uid in first)
    assert not first & another


def test_it_says_what_it_is(volume: CTVolume, tmp_path: Path) -> None:
    for new, old in zip(write(tmp_path, volume.hu, volume), sources(volume), strict=True):
        assert list(new.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert new[0x0008001C].value == "YES"  # Synthetic Data
        assert new.SeriesDescription == "Synthetic sCECT"
        assert new.DerivationDescription == DERIVATION
        assert new.BurnedInAnnotation == "NO"
        assert new.Modality == "CT"
        assert new.SOPClassUID == CT
        (reference,) = new.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == old.SOPClassUID
        assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert new.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID


def test_nothing_stale_or_private_is_left(volume: CTVolume, tmp_path: Path) -> None:
    for ds in write(tmp_path, volume.hu, volume):
        for keyword in (
            *("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue", "ContrastBolusAgent"),
            "OperatorsName",
        ):
            assert keyword not in ds
        assert (ds.WindowCenter, ds.WindowWidth) == (50, 350)
        assert (ds.LossyImageCompression, ds.LossyImageCompressionRatio) == ("01", 12)
        assert not any(element.tag.is_private for element in ds)


def test_every_type_1_and_2_tag_of_the_ct_image_is_there(volume: CTVolume, tmp_path: Path) -> None:
    del volume  # a source with few tags
    poor = save_image(tmp_path / "in.nrrd", chest_values((3, 10, 12)))
    for ds in write(tmp_path, read_ct(poor).hu, read_ct(poor)):
        for keyword in (
            *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"),
            *("StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber", "Modality", "SeriesInstanceUID"),
            *("SeriesNumber", "PatientPosition", "FrameOfReferenceUID", "PositionReferenceIndicator", "Manufacturer"),
            *("InstanceNumber", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness"),
            *("ImageType", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated"),
            *("BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept", "RescaleSlope", "KVP"),
            *("AcquisitionNumber", "SOPClassUID", "SOPInstanceUID", "PixelData"),
        ):
            assert keyword in ds, keyword
        assert re.fullmatch("SC[0-9A-F]{14}", ds.PatientID) and ds.PatientName == ds.PatientID
        assert "SourceImageSequence" not in ds


def test_two_new_studies_are_never_one_patient(tmp_path: Path) -> None:
    poor = read_ct(save_image(tmp_path / "in.nrrd", chest_values((3, 10, 12))))
    identities = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        identities.append({(ds.PatientID, ds.StudyInstanceUID) for ds in write(folder, poor.hu, poor)})
    assert [len(found) for found in identities] == [1, 1]
    assert not {value for found in identities[0] for value in found} & {v for found in identities[1] for v in found}


@pytest.mark.parametrize(
    ("description", "written"),
    [
        ("sCECT", "Synthetic sCECT"),
        ("sCECT (synthetic)", "sCECT (synthetic)"),
        ("long " * 20, ("Synthetic " + "long " * 20)[:64]),
        ("a\\b Ü", "Synthetic a/b ?"),
    ],
)
def test_series_description(description: str, written: str, volume: CTVolume, tmp_path: Path) -> None:
    made = write(tmp_path, volume.hu, volume, description=description)
    assert {ds.SeriesDescription for ds in made} == {written.rstrip()}


def test_values_are_rounded_and_saturated_never_wrapped(volume: CTVolume, tmp_path: Path) -> None:
    hu = volume.hu.astype(np.float32)
    hu[0, 0, :8] = (0.49, 0.51, -0.51, 1.5, 2.5, -1023.6, 1e6, -1e6)
    write(tmp_path, hu, volume)
    again = read_ct(tmp_path / "made", allow_synthetic=True)
    assert again.hu.dtype == np.int16
    assert again.hu[0, 0, :8].tolist() == [0, 1, -1, 2, 2, -1024, 32767, -32768]
    np.testing.assert_array_equal(again.hu[1:], volume.hu[1:])


def test_another_shape_is_refused(volume: CTVolume, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        write(tmp_path, volume.hu[1:], volume)


def test_values_that_are_not_finite_are_refused(volume: CTVolume, tmp_path: Path) -> None:
    hu = volume.hu.astype(np.float32)
    hu[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        write(tmp_path, hu, volume)
    assert not (tmp_path / "made").exists()


def coronal() -> list[Dataset]:
    positions = [(0.0, 5.0 * k, 50.0) for k in range(5)]
    return ct_slices(orientation=(1, 0, 0, 0, 0, -1), positions=positions)


def tilted() -> list[Dataset]:
    return ct_slices(positions=[(1 / 3, 0.2 * k, 5.0 * k) for k in range(5)])


SOURCES = {
    "axial": ct_slices,
    "prone": lambda: ct_slices(orientation=(-1, 0, 0, 0, -1, 0)),
    "coronal": coronal,
    "gantry tilt": tilted,
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_derived_series_reads_back_on_the_same_grid(make: object, tmp_path: Path) -> None:
    volume = read_ct(save_all(tmp_path / "source", make()))  # type: ignore[operator]
    uid = write_dicom_series(tmp_path / "made", volume.hu, volume, description="sCECT")
    again = read_ct(tmp_path / "made", [uid])
    np.testing.assert_array_equal(again.hu, volume.hu)
    assert again.grid.size == volume.grid.size
    np.testing.assert_array_equal(again.grid.affine, volume.grid.affine)

    before, after = gdcm_image(tmp_path / "source"), gdcm_image(tmp_path / "made")
    for part in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(after, part)() == getattr(before, part)()
    np.testing.assert_array_equal(SimpleITK.GetArrayViewFromImage(after), SimpleITK.GetArrayViewFromImage(before))


DIRECTIONS = {
    "axial": np.eye(3),
    "left-handed": np.diag([1, 1, -1]),
    "left-handed coronal": np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]),
    "oblique by 3 degrees": np.reshape(
        SimpleITK.Euler3DTransform((0, 0, 0), np.radians(3), 0, np.radians(2)).GetMatrix(), (3, 3)
    ),
}


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_from_an_image_file_every_voxel_keeps_its_place(direction: NDArray, tmp_path: Path) -> None:
    volume = read_ct(save_image(tmp_path / "in.nrrd", chest_values((6, 10, 12)), direction))
    write_dicom_series(tmp_path / "made", volume.hu, volume, description="sCECT")
    again = read_ct(tmp_path / "made", allow_synthetic=True)
    np.testing.assert_array_equal(again.hu, volume.hu)
    np.testing.assert_allclose(again.grid.canonical_affine, volume.grid.canonical_affine, atol=1e-8)
    seen = gdcm_image(tmp_path / "made")
    for zyx in ((0, 0, 0), (1, 2, 3), tuple(n - 1 for n in volume.hu.shape)):
        world = volume.grid.canonical_affine @ (*zyx[::-1], 1)
        assert seen[seen.TransformPhysicalPointToIndex(world[:3].tolist())] == volume.hu[zyx]


def test_a_shear_within_the_slices_is_refused(tmp_path: Path) -> None:
    affine = np.diag([0.5, 0.75, 5.0, 1.0])
    affine[0, 1] = 0.04
    volume = CTVolume(chest_values((3, 10, 12)), Grid((12, 10, 3), affine))
    with pytest.raises(InputError, match="sheared within the slices"):
        write(tmp_path, volume.hu, volume)
    assert not list(tmp_path.iterdir())


def test_a_cancelled_write_leaves_nothing(volume: CTVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    original = pydicom.dcmwrite

    def cancelled_at_the_third(path: Path, dataset: Dataset) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        original(path, dataset)
        written.append(path)

    monkeypatch.setattr(pydicom, "dcmwrite", cancelled_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, volume.hu, volume)
    assert len(written) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_overwriting_takes_only_a_series_of_its_own_kind(volume: CTVolume, tmp_path: Path) -> None:
    write(tmp_path, volume.hu, volume)
    with pytest.raises(InputError, match="already exists"):
        write(tmp_path, volume.hu, volume)
    write(tmp_path, volume.hu, volume, overwrite=True)
    (tmp_path / "made" / "thesis.docx").write_text("years of work")
    with pytest.raises(InputError, match="holds other things"):
        write(tmp_path, volume.hu, volume, overwrite=True)
    assert (tmp_path / "made" / "thesis.docx").exists()


def test_the_source_is_never_overwritten(volume: CTVolume, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the input's own folder"):
        write_dicom_series(tmp_path / "source", volume.hu, volume, description="sCECT", overwrite=True)
    assert len(list((tmp_path / "source").iterdir())) == 5


def test_a_source_that_is_gone_or_changed_is_reported(volume: CTVolume, tmp_path: Path) -> None:
    save_all(tmp_path / "source", ct_slices())
    with pytest.raises(InputError, match=r"IM0000\.dcm has changed"):
        write(tmp_path, volume.hu, volume)
    (tmp_path / "source" / "IM0000.dcm").unlink()
    with pytest.raises(InputError, match=r"IM0000\.dcm cannot be read any more"):
        write(tmp_path, volume.hu, volume)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_odd_source_values_neither_warn_nor_leak(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volume = read_ct(save_all(tmp_path / "source", ct_slices(), odd_values))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        write_dicom_series(tmp_path / "made", volume.hu, volume, description="sCECT")
    assert caplog.text == ""
    assert len(list((tmp_path / "made").iterdir())) == 5

"""Makes small DICOM series for the tests, right ones and wrong ones. Not a test."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
REPORT = "1.2.840.10008.5.1.4.1.1.88.22"
DICOMDIR = "1.2.840.10008.1.3.10"
PATIENT = "DOE^JOHN"  # must never show in a message

Edit = Callable[[Dataset, int], None]


def chest_values(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.int16]:
    """Random whole HU from air to bone, both ends present."""
    values = np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)
    values.flat[:2] = (-1000, 1500)
    return values


def ct_slices(
    hu: NDArray | None = None,
    *,
    positions: NDArray | Sequence[Sequence[float]] | None = None,
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    pixel_spacing: tuple[float, float] = (0.75, 0.5),
    thickness: float = 5.0,
    series_uid: str | None = None,
) -> list[Dataset]:
    """One dataset a slice of hu (K, J, I), stored as unsigned values with intercept -1024 unless edited."""
    hu = chest_values((5, 10, 12)) if hu is None else hu
    if positions is None:
        positions = [(-20.5, -31.25, -100.0 + thickness * k) for k in range(len(hu))]
    series, study, frame = series_uid or generate_uid(), generate_uid(), generate_uid()
    slices = []
    for k, (values, position) in enumerate(zip(hu, positions, strict=True)):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CT, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = PATIENT, "SECRET-17", "19500102", "F"
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20200304", "050607", "A77", "S1"
        ds.SeriesNumber, ds.InstanceNumber = 3, k + 1
        ds.SeriesDescription, ds.ConvolutionKernel, ds.KVP = "Chest", "B30f", "120"
        ds.ImagePositionPatient = [float(v) for v in position]
        ds.ImageOrientationPatient = [float(v) for v in orientation]
        ds.PixelSpacing, ds.SliceThickness = list(pixel_spacing), thickness
        ds.PatientPosition = "HFS"
        ds.Rows, ds.Columns = values.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
        store(ds, values.astype(np.int32) + 1024, signed=False)
        slices.append(ds)
    return slices


def store(ds: Dataset, stored: NDArray, signed: bool, bits: int = 16) -> None:
    """Put stored values (J, I) into a slice."""
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = int(signed)
    ds.add_new("PixelData", "OW", stored.astype("<i2" if signed else "<u2").tobytes())


def save(path: Path, ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a dataset as a DICOM file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # see odd_values
        return _save(path, ds, syntax)


def _save(path: Path, ds: Dataset, syntax: str) -> Path:
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = pydicom.uid.PYDICOM_IMPLEMENTATION_UID
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = FileDataset(
        str(path),
        ds,
        preamble=b"\0" * 128,
        file_meta=meta,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
    )
    pydicom.dcmwrite(path, whole)
    return path


def save_all(folder: Path, slices: Sequence[Dataset], edit: Edit | None = None, prefix: str = "IM") -> Path:
    """Write slices as IM0000.dcm and so on; `edit` changes each one first."""
    for k, ds in enumerate(slices):
        if edit is not None:
            edit(ds, k)
        save(folder / f"{prefix}{k:04d}.dcm", ds)
    return folder


def odd_values(ds: Dataset, k: int) -> None:
    """What scanners do write and pydicom warns about, quoting it: too many digits, a malformed UID."""
    position = [f"{float(value):.15f}" for value in ds.ImagePositionPatient]
    for keyword, vr, value in (
        ("ImagePositionPatient", "DS", position),
        ("StudyInstanceUID", "UI", "1.2.03.19500102"),
        ("SOPInstanceUID", "UI", f"1.2.03.{k}"),
    ):
        tag = pydicom.datadict.tag_for_keyword(keyword)
        ds[keyword] = pydicom.DataElement(tag, vr, value, validation_mode=pydicom.config.IGNORE)


def other_object(sop_class: str, modality: str) -> Dataset:
    """A DICOM object that is not a CT slice."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality, ds.PatientName = modality, PATIENT
    return ds


def compressed(ds: Dataset, compressor: str, folder: Path) -> tuple[Dataset, str]:
    """The slice with its pixels compressed by GDCM ("JPEG", "JPEG2000"), and the transfer syntax."""
    kind = np.int16 if ds.PixelRepresentation else np.uint16
    image = SimpleITK.GetImageFromArray(np.frombuffer(ds.PixelData, kind).reshape(ds.Rows, ds.Columns))
    path = folder / f"{compressor}.dcm"
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    writer.Execute(image)
    encoded = pydicom.dcmread(path)
    path.unlink()
    assert encoded.file_meta.TransferSyntaxUID.is_compressed
    assert encoded.BitsStored == ds.BitsStored
    ds.add_new("PixelData", "OB", encoded.PixelData)
    ds["PixelData"].is_undefined_length = True
    return ds, encoded.file_meta.TransferSyntaxUID


def save_image(path: Path, hu_kji: NDArray, direction: NDArray | None = None) -> Path:
    """Write (K, J, I) through SimpleITK, whose own word on geometry the tests compare with."""
    image = SimpleITK.GetImageFromArray(hu_kji)
    image.SetSpacing((0.5, 0.75, 5.0))
    image.SetOrigin((-20.5, -31.25, 100.0))
    if direction is not None:
        image.SetDirection(np.asarray(direction, float).ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path

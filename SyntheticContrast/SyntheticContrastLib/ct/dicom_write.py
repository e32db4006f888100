"""Write a DICOM CT series: derived from a source series, or as a new study."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from .atomic import atomic_folder
from .dicom_series import CT_IMAGE_STORAGE, SYNTHETIC_DATA
from .errors import InputError
from .quiet import quiet_libraries
from .volume import CTVolume

# What a derived slice keeps of its source. All else, private tags among it, is left behind: a list of what may stay
# cannot forget a stale tag.
_KEPT_FROM_SOURCE = (
    # patient
    *("SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("LongitudinalTemporalInformationModified", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID"),
    *("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    # study
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "PatientAge", "PatientSize", "PatientWeight", "TimezoneOffsetFromUTC"),
    # series and equipment
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition", "BodyPartExamined", "ProtocolName"),
    *("Manufacturer", "ManufacturerModelName", "InstitutionName"),
    # acquisition
    *("AcquisitionDate", "AcquisitionTime", "AcquisitionNumber", "KVP", "ScanOptions", "ConvolutionKernel"),
    *("DataCollectionDiameter", "ReconstructionDiameter", "GantryDetectorTilt", "TableHeight", "RotationDirection"),
    *("ExposureTime", "XRayTubeCurrent", "Exposure", "FilterType"),
    # geometry
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "SliceLocation",
    # once lossy, always lossy
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
# Type 2: must be there, may be empty.
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator", "PatientPosition", "Manufacturer"),
    *("SliceThickness", "KVP", "AcquisitionNumber"),
)


def write_dicom_series(
    folder: str | Path,
    hu_zyx: NDArray,
    volume: CTVolume,
    *,
    description: str,
    derivation: str = "",
    synthetic: bool = True,
    patient: str = "",
    overwrite: bool = False,
) -> str:
    """Write one CT Image Storage file a slice and return the new SeriesInstanceUID.

    hu_zyx: (Z, Y, X) HU on the canonical axes of `volume`; rounded to whole HU, saturated to int16.
    description: SeriesDescription, at most 64 characters; one that does not say "synthetic" gets the word in front.
    derivation: DerivationDescription: how the values came about, at most 1024 characters.
    synthetic: False writes an original scanner-like series (ORIGINAL, PRIMARY) of a new study, for phantoms.
    patient: PatientName and PatientID of a new study, by default new ones, so that no two studies merge in an archive;
        a derived series keeps those of its source.

    From a DICOM source the series joins the source's study and frame of reference, slice by slice on its exact
    geometry; where the source names none, all series derived from it share new ones. From anything else it is a new
    study on the canonical axes. The folder appears only when whole.

    Raises:
        InputError: the folder exists without `overwrite`, holds other things, or is the source; the source's files
            are gone; the in-plane axes are sheared.
        ValueError: values that are not finite, or another shape.
    """
    folder = Path(folder)
    if hu_zyx.shape != volume.grid.shape_zyx:
        raise ValueError(f"an array of shape {hu_zyx.shape} is not on this grid of shape {volume.grid.shape_zyx}")
    if not np.isfinite([hu_zyx.min(), hu_zyx.max()]).all():
        raise ValueError("HU that are not finite cannot be written")
    check_series_folder(folder, volume)
    if synthetic and "synthetic" not in description.lower():
        description = f"Synthetic {description}"
    derived = synthetic and volume.source is not None
    slices_hu = volume.to_stored(hu_zyx) if derived else hu_zyx[::-1]  # a new study is stored from the feet, as scanned
    templates = _from_source(volume) if derived else _new_study(volume, patient)
    series_uid = generate_uid()
    now = datetime.now(timezone.utc).astimezone()
    with atomic_folder(folder, overwrite) as temporary:
        for k, (slice_hu, dataset) in enumerate(zip(slices_hu, templates, strict=True)):
            _describe(dataset, description, derivation, synthetic, now)
            dataset.SeriesInstanceUID = series_uid
            dataset.InstanceNumber = len(slices_hu) - k  # axial slices count from the head
            _set_pixels(dataset, slice_hu)
            _save(temporary / f"{dataset.InstanceNumber:05d}.dcm", dataset)
    return str(series_uid)


def check_series_folder(folder: Path, volume: CTVolume) -> None:
    """What overwriting would delete must be a series of ours, and not the one that is being read."""
    if not folder.is_dir():
        return
    if volume.source is not None and folder.resolve() in {file.parent.resolve() for file in volume.source.files}:
        raise InputError("the output folder is the input's own folder: choose another output")
    if any(not entry.is_file() or entry.suffix != ".dcm" for entry in folder.iterdir()):
        raise InputError(f"{folder.name} holds other things than a DICOM series: choose another output folder")


def _from_source(volume: CTVolume) -> Iterator[Dataset]:
    """For each source slice in K order: what the derived slice keeps of it, and the reference to it."""
    assert volume.source is not None
    for file, uid in zip(volume.source.files, volume.source.sop_instance_uids, strict=True):
        kept: list[Any] = [*_KEPT_FROM_SOURCE, "SOPInstanceUID", "SeriesNumber"]
        try:
            with quiet_libraries():
                source = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=kept, force=True)
                dataset = Dataset()
                for keyword in _KEPT_FROM_SOURCE:
                    if keyword in source:
                        dataset[keyword] = source[keyword]
                number = int(source.get("SeriesNumber") or 0)
                same = source.get("SOPInstanceUID") == uid
        except Exception as error:  # pydicom raises many kinds; a missing file is one of them
            raise InputError(f"source slice {file.name} cannot be read any more: put the input folder back") from error
        if not same:
            raise InputError(f"the source slice {file.name} has changed since it was read: read the input again")
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
            if not dataset.get(keyword):  # every series of this source gets the same one
                setattr(dataset, keyword, generate_uid(entropy_srcs=[volume.source.series_uid, keyword]))
        dataset.SeriesNumber = 9000 + number % 1000
        reference = Dataset()
        reference.ReferencedSOPClassUID = CT_IMAGE_STORAGE
        with quiet_libraries():  # as the source has it, valid or not
            reference.ReferencedSOPInstanceUID = uid
        reference.PurposeOfReferenceCodeSequence = [_code("121322", "Source image for image processing operation")]
        dataset.SourceImageSequence = [reference]
        yield dataset


def _new_study(volume: CTVolume, patient: str) -> Iterator[Dataset]:
    """Canonical slices from the feet to the head, in a study of their own."""
    study, frame = generate_uid(), generate_uid()
    patient = patient or f"SC{uuid.uuid4().hex[:14].upper()}"
    affine = volume.grid.canonical_affine
    spacing_z, spacing_y, spacing_x = volume.spacing_zyx
    row, column = affine[:3, 0] / spacing_x, affine[:3, 1] / spacing_y
    if abs(row @ column) > 1e-4:
        raise InputError("DICOM cannot hold a grid that is sheared within the slices: write NRRD, or resample it")
    for z in reversed(range(volume.hu.shape[0])):
        position = affine[:3, 3] + z * affine[:3, 2]
        dataset = Dataset()
        dataset.PatientName = patient
        dataset.PatientID = patient
        dataset.StudyInstanceUID = study
        dataset.FrameOfReferenceUID = frame
        dataset.SeriesNumber = 1
        dataset.ImagePositionPatient = _decimals(position)
        dataset.ImageOrientationPatient = _decimals([*row, *column])
        dataset.PixelSpacing = _decimals([spacing_y, spacing_x])
        dataset.SliceThickness = _decimals([spacing_z])[0]
        yield dataset


def _describe(dataset: Dataset, description: str, derivation: str, synthetic: bool, now: datetime) -> None:
    dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = "CT"
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"] if synthetic else ["ORIGINAL", "PRIMARY", "AXIAL"]
    if synthetic:
        dataset.add_new(SYNTHETIC_DATA, "CS", "YES")
    dataset.SeriesDescription = _ascii(description, 64)
    if derivation:
        dataset.DerivationDescription = _ascii(derivation, 1024)
    dataset.BurnedInAnnotation = "NO"
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.SeriesDate = dataset.ContentDate = dataset.InstanceCreationDate = date
    dataset.SeriesTime = dataset.ContentTime = dataset.InstanceCreationTime = time
    for keyword in _MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, None)


def _set_pixels(dataset: Dataset, hu_ji: NDArray) -> None:
    limits = np.iinfo(np.int16)
    pixels = np.clip(np.rint(hu_ji), limits.min, limits.max).astype("<i2")
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope = 1
    dataset.RescaleIntercept = 0
    dataset.RescaleType = "HU"
    dataset.WindowCenter = 50  # mediastinal
    dataset.WindowWidth = 350
    dataset.add_new("PixelData", "OW", pixels.tobytes())


def _save(path: Path, dataset: Dataset) -> None:
    """Explicit VR little endian with a full file header, alike under pydicom 2 and 3."""
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # the writer fills it in
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    whole = FileDataset(
        str(path), dataset, preamble=b"\x00" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=True
    )
    with quiet_libraries():  # values kept from the source may be unusual
        buffer = io.BytesIO()  # pydicom's own words for a full disk fill a page
        pydicom.dcmwrite(buffer, whole)
    path.write_bytes(buffer.getvalue())


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = "DCM"
    code.CodeMeaning = meaning
    return code


def _decimals(values: Sequence[float] | NDArray) -> list[str]:
    """Decimal strings of at most 16 characters, to about 1e-11 mm."""
    return [format_number_as_ds(float(value) + 0.0) for value in values]


def _ascii(text: str, length: int) -> str:
    """Safe in any SpecificCharacterSet; no backslash, which would part a value in two."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")[:length]

"""Find the CT series in a folder of DICOM files, and choose the one to read. Headers only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from .errors import InputError
from .quiet import quiet_libraries

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
SYNTHETIC_DATA = 0x0008001C  # (0008,001C) CS YES / NO; newer than the dictionary of pydicom 2
_MULTI_FRAME_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_DICOMDIR = "1.2.840.10008.1.3.10"

_TAGS: list[Any] = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    SYNTHETIC_DATA,
    "SeriesDescription",
    "DerivationDescription",
    "SliceThickness",
    "ConvolutionKernel",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "RescaleType",
]


@dataclass(frozen=True)
class SliceHeader:
    """One CT slice on disk: what sorting, checking and reading need."""

    path: Path
    series_uid: str
    sop_instance_uid: str
    position: tuple[float, ...]  # LPS mm of the first pixel
    orientation: tuple[float, ...]  # cosines of the row, then of the column
    pixel_spacing: tuple[float, ...]  # mm between rows, between columns
    shape: tuple[int, int]  # rows, columns
    is_8_bit: bool
    is_colour: bool
    rescale_type: str
    is_synthetic: bool
    summary: str  # thickness and kernel: tells series apart without naming anyone


def find_series(folder: Path, series_uids: Sequence[str] = (), allow_synthetic: bool = False) -> list[SliceHeader]:
    """The headers of the one CT series in `folder` (any nesting), in no particular order.

    Passed over: files that are not DICOM, other modalities, scouts, secondary captures, reports, and synthetic series,
    unless named or `allow_synthetic`. Where several series remain, `series_uids` names one of them by its
    SeriesInstanceUID; names that belong to other folders do no harm.

    Raises:
        InputError: no CT series, or several and not exactly one of them named.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise InputError("the folder is empty: give the folder that holds the DICOM files")
    series: dict[str, list[SliceHeader]] = {}
    others: Counter[str] = Counter()
    for path in files:
        found = _read_header(path)
        if isinstance(found, SliceHeader):
            series.setdefault(found.series_uid, []).append(found)
        elif found:
            others[found] += 1

    named = [uid for uid in dict.fromkeys(series_uids) if uid in series]
    candidates = {uid: group for uid, group in series.items() if allow_synthetic or not group[0].is_synthetic}
    if len(named) == 1:
        return series[named[0]]
    if not named and len(candidates) == 1:
        return next(iter(candidates.values()))
    if not candidates:
        raise InputError(_nothing_found(others, bool(series)))
    choice = "; ".join(f"{uid} ({len(group)} slices, {group[0].summary})" for uid, group in sorted(candidates.items()))
    if len(named) > 1:
        raise InputError(f"{len(named)} of the named series are in this folder, name only one: {choice}")
    wrong = " and none of them has a given SeriesInstanceUID" if series_uids else ""
    raise InputError(f"{len(candidates)} CT series in this folder{wrong}, name one by its SeriesInstanceUID: {choice}")


def _nothing_found(others: Counter[str], only_synthetic: bool) -> str:
    if only_synthetic:
        return "the folder holds only a synthetic CT series: give the scanner's series, or name this one by its UID"
    if not others:
        return "no DICOM file in the folder: give the folder that holds the CT slices"
    found = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
    if "multi-frame CT" in others:
        return f"the CT is multi-frame (Enhanced CT), found {found}: convert it to single-frame DICOM, or to NRRD"
    return f"no CT series in the folder, found only {found}: give a chest CT"


def _read_header(path: Path) -> SliceHeader | str:
    """A CT slice; or what else the DICOM file is, in a word; or "" for a file that is not DICOM."""
    try:
        with quiet_libraries():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except InvalidDicomError:
        return ""
    except OSError as error:
        raise InputError(f"cannot open {path.name}: {error.strerror or 'not readable'}") from error
    except Exception as error:  # pydicom raises many kinds on a damaged header
        raise InputError(f"{path.name} is a damaged DICOM file: copy or export it again") from error
    with quiet_libraries():
        return _classify(path, header)


def _classify(path: Path, header: Any) -> SliceHeader | str:
    sop_class = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", ""))
    if sop_class == _DICOMDIR:
        return ""
    modality = str(header.get("Modality") or "unknown modality")
    if sop_class in _MULTI_FRAME_CT:
        return "multi-frame CT"
    if sop_class != CT_IMAGE_STORAGE:
        return modality if modality != "CT" else "CT secondary capture or report"
    image_type = [str(value).upper() for value in _values(header.get("ImageType"))]
    if "LOCALIZER" in image_type:
        return "CT scout"
    try:
        if modality != "CT":
            raise ValueError("a CT slice whose modality is not CT")
        position, orientation, spacing = (
            tuple(float(value) for value in header[name].value)
            for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        )
        if (len(position), len(orientation), len(spacing)) != (3, 6, 2) or min(spacing) <= 0:
            raise ValueError("geometry of the wrong length")
        return SliceHeader(
            path=path,
            series_uid=str(header["SeriesInstanceUID"].value),
            sop_instance_uid=str(header["SOPInstanceUID"].value),
            position=position,
            orientation=orientation,
            pixel_spacing=spacing,
            shape=(int(header["Rows"].value), int(header["Columns"].value)),
            is_8_bit=int(header["BitsAllocated"].value) == 8,
            is_colour=int(header.get("SamplesPerPixel") or 1) != 1,
            rescale_type=str(header.get("RescaleType") or "HU").strip().upper(),
            is_synthetic=_is_synthetic(header, image_type),
            summary=_summary(header),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path.name} is a CT slice without position, size or identity in its header, or cut off: export it again"
        ) from error


def _is_synthetic(header: Any, image_type: list[str]) -> bool:
    if SYNTHETIC_DATA in header and str(header[SYNTHETIC_DATA].value).upper() == "YES":
        return True
    text = f"{header.get('SeriesDescription', '')} {header.get('DerivationDescription', '')}".lower()
    return image_type[:2] == ["DERIVED", "SECONDARY"] and "synthetic" in text


def _summary(header: Any) -> str:
    thickness = header.get("SliceThickness")
    kernel = "/".join(str(value) for value in _values(header.get("ConvolutionKernel")))
    return f"{f'{float(thickness):g} mm' if thickness else 'thickness unknown'}, kernel {kernel or 'unknown'}"


def _values(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)

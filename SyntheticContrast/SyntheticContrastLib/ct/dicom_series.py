"""Find the CT series in a folder of DICOM files, and choose the one to read. Headers only."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from .errors import InputError
from .folder import files_below
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
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
]
# A file of another kind is passed over; one that is named as a slice is, and holds no DICOM data, was one.
_SLICE_SUFFIXES = {".dcm", ".dicom", ".ima"}
_UNFINISHED_SUFFIXES = {".part", ".partial", ".filepart", ".crdownload", ".gz"}
_DATASET_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # the group of the first element, big endian the last
_SYNTHETIC_WORDS = re.compile(r"\bsynthetic\W+(contrast|s?(ce)?-?ct|not for)\b|\bscect\b")


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
    bits_allocated: int
    is_colour: bool
    has_rescale: bool  # both slope and intercept
    rescale_type: str
    is_synthetic: bool
    summary: str  # thickness and kernel: tells series apart without naming anyone


@dataclass(frozen=True)
class UnusableSlice:
    """A file of the CT class that cannot be a slice of a volume, and why, in one line."""

    series_uid: str
    reason: str
    is_page: bool = False  # it has no place in the patient at all


def find_series(folder: Path, series_uids: Sequence[str] = (), allow_synthetic: bool = False) -> list[SliceHeader]:
    """The headers of the one CT series in `folder` (any nesting), in no particular order.

    Passed over: files that are not DICOM, other modalities, scouts, secondary captures, reports, single pages of the CT
    class without a position in a series of their own, and synthetic series, unless named or `allow_synthetic`. Where
    several series remain, `series_uids` names one of them by its SeriesInstanceUID; names that belong to other folders
    do no harm.

    Raises:
        InputError: no CT series, or several and not exactly one of them named; a file that was a slice and cannot be
            read; a slice of the series that cannot be used.
    """
    files = files_below(folder)
    if not files:
        raise InputError("the folder is empty: give the folder that holds the DICOM files")
    series: dict[str, list[SliceHeader]] = {}
    unusable: dict[str, list[UnusableSlice]] = {}
    others: Counter[str] = Counter()
    not_dicom = []
    for path in files:
        found = _read_header(path)
        if isinstance(found, SliceHeader):
            series.setdefault(found.series_uid, []).append(found)
        elif isinstance(found, UnusableSlice):
            unusable.setdefault(found.series_uid, []).append(found)
        elif found is None:
            not_dicom.append(path)
        elif found:
            others[found] += 1
    _refuse_lost_slices(not_dicom, [one.path for group in series.values() for one in group])

    pages = {uid for uid, (first, *more) in unusable.items() if uid not in series and not more and first.is_page}
    real = {uid for uid in series if allow_synthetic or not series[uid][0].is_synthetic}
    candidates = real | set(unusable) - pages
    named = [uid for uid in dict.fromkeys(series_uids) if uid in series or uid in unusable]
    if not candidates and not named:
        if pages:
            raise InputError(unusable[min(pages)][0].reason)
        raise InputError(_nothing_found(others, bool(series)))
    if len(named) == 1 or (not named and len(candidates) == 1):
        (chosen,) = named or candidates
        if chosen in unusable:
            raise InputError(unusable[chosen][0].reason)
        return series[chosen]

    def line(uid: str) -> str:
        group = series.get(uid, [])
        slices = len(group) + len(unusable.get(uid, []))
        return f"{uid} ({slices} slices, {group[0].summary if group else 'not usable'})"

    choice = "; ".join(line(uid) for uid in sorted(candidates | set(named)))
    if len(named) > 1:
        raise InputError(f"{len(named)} of the named series are in this folder, name only one: {choice}")
    wrong = " and none of them has a given SeriesInstanceUID" if series_uids else ""
    raise InputError(f"{len(candidates)} CT series in this folder{wrong}, name one by its SeriesInstanceUID: {choice}")


def _refuse_lost_slices(not_dicom: Iterable[Path], slices: Iterable[Path]) -> None:
    """Raises InputError for a file without DICOM data that is named as a slice: it was one, and would be missing."""
    kinds = {(path.parent, _kind_of_name(path)) for path in slices}
    for path in not_dicom:
        suffix, name = path.suffix.lower(), path
        if suffix in _UNFINISHED_SUFFIXES:
            name = path.with_suffix("")
        if path.name.startswith("."):
            continue
        if name.suffix.lower() in _SLICE_SUFFIXES or (path.parent, _kind_of_name(name)) in kinds:
            size = path.stat().st_size
            raise InputError(
                f"{path.name} is named as a DICOM slice and holds no DICOM data ({size} bytes): copy or export it "
                "again, or remove it if it is something else"
            )


def _kind_of_name(path: Path) -> tuple[str, bool]:
    """The suffix of a name, unless it is the end of a number or UID, and if the rest has digits."""
    suffix = "" if path.suffix[1:].isdigit() else path.suffix.lower()
    return suffix, any(letter.isdigit() for letter in path.name.removesuffix(path.suffix if suffix else ""))


def _nothing_found(others: Counter[str], only_synthetic: bool) -> str:
    if only_synthetic:
        return "the folder holds only a synthetic CT series: give the scanner's series, or name this one by its UID"
    if not others:
        return "no DICOM file in the folder: give the folder that holds the CT slices"
    found = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
    if "multi-frame CT" in others:
        return f"the CT is multi-frame (Enhanced CT), found {found}: convert it to single-frame DICOM, or to NRRD"
    return f"no CT series in the folder, found only {found}: give a chest CT"


def _read_header(path: Path) -> SliceHeader | UnusableSlice | str | None:
    """A CT slice; or what else the DICOM file is, in a word; or None for a file that is not DICOM."""
    try:
        with quiet_libraries():
            try:
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            except InvalidDicomError:  # without its preamble, as some archives write it
                if not _starts_like_a_dataset(path):
                    return None
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
                if "SOPClassUID" not in header:
                    return None
            return _classify(path, header)
    except OSError as error:
        raise InputError(f"cannot open {path.name}: {error.strerror or 'not readable'}") from error
    except InputError:
        raise
    except Exception as error:  # pydicom raises many kinds on a damaged header
        raise InputError(f"{path.name} is a damaged DICOM file: copy or export it again") from error


def _starts_like_a_dataset(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in _DATASET_STARTS


def _classify(path: Path, header: Any) -> SliceHeader | UnusableSlice | str:
    own = str(header.get("SOPClassUID") or "")
    stated = str(header.file_meta.get("MediaStorageSOPClassUID", ""))  # in the header of the file
    sop_class = own or stated
    if sop_class == _DICOMDIR:
        return ""
    modality = str(header.get("Modality") or "")
    cut_off = own and own != stated == CT_IMAGE_STORAGE
    if cut_off or (not own and stated != CT_IMAGE_STORAGE and modality in ("", "CT")):
        raise InputError(f"{path.name} is a damaged DICOM file, it does not say what it is: copy or export it again")
    if sop_class in _MULTI_FRAME_CT:
        return "multi-frame CT"
    if sop_class != CT_IMAGE_STORAGE:
        return "CT secondary capture or report" if modality == "CT" else modality or "unknown modality"
    image_type = [str(value).upper() for value in _values(header.get("ImageType"))]
    if "LOCALIZER" in image_type:
        return "CT scout"
    series_uid = str(header.get("SeriesInstanceUID") or "")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        reason = f"{path.name} holds {frames} frames of CT: convert it to single-frame DICOM, or to NRRD"
        return _unusable(series_uid, reason)
    try:
        if modality != "CT":
            raise ValueError("a CT slice whose modality is not CT")
        position, orientation, spacing = (
            tuple(float(value) for value in header[name].value)
            for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        )
        if (len(position), len(orientation), len(spacing)) != (3, 6, 2) or min(spacing) <= 0:
            raise ValueError("geometry of the wrong length")
        if not all(map(math.isfinite, (*position, *orientation, *spacing))):
            raise ValueError("geometry that is not a number")
        shape = (int(header["Rows"].value), int(header["Columns"].value))
        if min(shape) < 1 or not series_uid:
            raise ValueError("no pixels, or no series")
        return SliceHeader(
            path=path,
            series_uid=series_uid,
            sop_instance_uid=str(header["SOPInstanceUID"].value),
            position=position,
            orientation=orientation,
            pixel_spacing=spacing,
            shape=shape,
            bits_allocated=int(header["BitsAllocated"].value),
            is_colour=int(header.get("SamplesPerPixel") or 1) != 1,
            has_rescale="RescaleSlope" in header and "RescaleIntercept" in header,
            rescale_type=str(header.get("RescaleType") or "HU").strip().upper(),
            is_synthetic=_is_synthetic(header, image_type),
            summary=_summary(header),
        )
    except (KeyError, TypeError, ValueError):
        reason = (
            f"{path.name} is a CT slice without position, size or identity in its header, or cut off: export it again"
        )
        if "Columns" not in header:  # they stand behind the identity, which may be cut off itself
            raise InputError(reason) from None
        return _unusable(series_uid, reason, is_page="ImagePositionPatient" not in header)


def _unusable(series_uid: str, reason: str, is_page: bool = False) -> UnusableSlice:
    if not series_uid:  # it may belong to any
        raise InputError(reason)
    return UnusableSlice(series_uid, reason, is_page)


def _is_synthetic(header: Any, image_type: list[str]) -> bool:
    if SYNTHETIC_DATA in header and str(header[SYNTHETIC_DATA].value).upper() == "YES":
        return True
    text = f"{header.get('SeriesDescription', '')} {header.get('DerivationDescription', '')}".lower()
    return image_type[:2] == ["DERIVED", "SECONDARY"] and _SYNTHETIC_WORDS.search(text) is not None


def _summary(header: Any) -> str:
    thickness = header.get("SliceThickness")
    kernel = "/".join(str(value) for value in _values(header.get("ConvolutionKernel")))
    return f"{f'{float(thickness):g} mm' if thickness else 'thickness unknown'}, kernel {kernel or 'unknown'}"


def _values(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)

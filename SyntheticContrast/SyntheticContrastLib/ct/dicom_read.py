"""Read one DICOM CT series: sort, check, decode, convert to HU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.uid import DeflatedExplicitVRLittleEndian

from .check import (
    NOT_MEASURED_HU,
    SOFT_TISSUE_HU,
    check_angles,
    check_hu,
    check_positions,
    check_slice_count,
    check_spacing,
)
from .dicom_series import SliceHeader, find_series
from .errors import InputError
from .names import check_name
from .quiet import quiet_libraries
from .volume import CTVolume, DicomSource, Grid, gather_hu

_PIXEL_TAGS: list[Any] = [
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelData",
]


def read_dicom_folder(folder: Path, series_uids: Sequence[str] = (), allow_synthetic: bool = False) -> CTVolume:
    """Read the one CT series in `folder`; see `find_series` for how it is chosen.

    The stored grid is ITK's: I along the rows, J along the columns, K ascending along row x column.

    Raises:
        InputError: see `find_series` and the checks.
    """
    slices = find_series(folder, series_uids, allow_synthetic)
    check_slice_count(len(slices))
    _check_same_frame(slices)
    slices, grid = _sort(slices)
    hu = gather_hu(_slices_in_hu(slices), grid)
    check_hu(hu)
    source = DicomSource(
        series_uid=slices[0].series_uid,
        files=tuple(one.path for one in slices),
        sop_instance_uids=tuple(one.sop_instance_uid for one in slices),
    )
    return CTVolume(hu, grid, source)


def _check_same_frame(slices: Sequence[SliceHeader]) -> None:
    first = slices[0]
    for one in slices:
        if one.is_colour:
            raise InputError("the slices are colour images: give the CT in HU")
        if one.bits_allocated == 8:
            raise InputError("the slices hold 8-bit values, which cannot be HU: give the original CT")
        if one.bits_allocated != 16:
            raise InputError(
                f"the slices hold values of {one.bits_allocated} bits, not of 16 as CT slices do: export them as such"
            )
        if one.has_rescale != first.has_rescale:
            without = first if one.has_rescale else one
            raise InputError(
                f"{without.path.name} has no rescale slope and intercept, unlike others of its series: export it again"
            )
        if one.rescale_type != "HU":
            raise InputError(f"the rescale type is {one.rescale_type}, not HU: give a CT reconstructed in HU")
        if one.shape != first.shape:
            raise InputError(
                f"slices of different size in one series ({first.shape[1]} x {first.shape[0]} and "
                f"{one.shape[1]} x {one.shape[0]} pixels): separate them into series"
            )
        if not np.allclose(one.pixel_spacing, first.pixel_spacing, rtol=1e-3, atol=0):
            raise InputError("slices of different pixel spacing in one series: separate them into series")
        if not np.allclose(one.orientation, first.orientation, rtol=0, atol=1e-3):
            raise InputError("slices of different orientation in one series: separate them into series")


def _sort(slices: list[SliceHeader]) -> tuple[list[SliceHeader], Grid]:
    """Sort along the slice normal and make the grid. Checks positions and angles."""
    row, column = np.reshape(slices[0].orientation, (2, 3))
    if abs(row @ column) > 1e-2 or not np.allclose([row @ row, column @ column], 1, atol=1e-2):
        raise InputError("the slice orientation in the header is not two perpendicular unit vectors: export it again")
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)  # headers round them
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    slices = sorted(slices, key=lambda one: float(np.dot(one.position, normal)))
    positions = np.array([one.position for one in slices])
    check_positions(positions, normal)

    between_rows, between_columns = slices[0].pixel_spacing
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    check_spacing((between_columns, between_rows, float(np.linalg.norm(step))))
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    check_angles(affine)
    rows, columns = slices[0].shape
    return slices, Grid((columns, rows, len(slices)), affine)


def _slices_in_hu(slices: Sequence[SliceHeader]) -> Iterator[NDArray]:
    """Each slice (J, I) in HU: its own slope and intercept, padding at or below -1024."""
    for number, one in enumerate(slices, 1):
        try:
            with quiet_libraries():
                dataset = pydicom.dcmread(one.path, specific_tags=_PIXEL_TAGS, force=True)  # it may have no preamble
                hu = _to_hu(dataset, one.path)
        except OSError as error:
            raise InputError(f"cannot open {one.path.name}: {error.strerror or 'not readable'}") from error
        except InputError:
            raise
        except Exception as error:  # pydicom and GDCM raise many kinds on damaged data
            raise InputError(
                f"slice {number} of {len(slices)} ({one.path.name}) is truncated or damaged: copy or export it again"
            ) from error
        if hu.shape != one.shape:
            raise InputError(f"slice {number} of {len(slices)} ({one.path.name}) has changed: read the folder again")
        yield hu


def _to_hu(dataset: Any, path: Path) -> NDArray:
    """(rows, columns): int32 where slope and intercept are whole numbers, as nearly always, else float64."""
    slope, intercept = (_rescale(dataset, name, path) for name in ("RescaleSlope", "RescaleIntercept"))
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        if _high_bit(dataset) != dataset.BitsStored - 1:
            raise InputError(f"{path.name} is compressed and keeps its values in unusual bits: export it uncompressed")
        decoded = _decode(dataset, path) - intercept
        stored = np.rint(decoded / slope) if slope else decoded
    else:
        if dataset["PixelData"].is_undefined_length:
            raise InputError(f"{path.name} is compressed and does not say how: export it again")
        stored = _native(dataset, _is_little_endian(syntax, path))
    if (
        stored.dtype.kind in "iu"
        and slope.is_integer()
        and intercept.is_integer()
        and abs(slope) < 1e4 > abs(intercept)
    ):
        hu = stored.astype(np.int32) * np.int32(slope) + np.int32(intercept)
    else:
        hu = stored * slope + intercept
    if dataset.get("PixelPaddingValue") is not None:
        first = _as_stored(dataset["PixelPaddingValue"].value, dataset)
        last = first
        if dataset.get("PixelPaddingRangeLimit") is not None:
            last = _as_stored(dataset["PixelPaddingRangeLimit"].value, dataset)
        padded = (stored >= min(first, last)) & (stored <= max(first, last))
        if padded.any() and SOFT_TISSUE_HU[0] <= float(hu[padded].max()) <= SOFT_TISSUE_HU[1]:
            padded = _outside(padded)
        hu[padded] = np.minimum(hu[padded], NOT_MEASURED_HU)
    return hu


def _outside(padded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What hangs together with a corner of the slice, as all that a scanner pads does: where the padding value is that
    of soft tissue (0 in slices of signed HU is water), the same value inside was measured.
    """
    from scipy.ndimage import label

    parts, _ = label(padded)
    corners = {int(parts[row, column]) for row in (0, -1) for column in (0, -1)} - {0}
    return np.isin(parts, list(corners))


def _rescale(dataset: Any, name: str, path: Path) -> float:
    """A slice without the tag has HU stored; one with an empty tag has lost its value."""
    if name not in dataset:
        return 1.0 if name == "RescaleSlope" else 0.0
    value = dataset[name].value
    if value in (None, "") or not np.isfinite(float(value)):
        raise InputError(f"the {name} of {path.name} is empty, or no number: HU are unknown; export it again")
    return float(value)


def _is_little_endian(syntax: Any, path: Path) -> bool:
    """Without a transfer syntax, by the first group, which is 2 or 8."""
    if syntax is not None:
        return bool(syntax.is_little_endian)
    with path.open("rb") as file:
        return file.read(1) != b"\0"


def _native(dataset: Any, little_endian: bool) -> NDArray:
    """Uncompressed 16-bit pixels (rows, columns), only their stored bits, sign extended. ValueError if cut off."""
    if dataset.BitsAllocated != 16:
        raise ValueError("a CT slice has 16 bits allocated")
    count = dataset.Rows * dataset.Columns
    words = np.frombuffer(dataset.PixelData, "<u2" if little_endian else ">u2", count).astype(np.uint16)
    return _sign_extended(words, dataset, _high_bit(dataset)).reshape(dataset.Rows, dataset.Columns)


def _decode(dataset: Any, path: Path) -> NDArray[np.float64]:
    """Compressed pixels (rows, columns) through GDCM, which is in every Slicer; GDCM has applied the rescale."""
    if "PixelData" not in dataset:
        raise ValueError("pixel data cut off")
    check_name(path)
    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    return values.reshape(dataset.Rows, dataset.Columns).astype(np.float64)


def _high_bit(dataset: Any) -> int:
    """The place of the highest stored bit. ValueError if it cannot be."""
    stored = int(dataset.BitsStored)
    high = int(stored - 1 if dataset.get("HighBit") is None else dataset.HighBit)
    if not 1 <= stored <= high + 1 <= 16:
        raise ValueError(f"{stored} bits stored, the highest at {high}")
    return high


def _sign_extended(words: NDArray[np.uint16], dataset: Any, high_bit: int) -> NDArray:
    """Drop the bits above and below the stored ones (old files keep overlays there, others align their values to the
    left) and extend the sign of signed values.
    """
    typed = words.view(np.int16) if dataset.PixelRepresentation == 1 else words
    return (typed << (15 - high_bit)) >> (16 - int(dataset.BitsStored))


def _as_stored(value: int, dataset: Any) -> int:
    """A padding tag as a stored value: some scanners write -2000 as the unsigned 63536."""
    return int(_sign_extended(np.array([int(value) & 0xFFFF], np.uint16), dataset, int(dataset.BitsStored) - 1)[0])

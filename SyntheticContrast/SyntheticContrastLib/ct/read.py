"""Read a CT from a DICOM folder or from an image file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from .check import check_angles, check_hu, check_slice_count
from .dicom_read import read_dicom_folder
from .errors import InputError
from .names import check_name
from .quiet import quiet_libraries
from .volume import CTVolume, Grid, gather_hu

IMAGE_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")


def read_ct(path: str | Path, series_uids: Sequence[str] = (), allow_synthetic: bool = False) -> CTVolume:
    """Read a chest CT in HU.

    path: a folder (DICOM, any nesting) or a .nrrd, .nhdr, .nii, .nii.gz, .mha or .mhd file.
    series_uids: names the series by SeriesInstanceUID where a folder holds several; names that belong to other folders
        do no harm.
    allow_synthetic: also take a synthetic DICOM series that is not named, to compare results; never as an input.

    Returns (Z, Y, X) HU on the canonical axes, with the stored grid to write results back onto.

    Raises:
        InputError: with one line that says what is wrong and what to do.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path.name or path} does not exist: check the path")
    if path.is_dir():
        return read_dicom_folder(path, series_uids, allow_synthetic)
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        return _read_image(path)
    if path.suffix.lower() in (".dcm", ".ima") or _has_dicom_magic(path):
        raise InputError(f"{path.name} is one DICOM slice: give the folder that holds the series")
    raise InputError(f"{path.name} is of no known type: give a DICOM folder or a file {', '.join(IMAGE_SUFFIXES)}")


def _read_image(path: Path) -> CTVolume:
    check_name(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_libraries():
            reader.ReadImageInformation()
            _check_kind(reader)
            if path.name.lower().endswith((".nii", ".nii.gz")):
                _check_nifti_is_whole(path, reader)
            if path.suffix.lower() in (".mha", ".mhd"):
                _check_metaimage_is_whole(path, reader)
            image = reader.Execute()
    except (RuntimeError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path.name} cannot be read, it is truncated or damaged: copy or export it again") from error
    grid = Grid.from_parts(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    check_slice_count(grid.shape_zyx[0])
    check_angles(grid.affine)
    hu = gather_hu(_slices(image), grid)
    check_hu(hu)
    return CTVolume(hu, grid)


def _check_kind(reader: SimpleITK.ImageFileReader) -> None:
    dimensions = reader.GetDimension()
    if dimensions != 3:
        raise InputError(f"the image has {dimensions} dimensions, not 3: give one volume")
    if reader.GetNumberOfComponents() != 1:
        raise InputError(
            f"the voxels have {reader.GetNumberOfComponents()} components (colour or vector image): give the CT in HU"
        )
    if reader.GetPixelID() in (SimpleITK.sitkUInt8, SimpleITK.sitkInt8):
        raise InputError("the image holds 8-bit values, which cannot be HU: give the original CT")


def _check_nifti_is_whole(path: Path, reader: SimpleITK.ImageFileReader) -> None:
    """The NIfTI library fills a cut-off file with zeros, and takes x.nii for x.nii.gz where both exist: say so instead.

    Raises:
        InputError, EOFError, OSError, zlib.error
    """
    needed = int(float(reader.GetMetaData("vox_offset")))
    needed += int(np.prod(reader.GetSize())) * int(reader.GetMetaData("bitpix")) // 8
    if path.suffix.lower() == ".nii":
        held = path.stat().st_size
    else:
        if path.with_suffix("").exists():
            raise InputError(f"{path.stem} lies beside {path.name} and would be read in its place: move one of them")
        with gzip.open(path) as file:
            held = sum(len(part) for part in iter(lambda: file.read(1 << 22), b""))
    if held < needed:
        raise EOFError(f"{held} of {needed} bytes")


def _check_metaimage_is_whole(path: Path, reader: SimpleITK.ImageFileReader) -> None:
    """Older MetaImage libraries leave the end of a cut-off file unset: compare the sizes first.

    Raises:
        EOFError, OSError
    """
    fields, start = _metaimage_header(path)
    data = fields.get("ElementDataFile", "LOCAL")
    held = path.stat().st_size - start if data.upper() == "LOCAL" else (path.parent / data).stat().st_size
    pixel_bytes = SimpleITK.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    needed = int(np.prod(reader.GetSize())) * pixel_bytes
    if fields.get("CompressedData", "False").lower() == "true":
        needed = int(fields.get("CompressedDataSize", 0))
    if held < needed:
        raise EOFError(f"{held} of {needed} bytes")


def _metaimage_header(path: Path) -> tuple[dict[str, str], int]:
    """The "key = value" lines, and where they end."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(4096), b""):
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":  # always the last line
                break
        return fields, file.tell()


def _slices(image: SimpleITK.Image) -> Iterator[NDArray]:
    stored: NDArray = SimpleITK.GetArrayViewFromImage(image)
    for values in stored:
        yield np.asarray(values)


def _has_dicom_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"

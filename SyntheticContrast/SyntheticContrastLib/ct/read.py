"""Read a CT from a DICOM folder or from an image file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from .check import check_angles, check_hu, check_slice_count, check_spacing
from .dicom_read import read_dicom_folder
from .errors import InputError
from .image_file import IMAGE_SUFFIXES, open_image
from .names import check_name
from .volume import CTVolume, Grid, gather_hu


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
    image = open_image(path)
    if image.GetPixelID() in (SimpleITK.sitkUInt8, SimpleITK.sitkInt8):
        raise InputError("the image holds 8-bit values, which cannot be HU: give the original CT")
    check_spacing(image.GetSpacing())
    try:
        grid = Grid.from_parts(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    except ValueError as error:
        raise InputError(f"{path.name} does not say where its voxels lie, or is damaged: export it again") from error
    check_slice_count(grid.shape_zyx[0])
    check_angles(grid.affine)
    hu = gather_hu(_slices(image), grid)
    check_hu(hu)
    return CTVolume(hu, grid)


def _slices(image: SimpleITK.Image) -> Iterator[NDArray]:
    stored: NDArray = SimpleITK.GetArrayViewFromImage(image)
    for values in stored:
        yield np.asarray(values)


def _has_dicom_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"

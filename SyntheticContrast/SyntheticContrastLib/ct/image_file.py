"""Open an image file: one volume of one value a voxel, whole, with every reason for which it is not one."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import SimpleITK

from .errors import InputError
from .metaimage_file import check_metaimage, check_metaimage_header
from .nifti_file import NOT_PERPENDICULAR, check_nifti_values, read_nifti_header
from .nrrd_file import check_nrrd, check_nrrd_header
from .quiet import quiet_libraries

IMAGE_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")


def open_image(path: Path) -> SimpleITK.Image:
    """The volume in a file with one of `IMAGE_SUFFIXES`, values and geometry as stored.

    Raises:
        InputError: it is damaged, or not three-dimensional, or of several values a voxel; NIfTI also holds values that
            are not finite, or states a geometry that its library would change.
    """
    name = path.name.lower()
    is_nifti, is_metaimage = name.endswith((".nii", ".nii.gz")), name.endswith((".mha", ".mhd"))
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        nifti = read_nifti_header(path) if is_nifti else None
        if is_metaimage:
            check_metaimage_header(path)
        elif not is_nifti:
            check_nrrd_header(path)
        with quiet_libraries():
            reader.ReadImageInformation()
        _check_kind(path.name, reader)
        value_bytes = SimpleITK.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
        if nifti is not None:
            check_nifti_values(path, nifti)
        elif is_metaimage:
            check_metaimage(path, math.prod(reader.GetSize()) * value_bytes)
        else:
            check_nrrd(path, value_bytes)
        with quiet_libraries():
            return reader.Execute()
    except (InputError, MemoryError):
        raise
    except PermissionError as error:
        raise InputError(f"{path.name} cannot be opened: {error.strerror or 'no permission'}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zlib.error) as error:
        if "allocate memory" in str(error):
            raise MemoryError(f"{path.name} does not fit into the memory") from error
        if "orthonormal" in str(error):
            raise InputError(f"{path.name} {NOT_PERPENDICULAR}: resample it to a straight grid") from error
        raise InputError(f"{path.name} cannot be read, it is truncated or damaged: copy or export it again") from error


def _check_kind(name: str, reader: SimpleITK.ImageFileReader) -> None:
    what = ""
    if reader.GetDimension() != 3:
        what = f"has {reader.GetDimension()} dimensions, not 3"
    elif reader.GetNumberOfComponents() != 1:
        what = f"has {reader.GetNumberOfComponents()} components a voxel (colour or vector image)"
    if what:
        raise InputError(f"{name} is not one volume of one value a voxel, it {what}: give one such volume")

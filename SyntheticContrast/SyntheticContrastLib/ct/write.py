"""Write an array on a volume's canonical axes back onto its stored grid, as NRRD or NIfTI."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from .atomic import atomic_file, final_name
from .errors import InputError
from .names import check_name
from .quiet import quiet_libraries
from .volume import CTVolume, Grid

_PIXEL_TYPES = (np.uint8, np.int16, np.float32)
_BLOCK = 1 << 22
_NIFTI_HEADER = 352  # bytes before the voxels


def write_image(
    path: str | Path, array_zyx: NDArray, volume: CTVolume, description: str = "", compress: bool = True
) -> None:
    """Write an array on exactly the stored size, spacing, origin and direction of `volume`.

    path: .nrrd, .nii or .nii.gz; it appears only when whole, and replaces an existing file.
    array_zyx: (Z, Y, X), uint8, int16 or float32, on the canonical axes.
    description: one line for the file's header: "description" in NRRD, up to 79 characters of "descrip" in NIfTI, where
        SimpleITK older than 2.4 leaves it out.
    compress: of .nrrd; the others say it by their names.

    Raises:
        InputError: another extension, a name that is not UTF-8, or a sheared grid, which NIfTI readers do not agree on.
        OSError: the disk did not take it all: the voxels are read back to see that.
        ValueError: another pixel type or shape.
    """
    path = Path(path)
    check_name(path)
    nifti = path.name.lower().endswith((".nii", ".nii.gz"))
    if not nifti and path.suffix.lower() != ".nrrd":
        raise InputError(f"cannot write {path.name}: the output is .nrrd, .nii or .nii.gz")
    if nifti and _is_sheared(volume.grid):
        raise InputError(f"cannot write {path.name}: NIfTI cannot hold this sheared grid; write NRRD or DICOM")
    if array_zyx.dtype not in _PIXEL_TYPES:
        raise ValueError(f"cannot write {array_zyx.dtype}: the array is uint8, int16 or float32")

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.to_stored(array_zyx)))
    image.SetSpacing(volume.grid.spacing)
    image.SetOrigin(volume.grid.origin)
    image.SetDirection(volume.grid.direction.ravel().tolist())
    if description:
        image.SetMetaData("ITK_FileNotes" if nifti else "description", description[:79] if nifti else description)
    with atomic_file(path) as temporary:
        write_whole(temporary, image, compress or nifti)


def write_whole(path: Path, image: SimpleITK.Image, compress: bool) -> None:
    """Write .nrrd, .nii or .nii.gz, in small letters, and read the voxels back.

    Raises:
        OSError: the disk did not take it all.
    """
    name = final_name(path)
    try:
        with quiet_libraries():
            SimpleITK.WriteImage(image, str(path), useCompression=compress)
        whole = _holds(path, SimpleITK.GetArrayViewFromImage(image))
    except RuntimeError as error:
        raise OSError(f"cannot write {name}: no space, or no permission") from error
    if not whole:
        raise OSError(f"cannot write {name}: the disk did not take it all, free some space")


def _holds(path: Path, array: NDArray) -> bool:
    """Whether these are the voxels in the file: the NIfTI library is silent when a disk is full."""
    voxels = array.data.cast("B")
    with path.open("rb") as file:
        data = _data(file, path.name)
        try:
            for start in range(0, len(voxels), _BLOCK):
                block = voxels[start : start + _BLOCK]
                if data.read(len(block)) != block:
                    return False
            return data.read(1) == b""  # of gzip also its checksum
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return False


def _data(file: IO[bytes], name: str) -> IO[bytes]:
    """What follows the header, unpacked."""
    if name.endswith(".nrrd"):
        packed = False
        for line in iter(file.readline, b""):
            packed |= line.strip() == b"encoding: gzip"
            if not line.strip():
                break
        return cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file
    data = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if name.endswith(".gz") else file
    data.read(_NIFTI_HEADER)
    return data


def _is_sheared(grid: Grid) -> bool:
    cosines = grid.direction
    return not np.allclose(cosines.T @ cosines, np.eye(3), rtol=0, atol=1e-4)

"""What a NIfTI file itself says. The NIfTI library guesses in silence: it fills a cut-off file with zeros, puts 0 for
values that are not a number, takes 1 mm for a spacing that is none, and another orientation for one it cannot hold.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .compressed import GZIP_MAGIC, blocks, unpack
from .errors import InputError

NOT_PERPENDICULAR = "has axes that are not perpendicular, which NIfTI readers do not agree on"

_HEADER_BYTES, _NIFTI_2_BYTES = 348, 540
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64, 2304: 32}
_FLOATS = {16: "f4", 64: "f8"}  # of these datatype codes, the ones that can hold what is not a number
_MM = (0, 2)  # units of length: not stated, mm
_PERPENDICULAR = 1e-3  # the largest product of two axes' cosines: 0.3 mm at the other end of a scan
_SAME_SPACING = 1e-2  # relative


@dataclass(frozen=True)
class NiftiHeader:
    """What is needed to look at the stored values."""

    data_start: int
    data_bytes: int
    float_type: str | None  # of numpy, with byte order


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read and check the header of a .nii or .nii.gz file, plain or compressed.

    Raises:
        InputError: another kind of file, or a geometry that is not stated, or that the library would change.
        EOFError, OSError, zlib.error: the file is cut off or damaged.
    """
    with _contents(path) as parts:
        start = b""
        while len(start) < _HEADER_BYTES and (part := next(parts, b"")):
            start += part
    if len(start) < _HEADER_BYTES:
        raise EOFError(f"{len(start)} bytes")
    order = next((one for one in "<>" if struct.unpack_from(f"{one}i", start)[0] == _HEADER_BYTES), "")
    if not order:
        if _NIFTI_2_BYTES in (struct.unpack_from(f"{one}i", start)[0] for one in "<>"):
            raise InputError(f"{path.name} is NIfTI-2, which is not read: save it as NIfTI-1 or NRRD")
        raise EOFError("no NIfTI header")
    if start[344:348] != b"n+1\0":
        raise InputError(f"{path.name} is no NIfTI file of its own (Analyze, or half a pair): save it as .nii or NRRD")
    if path.name.lower().endswith(".nii.gz") and path.with_suffix("").exists():  # the library would read that one
        raise InputError(f"{path.stem} lies beside {path.name} and would be read in its place: move one of them")
    dimensions = struct.unpack_from(f"{order}8h", start, 40)
    count = dimensions[0]
    datatype, bits = struct.unpack_from(f"{order}2h", start, 70)
    (offset,) = struct.unpack_from(f"{order}f", start, 108)
    if not 1 <= count <= 7 or min(dimensions[1 : count + 1]) < 1 or not 0 <= offset < 2**31:
        raise EOFError("damaged header")
    if _BITS.get(datatype) != bits:
        raise InputError(f"{path.name} holds values of a kind that is not read (code {datatype}): save it as int16")
    if count >= 3:
        _check_geometry(path.name, start, order)
    voxels = int(np.prod(dimensions[1 : count + 1], dtype=object))
    return NiftiHeader(
        data_start=max(int(offset), _HEADER_BYTES),
        data_bytes=voxels * bits // 8,
        float_type=f"{order}{_FLOATS[datatype]}" if datatype in _FLOATS else None,
    )


def check_nifti_values(path: Path, header: NiftiHeader) -> None:
    """Raises:
    InputError: values that are not a number, or infinite.
    EOFError, OSError, zlib.error: the file is cut off or damaged.
    """
    held, rest = 0, b""
    with _contents(path) as parts:
        for part in parts:
            first = max(0, header.data_start - held)
            last = max(0, header.data_start + header.data_bytes - held)
            held += len(part)
            if header.float_type is None:
                continue
            rest += part[first:last]
            whole = len(rest) - len(rest) % np.dtype(header.float_type).itemsize
            if not np.isfinite(np.frombuffer(rest[:whole], header.float_type)).all():
                raise InputError(f"{path.name} holds values that are not a number, or infinite: export it again")
            rest = rest[whole:]
    if held < header.data_start + header.data_bytes:
        raise EOFError(f"{held} of {header.data_start + header.data_bytes} bytes")


def _check_geometry(name: str, start: bytes, order: str) -> None:
    spacing = np.array(struct.unpack_from(f"{order}3f", start, 80), np.float64)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputError(f"{name} states no spacing of its voxels, or none that is above 0: export it again")
    if start[123] & 7 not in _MM:
        raise InputError(f"{name} states its lengths in another unit than mm: convert it to mm")
    if np.isinf(struct.unpack_from(f"{order}2f", start, 112)).any():  # not a number says that there is none
        raise InputError(f"{name} has an infinite slope or intercept: export it again")
    qform, sform = struct.unpack_from(f"{order}2h", start, 252)
    if qform > 0 and not np.isfinite(struct.unpack_from(f"{order}6f", start, 256)).all():
        raise InputError(f"{name} says where its voxels lie by values that are not numbers: export it again")
    if sform > 0:
        _check_rows(name, np.reshape(struct.unpack_from(f"{order}12f", start, 280), (3, 4)).astype(np.float64), spacing)


def _check_rows(name: str, rows: NDArray[np.float64], spacing: NDArray[np.float64]) -> None:
    """rows: (3, 4), voxel -> RAS mm. spacing: (3,) mm."""
    if not np.isfinite(rows).all():
        raise InputError(f"{name} says where its voxels lie by values that are not numbers: export it again")
    lengths = np.linalg.norm(rows[:, :3], axis=0)
    if (np.abs(lengths - spacing) > _SAME_SPACING * spacing).any():
        one, other = (" x ".join(f"{mm:.4g}" for mm in three) for three in (spacing, lengths))
        raise InputError(f"{name} states two spacings, {one} and {other} mm: export it again")
    cosines = rows[:, :3] / lengths
    between = np.abs(cosines.T @ cosines)[np.triu_indices(3, 1)].max()
    if between > _PERPENDICULAR:
        angle = np.degrees(np.arcsin(min(1.0, between)))
        raise InputError(f"{name} {NOT_PERPENDICULAR} (by {angle:.1f} degrees): resample it to a straight grid")


@contextmanager
def _contents(path: Path) -> Iterator[Iterator[bytes]]:
    """Plain data under the name .nii.gz are read as they are, as the library does."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        if packed and not path.name.lower().endswith(".gz"):
            raise InputError(f"{path.name} is compressed: name it {path.name}.gz")
        yield unpack(file) if packed else blocks(file)

"""What an NRRD file itself says. The library does not look at the checksum of compressed data."""

from __future__ import annotations

import math
from pathlib import Path

from .compressed import unpack
from .errors import InputError

_LINE = 4096
_RAW, _GZIP = ("raw",), ("gz", "gzip")


def check_nrrd(path: Path, voxel_bytes: int) -> None:
    """Compare what a .nrrd or .nhdr file and its data file hold with what its sizes need.

    voxel_bytes: of one value.

    Raises:
        InputError: the data file is not there.
        EOFError, OSError, ValueError, zlib.error: the data are cut off or damaged.
    """
    fields, start = _header(path)
    data = fields.get("data file", fields.get("datafile", ""))
    encoding = fields.get("encoding", "").lower()
    if data.split(" ")[0] == "LIST" or "%" in data or encoding not in (*_RAW, *_GZIP):
        return  # many files, or text: the library counts these
    if any(fields.get(name, "0") != "0" for name in ("line skip", "lineskip", "byte skip", "byteskip")):
        return
    file = path.parent / data if data else path
    if not file.is_file():
        raise InputError(
            f"{file.name}, which holds the voxels of {path.name}, is not there: copy it beside {path.name}"
        )
    needed = math.prod(int(size) for size in fields["sizes"].split()) * voxel_bytes
    if encoding in _RAW:
        held = file.stat().st_size - (0 if data else start)
    else:
        with file.open("rb") as stream:
            stream.seek(0 if data else start)
            held = sum(len(part) for part in unpack(stream))
    if held < needed:
        raise EOFError(f"{held} of {needed} bytes")


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The "field: value" lines, and where the blank line after them ends."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(_LINE), b""):
            text = line.decode("latin-1").strip()
            if not text:
                break
            name, colon, value = text.partition(": ")
            if colon and not name.startswith("#"):
                fields[name.lower()] = value.strip()
        return fields, file.tell()

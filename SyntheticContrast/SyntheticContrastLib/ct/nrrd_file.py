"""What an NRRD file itself says. The library does not look at the checksum of compressed data, and crashes on some
lines that are none of a header.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from .compressed import unpack
from .errors import InputError

_LINE = 1000  # bytes of a line that is a field; Slicer writes longer ones of its own
_FIELDS = {
    *("dimension", "type", "block size", "blocksize", "encoding", "endian", "content", "old min", "oldmin", "old max"),
    *("oldmax", "data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip", "number", "sample units"),
    *("sampleunits", "sizes", "spacings", "thicknesses", "axis mins", "axismins", "axis maxs", "axismaxs", "centers"),
    *("centerings", "labels", "units", "min", "max", "space", "space dimension", "space units", "space origin"),
    *("space directions", "measurement frame", "kinds"),
}
_RAW, _GZIP = ("raw",), ("gz", "gzip")


def check_nrrd_header(path: Path) -> None:
    """Raises:
    InputError: the one data file of a .nhdr is not there.
    OSError, ValueError: it is no header, or says too little.
    """
    fields, _ = _header(path)
    sizes = [int(size) for size in fields["sizes"].split()]
    if not 1 <= int(fields["dimension"]) <= 16 or len(sizes) != int(fields["dimension"]) or min(sizes) < 1:
        raise ValueError("no sizes")
    _data_file(path)


def check_nrrd(path: Path, value_bytes: int) -> None:
    """Compare what a .nrrd or .nhdr file and its data file hold with what its sizes need.

    value_bytes: of one value.

    Raises:
        EOFError, OSError, ValueError, zlib.error: the data are cut off or damaged.
    """
    fields, _ = _header(path)
    file, start = _data_file(path)
    encoding = fields.get("encoding", "").lower()
    if file is None or encoding not in (*_RAW, *_GZIP):
        return  # many files, or text: the library counts these
    if any(fields.get(name, "0") != "0" for name in ("line skip", "lineskip", "byte skip", "byteskip")):
        return
    needed = math.prod(int(size) for size in fields["sizes"].split()) * value_bytes
    with file.open("rb") as stream:
        stream.seek(start)
        held = sum(len(part) for part in unpack(stream)) if encoding in _GZIP else file.stat().st_size - start
    if held < needed:
        raise EOFError(f"{held} of {needed} bytes")


def _data_file(path: Path) -> tuple[Path | None, int]:
    """The file that holds the voxels, and where they begin in it; None where there are many.

    Raises:
        InputError: it is not there.
    """
    fields, end = _header(path)
    name = fields.get("data file", fields.get("datafile", ""))
    if not name:
        return path, end
    if name.split(" ")[0] == "LIST" or "%" in name:
        return None, 0
    file = path.parent / name
    if not file.is_file():
        raise InputError(
            f"{file.name}, which holds the voxels of {path.name}, is not there: copy it beside {path.name}"
        )
    return file, 0


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The "field: value" lines, and where the blank line after them ends.

    Raises:
        OSError, ValueError: a line that is none.
    """
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not re.fullmatch(rb"NRRD000\d\s+", file.readline(_LINE)):
            raise ValueError("no NRRD file")
        for line in file:
            text = line.decode("utf-8", "surrogateescape").strip()
            if not text:
                break
            if text.startswith("#") or ":=" in text:
                continue
            name, colon, value = text.partition(":")
            if not colon or name.lower() not in _FIELDS or len(line) > _LINE:
                raise ValueError("no line of a header")
            fields[name.lower()] = value.strip()
        return fields, file.tell()

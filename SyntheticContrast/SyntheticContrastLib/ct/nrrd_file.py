"""What an NRRD file itself says. The library does not look at the checksum of compressed data."""

from __future__ import annotations

import math
from pathlib import Path

from .compressed import unpack
from .errors import InputError

_LINE = 4096
_RAW, _GZIP = ("raw",), ("gz", "gzip")


def check_nrrd_data_file(path: Path) -> None:
    """Raises InputError: the one data file of a .nhdr is not there."""
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

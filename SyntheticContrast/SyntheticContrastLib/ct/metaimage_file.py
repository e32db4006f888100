"""What a MetaImage file itself says. The library leaves the end of cut-off data unset, and damaged data as they are."""

from __future__ import annotations

import re
from pathlib import Path

from .compressed import unpack
from .errors import InputError

_LINE = 4096  # bytes, far more than any line of a header
_MOST_FILES = 100_000


def check_metaimage(path: Path, data_bytes: int) -> None:
    """Compare what a .mha or .mhd file and its data files hold with the `data_bytes` that its voxels need.

    Raises:
        InputError: a data file is not there.
        EOFError, OSError, ValueError, zlib.error: the data are cut off or damaged.
    """
    fields, start = _header(path)
    data = fields.get("ElementDataFile", "")
    if fields.get("BinaryData", "True").lower() != "true":
        return  # numbers as text, which the library counts
    if data.upper() == "LOCAL":
        files, offset = [path], start
    else:
        files, offset = [path.parent / name for name in _data_files(path, data, start)], 0
    for file in files:
        if not file.is_file():
            raise InputError(
                f"{file.name}, which holds voxels of {path.name}, is not there: copy it beside {path.name}"
            )
    if fields.get("CompressedData", "False").lower() == "true":
        held = sum(_unpacked_bytes(file, offset) for file in files)
    else:
        offset += max(0, int(fields.get("HeaderSize", 0)))
        held = sum(file.stat().st_size - offset for file in files)
    if held < data_bytes:
        raise EOFError(f"{held} of {data_bytes} bytes")


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The "key = value" lines, and where they end."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(_LINE), b""):
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":  # always the last line
                break
        return fields, file.tell()


def _data_files(path: Path, data: str, start: int) -> list[str]:
    """`data` is one name, or LIST and the names follow in the header, or a pattern with its first, last and step."""
    if data.upper().split(" ")[0] == "LIST":
        with path.open("rb") as file:
            file.seek(start)
            return [name for line in file if (name := line.decode("utf-8", "surrogateescape").strip())]
    if "%" not in data:
        return [data]
    pattern, *numbers = data.split()
    first, last, step = (int(number) for number in (*numbers, "1")[:3])
    if not re.fullmatch(r"[^%]*%0?\d?d[^%]*", pattern) or last - first > _MOST_FILES:
        raise ValueError(f"no pattern of file names: {data}")
    return [pattern % number for number in range(first, last + 1, step)]


def _unpacked_bytes(path: Path, start: int) -> int:
    with path.open("rb") as file:
        file.seek(start)
        return sum(len(part) for part in unpack(file))

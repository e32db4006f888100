"""What a MetaImage file itself says. The library leaves the end of cut-off data unset, damaged data as they are, and
complains on the console of a header that it does not understand.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from .compressed import unpack
from .errors import InputError

_LINE = 4096  # bytes, more than a line of a header has
_MOST_FILES = 100_000
_VECTORS = ("ElementSpacing", "ElementSize", "Offset", "Position", "Origin")
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_BOOLEANS = ("BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "CompressedData")


def check_metaimage_header(path: Path) -> None:
    """Raises OSError or ValueError: it is no header, or says too little."""
    fields, _ = _header(path)
    dimensions = int(fields["NDims"])
    sizes = [int(size) for size in fields["DimSize"].split()]
    if not 1 <= dimensions <= 10 or len(sizes) != dimensions or min(sizes) < 1:
        raise ValueError("no sizes")
    if not re.fullmatch(r"MET_[A-Z_]+", fields["ElementType"]) or not fields["ElementDataFile"]:
        raise ValueError("no type or data")
    for names, count in ((_VECTORS, dimensions), (_MATRICES, dimensions**2)):
        for name in fields.keys() & names:
            numbers = [float(number) for number in fields[name].split()]
            if len(numbers) != count or not all(map(math.isfinite, numbers)):
                raise ValueError(f"{name} is not {count} numbers")
    if any(fields[name].lower() not in ("true", "false") for name in fields.keys() & _BOOLEANS):
        raise ValueError("neither True nor False")


def check_metaimage(path: Path, data_bytes: int) -> None:
    """Compare what a .mha or .mhd file and its data files hold with the `data_bytes` that its voxels need.

    Raises:
        InputError: a data file is not there.
        EOFError, OSError, ValueError, zlib.error: the data are cut off or damaged.
    """
    fields, start = _header(path)
    data = fields["ElementDataFile"]
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
        size = int(fields["CompressedDataSize"])  # without it the library reads nothing
        held = sum(_unpacked_bytes(file, offset, size) for file in files)
    else:
        offset += max(0, int(fields.get("HeaderSize", 0)))
        held = sum(file.stat().st_size - offset for file in files)
    if held < data_bytes:
        raise EOFError(f"{held} of {data_bytes} bytes")


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The "key = value" lines, and where they end.

    Raises:
        OSError, ValueError: a line that is none, or no last line.
    """
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:  # always the last line
            line = file.readline(_LINE)
            key, equals, value = line.decode("utf-8", "surrogateescape").partition("=")
            if not equals or not line.endswith(b"\n"):
                raise ValueError("no line of a header")
            fields[key.strip()] = value.strip()
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


def _unpacked_bytes(path: Path, start: int, size: int) -> int:
    if path.stat().st_size < start + size:
        raise EOFError(f"fewer than {size} bytes")
    with path.open("rb") as file:
        file.seek(start)
        return sum(len(part) for part in unpack(file, size))

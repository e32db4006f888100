"""Which paths the libraries and the file system take, known before any work."""

from __future__ import annotations

import os
from pathlib import Path

from .atomic import LONGEST_NAME
from .errors import InputError


def check_name(path: Path) -> None:
    """Raise InputError for a path that is not UTF-8, on which ITK ends the process."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path.name).decode("ascii", "backslashreplace")
        raise InputError(f"the path of {shown} is not UTF-8, which the libraries cannot open: rename it") from None


def check_place(path: Path) -> None:
    """Raise InputError for a result whose folder cannot be made or written to, or whose name is too long for a disk.

    Something is added to the name while it is written.
    """
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{folder} is not a folder that can be written to: choose another output")
    if (length := len(os.fsencode(path.name))) > LONGEST_NAME:
        raise InputError(f"the name {path.name[:40]}... has {length} bytes: choose one of at most {LONGEST_NAME}")

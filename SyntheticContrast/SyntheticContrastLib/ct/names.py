"""Which names of files the libraries and file systems take."""

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


def check_length(path: Path) -> None:
    """Raise InputError for a name that no file system takes together with what is added while it is written."""
    if (length := len(os.fsencode(path.name))) > LONGEST_NAME:
        raise InputError(f"the name {path.name[:40]}... has {length} bytes: choose one of at most {LONGEST_NAME}")

"""What a file or folder holds, as one number: equal hashes, equal contents."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .errors import InputError


def hash_source(path: Path) -> str:
    """sha256 of a file, or of the files of a folder in the order of their names.

    Raises:
        InputError: if there is no such file or folder.
    """
    if not path.exists():
        raise InputError(f"{path.name} does not exist: check the paths in cases.csv")
    digest = hashlib.sha256()
    files = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

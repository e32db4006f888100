"""What a file or folder holds, as one number: equal hashes, equal contents."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .errors import InputError
from .folder import files_below


def hash_source(path: Path) -> str:
    """sha256 of a file, or of the files of a folder in the order of their names.

    Raises:
        InputError: if there is no such file or folder, or a part of it cannot be read.
    """
    if not path.exists():
        raise InputError(f"{path.name} does not exist: check the paths in cases.csv")
    digest = hashlib.sha256()
    for file in files_below(path) if path.is_dir() else [path]:
        try:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"cannot open {file.name}: {error.strerror or 'not readable'}") from error
    return digest.hexdigest()

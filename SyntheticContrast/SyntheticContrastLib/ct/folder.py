"""The files below a folder, none of them lost: links are followed, and what cannot be reached is named."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InputError


def files_below(folder: Path) -> list[Path]:
    """Every file in `folder`, at any depth, sorted; each once, however many links lead to it.

    Raises:
        InputError: a subfolder that cannot be opened, or a link that leads nowhere: what it held would be missing.
    """
    found: dict[str, Path] = {}  # by its real path
    visited: set[str] = set()  # links may lead round in circles
    pending = [folder]
    while pending:
        inside = pending.pop()
        real = os.path.realpath(inside)
        if real in visited:
            continue
        visited.add(real)
        try:
            with os.scandir(inside) as entries:
                for entry in sorted(entries, key=lambda one: one.name):
                    if entry.is_dir():
                        pending.append(Path(entry))
                    elif entry.is_file():
                        actual = os.path.realpath(entry) if entry.is_symlink() else str(Path(real, entry.name))
                        found.setdefault(actual, Path(entry))
                    elif entry.is_symlink():
                        raise InputError(f"{entry.name} is a link to a file that is not there: fetch it, or remove it")
        except OSError as error:
            reason = error.strerror or "not readable"
            raise InputError(f"cannot open the folder {inside.name or inside}: {reason}") from error
    return sorted(found.values())

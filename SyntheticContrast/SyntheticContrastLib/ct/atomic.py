"""Write under a private temporary name, rename when whole: nothing half-written ever has the final name."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError

PREFIX = ".partial-"
LONGEST_NAME = 215  # bytes: file systems take 255, of which temporary names need some


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary file beside `path`; rename it to `path` when the block ends well, else remove it.

    The temporary name ends as `path` does, its extension in small letters, for writers that go by it. An existing file
    is replaced. Missing parent folders are made, and removed again if the block fails.

    Raises:
        OSError: the disk did not take it all.
    """
    path = Path(path)
    with _parents(path):
        handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=f"-{_small_suffix(path.name)}", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _to_disk(temporary)
            _open_to_others(temporary, 0o666)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `path`; rename it to `path` when the block ends well, else remove it.

    With `overwrite`, a folder that is there already is replaced, and only then deleted.

    Raises:
        InputError: `path` is a file, or a folder that is not empty, without `overwrite`.
        OSError: the disk did not take it all.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or (not overwrite and any(path.iterdir()))):
        raise InputError(f"{final_name(path)} already exists: choose another output, or allow it to be overwritten")
    with _parents(path):
        temporary = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=f"-{path.name}", dir=path.parent))
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _to_disk(file)
            _open_to_others(temporary, 0o777)
            _replace_folder(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Remove the new file `path`, and the parent folders that were missing, if the block fails."""
    existed = path.exists()
    with _parents(path):
        try:
            yield
        except BaseException:
            if not existed:
                path.unlink(missing_ok=True)
            raise


def clear_partial(paths: Iterable[Path]) -> None:
    """Remove what a killed process left under temporary names of these results, which nobody may be writing now."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name.lower())
    for folder, wanted in names.items():
        for found in folder.glob(f"{PREFIX}*"):
            if final_name(found).lower() not in wanted:
                continue
            if found.is_dir():
                shutil.rmtree(found, ignore_errors=True)
            else:
                found.unlink(missing_ok=True)


def final_name(path: Path) -> str:
    """What a file will be called that has a temporary name now."""
    name = path.name
    while name.startswith(PREFIX):  # a file that becomes whole within another's block has two
        name = name.removeprefix(PREFIX).partition("-")[2]  # mkstemp's own part of a name has no dash
    return name


def _small_suffix(name: str) -> str:
    return re.sub(r"(\.[A-Za-z]+)+$", lambda found: found[0].lower(), name)


def _to_disk(file: Path) -> None:
    """Some file systems (network, quotas) say only here that there is no space.

    Raises:
        OSError
    """
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _open_to_others(path: Path, mode: int) -> None:
    with suppress(OSError):  # FAT and some network drives have no permissions to change
        path.chmod(mode & ~_umask())


def _replace_folder(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    if _exchange(new, path):
        shutil.rmtree(new, ignore_errors=True)
        return
    aside = Path(tempfile.mkdtemp(prefix=".replaced-", dir=path.parent))
    old = aside / path.name
    try:
        path.rename(old)
        new.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        aside.rmdir()
        raise
    shutil.rmtree(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, so that a process killed at any moment leaves one of them under each name.

    False where the system (any but Linux) or the file system has no such step.
    """
    if sys.platform != "linux":
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of <fcntl.h> and <linux/fs.h>
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(swap(here, os.fsencode(one.absolute()), here, os.fsencode(other.absolute()), exchange) == 0)


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the missing parent folders of `path`; remove them again if the block fails."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:  # innermost first
            if not any(folder.iterdir()):
                folder.rmdir()
        raise


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask

"""Fetch a public CT series, verify it, and only then give it its name.

The index and the address of a series come from the `idc-index` package, which is optional, and its `s5cmd` program
does the transfer. The package's own download functions are not used: they can neither be cancelled nor say that they
failed.
"""

from __future__ import annotations

import importlib
import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from SyntheticContrastLib.ct.atomic import atomic_folder
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis.process import check_cancelled

RETRIES = 5  # of each request; s5cmd's own 10 mean one and a half minutes without a network
POLL_SECONDS = 0.2
STALE_SECONDS = 600  # a temporary folder that nothing was written to for so long belongs to a download that was killed


@dataclass(frozen=True)
class IndexEntry:
    """What the index says of a series."""

    slices: int
    bytes: int
    licence: str
    doi: str


class Transport(Protocol):
    """Where series come from."""

    @property
    def index(self) -> Mapping[str, IndexEntry]:
        """By SeriesInstanceUID; a series that is not there cannot be fetched."""

    def fetch(self, series_uid: str, folder: Path, on_bytes: Callable[[int], None]) -> None:
        """Put the files of a series into `folder`, telling now and then how many bytes are there.

        Raises:
            InputError: the transfer did not finish.
        """


class IdcTransport:
    """The Imaging Data Commons, by idc-index."""

    def __init__(self, s5cmd: str, endpoint: str, index: Mapping[str, IndexEntry], urls: Mapping[str, str]) -> None:
        self._s5cmd = s5cmd
        self._endpoint = endpoint
        self.index = index
        self._urls = urls

    @classmethod
    def open(cls, series_uids: Iterable[str]) -> IdcTransport:
        """Look `series_uids` up in the index that comes with the package: seconds, 2 GB of memory, no network.

        Raises:
            InputError: the package is missing, does not work, or has an index of another form.
        """
        module = _import_idc_index()
        try:
            client = module.IDCClient()
            table = client.index
            rows = table[table["SeriesInstanceUID"].isin(list(series_uids))].to_dict("records")
            index = {
                row["SeriesInstanceUID"]: IndexEntry(
                    slices=int(row["instanceCount"]),
                    bytes=round(float(row["series_size_MB"]) * 1e6),
                    licence=str(row["license_short_name"]),
                    doi=str(row["source_DOI"]),
                )
                for row in rows
            }
            urls = {row["SeriesInstanceUID"]: str(row["series_aws_url"]) for row in rows}
            return cls(str(client.s5cmdPath), module.index.aws_endpoint_url, index, urls)
        except Exception as error:  # whatever the package raises, the user can only replace it
            raise InputError(
                f"idc-index does not work here, update it: python -m pip install --upgrade idc-index "
                f"({type(error).__name__}: {error})"
            ) from error

    def fetch(self, series_uid: str, folder: Path, on_bytes: Callable[[int], None]) -> None:
        command = [self._s5cmd, "--no-sign-request", "--endpoint-url", self._endpoint, "--log", "error"]
        command += ["--retry-count", str(RETRIES), "cp", self._urls[series_uid], f"{folder.as_posix()}/"]
        with tempfile.TemporaryFile() as messages:  # not a pipe, which fills up if nobody reads
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages)
            try:
                while process.poll() is None:
                    time.sleep(POLL_SECONDS)
                    on_bytes(folder_bytes(folder))
                    check_cancelled()
            finally:
                _end(process)
            if process.returncode:
                messages.seek(0)
                lines = messages.read().decode(errors="replace").splitlines() or [f"status {process.returncode}"]
                raise InputError(
                    f"the transfer did not finish, run the same command again ({lines[-1][-200:].strip()})"
                )
        on_bytes(folder_bytes(folder))


def _import_idc_index() -> Any:
    """The package, without its setting of the root logger, which would print what other libraries log."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        return importlib.import_module("idc_index")
    except ModuleNotFoundError as error:
        raise InputError(
            "downloading needs the package idc-index: python -m pip install idc-index "
            "(in Slicer: PythonSlicer -m pip install idc-index)"
        ) from error
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def fetch_series(transport: Transport, series_uid: str, folder: Path, on_slices: Callable[[int, int], None]) -> None:
    """Fetch a series into a private folder beside `folder`, verify it, rename it. `on_slices(done, total)` is told.

    A `folder` that is there but no longer whole is replaced, unless something else was put into it.

    Raises:
        InputError: the series is not in the index, did not arrive whole, or cannot be put there.
    """
    entry = transport.index.get(series_uid)
    if entry is None:
        raise InputError("the series is not in this index: python -m pip install --upgrade idc-index")
    if folder.exists() and not (folder.is_dir() and all(path.suffix == ".dcm" for path in folder.iterdir())):
        raise InputError(f"{folder.name} holds files that are no part of the download: move them away")
    _remove_leftovers(folder)

    told = 0

    def on_bytes(held: int) -> None:
        nonlocal told
        # About: by bytes. The last one is done when all are verified.
        done = min(entry.slices * held // max(entry.bytes, 1), entry.slices - 1)
        if done > told:
            told = done
            on_slices(done, entry.slices)

    with atomic_folder(folder, overwrite=True) as temporary:
        transport.fetch(series_uid, temporary, on_bytes)
        verify(temporary, series_uid, entry)
        check_cancelled()
    on_slices(entry.slices, entry.slices)


def is_whole(folder: Path, slices: int, size: int) -> bool:
    """Whether a series that was fetched is still there: the cheap check, by number and bytes of its files."""
    sizes = [path.stat().st_size for path in folder.glob("*.dcm")] if folder.is_dir() else []
    return len(sizes) == slices and sum(sizes) == size


def verify(folder: Path, series_uid: str, entry: IndexEntry) -> None:
    """Check that `folder` holds every slice of the series, once, in whole, and nothing else.

    Raises:
        InputError
    """
    import pydicom

    from SyntheticContrastLib.ct.quiet import quiet_libraries

    files = [path for path in folder.rglob("*") if path.is_file()]
    if len(files) != entry.slices:
        raise InputError(f"{len(files)} of {entry.slices} slices arrived, run the same command again")
    instances = set()
    for path in files:
        check_cancelled()
        try:
            with quiet_libraries():
                header = pydicom.dcmread(
                    path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "SeriesInstanceUID"]
                )
            found, instance = str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
        except Exception as error:  # pydicom raises many kinds on a damaged header
            raise InputError("a slice arrived that is no readable DICOM file, run the same command again") from error
        if found != series_uid:
            raise InputError("a slice of another series arrived: the archive and the index do not agree")
        instances.add(instance)
    if len(instances) != len(files):
        raise InputError("a slice arrived twice: the archive and the index do not agree")
    if (held := folder_bytes(folder)) != entry.bytes:
        raise InputError(f"{held} of {entry.bytes} bytes arrived, run the same command again")


def folder_bytes(folder: Path) -> int:
    """The size of the files in `folder`, which may come and go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders of a download that was killed: they hold many megabytes, and nobody sees them."""
    for path in folder.parent.glob(f".partial-*-{folder.name}"):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)

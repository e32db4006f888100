"""How a headless entry starts and ends: arguments, cancelling, exit status.

The same under `python X.py`, `PythonSlicer X.py` and `Slicer --python-script X.py`, which by itself neither exits nor
sets a status.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from SyntheticContrastLib.ct.errors import InputError

DONE, INTERNAL_ERROR, BAD_INPUT, CANCELLED, OUT_OF_MEMORY = 0, 1, 2, 3, 4


class Cancelled(BaseException):
    """SIGINT or SIGTERM came. Not an `Exception`, so that no handler of ordinary errors swallows it."""


class OutOfMemoryError(Exception):
    """The memory did not suffice, after every fallback."""


_cancel_asked = False


def check_cancelled() -> None:
    """Raise `Cancelled` if a signal came whose exception was lost, as in a callback from C. For long loops."""
    if _cancel_asked:
        raise Cancelled


class ArgumentParser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


class Told:
    """stdout or stderr that never ends the work: closed, a pipe that broke, a full disk, letters that it has not."""

    def __init__(self, stream: Any) -> None:
        """stream: None where the process was started without."""
        self._stream = stream or _nowhere()
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except (OSError, ValueError):  # the latter of a closed stream
            self._give_up()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        self._lost, self._stream = self._stream, _nowhere()
        with suppress(OSError, ValueError, AttributeError):  # what is left in its buffer goes nowhere, too
            os.dup2(self._stream.fileno(), self._lost.fileno())


def _nowhere() -> Any:
    return Path(os.devnull).open("w", encoding="utf-8")


def require(*modules: str) -> None:
    """Import what will be needed, so that a package that is missing or broken shows before the work, not after it.

    Raises:
        ModuleNotFoundError: one is not installed.
        InputError: one is, but does not work.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # of a half-done installation anything can come
            package, why = module.split(".")[0], " ".join(str(error).split())
            raise InputError(
                f"the Python package {package} is installed but does not work ({why}): install it again"
            ) from error


def run_entry(main: Callable[[list[str]], int]) -> NoReturn:
    """Run `main(arguments)` and end the process: 0 done, 1 internal error, 2 bad input, 3 cancelled, 4 out of memory.

    `main` returns a status, or raises `InputError`, `Cancelled`, `OutOfMemoryError`; an `OSError` counts as bad input.
    Anything but success leaves one line on stderr, an internal error its traceback too.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file opened would have this number, and what C libraries print in it
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = Told(sys.stdout), Told(sys.stderr)
    if Path("/sys/kernel/mm/transparent_hugepage").exists():
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # PyTorch's tensors in large pages: a tenth less time
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _cancel)
    try:
        status = main(sys.argv[1:])
    except SystemExit as leaving:  # argparse after --help
        status = leaving.code if isinstance(leaving.code, int) else DONE
    except BaseException as error:
        status, line = explain(error)
        if status == INTERNAL_ERROR:
            traceback.print_exc()
        print(f"{Path(sys.argv[0]).name}: {line}", file=sys.stderr)
    _end(status)


def explain(error: BaseException) -> tuple[int, str]:
    """Exit status and one line for a person."""
    if isinstance(error, Cancelled | KeyboardInterrupt):
        return CANCELLED, "cancelled"
    if isinstance(error, OutOfMemoryError):
        return OUT_OF_MEMORY, str(error)
    if is_out_of_memory(error):
        return OUT_OF_MEMORY, "out of memory: close other programs, or use a smaller CT"
    if isinstance(error, InputError):
        return BAD_INPUT, " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("SyntheticContrast"):
        package = error.name.split(".")[0]
        how = "the PyTorch extension of Slicer" if package == "torch" else "SyntheticContrast-requirements.txt"
        return BAD_INPUT, f"the Python package {package} is not installed: install it with {how} (see the README)"
    if isinstance(error, ImportError) and not (error.name or "").startswith("SyntheticContrast"):
        package = (error.name or "").split(".")[0]
        which = f"the Python package {package}" if package else "a Python package"
        why = " ".join(str(error).split())
        return BAD_INPUT, f"{which} is installed but does not work ({why}): install it again"
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return BAD_INPUT, "the disk is full: free some space, or choose an output on another one"
        text = " ".join(str(error.strerror or error).split())
        return BAD_INPUT, f"{text}{f': {error.filename}' if error.filename else ''}"
    return INTERNAL_ERROR, f"internal error, please report it: {type(error).__name__}: {error}"


def is_out_of_memory(error: BaseException) -> bool:
    """Also where PyTorch says it by a RuntimeError."""
    if isinstance(error, MemoryError):
        return True
    signs = ("out of memory", "can't allocate memory", "bad_alloc")
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in signs)


def _cancel(_signal: int, _frame: FrameType | None) -> None:
    global _cancel_asked
    if not _cancel_asked:  # a second signal must not interrupt the tidying up after the first
        _cancel_asked = True
        raise Cancelled


def _end(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    if hasattr(sys.modules.get("slicer"), "app"):  # the Slicer application would go on after sys.exit
        os._exit(status)
    sys.exit(status)

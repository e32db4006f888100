"""A headless entry as a child process of a panel: started, read without blocking, and ended with all its children."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import qt

POLL_MILLISECONDS = 150
WINDOWS_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)
OnLine = Callable[[str, bool], None]
OnFinished = Callable[[int], None]


class Child(Protocol):
    """What a panel needs of its child process. A test may put another in its place."""

    @property
    def running(self) -> bool: ...

    @property
    def stopping(self) -> bool: ...

    def start(self, entry: Path, arguments: Sequence[str], onLine: OnLine, onFinished: OnFinished) -> None: ...

    def cancel(self, grace: float = 5.0) -> None: ...

    def kill(self) -> None: ...

    def close(self, grace: float = 5.0) -> None: ...


class ChildProcess:
    """Runs one entry at a time, `python entry arguments`, with the Python that runs this.

    What it prints goes to temporary files that a timer reads: no pipe can fill up, and no thread is needed, which in
    Slicer would wait for the main one.
    """

    def __init__(self) -> None:
        self.timer = qt.QTimer()
        self.timer.interval = POLL_MILLISECONDS
        self.timer.timeout.connect(self._poll)
        self._process: subprocess.Popen[bytes] | None = None
        self._killAt: float | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end and has not yet."""
        return self._killAt is not None

    def start(self, entry: Path, arguments: Sequence[str], onLine: OnLine, onFinished: OnFinished) -> None:
        """Start `entry`.

        Args:
            onLine: is given each line that it prints, and whether that came on stderr.
            onFinished: is given the exit status, after the last line; negative, the signal that ended it.

        Raises:
            OSError: if it cannot be started.
        """
        if self.running:
            raise RuntimeError("the child process runs already")
        self._onLine, self._onFinished = onLine, onFinished
        self._folder = tempfile.TemporaryDirectory(prefix="SyntheticContrast-")
        out, err = (Path(self._folder.name, name) for name in ("stdout", "stderr"))
        try:
            with out.open("wb") as outFile, err.open("wb") as errFile:
                self._process = subprocess.Popen(
                    [sys.executable, str(entry), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=outFile,
                    stderr=errFile,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
                    # a group of its own: a signal reaches the child and its children, and not this process
                    start_new_session=sys.platform != "win32",
                    creationflags=WINDOWS_GROUP,
                )
        except OSError:
            self._folder.cleanup()
            raise
        self._outputs = [_Lines(out.open("rb"), isError=False), _Lines(err.open("rb"), isError=True)]
        self._killAt = None
        _running.add(self)
        self.timer.start()

    def cancel(self, grace: float = 5.0) -> None:
        """Ask it to end, and kill it and its children if it has not after `grace` seconds. Returns at once."""
        if self._process is not None and not self.stopping:
            self._killAt = time.monotonic() + grace
            if not _askToEnd(self._process):
                self.kill()

    def kill(self) -> None:
        """End it and its children now."""
        if self._process is not None:
            self._killAt = time.monotonic()
            _killGroup(self._process)

    def close(self, grace: float = 5.0) -> None:
        """End it and wait until it has, `grace` seconds at most; tell nobody. For a panel that is deleted."""
        process = self._process
        if process is None:
            return
        self._onLine, self._onFinished = _ignore, _ignore
        self.cancel(grace)
        deadline = time.monotonic() + grace
        while _groupLives(process) and time.monotonic() < deadline:
            time.sleep(0.02)
        _killGroup(process)
        process.wait()
        self._finish()

    def _poll(self) -> None:
        process = self._process
        if process is None:
            return
        ended = process.poll() is not None
        # A launcher may end before the Python that it started, which is still saving.
        if self.stopping and _groupLives(process):
            ended = False
            if time.monotonic() >= (self._killAt or 0):
                _killGroup(process)
        for output in self._outputs:
            for line in output.read(toTheEnd=ended):
                self._onLine(line, output.isError)
        if ended and self._process is process:
            self._finish()

    def _finish(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        self.timer.stop()
        _killGroup(process)
        for output in self._outputs:
            output.file.close()
        self._folder.cleanup()
        self._killAt = None
        _running.discard(self)
        self._onFinished(process.returncode)


class _Lines:
    """The lines of a growing file, each when it is whole."""

    def __init__(self, file: BinaryIO, isError: bool) -> None:
        self.file, self.isError = file, isError
        self._rest = b""

    def read(self, toTheEnd: bool) -> list[str]:
        *lines, self._rest = (self._rest + self.file.read()).split(b"\n")
        if toTheEnd and self._rest:
            lines.append(self._rest)
            self._rest = b""
        # of a bar that redraws itself the last state
        return [line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode("utf-8", errors="replace") for line in lines]


def _askToEnd(process: subprocess.Popen[bytes]) -> bool:
    """False where it cannot be asked: on Windows a process without a console of ours gets no signal."""
    try:
        if sys.platform == "win32":
            process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return True


def _killGroup(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        if process.poll() is None:
            command = ["taskkill", "/PID", str(process.pid), "/T", "/F"]
            subprocess.run(command, check=False, capture_output=True, creationflags=subprocess.CREATE_NO_WINDOW)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter from macOS, for a group of zombies
        os.killpg(process.pid, signal.SIGKILL)


def _groupLives(process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is None:
        return True
    if sys.platform == "win32":
        return False
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _ignore(*_: object) -> None:
    pass


_running: set[ChildProcess] = set()


@atexit.register
def _endAll() -> None:
    """Nothing outlives the application, also where a panel was deleted without being told."""
    for child in list(_running):
        child.close()

"""Progress for a person (a bar), for a program (JSON lines), or not at all."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Literal, TextIO

from SyntheticContrastLib.synthesis.process import CANCELLED, DONE, explain

ProgressKind = Literal["bar", "json", "none"]
BAR_WIDTH = 30


class Reporter:
    """Tells what a run does. Events and their fields are the contract of `--progress json`; see the README.

    "bar": lines for a person on stdout, a bar on stderr that redraws itself in a terminal and is a line every tenth
    of the way elsewhere. "json": one JSON object a line on stdout. "none": nothing.
    """

    def __init__(self, kind: ProgressKind, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.kind = kind
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self._started = time.monotonic()
        self._tenths = 0

    def event(self, name: str, line: str = "", **fields: Any) -> None:
        """An event with its `fields` for a program, and `line` for a person (nothing if empty)."""
        if self.kind == "json":
            print(json.dumps({"event": name, **fields}), file=self.out, flush=True)  # ASCII, as any stdout takes it
        elif self.kind == "bar" and line:
            print(line, file=self.out, flush=True)

    def conclude(self, work: Callable[[], int], failed: str = "some cases failed") -> int:
        """Do the `work` of an entry, which returns the exit status, and tell the event "end" whatever comes of it."""
        try:
            status = work()
        except BaseException as error:
            status, message = explain(error)
            self.event("end", status=status, message=message)
            raise
        self.event("end", status=status, message={DONE: "done", CANCELLED: "cancelled"}.get(status, failed))
        return status

    def begin(self) -> None:
        """Slices are counted, and time is measured, from here."""
        self._started = time.monotonic()
        self._tenths = 0

    def progress(self, case: str, done: int, total: int) -> None:
        """`done` of the `total` slices of `case` are final."""
        elapsed = time.monotonic() - self._started
        left = elapsed * (total - done) / done if done else None
        self.event(
            "progress",
            case=case,
            slices_done=done,
            slices_total=total,
            seconds_elapsed=round(elapsed, 1),
            seconds_left=None if left is None else round(left, 1),
        )
        if self.kind == "bar":
            self._draw(done, total, elapsed, left)

    def _draw(self, done: int, total: int, elapsed: float, left: float | None) -> None:
        filled = BAR_WIDTH * done // total
        ahead = f"{clock(elapsed)} done" if done == total else f"{clock(left)} left"
        text = f"  [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{total} slices, {ahead}"
        if self.err.isatty():
            print(f"\r{text:<78}", end="\n" if done == total else "", file=self.err, flush=True)
        elif 10 * done // total > self._tenths:
            self._tenths = 10 * done // total
            print(text, file=self.err, flush=True)


def clock(seconds: float | None) -> str:
    """As h:mm:ss or m:ss; ? where it is not known."""
    if seconds is None:
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

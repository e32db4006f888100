"""The log of a run for TensorBoard, which is no requirement: only on request, and only if it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from SyntheticContrastLib.ct.errors import InputError


@contextmanager
def open_tensorboard(folder: Path | None) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """A function that takes lines of the log and writes their numbers into `folder`; None where no folder is given.

    Raises:
        InputError: when TensorBoard is not installed.
    """
    if folder is None:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("--tensorboard needs the package tensorboard: install it, or leave the option out") from error
    with SummaryWriter(str(folder)) as writer:

        def add(line: dict[str, Any]) -> None:
            for name, value in line.items():
                if name not in ("step", "steps"):
                    writer.add_scalar(name, value, line["step"])

        yield add

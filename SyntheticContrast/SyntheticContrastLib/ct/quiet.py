"""Silence for the DICOM and image libraries: their warnings can quote a header, and a user reads one line only."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside, pydicom and ITK neither warn nor log; errors are raised as ever."""
    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    log = logging.getLogger("pydicom")
    level = log.level
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)
        log.setLevel(level)

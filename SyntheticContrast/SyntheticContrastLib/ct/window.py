"""Display windows as network input and output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def to_windows(hu: ArrayLike, windows: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """Clip HU to each (width, level) window and scale to [-1, 1] (Choi 2021, preprocessing).

    hu: any shape, in HU. Returns (C, *hu.shape), one channel a window, in the windows' order.
    """
    values = np.asarray(hu)
    result = np.empty((len(windows), *values.shape), np.float32)
    for channel, (width, level) in zip(result, windows, strict=True):
        np.subtract(values, np.float32(level), out=channel, casting="same_kind")
        channel /= np.float32(width / 2)
        np.clip(channel, -1, 1, out=channel)
    return result


def from_window(values: ArrayLike, window: tuple[float, float]) -> NDArray[np.float32]:
    """The inverse inside one (width, level) window: HU = level + width / 2 * value. Any shape, same shape out."""
    width, level = window
    return np.asarray(values, np.float32) * np.float32(width / 2) + np.float32(level)

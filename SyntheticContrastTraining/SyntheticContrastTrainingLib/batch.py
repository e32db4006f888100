"""What a network sees of a batch, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Batch(NamedTuple):
    """A part of a batch. `source` and `target` are (N, C, Z, Y, X), in 2D (N, C, Y, X), windows in [-1, 1].

    `more` is what the objective's loss needs beside them.
    """

    source: Tensor
    target: Tensor
    more: tuple[Tensor, ...]


def to_device(stacks: Sequence[NDArray], device: torch.device) -> Tensor:
    """Arrays (Z, Y, X) to one float32 tensor (N, 1, Z, Y, X)."""
    return torch.from_numpy(np.stack(stacks)).to(device).float()[:, None]


def windowed(hu: Tensor, windows: tuple[tuple[float, float], ...]) -> Tensor:
    """(N, 1, ...) HU to (N, C, ...) in [-1, 1]: `to_windows`, on the device of the tensor."""
    return torch.cat([((hu - level) / (width / 2)).clamp(-1, 1) for width, level in windows], dim=1)

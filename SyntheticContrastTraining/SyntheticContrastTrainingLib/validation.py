"""What a model makes of patients it is not trained on: fixed stacks of whole slices, measured as Choi 2021 does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from SyntheticContrastLib.ct.window import from_window, to_windows
from SyntheticContrastLib.models.choi2021 import IN_PLANE_MULTIPLE
from SyntheticContrastTrainingLib.dataset import AIR_HU, Pair, Stacks
from SyntheticContrastTrainingLib.recipes import Recipe

READING_WINDOW = (350.0, 50.0)  # (width, level) in HU, the paper's for MAE and PSNR
STACKS_A_VOLUME = 3


@dataclass(frozen=True)
class Scores:
    """Means over the stacks: MAE in HU and PSNR in dB, of the output and, to compare, of the input, to the target."""

    mae: float
    psnr: float
    input_mae: float
    input_psnr: float


def fixed_stacks(stacks: Stacks, a_volume: int = STACKS_A_VOLUME) -> list[Pair]:
    """Whole stacks of slices, (depth, Y, X), `a_volume` of each volume: evenly spaced, without its ends."""
    chosen = []
    for volumes in stacks.pairs:
        last = len(volumes.cect) - stacks.depth
        places = sorted({round(last * (place + 1) / (a_volume + 1)) for place in range(a_volume)})
        for z in places:
            chosen.append(Pair(volumes.ncct[z : z + stacks.depth], volumes.cect[z : z + stacks.depth]))
    return chosen


@torch.no_grad()
def synthesise(network: nn.Module, ncct: NDArray[np.int16], recipe: Recipe) -> NDArray[np.float32]:
    """The output for one stack of whole slices, (depth, Y, X) HU to the same; padded with air to what the net takes."""
    y, x = ncct.shape[1:]
    smallest = 2 * IN_PLANE_MULTIPLE if recipe.norm == "instance" else IN_PLANE_MULTIPLE
    pads = [(0, max(size + -size % IN_PLANE_MULTIPLE, smallest) - size) for size in (y, x)]
    padded = np.pad(ncct, [(0, 0), *pads], constant_values=AIR_HU)
    device = next(network.parameters()).device
    source = torch.from_numpy(to_windows(padded, recipe.windows))[None].to(device)
    output = network(source)[0, 0, :, :y, :x].float().cpu().numpy()
    return from_window(output, recipe.windows[0])


def validate(network: nn.Module, stacks: Sequence[Pair], recipe: Recipe) -> Scores:
    """Scores of the network on these stacks, of which there is at least one."""
    rows = []
    for stack in stacks:
        output = compare(synthesise(network, stack.ncct, recipe), stack.cect)
        rows.append((*output, *compare(stack.ncct, stack.cect)))
    return Scores(*(float(np.mean(column)) for column in zip(*rows, strict=True)))


def compare(image: NDArray, target: NDArray) -> tuple[float, float]:
    """MAE in HU and PSNR in dB of two (Z, Y, X) HU arrays within the reading window, whose width is the peak."""
    width, level = READING_WINDOW
    low, high = level - width / 2, level + width / 2
    error = np.clip(image, low, high).astype(np.float64) - np.clip(target, low, high)
    squared = float(np.mean(error**2))
    return float(np.mean(np.abs(error))), 10 * math.log10(width**2 / max(squared, 1e-9))

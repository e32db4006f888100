"""What a model makes of patients it is not trained on: fixed stacks of whole slices, measured as Choi 2021 does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from SyntheticContrastLib.ct.window import from_window, to_windows
from SyntheticContrastLib.models import choi2021, santini2018
from SyntheticContrastTrainingLib.dataset import AIR_HU, Pair
from SyntheticContrastTrainingLib.heart_dataset import HeartPair
from SyntheticContrastTrainingLib.recipes import Recipe
from SyntheticContrastTrainingLib.share_dataset import LEVEL_RISE_HU, SharePatch
from SyntheticContrastTrainingLib.share_objective import Shares

READING_WINDOW = (350.0, 50.0)  # (width, level) in HU, the paper's for MAE and PSNR


@dataclass(frozen=True)
class Scores:
    """Means over the stacks: MAE in HU and PSNR in dB, of the output and, to compare, of the input, to the target."""

    mae: float
    psnr: float
    input_mae: float
    input_psnr: float
    dice: float | None = None  # of the chambers by threshold, where the stacks have them


def synthesise(network: nn.Module, stack: Pair, recipe: Recipe) -> NDArray[np.float32]:
    """The output for one stack, (Z, Y, X) HU; padded with air to what the network takes.

    Around the heart, where a heart mask is the limit of what the network was asked for, it is the input.
    """
    if isinstance(stack, SharePatch):
        with evaluating(network), torch.no_grad():
            shares = Shares(recipe).shares(network, stack)
        return stack.ncct + np.float32(LEVEL_RISE_HU) * shares * stack.target.tissue
    flat = recipe.architecture == "santini2018"
    multiple = santini2018.IN_PLANE_MULTIPLE if flat else choi2021.IN_PLANE_MULTIPLE
    smallest = 2 * multiple if recipe.norm == "instance" and not flat else multiple
    y, x = stack.ncct.shape[1:]
    pads = [(0, max(size + -size % multiple, smallest) - size) for size in (y, x)]
    padded = np.pad(stack.ncct, [(0, 0), *pads], constant_values=AIR_HU)
    device = next(network.parameters()).device
    source = torch.from_numpy(to_windows(padded, recipe.windows)).to(device)
    with evaluating(network), torch.no_grad():
        output = network(source.movedim(1, 0)).movedim(1, 0) if flat else network(source[None])[0]
    hu = from_window(output[0, :, :y, :x].float().cpu().numpy(), recipe.windows[0])
    return np.where(stack.heart > 0, hu, stack.ncct) if isinstance(stack, HeartPair) else hu


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode: a batch norm uses its running statistics."""
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


def validate(network: nn.Module, stacks: Sequence[Pair], recipe: Recipe) -> Scores:
    """Scores on these stacks, of which there is at least one; within the heart mask, if they have one."""
    rows: list[tuple[float, ...]] = []
    for stack in stacks:
        hu = synthesise(network, stack, recipe)
        if not isinstance(stack, HeartPair):
            rows.append((*compare(hu, stack.cect), *compare(stack.ncct, stack.cect)))
            continue
        heart = stack.heart > 0
        found, wanted = heart & (hu >= recipe.soft_threshold_hu), heart & (stack.chambers > 0)
        dice = 2 * float(np.sum(found & wanted)) / max(1.0, float(np.sum(found) + np.sum(wanted)))
        target = stack.cect[heart]
        rows.append((*compare(hu[heart], target), *compare(stack.ncct[heart], target), dice))
    return Scores(*(float(np.mean(column)) for column in zip(*rows, strict=True)))


def compare(image: NDArray, target: NDArray) -> tuple[float, float]:
    """MAE in HU and PSNR in dB of two HU arrays of one shape within the reading window, whose width is the peak."""
    width, level = READING_WINDOW
    low, high = level - width / 2, level + width / 2
    error = np.clip(image, low, high).astype(np.float64) - np.clip(target, low, high)
    squared = float(np.mean(error**2))
    return float(np.mean(np.abs(error))), 10 * math.log10(width**2 / max(squared, 1e-9))

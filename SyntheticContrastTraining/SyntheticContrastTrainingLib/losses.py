"""Losses, on tensors (N, C, Z, Y, X) whose channels are intensity windows in [-1, 1]."""

from __future__ import annotations

from torch import Tensor


def weighted_l1(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean of `weight` x |output - target|; `weight` is (N, 1, Z, Y, X)."""
    return ((output - target).abs() * weight).mean()


def enhancement_weights(change_hu: Tensor, above_hu: float, weight: float) -> Tensor:
    """`weight` where contrast changed the voxel, CECT - NCCT, by more than `above_hu` HU, else 1; same shape."""
    return 1.0 + (weight - 1.0) * (change_hu.abs() > above_hu).float()

"""Losses, on tensors (N, C, Z, Y, X) whose channels are intensity windows in [-1, 1], or on the logits of patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FAKE = 0.0


def weighted_l1(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean of `weight` x |output - target|; `weight` is (N, 1, Z, Y, X)."""
    return ((output - target).abs() * weight).mean()


def enhancement_weights(change_hu: Tensor, above_hu: float, weight: float) -> Tensor:
    """`weight` where contrast changed the voxel, CECT - NCCT, by more than `above_hu` HU, else 1; same shape."""
    return 1.0 + (weight - 1.0) * (change_hu.abs() > above_hu).float()


def judged_real(kind: str, logits: Tensor, label: Tensor | float = 1.0) -> Tensor:
    """Loss of a discriminator whose logits (N, 1, Z, Y, X) should say `label`; the hinge wants 1 or more."""
    label = torch.as_tensor(label, dtype=logits.dtype, device=logits.device).expand_as(logits)
    if kind == "hinge":
        return F.relu(1 - logits).mean()
    return _distance(kind, logits, label)


def judged_fake(kind: str, logits: Tensor) -> Tensor:
    """Loss of a discriminator whose logits should say 0; of the hinge: -1 or less."""
    if kind == "hinge":
        return F.relu(1 + logits).mean()
    return _distance(kind, logits, torch.full_like(logits, FAKE))


def fooled(kind: str, logits: Tensor, label: Tensor | float = 1.0) -> Tensor:
    """Loss of a generator that wants the discriminator's logits on its output to say `label`."""
    return -logits.mean() if kind == "hinge" else judged_real(kind, logits, label)


def _distance(kind: str, logits: Tensor, label: Tensor) -> Tensor:
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(logits, label)
    if kind == "least_squares":
        return F.mse_loss(logits, label)
    raise ValueError(f"unknown GAN loss {kind!r}: use 'bce', 'least_squares' or 'hinge'")

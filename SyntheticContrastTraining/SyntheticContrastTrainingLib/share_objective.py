"""The share U-Net with its loss: how far each voxel's share is off, and Dice of what is taken for blood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SyntheticContrastLib.ct.canonical_grid import LEAST_TISSUE
from SyntheticContrastLib.models.share_unet import HIGHEST_SHARE, SHARES, ShareUNet, to_share
from SyntheticContrastTrainingLib.batch import Batch, to_device, windowed
from SyntheticContrastTrainingLib.dataset import Pair
from SyntheticContrastTrainingLib.recipes import Recipe
from SyntheticContrastTrainingLib.share_dataset import SharePatch
from SyntheticContrastTrainingLib.share_targets import BLOOD_SHARE

ENHANCED_SHARE = 0.15  # above it a voxel counts as enhanced
SHARPNESS = 12.0  # of the soft step at BLOOD_SHARE
ENOUGH = 500.0  # voxels below which a mean or a Dice is damped
RIGHT_WEIGHT = 0.1


class Shares:
    """Each patch teaches the channel of its own phase; the right heart, where it is known."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def network(self) -> ShareUNet:
        return ShareUNet(channels=len(self.recipe.windows), widths=self.recipe.widths)

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        return [{"params": list(network.parameters())}]

    def batch(self, stacks: Sequence[Pair], device: torch.device) -> Batch:
        """`target` is the share, (N, 1, Z, Y, X); `more` its weight, 1 in the right heart, and (N,) the channel."""
        targets = [stack.target for stack in stacks if isinstance(stack, SharePatch)]
        hu, tissue, share, weight, right = (
            to_device([getattr(target, name) for target in targets], device)
            for name in ("hu", "tissue", "share", "weight", "right")
        )
        channel = torch.tensor([SHARES.index(target.phase) for target in targets], device=device)
        return Batch(windowed(hu, self.recipe.windows), share, (weight * (tissue > LEAST_TISSUE), right, channel))

    def losses(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        recipe, share = self.recipe, batch.target
        weight, right, channel = batch.more
        logits = output[torch.arange(len(output)), channel][:, None]
        found = to_share(output)[torch.arange(len(output)), channel][:, None]
        counted = weight.sum().clamp_min(ENOUGH)
        more = 1 + (recipe.enhancement_weight - 1) * (share > ENHANCED_SHARE)
        l1 = (weight * more * (found - share).abs()).sum() / counted
        aim = (share / HIGHEST_SHARE).clamp(0, 1)
        bce = (weight * F.binary_cross_entropy_with_logits(logits, aim, reduction="none")).sum() / counted
        blood = weight * (share > BLOOD_SHARE)
        taken = weight * torch.sigmoid((found - BLOOD_SHARE) * SHARPNESS)
        dice = 1 - (2 * (taken * blood).sum() + ENOUGH) / (taken.sum() + blood.sum() + ENOUGH)
        known = (right >= 0).float()
        side = F.binary_cross_entropy_with_logits(output[:, 2:], right.clamp_min(0), reduction="none")
        of_right = (known * side).sum() / known.sum().clamp_min(ENOUGH)
        loss = recipe.l1_weight * l1 + bce + recipe.dice_weight * dice + RIGHT_WEIGHT * of_right
        return {"loss": loss, "l1": l1.detach(), "bce": bce.detach(), "dice": dice.detach()}

    def shares(self, network: nn.Module, patch: SharePatch) -> np.ndarray:
        """(Z, Y, X): what the network makes of whole slices, of the phase of the patch."""
        device = next(network.parameters()).device
        z, y, x = patch.target.hu.shape
        padded = np.pad(patch.target.hu, ((0, -z % 8), (0, -y % 16), (0, -x % 16)), constant_values=-1000)
        found = to_share(network(windowed(to_device([padded], device), self.recipe.windows)))
        return found[0, SHARES.index(patch.target.phase), :z, :y, :x].float().cpu().numpy()

"""What a network is asked for: the tensors that it sees of a batch, and the loss of what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models import santini2018
from SyntheticContrastLib.models.choi2021 import Generator
from SyntheticContrastLib.models.folding import fold_in_training
from SyntheticContrastTrainingLib.batch import Batch, to_device, windowed
from SyntheticContrastTrainingLib.dataset import Pair, Stacks
from SyntheticContrastTrainingLib.heart_dataset import HeartPair, HeartSlices
from SyntheticContrastTrainingLib.losses import enhancement_weights, weighted_l1
from SyntheticContrastTrainingLib.prepared import CECT, PreparedCase
from SyntheticContrastTrainingLib.recipes import Recipe
from SyntheticContrastTrainingLib.santini_loss import SantiniLoss, parameter_groups
from SyntheticContrastTrainingLib.share_dataset import ShareStacks
from SyntheticContrastTrainingLib.share_objective import Shares


class Objective(Protocol):
    """An architecture with its loss."""

    def network(self) -> nn.Module: ...

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        """Groups for Adam."""

    def batch(self, stacks: Sequence[Pair], device: torch.device) -> Batch: ...

    def losses(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Scalars for the log, the first of them, `loss`, with gradient: the mean over the batch."""


def find_objective(recipe: Recipe) -> Objective:
    objectives = {"santini2018": Santini, "share_unet": Shares}
    return objectives.get(recipe.architecture, Choi)(recipe)  # type: ignore[return-value]


def open_stacks(folder: Path, cases: Sequence[PreparedCase], recipe: Recipe) -> Stacks:
    """What the recipe is trained on, of these cases of a prepared training set.

    Raises:
        InputError: for a case that is too small, or lacks the CECT or the chambers that the recipe needs.
    """
    if recipe.architecture == "share_unet":
        return ShareStacks.open_shares(folder, cases, recipe.depth)
    for case in cases:
        if CECT not in case.files:
            raise InputError(f"case {case.case_id} has no cect: only the recipe share learns from an NCCT alone")
    if recipe.architecture == "santini2018":
        return HeartSlices.open_hearts(folder, cases, recipe.crop, recipe.pixel_mm)
    return Stacks.open(folder, cases, recipe.depth)


class Choi:
    """Choi 2021: the 3D generator, L1 over its windows. The adversary, where there is one, comes on top."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def network(self) -> Generator:
        """In the form that is faster to train; its weights are those of the plain one."""
        recipe = self.recipe
        generator = Generator(
            gf=recipe.gf,
            depth=recipe.depth,
            norm=recipe.norm,  # type: ignore[arg-type]
            channels=len(recipe.windows),
            output=recipe.output,  # type: ignore[arg-type]
        )
        return fold_in_training(generator)

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        return [{"params": list(network.parameters())}]

    def batch(self, stacks: Sequence[Pair], device: torch.device) -> Batch:
        """`more` is the weight of each voxel, (N, 1, Z, Y, X)."""
        recipe = self.recipe
        ncct, cect = (to_device([getattr(stack, name) for stack in stacks], device) for name in ("ncct", "cect"))
        weight = enhancement_weights(cect - ncct, recipe.enhancement_hu, recipe.enhancement_weight)
        return Batch(windowed(ncct, recipe.windows), windowed(cect, recipe.windows), (weight,))

    def losses(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        l1 = weighted_l1(output, batch.target, *batch.more)
        return {"loss": self.recipe.l1_weight * l1, "l1": l1.detach()}


class Santini:
    """Santini 2018: the 2D network, RMSE and soft-threshold BCE within the heart mask."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.loss = SantiniLoss(
            alpha=recipe.rmse_weight,
            beta=recipe.bce_weight,
            weight_decay=recipe.weight_decay,
            soft_threshold_hu=recipe.soft_threshold_hu,
            soft_threshold_width_hu=recipe.soft_threshold_width_hu,
            bce_reduction=recipe.bce_reduction,  # type: ignore[arg-type]
            window=recipe.windows[0],
        )

    def network(self) -> santini2018.Network:
        return santini2018.Network(self.recipe.widths, channels=1)

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        return parameter_groups(network, self.recipe.weight_decay)

    def batch(self, stacks: Sequence[Pair], device: torch.device) -> Batch:
        """`more` is chambers and heart mask, (N, 1, Y, X), 1 within them."""
        assert all(isinstance(stack, HeartPair) for stack in stacks)
        ncct, cect, chambers, heart = (
            to_device([getattr(stack, name) for stack in stacks], device)[:, :, 0]
            for name in ("ncct", "cect", "chambers", "heart")
        )
        windows = self.recipe.windows
        return Batch(windowed(ncct, windows), windowed(cect, windows), (chambers, heart))

    def losses(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        terms = self.loss(output, batch.target, *batch.more)
        return {"loss": terms.total, "rmse": terms.rmse, "bce": terms.bce}

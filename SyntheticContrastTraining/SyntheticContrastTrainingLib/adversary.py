"""The discriminator's side of a training step (Choi 2021, Methods; pix2pix)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from SyntheticContrastLib.models.choi2021 import Discriminator
from SyntheticContrastTrainingLib.distributed import Crew
from SyntheticContrastTrainingLib.learner import Learner
from SyntheticContrastTrainingLib.losses import fooled, judged_fake, judged_real
from SyntheticContrastTrainingLib.precision import mixed_precision
from SyntheticContrastTrainingLib.recipes import Recipe

_LABELS = 2  # of random numbers, beside those of the dataset


class Adversary:
    """A discriminator that learns, and the loss with which it teaches the generator."""

    def __init__(self, recipe: Recipe, device: torch.device, crew: Crew) -> None:
        self.recipe = recipe
        self.device = device
        network = build_discriminator(recipe)
        self.learner = Learner(network, [{"params": list(network.parameters())}], recipe, device, crew)

    def update(
        self, pairs: Sequence[tuple[Tensor, Tensor]], fakes: Sequence[Tensor], learning_rate: float
    ) -> tuple[float, float]:
        """Learn to tell targets from outputs; returns the losses on real and on fake pairs.

        Args:
            pairs: (input, target) of each part of the batch, (N, C, Z, Y, X).
            fakes: the generator's outputs for them, without gradient.
        """
        parts, kind = len(pairs), self.recipe.gan_loss
        real_loss = fake_loss = 0.0
        # In two updates each loss counts whole, in one their mean: Adam does not see the difference in size.
        share = (1.0 if self.recipe.separate_updates else 0.5) / parts
        for source, target in pairs:
            logits = self.judge(target, source)
            loss = judged_real(kind, logits, self.real_label(logits, self.recipe.drawn_labels, one_sided=True))
            self.learner.learn(loss * share)
            real_loss += float(loss.detach()) / parts
        if self.recipe.separate_updates:
            self.learner.update(learning_rate)
        for (source, _), fake in zip(pairs, fakes, strict=True):
            loss = judged_fake(kind, self.judge(fake, source))
            self.learner.learn(loss * share)
            fake_loss += float(loss.detach()) / parts
        self.learner.update(learning_rate)
        return real_loss, fake_loss

    def teach(self, source: Tensor, output: Tensor) -> Tensor:
        """The generator's adversarial loss; the discriminator gets no gradients from it."""
        self.learner.network.requires_grad_(False)
        logits = self.judge(output, source)
        self.learner.network.requires_grad_(True)
        return fooled(self.recipe.gan_loss, logits, self.real_label(logits, self.recipe.drawn_labels, one_sided=False))

    def judge(self, image: Tensor, source: Tensor) -> Tensor:
        with mixed_precision(self.recipe, self.device):
            logits = self.learner.network(image, source)
        return logits.float()

    def real_label(self, logits: Tensor, drawn: bool, one_sided: bool) -> Tensor | float:
        """What the discriminator should say of a real pair.

        One-sided smoothing: 1 - label_smoothing for the discriminator, 1 for the generator. Drawn, as the public code
        does: 1 - label_smoothing x U for each patch, U uniform in [0, 1) and always the same, for both.
        """
        if drawn:
            uniform = np.random.default_rng([self.recipe.seed, _LABELS]).random(logits.shape[1:], np.float32)
            return 1 - self.recipe.label_smoothing * torch.from_numpy(uniform).to(logits.device)
        return 1 - self.recipe.label_smoothing if one_sided else 1.0


def build_discriminator(recipe: Recipe) -> nn.Module:
    network = Discriminator(df=recipe.df, depth=recipe.depth, norm=recipe.norm, channels=len(recipe.windows))  # type: ignore[arg-type]
    if recipe.spectral_norm:
        for convolution in [module for module in network.modules() if isinstance(module, nn.Conv3d)]:
            spectral_norm(convolution)
    return network

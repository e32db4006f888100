"""One training step: the networks, what changes their weights, and the step they have reached."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models.choi2021 import Generator
from SyntheticContrastLib.models.folding import fold_in_training
from SyntheticContrastTrainingLib.adversary import Adversary, autocast
from SyntheticContrastTrainingLib.checkpoint import Checkpoint
from SyntheticContrastTrainingLib.dataset import Pair, Stacks
from SyntheticContrastTrainingLib.distributed import Crew
from SyntheticContrastTrainingLib.learner import Learner
from SyntheticContrastTrainingLib.losses import enhancement_weights, weighted_l1
from SyntheticContrastTrainingLib.plan import Plan
from SyntheticContrastTrainingLib.recipes import Recipe


def build_generator(recipe: Recipe) -> Generator:
    """In the form that is faster to train; its weights are those of the plain one."""
    generator = Generator(
        gf=recipe.gf,
        depth=recipe.depth,
        norm=recipe.norm,  # type: ignore[arg-type]
        channels=len(recipe.windows),
        output=recipe.output,  # type: ignore[arg-type]
    )
    return fold_in_training(generator)


@dataclass(frozen=True)
class Part:
    """A part of a batch: input and target (N, C, Z, Y, X) in [-1, 1], and the weight of each voxel (N, 1, Z, Y, X)."""

    source: Tensor
    target: Tensor
    weight: Tensor


class Trainer:
    """A run: its networks, and the step it has reached.

    Args:
        data: what the run is trained on, kept in its checkpoints.
        crew: the processes that share each batch.
    """

    def __init__(
        self, recipe: Recipe, stacks: Stacks, data: dict[str, Any], device: str = "cpu", crew: Crew | None = None
    ) -> None:
        self.recipe = recipe
        self.stacks = stacks
        self.data = data
        self.device = torch.device(device)
        self.crew = crew or Crew()
        self.plan = Plan(recipe, len(stacks))
        self.share = self.crew.share(recipe.batch_size)
        if len(self.share) % recipe.accumulation:
            raise InputError(f"a process's {len(self.share)} stacks of a batch cannot be split in accumulation parts")
        torch.manual_seed(recipe.seed)
        self.learner = Learner(build_generator(recipe), recipe, self.device, self.crew)
        self.generator = self.learner.network
        self.ema = build_generator(recipe).to(self.device).requires_grad_(False)
        self.ema.load_state_dict(self.generator.state_dict())
        self.adversary = Adversary(recipe, self.device, self.crew) if recipe.adversarial else None
        self.step = 0
        self.seconds = 0.0
        self.best_psnr: float | None = None
        self.validation: dict[str, float] | None = None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint was saved.

        Raises:
            InputError: if it was made with another recipe or on other data.
        """
        if checkpoint.recipe != self.recipe:
            raise InputError("the run was started with another recipe: resume it with the same settings")
        if checkpoint.data != self.data:
            raise InputError("the run was started on other data: resume it with the same --data")
        self.learner.restore(checkpoint.generator)
        if self.adversary and checkpoint.discriminator:
            self.adversary.learner.restore(checkpoint.discriminator)
        self.ema.load_state_dict(checkpoint.ema)
        torch.set_rng_state(checkpoint.torch_rng)
        if self.device.type == "cuda" and checkpoint.cuda_rng is not None:
            torch.cuda.set_rng_state(checkpoint.cuda_rng, self.device)
        self.step, self.seconds = checkpoint.step, checkpoint.seconds
        self.best_psnr, self.validation = checkpoint.best_psnr, checkpoint.validation

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            step=self.step,
            recipe=self.recipe,
            generator=self.learner.state(),
            discriminator=self.adversary.learner.state() if self.adversary else None,
            ema=self.ema.state_dict(),
            torch_rng=torch.get_rng_state(),
            cuda_rng=torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            data=self.data,
            best_psnr=self.best_psnr,
            validation=self.validation,
            seconds=self.seconds,
        )

    def read(self, step: int) -> list[Pair]:
        """This process's share of the batch of a step."""
        first, crop = step * self.recipe.batch_size, self.plan.crop(step)
        return [self.stacks.draw(self.recipe, first + place, crop) for place in self.share]

    def train_step(self, stacks: list[Pair] | None = None) -> dict[str, float]:
        """One step on the data of this step, read here or given; returns its losses, means over the whole batch.

        Each part of a batch is as large as the others, so means of their losses are those of the batch.

        Raises:
            InputError: if a loss is no number.
        """
        stacks = self.read(self.step) if stacks is None else stacks
        size = len(stacks) // self.recipe.accumulation
        parts = [self.tensors(stacks[first : first + size]) for first in range(0, len(stacks), size)]
        rate = self.plan.learning_rate(self.step)
        losses = dict.fromkeys(("loss", "l1"), 0.0)
        # The discriminator learns from all parts before the generator does. Only one part's graph fits in the memory
        # that accumulation is there to save, so with several the generator runs again.
        once = len(parts) == 1
        outputs: list[Tensor] = []
        if self.adversary:
            with torch.set_grad_enabled(once):
                outputs = [self.generate(part.source) for part in parts]
            pairs = [(part.source, part.target) for part in parts]
            real, fake = self.adversary.update(pairs, [output.detach() for output in outputs], rate)
            losses |= {"gan": 0.0, "discriminator_real": real, "discriminator_fake": fake}
        for number, part in enumerate(parts):
            output = outputs[number] if self.adversary and once else self.generate(part.source)
            l1 = weighted_l1(output, part.target, part.weight)
            loss = self.recipe.l1_weight * l1
            if self.adversary:
                gan = self.adversary.teach(part.source, output)
                loss = loss + self.recipe.gan_weight * gan
                losses["gan"] += float(gan.detach()) / len(parts)
            losses["l1"] += float(l1.detach()) / len(parts)
            losses["loss"] += float(loss.detach()) / len(parts)
            self.learner.learn(loss / len(parts))
        losses = self.checked(losses)
        self.learner.update(rate)
        self.step += 1
        self.update_ema()
        return losses

    def generate(self, source: Tensor) -> Tensor:
        with autocast(self.recipe, self.device):
            output = self.generator(source)
        return output.float()

    def checked(self, losses: dict[str, float]) -> dict[str, float]:
        """The means over the processes: all of them see the same, and stop together."""
        means = self.crew.average(torch.tensor(list(losses.values()), device=self.device)).tolist()
        for name, value in zip(losses, means, strict=True):
            if not math.isfinite(value):
                raise InputError(
                    f"the {'loss' if name == 'loss' else f'loss {name}'} is {value} at step {self.step}: "
                    "the last checkpoint is kept; start again from it with a lower learning_rate or precision=fp32"
                )
        return dict(zip(losses, means, strict=True))

    def tensors(self, stacks: list[Pair]) -> Part:
        ncct, cect = (
            torch.from_numpy(np.stack(volumes)).to(self.device).float()[:, None]
            for volumes in ([stack.ncct for stack in stacks], [stack.cect for stack in stacks])
        )
        recipe = self.recipe
        return Part(
            windowed(ncct, recipe.windows),
            windowed(cect, recipe.windows),
            enhancement_weights(cect - ncct, recipe.enhancement_hu, recipe.enhancement_weight),
        )

    @torch.no_grad()
    def update_ema(self) -> None:
        # Shorter memory at first, so that the average does not drag the random start along.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)


def windowed(hu: Tensor, windows: tuple[tuple[float, float], ...]) -> Tensor:
    """(N, 1, Z, Y, X) HU to (N, C, Z, Y, X) in [-1, 1]: `to_windows`, on the device of the tensor."""
    return torch.cat([((hu - level) / (width / 2)).clamp(-1, 1) for width, level in windows], dim=1)

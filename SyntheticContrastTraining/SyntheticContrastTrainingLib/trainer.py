"""One training step: the networks, what changes their weights, and the step they have reached."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.adversary import Adversary
from SyntheticContrastTrainingLib.checkpoint import Checkpoint
from SyntheticContrastTrainingLib.dataset import Pair, Stacks
from SyntheticContrastTrainingLib.distributed import Crew
from SyntheticContrastTrainingLib.learner import Learner
from SyntheticContrastTrainingLib.objectives import find_objective
from SyntheticContrastTrainingLib.plan import Plan
from SyntheticContrastTrainingLib.precision import mixed_precision
from SyntheticContrastTrainingLib.recipes import Recipe


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
        self.objective = find_objective(recipe)
        network = self.objective.network()
        self.learner = Learner(network, self.objective.parameters(network), recipe, self.device, self.crew)
        self.generator = self.learner.network
        self.ema = self.objective.network().to(self.device).requires_grad_(False)
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
        parts = [
            self.objective.batch(stacks[first : first + size], self.device) for first in range(0, len(stacks), size)
        ]
        rate = self.plan.learning_rate(self.step)
        losses: dict[str, float] = {}
        judged: dict[str, float] = {}
        # The discriminator learns from all parts before the generator does. Only one part's graph fits in the memory
        # that accumulation is there to save, so with several the generator runs again.
        once = len(parts) == 1
        outputs: list[Tensor] = []
        if self.adversary:
            with torch.set_grad_enabled(once):
                outputs = [self.generate(part.source) for part in parts]
            pairs = [(part.source, part.target) for part in parts]
            real, fake = self.adversary.update(pairs, [output.detach() for output in outputs], rate)
            judged = {"discriminator_real": real, "discriminator_fake": fake}
        for number, part in enumerate(parts):
            output = outputs[number] if self.adversary and once else self.generate(part.source)
            terms = self.objective.losses(output, part)
            if self.adversary:
                gan = self.adversary.teach(part.source, output)
                terms["loss"] = terms["loss"] + self.recipe.gan_weight * gan
                terms["gan"] = gan.detach()
            self.learner.learn(terms["loss"] / len(parts))
            for name, value in terms.items():
                losses[name] = losses.get(name, 0.0) + float(value.detach()) / len(parts)
        losses = self.checked(losses | judged)
        self.learner.update(rate)
        self.step += 1
        self.update_ema()
        return losses

    def generate(self, source: Tensor) -> Tensor:
        with mixed_precision(self.recipe, self.device):
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

    @torch.no_grad()
    def update_ema(self) -> None:
        # Shorter memory at first, so that the average does not drag the random start along.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
        for kept, counted in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            kept.copy_(counted)

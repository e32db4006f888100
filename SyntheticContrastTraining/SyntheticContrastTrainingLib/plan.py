"""What a recipe means on a training set: how many steps, and what each of them sees and how fast it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass

from SyntheticContrastTrainingLib.recipes import Recipe


@dataclass(frozen=True)
class Plan:
    """The steps of a run, counted from 0, on a training set of `stacks` stacks.

    Step s sees the stacks s B to (s + 1) B - 1 of an endless stream, B being the batch size; each epoch of the stream
    holds every stack once. Where B does not divide the stacks of all epochs, the last step borrows from an epoch more.
    """

    recipe: Recipe
    stacks: int

    @property
    def first_steps(self) -> int:
        """Steps on crops of `crop`."""
        return self.recipe.steps or math.ceil(self.recipe.epochs * self.stacks / self.recipe.batch_size)

    @property
    def total_steps(self) -> int:
        return self.first_steps + self.recipe.final_steps

    def crop(self, step: int) -> int:
        return self.recipe.crop if step < self.first_steps else self.recipe.final_crop

    def epoch(self, step: int) -> int:
        """The epoch that the first stack of this step belongs to, counted from 0."""
        return step * self.recipe.batch_size // self.stacks

    def learning_rate(self, step: int) -> float:
        """Of both networks; in the first `warm_up` steps a growing part of it.

        constant  learning_rate
        cosine    half a cosine from learning_rate at step 0 to final_learning_rate at the last step
        step      learning_rate x decay from epoch decay_epoch on (Choi 2021)
        inverse   learning_rate / (1 + decay (epoch - decay_epoch)) from there on (the public code of Choi 2021)
        """
        part = min(1.0, (step + 1) / self.recipe.warm_up) if self.recipe.warm_up else 1.0
        return part * self._scheduled(step)

    def _scheduled(self, step: int) -> float:
        recipe = self.recipe
        late = max(0, self.epoch(step) - recipe.decay_epoch)
        match recipe.schedule:
            case "cosine":
                part = 0.5 + 0.5 * math.cos(math.pi * step / max(1, self.total_steps - 1))
                return recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * part
            case "step":
                return recipe.learning_rate * (recipe.decay if self.epoch(step) >= recipe.decay_epoch else 1.0)
            case "inverse":
                return recipe.learning_rate / (1 + recipe.decay * late)
        return recipe.learning_rate

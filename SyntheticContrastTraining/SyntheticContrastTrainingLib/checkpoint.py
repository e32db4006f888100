"""Checkpoints: everything that a run needs to go on, in one file that `torch.load(weights_only=True)` reads."""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.recipes import Recipe

FORMAT_VERSION = 1
LAST = "last.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps. Which data a step sees follows from the recipe's seed and the step."""

    step: int
    recipe: Recipe
    generator: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimiser: dict[str, Any]
    torch_rng: Tensor
    data: dict[str, Any]  # what the run was trained on: `cases`, `simulated`, `slices`
    seconds: float  # spent training so far

    def save(self, path: Path) -> None:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["recipe"] = self.recipe.to_json()
        with atomic_file(path) as temporary:
            torch.save({"format_version": FORMAT_VERSION, **fields}, temporary)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        InputError: if it is missing, damaged or of another version.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    try:
        fields = torch.load(path, map_location="cpu", weights_only=True)
        version = fields.pop("format_version")
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is damaged or is no checkpoint of this program") from error
    if version != FORMAT_VERSION:
        raise InputError(f"{path} has format version {version}, not {FORMAT_VERSION}")
    recipe = Recipe.from_json(fields.pop("recipe"))
    return Checkpoint(recipe=recipe, **fields)

"""Checkpoints: everything that a run needs to go on, in one file that `torch.load(weights_only=True)` reads.

A run's folder holds `last.pt`, the one before it as `previous.pt`, `best.pt` by the validation, and `epoch_<n>.pt`.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.recipes import Recipe

FORMAT_VERSION = 2
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps. Which data a step sees follows from the recipe's seed and the step.

    `generator` and `discriminator` are the state of a `Learner`: network, optimiser and loss scaling; `discriminator`
    is None where the recipe has none. `ema` is the model.
    """

    step: int
    recipe: Recipe
    generator: dict[str, Any]
    discriminator: dict[str, Any] | None
    ema: dict[str, Tensor]
    torch_rng: Tensor
    cuda_rng: Tensor | None
    data: dict[str, Any]  # what the run was trained on: `cases`, `simulated`, `slices`, `files`, `validation`
    best_psnr: float | None  # dB, the highest of the validations so far
    validation: dict[str, float] | None  # the last one
    seconds: float  # spent training so far

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            InputError: when the disk does not take it; what had the name before is still there.
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["recipe"] = self.recipe.to_json()
        try:
            with atomic_file(path) as temporary:
                torch.save({"format_version": FORMAT_VERSION, **fields}, temporary)
                _to_disk(temporary)
        except (OSError, RuntimeError) as error:  # PyTorch's writer says the latter
            raise InputError(
                f"step {self.step}: the checkpoint could not be written ({str(error).splitlines()[0]}): "
                "the one before it is kept; free some disk space and go on with --resume"
            ) from error

    def save_last(self, folder: Path) -> None:
        """Write `last.pt`; the one that was there becomes `previous.pt` once the new one is whole.

        Killed at any moment, `last.pt` or `previous.pt` is whole.
        """
        fresh = folder / "next.pt"
        self.save(fresh)
        if (folder / LAST).exists():
            (folder / LAST).replace(folder / PREVIOUS)
        fresh.replace(folder / LAST)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        InputError: if it is missing, damaged or of another version.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # PyTorch itself does not look at the checksums
                raise ValueError("wrong checksum")
        fields = torch.load(path, map_location="cpu", weights_only=True)
        version = fields.pop("format_version")
    except (
        RuntimeError,
        OSError,
        EOFError,
        KeyError,
        ValueError,
        AttributeError,
        NotImplementedError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(f"{path} is damaged or is no checkpoint of this program") from error
    if version != FORMAT_VERSION:
        raise InputError(f"{path} has format version {version}, not {FORMAT_VERSION}")
    recipe = Recipe.from_json(fields.pop("recipe"))
    return Checkpoint(recipe=recipe, **fields)


def load_latest(folder: Path, tell: Callable[[str], None]) -> Checkpoint:
    """`last.pt`, or `previous.pt` where the last one is damaged or was being replaced.

    Raises:
        InputError: when neither can be read.
    """
    try:
        return load_checkpoint(folder / LAST)
    except InputError as error:
        if not (folder / PREVIOUS).exists():
            raise
        checkpoint = load_checkpoint(folder / PREVIOUS)
        tell(f"{error}: going on from {PREVIOUS}, step {checkpoint.step}")
        return checkpoint


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())

"""The card of a trained model, filled in from its run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models.bundle import Card
from SyntheticContrastTrainingLib.checkpoint import Checkpoint

ABOUT_FIELDS = ("name", "description", "training_data", "figures", "intended_use", "licence")


def read_about(path: Path) -> dict[str, Any]:
    """Fields of a card that a run cannot know.

    Raises:
        InputError: for a file that is no JSON object, or a field that is not among them.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error})") from error
    if not isinstance(about, dict):
        raise InputError(f"{path} is not a JSON object")
    if unknown := sorted(about.keys() - set(ABOUT_FIELDS)):
        raise InputError(f"{path}: {unknown[0]} cannot be given, only {', '.join(ABOUT_FIELDS)}")
    return about


def build_card(checkpoint: Checkpoint, name: str, about: dict[str, Any]) -> Card:
    """A card for the averaged weights of `checkpoint`; `about` replaces the fields it names."""
    recipe, data = checkpoint.recipe, checkpoint.data
    trained = f"Trained with recipe {recipe.name} for {checkpoint.step} steps on {data['cases']} cases"
    if data["simulated"]:
        trained += f", {data['simulated']} of them with a simulated VNC as input"
    figures: dict[str, Any] = {}
    if checkpoint.validation:
        measured = {name: round(value, 2) for name, value in checkpoint.validation.items()}
        figures = {f"validation, {len(data['validation'])} cases, window 350/50 (HU, dB)": measured}
    fields: dict[str, Any] = {
        "name": name,
        "description": f"{trained}.",
        "training_data": [
            {"name": "not stated", "cases": data["cases"], "simulated": data["simulated"], "licence": "not stated"}
        ],
        "figures": figures,
        "intended_use": "Research only, not for diagnosis.",
        "licence": "not stated",
    } | about
    return Card(
        architecture=recipe.architecture,
        architecture_arguments={
            "gf": recipe.gf,
            "depth": recipe.depth,
            "norm": recipe.norm,
            "channels": len(recipe.windows),
        },
        input_windows=recipe.windows,
        output_window=recipe.windows[0],
        patch_depth=recipe.depth,
        slice_order="superior-to-inferior",
        recipe=recipe.name,
        **(fields | {"training_data": tuple(fields["training_data"])}),
    )

"""The card of a trained or imported model, filled in from what is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models.bundle import Card
from SyntheticContrastTrainingLib.checkpoint import Checkpoint
from SyntheticContrastTrainingLib.recipes import CHOI_WINDOWS

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
    source = {"name": "not stated", "cases": data["cases"], "simulated": data["simulated"], "licence": "not stated"}
    arguments = {"gf": recipe.gf, "depth": recipe.depth, "norm": recipe.norm, "channels": len(recipe.windows)}
    if recipe.output != "plain":
        arguments["output"] = recipe.output
    return _card(name, f"{trained}.", source, figures, arguments, recipe.windows, recipe.name, about)


def build_imported_card(arguments: dict[str, Any], name: str, about: dict[str, Any]) -> Card:
    """A card for weights imported from the public Keras code of Choi 2021; `arguments` rebuild its generator."""
    source = {"name": "not stated", "licence": "not stated"}
    description = "Imported from a weights file of the public Keras code of Choi 2021 (pix2pix3D-CT)."
    return _card(name, description, source, {}, arguments, CHOI_WINDOWS, "choi2021-code", about)


def _card(
    name: str,
    description: str,
    source: dict[str, Any],
    figures: dict[str, Any],
    arguments: dict[str, Any],
    windows: tuple[tuple[float, float], ...],
    recipe: str,
    about: dict[str, Any],
) -> Card:
    fields: dict[str, Any] = {
        "name": name,
        "description": description,
        "training_data": [source],
        "figures": figures,
        "intended_use": "Research only, not for diagnosis.",
        "licence": "not stated",
    } | about
    return Card(
        architecture="choi2021",
        architecture_arguments=arguments,
        input_windows=windows,
        output_window=windows[0],
        patch_depth=arguments["depth"],
        slice_order="superior-to-inferior",
        recipe=recipe,
        **(fields | {"training_data": tuple(fields["training_data"])}),
    )

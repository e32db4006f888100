"""The card of a trained or imported model, filled in from what is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models.bundle import Card
from SyntheticContrastLib.models.santini2018 import Network, fold_for_inference
from SyntheticContrastTrainingLib.checkpoint import Checkpoint
from SyntheticContrastTrainingLib.objectives import find_objective
from SyntheticContrastTrainingLib.recipes import CHOI_WINDOWS, Recipe

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
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error})") from error
    if not isinstance(about, dict):
        raise InputError(f"{path} is not a JSON object")
    if unknown := sorted(about.keys() - set(ABOUT_FIELDS)):
        raise InputError(f"{path}: {unknown[0]} cannot be given, only {', '.join(ABOUT_FIELDS)}")
    return about


def trained_network(checkpoint: Checkpoint) -> nn.Module:
    """The averaged weights of `checkpoint` in the network that the bundle's card describes."""
    network = find_objective(checkpoint.recipe).network()
    network.load_state_dict(checkpoint.ema)
    return fold_for_inference(network) if isinstance(network, Network) else network


def build_card(checkpoint: Checkpoint, name: str, about: dict[str, Any]) -> Card:
    """A card for the averaged weights of `checkpoint`; `about` replaces the fields it names."""
    recipe, data = checkpoint.recipe, checkpoint.data
    trained = f"Trained with recipe {recipe.name} for {checkpoint.step} steps on {data['cases']} cases"
    if data["simulated"]:
        trained += f", {data['simulated']} of them with a simulated VNC as input"
    if "start" in data:
        trained += f", beginning with the weights of sha256 {data['start']}"
    figures: dict[str, Any] = {}
    if checkpoint.validation:
        measured = {name: round(value, 2) for name, value in checkpoint.validation.items()}
        figures = {f"validation, {len(data['validation'])} cases, window 350/50 (HU, dB)": measured}
    source = {"name": "not stated", "cases": data["cases"], "simulated": data["simulated"], "licence": "not stated"}
    fields = network_fields(recipe) | {"recipe": recipe.name}
    return _card(name, f"{trained}.", source, figures, recipe.windows, fields, about)


def network_fields(recipe: Recipe) -> dict[str, Any]:
    """The fields of a card that describe the network which a recipe trains."""
    if recipe.architecture == "santini2018":
        arguments: dict[str, Any] = {"widths": list(recipe.widths), "channels": 1, "batch_norm": False}
        more = {"patch_depth": 1, "crop": recipe.crop, "pixel_mm": recipe.pixel_mm}
    elif recipe.architecture == "share_unet":
        arguments = {"widths": list(recipe.widths), "channels": len(recipe.windows)}
        more = {"patch_depth": recipe.depth}
    else:
        arguments = {"gf": recipe.gf, "depth": recipe.depth, "norm": recipe.norm, "channels": len(recipe.windows)}
        more = {"patch_depth": recipe.depth}
        if recipe.output != "plain":
            arguments["output"] = recipe.output
    return {"architecture": recipe.architecture, "architecture_arguments": arguments} | more


def build_imported_card(arguments: dict[str, Any], name: str, about: dict[str, Any]) -> Card:
    """A card for weights imported from the public Keras code of Choi 2021; `arguments` rebuild its generator."""
    source = {"name": "not stated", "licence": "not stated"}
    description = "Imported from a weights file of the public Keras code of Choi 2021 (pix2pix3D-CT)."
    fields = {
        "architecture": "choi2021",
        "architecture_arguments": arguments,
        "recipe": "choi2021-code",
        "patch_depth": arguments["depth"],
    }
    return _card(name, description, source, {}, CHOI_WINDOWS, fields, about)


def _card(
    name: str,
    description: str,
    source: dict[str, Any],
    figures: dict[str, Any],
    windows: tuple[tuple[float, float], ...],
    network: dict[str, Any],
    about: dict[str, Any],
) -> Card:
    fields: dict[str, Any] = {
        "name": name,
        "description": description,
        "training_data": [source],
        "figures": figures,
        "intended_use": "Research only, not for diagnosis.",
        "licence": "not stated",
        "input_windows": windows,
        "output_window": windows[0],
        "slice_order": "superior-to-inferior",
    }
    fields |= network | about
    return Card(**(fields | {"training_data": tuple(fields["training_data"])}))

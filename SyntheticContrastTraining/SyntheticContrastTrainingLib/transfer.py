"""Training that begins with the weights of a model bundle: a few pairs of one's own then go further."""

from __future__ import annotations

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models.bundle import Bundle
from SyntheticContrastTrainingLib.export import network_fields
from SyntheticContrastTrainingLib.recipes import Recipe
from SyntheticContrastTrainingLib.trainer import Trainer


def begin_with(trainer: Trainer, bundle: Bundle) -> None:
    """Give the generator of a new run, and its averaged weights, those of `bundle`.

    Raises:
        InputError: if the bundle's network or windows are not those of the run's recipe.
    """
    check_same_network(trainer.recipe, bundle)
    weights = bundle.load_network().state_dict()
    for network in (trainer.generator, trainer.ema):
        network.load_state_dict(weights)


def check_same_network(recipe: Recipe, bundle: Bundle) -> None:
    card = bundle.card
    wanted = network_fields(recipe)
    if card.architecture != wanted["architecture"]:
        raise InputError(f"model {card.name} is a {card.architecture}, the recipe trains a {wanted['architecture']}")
    if card.input_windows != recipe.windows:
        raise InputError(f"model {card.name} has the windows {card.input_windows}, the recipe {recipe.windows}")
    if card.heart_only:
        raise InputError(f"model {card.name} is stored without its batch norms and cannot be trained further")
    defaults = {"output": "plain"}
    has, wants = defaults | card.architecture_arguments, defaults | wanted["architecture_arguments"]
    if differing := {name: value for name, value in has.items() if wants.get(name) != value}:
        settings = " ".join(f"{name}={value}" for name, value in differing.items())
        raise InputError(f"model {card.name} is another network than the recipe's: give --set {settings}")

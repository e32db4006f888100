"""Recipes: everything that decides how a model is trained, frozen, and as JSON both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_type_hints

from SyntheticContrastLib.ct.errors import InputError

CHOI_WINDOWS = ((2000.0, 0.0), (1000.0, 200.0), (500.0, 50.0))


@dataclass(frozen=True)
class Recipe:
    """How to train. Sizes are in voxels, HU levels in HU.

    Training takes `steps` steps on in-plane crops of `crop` x `crop`, then `final_steps` on crops of `final_crop`. The
    statistics of instance norm are those of the image it sees: a model ends on what inference will show it, whole
    slices.
    """

    name: str
    architecture: str = "choi2021"
    gf: int = 64
    depth: int = 16
    norm: str = "instance"
    windows: tuple[tuple[float, float], ...] = CHOI_WINDOWS  # (width, level)
    steps: int = 20000
    crop: int = 256
    final_steps: int = 0
    final_crop: int = 512
    max_shift: int = 51  # how far a crop may reach beyond the image, which is filled with air
    batch_size: int = 1
    learning_rate: float = 2e-4
    final_learning_rate: float = 2e-5  # reached at the last step, along a cosine
    beta1: float = 0.5
    beta2: float = 0.999
    enhancement_weight: float = 1.0  # of the L1 loss where the target is enhanced
    enhancement_hu: float = 50.0  # enhanced is where |CECT - NCCT| is above this
    ema_decay: float = 0.999
    precision: str = "fp32"
    seed: int = 0

    @property
    def total_steps(self) -> int:
        return self.steps + self.final_steps

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Raises InputError: for a text that is not a recipe."""
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise InputError(f"the recipe is not JSON ({error})") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("name"), str):
            raise InputError("the recipe is not a JSON object with a name")
        return override(cls(fields.pop("name")), fields)


RECIPES = {
    # A plain U-Net regression: Choi's generator and windows without its discriminator.
    "l1": Recipe("l1", enhancement_weight=5.0),
}


def find_recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise InputError(f"there is no recipe {name!r}: use {', '.join(RECIPES)}")
    return RECIPES[name]


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """`key=value` texts to fields; a value is JSON, or else a plain text (norm=keras)."""
    fields: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise InputError(f"--set {setting}: write key=value")
        try:
            fields[key] = json.loads(text)
        except ValueError:
            fields[key] = text
    return fields


def override(recipe: Recipe, fields: dict[str, Any]) -> Recipe:
    """The recipe with other values for some of its fields.

    Raises:
        InputError: for a field that is unknown, or a value of the wrong type or out of range.
    """
    types = get_type_hints(Recipe)
    values = {}
    for key, value in fields.items():
        if key not in types or key == "name":
            known = ", ".join(field for field in types if field != "name")
            raise InputError(f"a recipe has no field {key!r} to set: use {known}")
        values[key] = _converted(key, value, types[key])
    changed = dataclasses.replace(recipe, **values)
    _check(changed)
    return changed


def _converted(key: str, value: Any, wanted: Any) -> Any:
    if key == "windows":
        try:
            return tuple((float(width), float(level)) for width, level in value)
        except (TypeError, ValueError):
            raise InputError("windows is a list of [width, level] pairs in HU") from None
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        raise InputError(f"{key} takes a value of type {wanted.__name__}, not {value!r}")
    return value


def _check(recipe: Recipe) -> None:
    smallest = 256 if recipe.norm == "instance" else 128
    depths = [2**power for power in range(1, 8)]
    sound = {
        "architecture": recipe.architecture == "choi2021",
        "gf": recipe.gf >= 1,
        "depth": recipe.depth in depths,
        "norm": recipe.norm in ("keras", "instance"),
        "windows": bool(recipe.windows) and all(width > 0 for width, _ in recipe.windows),
        "steps": recipe.steps >= 0 and recipe.total_steps >= 1,
        "crop": recipe.crop >= smallest and recipe.crop % 128 == 0,
        "final_steps": recipe.final_steps >= 0,
        "final_crop": recipe.final_crop >= smallest and recipe.final_crop % 128 == 0,
        "max_shift": recipe.max_shift >= 0,
        "batch_size": recipe.batch_size >= 1,
        "learning_rate": recipe.learning_rate > 0,
        "final_learning_rate": recipe.final_learning_rate >= 0,
        "beta1": 0 <= recipe.beta1 < 1,
        "beta2": 0 <= recipe.beta2 < 1,
        "enhancement_weight": recipe.enhancement_weight > 0,
        "enhancement_hu": recipe.enhancement_hu >= 0,
        "ema_decay": 0 <= recipe.ema_decay < 1,
        "precision": recipe.precision in ("fp32", "bf16"),
    }
    for key, good in sound.items():
        if not good:
            hint = f" (multiples of 128, at least {smallest} with norm {recipe.norm})" if "crop" in key else ""
            raise InputError(f"recipe {recipe.name}: {key} cannot be {getattr(recipe, key)!r}{hint}")

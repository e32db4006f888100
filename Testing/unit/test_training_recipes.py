"""Recipes: JSON both ways, and settings that are refused."""

import dataclasses

import pytest

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.recipes import RECIPES, Recipe, find_recipe, override, parse_settings


def changed(*settings):
    return override(find_recipe("l1"), parse_settings(settings))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_json_both_ways(recipe):
    assert Recipe.from_json(recipe.to_json()) == recipe
    other = dataclasses.replace(recipe, windows=((350.0, 50.0),), gf=3, learning_rate=1e-3)
    assert Recipe.from_json(other.to_json()) == other != recipe


def test_settings():
    recipe = changed("gf=8", "learning_rate=1", "norm=keras", "windows=[[350, 50]]")
    assert (recipe.gf, recipe.learning_rate, recipe.norm, recipe.windows) == (8, 1.0, "keras", ((350.0, 50.0),))
    assert isinstance(recipe.learning_rate, float)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("gff=8", "no field 'gff'"),
        ("name=mine", "no field 'name'"),
        ("gf", "write key=value"),
        ("gf=many", "type int"),
        ("gf=1.5", "type int"),
        ("gf=true", "type int"),
        ("gf=0", "gf cannot be 0"),
        ("depth=12", "depth cannot be 12"),
        ("norm=batch", "norm cannot be"),
        ("crop=128", "at least 256"),
        ("crop=300", "multiples of 128"),
        ("windows=[350, 50]", "list of"),
        ("steps=0", "steps cannot be 0"),
        ("ema_decay=1", "ema_decay cannot be"),
        ("learning_rate=nan", "type float"),
        ("precision=fp8", "precision cannot be"),
    ],
)
def test_settings_refused(setting, says):
    with pytest.raises(InputError, match=says):
        changed(setting)


def test_a_norm_over_everything_takes_smaller_crops():
    assert changed("norm=keras", "crop=128").crop == 128


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 3}', '{"name": "l1", "unknown": 1}'])
def test_text_that_is_no_recipe(text):
    with pytest.raises(InputError):
        Recipe.from_json(text)


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(InputError, match="use l1"):
        find_recipe("choi")

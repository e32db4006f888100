"""Recipes: what the papers say, JSON both ways, and settings that are refused."""

import dataclasses

import pytest

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.recipes import RECIPES, Recipe, find_recipe, override, parse_settings
from SyntheticContrastTrainingLib.santini_loss import PAPER_WIDTH_HU


def changed(*settings, recipe="l1"):
    return override(find_recipe(recipe), parse_settings(settings))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_json_both_ways(recipe):
    assert Recipe.from_json(recipe.to_json()) == recipe
    other = dataclasses.replace(
        recipe, windows=((350.0, 50.0),), gf=3, learning_rate=1e-3, validation=("a",), iodine=(0.5, 1.5)
    )
    assert Recipe.from_json(other.to_json()) == other != recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_sound_and_named_as_it_is_found(name):
    assert override(find_recipe(name), {}).name == name


def test_choi2021_is_the_papers():
    recipe = find_recipe("choi2021")
    assert (recipe.gf, recipe.df, recipe.depth, recipe.norm, recipe.crop) == (64, 64, 16, "instance", 512)
    assert recipe.windows == ((2000.0, 0.0), (1000.0, 200.0), (500.0, 50.0))
    assert (recipe.epochs, recipe.steps, recipe.final_steps, recipe.batch_size, recipe.max_shift) == (20, 0, 0, 1, 50)
    assert (recipe.learning_rate, recipe.beta1, recipe.schedule) == (2e-4, 0.5, "step")
    assert (recipe.decay, recipe.decay_epoch) == (0.1, 10)
    assert (recipe.l1_weight, recipe.gan_weight, recipe.gan_loss) == (100.0, 1.0, "bce")
    assert (recipe.label_smoothing, recipe.drawn_labels, recipe.separate_updates) == (0.1, False, False)
    assert recipe.validation_fraction == 0.1


@pytest.mark.parametrize("name", ["choi2021", "choi2021-code", "santini2018"])
def test_extras_are_off_in_the_papers_recipes(name):
    recipe = find_recipe(name)
    assert (recipe.enhancement_weight, recipe.ema_decay, recipe.spectral_norm) == (1.0, 0.0, False)
    assert (recipe.output, recipe.slice_mm, recipe.magnification, recipe.bend) == ("plain", 0.0, (1.0, 1.0), 0.0)
    assert (recipe.iodine, recipe.noise_hu, recipe.precision, recipe.accumulation) == ((1.0, 1.0), 0.0, "fp32", 1)


def test_santini2018_is_the_papers():
    recipe = find_recipe("santini2018")
    assert (recipe.architecture, recipe.depth, recipe.crop, recipe.windows) == (
        "santini2018",
        1,
        128,
        ((1000.0, 200.0),),
    )
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.rotation) == (800, 32, 1e-4, 25.0)
    assert (recipe.rmse_weight, recipe.bce_weight, recipe.weight_decay) == (1.0, 0.01, 0.001)
    assert (recipe.soft_threshold_hu, recipe.soft_threshold_width_hu) == (300.0, PAPER_WIDTH_HU)
    assert (recipe.magnification, recipe.bend, recipe.noise_hu, recipe.max_shift) == ((1.0, 1.0), 0.0, 0.0, 0)


def test_how_the_public_code_differs():
    paper, code = (dataclasses.asdict(find_recipe(name)) for name in ("choi2021", "choi2021-code"))
    assert {name: value for name, value in code.items() if value != paper[name]} == {
        "name": "choi2021-code",
        "norm": "keras",
        "max_shift": 51,
        "schedule": "inverse",
        "drawn_labels": True,
        "separate_updates": True,
        "validation_fraction": 0.0,
    }


def test_settings():
    recipe = changed("gf=8", "learning_rate=1", "norm=keras", "windows=[[350, 50]]", 'validation=["a"]', "iodine=[0,2]")
    assert (recipe.gf, recipe.learning_rate, recipe.norm, recipe.windows) == (8, 1.0, "keras", ((350.0, 50.0),))
    assert (recipe.validation, recipe.iodine) == (("a",), (0.0, 2.0))
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
        ("df=0", "df cannot be 0"),
        ("depth=12", "depth cannot be 12"),
        ("output=positive", "output cannot be"),
        ("widths=8", "a list of whole numbers"),
        ("widths=[8, 8]", "widths cannot be"),
        ("pixel_mm=-1", "pixel_mm cannot be"),
        ("slice_mm=-1", "slice_mm cannot be"),
        ("rotation=181", "rotation cannot be"),
        ("magnification=[0, 1]", "magnification cannot be"),
        ("magnification=1", "a pair"),
        ("bend=-1", "bend cannot be"),
        ("lesions=2", "lesions cannot be"),
        ("bce_reduction=max", "bce_reduction cannot be"),
        ("soft_threshold_width_hu=0", "soft_threshold_width_hu cannot be"),
        ("norm=batch", "norm cannot be"),
        ("crop=128", "at least 256"),
        ("crop=300", "multiples of 128"),
        ("windows=[350, 50]", "list of"),
        ("steps=0", "steps cannot be 0"),
        ("epochs=3", "epochs or steps"),
        ("batch_size=0", "batch_size cannot be 0"),
        ("accumulation=2", "divisor of batch_size"),
        ("schedule=linear", "schedule cannot be"),
        ("ema_decay=1", "ema_decay cannot be"),
        ("gan_loss=wasserstein", "gan_loss cannot be"),
        ("label_smoothing=1", "label_smoothing cannot be"),
        ("drawn_labels=1", "type bool"),
        ("iodine=[2, 1]", "iodine cannot be"),
        ("iodine=1", "a pair"),
        ("validation=a", "list of case ids"),
        ("validation_fraction=1", "validation_fraction cannot be"),
        ("learning_rate=nan", "type float"),
        ("learning_rate=Infinity", "learning_rate cannot be inf"),
        ("learning_rate=1" + "0" * 400, "type float"),
        ("soft_threshold_hu=NaN", "soft_threshold_hu cannot be nan"),
        ("iodine=[0, Infinity]", "iodine cannot be"),
        ("widths=[1e400]", "a list of whole numbers"),
        ("seed=-1", "seed cannot be -1"),
        (f"seed={2**63}", "seed cannot be"),
        ("precision=fp8", "precision cannot be"),
    ],
)
def test_settings_refused(setting, says):
    with pytest.raises(InputError, match=says):
        changed(setting)


def test_a_number_of_steps_in_place_of_epochs():
    recipe = changed("epochs=0", "steps=5", recipe="choi2021")
    assert (recipe.epochs, recipe.steps) == (0, 5)


def test_a_norm_over_everything_takes_smaller_crops():
    assert changed("norm=keras", "crop=128").crop == 128


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 3}', '{"name": "l1"}', '{"name": "l1", "unknown": 1}'])
def test_text_that_is_no_recipe(text):
    with pytest.raises(InputError):
        Recipe.from_json(text)


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(InputError, match="use choi2021, choi2021-code, santini2018, l1"):
        find_recipe("choi")


@pytest.mark.parametrize(
    "setting",
    ["depth=16", "gan_loss=bce", "output=residual", "pixel_mm=0", "slice_mm=3", "crop=100", "windows=[[1,0],[2,0]]"],
)
def test_what_the_2d_network_cannot_do(setting):
    with pytest.raises(InputError, match=f"{setting.partition('=')[0]} cannot be"):
        changed(setting, recipe="santini2018")

"""Recipes: everything that decides how a model is trained, frozen, and as JSON both ways."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_type_hints

from SyntheticContrastLib.ct.errors import InputError

SANTINI_WINDOWS = ((1000.0, 200.0),)
SHARE_WINDOWS = ((2000.0, 0.0), (500.0, 50.0), (200.0, 40.0))
CHOI_WINDOWS = ((2000.0, 0.0), (1000.0, 200.0), (500.0, 50.0))


@dataclass(frozen=True)
class Recipe:
    """How to train. Sizes are in voxels, HU levels in HU.

    A run takes `epochs` epochs, in each of which every stack of `depth` slices of every training patient is seen once,
    or, where `steps` is given instead, that many steps of the same stream of stacks. These see in-plane crops of `crop`
    x `crop`; `final_steps` more see crops of `final_crop`. The statistics of instance norm are those of the image it
    sees: a model ends on what inference will show it, whole slices.

    One step is one update of the generator, on `batch_size` stacks: that is the batch over all processes, so a recipe
    means the same on any number of them.
    """

    name: str
    architecture: str = "choi2021"  # santini2018: slices around the heart; share_unet: shares on the canonical grid
    gf: int = 64  # choi2021: filters of the first level
    df: int = 64  # and of the discriminator
    widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 512, 512)  # santini2018: filters of the encoder's layers
    depth: int = 16  # slices of a stack; santini2018: 1; share_unet: of a patch
    norm: str = "instance"  # choi2021: instance or keras
    output: str = "plain"  # or residual: the network gives what is added to its input
    windows: tuple[tuple[float, float], ...] = CHOI_WINDOWS  # (width, level)

    epochs: int = 0
    steps: int = 0
    crop: int = 512
    final_steps: int = 0
    final_crop: int = 512
    max_shift: int = 50  # how far a crop may reach beyond the image, which is filled with air
    pixel_mm: float = 0.0  # every slice is resampled to this pixel size; 0: as it is
    slice_mm: float = 0.0  # neighbouring slices are averaged, at random, to slices up to this thick; 0: as they are
    rotation: float = 0.0  # in plane, degrees to either side
    magnification: tuple[float, float] = (1.0, 1.0)  # range, in plane
    bend: float = 0.0  # standard deviation, in voxels, of smooth random displacements in plane; share_unet: mm, in 3D
    lesions: float = 0.0  # share of the stacks that get made-up masses and effusions in the lungs
    iodine: tuple[float, float] = (1.0, 1.0)  # range of s: the target is NCCT + s (CECT - NCCT)
    blood_hu: float = 0.0  # blood's level in the target, whose iodine is scaled, where VNCs are simulated; 0: as it is
    noise_hu: float = 0.0  # the same noise on input and target, its standard deviation drawn up to this
    validation_fraction: float = 0.1  # of the patients
    validation: tuple[str, ...] = ()  # or these cases, with all other cases of their patients

    batch_size: int = 1
    accumulation: int = 1  # parts in which a process computes its share of a batch, to save memory
    learning_rate: float = 2e-4
    schedule: str = "constant"  # constant, cosine, step or inverse
    final_learning_rate: float = 0.0  # of schedule cosine, reached at the last step
    warm_up: int = 0  # steps in which the rate rises to the schedule's
    clip_norm: float = 0.0  # longest gradient of a network; 0: any
    decay: float = 0.1  # of schedules step and inverse
    decay_epoch: int = 10  # first epoch, counted from 0, with a lower rate
    beta1: float = 0.5
    beta2: float = 0.999

    l1_weight: float = 1.0
    enhancement_weight: float = 1.0  # of the L1 loss where the target is enhanced
    enhancement_hu: float = 50.0  # enhanced is where |CECT - NCCT| is above this
    dice_weight: float = 0.5  # share_unet: of the soft Dice loss of blood
    rmse_weight: float = 1.0  # santini2018: alpha of Eq. 1
    bce_weight: float = 0.01  # beta
    weight_decay: float = 0.001  # lambda
    soft_threshold_hu: float = 300.0  # vth: the left chambers are above it
    soft_threshold_width_hu: float = 2 * math.log(9) / 10 * 500  # over which sig rises from 0.1 to 0.9
    bce_reduction: str = "mean"  # or sum, over the heart mask
    gan_loss: str = "none"  # none, bce, least_squares or hinge
    gan_weight: float = 1.0
    label_smoothing: float = 0.0
    drawn_labels: bool = False  # real is 1 - label_smoothing x U, drawn once, for both networks; else one-sided
    separate_updates: bool = False  # the discriminator is updated on real, then again on fake
    spectral_norm: bool = False  # of the discriminator's convolutions

    ema_decay: float = 0.0  # 0: the model is the generator as it is
    precision: str = "fp32"
    seed: int = 0

    @property
    def adversarial(self) -> bool:
        return self.gan_loss != "none"

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Raises InputError: for a text that is not a recipe."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the recipe is not JSON ({error})") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("name"), str):
            raise InputError("the recipe is not a JSON object with a name")
        return override(cls(fields.pop("name")), fields)


_CHOI_2021 = Recipe(
    "choi2021",
    epochs=20,
    schedule="step",
    l1_weight=100.0,
    gan_loss="bce",
    label_smoothing=0.1,
)

RECIPES = {
    # Choi 2021, "Training the deep learning model". "A decay rate of 0.1 after the first 10 epochs" is read as a rate
    # 10 times lower from then on; one-sided label smoothing as 0.9 for real pairs, in the discriminator's loss only.
    "choi2021": _CHOI_2021,
    # What the authors' public code does otherwise: statistics over all channels, a shift of a tenth of 512 pixels, a
    # rate that falls as 1 / (1 + 0.1 n), labels drawn once, which the generator aims at as well, and two updates of
    # the discriminator a step. Its three losses share one Adam, that is one count of steps for the bias correction:
    # that only makes the first some hundred updates up to 1.7 times larger, and is not done here.
    "choi2021-code": dataclasses.replace(
        _CHOI_2021,
        name="choi2021-code",
        norm="keras",
        max_shift=51,
        schedule="inverse",
        drawn_labels=True,
        separate_updates=True,
        validation_fraction=0.0,
    ),
    # Santini 2018, section 2.3 and 2.4: 128 x 128 pixels of a field of view of 200 mm (the paper does not say how large
    # it is) around the heart, of the slices that show the left chambers.
    "santini2018": Recipe(
        "santini2018",
        architecture="santini2018",
        depth=1,
        windows=SANTINI_WINDOWS,
        epochs=800,
        crop=128,
        final_crop=128,
        max_shift=0,
        pixel_mm=200 / 128,
        rotation=25.0,
        batch_size=32,
        learning_rate=1e-4,
        beta1=0.9,
    ),
    # Choi's generator without its discriminator, for few patients: it learns what contrast adds (residual) on most of a
    # slice, with made-up variety. Of a patient left out of three, 900 such steps on plain crops of 256 lost 3 dB to its
    # own input; these gained 2.
    "l1": Recipe(
        "l1",
        output="residual",
        steps=20000,
        crop=384,
        max_shift=20,
        pixel_mm=0.85,
        slice_mm=5.5,
        rotation=12.0,
        magnification=(0.8, 1.25),
        bend=6.0,
        noise_hu=12.0,
        lesions=0.5,
        blood_hu=350.0,
        learning_rate=3e-4,
        schedule="cosine",
        final_learning_rate=2e-5,
        enhancement_weight=2.0,
        ema_decay=0.998,
    ),
    # What ships: not HU but the share of the patient's contrast, on the canonical grid. Real pairs, pairs with a
    # simulated VNC and CTs without a partner train together.
    "share": Recipe(
        "share",
        architecture="share_unet",
        widths=(16, 32, 64, 128, 192),
        depth=24,
        crop=144,
        final_crop=144,
        windows=SHARE_WINDOWS,
        steps=4000,
        max_shift=0,
        rotation=12.0,
        magnification=(0.82, 1.22),
        bend=5.0,
        noise_hu=14.0,
        lesions=0.35,
        learning_rate=1e-3,
        schedule="cosine",
        final_learning_rate=2e-5,
        warm_up=50,
        clip_norm=1.0,
        beta1=0.9,
        l1_weight=5.0,
        enhancement_weight=3.0,
        ema_decay=0.995,
        precision="bf16",
    ),
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
        except (ValueError, RecursionError):
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
    try:
        if key == "widths":
            return tuple(int(width) for width in value)
        if key == "windows":
            return tuple((float(width), float(level)) for width, level in value)
        if key in ("iodine", "magnification"):
            low, high = value
            return float(low), float(high)
    except (TypeError, ValueError, OverflowError):
        kinds = {"windows": "a list of [width, level] pairs in HU", "widths": "a list of whole numbers"}
        raise InputError(f"{key} is {kinds.get(key, 'a pair [lowest, highest]')}") from None
    if key == "validation":
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise InputError('validation is a list of case ids: ["a", "b"]')
        return tuple(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return float(value)
    if type(value) is not wanted:
        raise InputError(f"{key} takes a value of type {wanted.__name__}, not {value!r}")
    return value


def _is_finite(value: Any) -> bool:
    """Of a number, or all numbers in tuples of tuples; JSON lets NaN and Infinity pass."""
    if isinstance(value, tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _check(recipe: Recipe) -> None:
    flat, shares = (recipe.architecture == name for name in ("santini2018", "share_unet"))
    smallest = 16 if flat or shares else 256 if recipe.norm == "instance" else 128
    multiple = 16 if flat or shares else 128
    depths = [1] if flat else list(range(8, 129, 8)) if shares else [2**power for power in range(1, 8)]
    plain, no_gan = ("plain",), ("none",)
    sound = {
        "architecture": recipe.architecture in ("choi2021", "santini2018", "share_unet"),
        "widths": len(recipe.widths) == (5 if shares else 8) and min(recipe.widths) >= 1,
        "gf": recipe.gf >= 1,
        "df": recipe.df >= 1,
        "depth": recipe.depth in depths,
        "norm": recipe.norm in ("keras", "instance"),
        "output": recipe.output in (plain if flat or shares else ("plain", "residual")),
        "windows": len(recipe.windows) >= 1
        and (len(recipe.windows) == 1 or not flat)
        and all(width > 0 for width, _ in recipe.windows),
        "epochs": recipe.epochs >= 0,
        "steps": recipe.steps >= 0 and recipe.epochs + recipe.steps + recipe.final_steps >= 1,
        "crop": recipe.crop >= smallest and recipe.crop % multiple == 0,
        "final_steps": recipe.final_steps >= 0,
        "final_crop": recipe.final_crop >= smallest and recipe.final_crop % multiple == 0,
        "max_shift": recipe.max_shift >= 0,
        "pixel_mm": recipe.pixel_mm > 0 or (recipe.pixel_mm == 0 and not flat),
        "slice_mm": recipe.slice_mm == 0 or (recipe.slice_mm > 0 and not flat),
        "rotation": 0 <= recipe.rotation <= 180,
        "magnification": 0 < recipe.magnification[0] <= recipe.magnification[1],
        "bend": recipe.bend >= 0,
        "lesions": 0 <= recipe.lesions <= 1 and (recipe.lesions == 0 or not flat),
        "iodine": 0 <= recipe.iodine[0] <= recipe.iodine[1],
        "blood_hu": recipe.blood_hu == 0 or recipe.blood_hu > 100,
        "noise_hu": recipe.noise_hu >= 0,
        "validation_fraction": 0 <= recipe.validation_fraction < 1,
        "batch_size": recipe.batch_size >= 1,
        "accumulation": recipe.accumulation >= 1 and recipe.batch_size % recipe.accumulation == 0,
        "learning_rate": recipe.learning_rate > 0,
        "schedule": recipe.schedule in ("constant", "cosine", "step", "inverse"),
        "final_learning_rate": recipe.final_learning_rate >= 0,
        "warm_up": recipe.warm_up >= 0,
        "clip_norm": recipe.clip_norm >= 0,
        "decay": recipe.decay >= 0,
        "decay_epoch": recipe.decay_epoch >= 0,
        "beta1": 0 <= recipe.beta1 < 1,
        "beta2": 0 <= recipe.beta2 < 1,
        "l1_weight": recipe.l1_weight >= 0,
        "enhancement_weight": recipe.enhancement_weight > 0,
        "enhancement_hu": recipe.enhancement_hu >= 0,
        "dice_weight": recipe.dice_weight >= 0,
        "rmse_weight": recipe.rmse_weight >= 0,
        "bce_weight": recipe.bce_weight >= 0,
        "weight_decay": recipe.weight_decay >= 0,
        "soft_threshold_width_hu": recipe.soft_threshold_width_hu > 0,
        "bce_reduction": recipe.bce_reduction in ("mean", "sum"),
        "gan_loss": recipe.gan_loss in (no_gan if flat or shares else ("none", "bce", "least_squares", "hinge")),
        "gan_weight": recipe.gan_weight >= 0,
        "label_smoothing": 0 <= recipe.label_smoothing < 1,
        "ema_decay": 0 <= recipe.ema_decay < 1,
        "precision": recipe.precision in ("fp32", "bf16", "fp16"),
        "seed": 0 <= recipe.seed < 2**63,
    }
    for key, value in dataclasses.asdict(recipe).items():
        if not (sound.get(key, True) and _is_finite(value)):
            hint = f" (multiples of {multiple}, at least {smallest})" if "crop" in key else ""
            hint = " (a divisor of batch_size)" if key == "accumulation" else hint
            raise InputError(f"recipe {recipe.name}: {key} cannot be {getattr(recipe, key)!r}{hint}")
    if recipe.epochs and recipe.steps:
        raise InputError(f"recipe {recipe.name}: give epochs or steps, and set the other to 0")

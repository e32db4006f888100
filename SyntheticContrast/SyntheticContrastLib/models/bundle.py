"""A model bundle: one folder with `weights.safetensors` and the `card.json` that says what they are.

No pickle is read from it, so a bundle from elsewhere cannot run code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SyntheticContrastLib.ct.atomic import atomic_folder
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.names import check_name

if TYPE_CHECKING:
    from torch import nn

FORMAT_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "card.json"
DEFAULT_MODEL = "SyntheticContrast-shares"
HEART_ARCHITECTURE = "santini2018"
SHARE_ARCHITECTURE = "share_unet"
OPTIONAL_FIELDS = {"pixel_mm", "crop"}  # younger than the format: cards without them are as good
USER_MODELS_VARIABLE = "SYNTHETIC_CONTRAST_MODELS"


@dataclass(frozen=True)
class Card:
    """What a bundle says of its weights.

    Windows are (width, level) in HU. `architecture_arguments` rebuild the network, its norm included.
    `training_data` holds one entry a source: name, number of patients, licence, attribution.
    `figures` are measured ones only, each under a name that says on what.
    A 2D model of the heart sees a square of `crop` pixels of `pixel_mm` mm around it; other models see the slices as
    they are, and state neither.
    """

    name: str
    description: str
    architecture: str
    architecture_arguments: dict[str, Any]
    input_windows: tuple[tuple[float, float], ...]
    output_window: tuple[float, float]
    patch_depth: int
    slice_order: str
    recipe: str
    training_data: tuple[dict[str, Any], ...]
    figures: dict[str, Any]
    intended_use: str
    licence: str
    weights_sha256: str = ""
    format_version: int = FORMAT_VERSION
    pixel_mm: float | None = None
    crop: int | None = None

    @property
    def heart_only(self) -> bool:
        """True for a 2D model that synthesises the heart region, slice by slice; False for one of the whole chest."""
        return self.architecture == HEART_ARCHITECTURE

    @property
    def by_shares(self) -> bool:
        """True for a model that gives shares of contrast on the canonical grid: phase and level are the user's."""
        return self.architecture == SHARE_ARCHITECTURE

    @property
    def stepped(self) -> bool:
        """True for a model that windows of slices step through."""
        return not self.heart_only and not self.by_shares

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose card is sound and whose weights have the hash that the card states."""

    folder: Path
    card: Card

    def load_network(self) -> nn.Module:
        """The network in float32, in evaluation mode, on the CPU.

        Raises:
            InputError: when the card contradicts itself, or the weights do not fit its architecture.
        """
        from safetensors.torch import load_file

        card = self.card
        if card.heart_only:
            _check_heart_card(card, self.folder)
        network = _build(card.architecture, card.architecture_arguments, self.folder)
        weights = load_file(self.folder / WEIGHTS_FILE)
        expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        if expected != found:
            differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            raise InputError(
                f"model bundle {self.folder}: the weights are not those of {card.architecture} "
                f"{card.architecture_arguments} ({len(differing)} tensors differ, first {differing[0]}); "
                "use the bundle as it was published"
            )
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        return network.eval()


def write_bundle(folder: Path, network: nn.Module, card: Card, half: bool = True) -> Bundle:
    """Write `network` and `card` as a bundle; the card gets the hash of the weights.

    Args:
        half: store float16, half the size. Measure on real windows that it costs less than 0.5 HU.

    Raises:
        InputError: when the folder exists or cannot be written.
    """
    import torch
    from safetensors.torch import save

    dtype = torch.float16 if half else torch.float32
    with atomic_folder(folder) as temporary:
        weights = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in network.state_dict().items()}
        (temporary / WEIGHTS_FILE).write_bytes(save(weights))
        card = dataclasses.replace(card, weights_sha256=_sha256(temporary / WEIGHTS_FILE))
        (temporary / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
    return Bundle(Path(folder), card)


def load_bundle(folder: str | Path) -> Bundle:
    """Read and check the bundle in `folder`.

    Raises:
        InputError: for a missing file or field, another format version, an unknown architecture, a wrong hash.
    """
    folder = Path(folder)
    check_name(folder)
    card_file = folder / CARD_FILE
    if not card_file.is_file():
        raise InputError(f"{folder} is not a model bundle: it has no {CARD_FILE}")
    try:
        fields = json.loads(card_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"model bundle {folder}: {CARD_FILE} cannot be read as JSON ({error})") from None
    if not isinstance(fields, dict):
        raise InputError(f"model bundle {folder}: {CARD_FILE} does not hold a JSON object")
    version = fields.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"model bundle {folder}: format version {version}, this release reads {FORMAT_VERSION}; "
            "get a bundle or an extension of the matching version"
        )
    names = {field.name for field in dataclasses.fields(Card)}
    if missing := sorted(names - OPTIONAL_FIELDS - fields.keys()):
        raise InputError(f"model bundle {folder}: {CARD_FILE} lacks {', '.join(missing)}")
    card = _card_from(fields, names & fields.keys(), folder)
    weights_file = folder / WEIGHTS_FILE
    if not weights_file.is_file():
        raise InputError(f"model bundle {folder}: {WEIGHTS_FILE} is missing; get the bundle again")
    if _sha256(weights_file) != card.weights_sha256:
        raise InputError(
            f"model bundle {folder}: {WEIGHTS_FILE} does not have the sha256 of its card: damaged or changed; "
            "get the bundle again"
        )
    return Bundle(folder, card)


def built_in_models_folder() -> Path:
    return Path(__file__).resolve().parents[2] / "Resources" / "Models"


def user_models_folder() -> Path:
    """Where a user's own bundles lie: $SYNTHETIC_CONTRAST_MODELS, else the platform's folder for user data.

    Raises:
        InputError: the user has no home folder.
    """
    if configured := os.environ.get(USER_MODELS_VARIABLE):
        return Path(configured)
    variable = {"win32": "APPDATA", "darwin": ""}.get(sys.platform, "XDG_DATA_HOME")
    if configured := os.environ.get(variable):
        return Path(configured) / "SyntheticContrast" / "Models"
    try:
        home = Path.home()
    except RuntimeError as error:  # in a container the user may have neither a name nor HOME
        raise InputError(f"this user has no home folder: set {USER_MODELS_VARIABLE} or HOME") from error
    below = {"win32": "AppData/Roaming", "darwin": "Library/Application Support"}.get(sys.platform, ".local/share")
    return home / below / "SyntheticContrast" / "Models"


def discover() -> dict[str, Path]:
    """Folders that hold a card, by folder name: the built-in ones, then the user's; a built-in name stays built-in.

    A user's folder that cannot be read holds none.
    """
    found: dict[str, Path] = {}
    for where in (built_in_models_folder, user_models_folder):
        folders: list[Path] = []
        with suppress(OSError, InputError):
            folders = sorted(where().iterdir())
        for folder in folders:
            with suppress(OSError):
                if (folder / CARD_FILE).is_file():
                    found.setdefault(folder.name, folder)
    return found


def find_bundle(name_or_folder: str | Path | None = None) -> Bundle:
    """The bundle of that name, else the one in that folder; without an argument the default model.

    Raises:
        InputError: when there is none, or `load_bundle` refuses it.
    """
    known = discover()
    name = str(name_or_folder or DEFAULT_MODEL)
    if name in known:
        return load_bundle(known[name])
    if Path(name).is_dir():
        return load_bundle(name)
    raise InputError(f"no model named {name} and no such folder; known models: {', '.join(known) or 'none'}")


def _build(architecture: str, arguments: dict[str, Any], folder: Path) -> nn.Module:
    builders = _architectures()
    if architecture not in builders:
        raise InputError(f"model bundle {folder}: unknown architecture {architecture}; known: {', '.join(builders)}")
    try:
        return builders[architecture](**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"model bundle {folder}: {architecture} does not take {arguments}: {error}") from None


def _architectures() -> dict[str, Callable[..., nn.Module]]:
    from SyntheticContrastLib.models import choi2021, santini2018, share_unet

    return {
        "choi2021": choi2021.Generator,
        HEART_ARCHITECTURE: santini2018.Network,
        SHARE_ARCHITECTURE: share_unet.ShareUNet,
    }


def _card_from(fields: dict[str, Any], names: set[str], folder: Path) -> Card:
    known = {name: fields[name] for name in names}
    try:
        known["input_windows"] = tuple((float(width), float(level)) for width, level in known["input_windows"])
        width, level = known["output_window"]
        known["output_window"] = (float(width), float(level))
        known["patch_depth"] = int(known["patch_depth"])
        known["training_data"] = tuple(dict(source) for source in known["training_data"])
        known["architecture_arguments"] = dict(known["architecture_arguments"])
        for name, number in (("pixel_mm", float), ("crop", int)):
            if known.get(name) is not None:
                known[name] = number(known[name])
    except (TypeError, ValueError) as error:
        raise InputError(f"model bundle {folder}: a field of {CARD_FILE} has the wrong form ({error})") from None
    return Card(**known)


def _check_heart_card(card: Card, folder: Path) -> None:
    """The output is taken for the input with contrast added, so both have one window."""
    from SyntheticContrastLib.models.santini2018 import IN_PLANE_MULTIPLE

    if card.pixel_mm is None or card.crop is None:
        raise InputError(f"model bundle {folder}: {CARD_FILE} lacks pixel_mm or crop, which {card.architecture} needs")
    if not card.pixel_mm > 0 or card.crop < 1 or card.crop % IN_PLANE_MULTIPLE:
        raise InputError(
            f"model bundle {folder}: a crop of {card.crop} pixels of {card.pixel_mm} mm cannot be: pixel_mm is above 0 "
            f"and crop a multiple of {IN_PLANE_MULTIPLE}"
        )
    if card.input_windows != (card.output_window,):
        raise InputError(f"model bundle {folder}: {card.architecture} has one window, the same for input and output")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

"""What the user chose: where it puts things, what is missing, and the command lines that it makes. No Qt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from SyntheticContrastLib.ct.cases import read_cases
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.gui.run_folder import RunState
from SyntheticContrastTrainingLib.recipes import Recipe, find_recipe, override, parse_settings

CLI = Path(__file__).resolve().parents[2] / "SyntheticContrastTrainingCLI"


@dataclass(frozen=True)
class Choices:
    """`registration` as prepare.py names it, `settings` as a person writes them: gf=16 steps=2000."""

    cases: str = ""
    workFolder: str = ""
    simulateVnc: bool = False
    registration: str = "none"
    recipe: str = "choi2021"
    runName: str = ""
    settings: str = ""
    device: str = "auto"

    @property
    def prepared(self) -> Path:
        return Path(self.workFolder, "prepared")

    @property
    def isPrepared(self) -> bool:
        return bool(self.workFolder) and Path(self.prepared, "manifest.json").is_file()

    @property
    def run(self) -> Path:
        return Path(self.workFolder, "runs", self.runName.strip() or self.recipe)

    @property
    def bundle(self) -> Path:
        return Path(self.workFolder, "models", self.run.name)

    @property
    def keyValues(self) -> list[str]:
        """The settings one by one; a value may hold spaces, as in validation=["a", "b"]."""
        return [part for part in re.split(r"\s+(?=\w+=)", self.settings.strip()) if part]

    def changedRecipe(self) -> Recipe:
        """Raises InputError: for a setting that no recipe has, or a wrong value."""
        return override(find_recipe(self.recipe), parse_settings(self.keyValues))


def prepareArguments(choices: Choices) -> list[str]:
    arguments = ["--cases", choices.cases, "--output", str(choices.prepared), "--register", choices.registration]
    return [*arguments, "--simulate-vnc"] if choices.simulateVnc else arguments


def trainArguments(choices: Choices, resume: bool) -> list[str]:
    return [
        *("--recipe", choices.recipe, "--data", str(choices.prepared), "--output", str(choices.run)),
        *("--device", choices.device),
        *(part for setting in choices.keyValues for part in ("--set", setting)),
        *(["--resume"] if resume else []),
    ]


def exportArguments(choices: Choices, state: RunState) -> list[str]:
    return ["--checkpoint", str(state.checkpoint), "--output", str(choices.bundle)]


def whyNotPrepare(choices: Choices) -> str:
    """The reason in words; empty if it can be done. The same for the functions below."""
    if not choices.cases:
        return _("Choose a table of cases first.")
    try:
        read_cases(choices.cases)
    except InputError as error:
        return sentence(error)
    except OSError as error:
        return sentence(error.strerror or error)
    return whyNoFolder(choices)


def whyNoFolder(choices: Choices) -> str:
    folder = Path(choices.workFolder)
    if not choices.workFolder:
        return _("Choose a working folder first.")
    if not folder.is_absolute():
        return _("Give the working folder with its full path.")
    if folder.exists() and not folder.is_dir():
        return _("The working folder is a file: choose a folder.")
    return ""


def whyNotTrain(choices: Choices, state: RunState) -> str:
    if reason := whyNoFolder(choices):
        return reason
    if not choices.isPrepared:
        return _("Prepare the training set first.")
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", choices.run.name) or choices.run.parent.name != "runs":
        return _("The name of the run is made of letters, digits, '-', '_' and '.'.")
    try:
        recipe = choices.changedRecipe()
    except InputError as error:
        return sentence(error)
    if state.recipe is not None and state.recipe != recipe:
        return _("This run was started with another recipe or other settings: take these, or give another run name.")
    if state.finished:
        return _("This run is finished: export it, or give another run name.")
    return ""


def whyNotExport(choices: Choices, state: RunState) -> str:
    if state.checkpoint is None:
        return _("Train first: there is no checkpoint yet.")
    if choices.bundle.exists():
        return _("The model {name} is there already: give another run name to train another.").format(
            name=choices.bundle.name
        )
    return ""


def sentence(error: object) -> str:
    return f"{' '.join(str(error).split())}."

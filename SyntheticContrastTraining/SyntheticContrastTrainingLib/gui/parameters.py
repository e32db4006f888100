"""What the user chose, as parameters of the scene."""

from enum import Enum
from typing import Annotated

from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper

from SyntheticContrastTrainingLib.gui.choices import Choices
from SyntheticContrastTrainingLib.recipes import RECIPES


class Registration(Enum):
    none = "none"
    rigid = "rigid"
    deformable = "deformable"

    def label(self) -> str:
        """What the combo box shows."""
        texts = {
            Registration.none: _("None: each pair is on one grid"),
            Registration.rigid: _("Rigid"),
            Registration.deformable: _("Rigid, then deformable"),
        }
        return texts[self]


@parameterNodeWrapper
class TrainingParameters:
    """Paths are texts: an empty one means none is chosen yet."""

    cases: str
    workFolder: str
    simulateVnc: bool = False
    registration: Registration = Registration.none
    recipe: Annotated[str, Choice(list(RECIPES))] = "choi2021"
    runName: str
    settings: str
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"


NAMES = ("cases", "workFolder", "simulateVnc", "recipe", "runName", "settings", "device")


def readChoices(parameters: TrainingParameters) -> Choices:
    values = {name: getattr(parameters, name) for name in NAMES}
    return Choices(**values, registration=parameters.registration.value)


def writeChoices(parameters: TrainingParameters, choices: Choices) -> None:
    for name in NAMES:
        setattr(parameters, name, getattr(choices, name))
    parameters.registration = Registration(choices.registration)

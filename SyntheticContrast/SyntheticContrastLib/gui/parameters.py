"""What the user chose, as parameters of the scene."""

from enum import Enum
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from SyntheticContrastLib.models.bundle import DEFAULT_MODEL
from SyntheticContrastLib.synthesis.contrast import LEVEL_HU

STRENGTH_RANGE_HU = (100.0, 600.0)  # of the slider: what patients have, about


class Quality(Enum):
    step1 = 1
    step4 = 4
    step8 = 8

    def label(self) -> str:
        """What the combo box shows; the panel adds the expected time."""
        texts = {
            Quality.step1: _("Best: step 1, as in the paper"),
            Quality.step4: _("Quick: step 4"),
            Quality.step8: _("Preview: step 8"),
        }
        return texts[self]


class Phase(Enum):
    """The values are generate.py's."""

    arterial = "arterial"
    pulmonary = "pulmonary"
    portal = "portal"

    def label(self) -> str:
        texts = {
            Phase.arterial: _("Arterial"),
            Phase.pulmonary: _("Pulmonary"),
            Phase.portal: _("Portal venous"),
        }
        return texts[self]


class Difference(Enum):
    none = ()
    scectNcct = ("sCECT", "NCCT")
    scectCect = ("sCECT", "CECT")
    cectNcct = ("CECT", "NCCT")

    def label(self) -> str:
        return " \N{MINUS SIGN} ".join(self.value) or _("None")


class Orientation(Enum):
    axial = "Axial"
    coronal = "Coronal"
    sagittal = "Sagittal"

    def label(self) -> str:
        texts = {
            Orientation.axial: _("Axial"),
            Orientation.coronal: _("Coronal"),
            Orientation.sagittal: _("Sagittal"),
        }
        return texts[self]


class Mix(Enum):
    none = "none"
    fade = "fade"
    checkerboard = "checkerboard"

    def label(self) -> str:
        texts = {
            Mix.none: _("Nothing: side by side"),
            Mix.fade: _("Fade between"),
            Mix.checkerboard: _("Checkerboard of"),
        }
        return texts[self]


class MixPair(Enum):
    """In the view of the first the second is mixed in."""

    scectNcct = ("sCECT", "NCCT")
    scectCect = ("sCECT", "CECT")
    ncctCect = ("NCCT", "CECT")

    def label(self) -> str:
        return _("{first} and {second}").format(first=self.value[0], second=self.value[1])


@parameterNodeWrapper
class GenerateParameters:
    """`model` is the name of a bundle; it may be one that this computer does not have."""

    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    model: str = DEFAULT_MODEL
    quality: Quality = Quality.step1
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    precision: Annotated[str, Choice(["auto", "fp32", "bf16", "fp16"])] = "auto"
    uncertainty: bool = False
    phase: Phase = Phase.arterial
    level: Annotated[float, WithinRange(*STRENGTH_RANGE_HU)] = LEVEL_HU["arterial"]
    heartMask: vtkMRMLSegmentationNode
    heartMaskSegment: str = ""

    ncct: vtkMRMLScalarVolumeNode
    scect: vtkMRMLScalarVolumeNode
    cect: vtkMRMLScalarVolumeNode
    difference: Difference = Difference.scectNcct
    orientation: Orientation = Orientation.axial
    mix: Mix = Mix.none
    mixPair: MixPair = MixPair.scectNcct
    fade: Annotated[float, WithinRange(0, 100)] = 50.0

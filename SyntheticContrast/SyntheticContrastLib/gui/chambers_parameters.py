"""What the user chose for the left chambers, as parameters of the scene."""

from enum import Enum
from typing import Annotated

from slicer import (
    vtkMRMLDisplayableNode,
    vtkMRMLPlotChartNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Decimals, SingleStep, WithinRange, parameterNodeWrapper

LOWEST_HU, HIGHEST_HU = -200.0, 1000.0


class Structure(Enum):
    leftHeart = "left heart chambers"
    leftAtrium = "left atrium"
    leftVentricle = "left ventricle"

    def label(self) -> str:
        texts = {
            Structure.leftHeart: _("Left heart chambers"),
            Structure.leftAtrium: _("Left atrium"),
            Structure.leftVentricle: _("Left ventricle"),
        }
        return texts[self]


class Show(Enum):
    preview = "preview"
    chambers = "chambers"
    agreement = "agreement"
    nothing = "nothing"

    def label(self) -> str:
        texts = {
            Show.preview: _("Live preview of the threshold"),
            Show.chambers: _("The segmentation"),
            Show.agreement: _("Agreement with the reference"),
            Show.nothing: _("Nothing"),
        }
        return texts[self]


@parameterNodeWrapper
class ChambersParameters:
    """`chambersRegionSegment` and `chambersReferenceSegment` are ids of segments; empty for all of them.

    The tables, the chart and `chambersAgreement` are what was found.
    """

    chambersVolume: vtkMRMLScalarVolumeNode
    chambersRegion: vtkMRMLDisplayableNode
    chambersRegionSegment: str = ""
    chambersThreshold: Annotated[float, WithinRange(LOWEST_HU, HIGHEST_HU), Decimals(0), SingleStep(5)] = 300.0
    chambersSmoothing: Annotated[float, WithinRange(0, 10), Decimals(1), SingleStep(0.5)] = 0.0
    chambersKeepLargest: bool = False
    chambersFillHoles: bool = False
    chambersStructure: Structure = Structure.leftHeart
    chambersOutput: vtkMRMLSegmentationNode
    chambersShow: Show = Show.preview
    chambersReference: vtkMRMLDisplayableNode
    chambersReferenceSegment: str = ""
    chambersBasal: vtkMRMLScalarVolumeNode
    chambersTable: vtkMRMLTableNode
    chambersSlices: vtkMRMLTableNode
    chambersChart: vtkMRMLPlotChartNode
    chambersAgreement: vtkMRMLSegmentationNode

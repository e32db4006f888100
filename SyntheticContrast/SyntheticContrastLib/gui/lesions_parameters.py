"""What the user chose in the section "Lesion CNR", as parameters of the scene."""

from enum import Enum
from typing import Annotated

from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLPlotChartNode, vtkMRMLScalarVolumeNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from SyntheticContrastLib.analysis.cnr import AORTA, FAT_LEFT, FAT_RIGHT, LESION


class CircleRole(Enum):
    lesion = LESION
    aorta = AORTA
    fatRight = FAT_RIGHT
    fatLeft = FAT_LEFT

    def label(self) -> str:
        texts = {
            CircleRole.lesion: _("Lesion"),
            CircleRole.aorta: _("Aorta"),
            CircleRole.fatRight: _("Fat, right"),
            CircleRole.fatLeft: _("Fat, left"),
        }
        return texts[self]


@parameterNodeWrapper
class LesionParameters:
    lesionNcct: vtkMRMLScalarVolumeNode
    lesionScect: vtkMRMLScalarVolumeNode
    lesionCect: vtkMRMLScalarVolumeNode
    lesionShortAxis: Annotated[float, WithinRange(1, 100)] = 10.0  # mm, of the next lesion
    lesionCurrent: vtkMRMLMarkupsFiducialNode
    lesionRole: CircleRole = CircleRole.lesion
    lesionTable: vtkMRMLTableNode
    lesionChart: vtkMRMLPlotChartNode

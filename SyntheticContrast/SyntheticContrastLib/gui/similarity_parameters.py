"""What the user chose to compare, as parameters of the scene."""

from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

MOST_SLICES = 9999


@parameterNodeWrapper
class SimilarityParameters:
    """Slices are axial ones of the reference, counted from 0 at the top, both included.

    `similarityWeights` is a path as text: an empty one means none is chosen.
    """

    similarityImage: vtkMRMLScalarVolumeNode
    similarityReference: vtkMRMLScalarVolumeNode
    similarityFirst: Annotated[int, WithinRange(0, MOST_SLICES)] = 0
    similarityLast: Annotated[int, WithinRange(0, MOST_SLICES)] = 0
    similarityWeights: str = ""
    similarityTable: vtkMRMLTableNode

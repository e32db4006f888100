"""Any CT volume node, measured or synthetic and however it lies, as an array to measure on."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume
from SyntheticContrastLib.scene.volumes import gridOf


def ctOf(node: slicer.vtkMRMLNode | None) -> CTVolume:
    """HU on the node's own grid without its parent transform: a view of the node's voxels.

    Raises:
        InputError: there is no node, or it holds no single-valued voxels.
    """
    if node is None:
        raise InputError(_("no CT is chosen: choose a volume"))
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise InputError(_("{name} has no voxels: choose another volume").format(name=node.GetName()))
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(_("{name} is a colour or vector image: choose a CT").format(name=node.GetName()))
    grid = gridOf(node)
    return CTVolume(grid.from_stored(slicer.util.arrayFromVolume(node)), grid)


def toWorld(node: slicer.vtkMRMLTransformableNode) -> vtk.vtkGeneralTransform:
    """From the node's own RAS to the world's, through its parent transforms."""
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, transform)
    return transform


def jumpTo(node: slicer.vtkMRMLScalarVolumeNode, place_zyx: tuple[float, float, float]) -> None:
    """Scroll all slice views to a voxel of the volume. place_zyx: on the canonical axes, Z from the top."""
    z, y, x = place_zyx
    left, posterior, superior = (gridOf(node).canonical_affine @ np.array([x, y, z, 1.0]))[:3]
    ras = toWorld(node).TransformPoint(-left, -posterior, superior)
    slicer.vtkMRMLSliceNode.JumpAllSlices(node.GetScene(), *ras, slicer.vtkMRMLSliceNode.OffsetJumpSlice)

"""The voxels of one volume node at the places of another's."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from SyntheticContrastLib.scene.volumes import gridOf


def onGridOf(
    node: slicer.vtkMRMLScalarVolumeNode, reference: slicer.vtkMRMLScalarVolumeNode, nearest: bool = False
) -> NDArray[np.float32]:
    """(K, J, I) on `reference`'s voxels: `node`'s values at the same places of the world, in between by trilinear
    interpolation, NaN outside `node`. Parent transforms of both count, non-linear ones too.

    nearest: take the nearest voxel instead, as labels need.
    """
    stored = slicer.util.arrayFromVolume(node)
    if node.GetTransformNodeID() == reference.GetTransformNodeID() and gridOf(node).matches(gridOf(reference)):
        return stored.astype(np.float32)
    between = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        reference.GetParentTransformNode(), node.GetParentTransformNode(), between
    )
    toRAS, toIJK = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    reference.GetIJKToRASMatrix(toRAS)
    node.GetRASToIJKMatrix(toIJK)
    transform = vtk.vtkGeneralTransform()
    transform.PostMultiply()
    for part in (toRAS, between, toIJK):
        transform.Concatenate(part)

    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(node.GetImageData())
    reslice.SetResliceTransform(transform)
    if nearest:
        reslice.SetInterpolationModeToNearestNeighbor()
    else:
        reslice.SetInterpolationModeToLinear()
    reslice.SetOutputScalarType(vtk.VTK_FLOAT)
    reslice.SetBackgroundLevel(np.nan)
    dimensions = reference.GetImageData().GetDimensions()
    reslice.SetOutputExtent(*(bound for size in dimensions for bound in (0, size - 1)))
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.Update()
    values: NDArray[np.float32] = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
    return values.reshape(dimensions[::-1]).copy()

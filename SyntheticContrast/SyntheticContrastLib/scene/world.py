"""A volume node as a CT in the world, where circles lie."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from numpy.typing import ArrayLike, NDArray
from slicer.i18n import tr as _

from SyntheticContrastLib.analysis.circles import Point
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.scene.volumes import gridOf

_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def worldCT(node: slicer.vtkMRMLScalarVolumeNode) -> CTVolume:
    """The voxels (a view, no copy) on their grid in the world: LPS mm, with the parent transforms in it.

    Raises:
        InputError: no voxels, no CT, or a transform that bends.
    """
    name, image = node.GetName(), node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise InputError(_("{name} has no voxels: choose another volume").format(name=name))
    if node.IsA("vtkMRMLLabelMapVolumeNode") or image.GetNumberOfScalarComponents() != 1:
        raise InputError(_("{name} is no CT in HU: choose another volume").format(name=name))
    grid = gridOf(node)
    transform = node.GetParentTransformNode()
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            text = _("{name} is under a transform that bends it: harden the transform first")
            raise InputError(text.format(name=name))
        matrix = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToWorld(matrix)
        toWorld = slicer.util.arrayFromVTKMatrix(matrix)
        grid = Grid(grid.size, _RAS_LPS @ toWorld @ _RAS_LPS @ grid.affine)
    return CTVolume(grid.from_stored(slicer.util.arrayFromVolume(node)), grid)


def slicePlane(volume: CTVolume, place: NDArray[np.float64]) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """The axial slice nearest to a place (RAS mm): its canonical index, and the point below or above it on the slice
    with the slice's unit normal, RAS.

    Raises:
        InputError: the place is above or below the volume.
    """
    affine, normal = _RAS_LPS @ volume.grid.canonical_affine, sliceNormal(volume)
    index = float((np.linalg.inv(affine) @ [*place, 1.0])[2])
    z = int(np.floor(index + 0.5))
    if not 0 <= z < len(volume.hu):
        raise InputError(_("the place is above or below the CT: choose a slice of it"))
    onSlice = affine[:3, 3] + z * affine[:3, 2]
    return z, place + ((onSlice - place) @ normal) * normal, normal


def sliceNormal(volume: CTVolume) -> NDArray[np.float64]:
    """Unit vector across the axial slices, upwards; RAS. Of a tilted gantry it is not the way from slice to slice."""
    affine = _RAS_LPS @ volume.grid.canonical_affine
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return normal * (np.sign(normal[2]) or 1.0) / np.linalg.norm(normal)


def lps(ras: ArrayLike) -> Point:
    """The same place or direction in LPS; and RAS of LPS."""
    x, y, z = (float(value) for value in np.asarray(ras))
    return -x, -y, z

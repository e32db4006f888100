"""Masks of segments, boxes and label maps on the grid of a volume, and masks of voxels as segments.

Arrays are (K, J, I) of the volume. A mask and a volume meet in the world: parent transforms of both count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SyntheticContrastLib.ct.disclaimer import DISCLAIMER
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.scene.resample import onGridOf
from SyntheticContrastLib.scene.volumes import NOTE_ATTRIBUTE, _placeBeside, isSynthetic

Mask = NDArray[np.bool_]

SEGMENTATION, BOX, LABEL_MAP = "vtkMRMLSegmentationNode", "vtkMRMLMarkupsROINode", "vtkMRMLLabelMapVolumeNode"
ANATOMY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~{type}~{side}"
    "~Anatomic codes - DICOM master list~^^~^^"
)


@dataclass(frozen=True)
class Look:
    """Of a segment. `type` and `side` are codes of its terminology, as SCT^80891009^Heart; empty for none."""

    identifier: str
    name: str
    colour: tuple[float, float, float]
    type: str = ""
    side: str = "^^"


def maskOf(node: slicer.vtkMRMLNode, segment: str, volume: slicer.vtkMRMLScalarVolumeNode) -> Mask:
    """Where `volume` lies in a segmentation, a box (markups ROI) or a label map; all False where they do not meet.

    segment: id of a segment; empty for all of them.

    Raises:
        InputError: a segmentation without that segment, a label map of several labels, or a box under a transform that
            bends it.
    """
    if node.IsA(SEGMENTATION):
        mask = np.zeros(volume.GetImageData().GetDimensions()[::-1], bool)
        for identifier in segmentsOf(node, segment):
            mask |= slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume) > 0
        return mask
    if node.IsA(BOX):
        return _inBox(node, volume)
    _checkOneLabel(node)
    labels = onGridOf(node, volume, nearest=True)
    return np.nan_to_num(labels) > 0


def segmentsOf(node: slicer.vtkMRMLSegmentationNode, segment: str) -> list[str]:
    """The id of the segment, or of all of them for an empty one.

    Raises:
        InputError: there is no such segment, or none at all.
    """
    identifiers = list(node.GetSegmentation().GetSegmentIDs())
    if not identifiers:
        raise InputError(
            _("the segmentation {name} is empty: draw a segment, or choose another one").format(name=node.GetName())
        )
    if segment and segment not in identifiers:
        raise InputError(_("the chosen segment of {name} is gone: choose another one").format(name=node.GetName()))
    return [segment] if segment else identifiers


def shareOutside(node: slicer.vtkMRMLNode, segment: str, volume: slicer.vtkMRMLScalarVolumeNode) -> float:
    """Share of a segmentation's or label map's own voxels whose middle lies outside the volume, 0 to 1."""
    places = _ownPlaces(node, segment)
    if not len(places):
        return 0.0
    between = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        node.GetParentTransformNode(), volume.GetParentTransformNode(), between
    )
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    points.SetData(numpy_to_vtk(places, deep=True))
    between.TransformPoints(points, moved)
    toIJK = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(toIJK)
    matrix = slicer.util.arrayFromVTKMatrix(toIJK)
    ijk = vtk_to_numpy(moved.GetData()) @ matrix[:3, :3].T + matrix[:3, 3]
    inside = (ijk > -0.5) & (ijk < np.array(volume.GetImageData().GetDimensions()) - 0.5)
    return float(1 - inside.all(axis=1).mean())


def addSegmentation(
    volume: slicer.vtkMRMLScalarVolumeNode, name: str, temporary: bool = False
) -> slicer.vtkMRMLSegmentationNode:
    """An empty segmentation on the geometry and under the parent transform of the volume, beside it.

    temporary: one that no selector lists and that is not saved.
    """
    scene = volume.GetScene()
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(scene.GenerateUniqueName(name))
    node.SetHideFromEditors(temporary)
    node.SetSaveWithScene(not temporary)
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSaveWithScene(not temporary)
    layOn(node, volume)
    if isSynthetic(volume):
        node.SetAttribute(NOTE_ATTRIBUTE, DISCLAIMER)
    if not temporary:
        _placeBeside(node, volume)
    return node


def layOn(node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Give the segmentation the geometry and the parent transform of the volume.

    Raises:
        InputError: it holds segments, which would move with it.
    """
    moved = node.GetTransformNodeID() != volume.GetTransformNodeID()
    if moved and node.GetSegmentation().GetNumberOfSegments():
        raise InputError(
            _("{name} lies under another transform than {volume}: choose a new one").format(
                name=node.GetName(), volume=volume.GetName()
            )
        )
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())


def putSegment(
    node: slicer.vtkMRMLSegmentationNode,
    look: Look,
    volume: slicer.vtkMRMLScalarVolumeNode,
    mask: Mask,
    first: tuple[int, int, int] = (0, 0, 0),
) -> None:
    """Make a segment, or fill it anew, with a mask on the voxels of `volume`.

    mask: (K, J, I), the whole volume or a box of it whose first voxel is `first` (k, j, i).
    """
    segmentation = node.GetSegmentation()
    if segmentation.GetSegment(look.identifier) is None:
        segmentation.AddEmptySegment(look.identifier, look.name, look.colour)
        if look.type:
            segmentation.GetSegment(look.identifier).SetTag(
                slicer.vtkSegment.GetTerminologyEntryTagName(), ANATOMY.format(type=look.type, side=look.side)
            )
    image = slicer.vtkOrientedImageData()
    k, j, i = (range(start, start + size) for start, size in zip(first, mask.shape, strict=True))
    image.SetExtent(i[0], i[-1], j[0], j[-1], k[0], k[-1])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, node, look.identifier, logic.MODE_REPLACE)


def boxOf(mask: Mask) -> tuple[slice, slice, slice]:
    """The smallest box that holds a mask that is not empty."""
    bounds = []
    for axis in range(3):
        (found,) = np.nonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        bounds.append(slice(int(found[0]), int(found[-1]) + 1))
    return bounds[0], bounds[1], bounds[2]


def _checkOneLabel(labelMap: slicer.vtkMRMLLabelMapVolumeNode) -> None:
    labels = [label for label in np.unique(slicer.util.arrayFromVolume(labelMap)) if label > 0]
    if len(labels) > 1:
        raise InputError(
            _("{name} has {n} labels: convert it to a segmentation, and choose one of its segments").format(
                name=labelMap.GetName(), n=len(labels)
            )
        )


def _inBox(roi: slicer.vtkMRMLMarkupsROINode, volume: slicer.vtkMRMLScalarVolumeNode) -> Mask:
    parents = (roi.GetParentTransformNode(), volume.GetParentTransformNode())
    if not all(parent is None or parent.IsTransformToWorldLinear() for parent in parents):
        raise InputError(
            _("{box} or {volume} is bent by its transform: harden that, or take a segment").format(
                box=roi.GetName(), volume=volume.GetName()
            )
        )
    toRAS, toScene, toBox = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(toRAS)
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(volume.GetParentTransformNode(), None, toScene)
    vtk.vtkMatrix4x4.Invert(roi.GetObjectToWorldMatrix(), toBox)
    matrix = np.linalg.multi_dot([slicer.util.arrayFromVTKMatrix(part) for part in (toBox, toScene, toRAS)])
    size_k, size_j, size_i = volume.GetImageData().GetDimensions()[::-1]
    k, j, i = np.ogrid[:size_k, :size_j, :size_i]
    mask = np.ones((size_k, size_j, size_i), bool)
    for row, side in zip(matrix[:3], roi.GetSize(), strict=True):
        along = [(step * axis).astype(np.float32) for step, axis in zip(row[:3], (i, j, k), strict=True)]
        mask &= np.abs(along[0] + along[1] + along[2] + np.float32(row[3])) <= side / 2
    return mask


def _ownPlaces(node: slicer.vtkMRMLNode, segment: str) -> NDArray[np.float64]:
    """(N, 3): RAS mm, without its parent transform, of the voxels of a segmentation's or label map's own grid."""
    images = []
    if node.IsA(LABEL_MAP):
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        images.append((node.GetImageData(), matrix))
    elif node.IsA(SEGMENTATION) and node.GetSegmentation().ContainsRepresentation("Binary labelmap"):
        for identifier in segmentsOf(node, segment):
            image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
            node.GetBinaryLabelmapRepresentation(identifier, image)
            image.GetImageToWorldMatrix(matrix)
            images.append((image, matrix))
    places = [np.empty((0, 3))]
    for image, matrix in images:
        if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
            continue
        size_i, size_j, size_k = image.GetDimensions()
        values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(size_k, size_j, size_i)
        ijk = np.argwhere(values > 0)[:, ::-1] + np.array(image.GetExtent()[::2])
        affine = slicer.util.arrayFromVTKMatrix(matrix)
        places.append(ijk @ affine[:3, :3].T + affine[:3, 3])
    return np.concatenate(places)

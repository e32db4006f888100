"""Volume nodes that are computed from two others for the comparison: difference map and checkerboard."""

from __future__ import annotations

import numpy as np
import slicer
from numpy.typing import NDArray

from SyntheticContrastLib.ct.disclaimer import DISCLAIMER
from SyntheticContrastLib.scene.resample import onGridOf
from SyntheticContrastLib.scene.volumes import NOTE_ATTRIBUTE, gridOf, isSynthetic
from SyntheticContrastLib.scene.windows import setWindow, windowOf

AIR_HU = -1000  # an sCECT ends there: nothing to compare below
OUTSIDE = np.iinfo(np.int16).min  # where one of the two has no voxels; shown transparent
DIFFERENCE_LIMIT = 300  # HU, the ends of the colours: an arterial enhancement fits in
CHECKER_MM = 40.0
_FIRST, _SECOND = "SyntheticContrast.First", "SyntheticContrast.Second"
_COLOURS_TAG = "SyntheticContrastDifference"
# From less through equal to more. Equal is dark, as the rest of a reading screen; the ends are bright.
_STOPS = ((0.65, 0.90, 1.0), (0.10, 0.45, 0.90), (0.05, 0.05, 0.05), (0.85, 0.25, 0.05), (1.0, 0.90, 0.45))


def differenceMap(
    first: slicer.vtkMRMLScalarVolumeNode, second: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode:
    """`first` - `second` in HU on the grid and under the parent transform of `first`, in colours centred on 0 HU.

    Values below air count as air. The node is made once for a pair of volumes and filled anew on each call.
    """
    node = _existing(first, second) or _newOn(first, f"{first.GetName()} - {second.GetName()}")
    difference = onGridOf(second, first)
    np.maximum(difference, AIR_HU, out=difference)
    np.subtract(np.maximum(slicer.util.arrayFromVolume(first), AIR_HU), difference, out=difference, casting="same_kind")
    difference[np.isnan(difference)] = OUTSIDE
    _fill(node, first, difference)
    node.SetNodeReferenceID(_FIRST, first.GetID())
    node.SetNodeReferenceID(_SECOND, second.GetID())
    _mark(node, first, second)
    setWindow(node, 2 * DIFFERENCE_LIMIT, 0)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(differenceColours(first.GetScene()).GetID())
    display.SetThreshold(OUTSIDE + 1, np.iinfo(np.int16).max)
    display.ApplyThresholdOn()
    return node


def differenceColours(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """The diverging colour table, made once a scene: 255 colours, so that one of them is exactly 0 HU."""
    table = scene.GetSingletonNode(_COLOURS_TAG, "vtkMRMLColorTableNode")
    if table is None:
        table = slicer.vtkMRMLColorTableNode()
        table.SetSingletonTag(_COLOURS_TAG)
        table.SetName("Difference in HU")
        table.SetTypeToUser()
        table = scene.AddNode(table)
    count = 255
    table.SetNumberOfColors(count)
    at = np.linspace(0, len(_STOPS) - 1, count)
    colours = np.stack([np.interp(at, range(len(_STOPS)), channel) for channel in zip(*_STOPS, strict=True)], axis=1)
    for index, colour in enumerate(colours):
        table.SetColor(index, str(index), *colour, 1.0)
    return table


def addLegend(
    node: slicer.vtkMRMLScalarVolumeNode, view: slicer.vtkMRMLSliceNode
) -> slicer.vtkMRMLColorLegendDisplayNode:
    """A colour bar of the volume, in HU, in this view only. Hide it before the view shows another volume: it follows
    its own changes, not the view's.
    """
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)  # the one there is, if any
    legend.SetTitleText("HU")
    legend.SetLabelFormat("%.0f")
    legend.SetNumberOfLabels(5)
    legend.SetSize(0.12, 0.5)
    legend.SetPosition(0.97, 0.5)
    legend.SetViewNodeIDs([view.GetID()])
    legend.SetVisibility(True)
    return legend


def checkerboard(
    first: slicer.vtkMRMLScalarVolumeNode, second: slicer.vtkMRMLScalarVolumeNode, square: float = CHECKER_MM
) -> slicer.vtkMRMLScalarVolumeNode:
    """A temporary volume on `first`'s grid whose cubes are by turns of `first` and of `second`.

    square: mm, about: the side of the cubes. Not saved with the scene; remove it when it is no longer shown.
    """
    node = _newOn(first, f"{first.GetName()} / {second.GetName()}")
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    values = slicer.util.arrayFromVolume(first).astype(np.float32)
    other = onGridOf(second, first)
    cells = [
        (np.arange(size) * spacing / square).astype(int)
        for size, spacing in zip(values.shape, gridOf(first).spacing[::-1], strict=True)
    ]
    odd = (cells[0][:, None, None] + cells[1][:, None] + cells[2]) % 2 == 1
    np.copyto(values, other, where=odd & ~np.isnan(other))
    _fill(node, first, values)
    _mark(node, first, second)
    setWindow(node, *windowOf(first))
    return node


def _newOn(first: slicer.vtkMRMLScalarVolumeNode, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    node = first.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.CreateDefaultDisplayNodes()
    return node


def _existing(
    first: slicer.vtkMRMLScalarVolumeNode, second: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode | None:
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", first.GetScene()):
        if node.GetNodeReference(_FIRST) is first and node.GetNodeReference(_SECOND) is second:
            return node
    return None


def _fill(node: slicer.vtkMRMLScalarVolumeNode, first: slicer.vtkMRMLScalarVolumeNode, values: NDArray) -> None:
    """Fill a node with (K, J, I) float32 on `first`'s grid; `values` is overwritten."""
    limits = np.iinfo(np.int16)
    np.rint(values, out=values)
    np.clip(values, limits.min, limits.max, out=values)
    with slicer.util.NodeModify(node):
        node.CopyOrientation(first)
        node.SetAndObserveTransformNodeID(first.GetTransformNodeID())
        slicer.util.updateVolumeFromArray(node, values.astype(np.int16))


def _mark(node: slicer.vtkMRMLScalarVolumeNode, *sources: slicer.vtkMRMLScalarVolumeNode) -> None:
    if any(isSynthetic(source) for source in sources):
        node.SetAttribute(NOTE_ATTRIBUTE, DISCLAIMER)

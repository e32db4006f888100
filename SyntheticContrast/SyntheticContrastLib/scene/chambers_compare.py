"""Chambers against a reference segmentation: figures as a table, Dice by slice as a plot, agreement in the views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from slicer.i18n import tr as _

from SyntheticContrastLib.analysis.chambers import ChamberAgreement, compare_chambers
from SyntheticContrastLib.analysis.csv_table import Row
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.scene.chambers import emptyReference, middle
from SyntheticContrastLib.scene.compare_layout import ROLES
from SyntheticContrastLib.scene.masks import (
    Look,
    Mask,
    addSegmentation,
    boxOf,
    layOn,
    maskOf,
    putSegment,
    shareOutside,
)
from SyntheticContrastLib.scene.measured import ctOf
from SyntheticContrastLib.scene.tables import fill

# Told apart by people who see no red, or no green, too.
AGREEMENT = (
    Look("both", "both", (0.35, 0.80, 0.45)),
    Look("onlyOurs", "only ours", (0.95, 0.55, 0.10)),
    Look("onlyReference", "only reference", (0.25, 0.50, 0.95)),
)


@dataclass(frozen=True, eq=False)
class Compared:
    """On the grid of a volume; masks are (K, J, I). `outside` is the share of the reference beyond the volume."""

    agreement: ChamberAgreement
    ours: Mask
    reference: Mask
    outside: float

    @property
    def apart(self) -> bool:
        """Whether the two have no voxel in common."""
        return self.agreement.dice == 0


def compareWithReference(
    volume: slicer.vtkMRMLScalarVolumeNode,
    chambers: slicer.vtkMRMLSegmentationNode | None,
    reference: slicer.vtkMRMLNode | None,
    segment: str,
) -> Compared:
    """All segments of `chambers` together against a segment (all for an empty id) or label map, on any grid.

    Raises:
        InputError: one of them is missing, empty, or nowhere in the volume; or the reference is `chambers` itself.
    """
    ct = ctOf(volume)
    if chambers is None or not chambers.GetSegmentation().GetNumberOfSegments():
        raise InputError(_("there are no chambers yet: choose Segment first, or a segmentation of them"))
    if reference is None:
        raise InputError(_("no reference is chosen: choose the segmentation to compare with"))
    if reference is chambers:
        raise InputError(_("the reference is the segmentation of the chambers itself: choose another one"))
    ours = maskOf(chambers, "", volume)
    if not ours.any():
        text = _("{name} marks no voxel of {volume}: choose Segment again")
        raise InputError(text.format(name=chambers.GetName(), volume=volume.GetName()))
    theirs = maskOf(reference, segment, volume)
    if not theirs.any():
        raise InputError(emptyReference(reference, volume))
    found = compare_chambers(ct.from_stored(ours), ct.from_stored(theirs), ct.spacing_zyx)
    return Compared(found, ours, theirs, shareOutside(reference, segment, volume))


def rowOf(compared: Compared, names: Row) -> Row:
    """The row of the table: `names`, the columns of measure.py, and the percentage of the reference outside."""
    return names | compared.agreement.figures() | {"reference_outside_percent": 100 * compared.outside}


def showSlices(
    compared: Compared, table: slicer.vtkMRMLTableNode, chart: slicer.vtkMRMLPlotChartNode, title: str
) -> None:
    """Dice of each slice, counted from 0 at the top, in the table, and as a curve in the chart."""
    fill(table, {"slice": compared.agreement.slices, "dice": compared.agreement.dice_of_slices})
    series = chart.GetNthPlotSeriesNode(0)
    if series is None:
        series = chart.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", chart.GetName())
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    series.SetName(title)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetPlotType(series.PlotTypeScatter)
    series.SetXColumnName("slice")
    series.SetYColumnName("dice")
    series.SetColor(0.12, 0.35, 0.54)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    chart.SetTitle(title)
    chart.SetXAxisTitle(_("axial slice, from 0 at the top"))
    chart.SetYAxisTitle(_("Dice"))
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0, 1)
    chart.SetLegendVisibility(False)
    chart.Modified()


def showAgreement(
    compared: Compared, volume: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLSegmentationNode | None, name: str
) -> slicer.vtkMRMLSegmentationNode:
    """The three segments of AGREEMENT on the volume's geometry, over the slices with a reference; in `node` or anew."""
    if node is None:
        node = addSegmentation(volume, name)
    else:
        node.GetSegmentation().RemoveAllSegments()
        layOn(node, volume)
    ct = ctOf(volume)
    counted = np.zeros(len(ct.hu), bool)
    counted[compared.agreement.slices] = True
    ours = compared.ours & ct.to_stored(np.broadcast_to(counted[:, None, None], ct.hu.shape))
    box = boxOf(ours | compared.reference)
    ours, reference = ours[box], compared.reference[box]
    first = (box[0].start, box[1].start, box[2].start)
    for look, mask in zip(AGREEMENT, (ours & reference, ours & ~reference, reference & ~ours), strict=True):
        putSegment(node, look, volume, mask, first)
    node.GetDisplayNode().SetOpacity2DFill(0.55)
    return node


def middleOf(compared: Compared, volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float, float]:
    """(Z, Y, X) of the centre of the reference."""
    return middle(volume, compared.reference)


def showFusion(basal: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """The basal CT alone in the slice views, under whatever segments are shown. False if there is no view for it.

    The views of module 1's comparison stay as they are: one of them shows the NCCT already.
    """
    compared = {role.tag for role in ROLES.values()}
    composites = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", basal.GetScene())
        if node.GetLayoutName() not in compared
    ]
    for composite in composites:
        with slicer.util.NodeModify(composite):
            composite.SetBackgroundVolumeID(basal.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
    return bool(composites)

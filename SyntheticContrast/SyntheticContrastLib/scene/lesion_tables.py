"""What was measured of lesions as nodes of the scene: a table with every number, and a bar chart of the CNR."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk

from SyntheticContrastLib.analysis.cnr_table import COLUMNS
from SyntheticContrastLib.analysis.csv_table import Row
from SyntheticContrastLib.scene.compare_layout import ROLES as VIEWS

TEXTS = {"lesion", "volume", "warnings", "error"}
CHART_TABLE_REFERENCE = "SyntheticContrast.ChartTable"
SERIES_REFERENCE = "SyntheticContrast.Series."


def fillTable(node: slicer.vtkMRMLTableNode, rows: Sequence[Row]) -> None:
    """A row for each lesion and volume, with the columns of measure.py's CSV; NaN and -1 where there is no number."""
    table = vtk.vtkTable()
    for column in COLUMNS:
        array: Any
        empty: Any
        if column in TEXTS:
            array, empty = vtk.vtkStringArray(), ""
        elif column.endswith("_voxels"):
            array, empty = vtk.vtkIntArray(), -1
        else:
            array, empty = vtk.vtkDoubleArray(), math.nan
        array.SetName(column)
        for row in rows:
            array.InsertNextValue(row.get(column, empty))
        table.AddColumn(array)
    node.SetAndObserveTable(table)


def fillChart(chart: slicer.vtkMRMLPlotChartNode, rows: Sequence[Row]) -> None:
    """Bars of the CNR, a group for each lesion; a series for each volume, in the colour of its view.

    A lesion that could not be measured in a volume has no bar (0) there.
    """
    scene = chart.GetScene()
    table = chart.GetNodeReference(CHART_TABLE_REFERENCE)
    if table is None:
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{chart.GetName()} by lesion")
        chart.SetNodeReferenceID(CHART_TABLE_REFERENCE, table.GetID())
    cnr: dict[str, dict[str, float]] = {}
    for row in rows:
        cnr.setdefault(row["lesion"], {})[row["volume"]] = row.get("cnr", 0.0)
    volumes = [name for name in VIEWS if any(name in found for found in cnr.values())]
    table.SetAndObserveTable(_chartTable(cnr, volumes))
    with slicer.util.NodeModify(chart):
        chart.RemoveAllPlotSeriesNodeIDs()
        for name in volumes:
            chart.AddAndObservePlotSeriesNodeID(_series(chart, table, name).GetID())
        chart.SetYAxisTitle("CNR")
        chart.SetXAxisTitle("")
        chart.SetTitle("CNR")


def _chartTable(cnr: Mapping[str, Mapping[str, float]], volumes: Sequence[str]) -> vtk.vtkTable:
    table = vtk.vtkTable()
    labels = vtk.vtkStringArray()
    labels.SetName("lesion")
    for lesion in cnr:
        labels.InsertNextValue(lesion)
    table.AddColumn(labels)
    for name in volumes:
        values = vtk.vtkDoubleArray()
        values.SetName(name)
        for found in cnr.values():
            values.InsertNextValue(found.get(name, 0.0))
        table.AddColumn(values)
    return table


def _series(
    chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode, name: str
) -> slicer.vtkMRMLPlotSeriesNode:
    series = chart.GetNodeReference(SERIES_REFERENCE + name)
    if series is None:
        series = chart.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        chart.SetNodeReferenceID(SERIES_REFERENCE + name, series.GetID())
        colour = VIEWS[name].colour
        series.SetColor(*(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)))
        series.SetPlotType(series.PlotTypeBar)
        series.SetLabelColumnName("lesion")
        series.SetYColumnName(name)
    series.SetAndObserveTableNodeID(table.GetID())
    return series

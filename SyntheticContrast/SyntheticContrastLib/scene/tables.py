"""Rows of results in table nodes, which are saved with the scene: one row a comparison, columns of a type each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
import vtk

from SyntheticContrastLib.analysis.csv_table import Row, write_table


def putRow(table: slicer.vtkMRMLTableNode, row: Row, keys: Sequence[str]) -> None:
    """Add a row, or replace the one with the same values of `keys`. Values are texts or numbers, NaN where none."""
    if table.GetNumberOfColumns() == 0:
        for name, value in row.items():
            column = vtk.vtkStringArray() if isinstance(value, str) else vtk.vtkDoubleArray()
            column.SetName(name)
            table.AddColumn(column)
    same = [index for index, old in enumerate(rowsOf(table)) if all(old[key] == row[key] for key in keys)]
    with slicer.util.NodeModify(table):
        index = same[0] if same else table.AddEmptyRow()
        for name, value in row.items():
            cell = vtk.vtkVariant(value if isinstance(value, str) else float(value))
            table.GetTable().SetValueByName(index, name, cell)
        table.GetTable().Modified()
        table.Modified()


def rowsOf(table: slicer.vtkMRMLTableNode | None) -> list[Row]:
    """What `putRow` put there."""
    if table is None:
        return []
    content = table.GetTable()
    names = [content.GetColumnName(index) for index in range(content.GetNumberOfColumns())]
    rows: list[Row] = []
    for index in range(content.GetNumberOfRows()):
        rows.append({name: _value(content.GetColumnByName(name), index) for name in names})
    return rows


def _value(column: Any, index: int) -> Any:
    value = column.GetValue(index)
    return value if isinstance(value, str) else float(value)


def fill(table: slicer.vtkMRMLTableNode, columns: Mapping[str, Iterable[float]]) -> None:
    """Replace all that a table holds by columns of numbers."""
    with slicer.util.NodeModify(table):
        table.RemoveAllColumns()
        for name, values in columns.items():
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            for value in values:
                column.InsertNextValue(float(value))
            table.AddColumn(column)


def writeCsv(table: slicer.vtkMRMLTableNode, path: Path) -> None:
    """As measure.py writes its tables.

    Raises:
        OSError: no space, or no permission.
    """
    rows = rowsOf(table)
    write_table(path, list(rows[0]) if rows else [], rows)


def text(value: object) -> str:
    """A cell for a person: four digits."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)

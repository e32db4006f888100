"""A table node as a person sees it: a column each row, a line each measure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qt
import slicer

from SyntheticContrastLib.analysis.csv_table import Row
from SyntheticContrastLib.scene.tables import text

LINE_PIXELS = 22
MOST_LINES = 16  # without scrolling


def showRows(widget: Any, rows: list[Row], lines: Mapping[str, str]) -> None:
    """Fill a QTableWidget; `lines` are the columns of the node to show, with their words. Hidden when there is none."""
    widget.visible = bool(rows)
    widget.clear()
    widget.rowCount = len(lines)
    widget.columnCount = len(rows)
    widget.setVerticalHeaderLabels(list(lines.values()))
    widget.setHorizontalHeaderLabels([str(number + 1) for number in range(len(rows))])
    for column, row in enumerate(rows):
        for line, name in enumerate(lines):
            item = qt.QTableWidgetItem(text(row.get(name, "")))
            item.setToolTip(text(row.get(name, "")))
            widget.setItem(line, column, item)
    widget.horizontalHeader().setStretchLastSection(True)
    for line in range(len(lines)):
        widget.setRowHeight(line, LINE_PIXELS)
    widget.setFixedHeight(LINE_PIXELS * (min(len(lines), MOST_LINES) + 1) + 8)


def copyRows(rows: list[Row], lines: Mapping[str, str]) -> None:
    """As tab-separated text, which spreadsheets take."""
    texts = ["\t".join([words, *(text(row.get(name, "")) for row in rows)]) for name, words in lines.items()]
    qt.QApplication.clipboard().setText("\n".join(texts))


def chooseCsv(title: str) -> Path | None:
    """A CSV file to write, of the user's choice."""
    chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, "", "CSV (*.csv)")
    path = Path(str(chosen or ""))
    return path.with_name(path.name if path.suffix else f"{path.name}.csv") if path.name else None

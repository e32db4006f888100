"""Ask for a file."""

from __future__ import annotations

import qt
import slicer


def chooseFileToSave(title: str, nameFilter: str) -> str:
    """A path of the user's choice; empty if none. nameFilter: as "Markups (*.mrk.json)"."""
    return str(qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, "", nameFilter) or "")


def chooseFileToOpen(title: str, nameFilter: str) -> str:
    """An existing file of the user's choice; empty if none."""
    return str(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", nameFilter) or "")

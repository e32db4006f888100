"""Windows that the panel opens, and the cursor while it works."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import qt
import slicer
from slicer.i18n import tr as _

from SyntheticContrastLib.gui.model_card import cardHtml
from SyntheticContrastLib.models.bundle import Card


class CardDialog:
    """A window with a model's card."""

    def __init__(self) -> None:
        self.dialog = qt.QDialog(slicer.util.mainWindow())
        self.dialog.windowTitle = _("Model card")
        self.text = qt.QTextBrowser()
        self.text.openExternalLinks = True
        layout = qt.QVBoxLayout(self.dialog)
        layout.addWidget(self.text)
        self.dialog.resize(640, 720)

    def show(self, card: Card) -> None:
        self.text.setHtml(cardHtml(card))
        self.dialog.show()
        self.dialog.raise_()

    def close(self) -> None:
        self.dialog.close()
        self.dialog.deleteLater()


def chooseFolder(title: str) -> str:
    """A folder of the user's choice; empty if none."""
    return str(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title) or "")


@contextlib.contextmanager
def waitCursor() -> Iterator[None]:
    qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
    try:
        yield
    finally:
        qt.QApplication.restoreOverrideCursor()

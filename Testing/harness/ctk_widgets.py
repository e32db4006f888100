"""The module `ctk`: the widgets of CTK that panels use."""
# ruff: noqa: N801  the names are those of CTK

from __future__ import annotations

import fnmatch
from typing import ClassVar

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.pythonqt import in_pythonqt_style, qt


def row(widget, *parts):
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)
    return layout


class ctkCollapsibleButton(qt.QWidget):
    """A header that shows or hides what is in the widget's layout."""

    contentsCollapsed = Signal(bool)
    toggled = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._header = QtWidgets.QToolButton(self)
        self._header.setCheckable(True)
        self._header.setChecked(True)
        self._header.setToolButtonStyle(QtCore.Qt.ToolButtonTextBesideIcon)
        self._header.setArrowType(QtCore.Qt.DownArrow)
        self._header.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._header.setObjectName("qt_header")
        self._header.clicked.connect(lambda: self._collapse(not self._header.isChecked()))
        self._hidden = []
        self._wasCollapsed = False
        self.setContentsMargins(0, self._header.sizeHint().height() + 2, 0, 0)

    def resizeEvent(self, event):
        self._header.setGeometry(0, 0, event.size().width(), self._header.sizeHint().height())

    def showEvent(self, event):
        if self._wasCollapsed:  # before it had contents
            self._hideContents()

    def _contents(self):
        children = self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly)
        return [child for child in children if child is not self._header]

    def _hideContents(self):
        for child in self._contents():
            if not child.isHidden():
                self._hidden.append(child)
                child.hide()

    def _collapse(self, collapsed):
        self._header.setChecked(not collapsed)
        self._header.setArrowType(QtCore.Qt.RightArrow if collapsed else QtCore.Qt.DownArrow)
        if collapsed == self._wasCollapsed:
            return
        self._wasCollapsed = collapsed
        if collapsed:
            self._hideContents()
        else:
            while self._hidden:
                self._hidden.pop().show()
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    text = Property(str, lambda self: self._header.text(), lambda self, value: self._header.setText(value))
    collapsed = Property(bool, lambda self: self._wasCollapsed, lambda self, value: self._collapse(value))
    checked = Property(bool, lambda self: not self._wasCollapsed, lambda self, value: self._collapse(not value))

    def click(self):
        self._header.click()


class ctkSliderWidget(qt.QWidget):
    """A slider beside a spin box. The value stays within minimum and maximum."""

    valueChanged = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._slider.setRange(0, 1000)
        self._box = QtWidgets.QDoubleSpinBox()
        row(self, self._slider, self._box)
        self._slider.sliderMoved.connect(self._moved)
        self._box.valueChanged.connect(self._follow)

    def _moved(self, place):
        low, high = self._box.minimum(), self._box.maximum()
        self._box.setValue(low + (high - low) * place / 1000)

    def _follow(self, value):
        low, high = self._box.minimum(), self._box.maximum()
        self._slider.setValue(round(1000 * (value - low) / (high - low)) if high > low else 0)
        self.valueChanged.emit(value)

    value = Property(float, lambda self: self._box.value(), lambda self, value: self._box.setValue(value))
    minimum = Property(float, lambda self: self._box.minimum(), lambda self, value: self._box.setMinimum(value))
    maximum = Property(float, lambda self: self._box.maximum(), lambda self, value: self._box.setMaximum(value))
    singleStep = Property(float, lambda self: self._box.singleStep(), lambda self, v: self._box.setSingleStep(v))
    pageStep = Property(float, lambda self: self._slider.pageStep(), lambda self, v: self._slider.setPageStep(int(v)))
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, value: self._box.setDecimals(value))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, value: self._box.setSuffix(value))

    def setValue(self, value):
        self.value = value

    def setRange(self, low, high):
        self._box.setRange(low, high)


class ctkPathLineEdit(qt.QWidget):
    """A path with a browse button. As in CTK, a path that no name filter accepts is not told to anybody."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    # QDir::Filter
    Dirs, Files, Drives, NoDot, NoDotDot, Readable, Writable, Executable, Hidden = (
        *(0x001, 0x002, 0x004, 0x2000, 0x4000),
        *(0x010, 0x020, 0x040, 0x100),
    )

    def __init__(self, parent=None):
        super().__init__(parent)
        self._line, self._browse = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        self._browse.setText("...")
        row(self, self._line, self._browse).setSpacing(0)
        self._filters, self._nameFilters, self._settingKey, self._label = self.Dirs | self.Files, [], "", ""
        self._line.textChanged.connect(self._told)

    def _accepts(self):
        patterns = [pattern for text in self._nameFilters for pattern in text.split("(")[-1].strip(")").split()]
        return not patterns or any(fnmatch.fnmatch(self._line.text(), pattern) for pattern in patterns)

    def _told(self, text):
        if self._accepts():
            self.currentPathChanged.emit(text)

    currentPath = Property(str, lambda self: self._line.text(), lambda self, value: self._line.setText(value))
    filters = Property(int, lambda self: self._filters, lambda self, value: setattr(self, "_filters", value))
    nameFilters = Property(
        "QStringList", lambda self: self._nameFilters, lambda self, value: setattr(self, "_nameFilters", value)
    )
    settingKey = Property(str, lambda self: self._settingKey, lambda self, value: setattr(self, "_settingKey", value))
    label = Property(str, lambda self: self._label, lambda self, value: setattr(self, "_label", value))
    showBrowseButton = Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, value: self._browse.setVisible(value)
    )

    def setCurrentPath(self, path):
        self.currentPath = path

    def addCurrentPathToHistory(self):
        """Nothing to remember between tests."""


class ctkDirectoryButton(qt.QWidget):
    """A button that shows a folder and asks for another."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._button = QtWidgets.QPushButton()
        self._directory = QtCore.QDir.currentPath()
        self._button.setText(self._directory)
        row(self, self._button)

    def _choose(self, path):
        if path != self._directory:
            self._directory = path
            self._button.setText(path)
            self.directoryChanged.emit(path)

    directory = Property(str, lambda self: self._directory, _choose)


class ctkMessageBox(qt.QMessageBox):
    """Is never shown: what it says is recorded, and the next of `answers` is given, else the default of a user."""

    said: ClassVar[list[str]] = []
    answers: ClassVar[list] = []

    dontShowAgainSettingsKey = ""

    def exec_(self):
        ctkMessageBox.said.append(self.text)
        if ctkMessageBox.answers:
            return ctkMessageBox.answers.pop(0)
        return self.standardButton(self.buttons()[0]) if self.buttons() else qt.QMessageBox.Ok

    exec = exec_


WIDGETS = {
    stand_in.__name__: in_pythonqt_style(stand_in)
    for stand_in in (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit, ctkDirectoryButton, ctkMessageBox)
}

"""A module's panel as Slicer builds it, with a hand to click."""

from __future__ import annotations

import importlib.util
import sys
import time
import traceback

import shiboken6
import slicer
from PySide6 import QtCore, QtTest, QtWidgets

from harness.ctk_widgets import ctkMessageBox
from harness.pythonqt import qt
from harness.scripted_module import ModuleDescription

WIDTH = 480  # pixels, of a module panel in Slicer


class ModulePanel:
    """Builds the module of the file `path`: module class, panel, `setup()`, `enter()`.

    Attributes:
        widget, logic: the module's own.
        ui: the namespace that `widget.ui` is.
        errors: tracebacks of exceptions in slots, which Qt only prints. `close` raises them.
    """

    def __init__(self, path):
        self.name = path.stem
        self.errors = []
        self._hook, sys.excepthook = sys.excepthook, self._caught
        ctkMessageBox.said.clear()
        ctkMessageBox.answers.clear()
        self.module = load(path)
        self.description = ModuleDescription(path, self.name)
        getattr(self.module, self.name)(self.description)
        setattr(slicer.modules, self.name.lower(), self.description)
        slicer.app.moduleManager().loaded[self.name] = self.description
        self.parent = slicer.qSlicerScriptedLoadableModuleWidget()
        self.parent.setLayout(qt.QVBoxLayout())
        self.parent.setMRMLScene(slicer.mrmlScene)
        self.widget = getattr(self.module, f"{self.name}Widget")(self.parent)
        self.parent.setSelf(self.widget)
        self.description.widget = self.widget
        self.widget.setup()
        setattr(slicer.modules, f"{self.name}Widget", self.widget)
        self.parent.resize(WIDTH, 800)
        self.parent.show()
        self.widget.enter()
        self.process()

    @property
    def ui(self):
        return self.widget.ui

    @property
    def logic(self):
        return self.widget.logic

    @property
    def messages(self):
        """What message boxes said, oldest first."""
        return ctkMessageBox.said

    def answer(self, *buttons):
        """Buttons (as qt.QMessageBox.Yes) that are pressed in the next message boxes."""
        ctkMessageBox.answers.extend(buttons)

    def _caught(self, kind, error, trace):
        self.errors.append("".join(traceback.format_exception(kind, error, trace)))

    def process(self, seconds=0.0):
        """Let the application live, for so long."""
        deadline = time.monotonic() + seconds
        while True:
            slicer.app.processEvents()
            QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
            if time.monotonic() >= deadline:
                return
            time.sleep(0.01)

    def waitFor(self, happened, seconds=300.0):
        """Let the application live until `happened()`."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert not self.errors, self.errors[0]
            assert time.monotonic() < deadline, "it did not happen"
            self.process(0.02)

    def click(self, button):
        """Click with the mouse, as a person can: on what is shown and enabled."""
        assert button.enabled, f"{button.name} is disabled: {button.toolTip}"
        assert button.visible, f"{button.name} is not shown"
        button = button.findChild(QtWidgets.QToolButton, "qt_header") or button  # of a collapsible section
        QtTest.QTest.mouseClick(button, QtCore.Qt.LeftButton, pos=hitPoint(button))
        self.process()

    def type(self, field, text):
        """Type over what stands in a field."""
        assert field.enabled, f"{field.name} is disabled: {field.toolTip}"
        line = field if isinstance(field, QtWidgets.QLineEdit) else field.findChild(QtWidgets.QLineEdit)
        QtWidgets.QLineEdit.selectAll(line)
        QtTest.QTest.keyClick(line, QtCore.Qt.Key_Delete)
        QtTest.QTest.keyClicks(line, str(text))
        self.process()

    def choose(self, combo, text):
        """Choose the entry of a combo box or node selector."""
        assert combo.enabled, f"{combo.name} is disabled: {combo.toolTip}"
        box = combo if isinstance(combo, QtWidgets.QComboBox) else combo.findChild(QtWidgets.QComboBox)
        index = QtWidgets.QComboBox.findText(box, text)
        assert index >= 0, f"{combo.name} has no entry {text!r}"
        QtWidgets.QComboBox.setCurrentIndex(box, index)
        box.activated.emit(index)
        self.process()

    def controls(self):
        """The widgets that a person uses, by name."""
        kinds = (QtWidgets.QAbstractButton, QtWidgets.QLineEdit, QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox)
        named = vars(self.ui).items()
        return {
            name: widget
            for name, widget in named
            if isinstance(widget, kinds) or type(widget).__name__ in ("ctkPathLineEdit", "ctkSliderWidget")
            if not name.startswith("qt_")
        }

    def screenshot(self, path, height=None):
        """Draw the panel, as tall as it needs to be, into a PNG."""
        self.process()
        self.parent.resize(WIDTH, height or QtWidgets.QWidget.sizeHint(self.parent).height())
        self.process(0.05)
        assert self.parent.grab().save(str(path)), path

    def closeScene(self):
        slicer.mrmlScene.Clear(0)
        self.process()

    def quit(self):
        """What a panel sees when the application ends."""
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(self.name)

    def deleteWidgets(self):
        if shiboken6.isValid(self.parent):
            self.parent.deleteLater()
        self.process(0.05)

    def close(self):
        """Leave the module, unload it, delete its widgets."""
        self.widget.exit()
        self.quit()
        self.deleteWidgets()
        slicer.app.moduleManager().loaded.pop(self.name)
        sys.excepthook = self._hook
        assert not self.errors, "\n".join(self.errors)


def hitPoint(button):
    """Left of the middle: within the text of a check box as well."""
    size = QtWidgets.QWidget.size(button)
    return QtCore.QPoint(min(10, size.width() // 2), size.height() // 2)


def load(path):
    """The module of a file, imported as Slicer imports it: by path, under the name of the file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module

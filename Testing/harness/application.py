"""`slicer.app`, the main window and the module manager."""

from __future__ import annotations

import tempfile

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.pythonqt import in_pythonqt_style, qt


class ModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = Signal(str)

    def __init__(self):
        super().__init__()
        self.loaded = {}

    def module(self, name):
        return self.loaded.get(name)

    def modulesNames(self):
        return list(self.loaded)


class SlicerApplication(QtWidgets.QApplication):
    """The application with a main window, not in testing mode: dialogs appear (see ctkMessageBox)."""

    startupCompleted = Signal()

    def __init__(self, arguments):
        super().__init__(arguments)
        self._manager, self._logic, self._layouts, self._testing = ModuleManager(), None, None, False
        self._temporary = tempfile.TemporaryDirectory(prefix="slicer-harness-")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, self._temporary.name)
        self.setOrganizationName("harness")
        self.setApplicationName("Slicer")

    temporaryPath = Property(str, lambda self: self._temporary.name)
    slicerHome = Property(str, lambda self: self._temporary.name)
    applicationVersion = Property(str, lambda self: "5.13.0")
    majorVersion = Property(int, lambda self: 5)
    minorVersion = Property(int, lambda self: 13)

    def applicationLogic(self):
        return self._logic

    def layoutManager(self):
        """None, as with --no-main-window, unless a test puts one there."""
        return self._layouts

    def moduleManager(self):
        return self._manager

    def mrmlScene(self):
        return slicer.mrmlScene

    def testingEnabled(self):
        return self._testing

    def settings(self):
        return qt.QSettings()

    userSettings = settings

    def pauseRender(self):
        pass

    resumeRender = pauseRender


def startApplication():
    """The one application of the process, with its main window."""
    application = in_pythonqt_style(SlicerApplication)(["Slicer", "-platform", "offscreen"])
    application._main_window = qt.QMainWindow()
    application._main_window.objectName = "qSlicerMainWindow"
    return application

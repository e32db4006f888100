"""The qMRML widgets that panels use, over the real scene."""
# ruff: noqa: N801  the names are those of Slicer

from __future__ import annotations

import functools

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from harness.ctk_widgets import row
from harness.pythonqt import in_pythonqt_style, qt


class qMRMLWidget(qt.QWidget):
    """A top widget. It tells its scene with a signal, and hands it to nobody by itself."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The `parent` of a module's panel."""

    def setSelf(self, widget):
        self._self = widget

    def self(self):
        """The module's Python widget."""
        return self._self


def option(kind, name, default):
    """A property that the selector only remembers, and that changes what it lists."""

    def write(self, value):
        self._options[name] = value
        self._fill()

    return Property(kind, lambda self: self._options.get(name, default), write)


def forget(tags, *_):
    for scene, tag in tags:
        scene.RemoveObserver(tag)
    tags.clear()


class qMRMLNodeComboBox(qMRMLWidget):
    """A selector of nodes. Empty until a scene is set; without `noneEnabled` it selects the first node there is."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._options, self._tags, self._id, self._attributes = {}, [], "", {}
        self._combo = QtWidgets.QComboBox()
        self._combo.setObjectName("qt_combo")
        row(self, self._combo)
        self._combo.activated.connect(self._picked)
        self.destroyed.connect(functools.partial(forget, self._tags))

    nodeTypes = option("QStringList", "nodeTypes", [])
    baseName = option(str, "baseName", "")
    noneEnabled = option(bool, "noneEnabled", False)
    noneDisplay = option(str, "noneDisplay", "None")
    addEnabled = option(bool, "addEnabled", True)
    removeEnabled = option(bool, "removeEnabled", True)
    editEnabled = option(bool, "editEnabled", False)
    renameEnabled = option(bool, "renameEnabled", False)
    showHidden = option(bool, "showHidden", False)
    showChildNodeTypes = option(bool, "showChildNodeTypes", True)
    selectNodeUponCreation = option(bool, "selectNodeUponCreation", True)
    currentNodeID = Property(str, lambda self: self._id, lambda self, value: self.setCurrentNodeID(value))

    def setMRMLScene(self, scene):
        forget(self._tags)
        super().setMRMLScene(scene)
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            self._tags.extend((scene, scene.AddObserver(event, lambda *_: self._fill())) for event in events)
        self._fill()

    def addAttribute(self, nodeType, attribute, value=None):
        self._attributes[nodeType, attribute] = value
        self._fill()

    def nodes(self):
        if self._scene is None:
            return []
        found = []
        for kind in self.nodeTypes:
            for index in range(self._scene.GetNumberOfNodesByClass(kind)):
                node = self._scene.GetNthNodeByClass(index, kind)
                exact = self.showChildNodeTypes or node.GetClassName() == kind
                visible = self.showHidden or not node.GetHideFromEditors()
                wanted = all(
                    node.GetAttribute(name) is not None and (value is None or node.GetAttribute(name) == str(value))
                    for (of_kind, name), value in self._attributes.items()
                    if node.IsA(of_kind)
                )
                if exact and visible and wanted and node not in found:
                    found.append(node)
        return found

    def nodeCount(self):
        return len(self.nodes())

    def _fill(self):
        nodes = self.nodes()
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        if self.addEnabled:
            self._combo.addItem(f"Create new {self.baseName or 'node'}", "add")
        if self._id not in [node.GetID() for node in nodes]:
            self._select(None if self.noneEnabled or not nodes else nodes[0])
        self._combo.setCurrentIndex(self._combo.findData(self._id))

    def _picked(self, index):
        if self._combo.itemData(index) == "add":
            self.addNode()
        else:
            self.setCurrentNodeID(self._combo.itemData(index) or "")

    def _select(self, node):
        identifier = node.GetID() if node is not None else ""
        if identifier != self._id:
            self._id = identifier
            self._combo.setCurrentIndex(self._combo.findData(identifier))
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(identifier)

    def currentNode(self):
        return self._scene.GetNodeByID(self._id) if self._scene is not None and self._id else None

    def setCurrentNodeID(self, identifier):
        self.setCurrentNode(self._scene.GetNodeByID(identifier) if self._scene is not None and identifier else None)

    def setCurrentNode(self, node):
        """A node that the selector does not list selects none, as in Slicer."""
        self._select(node if node is not None and node in self.nodes() else None)

    def addNode(self, kind=None):
        node = self._scene.AddNewNodeByClass(kind or self.nodeTypes[0], self._scene.GenerateUniqueName(self.baseName))
        self.nodeAddedByUser.emit(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node


WIDGETS = {
    stand_in.__name__: in_pythonqt_style(stand_in)
    for stand_in in (qMRMLWidget, qSlicerScriptedLoadableModuleWidget, qMRMLNodeComboBox)
}


def nodeSelectorItems(selector):
    """The texts that a person sees in a node selector."""
    return [selector._combo.itemText(index) for index in range(selector._combo.count())]

"""QUiLoader: .ui files with the stand-ins in them, checked as strictly as they are used."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from PySide6 import QtCore, QtUiTools, QtWidgets

from harness import ctk_widgets, mrml_widgets
from harness.pythonqt import qt

STAND_INS = {**ctk_widgets.WIDGETS, **mrml_widgets.WIDGETS}


class UiFileError(RuntimeError):
    """What a real Slicer passes over in silence, with a panel that does not work."""


class QUiLoader(QtUiTools.QUiLoader):
    def createWidget(self, className, parent=None, name=""):
        widget = (STAND_INS.get(className) or getattr(qt, className))(parent)
        widget.setObjectName(name)
        return widget

    def load(self, file):
        root = ET.fromstring(bytes(file.readAll().data()))
        connections = [
            {part: element.findtext(part) for part in ("sender", "signal", "receiver", "slot")}
            for element in root.iterfind("connections/connection")
        ]
        for element in root.findall("connections"):
            root.remove(element)
        flags = take_flags(root)
        names = [element.get("name") for element in root.iter("widget")]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UiFileError(f"two widgets are named {', '.join(twice)}")
        for kind in {element.get("class") for element in root.iter("widget")}:
            if kind not in STAND_INS and not hasattr(qt, kind):
                raise UiFileError(f"there is no stand-in for {kind}: add one to Testing/harness")
        text = QtCore.QBuffer()
        text.setData(ET.tostring(root))
        widget = super().load(text)
        if widget is None:
            raise UiFileError(self.errorString())
        children = {child.objectName: child for child in [widget, *widget.findChildren(QtWidgets.QWidget)]}
        check_properties(root, children)
        for name, key, value in flags:
            setattr(children[name], key, value)
        for connection in connections:
            connect(children, connection)
        return widget


def take_flags(root):
    """Flags and enums of CTK classes, which Qt's loader cannot read: (widget, property, value), taken out."""
    taken = []
    for widget in root.iter("widget"):
        for element in widget.findall("property"):
            text = element.findtext("set") or element.findtext("enum") or ""
            kind = STAND_INS.get(text.split("::")[0])
            if kind is not None:
                value = 0
                for flag in text.split("|"):
                    value |= getattr(kind, flag.split("::")[1])
                taken.append((widget.get("name"), element.get("name"), value))
                widget.remove(element)
    return taken


def check_properties(root, children):
    for element in root.iter("widget"):
        widget = children[element.get("name")]
        for key in [entry.get("name") for entry in element.findall("property") if entry.get("stdset") != "0"]:
            if widget.metaObject().indexOfProperty(key) < 0:
                raise UiFileError(f"{element.get('name')}: a {element.get('class')} has no property {key}")


def connect(children, connection):
    ends = []
    for role, what in (("sender", "signal"), ("receiver", "slot")):
        widget = children.get(connection[role])
        end = getattr(widget, connection[what].split("(")[0], None)
        if end is None:
            raise UiFileError(f"the connection of {connection[role]} with {connection[what]} fails")
        ends.append(end)
    ends[0].connect(ends[1])

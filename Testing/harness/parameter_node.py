"""`slicer.parameterNodeWrapper`: typed parameters in a real vtkMRMLScriptedModuleNode, and their connection to widgets.

Known types: str, int, float, bool, pathlib.Path, an Enum, a list of one of these, vtkMRML node classes; each may be
"or None". Not there: parameter packs, dictionaries, unions of other types.
"""

from __future__ import annotations

import enum
import json
import pathlib
import types
import typing
import weakref
from dataclasses import dataclass

import slicer
import vtk

from harness.ctk_widgets import WIDGETS as CTK
from harness.mrml_widgets import WIDGETS as MRML
from harness.pythonqt import qt

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclass(frozen=True)
class Default:
    value: object


@dataclass(frozen=True)
class Minimum:
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"Value must be greater than or equal to {self.minimum}, got {value}")


@dataclass(frozen=True)
class Maximum:
    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"Value must be less than or equal to {self.maximum}, got {value}")


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], got {value}")


class Choice:
    def __init__(self, choices):
        self.choices = list(choices)

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, got {value!r}")


@dataclass(frozen=True)
class Decimals:
    value: int


@dataclass(frozen=True)
class SingleStep:
    value: float


VALIDATORS = (Minimum, Maximum, WithinRange, Choice)
EMPTY = {str: "", int: 0, float: 0.0, bool: False, pathlib.Path: pathlib.Path()}


class Parameter:
    """One parameter: how its value stands in the node."""

    def __init__(self, name, hint, default):
        self.name = name
        self.annotations = []
        if typing.get_origin(hint) is typing.Annotated:
            hint, *self.annotations = typing.get_args(hint)
        self.optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
        if self.optional:
            kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
            if len(kinds) != 1:
                raise TypeError(f"{name}: the harness knows no union of {kinds}")
            hint = kinds[0]
        self.of = typing.get_args(hint)[0] if typing.get_origin(hint) is list else None
        self.kind = list if self.of else hint
        self.is_node = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        self.is_enum = isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)
        if not (self.is_node or self.is_enum or self.of or self.kind in EMPTY):
            raise TypeError(f"{name}: the harness knows no parameter of type {hint}")
        given = self.annotation(Default)
        self.default = default if default is not ... else given.value if given else self._empty()
        self.validators = [one for one in self.annotations if isinstance(one, VALIDATORS)]

    def annotation(self, kind):
        return next((one for one in self.annotations if isinstance(one, kind)), None)

    def _empty(self):
        if self.is_node or self.optional:
            return None
        if choice := self.annotation(Choice):
            return choice.choices[0]
        return [] if self.of else next(iter(self.kind)) if self.is_enum else EMPTY[self.kind]

    def is_in(self, node):
        return bool(node.GetNodeReferenceID(self.name)) if self.is_node else self.name in node.GetParameterNames()

    def write(self, node, value):
        if self.is_node:
            if value is not None and not isinstance(value, self.kind):
                raise TypeError(f"{self.name} takes a {self.kind.__name__}, not {value!r}")
            if value is not None and not value.GetID():
                raise ValueError("Cannot serialize a node that is not in the scene")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if value is None and not self.optional:
            raise TypeError(f"{self.name} cannot be None")
        if value is not None:
            for validator in self.validators:
                validator.validate(value)
        node.SetParameter(self.name, self._text(value))

    def _text(self, value):
        if value is None:
            return "None"
        if self.of:
            return json.dumps([str(one) if self.of is pathlib.Path else one for one in value])
        if self.is_enum:
            return value.name
        accepted = (int, float) if self.kind is float else self.kind
        if not isinstance(value, accepted) or (self.kind is int and isinstance(value, bool)):
            raise TypeError(f"{self.name} takes a value of type {self.kind.__name__}, not {value!r}")
        return str(value)

    def read(self, node):
        if self.is_node:
            return node.GetNodeReference(self.name)
        if self.name not in node.GetParameterNames():
            return self.default  # as after the scene was closed
        text = node.GetParameter(self.name)
        if self.optional and text == "None":
            return None
        if self.of:
            return [self.of(one) for one in json.loads(text)]
        if self.is_enum:
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)


def connector(widget, parameter):
    """(signal, read, write) of the exact widget class for the parameter's type, as Slicer's table has them."""
    kind, exact = parameter.kind, type(widget)
    limits = parameter.annotation(WithinRange)
    if kind is bool and exact in (qt.QCheckBox, qt.QPushButton):
        return widget.toggled, lambda: widget.checked, lambda value: setattr(widget, "checked", value)
    if kind in (int, float) and exact in (qt.QSpinBox, qt.QSlider, qt.QDoubleSpinBox, CTK["ctkSliderWidget"]):
        whole = exact in (qt.QSpinBox, qt.QSlider)
        if whole != (kind is int):
            raise RuntimeError(f"no connector from {kind.__name__} to {widget.className()}")
        if limits:
            widget.minimum, widget.maximum = limits.minimum, limits.maximum
        elif exact in (qt.QSlider, CTK["ctkSliderWidget"]):
            raise RuntimeError(f"{parameter.name}: a slider needs a WithinRange")
        for note, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            if found := parameter.annotation(note):
                setattr(widget, name, found.value)
        return widget.valueChanged, lambda: kind(widget.value), lambda value: setattr(widget, "value", value)
    if exact is qt.QComboBox and (kind in (str, int, float, bool) or parameter.is_enum):
        if parameter.is_enum:
            values = list(kind)
            texts = [getattr(kind, "label", lambda one: one.name)(one) for one in values]
        else:
            choice = parameter.annotation(Choice)
            if choice is None:
                raise RuntimeError(f"{parameter.name}: a combo box needs a Choice")
            values, texts = choice.choices, [str(one) for one in choice.choices]
        widget.clear()
        widget.addItems(texts)
        return (
            widget.currentIndexChanged,
            lambda: values[widget.currentIndex],
            lambda value: setattr(widget, "currentIndex", values.index(value)),
        )
    if kind is str and exact is qt.QLineEdit:
        return widget.textChanged, lambda: widget.text, lambda value: setattr(widget, "text", value)
    if kind is str and exact is qt.QTextEdit:
        return widget.textChanged, widget.toPlainText, widget.setPlainText
    if kind is pathlib.Path and exact is CTK["ctkPathLineEdit"]:
        return (
            widget.currentPathChanged,
            lambda: pathlib.Path(widget.currentPath),
            lambda value: setattr(widget, "currentPath", str(value)),
        )
    if kind is pathlib.Path and exact is CTK["ctkDirectoryButton"]:
        return (
            widget.directoryChanged,
            lambda: pathlib.Path(widget.directory),
            lambda value: setattr(widget, "directory", str(value)),
        )
    if parameter.is_node and exact is MRML["qMRMLNodeComboBox"]:
        widget.nodeTypes = [kind.__name__]
        return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
    raise RuntimeError(f"no connector from the type of {parameter.name} to {widget.className()}")


class Wrapper:
    """What the decorator adds to typed parameters. Values are kept until the node is modified, as in Slicer."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._guis, self._updating = {}, False
        for parameter in self.allParameters.values():
            if not parameter.is_in(parameterNode):
                parameter.write(parameterNode, parameter.default)
        self._kept = {name: parameter.read(parameterNode) for name, parameter in self.allParameters.items()}
        alive = weakref.ref(self)
        parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: alive() and alive()._readAgain())

    def _readAgain(self):
        for name, parameter in self.allParameters.items():
            self._kept[name] = parameter.read(self.parameterNode)

    def getValue(self, name):
        self._parameter(name)
        return self._kept[name]

    def setValue(self, name, value):
        with slicer.util.NodeModify(self.parameterNode):
            self._parameter(name).write(self.parameterNode, value)
            self._kept[name] = self._parameter(name).read(self.parameterNode)

    def default(self, name):
        return Default(self._parameter(name).default)

    def _parameter(self, name):
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def connectGui(self, gui):
        """`gui` is the namespace of childWidgetVariables. As in Slicer, no tag is returned."""
        if isinstance(gui, qt.QWidget):
            raise TypeError("give connectGui the namespace of slicer.util.childWidgetVariables")
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in vars(gui).values()}
        self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping):
        for name in mapping:
            self._parameter(name)
        connected = {name: connector(widget, self._parameter(name)) for name, widget in mapping.items()}
        tag, slots = len(self._guis), {}
        for name, (signal, read, write) in connected.items():
            write(self.getValue(name))
            slots[name] = self._slot(name, read)
            signal.connect(slots[name])
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show(tag))
        self._guis[tag] = (connected, slots, observer)
        return tag

    def _slot(self, name, read):
        def changed(*_):
            if not self._updating:
                self.setValue(name, read())

        return changed

    def _show(self, tag):
        if self._updating or self._guis.get(tag) is None:
            return
        self._updating = True
        try:
            for name, (_, _, write) in self._guis[tag][0].items():
                write(self.getValue(name))
        finally:
            self._updating = False

    def disconnectGui(self, tag):
        if self._guis.get(tag) is None:
            return
        connected, slots, observer = self._guis[tag]
        for name, (signal, _, _) in connected.items():
            signal.disconnect(slots[name])
        self.RemoveObserver(observer)
        self._guis[tag] = None

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def Modified(self):
        self.parameterNode.Modified()


def parameterNodeWrapper(classtype=None):
    if classtype is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: Parameter(name, hint, getattr(classtype, name, ...)) for name, hint in hints.items()}
    members = {name: attribute(name) for name in parameters}
    members |= {key: value for key, value in vars(classtype).items() if callable(value) or isinstance(value, property)}
    return type(classtype.__name__, (Wrapper,), {"allParameters": parameters, **members})


def attribute(name):
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))

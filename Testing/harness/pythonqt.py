"""The module `qt`: PySide6 under the manners of PythonQt, as strict as a real Slicer is.

A Qt property is an attribute, read and written without parentheses. `objectName` is also `name`. Setting a misspelt
attribute is an error. Signals are connected with `widget.signal.connect(f)`; `connect("signal()", f)` is refused.
Not imitated: PythonQt's enums are plain integers, those of PySide6 are not.
"""

from __future__ import annotations

import functools
import inspect
import types

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

# Virtual functions that are properties too: Qt itself calls them as functions.
VIRTUAL = {"sizeHint", "minimumSizeHint"}
MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)


class PythonQtStyle:
    """What every PythonQt object has beside its Qt properties."""

    def connect(self, *_):
        raise TypeError("write object.signal.connect(f), not object.connect('signal()', f)")

    disconnect = connect

    def className(self):
        return type(self).__name__

    @property
    def name(self):
        return QtCore.QObject.objectName(self)

    @name.setter
    def name(self, value):
        self.setObjectName(value)

    def __setattr__(self, name, value):
        if isinstance(value, QtCore.QObject) and QtCore.QObject.objectName(value) == name:
            return  # PySide6 makes the children of a .ui file attributes of the top widget; PythonQt does not
        known = hasattr(type(self), name) or name.startswith("_")
        if not known and "in_pythonqt_style" in vars(type(self)):
            raise AttributeError(f"a {type(self).__name__} has no attribute {name!r} to set")
        super().__setattr__(name, value)


def as_property(base, name):
    """The Qt property `name` of the class `base` as a Python property."""
    capital = name[0].upper() + name[1:]
    getter = getattr(base, name, None) or getattr(base, f"is{capital}", None)
    setter = getattr(base, f"set{capital}", None)

    def read(self):
        if getter is None:
            return QtCore.QObject.property(self, name)
        return getter() if inspect.isbuiltin(getter) else getter(self)  # those of QCoreApplication are static

    def write(self, value):
        if setter:
            setter(value) if inspect.isbuiltin(setter) else setter(self, value)
        elif not self.setProperty(name, value):
            raise AttributeError(f"{name} of a {type(self).__name__} cannot be set to {value!r}")

    return property(read, write)


def in_pythonqt_style(base, name=None):
    """A subclass of the Qt class `base` whose Qt properties are attributes."""
    meta = base.staticMetaObject
    names = {meta.property(index).name() for index in range(meta.propertyCount())} - VIRTUAL
    # What a stand-in declares with PySide6's Property, or inherits from one in this style, is an attribute already.
    members = {
        key: as_property(base, key)
        for key in names
        if not isinstance(getattr(base, key, None), QtCore.Property | property)
    }
    styles = () if issubclass(base, PythonQtStyle) else (PythonQtStyle,)
    return type(name or base.__name__, (*styles, base), members | {"in_pythonqt_style": True})


class QtModule(types.ModuleType):
    """Classes are made when they are asked for: PySide6 has some thousand."""

    @functools.cache  # noqa: B019  there is one such module
    def __getattr__(self, name):
        found = next((getattr(module, name) for module in MODULES if name in dir(module)), None)
        if found is None:
            raise AttributeError(f"qt has no {name}")
        if isinstance(found, type) and issubclass(found, QtCore.QObject):
            return in_pythonqt_style(found)
        return found


qt = QtModule("qt")

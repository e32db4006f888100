"""Put the stand-ins where `import qt`, `import ctk` and `import slicer` find them, once in a process."""

from __future__ import annotations

import sys
import types

import slicer

from harness import ctk_widgets, modules, mrml_widgets, parameter_node, scripted_module, ui_files
from harness.application import startApplication
from harness.pythonqt import qt
from harness.scene import openScene


def module(name, **members):
    made = types.ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, made)
    return made


def public(source, *names):
    return {name: getattr(source, name) for name in names}


def installHarness():
    if hasattr(slicer, "app"):
        return
    sys.modules["qt"] = qt
    qt.QUiLoader = ui_files.QUiLoader
    module("ctk", **ctk_widgets.WIDGETS)
    vars(slicer).update(mrml_widgets.WIDGETS, qSlicerScriptedLoadableModule=scripted_module.ModuleDescription)
    bases = public(
        scripted_module,
        "ScriptedLoadableModule",
        "ScriptedLoadableModuleWidget",
        "ScriptedLoadableModuleLogic",
        "ScriptedLoadableModuleTest",
    )
    module("slicer.ScriptedLoadableModule", **bases)
    wrapper = (
        *("parameterNodeWrapper", "SlicerParameterNamePropertyName", "Default", "Minimum", "Maximum", "WithinRange"),
        *("Choice", "Decimals", "SingleStep"),
    )
    module("slicer.parameterNodeWrapper", **public(parameter_node, *wrapper))
    module("slicer.i18n", **public(modules, "tr", "translate"))
    packaging = modules.Packaging()
    names = ("pip_check", "pip_ensure", "pip_install", "load_requirements", "asked", "absent")
    module("slicer.packaging", **public(packaging, *names))
    module("SampleData", SampleDataLogic=modules.SampleDataLogic)
    slicer.app = startApplication()
    _, slicer.app._logic = openScene()


def freshScene():
    """Replace the scene of the application by a new one."""
    scene, slicer.app._logic = openScene()
    return scene

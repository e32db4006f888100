"""The harness is as strict as a real Slicer: what fails there in silence fails here with a line."""

from typing import Annotated

import pytest

import tree

TOP = """<ui version="4.0"><class>top</class><widget class="qMRMLWidget" name="top">
<layout class="QVBoxLayout" name="column">
{widgets}</layout></widget>{connections}</ui>"""
SELECTOR = """<item><widget class="qMRMLNodeComboBox" name="inputSelector">
<property name="nodeTypes"><stringlist notr="true"><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property></widget></item>"""
OTHERS = """<item><widget class="ctkSliderWidget" name="step">
<property name="SlicerParameterName" stdset="0"><string>step</string></property></widget></item>
<item><widget class="QCheckBox" name="invert">
<property name="SlicerParameterName" stdset="0"><string>invert</string></property></widget></item>
<item><widget class="QComboBox" name="recipe">
<property name="SlicerParameterName" stdset="0"><string>recipe</string></property></widget></item>
<item><widget class="ctkPathLineEdit" name="path">
<property name="filters"><set>ctkPathLineEdit::Files|ctkPathLineEdit::Readable</set>
</property></widget></item>"""
CONNECTION = """<connections><connection><sender>top</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections>"""


@pytest.fixture
def load(mrmlScene, tmp_path):
    import slicer

    def load(widgets, connections=CONNECTION):
        path = tmp_path / "panel.ui"
        path.write_text(TOP.format(widgets=widgets, connections=connections))
        top = slicer.util.loadUI(str(path))
        top.setMRMLScene(mrmlScene)
        return top, slicer.util.childWidgetVariables(top)

    return load


def test_a_selector_has_no_scene_without_its_connection(load, mrmlScene):
    from harness.mrml_widgets import nodeSelectorItems

    mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    _, ui = load(SELECTOR, connections="")
    assert ui.inputSelector.nodeCount() == 0
    _, ui = load(SELECTOR)
    assert nodeSelectorItems(ui.inputSelector) == ["None", "CT", "Create new node"]


@pytest.mark.parametrize(
    ("widgets", "says"),
    [
        (SELECTOR.replace("noneEnabled", "noneEnable"), "has no property noneEnable"),
        (SELECTOR.replace("qMRMLNodeComboBox", "qMRMLNodeCombo"), "no stand-in for qMRMLNodeCombo"),
        (SELECTOR.replace("inputSelector", "outputSelector"), "connection of inputSelector"),
        (SELECTOR + SELECTOR, "two widgets are named inputSelector"),
    ],
)
def test_a_wrong_ui_file_is_refused(load, widgets, says):
    with pytest.raises(RuntimeError, match=says):
        load(widgets)


def test_parameters_and_widgets_follow_each_other(load, mrmlScene):
    import slicer
    from slicer import vtkMRMLScalarVolumeNode
    from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

    class Parameters:
        inputVolume: vtkMRMLScalarVolumeNode  # noqa: N815
        step: Annotated[float, WithinRange(1, 16)] = 4
        invert: bool = True
        recipe: Annotated[str, Choice(["choi2021", "l1"])] = "l1"

    Parameters.__annotations__["inputVolume"] = vtkMRMLScalarVolumeNode
    node = mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters = parameterNodeWrapper(Parameters)(node)
    _, ui = load(SELECTOR + OTHERS)
    from SyntheticContrastLib.gui.binding import connectWidgets

    tag = connectWidgets(parameters, ui)
    assert (ui.step.value, ui.invert.checked, ui.recipe.currentText) == (4, True, "l1")
    volume = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    assert parameters.inputVolume is None
    ui.inputSelector.setCurrentNode(volume)
    ui.step.value = 100
    ui.recipe.currentIndex = 0
    assert (parameters.inputVolume, parameters.step, parameters.recipe) == (volume, 16, "choi2021")
    parameters.invert = False
    parameters.inputVolume = None
    assert not ui.invert.checked and ui.inputSelector.currentNodeID == ""
    parameters.inputVolume = volume
    mrmlScene.RemoveNode(volume)
    assert parameters.inputVolume is None
    for wrong in ({"step": 17.0}, {"recipe": "none"}, {"invert": 1}):
        with pytest.raises((TypeError, ValueError)):
            parameters.setValue(*next(iter(wrong.items())))
    parameters.disconnectGui(tag)
    ui.step.value = 2
    assert parameters.step == 16
    with pytest.raises(TypeError):
        parameters.connectGui(slicer.qMRMLWidget())


def test_the_manners_of_pythonqt(mrmlScene):
    import ctk
    import qt

    button = qt.QPushButton("Go")
    assert (button.text, button.enabled, button.className()) == ("Go", True, "QPushButton")
    button.setText("Stop")
    button.toolTip = "why"
    button.name = "go"
    assert (button.text, button.toolTip, button.objectName) == ("Stop", "why", "go")
    with pytest.raises(TypeError):
        button.text()
    with pytest.raises(AttributeError):
        button.tooltip = "misspelt"
    with pytest.raises(TypeError, match="signal"):
        button.connect("clicked()", print)
    clicks = []
    button.clicked.connect(lambda: clicks.append(1))
    button.click()
    assert clicks == [1]
    path = ctk.ctkPathLineEdit()
    path.nameFilters = ["*.csv"]
    told = []
    path.currentPathChanged.connect(told.append)
    path.currentPath = "cases.csv"
    path.currentPath = "cases.txt"
    assert told == ["cases.csv"]


def test_messages_are_recorded_and_answered(mrmlScene):
    import qt
    import slicer

    from harness.ctk_widgets import ctkMessageBox

    ctkMessageBox.said.clear()
    ctkMessageBox.answers.append(qt.QMessageBox.No)
    assert not slicer.util.confirmYesNoDisplay("Go on?")
    slicer.util.errorDisplay("It failed.")
    with pytest.raises(ValueError), slicer.util.tryWithErrorDisplay("Not done."):
        raise ValueError("bad")
    assert ctkMessageBox.said == ["Go on?", "It failed.", "Not done.\n\nbad"]


def test_a_new_node_is_in_the_subject_hierarchy_at_once(mrmlScene):
    import slicer

    volume = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrmlScene)
    assert hierarchy.GetItemByDataNode(volume)


def test_the_harness_is_not_known_to_the_extension():
    for source in tree.SOURCES:
        for path in source.rglob("*.py"):
            assert "harness" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("name", tree.MODULES)
def test_every_module_opens_and_describes_itself(modulePanel, name, tmp_path):
    panel = modulePanel(name)
    assert panel.description.categories == ["Image Synthesis"]
    assert panel.description.helpText and panel.description.acknowledgementText and panel.description.contributors
    panel.screenshot(tmp_path / "panel.png")
    panel.closeScene()
    panel.widget.exit()
    panel.widget.enter()

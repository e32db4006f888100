"""Module 1's panel: clicks that generate, cancel and compare, and all that can go wrong on the way."""

import json
import os
import shutil
import signal
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import tree
from views.factory import add_volume, chest, ijk_to_ras, parent_transform

MODULE = "SyntheticContrast"
FOUND = {"broken": {}, "device": "cpu", "device_reason": "no GPU"}
START = {"event": "start", "model": "tiny", "weights_sha256": "f00d", "device": "cpu", "device_reason": "no GPU"}


@pytest.fixture
def openPanel(modulePanel, mrmlScene, tiny_bundle, tmp_path, monkeypatch):
    """Opens the panel, with the tiny model chosen and a small CT as input. Temporary files go below tmp_path/temp."""
    import tempfile

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SYNTHETIC_CONTRAST_MODELS", str(tmp_path / "models"))
    shutil.copytree(tiny_bundle.folder, tmp_path / "models" / "tiny")
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))

    def open_panel(shape=(20, 64, 72)):
        panel = modulePanel(MODULE)
        panel.widget.panel.checkTimer.stop()  # Generate checks as well
        panel.temp = tmp_path / "temp"
        panel.ct = add_volume(mrmlScene, chest(shape), "CT", degrees=3)
        panel.parameters = lambda: panel.widget.panel.parameters
        panel.running = lambda: panel.widget.panel.generation is not None or panel.widget.panel.generateWhenChecked
        panel.choose(panel.ui.inputSelector, "CT")
        panel.choose(panel.ui.modelComboBox, "tiny")
        return panel

    return open_panel


@pytest.fixture
def played(openPanel):
    """The same with child processes that the test plays."""
    from harness.child import PlayedChild

    panel = openPanel()
    panel.child, panel.checker = PlayedChild(), PlayedChild()
    panel.widget.panel.child, panel.widget.panel.checker = panel.child, panel.checker
    return panel


@pytest.fixture
def ready(played):
    """The same with all packages found."""
    played.widget.panel.check()
    checked(played)
    return played


def checked(panel, found=FOUND):
    panel.checker.tell(json.dumps(found))
    panel.checker.finish()
    panel.process()


def tell(panel, **event):
    panel.child.tell(json.dumps(event))
    panel.process()


def progress(panel, done, total=20, left=None):
    tell(panel, event="progress", slices_done=done, slices_total=total, seconds_elapsed=8.0, seconds_left=left)


def option(panel, name):
    arguments = panel.child.started[-1][1]
    return arguments[arguments.index(name) + 1]


def succeed(panel, added=100):
    """What generate.py does, and what it writes."""
    import SimpleITK

    image = SimpleITK.ReadImage(option(panel, "--input"))
    SimpleITK.WriteImage(image + added, option(panel, "--output"))
    if "--uncertainty" in panel.child.started[-1][1]:
        SimpleITK.WriteImage(SimpleITK.Cast(image * 0 + 7, SimpleITK.sitkFloat32), option(panel, "--uncertainty"))
    tell(panel, **START)
    progress(panel, 20)
    tell(panel, event="written", changes=[])
    tell(panel, event="end", status=0, message="done")
    panel.child.finish(0)
    panel.process()


def volumes(scene):
    import slicer

    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)]


def nothingIsLeft(panel):
    return list(panel.temp.iterdir()) == []


# With real child processes


def test_generate_to_completion(openPanel, mrmlScene, layoutViews, sliceViews):
    import slicer

    panel = openPanel()
    transform = parent_transform(mrmlScene, panel.ct)
    before = layoutViews.layout
    panel.choose(panel.ui.qualityComboBox, "Preview: step 8")
    panel.click(panel.ui.generateButton)
    assert panel.ui.generateButton.text == "Cancel" and not panel.ui.inputSelector.enabled
    panel.waitFor(lambda: not panel.running())
    assert panel.messages == []
    assert panel.ui.stateLabel.text.startswith("Done: CT sCECT, on cpu (")
    scect = slicer.util.getNode("CT sCECT")
    assert scect.GetParentTransformNode() is transform
    np.testing.assert_array_equal(ijk_to_ras(scect), ijk_to_ras(panel.ct))
    values = slicer.util.arrayFromVolume(scect)
    assert values.dtype == np.int16 and values.shape == (20, 64, 72)
    assert scect.GetAttribute("SyntheticContrast.Model") == "tiny"
    assert panel.parameters().scect is scect
    assert layoutViews.layout != before
    views = sliceViews(3)  # NCCT, sCECT, difference
    panel.process(0.2)
    offset = views[0].offset
    views[0].wheel(2)
    assert views[0].offset != offset and {round(view.offset, 3) for view in views} == {round(views[0].offset, 3)}
    field = views[0].node.GetFieldOfView()[0]
    views[1].drag((100, 100), (100, 160), "Right")
    assert views[0].node.GetFieldOfView()[0] != field
    assert views[2].node.GetFieldOfView()[0] == pytest.approx(views[0].node.GetFieldOfView()[0])
    panel.click(panel.ui.leaveButton)
    assert layoutViews.layout == before
    assert nothingIsLeft(panel)


def test_cancel_half_way(openPanel, mrmlScene):
    from SyntheticContrastLib.gui.packages import Packages

    panel = openPanel((120, 96, 96))
    panel.widget.panel.packages = Packages(device="cpu")
    before = volumes(mrmlScene)
    panel.click(panel.ui.generateButton)
    panel.waitFor(lambda: panel.ui.progressBar.value > 0)
    assert panel.ui.progressBar.maximum == 120 and "of 120 slices" in panel.ui.progressBar.format
    assert panel.ui.firstLookPicture.visible and panel.ui.firstLookPicture.pixmap.width() > 200
    panel.click(panel.ui.generateButton)
    panel.waitFor(lambda: not panel.running())
    assert panel.ui.stateLabel.text == "Cancelled. The scene is as it was."
    assert not panel.ui.firstLookPicture.visible
    assert volumes(mrmlScene) == before and panel.messages == []
    assert panel.ui.generateButton.text == "Generate sCECT" and panel.ui.generateButton.enabled
    assert nothingIsLeft(panel)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_child_is_told_and_quitting_ends_one(openPanel, mrmlScene):
    from SyntheticContrastLib.gui.packages import Packages

    panel = openPanel()
    panel.widget.panel.packages = Packages(device="cpu")
    before = volumes(mrmlScene)
    panel.click(panel.ui.generateButton)
    os.killpg(panel.widget.panel.child._process.pid, signal.SIGKILL)
    panel.waitFor(lambda: panel.messages)
    assert panel.messages[0].startswith("generate.py was ended from outside") and "again" in panel.messages[0]
    assert volumes(mrmlScene) == before and nothingIsLeft(panel)
    panel.click(panel.ui.generateButton)
    process = panel.widget.panel.child._process
    panel.quit()
    assert process.poll() is not None and nothingIsLeft(panel)


def test_torch_is_missing_then_broken_then_installed(openPanel, tmp_path, monkeypatch):
    import qt
    import slicer

    blocked = tmp_path / "blocked" / "torch"
    blocked.mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(blocked.parent))
    monkeypatch.setattr(slicer.packaging.pip_check.__self__, "absent", {"lpips"})
    (blocked / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    panel = openPanel()
    asked = slicer.packaging.asked
    asked.clear()

    panel.answer(qt.QMessageBox.Cancel)
    panel.click(panel.ui.generateButton)
    assert panel.ui.stateLabel.text == "Checking the Python packages ..."
    panel.waitFor(lambda: not panel.running())
    [question] = panel.messages
    assert "PyTorch" in question and "GB" in question and "scikit-image" in question
    assert "Nothing was installed" in panel.ui.stateLabel.text and asked == []
    assert panel.ui.deviceLabel.text == "Generate asks to install: torch"

    panel.messages.clear()
    panel.answer(qt.QMessageBox.Ok)
    panel.click(panel.ui.generateButton)
    panel.waitFor(lambda: len(panel.messages) == 2)
    assert "Extensions Manager" in panel.messages[1] and asked == []  # there is no PyTorch extension

    done = []

    class PyTorchUtilsLogic:
        def uninstallTorch(self):
            done.append("uninstall")

        def installTorch(self, askConfirmation, torchVersionRequirement):
            done.append((askConfirmation, torchVersionRequirement))
            shutil.rmtree(blocked)
            return types.ModuleType("torch")

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    (blocked / "__init__.py").write_text("raise OSError('libtorch.so: file too short')")  # half-done
    panel.messages.clear()
    panel.answer(qt.QMessageBox.Ok)
    panel.choose(panel.ui.qualityComboBox, "Preview: step 8")
    panel.click(panel.ui.generateButton)
    panel.waitFor(lambda: not panel.running())
    [question] = panel.messages
    assert "does not work (OSError: libtorch.so: file too short)" in question
    assert done == ["uninstall", (False, ">=2.4")]
    [(requirements, _)] = asked
    assert "lpips>=0.1.4" in requirements and not [line for line in requirements if "torch" in line or "numpy" in line]
    assert panel.ui.stateLabel.text.startswith("Done: CT sCECT")


# With child processes that the test plays


def test_every_control_says_what_it_does(ready):
    controls = ready.controls()
    assert len(controls) >= 20
    selectors = {name: widget for name, widget in vars(ready.ui).items() if name.endswith("Selector")}
    assert len(selectors) == 6
    assert [name for name, widget in (controls | selectors).items() if not widget.toolTip] == []


def test_the_command_line(ready):
    import slicer

    ui = ready.ui
    ready.choose(ui.qualityComboBox, "Quick: step 4")
    ready.choose(ui.deviceComboBox, "cpu")
    ready.click(ui.advancedSection)
    ready.choose(ui.precisionComboBox, "fp32")
    ready.click(ui.uncertaintyCheckBox)
    ready.click(ui.generateButton)
    entry, arguments = ready.child.started[-1]
    assert entry == "generate.py"
    folder = Path(option(ready, "--input")).parent
    assert folder.parent == ready.temp and folder.stat().st_mode & 0o077 == 0
    assert Path(option(ready, "--model")).name == "tiny"
    for name, value in {"--step": "4", "--device": "cpu", "--precision": "fp32", "--progress": "json"}.items():
        assert option(ready, name) == value
    assert Path(option(ready, "--uncertainty")).parent == folder and "--heart-mask" not in arguments
    assert "--uncompressed" in arguments  # files that are read once, at once
    succeed(ready)
    deviation = slicer.util.getNode("CT sCECT uncertainty")
    assert (slicer.util.arrayFromVolume(deviation) == 7).all()
    np.testing.assert_array_equal(ijk_to_ras(deviation), ijk_to_ras(ready.ct))
    assert nothingIsLeft(ready)


def test_progress_and_result(ready, mrmlScene):
    import slicer

    ui = ready.ui
    ready.click(ui.generateButton)
    assert ui.stateLabel.text == "Starting ..." and ui.progressBar.visible
    assert (ui.progressBar.minimum, ui.progressBar.maximum) == (0, 0)  # not known yet
    tell(ready, **START)
    progress(ready, 5, left=125)
    assert (ui.progressBar.value, ui.progressBar.maximum) == (5, 20)
    assert ui.progressBar.format == "5 of 20 slices, 2 min left"
    assert "tiny on cpu" in ui.stateLabel.text
    succeed(ready)
    assert ui.stateLabel.text == "Done: CT sCECT, on cpu (no GPU). Synthetic - not for diagnosis."
    assert not ui.progressBar.visible and ready.messages == []
    scect = slicer.util.getNode("CT sCECT")
    values = slicer.util.arrayFromVolume(scect)
    np.testing.assert_array_equal(values, slicer.util.arrayFromVolume(ready.ct) + 100)
    assert ui.scectSelector.currentNode() is scect and ui.ncctSelector.currentNode() is ready.ct
    assert ready.widget.panel.compare.comparison.isShown and ui.leaveButton.enabled
    assert ui.outputSelector.currentNode() is None  # the next one is a new volume again
    seconds = 8.0 / (20 * 64 * 72 * 16 / 20 * 5 / 1e6)  # 5 windows of 16 slices at step 1
    from SyntheticContrastLib.gui.expected_time import expectedSeconds, windowMegavoxels

    card = ready.widget.panel.card()
    expected = expectedSeconds(card, "cpu", windowMegavoxels((20, 64, 72), 16, 1))
    assert expected == pytest.approx(5 + seconds * 20 * 64 * 72 * 16 / 20 * 5 / 1e6)
    assert "13 s (step 1)" in ui.timesLabel.text or "15 s (step 1)" in ui.timesLabel.text
    ready.choose(ui.outputSelector, "CT sCECT")
    ready.click(ui.generateButton)
    succeed(ready, added=50)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(scect), slicer.util.arrayFromVolume(ready.ct) + 50)
    assert volumes(mrmlScene).count("CT sCECT") == 1


def look(panel):
    """generate.py has drawn the middle slice."""
    import SimpleITK

    path = option(panel, "--first-look")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((50, 90, 3), 127, np.uint8), isVector=True), path)
    tell(panel, event="first_look", case="ncct", path=path)


@pytest.mark.parametrize("end", ["done", "cancelled", "failed"])
def test_the_first_look_is_shown_during_the_run(ready, end):
    import slicer

    slicer.util.updateVolumeFromArray(ready.ct, chest((40, 64, 72)))
    ui = ready.ui
    ready.click(ui.generateButton)
    assert Path(option(ready, "--first-look")).parent == Path(option(ready, "--input")).parent
    assert not ui.firstLookPicture.visible and not ui.firstLookLabel.visible
    look(ready)
    progress(ready, 5, 40)
    picture = ui.firstLookPicture.pixmap
    assert (
        ui.firstLookPicture.visible and "middle slice" in ui.firstLookLabel.text and "cancel" in ui.firstLookLabel.text
    )
    assert picture.width() == ui.firstLookPicture.width and picture.height() == round(picture.width() * 50 / 90)
    if end == "done":
        succeed(ready)
    elif end == "cancelled":
        ready.click(ui.generateButton)
        assert not ui.firstLookPicture.visible
        ready.child.finish(3)
    else:
        ready.child.finish(1)
    assert not ui.firstLookPicture.visible and not ui.firstLookLabel.visible
    assert nothingIsLeft(ready)


def test_a_warning_stands_below_the_state_and_the_result(ready):
    ready.click(ready.ui.generateButton)
    tell(ready, **START)
    assert "Warning" not in ready.ui.stateLabel.text
    tell(ready, event="warning", case="CT", message="this CT seems to be enhanced already")
    assert ready.ui.stateLabel.text.endswith("\nWarning: This CT seems to be enhanced already.")
    assert ready.ui.stateLabel.text.startswith("Generating with ")
    succeed(ready)
    assert ready.ui.stateLabel.text.startswith("Done: ")
    assert ready.ui.stateLabel.text.count("\nWarning: This CT seems to be enhanced already.") == 1
    assert ready.messages == []


def test_a_short_run_has_no_first_look(ready):
    import slicer

    for slices, isLooked in ((23, False), (24, True)):  # 8 windows of 16 slices, and 9
        slicer.util.updateVolumeFromArray(ready.ct, chest((slices, 64, 72)))
        ready.click(ready.ui.generateButton)
        assert ("--first-look" in ready.child.started[-1][1]) is isLooked
        ready.child.finish(3)
        ready.messages.clear()


def test_a_disabled_button_says_why(ready, mrmlScene):
    ui = ready.ui
    ready.choose(ui.inputSelector, "None")
    assert not ui.generateButton.enabled
    assert ui.generateButton.toolTip == ui.stateLabel.text == "No CT is selected: choose the non-contrast CT as input."
    add_volume(mrmlScene, np.zeros((4, 8, 8), np.uint8), "picture")
    ready.choose(ui.inputSelector, "picture")
    assert "8-bit" in ui.generateButton.toolTip
    ready.choose(ui.inputSelector, "CT")
    assert ui.generateButton.enabled and "background" in ui.generateButton.toolTip
    ready.choose(ui.outputSelector, "CT")
    assert "the input itself" in ui.generateButton.toolTip
    ready.choose(ui.outputSelector, ui.outputSelector.noneDisplay)
    ready.parameters().model = "gone"
    assert "There is no model gone" in ui.generateButton.toolTip and not ui.cardButton.enabled
    ready.choose(ui.modelComboBox, "tiny")
    weights = ready.temp.parent / "models" / "tiny" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    ready.widget.panel.refresh()
    assert "sha256" in ui.generateButton.toolTip


@pytest.mark.parametrize(
    ("status", "events", "errors", "says"),
    [
        (
            2,
            [{"event": "end", "status": 2, "message": "the CT is empty: choose another"}],
            [],
            "The CT is empty: choose another.",
        ),
        (
            4,
            [{"event": "end", "status": 4, "message": "out of memory: close other programs"}],
            [],
            "Out of memory: close",
        ),
        (1, [{"event": "end", "status": 1, "message": "internal error"}], ["Traceback"], "copy it into the report"),
        (2, [], ["generate.py: unknown option (see --help)"], "Unknown option"),
        (-9, [START], [], "generate.py was ended from outside (status -9)"),
        (0, [START], [], "Cannot read scect.nrrd"),
    ],
)
def test_a_failure_is_one_message_and_changes_nothing(ready, mrmlScene, status, events, errors, says):
    before = volumes(mrmlScene)
    ready.click(ready.ui.generateButton)
    for event in events:
        tell(ready, **event)
    for line in errors:
        ready.child.tell(line, True)
    ready.child.finish(status)
    [message] = ready.messages
    assert says in message and "\n" not in message and message == ready.ui.stateLabel.text
    assert volumes(mrmlScene) == before and nothingIsLeft(ready) and ready.ui.generateButton.enabled
    import qt

    ready.click(ready.ui.logSection)
    ready.click(ready.ui.copyLogButton)
    copied = qt.QApplication.clipboard().text()
    assert "generate.py --input" in copied and all(line in copied for line in errors)


def test_cancel_twice_ends_it_at_once(ready, mrmlScene):
    ready.click(ready.ui.generateButton)
    ready.click(ready.ui.generateButton)
    assert ready.child.stopping and not ready.child.killed
    assert ready.ui.generateButton.text == "End now" and ready.ui.stateLabel.text == "Cancelling ..."
    ready.click(ready.ui.generateButton)
    assert ready.child.killed
    ready.child.finish(-9)
    assert volumes(mrmlScene) == ["CT"] and ready.messages == [] and nothingIsLeft(ready)


def test_the_input_is_removed_during_the_run(ready, mrmlScene):
    ready.click(ready.ui.generateButton)
    mrmlScene.RemoveNode(ready.ct)
    assert ready.child.stopping and "The input was removed" in ready.ui.stateLabel.text
    ready.child.finish(3)
    assert volumes(mrmlScene) == [] and ready.messages == [] and nothingIsLeft(ready)
    assert "was ended" in ready.ui.stateLabel.text and not ready.ui.generateButton.enabled


def test_the_output_is_removed_during_the_run(ready, mrmlScene):
    output = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    ready.choose(ready.ui.outputSelector, "mine")
    ready.click(ready.ui.generateButton)
    mrmlScene.RemoveNode(output)
    succeed(ready)
    assert volumes(mrmlScene)[:2] == ["CT", "CT sCECT"] and ready.messages == []


def test_the_input_is_cropped_during_the_run(ready, mrmlScene):
    import SimpleITK
    import slicer

    ready.click(ready.ui.generateButton)
    SimpleITK.WriteImage(SimpleITK.ReadImage(option(ready, "--input")), option(ready, "--output"))
    slicer.util.updateVolumeFromArray(ready.ct, chest((18, 64, 72)))
    tell(ready, **START)
    ready.child.finish(0)
    assert "was changed during the generation" in ready.messages[0]
    assert volumes(mrmlScene) == ["CT"]


def test_the_voxels_are_edited_during_the_run(ready, mrmlScene):
    import slicer

    ready.click(ready.ui.generateButton)
    slicer.util.arrayFromVolume(ready.ct)[9, 30, 30] += 1
    succeed(ready)
    assert "was changed during the generation" in ready.messages[0]
    assert volumes(mrmlScene) == ["CT"] and nothingIsLeft(ready)


def test_the_scene_is_closed_during_the_run(ready, mrmlScene):
    ready.click(ready.ui.generateButton)
    ready.closeScene()
    assert ready.child.stopping and not ready.child.killed
    ready.child.finish(3)
    ready.process()
    assert volumes(mrmlScene) == [] and ready.messages == [] and nothingIsLeft(ready)
    assert ready.ui.stateLabel.text == "The scene was closed: the generation was ended."
    assert ready.ui.generateButton.text == "Generate sCECT" and ready.ui.inputSelector.currentNode() is None


def test_another_module_during_the_run(ready, mrmlScene, layoutViews):
    before = layoutViews.layout
    ready.click(ready.ui.generateButton)
    ready.widget.exit()
    succeed(ready)
    assert "CT sCECT" in volumes(mrmlScene) and layoutViews.layout == before  # the user is elsewhere by now
    ready.widget.enter()
    assert ready.ui.stateLabel.text.startswith("Done: CT sCECT") and ready.ui.compareButton.enabled


def test_the_widgets_are_deleted_during_the_run(ready, mrmlScene):
    ready.click(ready.ui.generateButton)
    ready.deleteWidgets()
    progress(ready, 3)
    assert ready.child.running
    ready.quit()
    assert ready.child.closed and nothingIsLeft(ready) and volumes(mrmlScene) == ["CT"]


def test_the_scene_keeps_what_was_chosen(ready, mrmlScene, tmp_path):
    ui = ready.ui
    ready.choose(ui.qualityComboBox, "Quick: step 4")
    ready.choose(ui.mixComboBox, "Checkerboard of")
    ready.choose(ui.orientationComboBox, "Coronal")
    mrmlScene.SetRootDirectory(str(tmp_path))
    path = str(tmp_path / "scene.mrml")
    assert mrmlScene.Commit(path)
    ready.closeScene()
    assert ui.qualityComboBox.currentText.startswith("Best") and ui.modelComboBox.currentText != "tiny"
    mrmlScene.SetURL(path)
    mrmlScene.Import()
    ready.process()
    assert ui.qualityComboBox.currentText == "Quick: step 4" and ui.modelComboBox.currentText == "tiny"
    assert ui.mixComboBox.currentText == "Checkerboard of" and ui.orientationComboBox.currentText == "Coronal"
    assert ui.inputSelector.currentNode().GetName() == "CT"


def test_a_scene_saved_during_a_comparison_shows_it_again(ready, mrmlScene, layoutViews, sliceViews, tmp_path):
    import slicer

    before = layoutViews.layout
    ready.click(ready.ui.generateButton)
    succeed(ready)
    sliceViews(3)
    (tmp_path / "saved").mkdir()
    assert slicer.app.applicationLogic().SaveSceneToSlicerDataBundleDirectory(str(tmp_path / "saved"))
    ready.closeScene()
    assert layoutViews.layout == before
    [path] = (tmp_path / "saved").rglob("*.mrml")
    mrmlScene.SetURL(str(path))
    mrmlScene.Import()
    ready.process(0.3)
    comparison = ready.widget.panel.compare.comparison
    assert list(comparison.volumes) == ["NCCT", "sCECT", "difference"]
    first, second, _ = sliceViews(3)
    first.wheel(2)
    assert second.offset == first.offset
    ready.click(ready.ui.leaveButton)
    assert not comparison.isShown and layoutViews.layout != layoutViews.layout_node.SlicerLayoutNone


def test_a_check_that_crashes_or_finds_no_gpu_is_told(played):
    played.widget.panel.check()
    assert played.ui.deviceLabel.text == ""
    checked(played, {"broken": {}, "device": "cuda:0", "device_reason": "a GPU"})
    assert played.ui.deviceLabel.text == "auto takes cuda:0 (a GPU)"
    assert "after the first run" in played.ui.timesLabel.text
    played.choose(played.ui.deviceComboBox, "cpu")
    assert played.ui.timesLabel.text.startswith("About: ")
    played.widget.panel.packages = None
    played.click(played.ui.generateButton)
    assert played.ui.generateButton.text == "Cancel"
    played.click(played.ui.generateButton)  # taken back
    assert played.ui.generateButton.text == "Generate sCECT"
    played.click(played.ui.generateButton)
    played.checker.tell("Fatal Python error: Illegal instruction", True)
    played.checker.finish(-4)
    assert "Illegal instruction" in played.messages[0]
    assert played.child.started == []


def test_an_installation_in_vain_is_told_and_can_be_retried(ready):
    import qt

    from SyntheticContrastLib.ct.errors import InputError

    panel, tried = ready.widget.panel, []
    panel.packages = None
    missing = {"broken": {"torch": "missing"}}

    def fail(packages):
        tried.append(packages)
        if len(tried) == 1:
            raise InputError("no network")

    panel.install = fail
    for attempt, says in (("first", "No network."), ("second", "not complete (torch: missing)")):
        ready.messages.clear()
        ready.answer(qt.QMessageBox.Ok)
        ready.click(ready.ui.generateButton)
        checked(ready, missing)
        if attempt == "second":
            checked(ready, missing)  # what was installed is looked at again
        assert len(ready.messages) == 2 and says in ready.messages[1]
        assert ready.ui.generateButton.enabled
    assert len(tried) == 2 and ready.child.started == []


def test_a_broken_small_package_is_installed_anew(mrmlScene):
    import slicer

    from SyntheticContrastLib.gui.packages import Packages, install

    slicer.packaging.asked.clear()
    install(Packages({"pydicom": "OSError: file too short"}))
    assert slicer.packaging.asked[0][0] == ["--force-reinstall", "--no-deps", "pydicom>=2.4"]


def test_nothing_is_installed_in_testing_mode(ready):
    import slicer

    ready.widget.panel.packages = None
    ready.widget.panel.install = lambda packages: pytest.fail("installed without a click")
    slicer.app._testing = True
    try:
        ready.click(ready.ui.generateButton)
        checked(ready, {"broken": {"torch": "missing"}})
    finally:
        slicer.app._testing = False
    assert "Nothing was installed" in ready.ui.stateLabel.text


def test_the_card_and_a_model_of_ones_own(ready, tiny_bundle, tmp_path):
    ui, panel = ready.ui, ready.widget.panel
    ready.choose(ui.modelComboBox, "SyntheticContrast-choi2021-demo")
    ready.click(ui.cardButton)
    text = panel.cardDialog.text.toPlainText()
    assert panel.cardDialog.dialog.visible
    for part in ("Intended use", "not for diagnosis", "LIDC-IDRI", "CC BY", "known faults", "descending aorta"):
        assert part in text

    shutil.copytree(tiny_bundle.folder, tmp_path / "elsewhere" / "mine")
    (tmp_path / "elsewhere" / "mine" / "notes.txt").write_text("private")
    panel.chooseFolder = lambda title: str(tmp_path / "elsewhere" / "mine")
    ready.click(ui.addModelButton)
    assert ui.modelComboBox.currentText == ready.parameters().model == "mine"
    assert sorted(path.name for path in (tmp_path / "models" / "mine").iterdir()) == [
        "card.json",
        "weights.safetensors",
    ]
    ready.click(ui.addModelButton)
    assert "There is a model mine already" in ready.messages.pop()
    (tmp_path / "elsewhere" / "mine" / "weights.safetensors").write_bytes(b"x")
    (tmp_path / "elsewhere" / "mine").rename(tmp_path / "elsewhere" / "other")
    panel.chooseFolder = lambda title: str(tmp_path / "elsewhere" / "other")
    ready.click(ui.addModelButton)
    assert "sha256" in ready.messages.pop()
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["mine", "tiny"]
    panel.chooseFolder = lambda title: ""
    ready.click(ui.addModelButton)
    assert ready.messages == []


def test_a_model_of_the_heart(ready, mrmlScene, tmp_path):
    import slicer

    from SyntheticContrastLib.models.bundle import write_bundle
    from unit.tiny import tiny_heart_card, tiny_heart_network

    ui = ready.ui
    write_bundle(tmp_path / "models" / "heart", tiny_heart_network(), tiny_heart_card())
    ready.widget.enter()
    ready.choose(ui.modelComboBox, "heart")
    assert not ui.qualityComboBox.enabled and "slice by slice" in ui.qualityComboBox.toolTip
    assert "do not apply" in ui.modelLabel.text
    ready.click(ui.generateButton)
    assert not {"--step", "--uncertainty", "--heart-mask", "--first-look"} & set(ready.child.started[-1][1])
    ready.click(ui.generateButton)
    ready.child.finish(3)
    segmentation = mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "heart")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ready.ct)
    mask = np.zeros((20, 64, 72), np.uint8)
    mask[5:9, 20:40, 30:50] = 1
    for name, values in (("lung", 1 - mask), ("heart", mask)):
        segment = segmentation.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(values, segmentation, segment, ready.ct)
    ready.choose(ui.heartMaskSelector, "heart")
    assert ui.heartMaskSegmentComboBox.visible and not ui.generateButton.enabled
    assert ui.generateButton.toolTip == "Heart has 2 segments: choose the one that is the heart."
    ready.choose(ui.heartMaskSegmentComboBox, "heart")
    assert ready.parameters().heartMaskSegment == "heart"
    ready.click(ui.generateButton)
    import SimpleITK

    image = SimpleITK.ReadImage(option(ready, "--heart-mask"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), mask)
    assert image.GetOrigin() == SimpleITK.ReadImage(option(ready, "--input")).GetOrigin()
    ready.child.finish(3)


def test_sample_data_compare_and_mix(ready, mrmlScene, layoutViews, sliceViews, monkeypatch):
    from SyntheticContrastLib.gui import generate_panel

    make = generate_panel.addPhantomPair
    monkeypatch.setattr(generate_panel, "addPhantomPair", lambda scene: make(scene, (20, 64, 64), (12.0, 5.6, 5.6)))
    ui, before = ready.ui, layoutViews.layout
    ready.click(ui.phantomButton)
    assert ui.inputSelector.currentNode().GetName() == "Phantom NCCT"
    assert ui.cectSelector.currentNode().GetName() == "Phantom CECT" and ui.generateButton.enabled
    ready.choose(ui.scectSelector, "None")
    assert not ui.lungPresetButton.enabled and "Compare" in ui.lungPresetButton.toolTip
    ready.click(ui.compareButton)
    assert len(sliceViews(2)) == 2  # no sCECT, so no difference of it
    ready.choose(ui.differenceComboBox, "CECT − NCCT")
    sliceViews(3)
    comparison = ready.widget.panel.compare.comparison
    ready.click(ui.vascularPresetButton)
    assert comparison.window == (1000, 200)
    ready.choose(ui.orientationComboBox, "Coronal")
    assert {view.node.GetOrientation() for view in sliceViews(3)} == {"Coronal"}
    ready.choose(ui.mixComboBox, "Fade between")
    assert "no sCECT to mix in" in ui.compareLabel.text and ui.fadeSlider.visible
    ready.choose(ui.mixPairComboBox, "NCCT and CECT")
    assert not ui.compareLabel.visible
    composite = sliceViews(3)[0].composite
    assert composite.GetForegroundVolumeID() == ui.cectSelector.currentNodeID
    ui.fadeSlider.value = 25
    assert composite.GetForegroundOpacity() == 0.25
    ready.choose(ui.mixComboBox, "Checkerboard of")
    board = mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID())
    assert board.GetName() == "Phantom NCCT / Phantom CECT" and composite.GetForegroundVolumeID() is None
    ready.choose(ui.mixComboBox, "Nothing: side by side")
    assert composite.GetBackgroundVolumeID() == ui.ncctSelector.currentNodeID
    assert mrmlScene.GetNodeByID(board.GetID() or "") is None
    ready.choose(ui.ncctSelector, "Phantom CECT")
    assert "twice" in ui.compareButton.toolTip
    mrmlScene.RemoveNode(ui.cectSelector.currentNode())
    ready.process()
    assert layoutViews.layout == before and not ui.leaveButton.enabled


def test_a_cect_of_another_patient_is_not_compared(ready, mrmlScene):
    old = add_volume(mrmlScene, chest(), "old NCCT")
    cect = add_volume(mrmlScene, chest(), "old CECT")
    ready.parameters().ncct, ready.parameters().cect = old, cect
    ready.click(ready.ui.generateButton)
    succeed(ready)
    assert ready.parameters().ncct is ready.ct and ready.parameters().cect is None


def test_save_as_dicom(ready, tmp_path):
    import pydicom

    ui = ready.ui
    assert not ui.saveDicomButton.enabled and "generate one" in ui.saveDicomButton.toolTip
    ready.click(ui.generateButton)
    succeed(ready)
    ready.widget.panel.chooseFolder = lambda title: str(tmp_path)
    ready.click(ui.saveDicomButton)
    files = sorted((tmp_path / "CT_sCECT").iterdir())
    assert len(files) == 20 and "Saved as a study" in ui.stateLabel.text
    assert "not for diagnosis" in pydicom.dcmread(files[0]).SeriesDescription
    ready.click(ui.saveDicomButton)
    assert "already exists" in ready.messages[0]


def test_the_layouts_are_known_when_slicer_has_started(ready, layoutViews):
    import slicer

    from SyntheticContrastLib.scene.compare_layout import layoutId

    layout = layoutId(["NCCT", "sCECT"])
    assert not layoutViews.layout_node.IsLayoutDescription(layout)
    slicer.app.startupCompleted.emit()
    assert layoutViews.layout_node.IsLayoutDescription(layout)


# Without a panel


def test_the_self_tests_of_a_real_slicer(modulePanel, layoutViews, monkeypatch, capsys):
    from harness.panel import load

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    modulePanel(MODULE)
    script = load(tree.REPOSITORY / "Testing" / "Python" / "run_self_tests.py")
    assert script.main() == 0
    said = capsys.readouterr().out
    assert "Ran 6 tests" in said and "skipped" not in said


def test_a_self_test_that_fails_gives_the_status_1(modulePanel, layoutViews, monkeypatch, capsys):
    from harness.panel import load

    panel = modulePanel(MODULE)
    script = load(tree.REPOSITORY / "Testing" / "Python" / "run_self_tests.py")
    monkeypatch.setattr(script, "TESTS", ("SyntheticContrast.SyntheticContrastTest.test_default_model_is_found",))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(panel.module.SyntheticContrastLogic, "models", lambda self: [])
    assert script.main() == 1


def test_the_button_reload_and_test(modulePanel, monkeypatch):
    panel = modulePanel(MODULE)
    ran = []
    monkeypatch.setattr(panel.module.SyntheticContrastTest, "runTest", lambda self: ran.append(1))
    module = panel.module.SyntheticContrast(panel.description)
    module.runTest()
    assert ran == [1]


def test_the_self_test_without_views_and_torch(modulePanel, monkeypatch):
    panel = modulePanel(MODULE)
    monkeypatch.setitem(sys.modules, "torch", None)
    said = []
    monkeypatch.setattr(panel.module.SyntheticContrastTest, "delayDisplay", lambda self, text: said.append(text))
    panel.module.SyntheticContrastTest().runTest()
    assert any("not tested" in text for text in said)


def test_the_logic_generates_without_waiting_and_says_what_failed(modulePanel, mrmlScene, tiny_bundle, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    panel = modulePanel(MODULE)
    ct = add_volume(mrmlScene, chest((20, 64, 72)), "CT")
    logic, ended = panel.module.SyntheticContrastLogic(), []
    assert "SyntheticContrast-choi2021-demo" in logic.models()
    generation = logic.generate(
        ct, model=tiny_bundle.folder, waitForCompletion=False, onFinished=lambda: ended.append(1)
    )
    generation.cancel()
    panel.waitFor(lambda: ended)
    assert (generation.outcome, generation.running, volumes(mrmlScene)) == ("cancelled", False, ["CT"])
    for arguments, error, says in (
        ({"model": "none"}, ValueError, "no model named none"),
        ({"outputNode": ct}, ValueError, "the input itself"),
        ({"model": tiny_bundle.folder, "step": 99}, RuntimeError, "step 99 is out of range|Step 99 is out of range"),
    ):
        with pytest.raises(error, match=says):
            logic.generate(ct, **arguments)
    assert volumes(mrmlScene) == ["CT"]


@pytest.mark.parametrize(("slices", "step"), [(16, 1), (20, 1), (20, 8), (33, 4), (5, 8), (64, 16)])
def test_windows_are_counted_as_they_are_made(mrmlScene, slices, step):
    from SyntheticContrastLib.gui.expected_time import windowMegavoxels
    from SyntheticContrastLib.synthesis.sliding_window import window_starts

    windows = len(window_starts(max(slices, 16), 16, step))
    assert windowMegavoxels((slices, 100, 100), 16, step) == pytest.approx(windows * 0.16)


def test_durations_in_words(mrmlScene):
    from SyntheticContrastLib.gui.words import duration

    words = {0.2: "1 s", 7.4: "7 s", 13: "15 s", 54: "55 s", 58: "1 min", 130: "2 min", 5400: "1 h 30 min"}
    assert {seconds: duration(seconds) for seconds in words} == words


def test_one_disclaimer(mrmlScene):
    from SyntheticContrastLib.ct.disclaimer import DISCLAIMER
    from SyntheticContrastLib.synthesis import convert

    assert convert.DISCLAIMER == DISCLAIMER


def test_the_check_of_packages_finds_a_folder_without_pytorch_in_it(tmp_path):
    import subprocess

    from unit.entry import GENERATE, command

    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command(GENERATE.with_name("check.py")), capture_output=True, text=True, check=True, env=environment
    )
    assert "torch" in json.loads(done.stdout)["broken"]

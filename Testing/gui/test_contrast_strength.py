"""Phase and contrast strength: what is passed to a run, and an sCECT whose level the slider changes at once."""

import json
import shutil

import numpy as np
import pytest

from views.factory import add_volume, chest

FOUND = {"broken": {}, "device": "cpu", "device_reason": "no GPU"}
START = {"event": "start", "model": "tiny-share", "device": "cpu", "device_reason": "no GPU"}
NATIVE = 40.0


@pytest.fixture(scope="session")
def share_bundle(tmp_path_factory):
    from SyntheticContrastLib.models.bundle import write_bundle
    from unit.tiny import tiny_share_card, tiny_share_network

    return write_bundle(tmp_path_factory.mktemp("models") / "share", tiny_share_network(), tiny_share_card())


@pytest.fixture
def panel(modulePanel, mrmlScene, share_bundle, tiny_bundle, tmp_path, monkeypatch):
    """The panel with played children, all packages found, the share model and a small CT with an unmeasured corner."""
    from harness.child import PlayedChild

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SYNTHETIC_CONTRAST_MODELS", str(tmp_path / "models"))
    shutil.copytree(share_bundle.folder, tmp_path / "models" / "share")
    shutil.copytree(tiny_bundle.folder, tmp_path / "models" / "tiny")
    panel = modulePanel("SyntheticContrast")
    panel.widget.panel.checkTimer.stop()
    panel.child, panel.checker = PlayedChild(), PlayedChild()
    panel.widget.panel.child, panel.widget.panel.checker = panel.child, panel.checker
    panel.parameters = lambda: panel.widget.panel.parameters
    panel.weights = share_bundle.card.weights_sha256
    panel.ct = add_volume(mrmlScene, ncct(), "CT", degrees=3)
    panel.widget.panel.check()
    panel.checker.tell(json.dumps(FOUND))
    panel.checker.finish()
    panel.choose(panel.ui.inputSelector, "CT")
    panel.choose(panel.ui.modelComboBox, "share")
    return panel


def ncct():
    hu = chest((20, 64, 72)).astype(np.int16)
    hu[:, :4, :4] = -1024
    return hu


def rise():
    """HU of a run at 350: 310 in blood, half of it in an organ; and a change where nothing was measured."""
    change = np.zeros((20, 64, 72), np.int16)
    change[5:15, 20:30, 20:30] = 310
    change[5:15, 40:50, 20:30] = 155
    change[:, :4, :4] = 24
    return change


def expected(level):
    factor = np.where(ncct() <= -1024, 1, (level - NATIVE) / (350 - NATIVE))
    return ncct() + np.rint(rise() * factor)


def option(panel, name):
    arguments = panel.child.started[-1][1]
    return arguments[arguments.index(name) + 1]


def run(panel, change=None, warnings=()):
    """What generate.py does, and what it writes."""
    import SimpleITK

    panel.click(panel.ui.generateButton)
    image = SimpleITK.ReadImage(option(panel, "--input"))
    made = SimpleITK.GetImageFromArray(SimpleITK.GetArrayFromImage(image) + (rise() if change is None else change))
    made.CopyInformation(image)
    SimpleITK.WriteImage(made, option(panel, "--output"))
    phase, level = option(panel, "--phase"), float(option(panel, "--level"))
    events = [{**START, "phase": phase, "level_hu": level, "weights_sha256": panel.weights}]
    events += [{"event": "warning", "case": "ncct", "message": text} for text in warnings]
    events += [{"event": "written", "changes": [], "native_hu": NATIVE}, {"event": "end", "status": 0, "message": ""}]
    for event in events:
        panel.child.tell(json.dumps(event))
        panel.process()
    panel.child.finish(0)
    panel.process()
    return panel.parameters().scect


def voxels(node):
    import slicer

    return slicer.util.arrayFromVolume(node)


def test_phase_and_level_go_to_the_run_and_steps_do_not(panel):
    ui = panel.ui
    assert (ui.phaseComboBox.currentText, ui.strengthSlider.value) == ("Arterial", 350)
    assert (ui.strengthSlider.minimum, ui.strengthSlider.maximum) == (100, 600)
    assert not ui.qualityComboBox.enabled and "grid of its own" in ui.qualityComboBox.toolTip
    assert ui.uncertaintyCheckBox.enabled and not ui.heartMaskSelector.enabled
    assert ui.strengthLabel.text == "For the next run."
    assert ui.timesLabel.text == "About: 5 s"
    panel.choose(ui.phaseComboBox, "Portal venous")
    assert ui.strengthSlider.value == 150
    ui.strengthSlider.value = 180
    panel.click(ui.advancedSection)
    panel.click(ui.uncertaintyCheckBox)
    panel.click(ui.generateButton)
    assert (option(panel, "--phase"), option(panel, "--level")) == ("portal", "180")
    arguments = panel.child.started[-1][1]
    assert "--uncertainty" in arguments and not {"--step", "--first-look"} & set(arguments)
    assert not ui.strengthSlider.enabled and not ui.phaseComboBox.enabled
    panel.child.finish(3)


def test_a_model_without_shares_takes_neither(panel):
    panel.choose(panel.ui.modelComboBox, "tiny")
    for control in (panel.ui.phaseComboBox, panel.ui.strengthSlider):
        assert not control.enabled and "trained on" in control.toolTip
    assert not panel.ui.strengthLabel.visible and panel.ui.qualityComboBox.enabled
    panel.click(panel.ui.generateButton)
    assert not {"--phase", "--level"} & set(panel.child.started[-1][1]) and option(panel, "--step") == "1"
    panel.child.finish(3)


def test_the_slider_changes_the_scect_at_once(panel):
    node = run(panel)
    assert node.GetName() == "CT sCECT arterial 350"
    assert {name: node.GetAttribute(f"SyntheticContrast.{name}") for name in ("Phase", "LevelHU", "NativeHU")} == {
        "Phase": "arterial",
        "LevelHU": "350",
        "NativeHU": "40",
    }
    assert panel.ui.strengthLabel.text == "Changes CT sCECT arterial 350 at once."
    before, runs = voxels(panel.ct).copy(), len(panel.child.started)
    for level in (500, 100, 600, 350):
        panel.ui.strengthSlider.value = level
        np.testing.assert_array_equal(voxels(node), expected(level))
        assert node.GetName() == f"CT sCECT arterial {level}"
        assert node.GetAttribute("SyntheticContrast.LevelHU") == str(level)
    assert voxels(node).dtype == np.int16 and len(panel.child.started) == runs
    np.testing.assert_array_equal(voxels(panel.ct), before)


def test_a_tick_is_told_once(panel):
    import vtk

    node = run(panel)
    told = []
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: told.append(1))
    panel.ui.strengthSlider.value = 420
    assert len(told) == 1


def test_a_name_of_the_users_own_stays(panel):
    node = run(panel)
    node.SetName("for the talk")
    panel.ui.strengthSlider.value = 420
    assert node.GetName() == "for the talk" and node.GetAttribute("SyntheticContrast.LevelHU") == "420"


def test_the_difference_map_follows_when_the_slider_rests(panel, layoutViews, sliceViews):
    run(panel)
    sliceViews(3)
    difference = panel.widget.panel.compare.comparison.volumes["difference"]
    assert voxels(difference)[8, 25, 25] == 310
    panel.ui.strengthSlider.value = 195
    panel.process(0.6)
    assert voxels(difference)[8, 25, 25] == 155


def test_other_volumes_are_left_alone(panel, mrmlScene):
    first = run(panel)
    second = run(panel)
    assert second is not first and second.GetName() == "CT sCECT arterial 350_1"
    panel.ui.strengthSlider.value = 450
    np.testing.assert_array_equal(voxels(first), expected(350))
    np.testing.assert_array_equal(voxels(second), expected(450))
    assert second.GetName() == "CT sCECT arterial 450_1"
    panel.choose(panel.ui.scectSelector, first.GetName())
    assert panel.ui.strengthSlider.value == 350  # of the one that is chosen now
    np.testing.assert_array_equal(voxels(second), expected(450))

    for choose in (
        lambda: panel.choose(panel.ui.phaseComboBox, "Pulmonary"),
        lambda: panel.choose(panel.ui.modelComboBox, "tiny"),
        lambda: panel.choose(panel.ui.inputSelector, "other"),
    ):
        add_volume(mrmlScene, ncct(), "other")
        panel.choose(panel.ui.inputSelector, "CT")
        panel.choose(panel.ui.modelComboBox, "share")
        panel.choose(panel.ui.phaseComboBox, "Arterial")
        choose()
        panel.parameters().level = 222.0
        np.testing.assert_array_equal(voxels(first), expected(350))


@pytest.mark.parametrize("gone", ["CT", "CT sCECT arterial 350"])
def test_nothing_happens_when_a_volume_is_gone(panel, mrmlScene, gone):
    import slicer

    node = run(panel)
    mrmlScene.RemoveNode(slicer.util.getNode(gone))
    panel.process()
    panel.ui.strengthSlider.value = 500
    panel.process(0.4)
    assert panel.messages == []
    if gone == "CT":
        np.testing.assert_array_equal(voxels(node), expected(350))


def test_nothing_happens_when_the_ncct_was_cropped(panel):
    import slicer

    node = run(panel)
    slicer.util.updateVolumeFromArray(panel.ct, ncct()[:18])
    panel.ui.strengthSlider.value = 500
    np.testing.assert_array_equal(voxels(node), expected(350))


def test_a_new_run_into_the_same_volume_is_the_new_base(panel):
    node = run(panel)
    panel.ui.strengthSlider.value = 500
    panel.parameters().outputVolume = node
    panel.choose(panel.ui.phaseComboBox, "Portal venous")
    assert run(panel, change=rise() // 3) is node
    assert node.GetName() == "CT sCECT portal 150"
    panel.ui.strengthSlider.value = 260
    blood = voxels(node)[8, 25, 25] - voxels(panel.ct)[8, 25, 25]
    assert blood == 206  # 103 x (260 - 40) / (150 - 40)


def test_it_goes_on_in_a_scene_that_was_saved(panel, mrmlScene, tmp_path):
    import slicer

    run(panel)
    panel.ui.strengthSlider.value = 500
    (tmp_path / "saved").mkdir()
    assert slicer.app.applicationLogic().SaveSceneToSlicerDataBundleDirectory(str(tmp_path / "saved"))
    panel.closeScene()
    [path] = (tmp_path / "saved").rglob("*.mrml")
    mrmlScene.SetURL(str(path))
    mrmlScene.Import()
    panel.process(0.3)
    node = panel.parameters().scect
    assert node.GetName() == "CT sCECT arterial 500" and panel.ui.strengthSlider.value == 500
    np.testing.assert_array_equal(voxels(node), expected(500))
    panel.ui.strengthSlider.value = 300
    assert np.abs(voxels(node) - expected(300)).max() <= 1  # of rounding


def test_warnings_stand_under_the_result(panel):
    run(panel, warnings=["the CT looks enhanced already", "the CT looks enhanced already"])
    text = panel.ui.stateLabel.text
    assert text.startswith("Done: CT sCECT arterial 350, on cpu")
    assert text.split("\n")[1:] == ["Warning: The CT looks enhanced already."]


def test_dicom_says_phase_and_the_current_level(panel, tmp_path):
    import pydicom

    run(panel)
    panel.ui.strengthSlider.value = 420
    panel.widget.panel.chooseFolder = lambda title: str(tmp_path)
    panel.click(panel.ui.saveDicomButton)
    header = pydicom.dcmread(next((tmp_path / "CT_sCECT_arterial_420").iterdir()))
    assert header.SeriesDescription == "sCECT arterial 420 synthetic - not for diagnosis"
    assert "phase arterial, vessels at 420 HU" in header.DerivationDescription


def test_the_logic_takes_phase_and_level(panel, mrmlScene, share_bundle, tiny_bundle):
    logic = panel.module.SyntheticContrastLogic()
    node = logic.generate(panel.ct, model=share_bundle.folder, phase="portal", level=160, device="cpu")
    assert node.GetName() == "CT sCECT portal 160"
    assert 0 <= float(node.GetAttribute("SyntheticContrast.NativeHU")) <= 80
    with pytest.raises(RuntimeError, match="--phase does not apply"):
        logic.generate(panel.ct, model=tiny_bundle.folder, phase="portal")
    with pytest.raises(RuntimeError, match=r"(?i)a level of 5 HU cannot be"):
        logic.generate(panel.ct, model=share_bundle.folder, level=5)


@pytest.mark.parametrize(
    ("name", "level", "becomes"),
    [
        ("CT sCECT", 350, "CT sCECT arterial 350"),
        ("CT sCECT portal 150.5_2", 350, "CT sCECT arterial 350_2"),
        ("CT sCECT arterial 350", None, "CT sCECT"),
        ("CT sCECT arterial 350 final", 400, "CT sCECT arterial 350 final"),
        ("mine", 400, "mine"),
    ],
)
def test_names_say_the_contrast(mrmlScene, name, level, becomes):
    from SyntheticContrastLib.scene.contrast_mark import MadeContrast, contrastOf, markContrast
    from SyntheticContrastLib.synthesis.contrast import Contrast

    node = mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    made = MadeContrast(Contrast("arterial", level), 38.5) if level else None
    markContrast(node, made)
    assert node.GetName() == becomes and contrastOf(node) == made

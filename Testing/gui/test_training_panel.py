"""Module 3's panel: clicks that prepare, train, stop, resume and export, and all that can go wrong on the way."""

import dataclasses
import json
import os
import signal
import sys

import numpy as np
import pytest

from SyntheticContrastLib.models.bundle import load_bundle
from unit.training_set import SETTINGS, SMALL, phantom_pair, write_training_set

MODULE = "SyntheticContrastTraining"
STEPS = 80


def write_cases(folder):
    """A cases.csv of one phantom pair, as NRRD files."""
    import SimpleITK

    pair = phantom_pair()
    for name, hu in (("ncct", pair.ncct), ("cect", pair.cect)):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(hu[::-1]))
        image.SetSpacing((2.8, 2.8, 15.0))
        SimpleITK.WriteImage(image, str(folder / f"{name}.nrrd"))
    (folder / "cases.csv").write_text("case_id,ncct,cect\nphantom,ncct.nrrd,cect.nrrd\n", encoding="utf-8")
    return folder / "cases.csv"


def write_run(folder, recipe=SMALL, step=10, steps=40, seconds_left=200):
    """What train.py leaves in a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(recipe.to_json())
    lines = [
        {"step": step, "steps": steps, "loss": 0.25, "seconds_left": seconds_left},
        {"step": step, "mae": 20.0, "psnr": 31.5, "input_psnr": 25.0},
    ]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"st')
    (folder / "last.pt").touch()


@pytest.fixture
def played(modulePanel):
    """The panel with a child process that the test plays, and a small recipe chosen."""
    from harness.child import PlayedChild

    panel = modulePanel(MODULE)
    panel.child = panel.widget.panel.child = PlayedChild()
    return panel


@pytest.fixture
def prepared(played, tmp_path):
    """The same with a prepared training set and a recipe and folder chosen."""
    write_training_set(tmp_path / "prepared", ["phantom"])
    played.type(played.ui.workFolderPath, tmp_path)
    chooseSmallRecipe(played)
    return played


def chooseSmallRecipe(panel, steps=6):
    panel.choose(panel.ui.recipeComboBox, "l1")
    panel.type(panel.ui.settingsLineEdit, " ".join([*SETTINGS, f"steps={steps}"]))
    panel.choose(panel.ui.deviceComboBox, "cpu")


def test_prepare_train_stop_resume_export(modulePanel, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    panel = modulePanel(MODULE)
    ui = panel.ui
    atWork = lambda: panel.widget.panel.job is not None  # noqa: E731
    panel.type(ui.casesPath, write_cases(tmp_path))
    panel.type(ui.workFolderPath, tmp_path / "work")
    chooseSmallRecipe(panel, STEPS)
    panel.type(ui.runNameLineEdit, "mine")
    assert ui.trainButton.toolTip == "Prepare the training set first."

    panel.click(ui.prepareButton)
    assert not ui.prepareButton.enabled and not ui.casesPath.enabled
    panel.waitFor(lambda: not atWork())
    assert ui.stateLabel.text == "The training set is prepared."
    assert "1/1 phantom: NCCT and CECT, 16 slices, done" in ui.logText.toPlainText()

    panel.click(ui.trainButton)
    panel.waitFor(lambda: ui.progressBar.value >= 10)
    assert ui.progressBar.maximum == STEPS
    assert "Training: step" in ui.stateLabel.text
    if sys.platform != "win32":
        panel.click(ui.stopButton)
        assert "checkpoint" in ui.stateLabel.text
        panel.waitFor(lambda: not atWork())
        assert ui.stateLabel.text.startswith("Stopped at step")
        assert panel.messages == []
        assert (tmp_path / "work" / "runs" / "mine" / "last.pt").is_file()
        assert ui.trainButton.text == "Resume"
        panel.click(ui.trainButton)
        panel.waitFor(lambda: not atWork())
        assert "--resume" in ui.logText.toPlainText()
    panel.waitFor(lambda: not atWork())
    assert ui.stateLabel.text.startswith(f"Finished after {STEPS} steps. Loss")
    assert ui.progressBar.value == STEPS
    assert "finished" in ui.trainButton.toolTip
    assert ui.curvesPicture.visible and ui.montagePicture.visible

    panel.click(ui.exportButton)
    panel.waitFor(lambda: not atWork())
    assert load_bundle(tmp_path / "work" / "models" / "mine").card.recipe == "l1"
    assert "models" in ui.stateLabel.text and not ui.exportButton.enabled
    assert panel.messages == []


def test_every_control_says_what_it_does(played):
    controls = played.controls()
    assert len(controls) >= 14
    assert [name for name, widget in controls.items() if not widget.toolTip] == []


def test_a_disabled_button_says_why(played, tmp_path):
    ui = played.ui
    assert ui.prepareButton.toolTip == ui.stateLabel.text == "Choose a table of cases first."
    played.type(ui.casesPath, tmp_path / "none.csv")
    assert "none.csv does not exist" in ui.prepareButton.toolTip
    (tmp_path / "cases.csv").write_text("patient\n1\n")
    played.type(ui.casesPath, tmp_path / "cases.csv")
    assert "no column case_id" in ui.stateLabel.text
    played.type(ui.casesPath, write_cases(tmp_path))
    assert ui.prepareButton.toolTip == "Choose a working folder first."
    played.type(ui.workFolderPath, "work")
    assert "full path" in ui.prepareButton.toolTip
    played.type(ui.workFolderPath, tmp_path)
    assert ui.prepareButton.enabled and "Read and check" in ui.prepareButton.toolTip
    assert ui.stateLabel.text == "Ready to prepare the training set."
    assert "no checkpoint" in ui.exportButton.toolTip
    assert ui.stopButton.toolTip == "Nothing is at work."


def test_why_a_run_cannot_start(prepared, tmp_path):
    ui = prepared.ui
    assert ui.stateLabel.text == "Ready to train."
    prepared.type(ui.settingsLineEdit, "gff=2")
    assert "no field 'gff'" in ui.trainButton.toolTip and "gff" in ui.recipeLabel.text
    prepared.type(ui.settingsLineEdit, 'steps=7  validation=["a", "b"]')
    assert ui.trainButton.enabled and "7 steps" in ui.recipeLabel.text
    prepared.type(ui.runNameLineEdit, "../elsewhere")
    assert "letters" in ui.trainButton.toolTip
    prepared.type(ui.runNameLineEdit, "old")
    assert ui.trainButton.enabled
    write_run(tmp_path / "runs" / "old")
    prepared.widget.panel.refresh()
    assert "other settings" in ui.trainButton.toolTip
    assert ui.exportButton.enabled
    (tmp_path / "models" / "old").mkdir(parents=True)
    prepared.widget.panel.refresh()
    assert "there already" in ui.exportButton.toolTip


def test_the_command_lines(prepared, tmp_path):
    ui, child = prepared.ui, prepared.child
    prepared.type(ui.casesPath, write_cases(tmp_path))
    prepared.click(ui.simulateVncCheckBox)
    prepared.choose(ui.registrationComboBox, "Rigid")
    prepared.click(ui.prepareButton)
    child.finish()
    prepared.type(ui.settingsLineEdit, 'gf=2 validation=["a", "b"]')
    prepared.click(ui.trainButton)
    child.finish()
    cases, data, run = (str(tmp_path / name) for name in ("cases.csv", "prepared", "runs/l1"))
    prepare, train = child.started
    assert prepare[1] == ["--cases", cases, "--output", data, "--register", "rigid", "--simulate-vnc"]
    settings = ["--set", "gf=2", "--set", 'validation=["a", "b"]']
    assert train[1] == ["--recipe", "l1", "--data", data, "--output", run, "--device", "cpu", *settings]


def test_cases_that_cannot_be_read_are_told_once(modulePanel, tmp_path):
    panel = modulePanel(MODULE)
    (tmp_path / "cases.csv").write_text("case_id,ncct,cect\na,gone.nrrd,gone.nrrd\n", encoding="utf-8")
    panel.type(panel.ui.casesPath, tmp_path / "cases.csv")
    panel.type(panel.ui.workFolderPath, tmp_path)
    panel.click(panel.ui.prepareButton)
    panel.waitFor(lambda: panel.messages)
    [message] = panel.messages
    assert "case a: " in message and "does not exist" in message and "Traceback" not in message
    assert message == panel.ui.stateLabel.text
    assert panel.ui.prepareButton.enabled


def test_progress_of_preparing(prepared, tmp_path):
    ui = prepared.ui
    prepared.type(ui.casesPath, write_cases(tmp_path))
    prepared.click(ui.prepareButton)
    assert (ui.progressBar.minimum, ui.progressBar.maximum) == (0, 0)  # not known yet
    prepared.child.tell("2/5 patient: NCCT and CECT, 16 slices, done")
    assert ui.stateLabel.text == "Preparing: 2 of 5 cases are done."
    assert (ui.progressBar.value, ui.progressBar.maximum) == (2, 5)
    prepared.click(ui.stopButton)
    prepared.child.finish(3)
    assert "kept" in ui.stateLabel.text
    assert prepared.messages == []


def test_progress_of_training(prepared, tmp_path):
    ui = prepared.ui
    prepared.click(ui.trainButton)
    assert ui.stateLabel.text == "Training starts ..."
    recipe = prepared.widget.panel.choices().changedRecipe()
    write_run(tmp_path / "runs" / "l1", recipe)
    prepared.waitFor(lambda: ui.progressBar.maximum == 40, 10)
    assert "step 10 of 40" in ui.stateLabel.text and "PSNR 31.5 dB (input 25.0)" in ui.stateLabel.text
    assert ui.progressBar.format == "10 / 40, 3 min left"
    prepared.click(ui.stopButton)
    prepared.click(ui.stopButton)  # a double click
    assert ui.stopButton.text == "End now" and not prepared.child.killed
    prepared.process(1.1)
    prepared.click(ui.stopButton)
    assert prepared.child.killed
    prepared.child.finish(-9)
    assert ui.stateLabel.text.startswith("Stopped at step 10 of 40. Resume goes on")
    assert (ui.trainButton.text, prepared.messages) == ("Resume", [])


@pytest.mark.parametrize(
    ("errors", "status", "says"),
    [
        (["train.py: the loss is nan at step 3: take a lower learning_rate"], 2, "the loss is nan at step 3"),
        (["Traceback", "  x", "train.py: internal error, please report it: KeyError"], 1, "internal error"),
        ([], -9, "train.py was ended from outside (status -9). Resume goes on from the last checkpoint."),
    ],
)
def test_a_failure_is_one_message(prepared, errors, status, says):
    prepared.click(prepared.ui.trainButton)
    for line in errors:
        prepared.child.tell(line, isError=True)
    prepared.child.finish(status)
    [message] = prepared.messages
    assert message.startswith(says) and "\n" not in message
    assert prepared.ui.stateLabel.text == message
    assert prepared.ui.trainButton.enabled
    prepared.click(prepared.ui.logSection)
    prepared.click(prepared.ui.copyLogButton)
    import qt

    copied = qt.QApplication.clipboard().text()
    assert all(line in copied for line in ["train.py --recipe l1", *errors])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_child_is_told(modulePanel, tmp_path):
    panel = modulePanel(MODULE)
    write_training_set(tmp_path / "prepared", ["phantom"])
    panel.type(panel.ui.workFolderPath, tmp_path)
    chooseSmallRecipe(panel)
    panel.click(panel.ui.trainButton)
    os.killpg(panel.widget.panel.child._process.pid, signal.SIGKILL)
    panel.waitFor(lambda: panel.messages)
    assert "ended from outside" in panel.messages[0]
    panel.click(panel.ui.trainButton)
    process = panel.widget.panel.child._process
    panel.quit()
    assert process.poll() is not None


def test_the_scene_is_closed_during_a_run(prepared, tmp_path):
    ui = prepared.ui
    prepared.click(ui.trainButton)
    prepared.closeScene()
    assert prepared.child.running
    parameters = prepared.widget.panel.parameters
    assert (parameters.workFolder, parameters.recipe) == (str(tmp_path), "l1") == (ui.workFolderPath.currentPath, "l1")
    write_run(tmp_path / "runs" / "l1", prepared.widget.panel.choices().changedRecipe(), step=6, steps=6)
    prepared.widget.exit()
    prepared.child.finish()
    prepared.widget.enter()
    assert ui.stateLabel.text.startswith("Finished after 6 steps.")
    prepared.closeScene()
    assert ui.workFolderPath.currentPath == "" and ui.stateLabel.text == "Choose a table of cases first."


def test_the_scene_keeps_what_was_chosen(prepared, mrmlScene, tmp_path):
    path = str(tmp_path / "scene.mrml")
    assert mrmlScene.Commit(path)
    prepared.closeScene()
    assert prepared.ui.recipeComboBox.currentText == "choi2021"
    mrmlScene.SetURL(path)
    assert mrmlScene.Import()
    prepared.process()
    assert prepared.ui.recipeComboBox.currentText == "l1"
    assert prepared.ui.workFolderPath.currentPath == str(tmp_path)


def test_the_widgets_are_deleted_during_a_run(prepared):
    prepared.click(prepared.ui.trainButton)
    prepared.deleteWidgets()
    prepared.child.tell("step 10/40")
    assert prepared.child.running and not prepared.child.closed
    prepared.quit()
    assert prepared.child.closed


def test_the_self_test_of_the_module(modulePanel):
    panel = modulePanel(MODULE)
    suite = panel.module.SyntheticContrastTrainingTest()
    suite.runTest()


def test_a_state_is_read_from_any_folder(tmp_path, mrmlScene):
    from SyntheticContrastTrainingLib.gui.run_folder import RunState, readRun

    assert readRun(tmp_path / "none") == RunState()
    write_run(tmp_path / "run")
    state = readRun(tmp_path / "run")
    assert (state.step, state.steps, state.psnr, state.checkpoint.name) == (10, 40, 31.5, "last.pt")
    (tmp_path / "run" / "best.pt").touch()
    assert readRun(tmp_path / "run").checkpoint.name == "best.pt"
    (tmp_path / "run" / "recipe.json").write_text("{")
    assert readRun(tmp_path / "run") == RunState()
    assert dataclasses.replace(state, step=40).finished

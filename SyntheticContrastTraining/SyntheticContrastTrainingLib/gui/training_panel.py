"""The panel: what is chosen, one child process at a time, and what the run's folder shows."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.gui.binding import connectWidgets
from SyntheticContrastLib.gui.child_process import Child, ChildProcess
from SyntheticContrastTrainingLib.gui.choices import (
    CLI,
    Choices,
    exportArguments,
    prepareArguments,
    trainArguments,
    whyNotExport,
    whyNotPrepare,
    whyNotTrain,
)
from SyntheticContrastTrainingLib.gui.parameters import readChoices, writeChoices
from SyntheticContrastTrainingLib.gui.run_folder import RunState, readRun
from SyntheticContrastTrainingLib.gui.words import describeRecipe, describeRun, describeTraining, duration

REFRESH_MILLISECONDS = 1000
GRACE = {"train": 60.0, "prepare": 10.0, "export": 10.0}  # seconds: train.py ends its step and saves a checkpoint
QUIT_GRACE = 10.0
DOUBLE_CLICK = 1.0  # seconds in which a second click does not mean it
SHOWN_LINES = 8  # of errors
LOGGED_LINES = 5000
INTERNAL_ERROR = 1  # exit status of an entry, see its command-line contract


@dataclass(frozen=True)
class Job:
    """The child process at work: its entry (prepare, train, export), and what was chosen when it started."""

    entry: str
    choices: Choices
    done: int = 0
    total: int = 0  # cases, of prepare.py


class TrainingPanel:
    """Connects the widgets `ui` of the .ui file, whose top is `top`, to parameters, child process and folder."""

    def __init__(self, top: Any, ui: Any, child: Child | None = None) -> None:
        self.ui: Any = ui
        self.child: Child = child or ChildProcess()
        self.parameters: Any = None  # TrainingParameters; Slicer adds disconnectGui and more to them
        self.guiTag: Any = None
        self.observer: Any = None
        self.job: Job | None = None
        self.errors: list[str] = []
        self.result = ""  # what the last child process came to
        self.stopped = False  # on the user's wish
        self.stoppedAt = 0.0
        self.shown: dict[str, tuple[Path, float, int]] = {}
        self.toolTips = {name: getattr(ui, name).toolTip for name in self.inputs() + self.buttons()}

        ui.casesPath.currentPathChanged.connect(self.onCasesChanged)
        ui.workFolderPath.currentPathChanged.connect(self.onWorkFolderChanged)
        ui.prepareButton.clicked.connect(self.onPrepare)
        ui.trainButton.clicked.connect(self.onTrain)
        ui.stopButton.clicked.connect(self.onStop)
        ui.exportButton.clicked.connect(self.onExport)
        ui.openFolderButton.clicked.connect(self.onOpenFolder)
        ui.copyLogButton.clicked.connect(self.onCopyLog)
        ui.progressSection.contentsCollapsed.connect(self.refresh)
        ui.logText.maximumBlockCount = LOGGED_LINES
        self.timer = qt.QTimer()
        self.timer.interval = REFRESH_MILLISECONDS
        self.timer.timeout.connect(self.refresh)
        top.destroyed.connect(self.onDestroyed)

    @staticmethod
    def inputs() -> list[str]:
        return [
            *("casesPath", "workFolderPath", "simulateVncCheckBox", "registrationComboBox"),
            *("recipeComboBox", "runNameLineEdit", "settingsLineEdit", "deviceComboBox"),
        ]

    @staticmethod
    def buttons() -> list[str]:
        return ["prepareButton", "trainButton", "stopButton", "exportButton", "openFolderButton", "copyLogButton"]

    # Parameters

    def setParameters(self, parameters: Any) -> None:
        """Show other `TrainingParameters`; None while a scene is closed. A run at work keeps its own."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self.guiTag)
            self.parameters.RemoveObserver(self.observer)
        self.parameters = parameters
        if parameters is not None:
            if self.job is not None:
                writeChoices(parameters, self.job.choices)
            self.guiTag = connectWidgets(parameters, self.ui)
            self.observer = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
            self.onParametersChanged()

    def onParametersChanged(self, *_event: object) -> None:
        if self.parameters is None or self.ui is None:
            return
        for widget, path in (
            (self.ui.casesPath, self.parameters.cases),
            (self.ui.workFolderPath, self.parameters.workFolder),
        ):
            if widget.currentPath != path:
                widget.currentPath = path
        if self.job is None:
            self.result = ""
        self.refresh()

    def onCasesChanged(self, path: str) -> None:
        if self.parameters is not None:
            self.parameters.cases = path

    def onWorkFolderChanged(self, path: str) -> None:
        if self.parameters is not None:
            self.parameters.workFolder = path

    def choices(self) -> Choices:
        if self.job is not None:
            return self.job.choices
        return readChoices(self.parameters) if self.parameters is not None else Choices()

    # Child process

    def onPrepare(self) -> None:
        self.start("prepare", prepareArguments(self.choices()))

    def onTrain(self) -> None:
        choices = self.choices()
        self.start("train", trainArguments(choices, resume=readRun(choices.run).begun))

    def onExport(self) -> None:
        choices = self.choices()
        self.start("export", exportArguments(choices, readRun(choices.run)))

    def start(self, entry: str, arguments: Sequence[str]) -> None:
        script = CLI / f"{entry}.py"
        self.errors, self.result, self.stopped = [], "", False
        self.log(shlex.join([script.name, *arguments]))
        try:
            self.child.start(script, arguments, self.onLine, self.onFinished)
        except OSError as error:
            self.fail(_("{name} could not be started: {reason}").format(name=script.name, reason=error))
            return
        self.job = Job(entry, self.choices())
        self.timer.start()
        self.refresh()

    def onLine(self, line: str, isError: bool) -> None:
        self.log(line)
        if isError:
            self.errors.append(line)
        elif self.job is not None and (found := re.match(r"(\d+)/(\d+) ", line)):
            self.job = replace(self.job, done=int(found[1]), total=int(found[2]))
            self.refresh()

    def onStop(self) -> None:
        """Ask the child to save and end; asked again, end it at once."""
        self.stopped = True
        if self.child.stopping:
            if time.monotonic() > self.stoppedAt + DOUBLE_CLICK:
                self.child.kill()
        elif self.job is not None:
            self.stoppedAt = time.monotonic()
            self.child.cancel(GRACE[self.job.entry])
        self.refresh()

    def onFinished(self, status: int) -> None:
        job, self.job = self.job, None
        self.timer.stop()
        assert job is not None
        if status == 0:
            self.result = self.success(job)
        elif self.stopped:
            self.result = "" if job.entry == "train" else _("Stopped. What was finished is kept.")
        else:
            self.fail(self.failure(job, status))
            return
        self.refresh()

    def success(self, job: Job) -> str:
        if job.entry == "prepare":
            return _("The training set is prepared.")
        if job.entry == "export":
            text = _("Exported to {folder}. Add this folder in the module Synthetic Contrast to use the model.")
            return text.format(folder=job.choices.bundle)
        return ""  # the run's folder says it

    def failure(self, job: Job, status: int) -> str:
        if status < 0 or not self.errors:
            text = _("{name}.py was ended from outside (status {status}).").format(name=job.entry, status=status)
            again = _("Resume goes on from the last checkpoint.") if job.entry == "train" else _("Start it again.")
            return f"{text} {again}"
        lines = self.errors[-1:] if status == INTERNAL_ERROR else self.errors[-SHOWN_LINES:]
        return "\n".join(line.removeprefix(f"{job.entry}.py: ") for line in lines)

    def fail(self, text: str) -> None:
        self.result = text
        self.refresh()
        slicer.util.errorDisplay(text, windowTitle=_("Synthetic Contrast Training"))

    def close(self) -> None:
        """For a panel that is unloaded, and when the application ends: a run saves what it can, and ends."""
        self.timer.stop()
        self.setParameters(None)
        self.child.close(QUIT_GRACE)

    def onDestroyed(self, *_widget: object) -> None:
        """The widgets are gone; a run goes on as long as the application does."""
        self.ui = None
        with contextlib.suppress(RuntimeError, ValueError):  # of connections to deleted widgets
            self.setParameters(None)

    # What is seen

    def log(self, line: str) -> None:
        if self.ui is not None:
            self.ui.logText.appendPlainText(line)

    def onCopyLog(self) -> None:
        qt.QApplication.clipboard().setText(self.ui.logText.toPlainText())

    def onOpenFolder(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.choices().run)))

    def refresh(self, *_event: object) -> None:
        """Show the state of the run's folder and of the child process."""
        if self.ui is None:
            return
        choices = self.choices()
        state = readRun(choices.run) if choices.workFolder else RunState()
        self.refreshButtons(choices, state)
        self.refreshProgress(choices, state)
        self.ui.curvesPicture.visible = state.curves is not None
        self.ui.montageArea.visible = state.montage is not None
        self.showPicture("curvesPicture", state.curves)
        self.showPicture("montagePicture", state.montage)

    def refreshButtons(self, choices: Choices, state: RunState) -> None:
        busy = {"prepare": _("The training set is being prepared: wait for it, or stop it.")}
        busy |= {"train": _("A run is at work: wait for it, or stop it.")}
        busy |= {"export": _("The model is being exported.")}
        atWork = busy[self.job.entry] if self.job is not None else ""
        self.allow("prepareButton", atWork or whyNotPrepare(choices))
        self.allow("trainButton", atWork or whyNotTrain(choices, state))
        self.allow("exportButton", atWork or whyNotExport(choices, state))
        self.allow("stopButton", "" if self.job is not None else _("Nothing is at work."))
        self.allow("openFolderButton", "" if state.begun else _("There is no run yet."))
        for name in self.inputs():
            self.allow(name, atWork)
        training = self.job is not None and self.job.entry == "train"
        resumable = state.begun and not state.finished
        self.ui.trainButton.text = _("Training ...") if training else _("Resume") if resumable else _("Train")
        self.ui.stopButton.text = _("End now") if self.child.stopping else _("Stop")
        if self.child.stopping:
            self.ui.stopButton.toolTip = _("End it at once. What came after the last checkpoint is lost.")

    def allow(self, name: str, reason: str) -> None:
        """Enable the widget, or disable it with the reason in its tooltip."""
        widget = getattr(self.ui, name)
        widget.enabled = not reason
        widget.toolTip = reason or self.toolTips[name]

    def refreshProgress(self, choices: Choices, state: RunState) -> None:
        ui, job = self.ui, self.job
        try:
            ui.recipeLabel.text = describeRecipe(choices.changedRecipe())
        except InputError as error:
            ui.recipeLabel.text = str(error)
        ui.stateLabel.text = self.describe(choices, state)
        done, total, left = 0, 0, ""
        if job is not None and job.entry == "prepare":
            done, total = job.done, job.total
        elif job is None or job.entry == "train":
            done, total = state.step, state.steps
            if job is not None and state.secondsLeft is not None and not self.child.stopping:
                left = _("{time} left").format(time=duration(state.secondsLeft))
        # A bar from 0 to 0 shows that something is at work whose length is not known yet.
        ui.progressBar.maximum = total if total or job is not None else 1
        ui.progressBar.value = done
        ui.progressBar.textVisible = bool(total)
        ui.progressBar.format = f"{done} / {total}" + (f", {left}" if left else "")

    def describe(self, choices: Choices, state: RunState) -> str:
        job = self.job
        if job is not None and self.child.stopping:
            if job.entry == "train":
                return _("Stopping: the step is ended and a checkpoint saved ...")
            return _("Stopping ...")
        if job is not None and job.entry == "prepare":
            if not job.total:
                return _("Preparing the training set ...")
            return _("Preparing: {done} of {total} cases are done.").format(done=job.done, total=job.total)
        if job is not None and job.entry == "export":
            return _("Exporting the model ...")
        if job is not None:
            return describeTraining(state)
        if self.result:
            return self.result
        if state.begun:
            return describeRun(state)
        if not choices.isPrepared:
            return whyNotPrepare(choices) or _("Ready to prepare the training set.")
        return whyNotTrain(choices, state) or _("Ready to train.")

    def showPicture(self, name: str, path: Path | None) -> None:
        """Show a picture as wide as the panel, if it is another than the one shown."""
        label = getattr(self.ui, name)
        if path is None:
            self.shown.pop(name, None)
            return
        key = (path, path.stat().st_mtime, label.width)
        if self.shown.get(name) != key:
            pixmap = qt.QPixmap(str(path))
            label.setPixmap(pixmap.scaledToWidth(max(200, label.width), qt.Qt.SmoothTransformation))
            self.shown[name] = key

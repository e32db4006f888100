"""The panel of module 1: what is chosen, one generation at a time, models, packages, and the comparison."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.gui import packages as installation
from SyntheticContrastLib.gui.binding import connectWidgets
from SyntheticContrastLib.gui.child_process import Child, ChildProcess
from SyntheticContrastLib.gui.compare_controls import CompareControls
from SyntheticContrastLib.gui.contrast_controls import ContrastControls
from SyntheticContrastLib.gui.dialogs import CardDialog, chooseFolder, waitCursor
from SyntheticContrastLib.gui.expected_time import expectedSeconds, rememberSpeed, workMegavoxels
from SyntheticContrastLib.gui.generation import Generation, Order
from SyntheticContrastLib.gui.mask_choice import MaskChoice
from SyntheticContrastLib.gui.packages import Packages, readPackages
from SyntheticContrastLib.gui.parameters import Quality
from SyntheticContrastLib.gui.user_models import KnownModels, addBundle
from SyntheticContrastLib.gui.words import duration, firstLookCaption, sentence
from SyntheticContrastLib.models.bundle import Bundle, Card
from SyntheticContrastLib.scene.heart_mask import oneSegmentOf
from SyntheticContrastLib.scene.sample import addPhantomPair
from SyntheticContrastLib.scene.volumes import checkInput, checkOutput, gridOf, isSynthetic

LOGGED_LINES = 5000
CHECK_DELAY_MILLISECONDS = 700  # after the module is opened
TITLE = "Synthetic Contrast"


class GeneratePanel:
    """Connects the widgets `ui` of the .ui file, whose top is `top`, to parameters, child processes and the scene.

    `child` runs generate.py and `checker` check.py; a test may put others in their place, and for `install` and
    `chooseFolder` too.
    """

    def __init__(self, top: Any, ui: Any) -> None:
        self.ui: Any = ui
        self.child: Child = ChildProcess()
        self.checker: Child = ChildProcess()
        self.install: Callable[[Packages], None] = installation.install
        self.chooseFolder: Callable[[str], str] = chooseFolder
        self.parameters: Any = None  # GenerateParameters; Slicer adds disconnectGui and more to them
        self.guiTag: Any = None
        self.observer: Any = None
        self.generation: Generation | None = None  # at work
        self.packages: Packages | None = None  # None: not known yet
        self.errors: list[str] = []  # of check.py
        self.generateWhenChecked = self.installed = False
        self.result = ""  # what the last generation came to
        self.models = KnownModels()
        self.compare = CompareControls(ui)
        self.contrast = ContrastControls(ui, self.compare)
        self.checkedInput: tuple[Any, str] = (None, "")
        self.entered = False
        self.cardDialog: Any = None
        self.firstLook: tuple[Path, int] | None = None  # the picture that is loaded, and its width
        self.filling = False
        self.toolTips = {name: getattr(ui, name).toolTip for name in self.inputs() + self.buttons()}

        self.heart = MaskChoice(
            ui.heartMaskSelector, ui.heartMaskSegmentComboBox, "heartMask", lambda: self.parameters, joined=False
        )
        ui.modelComboBox.currentIndexChanged.connect(self.onModelChosen)
        ui.generateButton.clicked.connect(self.onGenerate)
        ui.phantomButton.clicked.connect(self.onPhantom)
        ui.cardButton.clicked.connect(self.onCard)
        ui.addModelButton.clicked.connect(self.onAddModel)
        ui.saveDicomButton.clicked.connect(self.onSaveDicom)
        ui.copyLogButton.clicked.connect(self.onCopyLog)
        ui.logText.maximumBlockCount = LOGGED_LINES
        self.checkTimer = qt.QTimer()
        self.checkTimer.setSingleShot(True)
        self.checkTimer.interval = CHECK_DELAY_MILLISECONDS
        self.checkTimer.timeout.connect(self.check)
        self.top = top
        top.destroyed.connect(self.onDestroyed)

    @staticmethod
    def inputs() -> list[str]:
        return [
            *("inputSelector", "outputSelector", "modelComboBox", "qualityComboBox", "deviceComboBox"),
            *("precisionComboBox", "uncertaintyCheckBox", "heartMaskSelector", "heartMaskSegmentComboBox"),
            *("phaseComboBox", "strengthSlider"),
        ]

    @staticmethod
    def buttons() -> list[str]:
        return ["generateButton", "phantomButton", "cardButton", "addModelButton", "saveDicomButton", "copyLogButton"]

    # Life

    def enter(self) -> None:
        self.entered = True
        self.models.refresh()
        if self.parameters is not None and self.parameters.inputVolume is None and self.generation is None:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first is not None and not isSynthetic(first):
                self.parameters.inputVolume = first
        if self.packages is None:
            self.checkTimer.start()
        self.refresh()

    def exit(self) -> None:
        """A generation goes on."""
        self.entered = False

    def close(self) -> None:
        """For a panel that is unloaded, and when the application ends: nothing goes on."""
        with contextlib.suppress(RuntimeError, ValueError):  # the widgets are gone
            self.top.destroyed.disconnect(self.onDestroyed)
        self.checkTimer.stop()
        self.setParameters(None)
        if self.generation is not None:
            self.generation.close()
            self.generation = None
        self.checker.close()
        self.contrast.close()
        self.compare.close()
        if self.cardDialog is not None:
            self.cardDialog.close()

    def onDestroyed(self, *_widget: object) -> None:
        """The widgets are gone; a generation goes on as long as the application does."""
        self.ui = self.compare.ui = self.contrast.ui = None
        with contextlib.suppress(RuntimeError, ValueError):  # of connections to deleted widgets
            self.setParameters(None)

    # Parameters

    def setParameters(self, parameters: Any) -> None:
        """Show other `GenerateParameters`; None while a scene is closed."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self.guiTag)
            self.parameters.RemoveObserver(self.observer)
        self.parameters = self.compare.parameters = parameters
        self.contrast.setParameters(parameters)
        if parameters is not None and self.ui is not None:
            self.guiTag = connectWidgets(parameters, self.ui)
            self.observer = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
            self.onParametersChanged()
            self.compare.resume()

    def onParametersChanged(self, *_event: object) -> None:
        if self.parameters is None or self.ui is None:
            return
        if self.generation is None:
            self.result = ""
        self.refresh()
        self.compare.follow()

    def onModelChosen(self, index: int) -> None:
        if self.parameters is not None and not self.filling and 0 <= index < len(self.models.names):
            self.parameters.model = self.models.names[index]

    # Models

    def bundle(self) -> Bundle:
        """Raises InputError: the chosen model cannot be used."""
        return self.models.find(self.parameters.model if self.parameters is not None else "")

    def card(self) -> Card | None:
        with contextlib.suppress(InputError):
            return self.bundle().card
        return None

    def onCard(self) -> None:
        """Show the card in a window of its own, beside which one can go on."""
        if self.cardDialog is None:
            self.cardDialog = CardDialog()
        self.cardDialog.show(self.bundle().card)

    def onAddModel(self) -> None:
        folder = self.chooseFolder(_("The folder of the model: it holds card.json and weights.safetensors"))
        if not folder:
            return
        try:
            name = addBundle(Path(folder))
        except (InputError, OSError) as error:
            self.tell(sentence(error))
            return
        self.models.refresh()
        self.parameters.model = name
        self.refresh()

    # Packages

    def check(self) -> None:
        """Ask in the background which packages and which device there are."""
        if self.checker.running:
            return
        self.errors = []
        found: list[Packages] = []

        def onLine(line: str, isError: bool) -> None:
            self.log(line)
            if isError:
                self.errors.append(line)
            elif (packages := readPackages(line)) is not None:
                found.append(packages)

        try:
            self.checker.start(installation.ENTRY, [], onLine, lambda status: self.onChecked(found, status))
        except OSError as error:
            self.tell(sentence(error))

    def onChecked(self, found: list[Packages], status: int) -> None:
        wanted, self.generateWhenChecked = self.generateWhenChecked, False
        if not found:  # it crashed: a library that breaks the process is broken
            reason = self.errors[-1] if self.errors else _("the process ended with status {n}").format(n=status)
            found = [Packages({"torch": reason})]
        self.packages = found[-1]
        if wanted and self.packages.complete:
            self.installed = False
            self.start()
        elif wanted:
            self.askToInstall()
        self.refresh()

    def askToInstall(self) -> None:
        """Install what is missing, if the user says so, and go on with the generation."""
        assert self.packages is not None
        if self.installed:  # just now, in vain
            self.installed = False
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.packages.broken.items())
            text = _("The installation is not complete ({reasons}). Restart Slicer and generate again: it is retried.")
            self.tell(text.format(reasons=reasons))
            return
        # In Slicer's testing mode the dialog says yes by itself.
        if slicer.app.testingEnabled() or not slicer.util.confirmOkCancelDisplay(
            installation.question(self.packages), windowTitle=_(TITLE)
        ):
            self.result = _("Nothing was installed. Generate asks again.")
            return
        try:
            self.install(self.packages)
        except InputError as error:
            self.packages = None
            self.tell(sentence(error))
            return
        self.installed = self.generateWhenChecked = True
        self.check()

    # Generation

    def onGenerate(self) -> None:
        """Generate, or cancel what is at work; asked again, end it at once."""
        if self.generation is not None:
            self.generation.cancel()
        elif self.generateWhenChecked:
            self.generateWhenChecked = False
        elif self.packages is not None and self.packages.complete:
            self.start()
        else:
            self.generateWhenChecked = True
            self.check()
        self.refresh()

    def start(self) -> None:
        if why := self.whyNotGenerate():
            self.tell(why)
            return
        parameters = self.parameters
        self.result = ""
        bundle = self.bundle()
        order = Order(
            bundle,
            parameters.quality.value,
            parameters.device,
            parameters.precision,
            parameters.uncertainty,
            parameters.heartMask,
            self.heart.segment,
            firstLook=True,
            phase=parameters.phase.value if bundle.card.by_shares else None,
            level=parameters.level if bundle.card.by_shares else None,
        )
        generation = Generation(
            parameters.inputVolume,
            parameters.outputVolume,
            order,
            onProgress=self.refresh,
            onFinished=self.onFinished,
            onLog=self.log,
            child=self.child,
        )
        try:
            with waitCursor():
                generation.start()
        except (InputError, OSError) as error:
            self.tell(sentence(error))
            return
        self.generation = generation
        self.refresh()

    def onFinished(self) -> None:
        generation, self.generation = self.generation, None
        assert generation is not None
        if generation.outcome == "failed":
            self.tell(generation.message)
            return
        if generation.outcome == "cancelled":
            self.result = generation.message or _("Cancelled. The scene is as it was.")
        else:
            self.succeed(generation)
        self.refresh()

    def succeed(self, generation: Generation) -> None:
        """Show the result beside its input, unless the user is in another module by now."""
        assert generation.output is not None
        self.rememberSpeed(generation)
        if self.parameters is not None:
            with slicer.util.NodeModify(self.parameters.parameterNode):
                if self.parameters.ncct not in (None, generation.inputNode):
                    self.parameters.cect = None  # of another patient
                self.parameters.ncct, self.parameters.scect = generation.inputNode, generation.output
            if self.entered:
                self.compare.show()
        text = _("Done: {name}, on {device} ({reason}). Synthetic - not for diagnosis.")
        text = text.format(
            name=generation.output.GetName(),
            device=generation.started.get("device", ""),
            reason=generation.started.get("device_reason", ""),
        )
        self.result = withWarnings(text, generation)

    def rememberSpeed(self, generation: Generation) -> None:
        card, seconds = generation.order.bundle.card, generation.progress.secondsElapsed
        severalReadings = card.by_shares and generation.order.uncertainty
        if not card.heart_only and seconds and not severalReadings:
            megavoxels = workMegavoxels(card, gridOf(generation.inputNode).shape_zyx, generation.order.step)
            rememberSpeed(card, generation.started.get("device", "cpu"), megavoxels, seconds)

    def whyNotGenerate(self) -> str:
        """The reason in words; empty if it can be done."""
        if self.parameters is None:
            return _("The scene is being closed.")
        if reason := self.whyNotInput() or checkOutput(self.parameters.outputVolume, self.parameters.inputVolume):
            return sentence(reason)
        try:
            if self.bundle().card.heart_only and self.parameters.heartMask is not None:
                oneSegmentOf(self.parameters.heartMask, self.heart.segment)
        except InputError as error:
            return sentence(error)
        return ""

    def whyNotInput(self) -> str:
        """`checkInput`, which looks at every voxel, once for each state of the input."""
        node = self.parameters.inputVolume
        image = node.GetImageData() if node is not None else None
        state = node and (node.GetID(), node.GetMTime(), image.GetMTime() if image is not None else 0)
        if node is None or state != self.checkedInput[0]:
            self.checkedInput = (state, checkInput(node))
        return self.checkedInput[1]

    # Sample data, DICOM, log

    def onPhantom(self) -> None:
        try:
            with waitCursor():
                ncct, cect = addPhantomPair(slicer.mrmlScene)
        except ImportError as error:
            self.tell(_("The Python package {name} is missing: Generate installs it.").format(name=error.name))
            return
        with slicer.util.NodeModify(self.parameters.parameterNode):
            self.parameters.inputVolume, self.parameters.outputVolume = ncct, None
            self.parameters.ncct, self.parameters.scect, self.parameters.cect = ncct, None, cect
        logic = slicer.app.applicationLogic()
        logic.GetSelectionNode().SetActiveVolumeID(ncct.GetID())
        logic.PropagateVolumeSelection()

    def onSaveDicom(self) -> None:
        node = self.parameters.scect
        parent = self.chooseFolder(_("The folder in which the folder of the DICOM series is made"))
        if not parent:
            return
        folder = Path(parent, re.sub(r"[^\w.-]+", "_", node.GetName()).strip("._") or "sCECT")
        try:
            from SyntheticContrastLib.scene.dicom_origin import dicomSource, saveDicom, sourceOf

            with waitCursor():
                saveDicom(node, folder)
            derived = dicomSource(sourceOf(node)) is not None
        except (InputError, OSError) as error:
            self.tell(sentence(error))
            return
        text = _("Saved as a series derived from the source: {folder}") if derived else _("Saved as a study: {folder}")
        self.result = text.format(folder=folder)
        self.refresh()

    def onCopyLog(self) -> None:
        qt.QApplication.clipboard().setText(self.ui.logText.toPlainText())

    def log(self, line: str) -> None:
        if self.ui is not None:
            self.ui.logText.appendPlainText(line)

    def tell(self, text: str) -> None:
        """Something went wrong: one message."""
        self.result = text
        self.refresh()
        slicer.util.errorDisplay(text, windowTitle=_(TITLE))

    # What is seen

    def refresh(self) -> None:
        if self.ui is None or self.parameters is None:
            return
        self.heart.refresh()
        card = self.card()
        self.contrast.follow(card)
        why = self.whyNotGenerate()
        self.refreshModels(card)
        self.refreshTimes(card)
        self.refreshButtons(why, card)
        self.refreshProgress(why)
        self.contrast.refresh(card)
        self.compare.refresh()

    def refreshModels(self, card: Card | None) -> None:
        ui, names = self.ui, self.models.names
        self.filling = True
        try:
            if [ui.modelComboBox.itemText(index) for index in range(ui.modelComboBox.count)] != names:
                ui.modelComboBox.clear()
                ui.modelComboBox.addItems(names)
            name = self.parameters.model
            ui.modelComboBox.currentIndex = names.index(name) if name in names else -1
        finally:
            self.filling = False
        if card is None:
            ui.modelLabel.text = ""
        elif card.heart_only:
            ui.modelLabel.text = _("Heart region, slice by slice: quality and uncertainty do not apply.")
        elif card.by_shares:
            text = _("Whole chest, phase and strength as chosen. Licence: {licence}.")
            ui.modelLabel.text = text.format(licence=card.licence)
        else:
            ui.modelLabel.text = _("Whole chest. Licence: {licence}.").format(licence=card.licence)

    def refreshTimes(self, card: Card | None) -> None:
        """The expected time of each quality, and the device that auto finds."""
        ui, node = self.ui, self.parameters.inputVolume
        times = []
        if card is not None and node is not None and not self.checkedInput[1]:
            shape = gridOf(node).shape_zyx
            for quality in Quality if card.stepped else [Quality.step1]:
                megavoxels = workMegavoxels(card, shape, quality.value)
                seconds = expectedSeconds(card, self.device(), megavoxels)
                if seconds is not None:
                    text = _("{time} (step {n})") if card.stepped else "{time}"
                    times.append(text.format(n=quality.value, time=duration(seconds)))
        ui.timesLabel.text = _("About: {times}").format(times=", ".join(times)) if times else ""
        if node is not None and card is not None and not card.heart_only and not times and not self.checkedInput[1]:
            ui.timesLabel.text = _("The time is known after the first run on this device.")
        ui.timesLabel.visible = bool(ui.timesLabel.text)
        if self.packages is None:
            ui.deviceLabel.text = _("looking for a GPU ...") if self.checker.running else ""
        elif self.packages.complete:
            found = _("auto takes {device} ({reason})")
            ui.deviceLabel.text = found.format(device=self.packages.device, reason=self.packages.deviceReason)
        else:
            ui.deviceLabel.text = _("Generate asks to install: {names}").format(names=", ".join(self.packages.broken))
        ui.deviceLabel.visible = bool(ui.deviceLabel.text)

    def device(self) -> str:
        """The chosen device, or the one that auto finds; the CPU as long as that is not known."""
        chosen = str(self.parameters.device)
        if chosen == "auto":
            return (self.packages.device if self.packages is not None else "") or "cpu"
        return "cuda:0" if chosen == "cuda" else chosen

    def refreshButtons(self, why: str, card: Card | None) -> None:
        generation, ui = self.generation, self.ui
        busy = _("A generation is at work: wait for it, or cancel it.") if self.atWork() else ""
        self.allow("generateButton", "" if busy else why)
        ui.generateButton.text = _("Cancel") if busy else _("Generate sCECT")
        if busy:
            ui.generateButton.toolTip = _("End the generation. The scene stays as it is.")
        if generation is not None and generation.stopping:
            ui.generateButton.text = _("End now")
        for name in self.inputs():
            self.allow(name, busy)
        if card is not None and not busy:
            slices = _("{name} works slice by slice: this does not apply.").format(name=card.name)
            slices = slices if card.heart_only else ""
            grid = _("{name} works on a grid of its own, without steps: this does not apply.").format(name=card.name)
            self.allow("qualityComboBox", grid if card.by_shares else slices)
            self.allow("uncertaintyCheckBox", slices)
            trained = _("{name} makes the contrast that it was trained on: this does not apply.").format(name=card.name)
            for name in ("phaseComboBox", "strengthSlider"):
                self.allow(name, "" if card.by_shares else trained)
            heart = _("{name} takes the whole chest: no mask is needed.").format(name=card.name)
            for name in ("heartMaskSelector", "heartMaskSegmentComboBox"):
                self.allow(name, "" if card.heart_only else heart)
        self.allow("phantomButton", busy)
        self.allow("cardButton", "" if card is not None else _("Choose a model first."))
        self.allow("addModelButton", busy)
        scect = self.parameters.scect
        isSaved = scect is not None and scect.GetImageData() is not None and isSynthetic(scect)
        self.allow("saveDicomButton", "" if isSaved else _("Choose an sCECT above, or generate one."))

    def allow(self, name: str, reason: str) -> None:
        """Enable the widget, or disable it with the reason in its tooltip."""
        widget = getattr(self.ui, name)
        widget.enabled = not reason
        widget.toolTip = reason or self.toolTips[name]

    def atWork(self) -> bool:
        return self.generation is not None or self.generateWhenChecked

    def refreshProgress(self, why: str) -> None:
        ui, generation = self.ui, self.generation
        progress = generation.progress if generation is not None else None
        ui.progressBar.visible = self.atWork()
        # A bar from 0 to 0 shows that something is at work whose length is not known yet.
        ui.progressBar.maximum = progress.total if progress is not None else 0
        ui.progressBar.value = progress.done if progress is not None else 0
        ui.progressBar.textVisible = bool(progress is not None and progress.total)
        if progress is not None and progress.total:
            text = _("{done} of {total} slices").format(done=progress.done, total=progress.total)
            if progress.secondsLeft is not None:
                text = _("{slices}, {time} left").format(slices=text, time=duration(progress.secondsLeft))
            ui.progressBar.format = text
        ui.stateLabel.text = self.describe(why)
        self.refreshFirstLook()

    def refreshFirstLook(self) -> None:
        """The middle slice, as wide as the panel, while a generation goes on."""
        ui, generation = self.ui, self.generation
        path = generation.firstLook if generation is not None and not generation.stopping else None
        if path is None:
            self.firstLook = None
        elif self.firstLook != (path, ui.stateLabel.width):  # the picture's width too, which has none until shown
            self.firstLook = (path, ui.stateLabel.width)
            picture = qt.QPixmap(str(path))
            ui.firstLookPicture.setPixmap(
                picture.scaledToWidth(max(200, self.firstLook[1]), qt.Qt.SmoothTransformation)
            )
        ui.firstLookPicture.visible = ui.firstLookLabel.visible = path is not None
        ui.firstLookLabel.text = firstLookCaption() if path is not None else ""

    def describe(self, why: str) -> str:
        generation = self.generation
        if generation is not None and generation.stopping:
            return generation.message or _("Cancelling ...")
        if generation is not None and generation.started:
            text = _("Generating with {model} on {device}. You can go on working in Slicer.")
            text = text.format(model=generation.started["model"], device=generation.started["device"])
            return withWarnings(text, generation)
        if generation is not None:
            return _("Starting ...")
        if self.generateWhenChecked:
            return _("Checking the Python packages ...")
        return self.result or why or _("Ready.")


def withWarnings(text: str, generation: Generation) -> str:
    """The text, and below it what the run warned of."""
    return "\n".join([text, *(_("Warning: {message}").format(message=one) for one in generation.warnings)])

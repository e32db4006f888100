"""One run of generate.py for a volume node: a private folder, a child process, and the result in the scene."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.gui.child_process import Child, ChildProcess
from SyntheticContrastLib.gui.expected_time import windowCount
from SyntheticContrastLib.gui.words import sentence
from SyntheticContrastLib.models.bundle import Bundle
from SyntheticContrastLib.scene.contrast_mark import MadeContrast
from SyntheticContrastLib.scene.heart_mask import writeHeartMask
from SyntheticContrastLib.scene.volumes import (
    addSynthetic,
    addUncertainty,
    checkOutput,
    fingerprint,
    gridOf,
    readOutput,
    writeInput,
)
from SyntheticContrastLib.synthesis.contrast import Contrast

ENTRY = Path(__file__).resolve().parents[2] / "SyntheticContrastCLI" / "generate.py"
CANCEL_GRACE = 5.0  # seconds until it is killed
SOON_DONE = 8  # windows: with so few the result comes about as soon as a first look at it
DONE, BAD_INPUT, OUT_OF_MEMORY = 0, 2, 4  # exit statuses of an entry, see its command-line contract


@dataclass(frozen=True)
class Order:
    """What to generate with. `heartMask` is for a model of the heart; `uncertainty` for one of the whole chest; `step`
    and `firstLook`, a picture of the middle slice while a long run goes on, for one that windows of slices step
    through; `phase` and `level` (HU) for one of shares of contrast, as of generate.py."""

    bundle: Bundle
    step: int = 1
    device: str = "auto"
    precision: str = "auto"
    uncertainty: bool = False
    heartMask: slicer.vtkMRMLSegmentationNode | None = None
    heartSegment: str = ""
    firstLook: bool = False
    phase: str | None = None
    level: float | None = None


@dataclass(frozen=True)
class Progress:
    """Of slices; seconds are None until known."""

    done: int = 0
    total: int = 0
    secondsElapsed: float | None = None
    secondsLeft: float | None = None


class Generation(VTKObservationMixin):
    """Writes the input into a private temporary folder, runs generate.py on it, and adds what comes of it.

    The folder is removed whatever comes. The scene changes only when the run has ended well: `output` is then the
    sCECT. Removing the input node or closing the scene ends the run.

    Attributes:
        outcome: "" before the end, then "done", "cancelled" or "failed".
        firstLook: the picture of the middle slice, a PNG that is there as long as the run goes on; None before.
        warnings: what generate.py warned of, a line each.
        message: why it failed and what to do, in one line; or why it was cancelled, unless the user did.
    """

    def __init__(
        self,
        inputNode: slicer.vtkMRMLScalarVolumeNode,
        outputNode: slicer.vtkMRMLScalarVolumeNode | None,
        order: Order,
        *,
        onProgress: Callable[[], None] = lambda: None,
        onFinished: Callable[[], None] = lambda: None,
        onLog: Callable[[str], None] = lambda line: None,
        child: Child | None = None,
    ) -> None:
        """onProgress: something of this has changed. onLog: is given lines for a report."""
        super().__init__()
        self.inputNode, self.order = inputNode, order
        self.output, self.uncertainty = outputNode, None
        self.outcome = self.message = ""
        self.progress = Progress()
        self.firstLook: Path | None = None
        self.warnings: list[str] = []
        self.started: dict[str, Any] = {}  # the fields of the event "start": device, device_reason, ...
        self.nativeHU: float | None = None  # unenhanced blood, of the event "written"
        self.changes: list[dict[str, Any]] = []  # of tissues, of the event "written"
        self._child: Child = child or ChildProcess()
        self._onProgress, self._onFinished, self._onLog = onProgress, onFinished, onLog
        self._errors: list[str] = []
        self._end = ""

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def stopping(self) -> bool:
        return self._child.stopping

    def start(self) -> None:
        """Write the input and start the process.

        Raises:
            InputError: the nodes cannot be used.
            OSError: no space, or the process cannot be started.
        """
        if reason := checkOutput(self.output, self.inputNode):
            raise InputError(reason)
        self._folder = tempfile.TemporaryDirectory(prefix="SyntheticContrast-")
        try:
            folder = Path(self._folder.name)
            arguments = self._arguments(writeInput(self.inputNode, folder), folder)
            self._given = fingerprint(self.inputNode)
            self._onLog(shlex.join([ENTRY.name, *arguments]))
            self._child.start(ENTRY, arguments, self._onLine, self._onEnd)
        except BaseException:
            self._folder.cleanup()
            raise
        scene = self.inputNode.GetScene()
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeRemoved)
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneClosing)

    def cancel(self, message: str = "") -> None:
        """Ask the process to end; asked again, kill it. `onFinished` is called when it has ended."""
        if not self.running:
            return
        self.outcome, self.message = "cancelled", message or self.message
        if self.stopping:
            self._child.kill()
        else:
            self._child.cancel(CANCEL_GRACE)
        self._onProgress()

    def close(self) -> None:
        """End the process now, wait until it has, and tell nobody."""
        self.removeObservers()
        if self.running:
            self.outcome = "cancelled"
            self._child.close(CANCEL_GRACE)
            self._folder.cleanup()

    def _arguments(self, ncct: Path, folder: Path) -> list[str]:
        order = self.order
        self._outputFile, self._uncertaintyFile = folder / "scect.nrrd", None
        arguments = ["--input", str(ncct), "--output", str(self._outputFile), "--model", str(order.bundle.folder)]
        arguments += ["--device", order.device, "--precision", order.precision]
        arguments += ["--progress", "json", "--uncompressed"]
        card = order.bundle.card
        if order.phase is not None:
            arguments += ["--phase", order.phase]
        if order.level is not None:
            arguments += ["--level", f"{order.level:g}"]
        if card.heart_only:
            if order.heartMask is not None:
                mask = writeHeartMask(order.heartMask, order.heartSegment, self.inputNode, folder)
                arguments += ["--heart-mask", str(mask)]
            return arguments
        if card.stepped:
            arguments += ["--step", str(order.step)]
            slices = gridOf(self.inputNode).shape_zyx[0]
            if order.firstLook and windowCount(slices, card.patch_depth, order.step) > SOON_DONE:
                arguments += ["--first-look", str(folder / "first_look.png")]
        if order.uncertainty:
            self._uncertaintyFile = folder / "uncertainty.nrrd"
            arguments += ["--uncertainty", str(self._uncertaintyFile)]
        return arguments

    def _onLine(self, line: str, isError: bool) -> None:
        if isError:
            self._onLog(line)
            self._errors.append(line)
            return
        try:
            event = json.loads(line)
            name = event["event"]
        except (ValueError, TypeError, KeyError):
            self._onLog(line)
            return
        if name == "progress":
            self.progress = Progress(
                event["slices_done"], event["slices_total"], event["seconds_elapsed"], event["seconds_left"]
            )
        else:
            self._onLog(line)
        if name == "start":
            self.started = event
        elif name == "first_look":
            self.firstLook = Path(event["path"])
        elif name == "warning" and (line := sentence(event["message"])) not in self.warnings:
            self.warnings.append(line)
        elif name == "written":
            self.changes, self.nativeHU = event["changes"], event.get("native_hu")
        elif name == "end":
            self._end = event["message"]
        self._onProgress()

    def _onEnd(self, status: int) -> None:
        self.removeObservers()
        self.firstLook = None
        try:
            if self.outcome == "cancelled":
                return
            if status == DONE:
                self._addResult()
                self.outcome = "done"
            else:
                self.outcome, self.message = "failed", self._failure(status)
        except (InputError, OSError) as error:
            self.outcome, self.message = "failed", sentence(error)
        except Exception as error:
            text = _("Internal error, please report it: {error}")
            self.outcome, self.message = "failed", text.format(error=f"{type(error).__name__}: {error}")
        finally:
            self._folder.cleanup()
            self._onLog(f"{self.outcome} (status {status}) {self.message}".rstrip())
            self._onFinished()

    def _addResult(self) -> None:
        if self.inputNode.GetImageData() is None or fingerprint(self.inputNode) != self._given:
            text = _("{name} was changed during the generation: generate again")
            raise InputError(text.format(name=self.inputNode.GetName()))
        deviation = readOutput(self._uncertaintyFile, self.inputNode) if self._uncertaintyFile else None
        model, weights = (str(self.started.get(key, "")) for key in ("model", "weights_sha256"))
        made = None
        if self.nativeHU is not None:
            made = MadeContrast(Contrast(self.started["phase"], float(self.started["level_hu"])), self.nativeHU)
        self.output = addSynthetic(self.inputNode, self._outputFile, model, weights, self.output, made)
        if deviation is not None:
            self.uncertainty = addUncertainty(self.output, deviation)

    def _failure(self, status: int) -> str:
        if status < 0 or not (self._end or self._errors):
            text = _("generate.py was ended from outside (status {status}), perhaps for want of memory.")
            return text.format(status=status) + " " + _("Close other programs and generate again.")
        text = sentence(self._end or self._errors[-1].removeprefix(f"{ENTRY.name}: "))
        if status in (BAD_INPUT, OUT_OF_MEMORY):
            return text
        return f"{text} {_('The log below says more: copy it into the report.')}"

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller: slicer.vtkMRMLScene, event: str, node: Any) -> None:
        if node is self.inputNode:
            self._endFor(_("The input was removed from the scene: the generation was ended."))
        elif node is self.output:
            self.output = None  # a new one is made

    def _onSceneClosing(self, caller: slicer.vtkMRMLScene, event: str) -> None:
        self._endFor(_("The scene was closed: the generation was ended."))

    def _endFor(self, message: str) -> None:
        if not self.stopping:
            self.cancel(message)

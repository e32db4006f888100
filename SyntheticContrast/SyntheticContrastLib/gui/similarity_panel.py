"""The section "Similarity": two volumes and a slice range, compared by measure.py in a child process."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SyntheticContrastLib.analysis.csv_table import Row
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.gui.binding import connectWidgets
from SyntheticContrastLib.gui.child_process import Child, ChildProcess
from SyntheticContrastLib.gui.dialogs import waitCursor
from SyntheticContrastLib.gui.result_table import chooseCsv, copyRows, showRows
from SyntheticContrastLib.gui.words import sentence
from SyntheticContrastLib.scene.measured import ctOf, jumpTo
from SyntheticContrastLib.scene.similarity import Pair, writePair
from SyntheticContrastLib.scene.tables import putRow, rowsOf, writeCsv

ENTRY = Path(__file__).resolve().parents[2] / "SyntheticContrastCLI" / "measure.py"
CANCEL_GRACE = 5.0  # seconds until it is killed
TEXTS = ("volume", "reference", "window", "notes")  # the columns of the table that are no numbers
KEYS = ("volume", "reference", "first_slice", "last_slice")
INPUTS = (
    *("similarityImageSelector", "similarityReferenceSelector", "similarityFirstSpinBox", "similarityLastSpinBox"),
    "similarityWeightsPath",
)
BUTTONS = ("similarityProposeButton", "similarityMeasureButton", "similarityCopyButton", "similarityExportButton")


def lines() -> dict[str, str]:
    """The columns of the table, in words."""
    return {
        "volume": _("Image"),
        "reference": _("Reference"),
        "first_slice": _("First slice"),
        "last_slice": _("Last slice"),
        "window": _("Window (HU)"),
        "mae_hu": _("MAE (HU)"),
        "mae_unclipped_hu": _("MAE unclipped (HU)"),
        "psnr_db": _("PSNR (dB)"),
        "ms_ssim": _("MS-SSIM"),
        "lpips": _("LPIPS"),
        "nmi_1_to_2": _("NMI, 1 to 2"),
        "nmi_0_to_1": _("NMI, 0 to 1"),
        "notes": _("Notes"),
    }


class SimilarityPanel(VTKObservationMixin):
    """Connects the widgets `ui` of the .ui file, whose top is `top`, to the parameters and the child process.

    A test may put others in the place of `child` and `chooseCsv`.
    """

    def __init__(self, top: Any, ui: Any) -> None:
        super().__init__()
        self.ui: Any = ui
        self.child: Child = ChildProcess()
        self.chooseCsv: Callable[[str], Path | None] = chooseCsv
        self.parameters: Any = None  # SimilarityParameters
        self.guiTag: Any = None
        self.folder: Any = None  # a TemporaryDirectory, while the child works
        self.job: Row = {}  # names of what it compares
        self.notes: list[str] = []
        self.errors: list[str] = []
        self.cancelled = False
        self.result = ""
        self.reference: Any = None  # the one that the slice range is of
        self.range: tuple[int, int] = (0, 0)
        self.chosen: list = []
        self.changing = False
        self.toolTips = {name: getattr(ui, name).toolTip for name in INPUTS + BUTTONS}
        ui.similarityWeightsPath.currentPathChanged.connect(self.onWeights)
        ui.similarityProposeButton.clicked.connect(self.onPropose)
        ui.similarityMeasureButton.clicked.connect(self.onMeasure)
        ui.similarityCopyButton.clicked.connect(self.onCopy)
        ui.similarityExportButton.clicked.connect(self.onExport)
        self.top = top
        top.destroyed.connect(self.onDestroyed)

    # Life

    def enter(self) -> None:
        self.refresh()

    def exit(self) -> None:
        """A comparison goes on."""

    def close(self) -> None:
        """For a panel that is unloaded, and when the application ends: nothing goes on."""
        with contextlib.suppress(RuntimeError, ValueError):  # the widgets are gone
            self.top.destroyed.disconnect(self.onDestroyed)
        self.setParameters(None)

    def onDestroyed(self, *_widget: object) -> None:
        self.ui = None
        with contextlib.suppress(RuntimeError, ValueError):  # of connections to deleted widgets
            self.setParameters(None)

    def setParameters(self, parameters: Any) -> None:
        """Show other `SimilarityParameters`; None while a scene is closed, which ends a comparison."""
        self.removeObservers()
        self.endNow()
        if self.parameters is not None:
            self.parameters.disconnectGui(self.guiTag)
        self.parameters = parameters
        self.result = ""
        if parameters is None or self.ui is None:
            return
        self.reference = parameters.similarityReference
        self.range = (parameters.similarityFirst, parameters.similarityLast)
        self.chosen = self.choice()
        self.guiTag = connectWidgets(parameters, self.ui)
        node = parameters.parameterNode
        self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        self.refresh()

    def onParametersChanged(self, *_event: object) -> None:
        """Also when a chosen volume is removed: what is compared was written to files, and goes on."""
        if self.parameters is None or self.ui is None or self.changing:
            return
        if self.parameters.parameterNode.GetScene().IsImporting():  # not all is there yet; then all is set anew
            return
        self.changing = True
        try:
            chosen = self.choice()
            if chosen != self.chosen and not self.child.running:
                self.result = ""  # which is of something else
            self.chosen = chosen
            self.followReference()
            self.followRange()
        finally:
            self.changing = False
        self.refresh()

    def choice(self) -> list:
        """Changes with what is chosen, not with what else the parameter node of the module holds."""
        nodes = (self.parameters.similarityImage, self.parameters.similarityReference)
        return [
            *(node and node.GetID() for node in nodes),
            self.parameters.similarityFirst,
            self.parameters.similarityLast,
        ]

    def followReference(self) -> None:
        """A new reference: all of its slices, until a range is given or proposed."""
        node = self.parameters.similarityReference
        if node is self.reference:
            return
        self.reference = node
        if node is not None and node.GetImageData() is not None:
            with slicer.util.NodeModify(self.parameters.parameterNode):
                self.parameters.similarityFirst, self.parameters.similarityLast = 0, len(ctOf(node).hu) - 1
            self.range = (0, self.parameters.similarityLast)

    def followRange(self) -> None:
        """Scroll the views to the end of the range that was moved."""
        before, now = self.range, (self.parameters.similarityFirst, self.parameters.similarityLast)
        self.range = now
        moved = [new for old, new in zip(before, now, strict=True) if old != new]
        node = self.parameters.similarityReference
        if len(moved) == 1 and node is not None and node.GetImageData() is not None:
            depth, height, width = ctOf(node).hu.shape
            jumpTo(node, (min(moved[0], depth - 1), height / 2, width / 2))

    def onWeights(self, path: str) -> None:
        if self.parameters is not None:
            self.parameters.similarityWeights = path

    # Work

    def onPropose(self) -> None:
        from SyntheticContrastLib.analysis.slice_range import propose_slice_range

        def propose() -> None:
            ct = ctOf(self.parameters.similarityReference)
            found = propose_slice_range(ct.hu, ct.spacing_zyx)
            with slicer.util.NodeModify(self.parameters.parameterNode):
                self.parameters.similarityFirst, self.parameters.similarityLast = found.first, found.last
            text = _("Slices {first} to {last} are proposed: look at both.")
            self.result = text.format(first=found.first, last=found.last)
            if found.note:
                self.result += f" {sentence(found.note)}"

        self.attempt(propose)

    def onMeasure(self) -> None:
        """Compare, or cancel what is at work; asked again, end it at once."""
        if self.child.running:
            self.cancelled = True
            self.child.kill() if self.child.stopping else self.child.cancel(CANCEL_GRACE)
            self.refresh()
        else:
            self.attempt(self.start)

    def start(self) -> None:
        parameters = self.parameters
        image, reference = parameters.similarityImage, parameters.similarityReference
        first, last = parameters.similarityFirst, parameters.similarityLast
        self.folder = tempfile.TemporaryDirectory(prefix="SyntheticContrast-")
        try:
            folder = Path(self.folder.name)
            pair = writePair(image, reference, first, last, folder)
            arguments = ["similarity", "--volume", str(pair.image), "--reference", str(pair.reference)]
            arguments += ["--output", str(folder / "similarity.csv"), "--progress", "json"]
            if parameters.similarityWeights:
                arguments += ["--lpips-weights", parameters.similarityWeights]
            self.job = {
                "volume": image.GetName(),
                "reference": reference.GetName(),
                "first_slice": float(first),
                "last_slice": float(last),
            }
            self.notes, self.errors, self.cancelled = notesOf(pair), [], False
            self.show(0, last - first + 1)
            self.child.start(ENTRY, arguments, self.onLine, self.onEnd)
        except BaseException:
            self.endNow()
            raise

    def onLine(self, line: str, isError: bool) -> None:
        if isError:
            self.errors.append(line)
            return
        with contextlib.suppress(ValueError, TypeError, KeyError):  # another line than ours
            event = json.loads(line)
            if event["event"] == "progress":
                self.show(event["slices_done"], event["slices_total"])

    def onEnd(self, status: int) -> None:
        try:
            if self.cancelled:
                self.result = _("Cancelled. The table is as it was.")
            elif status == 0:
                self.keep()
            else:
                self.tell(self.failure(status))
        finally:
            self.endNow()
            self.refresh()

    def failure(self, status: int) -> str:
        if status < 0 or not self.errors:
            text = _("measure.py was ended from outside (status {status}), perhaps for want of memory.")
            return text.format(status=status)
        return sentence(self.errors[-1].removeprefix(f"{ENTRY.name}: "))

    def keep(self) -> None:
        """Put the row of the child process into the table of the scene."""
        with Path(self.folder.name, "similarity.csv").open(encoding="utf-8", newline="") as file:
            [found] = csv.DictReader(file)
        row: Row = {
            name: value if name in TEXTS else float(value) if value else math.nan for name, value in found.items()
        }
        notes = "; ".join(note for note in (*self.notes, row["notes"]) if note)
        row = row | self.job | {"notes": notes}
        scene = self.parameters.parameterNode.GetScene()
        if self.parameters.similarityTable is None:
            name = scene.GenerateUniqueName(_("Similarity"))
            self.parameters.similarityTable = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        putRow(self.parameters.similarityTable, row, KEYS)
        self.result = _("Done: {image} against {reference}.").format(image=row["volume"], reference=row["reference"])
        if notes:
            self.result += f" {sentence(notes)}"

    def endNow(self) -> None:
        """End what is at work, tell nobody, and remove its files."""
        self.child.close(CANCEL_GRACE)
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None

    def onCopy(self) -> None:
        copyRows(rowsOf(self.parameters.similarityTable), lines())

    def onExport(self) -> None:
        path = self.chooseCsv(_("Save the table of similarity"))
        if path is None:
            return

        def export() -> None:
            writeCsv(self.parameters.similarityTable, path)
            self.result = _("Saved as {table}.").format(table=path.name)

        self.attempt(export)

    # What is seen

    def attempt(self, action: Callable[[], None]) -> None:
        """Do it; what is wrong is said in one message, and the scene stays as it was."""
        try:
            with waitCursor():
                action()
        except (InputError, OSError) as error:
            self.tell(sentence(error))
        except ImportError as error:
            text = _("The Python package {name} is missing: module Synthetic Contrast installs it.")
            self.tell(text.format(name=error.name))
        self.refresh()

    def tell(self, text: str) -> None:
        self.result = text
        slicer.util.errorDisplay(text, windowTitle=_("Synthetic Contrast Analysis"))

    def show(self, done: int, total: int) -> None:
        """How many slices are compared."""
        if self.ui is not None:
            self.ui.similarityProgressBar.maximum = total
            self.ui.similarityProgressBar.value = done
            self.ui.similarityProgressBar.format = _("{done} of {total} slices").format(done=done, total=total)

    def refresh(self) -> None:
        """Enable what can be done, and say why the rest cannot."""
        if self.ui is None or self.parameters is None:
            return
        ui, parameters = self.ui, self.parameters
        if ui.similarityWeightsPath.currentPath != parameters.similarityWeights:
            ui.similarityWeightsPath.currentPath = parameters.similarityWeights
        running, stopping = self.child.running, self.child.stopping
        busy = _("Wait for the comparison, or cancel it.") if running else ""
        noReference = "" if parameters.similarityReference is not None else _("Choose the reference first.")
        why = "" if parameters.similarityImage is not None else _("Choose the image first.")
        why = why or noReference
        noResult = "" if rowsOf(parameters.similarityTable) else _("Nothing is measured yet.")
        for name in INPUTS:
            self.allow(name, busy)
        self.allow("similarityProposeButton", busy or noReference)
        self.allow("similarityMeasureButton", "" if running else why)
        self.allow("similarityCopyButton", noResult)
        self.allow("similarityExportButton", noResult)
        ui.similarityMeasureButton.text = _("End now") if stopping else _("Cancel") if running else _("Measure")
        ui.similarityProgressBar.visible = running
        showRows(ui.similarityTable, rowsOf(parameters.similarityTable), lines())
        state = _("Cancelling ...") if stopping else _("Comparing. You can go on working in Slicer.") if running else ""
        ui.similarityStateLabel.text = state or self.result or why or _("Ready.")

    def allow(self, name: str, reason: str) -> None:
        widget = getattr(self.ui, name)
        widget.enabled = not reason
        widget.toolTip = reason or self.toolTips[name]


def notesOf(pair: Pair) -> list[str]:
    """What of the two volumes was not compared, for the table."""
    notes = []
    if pair.cut:
        notes.append(_("only where both volumes lie"))
    if pair.outside >= 0.0005:
        notes.append(_("{share:.1%} that one of them does not cover counts as air").format(share=pair.outside))
    return notes

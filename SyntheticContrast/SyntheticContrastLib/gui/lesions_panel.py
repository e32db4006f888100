"""The section "Lesion CNR" of module 2: lesions, their circles, the checks, and what is measured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SyntheticContrastLib.analysis.circle_proposal import propose_circles
from SyntheticContrastLib.analysis.cnr import LESION, ROLES, circle_diameter
from SyntheticContrastLib.analysis.cnr_table import COLUMNS
from SyntheticContrastLib.analysis.csv_table import Row
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.gui.binding import connectWidgets
from SyntheticContrastLib.gui.dialogs import waitCursor
from SyntheticContrastLib.gui.file_dialogs import chooseFileToOpen, chooseFileToSave
from SyntheticContrastLib.gui.lesions_view import LesionsView
from SyntheticContrastLib.gui.ruler_drawing import RulerDrawing
from SyntheticContrastLib.gui.words import sentence
from SyntheticContrastLib.scene.comparison import Comparison
from SyntheticContrastLib.scene.lesion import Lesion, Place, Ruler, newName
from SyntheticContrastLib.scene.lesion_files import exportLesions, importLesions
from SyntheticContrastLib.scene.lesion_measurements import LesionMeasurements
from SyntheticContrastLib.scene.lesion_tables import fillChart, fillTable
from SyntheticContrastLib.scene.lesion_watch import LesionWatch
from SyntheticContrastLib.scene.slice_jump import jumpTo, middleOfView
from SyntheticContrastLib.scene.world import lps, sliceNormal, slicePlane, worldCT

UPDATE_MILLISECONDS = 20  # changes that come together, as in a drag, are measured once
SETTLE_MILLISECONDS = 150  # until the views of a new layout have their size
VOLUME_EVENTS = (
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
)
MODULE_1 = ("SyntheticContrast", {"lesionNcct": "ncct", "lesionScect": "scect", "lesionCect": "cect"})
FILES = "Markups (*.mrk.json)"


class LesionsPanel(VTKObservationMixin):
    """Connects the widgets `ui` of the .ui file, whose top is `top`, to parameters and lesions of the scene.

    A test may put others in the place of `chooseFileToSave` and `chooseFileToOpen`.
    """

    def __init__(self, top: Any, ui: Any) -> None:
        super().__init__()
        self.ui: Any = ui
        self.view = LesionsView(ui)
        self.chooseFileToSave: Callable[[str, str], str] = chooseFileToSave
        self.chooseFileToOpen: Callable[[str, str], str] = chooseFileToOpen
        self.parameters: Any = None  # LesionParameters; Slicer adds disconnectGui and more to them
        self.guiTag: Any = None
        self.watch = LesionWatch(slicer.mrmlScene, self.schedule)
        self.drawing = RulerDrawing(self.schedule)
        self.measurements = LesionMeasurements()
        self.comparison = Comparison(slicer.mrmlScene)
        self.lesions: list[Lesion] = []
        self.measured: dict[str, slicer.vtkMRMLScalarVolumeNode] = {}  # the volumes, by role
        self.notice = ""  # what happened last

        ui.lesionsShowButton.clicked.connect(self.onShow)
        ui.lesionsLeaveButton.clicked.connect(self.onLeave)
        ui.lesionsDrawButton.clicked.connect(self.onDraw)
        ui.lesionsAddButton.clicked.connect(self.onAdd)
        ui.lesionsTable.itemSelectionChanged.connect(self.onSelected)
        ui.lesionsGoToButton.clicked.connect(self.onGoTo)
        ui.lesionsRemoveButton.clicked.connect(self.onRemove)
        ui.lesionsNameEdit.editingFinished.connect(self.onRenamed)
        ui.lesionsMeasuredAxisSlider.valueChanged.connect(self.onShortAxis)
        ui.lesionsDiameterSlider.valueChanged.connect(self.onDiameter)
        ui.lesionsProposeButton.clicked.connect(self.onPropose)
        ui.lesionsMiddleButton.clicked.connect(self.onMiddle)
        ui.lesionsEqualButton.clicked.connect(self.onEqual)
        ui.lesionsCopyButton.clicked.connect(self.onCopy)
        ui.lesionsPlotButton.clicked.connect(self.onPlot)
        ui.lesionsExportButton.clicked.connect(self.onExport)
        ui.lesionsImportButton.clicked.connect(self.onImport)
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.interval = UPDATE_MILLISECONDS
        self.timer.timeout.connect(self.update)
        self.fitTimer = qt.QTimer()
        self.fitTimer.setSingleShot(True)
        self.fitTimer.interval = SETTLE_MILLISECONDS
        self.fitTimer.timeout.connect(self.fit)
        top.destroyed.connect(self.onDestroyed)

    # Life

    def enter(self) -> None:
        self.takeVolumesOfModule1()
        self.update()

    def exit(self) -> None:
        """Circles can be dragged in other modules too; a ruler that is half drawn is given up."""
        self.drawing.cancel()

    def close(self) -> None:
        """For a panel that is unloaded, and when the application ends."""
        self.setParameters(None)
        self.fitTimer.stop()
        self.comparison.leave()

    def onDestroyed(self, *_widget: object) -> None:
        self.ui = self.view.ui = None
        with contextlib.suppress(RuntimeError, ValueError):  # of connections to deleted widgets
            self.setParameters(None)

    def takeVolumesOfModule1(self) -> None:
        """What is compared there is likely to be measured here."""
        module, names = MODULE_1
        node = slicer.mrmlScene.GetSingletonNode(module, "vtkMRMLScriptedModuleNode")
        if node is not None and self.parameters is not None and not self.volumes():
            for mine, its in names.items():
                setattr(self.parameters, mine, node.GetNodeReference(its))

    # Parameters

    def setParameters(self, parameters: Any) -> None:
        """Show other `LesionParameters`; None while a scene is closed."""
        self.timer.stop()
        self.removeObservers()
        self.watch.stop()
        self.drawing.cancel()
        if self.parameters is not None:
            self.parameters.disconnectGui(self.guiTag)
        self.parameters = parameters
        self.lesions, self.measured, self.notice = [], {}, ""
        self.measurements.forget()
        if parameters is not None and self.ui is not None:
            self.guiTag = connectWidgets(parameters, self.ui)
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.schedule)
            self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeRemovedEvent, self.onNodeRemoved)
            self.watch.start()
            self.update()

    def volumes(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """The chosen ones, by role."""
        if self.parameters is None:
            return {}
        parameters = self.parameters
        chosen = {"NCCT": parameters.lesionNcct, "sCECT": parameters.lesionScect, "CECT": parameters.lesionCect}
        return {role: node for role, node in chosen.items() if node is not None}

    def reference(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume on whose slices lesions lie: the CECT, else what there is."""
        volumes = self.volumes()
        return next((volumes[role] for role in ("CECT", "sCECT", "NCCT") if role in volumes), None)

    def current(self) -> Lesion | None:
        node = self.parameters.lesionCurrent if self.parameters is not None else None
        return Lesion(node) if Lesion.isLesion(node) else None

    def role(self) -> str:
        """The circle whose size and place the controls change."""
        return str(self.parameters.lesionRole.value)

    # Following the scene

    def schedule(self, *_event: object) -> None:
        self.timer.start()

    def onVolumeChanged(self, *_event: object) -> None:
        self.measurements.forget()
        self.schedule()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller: slicer.vtkMRMLScene, event: str, node: Any) -> None:
        for role, volume in self.measured.items():
            if volume is node:
                text = _("{name} was removed from the scene: choose another {role}.")
                self.notice = text.format(name=node.GetName(), role=role)
        if Lesion.isLesion(node):
            self.notice = _("{name} was removed.").format(name=node.GetName())
        self.schedule()

    def update(self) -> None:
        """Bring all that is shown and measured in line with the scene."""
        self.timer.stop()
        if self.parameters is None or self.ui is None:
            return
        if slicer.mrmlScene.IsBatchProcessing():  # a scene that is loaded is shown when it is whole
            self.schedule()
            return
        self.followVolumes()
        self.followDrawing()
        self.lesions = self.watch.refresh()
        self.followRulers()
        if self.current() is None and self.lesions:
            self.parameters.lesionCurrent = self.lesions[0].node
        self.measurements.measure(self.lesions, self.measured, self.watch.changed)
        self.watch.changed.clear()
        self.writeTables()
        self.refresh()

    def followVolumes(self) -> None:
        volumes = self.volumes()
        if volumes == self.measured:
            return
        for event in VOLUME_EVENTS:
            for node in set(self.measured.values()):
                self.removeObserver(node, event, self.onVolumeChanged)
            for node in set(volumes.values()):
                self.addObserver(node, event, self.onVolumeChanged)
        self.measured = volumes
        self.measurements.forget()
        if self.comparison.isShown:
            if self.whyNotShow():
                self.comparison.leave()
            else:
                self.comparison.show(volumes)
                self.fitTimer.start()

    def followDrawing(self) -> None:
        line = self.drawing.finished()
        if line is None:
            return
        try:
            ends = Ruler.of(line)
            self.add(ends.middle, ends.length, line)
            self.notice += self.offSlice(line)
        except InputError as error:
            slicer.mrmlScene.RemoveNode(line)
            self.notice = sentence(error)

    def followRulers(self) -> None:
        """A ruler that was moved sets the size of the circles, the place of the lesion circle, and the slice."""
        for lesion in self.lesions:
            line = lesion.ruler
            if lesion.node.GetID() not in self.watch.rulers or line is None:
                continue
            try:
                ends = Ruler.of(line)
                centre, normal = self.onSlice(ends.middle)[1:]
                lesion.moveTo(centre, normal)
                lesion.setShortAxis(ends.length)
                self.notice = self.offSlice(line).strip()
            except InputError as error:
                self.notice = sentence(error)
        self.watch.rulers.clear()

    def offSlice(self, line: slicer.vtkMRMLMarkupsLineNode) -> str:
        """A remark on a ruler that does not lie on a slice; empty if it does."""
        ends, normal = Ruler.of(line), self.onSlice(Ruler.of(line).middle)[2]
        if abs((ends.second - ends.first) @ normal) <= 1.0:
            return ""
        return " " + _("The ruler is not on one axial slice: measure the short axis on an axial slice.")

    def onSlice(self, place: Place) -> tuple[int, Place, Place]:
        """Slice of the reference, place on it, and its normal: see `slicePlane`. Raises InputError."""
        node = self.reference()
        if node is None:
            raise InputError(_("no volume is chosen: choose the CECT first"))
        return slicePlane(worldCT(node), place)

    # What the user does

    def attempt(self, change: Callable[[], None]) -> None:
        """Do something that may be refused: the reason is shown."""
        try:
            with waitCursor():
                change()
        except (InputError, OSError) as error:
            self.notice = sentence(error)
        self.update()

    def onShow(self) -> None:
        self.attempt(lambda: self.comparison.show(self.volumes()))
        self.fitTimer.start()

    def onLeave(self) -> None:
        self.comparison.leave()
        self.update()

    def fit(self) -> None:
        """When the views have their size: show the lesion in them."""
        self.comparison.settle()
        if self.current() is not None:
            self.onGoTo()

    def onDraw(self) -> None:
        if self.drawing.active:
            self.drawing.cancel()
        else:
            self.drawing.start()
        self.update()

    def onAdd(self) -> None:
        self.attempt(lambda: self.add(self.middle(), self.parameters.lesionShortAxis))

    def add(self, place: Place, shortAxis: float, ruler: slicer.vtkMRMLMarkupsLineNode | None = None) -> None:
        """A lesion on the slice nearest to `place`, with the circles that are found. Raises InputError."""
        _z, centre, normal = self.onSlice(place)
        lesion = Lesion.create(slicer.mrmlScene, newName(slicer.mrmlScene, _("Lesion")), centre, normal, shortAxis)
        if ruler is not None:
            lesion.ruler = ruler
        self.parameters.lesionCurrent = lesion.node
        self.notice = _("{name} was added.").format(name=lesion.name)
        try:
            if missing := self.propose(lesion, circle_diameter(shortAxis)):
                text = _(" No place was found for: {roles}. Choose the circle below and put it to mid-view.")
                self.notice += text.format(roles=", ".join(missing))
        except InputError as error:
            self.notice += " " + sentence(error)
        self.onGoTo()  # the views may lie between two slices

    def propose(self, lesion: Lesion, diameter: float, only: str = "") -> list[str]:
        """Put the other circles where the image says, or only that of one role. Returns the roles without a place.

        Raises:
            InputError: no volume, no lesion circle, or a Python package is missing.
        """
        node = self.reference()
        ends = lesion.ends(LESION)
        if node is None or ends is None:
            raise InputError(_("the lesion circle is missing: put it to mid-view first"))
        volume = worldCT(node)
        try:
            with waitCursor():
                found = propose_circles(volume, slicePlane(volume, ends[0])[0], diameter)
        except ImportError as error:
            text = _(
                "the Python package {name} is missing, so no place is proposed: module Synthetic Contrast installs it"
            )
            raise InputError(text.format(name=error.name)) from error
        wanted = {role: circle for role, circle in found.items() if only in ("", role)}
        for role, circle in wanted.items():
            if circle is not None:
                lesion.place(role, np.array(lps(circle.centre)), diameter)
        lesion.draw()
        return [role for role, circle in wanted.items() if circle is None]

    def middle(self) -> Place:
        """Of the view: where a circle goes that the image does not place. Raises InputError: no axial view is shown."""
        node, lesion = self.reference(), self.current()
        if node is None:
            raise InputError(_("no volume is chosen: choose the CECT first"))
        place = middleOfView(slicer.mrmlScene, lesion.normal if lesion is not None else sliceNormal(worldCT(node)))
        if place is None:
            raise InputError(_("no axial view is shown: show one"))
        return place

    def onSelected(self) -> None:
        row = self.ui.lesionsTable.currentRow()
        if not self.view.filling and 0 <= row < len(self.lesions):
            self.notice = ""
            self.parameters.lesionCurrent = self.lesions[row].node

    def onGoTo(self) -> None:
        lesion = self.current()
        ends = next((ends for role in ROLES if (ends := lesion.ends(role)) is not None), None) if lesion else None
        if lesion is not None and ends is not None:
            jumpTo(slicer.mrmlScene, ends[0], lesion.normal)

    def onRemove(self) -> None:
        lesion = self.current()
        if lesion is not None:
            lesion.remove()
        self.update()

    def onRenamed(self) -> None:
        lesion, name = self.current(), self.ui.lesionsNameEdit.text
        if lesion is not None and not self.view.filling and name != lesion.name:
            self.notice = ""
            self.attempt(lambda: lesion.rename(name))

    def onShortAxis(self, mm: float) -> None:
        self.change(lambda lesion: lesion.setShortAxis(mm))

    def onDiameter(self, mm: float) -> None:
        self.change(lambda lesion: lesion.resize(self.role(), mm))

    def onEqual(self) -> None:
        self.change(lambda lesion: lesion.setShortAxis(lesion.shortAxis))

    def onMiddle(self) -> None:
        self.change(lambda lesion: lesion.place(self.role(), self.middle(), circle_diameter(lesion.shortAxis)))

    def onPropose(self) -> None:
        self.change(self.proposeAgain)

    def proposeAgain(self, lesion: Lesion) -> None:
        if self.propose(lesion, circle_diameter(lesion.shortAxis), self.role()):
            text = _("no place was found for {role}: drag the circle, or put it to mid-view")
            raise InputError(text.format(role=self.role()))

    def change(self, change: Callable[[Lesion], None]) -> None:
        """Change the current lesion, unless a widget only shows it."""
        lesion = self.current()
        if lesion is not None and not self.view.filling:
            self.notice = ""
            self.attempt(lambda: change(lesion))

    # Results

    def rows(self) -> list[Row]:
        return self.measurements.rows(self.lesions, list(self.measured))

    def writeTables(self) -> None:
        """The table and the chart of the scene. There is none before the first lesion."""
        parameters, rows = self.parameters, self.rows()
        if parameters.lesionTable is None and rows:
            parameters.lesionTable = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _("Lesion CNR"))
        if parameters.lesionTable is not None:
            fillTable(parameters.lesionTable, rows)
        if parameters.lesionChart is not None:
            fillChart(parameters.lesionChart, rows)

    def onCopy(self) -> None:
        lines = [COLUMNS, *([str(row.get(column, "")) for column in COLUMNS] for row in self.rows())]
        qt.QApplication.clipboard().setText("\n".join("\t".join(line) for line in lines))
        self.notice = _("The table was copied: paste it into a spreadsheet.")
        self.refresh()

    def onPlot(self) -> None:
        """Show the chart in a layout with a plot view."""
        if self.parameters.lesionChart is None:
            self.parameters.lesionChart = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLPlotChartNode", _("Lesion CNR chart")
            )
        self.update()
        self.comparison.leave()
        slicer.modules.plots.logic().ShowChartInLayout(self.parameters.lesionChart)
        self.update()

    def onExport(self) -> None:
        path = self.chooseFileToSave(_("Circles and table: a .mrk.json, and a .csv beside it"), FILES)
        if path:
            self.attempt(lambda: self.export(Path(path)))

    def export(self, path: Path) -> None:
        files = exportLesions(path, self.lesions, self.rows())
        self.notice = _("Saved: {files}.").format(files=", ".join(file.name for file in files))
        if moved := [node.GetName() for node in self.measured.values() if node.GetParentTransformNode() is not None]:
            text = _(" {names}: harden the transform before you save the volume for measure.py.")
            self.notice += text.format(names=", ".join(moved))

    def onImport(self) -> None:
        path = self.chooseFileToOpen(_("Circles of lesions"), FILES)
        if path:
            self.attempt(lambda: self.load(Path(path)))

    def load(self, path: Path) -> None:
        lesions = importLesions(path, slicer.mrmlScene)
        self.parameters.lesionCurrent = lesions[0].node
        self.notice = _("Read: {names}.").format(names=", ".join(lesion.name for lesion in lesions))

    # What is seen

    def whyNotShow(self) -> str:
        volumes = self.volumes()
        if len(volumes) < 2:
            return _("Choose at least two volumes to show side by side.")
        if len(set(volumes.values())) < len(volumes):
            return _("One volume is chosen twice: choose different ones.")
        for node in volumes.values():
            if node.GetImageData() is None:
                return _("{name} has no voxels: choose another volume.").format(name=node.GetName())
        return ""

    def refresh(self) -> None:
        if self.ui is None or self.parameters is None:
            return
        ui, view, lesion = self.ui, self.view, self.current()
        view.show(self.lesions, lesion, self.role(), list(self.measured), self.measurements)
        noVolume = "" if self.measured else _("Choose the CECT first.")
        noLesion = "" if lesion is not None else _("There is no lesion yet: draw its short axis.")
        view.allow("lesionsShowButton", self.whyNotShow())
        view.allow("lesionsLeaveButton", "" if self.comparison.isShown else _("The volumes are not side by side."))
        view.allow("lesionsDrawButton", noVolume)
        ui.lesionsDrawButton.text = _("Cancel") if self.drawing.active else _("Draw the short axis")
        view.allow("lesionsAddButton", noVolume)
        for name in ("lesionsGoToButton", "lesionsRemoveButton", "lesionsNameEdit", "lesionsRoleComboBox"):
            view.allow(name, noLesion)
        for name in ("lesionsMiddleButton", "lesionsEqualButton"):
            view.allow(name, noLesion or noVolume)
        hasRuler = _("The ruler says it: drag its ends in a view.")
        view.allow("lesionsMeasuredAxisSlider", noLesion or (hasRuler if lesion and lesion.ruler else ""))
        missing = _("This circle is not placed yet.") if lesion and lesion.ends(self.role()) is None else ""
        view.allow("lesionsDiameterSlider", noLesion or missing)
        isLesion = _("The lesion is where you measured it.") if self.role() == LESION else ""
        view.allow("lesionsProposeButton", noLesion or noVolume or isLesion)
        for name in ("lesionsCopyButton", "lesionsPlotButton"):
            view.allow(name, noLesion or noVolume)
        view.allow("lesionsExportButton", noLesion)
        ui.lesionsStateLabel.text = self.describe()

    def describe(self) -> str:
        if self.drawing.active:
            return _("Click both ends of the lesion's short axis on an axial slice. Escape gives up.")
        if self.notice:
            return self.notice
        if not self.measured:
            return _("Choose the CECT, and the NCCT and sCECT of the same patient if there are.")
        if not self.lesions:
            return _("Draw the short axis of a lesion on the CECT: its circles follow.")
        return _("Drag the middle or the rim of a circle in a view, until nothing is wrong with it.")

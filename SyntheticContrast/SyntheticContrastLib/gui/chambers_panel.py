"""The section "Left chambers and Dice": a threshold in a heart region, and how it agrees with a reference."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SyntheticContrastLib.analysis.csv_table import Row
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.gui.binding import connectWidgets
from SyntheticContrastLib.gui.chambers_parameters import HIGHEST_HU, LOWEST_HU, Show
from SyntheticContrastLib.gui.dialogs import waitCursor
from SyntheticContrastLib.gui.mask_choice import MaskChoice
from SyntheticContrastLib.gui.result_table import chooseCsv, copyRows, showRows
from SyntheticContrastLib.gui.segment_editor import openSegmentEditor
from SyntheticContrastLib.gui.words import sentence
from SyntheticContrastLib.scene import chambers as scene_chambers
from SyntheticContrastLib.scene import chambers_compare as comparing
from SyntheticContrastLib.scene.chambers import STRUCTURES, ChamberSearch, Threshold
from SyntheticContrastLib.scene.masks import SEGMENTATION, Mask, addSegmentation, layOn, maskOf, putSegment
from SyntheticContrastLib.scene.measured import jumpTo
from SyntheticContrastLib.scene.tables import putRow, rowsOf, writeCsv

PREVIEW_MILLISECONDS = 30  # after the last move of the slider
THRESHOLD_ATTRIBUTE = "SyntheticContrast.ThresholdHU"
KEYS = ("volume", "chambers", "reference")
IN_USE = ("chambersVolume", "chambersRegion", "chambersOutput", "chambersReference", "chambersBasal")
SEGMENTS = ("chambersRegionSegment", "chambersReferenceSegment")
BUTTONS = (
    *("chambersProposeButton", "chambersEditButton", "chambersFromReferenceButton", "chambersSegmentButton"),
    *("chambersCompareButton", "chambersPlotButton", "chambersCopyButton", "chambersExportButton"),
    "chambersFusionButton",
)


def lines() -> dict[str, str]:
    """The columns of the table, in words."""
    return {
        "volume": _("CT"),
        "chambers": _("Segmentation"),
        "reference": _("Reference"),
        "threshold_hu": _("Threshold (HU)"),
        "dice": _("Dice"),
        "compared_ml": _("Volume (mL)"),
        "reference_ml": _("Reference (mL)"),
        "volume_error_percent": _("Volume difference (%)"),
        "slices": _("Slices with a reference"),
        "slice_dice_mean": _("Dice by slice, mean"),
        "slice_dice_sd": _("Dice by slice, SD"),
        "elsewhere_ml": _("On other slices (mL)"),
        "reference_outside_percent": _("Reference outside the CT (%)"),
    }


class ChambersPanel(VTKObservationMixin):
    """Connects the widgets `ui` of the .ui file, whose top is `top`, to the parameters and the scene.

    A test may put others in the place of `chooseCsv` and `openSegmentEditor`.
    """

    def __init__(self, top: Any, ui: Any) -> None:
        super().__init__()
        self.ui: Any = ui
        self.chooseCsv: Callable[[str], Path | None] = chooseCsv
        self.openSegmentEditor: Callable[[Any, Any], None] = openSegmentEditor
        self.parameters: Any = None  # ChambersParameters
        self.guiTag: Any = None
        self.search: ChamberSearch | None = None
        self.searched: tuple = ()  # the state of volume and region that `search` is of
        self.preview: Any = None  # a segmentation that is not saved
        self.drawn: tuple[ChamberSearch, Threshold] | None = None  # what the preview shows
        self.threshold: Threshold | None = None  # what the parameters said last
        self.hidden: list = []  # display nodes of region and reference, while the result is shown
        self.chosen: list = []  # ids of nodes and segments
        self.names: dict[str, str] = {}  # of the nodes in use, by id
        self.removed = ""  # what to say of one that is just being removed
        self.result = self.previewed = self.why = ""
        self.entered = self.changing = self.acting = False
        self.toolTips = {name: getattr(ui, name).toolTip for name in BUTTONS}
        self.region = MaskChoice(
            ui.chambersRegionSelector, ui.chambersRegionSegmentComboBox, "chambersRegion", lambda: self.parameters
        )
        self.reference = MaskChoice(
            ui.chambersReferenceSelector,
            ui.chambersReferenceSegmentComboBox,
            "chambersReference",
            lambda: self.parameters,
        )
        self.previewTimer = qt.QTimer()
        self.previewTimer.setSingleShot(True)
        self.previewTimer.interval = PREVIEW_MILLISECONDS
        self.previewTimer.timeout.connect(self.updatePreview)
        ui.chambersProposeButton.clicked.connect(self.onPropose)
        ui.chambersEditButton.clicked.connect(self.onEdit)
        ui.chambersFromReferenceButton.clicked.connect(self.onFromReference)
        ui.chambersSegmentButton.clicked.connect(self.onSegment)
        ui.chambersCompareButton.clicked.connect(self.onCompare)
        ui.chambersPlotButton.clicked.connect(self.onPlot)
        ui.chambersCopyButton.clicked.connect(self.onCopy)
        ui.chambersExportButton.clicked.connect(self.onExport)
        ui.chambersFusionButton.clicked.connect(self.onFusion)
        self.top = top
        top.destroyed.connect(self.onDestroyed)

    # Life

    def enter(self) -> None:
        self.entered = True
        self.onParametersChanged()

    def exit(self) -> None:
        """No preview is left behind in another module, and nothing is hidden there, as in the Segment Editor."""
        self.entered = False
        self.endPreview()
        self.showAgain()

    def close(self) -> None:
        with contextlib.suppress(RuntimeError, ValueError):  # the widgets are gone
            self.top.destroyed.disconnect(self.onDestroyed)
        self.setParameters(None)

    def onDestroyed(self, *_widget: object) -> None:
        self.ui = None
        with contextlib.suppress(RuntimeError, ValueError):  # of connections to deleted widgets
            self.setParameters(None)

    def setParameters(self, parameters: Any) -> None:
        """Show other `ChambersParameters`; None while a scene is closed."""
        self.previewTimer.stop()
        self.removeObservers()
        self.endPreview()
        self.showAgain()
        self.search, self.searched, self.threshold, self.names = None, (), None, {}
        self.chosen, self.result = [], ""
        if self.parameters is not None:
            self.parameters.disconnectGui(self.guiTag)
        self.parameters = parameters
        if parameters is None or self.ui is None:
            return
        self.guiTag = connectWidgets(parameters, self.ui)
        node = parameters.parameterNode
        self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        scene = node.GetScene()
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.onParametersChanged()

    def onParametersChanged(self, *_event: object) -> None:
        if self.parameters is None or self.ui is None or self.changing:
            return
        if self.parameters.parameterNode.GetScene().IsImporting():  # not all is there yet; then all is set anew
            return
        self.changing = True
        try:
            nodes = [getattr(self.parameters, name) for name in IN_USE]
            chosen = [node and node.GetID() for node in nodes]
            chosen += [getattr(self.parameters, name) for name in SEGMENTS]
            if chosen != self.chosen and not self.acting:
                self.result, self.removed = self.removed, ""  # what it said is of something else
            self.chosen = chosen
            threshold = self.wantedThreshold()
            if self.threshold not in (None, threshold):  # a moved slider is to be seen
                self.parameters.chambersShow = Show.preview
                self.result = ""
            self.threshold = threshold
            self.observeRegion()
            self.showLayers()
        finally:
            self.changing = False
        self.refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, _scene: object, _event: str, node: Any) -> None:
        """The parameters are told after it."""
        if node is self.preview:
            self.preview = self.drawn = None
        if node.GetID() in self.names:
            self.search, self.searched = None, ()
            text = _("{name} was removed from the scene: choose another.")
            self.removed = text.format(name=self.names[node.GetID()])

    def observeRegion(self) -> None:
        """Follow a box that is dragged and a segment that is edited, as long as they are the region."""
        node = self.region.node
        if node is None or self.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self.onRegionChanged):
            return
        self.removeObservers(self.onRegionChanged)
        self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onRegionChanged)
        if node.IsA(SEGMENTATION):
            event = slicer.vtkSegmentation.SourceRepresentationModified
            self.addObserver(node.GetSegmentation(), event, self.onRegionChanged)
        elif node.IsA("vtkMRMLMarkupsROINode"):
            self.addObserver(node, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self.onRegionChanged)

    def onRegionChanged(self, *_event: object) -> None:
        if self.parameters is not None and self.parameters.chambersShow is Show.preview and self.entered:
            self.previewTimer.start()

    # Region and threshold

    def onPropose(self) -> None:
        def propose() -> None:
            volume = self.parameters.chambersVolume
            node = scene_chambers.proposeRegion(volume)
            self.parameters.chambersRegionSegment = ""
            self.parameters.chambersRegion = node
            jumpTo(volume, scene_chambers.middle(volume, maskOf(node, "", volume)))
            self.result = _(
                "A heart region is proposed: look at it and correct it in the Segment Editor. Where the right heart is "
                "enhanced too, cut it off."
            )

        self.attempt(propose)

    def onEdit(self) -> None:
        self.attempt(lambda: self.openSegmentEditor(self.region.node, self.parameters.chambersVolume))

    def onFromReference(self) -> None:
        def take() -> None:
            hu = scene_chambers.thresholdOfReference(
                self.parameters.chambersVolume, self.reference.node, self.reference.segment
            )
            if not LOWEST_HU <= hu <= HIGHEST_HU:
                text = _("the lowest HU inside the reference is {hu:.0f}: its rim takes in lung or fat, correct it")
                raise InputError(text.format(hu=hu))
            self.parameters.chambersThreshold = float(round(hu))
            self.result = _("The threshold is {hu:.0f} HU, the lowest inside the reference.").format(hu=hu)

        self.attempt(take)

    def wantedThreshold(self) -> Threshold:
        parameters = self.parameters
        return Threshold(
            parameters.chambersThreshold,
            parameters.chambersSmoothing,
            parameters.chambersKeepLargest,
            parameters.chambersFillHoles,
        )

    def currentSearch(self) -> ChamberSearch:
        """The search in the chosen volume and region, made anew when one of them has changed.

        Raises:
            InputError: it cannot be made.
        """
        volume, region = self.parameters.chambersVolume, self.region.node
        state = (stateOf(volume), stateOf(region), self.region.segment)
        if self.search is None or state != self.searched:
            self.search = ChamberSearch(volume, region, self.region.segment)
            self.searched = state
        return self.search

    def onSegment(self) -> None:
        def segment() -> None:
            parameters, search = self.parameters, self.currentSearch()
            volume, threshold = parameters.chambersVolume, self.wantedThreshold()
            found = search.find(threshold)
            look = STRUCTURES[parameters.chambersStructure.value]
            node = parameters.chambersOutput
            if node is self.region.node and node is not None:
                raise InputError(_("the segmentation is the heart region itself: choose another, or a new one"))
            if node is None:
                node = addSegmentation(volume, f"{volume.GetName()} {look.name}")
            else:
                layOn(node, volume)
            putSegment(node, look, volume, found, search.first)
            node.SetAttribute(THRESHOLD_ATTRIBUTE, f"{threshold.hu:g}")
            node.GetDisplayNode().SetOpacity2DFill(0.45)
            with slicer.util.NodeModify(parameters.parameterNode):
                parameters.chambersOutput = node
                parameters.chambersShow = Show.chambers
            text = _("{structure}: {found}.")
            self.result = text.format(structure=look.name.capitalize(), found=self.inWords(search, found, threshold))

        self.attempt(segment)

    def inWords(self, search: ChamberSearch, found: Mask, threshold: Threshold) -> str:
        pieces = search.largePiecesMl(found)
        text = _("{ml:.1f} mL at {hu:g} HU").format(ml=search.volumeMl(found), hu=threshold.hu)
        if len(pieces) < 2:
            return text
        sizes = ", ".join(f"{ml:.0f}" for ml in pieces[:4])
        warning = _(
            "{text}, in {n} large pieces ({sizes} mL): if the right heart is among them, correct the region, raise the "
            "threshold, or keep the largest piece only"
        )
        return warning.format(text=text, n=len(pieces), sizes=sizes)

    # Preview

    def updatePreview(self) -> None:
        """Show in the slice views what the threshold takes, if that is wanted."""
        if self.parameters is None or not self.entered or self.parameters.chambersShow is not Show.preview:
            return
        if self.parameters.chambersVolume is None or self.region.node is None:
            self.endPreview()
        else:
            try:
                search, threshold = self.currentSearch(), self.wantedThreshold()
                if self.drawn == (search, threshold):
                    return
                found = search.find(threshold)
                self.drawPreview(search, found)
                self.drawn = (search, threshold)
                self.previewed = _("Preview: {found}.").format(found=self.inWords(search, found, threshold))
            except InputError as error:
                self.endPreview()
                self.previewed = sentence(error)
        self.refreshState()

    def drawPreview(self, search: ChamberSearch, found: Mask) -> None:
        volume = self.parameters.chambersVolume
        if self.preview is None:
            self.preview = addSegmentation(volume, _("Preview"), temporary=True)
            self.preview.GetDisplayNode().SetOpacity2DFill(0.45)
            self.preview.GetDisplayNode().SetVisibility3D(False)
        elif self.preview.GetTransformNodeID() != volume.GetTransformNodeID():
            self.preview.GetSegmentation().RemoveAllSegments()
        layOn(self.preview, volume)
        putSegment(self.preview, STRUCTURES["left heart chambers"], volume, found, search.first)

    def endPreview(self) -> None:
        node, self.preview = self.preview, None
        self.drawn, self.previewed = None, ""
        if node is not None and node.GetScene() is not None:
            node.GetScene().RemoveNode(node)

    def showLayers(self) -> None:
        """Of preview, chambers and agreement the one that is wanted."""
        parameters = self.parameters
        show = parameters.chambersShow
        for node, wanted in (
            (parameters.chambersOutput, Show.chambers),
            (parameters.chambersAgreement, Show.agreement),
        ):
            if node is not None and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(show is wanted)
        result = {Show.chambers: parameters.chambersOutput, Show.agreement: parameters.chambersAgreement}.get(show)
        self.giveWay(result)
        if show is Show.preview and self.entered:
            self.previewTimer.start()
        else:
            self.endPreview()

    def showAgain(self) -> None:
        for display in self.hidden:
            display.SetVisibility(True)
        self.hidden = []

    def giveWay(self, result: Any) -> None:
        """Hide region and reference while the result is shown, which they would cover; None: show them again."""
        covering = (self.region.node, self.reference.node) if result is not None and self.entered else ()
        nodes = [node for node in covering if node is not None and node is not result and node.GetDisplayNode()]
        wanted = [node.GetDisplayNode() for node in nodes]
        for display in self.hidden:
            if display not in wanted:
                display.SetVisibility(True)
        self.hidden = [one for one in wanted if one in self.hidden or one.GetVisibility()]
        for display in self.hidden:
            display.SetVisibility(False)

    # Reference

    def onCompare(self) -> None:
        def compare() -> None:
            parameters = self.parameters
            volume, chambers, reference = parameters.chambersVolume, parameters.chambersOutput, self.reference.node
            found = comparing.compareWithReference(volume, chambers, reference, self.reference.segment)
            names: Row = {
                "volume": volume.GetName(),
                "chambers": chambers.GetName(),
                "reference": reference.GetName(),
                "threshold_hu": float(chambers.GetAttribute(THRESHOLD_ATTRIBUTE) or "nan"),
            }
            self.keepResult(found, comparing.rowOf(found, names), volume)
            jumpTo(volume, comparing.middleOf(found, volume))
            self.result = self.comparedInWords(found, names)

        self.attempt(compare)

    def keepResult(self, found: comparing.Compared, row: Row, volume: Any) -> None:
        """Put table, curve and overlay into the scene."""
        parameters, scene = self.parameters, volume.GetScene()
        title = _("Dice of {chambers} and {reference}").format(chambers=row["chambers"], reference=row["reference"])
        nodes = {
            "chambersTable": ("vtkMRMLTableNode", _("Left chambers")),
            "chambersSlices": ("vtkMRMLTableNode", _("Left chambers Dice by slice")),
            "chambersChart": ("vtkMRMLPlotChartNode", _("Left chambers Dice by slice")),
        }
        for name, (kind, text) in nodes.items():
            if getattr(parameters, name) is None:
                setattr(parameters, name, scene.AddNewNodeByClass(kind, scene.GenerateUniqueName(text)))
        putRow(parameters.chambersTable, row, KEYS)
        comparing.showSlices(found, parameters.chambersSlices, parameters.chambersChart, title)
        name = _("{chambers} agreement").format(chambers=row["chambers"])
        agreement = comparing.showAgreement(found, volume, parameters.chambersAgreement, name)
        with slicer.util.NodeModify(parameters.parameterNode):
            parameters.chambersAgreement = agreement
            parameters.chambersShow = Show.agreement

    def comparedInWords(self, found: comparing.Compared, names: Row) -> str:
        if found.apart:
            text = _("The chambers and the reference do not overlap: is {reference} of this patient?")
            return text.format(reference=names["reference"])
        text = _("Dice {dice:.3f}, volume difference {error:.1f} % over {n} slices.").format(
            dice=found.agreement.dice, error=found.agreement.volume_error_percent, n=len(found.agreement.slices)
        )
        if found.outside < 0.001:
            return text
        more = _("{share:.0%} of the reference lies outside {name} and is not compared.")
        return f"{text} {more.format(share=found.outside, name=names['volume'])}"

    def onPlot(self) -> None:
        slicer.modules.plots.logic().ShowChartInLayout(self.parameters.chambersChart)

    def onCopy(self) -> None:
        copyRows(rowsOf(self.parameters.chambersTable), lines())

    def onExport(self) -> None:
        path = self.chooseCsv(_("Save the table of the left chambers"))
        if path is None:
            return

        def export() -> None:
            slices = path.with_name(f"{path.stem}_slices.csv")
            writeCsv(self.parameters.chambersTable, path)
            writeCsv(self.parameters.chambersSlices, slices)
            self.result = _("Saved as {table} and {slices}.").format(table=path.name, slices=slices.name)

        self.attempt(export)

    def onFusion(self) -> None:
        def fuse() -> None:
            parameters = self.parameters
            basal = parameters.chambersBasal
            if basal.GetImageData() is None:
                raise InputError(_("{name} has no voxels: choose another volume").format(name=basal.GetName()))
            parameters.chambersShow = Show.chambers
            shown = comparing.showFusion(basal)
            text = _("{chambers} over {basal}.") if shown else _("There is no slice view to show {basal} in.")
            self.result = text.format(chambers=parameters.chambersOutput.GetName(), basal=basal.GetName())

        self.attempt(fuse)

    # What is seen

    def attempt(self, action: Callable[[], None]) -> None:
        """Do it; what is wrong is said in one message, and the scene stays as it was."""
        self.result, self.acting = "", True
        try:
            with waitCursor():
                action()
        except (InputError, OSError, RuntimeError) as error:
            self.result = sentence(error)
            slicer.util.errorDisplay(self.result, windowTitle=_("Synthetic Contrast Analysis"))
        except ImportError as error:
            self.result = _("The Python package {name} is missing: module Synthetic Contrast installs it.").format(
                name=error.name
            )
            slicer.util.errorDisplay(self.result, windowTitle=_("Synthetic Contrast Analysis"))
        finally:
            self.acting = False
        self.refresh()

    def refresh(self) -> None:
        """Enable what can be done, and say why the rest cannot."""
        if self.ui is None or self.parameters is None:
            return
        parameters = self.parameters
        self.region.refresh()
        self.reference.refresh()
        nodes = [getattr(parameters, name) for name in IN_USE]
        self.names = {node.GetID(): node.GetName() for node in nodes if node is not None}
        noVolume = "" if parameters.chambersVolume is not None else _("Choose the CT first.")
        region, output, reference = self.region.node, parameters.chambersOutput, self.reference.node
        noRegion = "" if region is not None else _("Choose the heart region, or Propose one.")
        noReference = "" if reference is not None else _("Choose the reference below.")
        noOutput = "" if output is not None else _("Choose Segment first, or a segmentation of the chambers.")
        canEdit = region is not None and region.IsA(SEGMENTATION)
        noResult = "" if rowsOf(parameters.chambersTable) else _("Compare with a reference first.")
        reasons = {
            "chambersProposeButton": noVolume,
            "chambersEditButton": "" if canEdit else _("Choose a segmentation as the region first, or Propose one."),
            "chambersFromReferenceButton": noVolume or noReference,
            "chambersSegmentButton": noVolume or noRegion,
            "chambersCompareButton": noVolume or noOutput or noReference,
            "chambersPlotButton": noResult or ("" if parameters.chambersChart is not None else _("The plot is gone.")),
            "chambersCopyButton": noResult,
            "chambersExportButton": noResult,
            "chambersFusionButton": noOutput
            or ("" if parameters.chambersBasal is not None else _("Choose the basal CT.")),
        }
        for name, reason in reasons.items():
            getattr(self.ui, name).enabled = not reason
            getattr(self.ui, name).toolTip = reason or self.toolTips[name]
        showRows(self.ui.chambersTable, rowsOf(parameters.chambersTable), lines())
        self.why = noVolume or noRegion
        self.refreshState()

    def refreshState(self) -> None:
        if self.ui is not None:
            self.ui.chambersStateLabel.text = self.result or self.previewed or self.why


def stateOf(node: Any) -> tuple:
    """Changes whenever what is in the node, or where it lies in the world, changes."""
    if node is None:
        return ()
    parent = node.GetParentTransformNode()
    state = [node.GetID(), node.GetMTime(), parent.GetTransformToWorldMTime() if parent is not None else 0]
    if node.IsA("vtkMRMLVolumeNode") and node.GetImageData() is not None:
        state.append(node.GetImageData().GetMTime())
    if node.IsA(SEGMENTATION):
        segmentation = node.GetSegmentation()
        for identifier in segmentation.GetSegmentIDs():
            state.append(segmentation.GetSegment(identifier).GetMTime())
            image = segmentation.GetSegment(identifier).GetRepresentation("Binary labelmap")
            state.append(image.GetMTime() if image is not None else 0)
    return tuple(state)

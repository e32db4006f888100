"""The user draws a ruler line with two clicks in a slice view."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin


class RulerDrawing(VTKObservationMixin):
    """One ruler at a time. `onChanged` is called when an end was set, or drawing has ended; then ask `finished`."""

    def __init__(self, onChanged: Callable[..., None]) -> None:
        super().__init__()
        self._onChanged = onChanged
        self._line: slicer.vtkMRMLMarkupsLineNode | None = None

    @property
    def active(self) -> bool:
        return self._line is not None

    def start(self) -> None:
        self.cancel()
        line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", _("Short axis"))
        line.CreateDefaultDisplayNodes()
        line.GetDisplayNode().SetVisibility3D(False)
        logic = slicer.app.applicationLogic()
        selection, interaction = logic.GetSelectionNode(), logic.GetInteractionNode()
        selection.SetReferenceActivePlaceNodeClassName(line.GetClassName())
        selection.SetActivePlaceNodeID(line.GetID())
        interaction.SetPlaceModePersistence(0)
        interaction.SetCurrentInteractionMode(interaction.Place)
        self._line = line
        self.addObserver(line, line.PointPositionDefinedEvent, self._onChanged)
        self.addObserver(interaction, interaction.InteractionModeChangedEvent, self._onChanged)

    def finished(self) -> slicer.vtkMRMLMarkupsLineNode | None:
        """The ruler, once, when both ends are set. One that was given up, by Escape for example, is removed."""
        line = self._line
        if line is None:
            return None
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if line.GetScene() is not None and line.GetNumberOfDefinedControlPoints() == 2:
            self._end()
            return line
        if line.GetScene() is None or interaction.GetCurrentInteractionMode() != interaction.Place:
            self.cancel()
        return None

    def cancel(self) -> None:
        line = self._line
        if line is None:
            return
        self._end()
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        if line.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(line)

    def _end(self) -> None:
        self.removeObservers()
        self._line = None

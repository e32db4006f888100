"""Follows the lesions of a scene: keeps a circle whole and on its slice while it is dragged, and tells of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.util import VTKObservationMixin

from SyntheticContrastLib.analysis.cnr import ROLES
from SyntheticContrastLib.scene.lesion import MOVED_MM, Lesion, Place


class LesionWatch(VTKObservationMixin):
    """`onChanged` is called when a lesion or a ruler came, went or changed: often, so collect the calls.

    Attributes:
        changed: IDs of the lesions whose circles changed, until the owner clears them.
        rulers: IDs of the lesions whose ruler changed.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, onChanged: Callable[[], None]) -> None:
        super().__init__()
        self.changed: set[str] = set()
        self.rulers: set[str] = set()
        self._scene = scene
        self._onChanged = onChanged
        self._watched: dict[str, slicer.vtkMRMLMarkupsFiducialNode] = {}
        self._ends: dict[tuple[str, str], tuple[Place, Place] | None] = {}  # by lesion's ID and role
        self._keeping = False

    def start(self) -> None:
        self.stop()
        for event in (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent):
            self.addObserver(self._scene, event, self._onNode)
        self.refresh()

    def stop(self) -> None:
        self.removeObservers()
        self._watched.clear()
        self._ends.clear()
        self.changed.clear()
        self.rulers.clear()

    def refresh(self) -> list[Lesion]:
        """Watch the lesions that there are now, draw what is missing of them, and return them."""
        lesions = Lesion.all(self._scene)
        nodes = {lesion.node.GetID(): lesion.node for lesion in lesions}
        for identifier, node in list(self._watched.items()):
            if nodes.get(identifier) is not node:
                self.removeObserver(node, node.PointModifiedEvent, self._onPoint)
                self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self._onRenamed)
                del self._watched[identifier]
        taken: set[str] = set()
        for lesion in lesions:
            lesion.letGo(taken)
            identifier = lesion.node.GetID()
            if identifier not in self._watched:
                self._watched[identifier] = lesion.node
                self._remember(lesion)
                self.addObserver(lesion.node, lesion.node.PointModifiedEvent, self._onPoint)
                self.addObserver(lesion.node, vtk.vtkCommand.ModifiedEvent, self._onRenamed)
                self.changed.add(identifier)
                lesion.draw()
            elif not lesion.isDrawn():
                lesion.draw()
            ruler = lesion.ruler
            if ruler is not None and not self.hasObserver(ruler, ruler.PointModifiedEvent, self._onRuler):
                self.addObserver(ruler, ruler.PointModifiedEvent, self._onRuler)
        return lesions

    def _remember(self, lesion: Lesion) -> None:
        for role in ROLES:
            self._ends[lesion.node.GetID(), role] = lesion.ends(role)

    def _onPoint(self, node: slicer.vtkMRMLMarkupsFiducialNode, event: str) -> None:
        if self._keeping:
            return
        lesion = Lesion(node)
        self._keeping = True
        try:
            for role in ROLES:
                self._keep(lesion, role)
        finally:
            self._keeping = False
        self.changed.add(node.GetID())
        self._onChanged()

    def _keep(self, lesion: Lesion, role: str) -> None:
        """A centre takes its rim along; both stay on the slice, in whatever view they are dragged."""
        before, now = self._ends.get((lesion.node.GetID(), role)), lesion.ends(role)
        if before is not None and now is not None:
            centre, rim = (lesion.onPlane(place) for place in now)
            if _apart(centre, before[0]) and not _apart(now[1], before[1]):
                rim = lesion.onPlane(before[1] + centre - before[0])
            if _apart(centre, now[0]) or _apart(rim, now[1]):
                lesion.write(role, centre, rim)
        now = lesion.ends(role)
        if not _same(before, now):
            self._ends[lesion.node.GetID(), role] = now
            lesion.drawOutline(role)

    def _onRenamed(self, node: slicer.vtkMRMLMarkupsFiducialNode, event: str) -> None:
        if self._keeping or node.GetNthControlPointLabel(0) == node.GetName():
            return
        Lesion(node).draw()
        self.changed.add(node.GetID())
        self._onChanged()

    def _onRuler(self, line: slicer.vtkMRMLMarkupsLineNode, event: str) -> None:
        for lesion in Lesion.all(self._scene):
            if lesion.ruler is line:
                self.rulers.add(lesion.node.GetID())
                self._onChanged()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNode(self, caller: slicer.vtkMRMLScene, event: str, node: Any) -> None:
        if node.IsA("vtkMRMLMarkupsNode"):
            self._onChanged()


def _apart(a: Place, b: Place) -> bool:
    return bool(np.linalg.norm(a - b) > MOVED_MM)


def _same(before: tuple[Place, Place] | None, now: tuple[Place, Place] | None) -> bool:
    if before is None or now is None:
        return before is now
    return not (_apart(before[0], now[0]) or _apart(before[1], now[1]))

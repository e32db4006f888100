"""What a compared view says of itself: the full name of its volume, the window, and the patient's side on its left."""

from __future__ import annotations

import numpy as np
import slicer
import vtk


class ViewTitle:
    """Text of our own in the middle: Slicer's data probe rewrites the four corners on every change of a view."""

    def __init__(self, renderWindow: vtk.vtkRenderWindow) -> None:
        self._renderer = renderWindow.GetRenderers().GetItemAsObject(0)
        self._name = self._text(0.5, 0.985, size=17, centred=True, bold=True)
        self._hu = self._text(0.5, 0.94, size=13, centred=True)
        self._note = self._text(0.5, 0.9, size=13, centred=True, colour=(1.0, 0.65, 0.1))
        self._side = self._text(0.015, 0.53, size=17, bold=True)

    def show(self, name: str, hu: str, note: str, node: slicer.vtkMRMLSliceNode) -> None:
        """name: of the volume. hu: the window. note: a warning below, or empty. node: of the view."""
        self._name.SetInput(name)
        self._hu.SetInput(hu)
        self._note.SetInput(note)
        self._side.SetInput(leftSide(node))

    def remove(self) -> None:
        for actor in (self._name, self._hu, self._note, self._side):
            self._renderer.RemoveViewProp(actor)

    def _text(
        self, x: float, y: float, size: int, centred: bool = False, bold: bool = False, colour: tuple = (1, 1, 1)
    ) -> vtk.vtkTextActor:
        """x, y: fractions of the view, of the top left or top middle of the text. size: of the font in pixels."""
        actor = vtk.vtkTextActor()
        actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
        actor.SetPosition(x, y)
        style = actor.GetTextProperty()
        style.SetFontFamilyToArial()
        style.SetFontSize(size)
        style.SetBold(bold)
        style.SetShadow(True)
        style.SetColor(*colour)
        style.SetVerticalJustificationToTop()
        if centred:
            style.SetJustificationToCentered()
        self._renderer.AddViewProp(actor)
        return actor


def leftSide(node: slicer.vtkMRMLSliceNode) -> str:
    """The letter of the patient's side on the left of a view: R in axial and coronal ones."""
    matrix = node.GetSliceToRAS()
    left = -np.array([matrix.GetElement(axis, 0) for axis in range(3)])
    axis = int(np.abs(left).argmax())
    return "LPI"[axis] if left[axis] < 0 else "RAS"[axis]

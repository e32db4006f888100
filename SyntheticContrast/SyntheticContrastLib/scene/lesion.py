"""A lesion in the scene: its four circles, which can be dragged, and perhaps the ruler of its short axis.

One point list is the lesion. Its name is the lesion's; it holds two control points a circle, centre and rim, which say
what they are as in `analysis.markups`, so its own file can be given to measure.py. Its circles lie in one plane, an
axial slice of the CECT. For each circle there is an outline, a locked curve, coloured and labelled by its role.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.cnr import AORTA, FAT_LEFT, FAT_RIGHT, LESION, ROLES, circle_diameter
from SyntheticContrastLib.analysis.markups import CENTRE, RIM
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.scene.world import lps

Place = NDArray[np.float64]  # (3,), RAS mm in the world

COLOURS = {LESION: (1.0, 0.35, 0.3), AORTA: (1.0, 0.85, 0.2), FAT_RIGHT: (0.3, 0.85, 0.4), FAT_LEFT: (0.35, 0.75, 1.0)}
SHORT_AXIS_ATTRIBUTE = "SyntheticContrast.ShortAxis"  # mm; it also tells a lesion from other point lists
PLANE_ATTRIBUTE = "SyntheticContrast.Plane"  # normal and its distance from the origin, RAS mm
RULER_REFERENCE = "SyntheticContrast.Ruler"
OUTLINE_REFERENCE = "SyntheticContrast.Outline."
OUTLINE_POINTS = 48
MOVED_MM = 1e-4  # what is moved by less has not been moved
LINE_MM = 0.8
HANDLE_SCALE = 1.2  # percent of the view
RIM_ANGLE = math.pi / 4  # of a new circle's rim handle: away from the label


class Lesion:
    """Reads and writes the nodes; holds nothing itself. All places are RAS mm in the world, as of the views."""

    def __init__(self, node: slicer.vtkMRMLMarkupsFiducialNode) -> None:
        self.node = node

    @classmethod
    def create(cls, scene: slicer.vtkMRMLScene, name: str, centre: Place, normal: Place, shortAxis: float) -> Lesion:
        """A lesion with its lesion circle, 90 % of the short axis (mm); the other circles are not placed yet.

        normal: unit vector of the slice on which `centre` lies.

        Raises:
            InputError: a short axis that is not above 0.
        """
        diameter = circle_diameter(shortAxis)
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        lesion = cls(node)
        with slicer.util.NodeModify(node):
            node.SetUndoEnabled(True)
            for role in ROLES:
                for end in (CENTRE, RIM):
                    index = node.AddControlPointWorld(*(float(mm) for mm in centre), name)
                    node.SetNthControlPointDescription(index, f"{role} {end}")
                    node.UnsetNthControlPointPosition(index)
            node.SetFixedNumberOfControlPoints(True)
            node.SetAttribute(SHORT_AXIS_ATTRIBUTE, repr(float(shortAxis)))
            lesion._setPlane(centre, normal)
            lesion.place(LESION, centre, diameter)
        _styleHandles(node)
        lesion.draw()
        return lesion

    @staticmethod
    def isLesion(node: slicer.vtkMRMLNode | None) -> bool:
        return (
            node is not None
            and node.IsA("vtkMRMLMarkupsFiducialNode")
            and node.GetAttribute(SHORT_AXIS_ATTRIBUTE) is not None
            and node.GetNumberOfControlPoints() == 2 * len(ROLES)
        )

    @classmethod
    def all(cls, scene: slicer.vtkMRMLScene) -> list[Lesion]:
        """In the order of the scene."""
        nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode", scene)
        return [cls(node) for node in nodes if cls.isLesion(node)]

    @property
    def name(self) -> str:
        return str(self.node.GetName())

    @property
    def shortAxis(self) -> float:
        """mm."""
        return float(self.node.GetAttribute(SHORT_AXIS_ATTRIBUTE))

    @property
    def ruler(self) -> slicer.vtkMRMLMarkupsLineNode | None:
        return self.node.GetNodeReference(RULER_REFERENCE)

    @ruler.setter
    def ruler(self, line: slicer.vtkMRMLMarkupsLineNode) -> None:
        line.SetUndoEnabled(True)
        _styleHandles(line)
        self.node.SetNodeReferenceID(RULER_REFERENCE, line.GetID())
        self.draw()

    @property
    def normal(self) -> Place:
        """Unit vector of the plane of the circles."""
        return self._plane()[0]

    def ends(self, role: str) -> tuple[Place, Place] | None:
        """Centre and rim of a circle; None if it is not placed."""
        index = 2 * ROLES.index(role)
        if any(self.node.GetNthControlPointPositionStatus(i) != self.node.PositionDefined for i in (index, index + 1)):
            return None
        centre, rim = (np.array(self.node.GetNthControlPointPositionWorld(i)) for i in (index, index + 1))
        return centre, rim

    def circle(self, role: str) -> Circle | None:
        """LPS, as the analysis takes it; None if it is not placed.

        Raises:
            InputError: the rim lies on the centre.
        """
        ends = self.ends(role)
        if ends is None:
            return None
        try:
            return Circle.through(lps(ends[0]), lps(ends[1]), lps(self.normal))
        except InputError as error:
            raise InputError(f"{role}: {error}") from error

    def circles(self) -> dict[str, Circle]:
        """By role, those that are placed; LPS. Raises InputError as `circle`."""
        found = {role: self.circle(role) for role in ROLES}
        return {role: circle for role, circle in found.items() if circle is not None}

    def place(self, role: str, centre: Place, diameter: float) -> None:
        """Put a circle of so many mm on the place of the plane that is nearest to `centre`."""
        centre = self.onPlane(centre)
        ends = self.ends(role)
        across = ends[1] - ends[0] if ends is not None else np.zeros(3)
        if np.linalg.norm(across) < 1e-3:
            first, second = self._axes()
            across = math.cos(RIM_ANGLE) * first + math.sin(RIM_ANGLE) * second
        self.write(role, centre, centre + diameter / 2 * across / np.linalg.norm(across))

    def resize(self, role: str, diameter: float) -> None:
        """Give a circle that is placed another diameter in mm."""
        ends = self.ends(role)
        if ends is not None:
            self.place(role, ends[0], diameter)

    def setShortAxis(self, mm: float) -> None:
        """All circles that are placed become 90 % of it. Raises InputError where it is not above 0."""
        diameter = circle_diameter(mm)
        with slicer.util.NodeModify(self.node):
            self.node.SetAttribute(SHORT_AXIS_ATTRIBUTE, repr(float(mm)))
            for role in ROLES:
                self.resize(role, diameter)

    def moveTo(self, centre: Place, normal: Place) -> None:
        """Bring the lesion circle to a place, and the others onto the slice of that place."""
        with slicer.util.NodeModify(self.node):
            self._setPlane(centre, normal)
            for role in ROLES:
                circle, ends = self.circle(role), self.ends(role)
                if circle is not None and ends is not None:
                    self.place(role, centre if role == LESION else ends[0], circle.diameter)

    def onPlane(self, place: Place) -> Place:
        normal, distance = self._plane()
        return place + (distance - place @ normal) * normal

    def write(self, role: str, centre: Place, rim: Place) -> None:
        index = 2 * ROLES.index(role)
        axes = self._axes()
        matrix = vtk.vtkMatrix3x3()
        for column, axis in enumerate((*axes, self.normal)):
            for row in range(3):
                matrix.SetElement(row, column, float(axis[row]))
        for number, place in ((index, centre), (index + 1, rim)):
            self.node.SetNthControlPointPositionWorld(number, *(float(mm) for mm in place))
            self.node.SetNthControlPointOrientationMatrixWorld(number, matrix)

    def rename(self, name: str) -> None:
        """Raises InputError: an empty name, or another lesion has it."""
        name = name.strip()
        if not name:
            raise InputError(_("a lesion needs a name: type one"))
        others = {lesion.name for lesion in Lesion.all(self.node.GetScene()) if lesion.node is not self.node}
        if name in others:
            raise InputError(_("another lesion is named {name}: choose another name").format(name=name))
        self.node.SetName(name)
        self.draw()

    def remove(self) -> None:
        """With its outlines and its ruler. Where Slicer's undo is on, it can be brought back by it."""
        scene = self.node.GetScene()
        scene.SaveStateForUndo()
        parts = [*self._outlines().values(), self.ruler, self.node]
        for node in parts:
            if node is not None:
                scene.RemoveNode(node)

    def letGo(self, taken: set[str]) -> None:
        """Let go of outlines and ruler that another lesion has: a clone refers to those of its original.

        taken: IDs of nodes that lesions have; this lesion's are added.
        """
        for reference in (*(_outlineRole(role) for role in ROLES), RULER_REFERENCE):
            identifier = self.node.GetNodeReferenceID(reference)
            if identifier in taken:
                self.node.SetNodeReferenceID(reference, None)
            elif identifier:
                taken.add(identifier)

    # What is seen

    def draw(self) -> None:
        """Bring outlines and names in line with the circles."""
        for index in range(self.node.GetNumberOfControlPoints()):
            if self.node.GetNthControlPointLabel(index) != self.name:
                self.node.SetNthControlPointLabel(index, self.name)
        if (ruler := self.ruler) is not None and ruler.GetName() != f"{self.name} short axis":
            ruler.SetName(f"{self.name} short axis")
        for role in ROLES:
            self.drawOutline(role)

    def drawOutline(self, role: str) -> None:
        ends, outline = self.ends(role), self.outline(role)
        if ends is None:
            if outline is not None:
                outline.GetDisplayNode().SetVisibility(False)
            return
        if outline is None:
            outline = self.node.GetScene().AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode")
            self.node.SetNodeReferenceID(_outlineRole(role), outline.GetID())
            outline.SetUndoEnabled(True)
            outline.SetCurveTypeToLinear()
            outline.SetLocked(True)
            outline.GetMeasurement("length").SetEnabled(False)
            _styleOutline(outline, COLOURS[role])
        if outline.GetName() != f"{self.name} {role}":
            outline.SetName(f"{self.name} {role}")
        outline.GetDisplayNode().SetVisibility(True)
        radius = float(np.linalg.norm(ends[1] - ends[0]))
        first, second = self._axes()
        points = vtk.vtkPoints()
        points.SetDataTypeToDouble()
        # Slicer writes the label half-way along the curve: this way it begins beside the circle, not over it.
        for angle in np.linspace(math.pi, 3 * math.pi, OUTLINE_POINTS, endpoint=False):
            points.InsertNextPoint(ends[0] + radius * (math.cos(angle) * first + math.sin(angle) * second))
        outline.SetControlPointPositionsWorld(points)

    def outline(self, role: str) -> slicer.vtkMRMLMarkupsClosedCurveNode | None:
        return self.node.GetNodeReference(_outlineRole(role))

    def isDrawn(self) -> bool:
        """False if an outline is missing, for example because it was removed."""
        return all(self.ends(role) is None or self.outline(role) is not None for role in ROLES)

    def _outlines(self) -> Mapping[str, slicer.vtkMRMLMarkupsClosedCurveNode]:
        found = {role: self.outline(role) for role in ROLES}
        return {role: node for role, node in found.items() if node is not None}

    def _plane(self) -> tuple[Place, float]:
        *normal, distance = (float(text) for text in self.node.GetAttribute(PLANE_ATTRIBUTE).split())
        return np.array(normal), distance

    def _setPlane(self, place: Place, normal: Place) -> None:
        numbers = (*normal, float(place @ normal))
        self.node.SetAttribute(PLANE_ATTRIBUTE, " ".join(repr(float(number)) for number in numbers))

    def _axes(self) -> tuple[Place, Place]:
        """Two directions in the plane: to the patient's left, or what is nearest to it, and about to the back."""
        normal = self.normal
        start = np.array([-1.0, 0, 0]) if abs(normal[0]) < 0.9 else np.array([0, 1.0, 0])
        first = start - (start @ normal) * normal
        first /= np.linalg.norm(first)
        return first, np.cross(normal, first)


@dataclass(frozen=True, eq=False)
class Ruler:
    """The ends of a line, RAS mm in the world."""

    first: Place
    second: Place

    @classmethod
    def of(cls, line: slicer.vtkMRMLMarkupsLineNode) -> Ruler:
        """Raises InputError: an end is missing, or both ends are one place."""
        if line.GetNumberOfDefinedControlPoints() != 2:
            raise InputError(_("the ruler has no two ends: draw it again"))
        ruler = cls(*(np.array(line.GetNthControlPointPositionWorld(index)) for index in range(2)))
        if ruler.length < MOVED_MM:
            raise InputError(_("the ruler has no length: draw it from one side of the lesion to the other"))
        return ruler

    @property
    def middle(self) -> Place:
        return (self.first + self.second) / 2

    @property
    def length(self) -> float:
        """mm."""
        return float(np.linalg.norm(self.second - self.first))


def newName(scene: slicer.vtkMRMLScene, base: str) -> str:
    """The base with the lowest number that no lesion has."""
    taken = {lesion.name for lesion in Lesion.all(scene)}
    return next(name for number in range(1, len(taken) + 2) if (name := f"{base} {number}") not in taken)


def _outlineRole(role: str) -> str:
    return OUTLINE_REFERENCE + role.replace(" ", "_")


def _styleHandles(node: slicer.vtkMRMLMarkupsNode) -> None:
    """Small white points without a text: the outlines have one."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetPointLabelsVisibility(False)
        display.SetPropertiesLabelVisibility(False)
        display.SetUseGlyphScale(True)
        display.SetGlyphScale(HANDLE_SCALE)
        display.SetSelectedColor(1.0, 1.0, 1.0)
        display.SetVisibility3D(False)


def _styleOutline(outline: slicer.vtkMRMLMarkupsClosedCurveNode, colour: tuple[float, float, float]) -> None:
    outline.CreateDefaultDisplayNodes()
    display = outline.GetDisplayNode()
    with slicer.util.NodeModify(display):
        # The thickness is else a fraction of the glyphs, which are to be unseen.
        display.SetCurveLineSizeMode(display.UseLineDiameter)
        display.SetLineDiameter(LINE_MM)
        display.SetUseGlyphScale(True)
        display.SetGlyphScale(0.1)
        display.SetSelectedColor(*colour)
        display.SetColor(*colour)
        display.SetPropertiesLabelVisibility(True)
        display.SetVisibility3D(False)

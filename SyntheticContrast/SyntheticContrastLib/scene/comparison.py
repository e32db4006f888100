"""Compare: NCCT, sCECT, CECT and a difference map in linked slice views side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SyntheticContrastLib.ct.disclaimer import DISCLAIMER
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.scene.compare_layout import DIFFERENCE, ROLES, addLayouts, isComparison, layoutId
from SyntheticContrastLib.scene.derived import addLegend, checkerboard, differenceMap
from SyntheticContrastLib.scene.view_titles import ViewTitle
from SyntheticContrastLib.scene.volumes import isSynthetic
from SyntheticContrastLib.scene.windows import PRESETS, WindowLink

SHOWN_EVENT = vtk.vtkCommand.UserEvent + 7130  # of the scene: a comparison takes the views
ORIENTATIONS = ("Axial", "Coronal", "Sagittal")


class _Place(NamedTuple):
    """What a view shows."""

    sliceToRAS: vtk.vtkMatrix4x4
    xyzOrigin: tuple[float, float, float]
    mmPerPixel: float
    depth: float  # mm


class Comparison(VTKObservationMixin):
    """Two to four linked views in a row, of volumes named by their role: "NCCT", "sCECT", "CECT".

    Slicer links position, zoom and orientation; the window is carried across here. Each volume is shown in its own
    geometry, so a CECT on another grid lies where it lies in the world. Without views (`--no-main-window`) all calls
    are allowed and only the scene changes.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        super().__init__()
        self._scene = scene
        self._windows = WindowLink(self._writeTitles)
        self._previousLayout: int | None = None
        self._orientation = ORIENTATIONS[0]
        self._place: _Place | None = None  # to stay at, as long as the views are being arranged
        self._volumes: dict[str, slicer.vtkMRMLScalarVolumeNode] = {}  # by role, the difference map among them
        self._pair: tuple[str, str] | None = None  # roles of the difference
        self._fades: dict[str, tuple[str, float]] = {}  # role of the view: (role laid over it, opacity)
        self._boards: dict[str, tuple[str, slicer.vtkMRMLScalarVolumeNode]] = {}  # role of the view: (other role, node)
        self._titles: dict[str, ViewTitle] = {}
        self._legend: slicer.vtkMRMLColorLegendDisplayNode | None = None

    @property
    def isShown(self) -> bool:
        return bool(self._volumes)

    @property
    def isLeftOver(self) -> bool:
        """True while its layout is shown and nothing in it is looked after: by a scene saved during a comparison."""
        layout = self._layoutNode()
        return not self._volumes and layout is not None and isComparison(layout.GetViewArrangement())

    @property
    def window(self) -> tuple[float, float] | None:
        """The common (width, level) in HU; None when nothing is shown."""
        return self._windows.window

    @property
    def volumes(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """What is shown, by role; "difference" is the difference map."""
        return dict(self._volumes)

    @property
    def differencePair(self) -> tuple[str, str] | None:
        """The roles of the difference that is shown."""
        return self._pair

    @property
    def orientation(self) -> str:
        return self._orientation

    def show(
        self,
        volumes: Mapping[str, slicer.vtkMRMLScalarVolumeNode],
        difference: tuple[str, str] | None = None,
        orientation: str = "Axial",
    ) -> None:
        """Show these volumes, from left to right in the order of `ROLES`, and fit the views to the first of them.

        Where one of them was compared already, in this orientation, the views stay where they are.

        volumes: by role, two or three of "NCCT", "sCECT" and "CECT".
        difference: roles (a, b) of which a - b is shown as well, on a's grid; for example ("sCECT", "NCCT").

        In an application whose windows are being rearranged, call `settle` when that is done.

        Raises:
            InputError: fewer than two volumes, or one without voxels.
            ValueError: an unknown role or orientation, or a difference of volumes that are not shown.
        """
        if unknown := set(volumes) - set(ROLES) | {DIFFERENCE.name} & set(volumes):
            raise ValueError(f"no such role: {', '.join(sorted(unknown))}")
        if difference is not None and not set(difference) <= set(volumes):
            raise ValueError(f"the difference {difference} is of volumes that are not shown")
        _checkOrientation(orientation)
        if len(volumes) < 2:
            raise InputError(_("only one volume is chosen: choose at least two to compare"))
        for node in volumes.values():
            if node.GetImageData() is None:
                text = _("{name} has no voxels: choose another volume to compare")
                raise InputError(text.format(name=node.GetName()))

        goesOn = orientation == self._orientation and set(volumes.values()) & set(self._volumes.values())
        place = self._currentPlace() if goesOn else None
        self._clear()
        self._scene.InvokeEvent(SHOWN_EVENT)
        shown = dict(volumes)
        if difference is not None:
            shown[DIFFERENCE.name] = differenceMap(*(volumes[role] for role in difference))
        self._volumes = {role: shown[role] for role in ROLES if role in shown}
        self._pair = difference
        self._orientation = orientation
        self._showLayout()
        self._linkViews()
        self.setOrientation(orientation)
        self._place = place
        self.settle()
        self._windows.link(node for role, node in self._volumes.items() if role != DIFFERENCE.name)
        self._writeTitles()
        self.addObserver(self._scene, slicer.vtkMRMLScene.NodeRemovedEvent, self._onNodeRemoved)
        for event in (slicer.vtkMRMLScene.StartCloseEvent, SHOWN_EVENT):
            self.addObserver(self._scene, event, self._onTaken)

    def leave(self) -> None:
        """Give the user's layout back, unless the user has chosen another one meanwhile. Volumes stay as they are."""
        self._clear()
        layout = self._layoutNode()
        if self._previousLayout is not None and layout is not None and isComparison(layout.GetViewArrangement()):
            layout.SetViewArrangement(self._previousLayout)
        self._previousLayout = None

    def setOrientation(self, orientation: str) -> None:
        """ "Axial", "Coronal" or "Sagittal", in all views."""
        _checkOrientation(orientation)
        self._orientation = orientation
        for role in self._volumes:
            if logic := self._logic(role):
                logic.GetSliceNode().SetOrientation(orientation)
        self.fit()
        self._writeTitles()

    def setWindow(self, width: float, level: float) -> None:
        """Set the window of all volumes but the difference map, in HU."""
        self._windows.setWindow(width, level)

    def setPreset(self, name: str) -> None:
        """Set one of the windows of `PRESETS`."""
        self.setWindow(*PRESETS[name])

    def fit(self) -> None:
        """Show all of the first volume, its middle slice, and the same place at the same scale in the other views."""
        self._place = None
        first = next((logic for role in self._volumes if (logic := self._logic(role))), None)
        if first is not None:
            first.FitSliceToBackground()
            first.SnapSliceOffsetToIJK()
            self._goTo(self._currentPlace())

    def settle(self) -> None:
        """Show the place of `show` in views that have got another size."""
        if self._place is not None:
            self._goTo(self._place)
        else:
            self.fit()

    def _currentPlace(self) -> _Place | None:
        """Of the first view."""
        logic = next((found for role in self._volumes if (found := self._logic(role))), None)
        if logic is None:
            return None
        node, matrix = logic.GetSliceNode(), vtk.vtkMatrix4x4()
        matrix.DeepCopy(node.GetSliceToRAS())
        mmPerPixel = node.GetFieldOfView()[0] / max(1, node.GetDimensions()[0])
        return _Place(matrix, node.GetXYZOrigin(), mmPerPixel, node.GetFieldOfView()[2])

    def _goTo(self, place: _Place | None) -> None:
        """Show a place in all views, at its scale, whatever their size."""
        for role in self._volumes:
            if place is not None and (logic := self._logic(role)):
                node = logic.GetSliceNode()
                with slicer.util.NodeModify(node):
                    node.GetSliceToRAS().DeepCopy(place.sliceToRAS)
                    node.SetXYZOrigin(*place.xyzOrigin)
                    width, height = (size * place.mmPerPixel for size in node.GetDimensions()[:2])
                    node.SetFieldOfView(width, height, place.depth)
                    node.UpdateMatrices()

    def setOffset(self, offset: float) -> None:
        """Go to a slice in all views. offset: mm along the views' normal, as of `vtkMRMLSliceLogic.GetSliceOffset`."""
        logic = next((found for role in self._volumes if (found := self._logic(role))), None)
        if logic is None:
            return
        logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)  # without it, linked views stay behind
        logic.SetSliceOffset(offset)
        logic.EndSliceNodeInteraction()

    def setFade(self, role: str, other: str | None, opacity: float = 0.5) -> None:
        """Lay the volume of another role over a view. opacity: 0 to 1. None: show the view's own volume alone.

        Raises:
            ValueError: a role that is not shown.
        """
        self._removeBoard(role)
        self._fades.pop(role, None)
        if other is not None:
            self._checkShown(role, other)
            self._fades[role] = (other, min(1.0, max(0.0, opacity)))
        self._fillViews()

    def setCheckerboard(self, role: str, other: str | None) -> None:
        """Show a checkerboard of a view's volume and that of another role. None: show the view's own volume alone.

        Raises:
            ValueError: a role that is not shown, or the difference map.
        """
        self._removeBoard(role)
        self._fades.pop(role, None)
        if other is not None:
            self._checkShown(role, other)
            if DIFFERENCE.name in (role, other):
                raise ValueError("the difference map is in no checkerboard")
            board = checkerboard(self._volumes[role], self._volumes[other])
            self._boards[role] = (other, board)
        self._fillViews()
        self._linkWindows()

    def voxelsChanged(self, node: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Compute anew the difference map and the checkerboards in which this volume takes part."""
        if self._pair is not None and node in [self._volumes[role] for role in self._pair]:
            differenceMap(*(self._volumes[role] for role in self._pair))
        for role, (other, _board) in list(self._boards.items()):
            if node in (self._volumes[role], self._volumes[other]):
                self.setCheckerboard(role, other)

    def _showLayout(self) -> None:
        layout = self._layoutNode()
        if layout is None:
            return
        addLayouts(layout)
        if not isComparison(layout.GetViewArrangement()):
            self._previousLayout = layout.GetViewArrangement()
        elif self._previousLayout is None:  # from a scene that was saved during a comparison
            self._previousLayout = layout.SlicerLayoutFourUpView
        layout.SetViewArrangement(layoutId(self._volumes))

    def _linkViews(self) -> None:
        for role in self._volumes:
            if logic := self._logic(role):
                composite = logic.GetSliceCompositeNode()
                composite.SetLinkedControl(1)
                composite.SetHotLinkedControl(1)
                composite.SetDoPropagateVolumeSelection(False)  # a volume loaded meanwhile must not come under a title
                self.addObserver(composite, vtk.vtkCommand.ModifiedEvent, self._onViewChanged)
                node = logic.GetSliceNode()
                node.SetRulerType(slicer.vtkMRMLSliceNode.RulerTypeThin)
                if window := _renderWindow(node):
                    self._titles[role] = ViewTitle(window)
        self._fillViews()
        if DIFFERENCE.name in self._volumes and (logic := self._logic(DIFFERENCE.name)):
            self._legend = addLegend(
                self._volumes[DIFFERENCE.name], logic.GetSliceNode()
            )  # the view must show the volume by now

    def _fillViews(self) -> None:
        for role, node in self._volumes.items():
            if logic := self._logic(role):
                composite = logic.GetSliceCompositeNode()
                background = self._boards[role][1] if role in self._boards else node
                foreground, opacity = self._fades.get(role, (None, 0.0))
                with slicer.util.NodeModify(composite):
                    composite.SetBackgroundVolumeID(background.GetID())
                    composite.SetForegroundVolumeID(self._volumes[foreground].GetID() if foreground else None)
                    composite.SetForegroundOpacity(opacity)
                    composite.SetLabelVolumeID(None)
        self._writeTitles()

    def _linkWindows(self) -> None:
        nodes = [node for role, node in self._volumes.items() if role != DIFFERENCE.name]
        self._windows.link([*nodes, *(board for (other, board) in self._boards.values())])

    def _writeTitles(self) -> None:
        for role, title in self._titles.items():
            if logic := self._logic(role):
                name, hu, synthetic = self._titleOf(role, logic.GetSliceCompositeNode())
                title.show(name, hu, DISCLAIMER if synthetic else "", logic.GetSliceNode())
                _scheduleRender(logic.GetSliceNode())

    def _titleOf(self, role: str, composite: slicer.vtkMRMLSliceCompositeNode) -> tuple[str, str, bool]:
        """Name, window, and whether it is synthetic. A volume that the user chose in the view is called by its name."""
        shown = self._scene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        if shown is None:
            return "", "", False
        if shown is not (self._boards[role][1] if role in self._boards else self._volumes[role]):
            return shown.GetName(), "", isSynthetic(shown)
        hu = "W {:.0f}  L {:.0f}".format(*self._windows.window) if self._windows.window else ""
        if role == DIFFERENCE.name and self._pair:
            return " \N{MINUS SIGN} ".join(self._pair), "HU", isSynthetic(shown)
        if role in self._boards:
            return f"{role} / {self._boards[role][0]}", hu, isSynthetic(shown)
        if role in self._fades:
            other, opacity = self._fades[role]
            return f"{role} + {opacity:.0%} {other}", hu, isSynthetic(shown) or isSynthetic(self._volumes[other])
        return role, hu, isSynthetic(shown)

    def _removeBoard(self, role: str) -> None:
        if role in self._boards:
            node = self._boards.pop(role)[1]
            self._linkWindows()  # before the node goes
            self._scene.RemoveNode(node)

    def _checkShown(self, *roles: str) -> None:
        if missing := set(roles) - set(self._volumes):
            raise ValueError(f"not shown: {', '.join(sorted(missing))}")

    def _clear(self) -> None:
        """Take down what is shown, but not the layout."""
        self.removeObservers()
        self._windows.link(())
        if self._legend is not None:
            self._legend.SetVisibility(False)
            self._legend = None
        for title in self._titles.values():
            title.remove()
        for role in self._volumes:
            if logic := self._logic(role):
                composite = logic.GetSliceCompositeNode()
                with slicer.util.NodeModify(composite):
                    composite.SetBackgroundVolumeID(None)
                    composite.SetForegroundVolumeID(None)
                    composite.SetForegroundOpacity(0)
        boards = [node for (other, node) in self._boards.values()]
        self._volumes, self._pair, self._fades, self._boards, self._titles = {}, None, {}, {}, {}
        for node in boards:
            self._scene.RemoveNode(node)

    def _layoutNode(self) -> slicer.vtkMRMLLayoutNode | None:
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")

    def _logic(self, role: str) -> slicer.vtkMRMLSliceLogic | None:
        node = self._scene.GetSingletonNode(ROLES[role].tag, "vtkMRMLSliceNode")
        return slicer.modules.volumes.logic().GetMRMLApplicationLogic().GetSliceLogic(node) if node else None

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller: slicer.vtkMRMLScene, event: str, node: Any) -> None:
        """Go on with the others when one of the volumes is removed, as long as two are left."""
        gone = {role for role, volume in self._volumes.items() if volume is node}
        if not gone:
            return
        left = {role: volume for role, volume in self._volumes.items() if role not in gone | {DIFFERENCE.name}}
        pair = None if gone & {*(self._pair or ()), DIFFERENCE.name} else self._pair
        if len(left) < 2:
            self.leave()
        else:
            self.show(left, pair, self._orientation)

    def _onViewChanged(self, caller: slicer.vtkMRMLSliceCompositeNode, event: str) -> None:
        self._writeTitles()

    def _onTaken(self, caller: slicer.vtkMRMLScene, event: str) -> None:
        """The scene is closed, or another comparison is shown: module 2 has one as well."""
        self.leave()


def _checkOrientation(orientation: str) -> None:
    if orientation not in ORIENTATIONS:
        raise ValueError(f"no such orientation: {orientation}")


def _sliceView(node: slicer.vtkMRMLSliceNode) -> Any:
    """The application's view of a slice node; None without application or main window."""
    manager = slicer.app.layoutManager() if hasattr(slicer, "app") else None
    widget = manager.sliceWidget(node.GetLayoutName()) if manager is not None else None
    return widget.sliceView() if widget is not None else None


def _renderWindow(node: slicer.vtkMRMLSliceNode) -> vtk.vtkRenderWindow | None:
    view = _sliceView(node)
    return view.renderWindow() if view is not None else None


def _scheduleRender(node: slicer.vtkMRMLSliceNode) -> None:
    if (view := _sliceView(node)) is not None:
        view.scheduleRender()

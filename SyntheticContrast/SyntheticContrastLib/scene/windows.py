"""Display windows of CT volume nodes, and one window for several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import slicer
from slicer.util import VTKObservationMixin

# (width, level) in HU. The first three are the input windows of Choi 2021.
PRESETS: dict[str, tuple[float, float]] = {
    "lung/bone": (2000, 0),
    "vascular": (1000, 200),
    "mediastinal": (500, 50),
    "soft": (350, 50),
}


def setWindow(node: slicer.vtkMRMLScalarVolumeNode, width: float, level: float) -> None:
    """Set the display window of a volume, in HU."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.AutoWindowLevelOff()
        display.SetWindowLevel(width, level)


def windowOf(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float]:
    """(width, level) in HU."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    return display.GetWindow(), display.GetLevel()


class WindowLink(VTKObservationMixin):
    """Carries a change of one volume's window over to the others: Slicer links views, not windows."""

    def __init__(self, onChange: Callable[[], None] = lambda: None) -> None:
        """onChange: called after the common window has changed."""
        super().__init__()
        self._onChange = onChange
        self._nodes: list[slicer.vtkMRMLScalarVolumeNode] = []
        self._carrying = False

    def link(self, nodes: Iterable[slicer.vtkMRMLScalarVolumeNode]) -> None:
        """Link these volumes instead of the former ones; all take the window of the first."""
        self.removeObservers()
        self._nodes = list(nodes)
        for node in self._nodes:
            # Of the volume, not of its display node: that one may be replaced.
            self.addObserver(node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, self._carry)
        if self._nodes:
            self.setWindow(*windowOf(self._nodes[0]))

    def setWindow(self, width: float, level: float) -> None:
        """Set the window of all linked volumes, in HU."""
        self._carrying = True
        try:
            for node in self._nodes:
                setWindow(node, width, level)
        finally:
            self._carrying = False
        self._onChange()

    @property
    def window(self) -> tuple[float, float] | None:
        """(width, level) in HU; None when nothing is linked."""
        return windowOf(self._nodes[0]) if self._nodes else None

    def _carry(self, caller: slicer.vtkMRMLScalarVolumeNode, event: str) -> None:
        if self._carrying or caller.GetDisplayNode() is None:
            return
        window = windowOf(caller)
        if any(windowOf(node) != window for node in self._nodes if node is not caller):
            self.setWindow(*window)

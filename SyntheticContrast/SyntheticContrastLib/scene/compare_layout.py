"""The layouts of the comparison: slice views in a row, one for each role that is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import slicer

VIEW_GROUP = 7130  # of its own: the user's views stay unlinked from these
_FIRST_LAYOUT = 7130  # above 500, where Slicer's own end; plus one bit a role


@dataclass(frozen=True)
class Role:
    """One place in the row. The controller bar of a view has room for one or two letters."""

    name: str
    label: str
    colour: str

    @property
    def tag(self) -> str:
        """Singleton tag of the view: unique among all modules."""
        return f"SyntheticContrast{self.name[0].upper()}{self.name[1:]}"


NCCT = Role("NCCT", "N", "#9A9A9A")
SCECT = Role("sCECT", "S", "#E08A1E")
CECT = Role("CECT", "C", "#4C8BD0")
DIFFERENCE = Role("difference", "D", "#8E6BB0")
ROLES = {role.name: role for role in (NCCT, SCECT, CECT, DIFFERENCE)}  # from left to right


def layoutId(names: Iterable[str]) -> int:
    """The id of the layout that shows these roles."""
    shown = set(names)
    return _FIRST_LAYOUT + sum(1 << bit for bit, name in enumerate(ROLES) if name in shown)


def isComparison(layout: int) -> bool:
    """True for the id of one of these layouts."""
    return _FIRST_LAYOUT <= layout < _FIRST_LAYOUT + (1 << len(ROLES))


def layoutXML(names: Iterable[str]) -> str:
    """The description of the layout that shows these roles."""
    shown = set(names)
    views = "".join(_viewXML(role) for role in ROLES.values() if role.name in shown)
    return f'<layout type="horizontal" split="true">{views}</layout>'


def addLayouts(node: slicer.vtkMRMLLayoutNode) -> None:
    """Make all these layouts known, as well before a scene is loaded that was saved with one of them shown."""
    for count in range(2, len(ROLES) + 1):
        for names in combinations(ROLES, count):
            if not node.IsLayoutDescription(layoutId(names)):
                node.AddLayoutDescription(layoutId(names), layoutXML(names))


def _viewXML(role: Role) -> str:
    properties = {"orientation": "Axial", "viewlabel": role.label, "viewcolor": role.colour, "viewgroup": VIEW_GROUP}
    inner = "".join(f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items())
    return f'<item><view class="vtkMRMLSliceNode" singletontag="{role.tag}">{inner}</view></item>'

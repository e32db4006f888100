"""A selector of segmentations, boxes and label maps, with the combo box of the segments of the chosen one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from SyntheticContrastLib.scene.masks import SEGMENTATION


class MaskChoice:
    """Shows, and writes, two parameters: the node `name` and the id of its segment, `name` + "Segment".

    A parameter of several node types is one that `connectGui` cannot connect.
    """

    def __init__(
        self, selector: Any, combo: Any, name: str, parameters: Callable[[], Any], joined: bool = True
    ) -> None:
        """parameters: gives the parameters of the scene, or None while it is closed.

        joined: all segments together are a choice, too, and the first one.
        """
        self.selector, self.combo = selector, combo
        self.name, self.parameters, self.joined = name, parameters, joined
        self.identifiers: list[str] = []
        self.filling = False
        selector.currentNodeChanged.connect(self.onNode)
        combo.currentIndexChanged.connect(self.onSegment)

    @property
    def node(self) -> Any:
        return getattr(self.parameters(), self.name)

    @property
    def segment(self) -> str:
        """Empty for all segments, and where none is chosen."""
        return getattr(self.parameters(), f"{self.name}Segment") if self.identifiers else ""

    def onNode(self, node: Any) -> None:
        if self.filling or self.parameters() is None or node is self.node:
            return
        setattr(self.parameters(), f"{self.name}Segment", "")
        setattr(self.parameters(), self.name, node)

    def onSegment(self, index: int) -> None:
        if not self.filling and self.parameters() is not None and 0 <= index < len(self.identifiers):
            setattr(self.parameters(), f"{self.name}Segment", self.identifiers[index])

    def refresh(self) -> None:
        """Show the parameters, and the segments that there are now."""
        self.filling = True
        try:
            node = self.node
            self.selector.setCurrentNode(node)
            self.identifiers, names = [], []
            if node is not None and node.IsA(SEGMENTATION):
                segmentation = node.GetSegmentation()
                self.identifiers = list(segmentation.GetSegmentIDs())
                names = [segmentation.GetSegment(one).GetName() for one in self.identifiers]
                if self.joined:
                    self.identifiers, names = ["", *self.identifiers], [_("All segments"), *names]
            if [self.combo.itemText(index) for index in range(self.combo.count)] != names:
                self.combo.clear()
                self.combo.addItems(names)
            self.combo.visible = len(names) > (2 if self.joined else 1)
            chosen = getattr(self.parameters(), f"{self.name}Segment")
            self.combo.currentIndex = self.identifiers.index(chosen) if chosen in self.identifiers else -1
        finally:
            self.filling = False

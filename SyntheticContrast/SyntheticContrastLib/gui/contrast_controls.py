"""Phase and contrast strength: of the next run, and the strength of the sCECT that is there at once."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from SyntheticContrastLib.gui.compare_controls import CompareControls
from SyntheticContrastLib.gui.parameters import STRENGTH_RANGE_HU
from SyntheticContrastLib.models.bundle import Card
from SyntheticContrastLib.scene.contrast_mark import contrastOf
from SyntheticContrastLib.scene.contrast_strength import ContrastStrength
from SyntheticContrastLib.scene.volumes import WEIGHTS_ATTRIBUTE, sourceOf
from SyntheticContrastLib.synthesis.contrast import LEVEL_HU

REST_MILLISECONDS = 300  # of the slider, until what is computed from the sCECT is computed anew


class ContrastControls:
    """The slider moves the sCECT of the section "Compare" if the chosen model made it of the input, in this phase.

    Any other volume is left alone: then the slider is for the next run.
    """

    def __init__(self, ui: Any, compare: CompareControls) -> None:
        self.ui: Any = ui
        self.parameters: Any = None  # GenerateParameters
        self.strength = ContrastStrength()
        self.compare = compare
        self._seen: tuple[str | None, Any] | None = None  # ID of the volume that the slider moves, and the phase
        self._level = 0.0  # of the slider
        self._moved: Any = None
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.interval = REST_MILLISECONDS
        self._rest.timeout.connect(self.onRest)

    def setParameters(self, parameters: Any) -> None:
        self.parameters, self._seen = parameters, None
        self._level = parameters.level if parameters is not None else 0.0

    def close(self) -> None:
        self._rest.stop()
        self.ui = None

    def target(self, card: Card | None) -> Any:
        """The sCECT that the slider moves; None where there is none."""
        parameters = self.parameters
        node = parameters.scect if parameters is not None else None
        made = contrastOf(node)
        if node is None or card is None or not card.by_shares or made is None or sourceOf(node) is None:
            return None
        isOwn = sourceOf(node) is parameters.inputVolume and node.GetAttribute(WEIGHTS_ATTRIBUTE) == card.weights_sha256
        return node if isOwn and made.contrast.phase == parameters.phase.value else None

    def follow(self, card: Card | None) -> None:
        """Bring the sCECT in line with the slider; or, when another one is chosen, the slider with it."""
        parameters = self.parameters
        target = self.target(card)
        before, self._seen = self._seen, (target.GetID() if target is not None else None, parameters.phase)
        if before != self._seen:
            if target is not None:
                self._show(contrastOf(target).contrast.level_hu)  # type: ignore[union-attr]  # else it were no target
            elif before is not None and before[1] is not parameters.phase:
                self._show(LEVEL_HU[parameters.phase.value])
            self._level = parameters.level
        elif parameters.level != self._level:
            self._level = parameters.level
            if target is not None and self.strength.setLevel(target, self._level):
                self._moved = target
                self._rest.start()

    def _show(self, level: float) -> None:
        low, high = STRENGTH_RANGE_HU
        self._level = min(high, max(low, level))  # known before the parameters tell of it
        self.parameters.level = self._level

    def onRest(self) -> None:
        moved, self._moved = self._moved, None
        if moved is not None and moved.GetScene() is not None:
            self.compare.voxelsChanged(moved)

    def refresh(self, card: Card | None) -> None:
        label, target = self.ui.strengthLabel, self.target(card)
        if target is not None:
            label.text = _("Changes {name} at once.").format(name=target.GetName())
        else:
            label.text = _("For the next run.") if card is not None and card.by_shares else ""
        label.visible = bool(label.text)

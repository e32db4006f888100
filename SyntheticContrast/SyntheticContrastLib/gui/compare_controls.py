"""The section "Compare" of the panel: what is chosen, and the linked views that show it."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.gui.dialogs import waitCursor
from SyntheticContrastLib.gui.parameters import Mix
from SyntheticContrastLib.gui.words import sentence
from SyntheticContrastLib.scene.comparison import Comparison

SETTLE_MILLISECONDS = 150  # until the views of a new layout have their size
PRESET_BUTTONS = {
    "lungPresetButton": "lung/bone",
    "vascularPresetButton": "vascular",
    "mediastinalPresetButton": "mediastinal",
    "softPresetButton": "soft",
}


class CompareControls:
    """Shows what the parameters say, at once while the comparison is shown."""

    def __init__(self, ui: Any) -> None:
        self.ui: Any = ui
        self.comparison = Comparison(slicer.mrmlScene)
        self.parameters: Any = None  # GenerateParameters
        self.shown: tuple[dict[str, Any], tuple[str, str] | None] = ({}, None)  # volumes and difference
        self.mixed: tuple[str, str, Mix, float] | None = None  # view, other, how, fade
        self.problem = ""
        self.fitTimer = qt.QTimer()
        self.fitTimer.setSingleShot(True)
        self.fitTimer.interval = SETTLE_MILLISECONDS
        self.fitTimer.timeout.connect(self.comparison.settle)
        self.toolTips = {name: getattr(ui, name).toolTip for name in self.buttons()}
        ui.compareButton.clicked.connect(self.show)
        ui.leaveButton.clicked.connect(self.leave)
        for name, preset in PRESET_BUTTONS.items():
            getattr(ui, name).clicked.connect(lambda *_, preset=preset: self.setPreset(preset))

    @staticmethod
    def buttons() -> list[str]:
        return ["compareButton", "leaveButton", *PRESET_BUTTONS]

    def volumes(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """The chosen ones, by role."""
        if self.parameters is None:
            return {}
        parameters = self.parameters
        chosen = {"NCCT": parameters.ncct, "sCECT": parameters.scect, "CECT": parameters.cect}
        return {role: node for role, node in chosen.items() if node is not None}

    def difference(self) -> tuple[str, str] | None:
        """The chosen difference, while both of its volumes are chosen."""
        pair = self.parameters.difference.value
        return pair if pair and set(pair) <= set(self.volumes()) else None

    def whyNot(self) -> str:
        """Why nothing can be compared, in words; empty if it can."""
        volumes = self.volumes()
        if len(volumes) < 2:
            return _("Choose at least two volumes to compare.")
        if len(set(volumes.values())) < len(volumes):
            return _("One volume is chosen twice: choose different ones.")
        for node in volumes.values():
            if node.GetImageData() is None:
                return _("{name} has no voxels: choose another volume.").format(name=node.GetName())
        return ""

    def show(self, *_event: object) -> None:
        """Open the comparison, or show it again."""
        self._attempt(self._showAgain)

    def resume(self) -> None:
        """Go on with the comparison that was shown when the scene was saved."""
        if self.parameters is not None and self.comparison.isLeftOver and not self.whyNot():
            self.show()

    def leave(self, *_event: object) -> None:
        self.comparison.leave()
        self.mixed = None
        self.refresh()

    def setPreset(self, name: str) -> None:
        self.comparison.setPreset(name)

    def follow(self) -> None:
        """Bring the views in line with the parameters, if they are shown."""
        if self.comparison.isShown and self.parameters is not None and not self.whyNot():
            self._attempt(self._follow)
        else:
            self.refresh()

    def voxelsChanged(self, node: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Difference map and checkerboard follow a volume whose voxels have changed."""
        with waitCursor():
            self.comparison.voxelsChanged(node)

    def close(self) -> None:
        self.ui = None
        self.fitTimer.stop()
        self.comparison.leave()

    def _attempt(self, change: Any) -> None:
        try:
            change()
            self.problem = ""
        except (InputError, ValueError) as error:
            self.problem = sentence(error)
        self.refresh()

    def _showAgain(self) -> None:
        self.shown, self.mixed = (self.volumes(), self.difference()), None
        with waitCursor():
            self.comparison.show(*self.shown, self.parameters.orientation.value)
        self.fitTimer.start()
        self._mix()

    def _follow(self) -> None:
        shown = self.comparison.volumes
        shown.pop("difference", None)
        if shown != self.volumes() or self.comparison.differencePair != self.difference():
            self._showAgain()
            return
        if self.shown != (shown, self.difference()):  # a volume was removed, and the comparison went on without it
            self.shown, self.mixed = (shown, self.difference()), None
        if self.comparison.orientation != self.parameters.orientation.value:
            self.comparison.setOrientation(self.parameters.orientation.value)
        self._mix()

    def _mix(self) -> None:
        """Fade or checkerboard, in the view of the first of the pair."""
        view, other = self.parameters.mixPair.value
        how = self.parameters.mix
        wanted = None
        if how is not Mix.none and {view, other} <= set(self.volumes()):
            wanted = (view, other, how, self.parameters.fade)
        if wanted == self.mixed:
            return
        if self.mixed is not None and (wanted is None or self.mixed[0] != view or self.mixed[2] is not how):
            self.comparison.setFade(self.mixed[0], None)  # takes a checkerboard down as well
        if wanted is not None and how is Mix.fade:
            self.comparison.setFade(view, other, self.parameters.fade / 100)
        elif wanted is not None and (self.mixed is None or self.mixed[:3] != wanted[:3]):
            self.comparison.setCheckerboard(view, other)
        self.mixed = wanted

    def refresh(self) -> None:
        """Enable what can be done, and say why the rest cannot."""
        if self.ui is None or self.parameters is None:
            return
        shown = self.comparison.isShown
        notShown = "" if shown else _("Nothing is compared yet: choose Compare.")
        why = self.whyNot()
        self._allow("compareButton", why)
        self._allow("leaveButton", notShown)
        for name in PRESET_BUTTONS:
            self._allow(name, notShown)
        ui, parameters = self.ui, self.parameters
        ui.fadeSlider.visible = parameters.mix is Mix.fade
        ui.mixPairComboBox.visible = parameters.mix is not Mix.none
        missing = [role for role in parameters.mixPair.value if role not in self.volumes()]
        noMix = _("There is no {roles} to mix in.").format(roles=", ".join(missing))
        noMix = noMix if shown and missing and parameters.mix is not Mix.none else ""
        ui.compareLabel.text = self.problem or (why if shown else "") or noMix
        ui.compareLabel.visible = bool(ui.compareLabel.text)

    def _allow(self, name: str, reason: str) -> None:
        widget = getattr(self.ui, name)
        widget.enabled = not reason
        widget.toolTip = reason or self.toolTips[name]

"""What the section "Lesion CNR" shows: the list of lesions, the circles of one, the checks, and what can be done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from SyntheticContrastLib.analysis.cnr import ROLES, LesionCnr
from SyntheticContrastLib.gui.lesions_parameters import CircleRole
from SyntheticContrastLib.gui.words import sentence
from SyntheticContrastLib.scene.lesion import Lesion
from SyntheticContrastLib.scene.lesion_measurements import LesionMeasurements

BUTTONS = (
    *("lesionsShowButton", "lesionsLeaveButton", "lesionsDrawButton", "lesionsAddButton", "lesionsGoToButton"),
    *("lesionsRemoveButton", "lesionsProposeButton", "lesionsMiddleButton", "lesionsEqualButton", "lesionsCopyButton"),
    *("lesionsPlotButton", "lesionsExportButton", "lesionsNameEdit", "lesionsMeasuredAxisSlider"),
    *("lesionsDiameterSlider", "lesionsRoleComboBox"),
)


class LesionsView:
    """Fills the widgets. `filling` is true meanwhile: what they signal then is not of the user."""

    def __init__(self, ui: Any) -> None:
        self.ui: Any = ui
        self.filling = False
        for table in (ui.lesionsTable, ui.lesionsRoiTable):
            table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        self._toolTips = {name: getattr(ui, name).toolTip for name in BUTTONS}

    def allow(self, name: str, reason: str) -> None:
        """Enable the widget, or disable it with the reason in its tooltip."""
        widget = getattr(self.ui, name)
        widget.enabled = not reason
        widget.toolTip = reason or self._toolTips[name]

    def show(
        self,
        lesions: Sequence[Lesion],
        current: Lesion | None,
        role: str,
        volumes: Sequence[str],
        of: LesionMeasurements,
    ) -> None:
        """role: whose size the slider shows. volumes: names of the columns."""
        self.filling = True
        try:
            self._showList(lesions, current, volumes, of)
            self._showCircles(current, volumes, of)
            self._showSizes(current, role)
        finally:
            self.filling = False
        label = self.ui.lesionsCheckLabel
        label.text = "\n".join(checks(current, volumes, of)) if current is not None else ""
        label.setMinimumHeight(label.heightForWidth(self.ui.lesionsRoiTable.width))  # else wrapped lines are cut off
        label.visible = bool(label.text)

    def _showList(
        self, lesions: Sequence[Lesion], current: Lesion | None, volumes: Sequence[str], of: LesionMeasurements
    ) -> None:
        header = [_("Lesion"), _("mm"), *(_("CNR {volume}").format(volume=name) for name in volumes)]
        rows = []
        for lesion in lesions:
            found = [of.of(lesion, name) for name in volumes]
            numbers = [f"{one.cnr:.2f}" if isinstance(one, LesionCnr) else "\N{EN DASH}" for one in found]
            rows.append([lesion.name, f"{lesion.shortAxis:.1f}", *numbers])
        _fill(self.ui.lesionsTable, rows, header)
        at = [index for index, lesion in enumerate(lesions) if current is not None and lesion.node is current.node]
        if at:
            self.ui.lesionsTable.selectRow(at[0])
        else:
            self.ui.lesionsTable.clearSelection()

    def _showCircles(self, current: Lesion | None, volumes: Sequence[str], of: LesionMeasurements) -> None:
        """Mean, SD and voxels of each circle; noise and CNR."""
        rows: list[list[str]] = [[] for _row in range(len(ROLES) + 2)]
        for name in volumes:
            found = of.of(current, name) if current is not None else None
            if not isinstance(found, LesionCnr):
                for row in rows:
                    row.append("\N{EN DASH}")
                continue
            for row, role in zip(rows, ROLES, strict=False):
                roi = found.rois[role]
                sd = "\N{EN DASH}" if math.isnan(roi.sd) else f"{roi.sd:.1f}"
                row.append(f"{roi.mean:.1f} \N{PLUS-MINUS SIGN} {sd} ({roi.voxels})")
            rows[-2].append(f"{found.noise:.1f}")
            rows[-1].append(f"{found.cnr:.2f}")
        labels = [*(CircleRole(role).label() for role in ROLES), _("Noise"), _("CNR")]
        _fill(self.ui.lesionsRoiTable, rows, list(volumes), labels)

    def _showSizes(self, current: Lesion | None, role: str) -> None:
        ui = self.ui
        if not ui.lesionsNameEdit.hasFocus() or current is None:
            ui.lesionsNameEdit.text = current.name if current is not None else ""
        if current is None:
            return
        ui.lesionsMeasuredAxisSlider.value = current.shortAxis
        ends = current.ends(role)
        if ends is not None:
            ui.lesionsDiameterSlider.value = 2 * math.dist(*ends)


def checks(lesion: Lesion, volumes: Sequence[str], of: LesionMeasurements) -> list[str]:
    """What is wrong with the circles of a lesion, a line each, with the volumes in which it is seen."""
    seen: dict[str, list[str]] = {}
    for name in volumes:
        found = of.of(lesion, name)
        lines = found.warnings if isinstance(found, LesionCnr) else [found] if found else []
        for line in lines:
            seen.setdefault(line, []).append(name)
    return [f"\N{WARNING SIGN} {', '.join(names)}: {sentence(line)}" for line, names in seen.items()]


def _fill(table: Any, rows: Sequence[Sequence[str]], columns: Sequence[str], labels: Sequence[str] = ()) -> None:
    """Write the cells of a QTableWidget."""
    table.setColumnCount(len(columns))
    table.setRowCount(len(rows))
    table.setHorizontalHeaderLabels(list(columns))
    if labels:
        table.setVerticalHeaderLabels(list(labels))
    for row, cells in enumerate(rows):
        for column, text in enumerate(cells):
            item = table.item(row, column)
            if item is None:
                table.setItem(row, column, qt.QTableWidgetItem(text))
            elif item.text() != text:
                item.setText(text)

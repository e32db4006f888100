"""The table of CNR measurements: a row for each lesion and volume, the same from the panel and from measure.py."""

from __future__ import annotations

from collections.abc import Mapping

from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.cnr import LESION, ROLES, LesionCnr
from SyntheticContrastLib.analysis.csv_table import Row

NAMES = {role: role.replace(" ", "_") for role in ROLES}  # in the columns
ROI_COLUMNS = [f"{name}_{what}" for name in NAMES.values() for what in ("mean_hu", "sd_hu", "voxels")]
COLUMNS = ["lesion", "volume", "diameter_mm", *ROI_COLUMNS, "noise_hu", "cnr", "warnings", "error"]


def cnr_row(lesion: str, volume: str, circles: Mapping[str, Circle], found: LesionCnr | str) -> Row:
    """found: what was measured, or why it could not be. Keys are of `COLUMNS`; what was not measured is left out."""
    row: Row = {"lesion": lesion, "volume": volume}
    if isinstance(found, str):
        return row | {"error": found}
    row["diameter_mm"] = circles[LESION].diameter
    for role, roi in found.rois.items():
        name = NAMES[role]
        row |= {f"{name}_mean_hu": roi.mean, f"{name}_sd_hu": roi.sd, f"{name}_voxels": roi.voxels}
    return row | {"noise_hu": found.noise, "cnr": found.cnr, "warnings": "; ".join(found.warnings)}

"""What the synthesis changed, by the tissue that the NCCT shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# HU ranges of an NCCT, rough on purpose: they sort voxels, they do not segment organs.
TISSUES = (("lung", -950, -500), ("fat", -140, -50), ("soft tissue and blood", 0, 100), ("bone", 200, 3071))
ENHANCED_BY = 100


@dataclass(frozen=True)
class TissueChange:
    """Volume in mL, mean HU before and after, and the share of voxels raised by more than `ENHANCED_BY` HU."""

    tissue: str
    volume_ml: float
    mean_before: float
    mean_after: float
    enhanced_share: float


def tissue_changes(ncct: NDArray, scect: NDArray, spacing_zyx: tuple[float, float, float]) -> list[TissueChange]:
    """One row a tissue that the volume holds.

    Args:
        ncct, scect: (Z, Y, X) in HU on one grid.
        spacing_zyx: mm.
    """
    voxel_ml = float(np.prod(spacing_zyx)) / 1000
    rows = []
    for tissue, low, high in TISSUES:
        count, before, after, enhanced = 0, 0.0, 0.0, 0
        for slice_before, slice_after in zip(ncct, scect, strict=True):  # no mask of the whole volume
            inside = (slice_before >= low) & (slice_before <= high)
            values, changed = slice_before[inside].astype(np.float64), slice_after[inside].astype(np.float64)
            count += values.size
            before += values.sum()
            after += changed.sum()
            enhanced += int((changed - values > ENHANCED_BY).sum())
        if count:
            rows.append(TissueChange(tissue, count * voxel_ml, before / count, after / count, enhanced / count))
    return rows


def format_table(rows: list[TissueChange]) -> str:
    """A plain-text table for a terminal."""
    enhanced = f"> +{ENHANCED_BY} HU"
    head = f"  {'tissue by NCCT':<22} {'mL':>7} {'HU before':>10} {'HU after':>9} {'change':>7} {enhanced:>9}"
    lines = [
        f"  {row.tissue:<22} {row.volume_ml:>7.0f} {row.mean_before:>10.0f} {row.mean_after:>9.0f} "
        f"{row.mean_after - row.mean_before:>+7.0f} {row.enhanced_share:>9.1%}"
        for row in rows
    ]
    return "\n".join([head, *lines])

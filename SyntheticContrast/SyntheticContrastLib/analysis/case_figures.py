"""The figures of one case: slices with difference maps, and each measure slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.analysis.cohort import SIMILARITY
from SyntheticContrastLib.analysis.evaluation import CECT, NCCT, SCECT
from SyntheticContrastLib.analysis.figures import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (0.15, 0.5, 0.85)  # of the compared slices, from the top
DIFFERENCE_HU = 200
CURVES = tuple(measure for measure in SIMILARITY if measure.key not in ("mae_unclipped", "nmi"))
COLUMNS = ("NCCT", "sCECT (synthetic)", "CECT", "NCCT - CECT", "sCECT - CECT")
SIDE = 2.3  # inches


def montage(
    images: Mapping[str, NDArray],
    spacing_zyx: tuple[float, float, float],
    window: tuple[float, float],
    first_slice: int,
    title: str,
) -> Figure:
    """Three axial slices as rows; NCCT, sCECT, CECT, and the differences of the first two to the third in the window.

    Args:
        images: (Z, Y, X) in HU by name, the compared slices, Z from superior to inferior.
        spacing_zyx: mm.
        window: (width, level) in HU.
        first_slice: the number of the first of these slices in the CT, from 0.
    """
    depth, height, width = images[NCCT].shape
    slices = sorted({min(depth - 1, round(level * (depth - 1))) for level in LEVELS})
    aspect = spacing_zyx[1] / spacing_zyx[2]
    row = SIDE * height * aspect / width
    figure = new_figure(len(COLUMNS) * SIDE + 0.9, row * len(slices) + 0.8)
    axes = figure.subplots(len(slices), len(COLUMNS), squeeze=False)
    low, high = window[1] - window[0] / 2, window[1] + window[0] / 2
    for line, z in zip(axes, slices, strict=True):
        shown = {name: np.clip(array[z].astype(np.float32), low, high) for name, array in images.items()}
        for axis, name in zip(line, (NCCT, SCECT, CECT), strict=False):
            axis.imshow(shown[name], cmap="gray", vmin=low, vmax=high, aspect=aspect)
        for axis, name in zip(line[3:], (NCCT, SCECT), strict=True):
            difference = shown[name] - shown[CECT]
            drawn = axis.imshow(difference, cmap="RdBu_r", vmin=-DIFFERENCE_HU, vmax=DIFFERENCE_HU, aspect=aspect)
        text = f"slice {first_slice + z}"
        line[0].text(0.02, 0.98, text, color="yellow", fontsize=7, va="top", transform=line[0].transAxes)
    for axis, heading in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(heading, fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.colorbar(drawn, ax=axes, shrink=0.6, pad=0.01).set_label("difference in the window, HU", fontsize=8)
    figure.suptitle(f"{title}; window {window[0]:g}/{window[1]:g} HU, patient's right on the left", fontsize=9)
    return figure


def slice_curves(of_slices: Mapping[str, Mapping[str, Sequence[Any]]], first_slice: int, title: str) -> Figure:
    """Each measure of NCCT and sCECT against the slice's number, from 0 at the top. A value may be None."""
    measures = [one for one in CURVES if one.key in of_slices[NCCT]]
    figure = new_figure(2.6 * len(measures), 2.4)
    for axis, measure in zip(np.atleast_1d(figure.subplots(1, len(measures))), measures, strict=True):
        for name in (NCCT, SCECT):
            values = np.array(of_slices[name][measure.key], np.float64)  # None becomes NaN: a gap
            axis.plot(first_slice + np.arange(len(values)), values, ".-", color=COLOURS[name], label=name, linewidth=1)
        axis.set_title(f"{measure.name}{f', {measure.unit}' if measure.unit else ''}", fontsize=9)
        axis.set_xlabel("slice", fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    figure.suptitle(f"{title}; each against CECT", fontsize=9)
    return figure

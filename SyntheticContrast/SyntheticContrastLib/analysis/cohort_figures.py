"""The figures of a cohort: box plots (Choi 2021, Fig. 4), agreement of volumes (Santini 2018, Fig. 3), slice curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.analysis.agreement import BlandAltman, Correlation
from SyntheticContrastLib.analysis.cohort import SIMILARITY, CohortCase, Comparison
from SyntheticContrastLib.analysis.evaluation import NCCT, SCECT
from SyntheticContrastLib.analysis.figures import COLOURS, new_figure, p_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POSITIONS = 41  # along the range of slices, to which those of each case are brought


def box_plots(comparisons: Sequence[Comparison]) -> Figure:
    """One panel a measure: the values of each image, and the P of the paired test; pairs are joined by lines."""
    columns = min(4, len(comparisons))
    rows = -(-len(comparisons) // columns)
    figure = new_figure(2.7 * columns, 3.1 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, row in zip(axes, comparisons, strict=False):
        measure = row.measure
        values = [np.asarray(one, np.float64) for one in row.values.values()]
        if len(values[0]) <= 60:  # more lines would be a grey surface
            axis.plot(range(1, len(values) + 1), np.array(values), color="#bbbbbb", linewidth=0.5, zorder=1)
        boxes = axis.boxplot(values, widths=0.5, patch_artist=True, medianprops={"color": "black"})
        for box, name in zip(boxes["boxes"], row.values, strict=True):
            box.set(facecolor=COLOURS[name], alpha=0.75)
        axis.set_xticks(range(1, len(values) + 1), list(row.values))
        better = f" ({measure.better} is better)" if measure.better else ""
        axis.set_title(f"{measure.name}{better}", fontsize=9)
        axis.set_ylabel(measure.unit or measure.name, fontsize=8)
        axis.tick_params(labelsize=8)
        low, high = min(map(np.min, values)), max(map(np.max, values))
        reach = (high - low) or abs(high) or 1.0
        axis.set_ylim(low - 0.08 * reach, high + 0.2 * reach)
        axis.plot([1, 1, 2, 2], high + reach * np.array([0.05, 0.08, 0.08, 0.05]), color="black", linewidth=0.8)
        axis.text(1.5, high + 0.1 * reach, p_text(row.test.p), ha="center", fontsize=8)
    for axis in axes[len(comparisons) :]:
        axis.set_axis_off()
    figure.suptitle("boxes: quartiles, median; whiskers: within 1.5 IQR; P: NCCT against sCECT", fontsize=7)
    return figure


def volume_agreement(
    ours: Sequence[float], reference: Sequence[float], image: str, rho: Correlation | None, agreement: BlandAltman
) -> Figure:
    """Left: Bland-Altman, difference against mean with bias and limits of agreement; right: correlation. mL."""
    x, y = np.asarray(reference, np.float64), np.asarray(ours, np.float64)
    figure = new_figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    left.scatter((x + y) / 2, y - x, color=COLOURS[image], s=18)
    for value, style, name in (
        (agreement.bias, "-", "bias"),
        (agreement.upper, "--", "+1.96 SD"),
        (agreement.lower, "--", "-1.96 SD"),
    ):
        left.axhline(value, color="black", linestyle=style, linewidth=0.9)
        left.annotate(
            f"{name} {value:.1f}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
        )
    left.axhline(0, color="#999999", linewidth=0.6)
    left.set(xlabel=f"mean of {image} and reference, mL", ylabel=f"{image} - reference, mL", title="Bland-Altman")
    left.margins(0.1, 0.2)
    right.scatter(x, y, color=COLOURS[image], s=18)
    ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
    right.plot(ends, ends, color="#999999", linewidth=0.8, label="identity")
    if rho and rho.rho == rho.rho:
        slope, offset = np.polyfit(x, y, 1)
        right.plot(ends, offset + slope * ends, color="black", linewidth=0.9, label="least squares")
        right.set_title(f"Pearson's rho = {rho.rho:.3f}, {p_text(rho.p)}")
    right.set(xlabel="reference, mL", ylabel=f"{image}, mL")
    right.legend(fontsize=8)
    return figure


def cohort_slice_curves(cases: Sequence[CohortCase]) -> Figure:
    """Median and quartiles over the cases, from the first to the last compared slice of each."""
    measures = [one for one in SIMILARITY if any(one.key in case.record["of_slices"][NCCT] for case in cases)]
    columns = min(4, len(measures))
    rows = -(-len(measures) // columns)
    figure = new_figure(3 * columns, 2.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    position = np.linspace(0, 100, POSITIONS)
    for axis, measure in zip(axes, measures, strict=False):
        for name in (NCCT, SCECT):
            curves = _curves([case.record["of_slices"][name].get(measure.key) for case in cases])
            if curves.size:
                _band(axis, position, curves, name)
        axis.set_title(f"{measure.name}{f', {measure.unit}' if measure.unit else ''}", fontsize=9)
        axis.set_xlabel("% of the way from first to last slice", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    for axis in axes[len(measures) :]:
        axis.set_axis_off()
    figure.suptitle("lines: median over the cases; bands: quartiles; each against CECT", fontsize=8)
    return figure


def _curves(of_cases: Sequence[Sequence[Any] | None]) -> NDArray[np.float64]:
    """(cases, POSITIONS); cases without the measure, or with a slice without it, are left out."""
    found = [np.array(values, np.float64) for values in of_cases if values and None not in values]
    grid = np.linspace(0, 1, POSITIONS)
    return np.array([np.interp(grid, np.linspace(0, 1, len(one)), one) for one in found])


def _band(axis: Axes, position: NDArray, curves: NDArray[np.float64], name: str) -> None:
    lower, median, upper = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
    axis.fill_between(position, lower, upper, color=COLOURS[name], alpha=0.2, linewidth=0)
    axis.plot(position, median, color=COLOURS[name], linewidth=1.3, label=name)

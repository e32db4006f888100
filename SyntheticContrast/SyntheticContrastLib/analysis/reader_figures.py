"""The figures of a reader study: conspicuity as stacked bars (Choi 2021, Fig. 6) and FROC curves (its Fig. S2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from SyntheticContrastLib.analysis.figures import new_figure
from SyntheticContrastLib.analysis.froc import froc_curve
from SyntheticContrastLib.analysis.reader_study import ReaderResult
from SyntheticContrastLib.analysis.readings import HIGHEST, Readings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONSPICUITY = ("#ffffff", "#cfe1f2", "#93c3df", "#4b97c9", "#1764ab")  # 0, hatched, to 4


def conspicuity_bars(results: Sequence[ReaderResult], modalities: Sequence[str]) -> Figure:
    """A panel a reader, a bar a modality: the share of lesions of each conspicuity; undetected ones are hatched."""
    readers = list(dict.fromkeys(row.reader for row in results))
    figure = new_figure(1.6 + 0.9 * len(modalities) * len(readers), 3.6)
    panels = figure.subplots(1, len(readers), sharey=True, squeeze=False)[0]
    for axis, reader in zip(panels, readers, strict=True):
        for place, modality in enumerate(modalities):
            [row] = [row for row in results if (row.reader, row.modality) == (reader, modality)]
            bottom = 0.0
            for grade, count in enumerate(row.counts):
                share = 100 * count / row.lesions
                axis.bar(
                    place,
                    share,
                    0.7,
                    bottom,
                    color=CONSPICUITY[grade],
                    edgecolor="#444444",
                    linewidth=0.6,
                    hatch="" if grade else "///",
                    label=(f"{grade}" if grade else "0, not detected") if place == 0 else None,
                )
                if count:
                    colour = "white" if grade == HIGHEST else "black"
                    text = axis.text(
                        place, bottom + share / 2, count, ha="center", va="center", fontsize=7, color=colour
                    )
                    if not grade:
                        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
                bottom += share
        axis.set_xticks(range(len(modalities)), [name.replace(" + ", "\n+ ") for name in modalities], fontsize=8)
        axis.set_title(f"reader {reader}", fontsize=9)
    panels[0].set_ylabel("lesions, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], title="conspicuity", loc="outside right center", fontsize=8)
    return figure


def froc_curves(readings: Readings) -> Figure:
    """A panel a reader, a curve a modality: share of the lesions found against false marks a case."""
    figure = new_figure(3.4 * len(readings.readers) + 0.4, 3.4)
    panels = figure.subplots(1, len(readings.readers), sharex=True, sharey=True, squeeze=False)[0]
    for axis, reader in zip(panels, readings.readers, strict=True):
        for modality in readings.modalities:
            curve = froc_curve(readings.case_readings(reader, modality))
            axis.plot(curve.false_per_case, curve.lesions_found, "o-", markersize=3, linewidth=1.2, label=modality)
        axis.set_title(f"reader {reader}", fontsize=9)
        axis.set_xlabel("false marks per case")
        axis.set_ylim(-0.03, 1.03)
        axis.grid(alpha=0.3)
    panels[0].set_ylabel("lesions found")
    panels[0].legend(fontsize=8)
    return figure

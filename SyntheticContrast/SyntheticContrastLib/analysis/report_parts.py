"""What the sections of a cohort's report share: the page, the tables and figures beside it, how numbers are written."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SyntheticContrastLib.analysis.cohort import CohortCase, Comparison, comparison_row
from SyntheticContrastLib.analysis.evaluation import Options
from SyntheticContrastLib.analysis.figures import p_text, save_figure
from SyntheticContrastLib.analysis.page import Page
from SyntheticContrastLib.analysis.paired import T_TEST, WILCOXON, Summary
from SyntheticContrastLib.analysis.similarity import NMI_BINS
from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.disclaimer import DISCLAIMER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT, STATISTICS, TABLES, FIGURES = "report.html", "statistics.json", "tables", "figures"
CASE_FIGURES = {"montage": "slices and differences", "slices": "each measure along the slices"}
TESTS = (
    "Median (quartiles, linear between values) and mean ± sample SD (ddof 1). P: two-sided, of the paired t-test (t) "
    "or, where Shapiro-Wilk on the differences has P < .05, the Wilcoxon signed-rank test (W)."
)


def case_figure(output: Path, case_id: str, kind: str) -> Path:
    """Without suffix."""
    return output / FIGURES / "cases" / f"{case_id}_{kind}"


class Report:
    """Files below `output`, each written when whole; the page and the statistics at the end, by `finish`."""

    def __init__(self, output: Path, options: Options, cases: Sequence[CohortCase]) -> None:
        self.output, self.options, self.cases = output, options, cases
        self.page = Page("Synthetic contrast: evaluation of a cohort", output)
        self.statistics: dict[str, Any] = {"note": DISCLAIMER}

    def csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Columns as they first appear; empty where there is no value; all digits."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        path = self.output / TABLES / f"{name}.csv"
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(
                {key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
                for row in rows
            )

    def figure(self, name: str, figure: Figure, caption: str) -> None:
        stem = self.output / FIGURES / name
        save_figure(figure, stem)
        self.page.figure(stem, caption)

    def comparisons(self, name: str, caption: str, rows: Sequence[Comparison], convention: str) -> None:
        """On the page, in the statistics and as a table of its own."""
        flat = [comparison_row(row) for row in rows]
        self.csv(f"{name}_statistics", flat)
        self.statistics[name] = flat
        images = rows[0].values if rows else ()
        header = ["group", "measure", "n", *(cell for image in images for cell in (image, "")), "P", "test"]
        self.page.table(caption, header, [_comparison_cells(row) for row in rows], convention)

    def finish(self) -> Path:
        with atomic_file(self.output / STATISTICS) as temporary:
            text = json.dumps(_without_nan(self.statistics), indent=1, allow_nan=False, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        self.page.write(self.output / REPORT)
        return self.output / REPORT


def similarity_convention(options: Options, cases: Sequence[CohortCase]) -> str:
    width, level = options.window
    low, high = level - width / 2, level + width / 2
    sources = Counter(case.record["slices"]["from"] for case in cases)
    slices = ", ".join(f"{source} in {count}" for source, count in sources.items())
    lpips = f"{options.lpips}, window scaled to [-1, 1]" if options.lpips else "left out"
    return (
        f"Each image against the CECT, on the NCCT's grid. Window {width:g}/{level:g} HU ({low:g} to {high:g} HU), to "
        f"which both are clipped; MAE unclipped: not clipped, -1024 HU at least. PSNR: data range {width:g} HU. "
        f"MS-SSIM: 2D, window scaled to [0, 1], data range 1. LPIPS: {lpips}. NMI: {NMI_BINS} bins over the window. "
        f"Axial slices ({slices or 'none'} of the cases); a case's value is the mean over them, its PSNR that of their "
        "mean squared error."
    )


def group_text(column: str, group: str) -> str:
    return f"{column}: {group}" if column else group


def summary_cells(summary: Summary, digits: int) -> list[str]:
    low, high = summary.lower_quartile, summary.upper_quartile
    spread = f" ± {summary.sd:.{digits}f}" if summary.cases > 1 else ""
    return [
        f"{summary.median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})",
        f"{summary.mean:.{digits}f}{spread}",
    ]


def _comparison_cells(row: Comparison) -> list[str]:
    arrow = {"lower": " ↓", "higher": " ↑", "": ""}[row.measure.better]
    unit = f", {row.measure.unit}" if row.measure.unit else ""
    values = [cell for summary in row.summaries.values() for cell in summary_cells(summary, row.measure.digits)]
    test = {T_TEST: "t", WILCOXON: "W"}.get(row.test.test, "none")
    name = f"{row.measure.name}{unit}{arrow}"
    return [group_text(row.column, row.group), name, str(row.size), *values, p_text(row.test.p), test]


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return value

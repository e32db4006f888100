"""The sections of a report on findings: the contrast of lesions (Choi 2021), the left heart chambers (Santini 2018)."""

from __future__ import annotations

import math
from collections import Counter

from SyntheticContrastLib.analysis import cohort_figures
from SyntheticContrastLib.analysis.cohort import (
    ChamberStatistics,
    chamber_row,
    chamber_statistics,
    compare_lesions,
)
from SyntheticContrastLib.analysis.evaluation import CECT, SCECT
from SyntheticContrastLib.analysis.figures import p_text
from SyntheticContrastLib.analysis.report_parts import TESTS, Report, group_text, summary_cells


def lesions(report: Report) -> None:
    flat = [
        {"case_id": case.case_id, **row, "warnings": "; ".join(row.get("warnings", []))}
        for case in report.cases
        for row in case.record.get("lesions", [])
    ]
    if not flat:
        return
    report.csv("lesions", flat)
    rows = compare_lesions(report.cases)
    report.page.heading("Lesion contrast")
    failed = sum("error" in row for row in flat)
    warned = sum(bool(row["warnings"]) for row in flat)
    convention = (
        "CNR = |HU aorta - HU lesion| / noise, noise = sqrt((SD² right fat + SD² left fat) / 2), means and sample SDs "
        "(ddof 1) in circles, at one place in all images, each on its own grid. n: lesions measured in all three. "
        f"{failed} measurements failed and {warned} have warnings, see tables/lesions.csv. {TESTS}"
    )
    report.comparisons("lesions", "CNR and background noise", rows, convention)
    if rows:
        boxes = cohort_figures.box_plots([row for row in rows if not row.column])
        report.figure("lesion_boxes", boxes, "CNR and noise, lesion by lesion")


def chambers(report: Report) -> None:
    rows = chamber_statistics(report.cases)
    if not rows:
        return
    members = [case for case in report.cases if "chambers" in case.record]
    flat = [
        {
            "case_id": case.case_id,
            "image": image,
            "heart": case.record["chambers"]["heart"],
            "reference_ml": case.record["chambers"]["reference_ml"],
            **case.record["chambers"][image],
        }
        for case in members
        for image in (SCECT, CECT)
    ]
    report.csv("chambers", flat)
    report.csv("chamber_statistics", [chamber_row(row) for row in rows])
    report.statistics["chambers"] = [chamber_row(row) for row in rows]
    hearts = Counter(case.record["chambers"]["heart"] for case in members)
    convention = (
        f"Voxels of at least {report.options.threshold:g} HU in the heart mask ("
        + ", ".join(f"{source} in {count}" for source, count in hearts.items())
        + "), on the NCCT's grid, on the slices with a reference; right chambers within the mask pass too if they are "
        "as bright. Volume error: |V - Vref| / Vref. rho: Pearson. Bias and limits: of V - Vref, bias ± 1.96 sample SD "
        "(ddof 1). Median (quartiles) and mean ± sample SD."
    )
    report.page.heading("Left heart chambers")
    header = ["group", "image", "n", "Dice", "", "volume error, %", "", "rho", "bias, mL", "limits, mL"]
    report.page.table(
        "Chambers by threshold against the reference", header, [_chamber_cells(r) for r in rows], convention
    )
    for row in rows:
        if not row.column and row.agreement:
            ours = [case.record["chambers"][row.image]["volume_ml"] for case in members]
            reference = [case.record["chambers"]["reference_ml"] for case in members]
            report.figure(
                f"chambers_{row.image}",
                cohort_figures.volume_agreement(ours, reference, row.image, row.correlation, row.agreement),
                f"Volume of the left chambers: {row.image} and reference",
            )


def _chamber_cells(row: ChamberStatistics) -> list[str]:
    known = row.correlation and math.isfinite(row.correlation.rho)
    rho = f"{row.correlation.rho:.3f} ({p_text(row.correlation.p)})" if row.correlation and known else "-"
    bias = f"{row.agreement.bias:.1f}" if row.agreement else "-"
    limits = f"{row.agreement.lower:.1f} to {row.agreement.upper:.1f}" if row.agreement else "-"
    dice, error = summary_cells(row.dice, 3), summary_cells(row.volume_error, 1)
    return [group_text(row.column, row.group), row.image, str(row.dice.cases), *dice, *error, rho, bias, limits]

"""The section of a report on an observer study (Choi 2021, "Performance in depicting mediastinal lymph nodes")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from SyntheticContrastLib.analysis import reader_figures
from SyntheticContrastLib.analysis.figures import p_text
from SyntheticContrastLib.analysis.reader_study import (
    FigureOfMeritTable,
    figures_of_merit,
    reader_comparisons,
    reader_results,
)
from SyntheticContrastLib.analysis.readings import Readings
from SyntheticContrastLib.analysis.report_parts import Report


def readers(report: Report, readings: Readings) -> None:
    results, comparisons = reader_results(readings), reader_comparisons(readings)
    merits = figures_of_merit(readings)
    lesions, normal = results[0].lesions, sum(not names for names in readings.lesions.values())
    whose = f"{lesions} lesions in {len(readings.lesions)} cases, {normal} of them without a lesion."
    flat = [
        {
            "reader": row.reader,
            "modality": row.modality,
            "lesions": row.lesions,
            "detected": row.detected,
            "false_marks": row.false_marks,
            "conspicuity_median": row.conspicuity.median,
            "conspicuity_mean": row.conspicuity.mean,
            "conspicuity_sd": row.conspicuity.sd,
            **{f"conspicuity_{grade}": count for grade, count in enumerate(row.counts)},
        }
        for row in results
    ]
    report.csv("readers", flat)
    tests = [
        {
            "reader": row.reader,
            "first": row.first,
            "second": row.second,
            "detected_by_both": row.detection.both,
            "first_only": row.detection.first_only,
            "second_only": row.detection.second_only,
            "neither": row.detection.neither,
            "mcnemar_p": row.detection.p,
            "conspicuity_test": row.conspicuity.test,
            "conspicuity_w": row.conspicuity.statistic,
            "conspicuity_p": row.conspicuity.p,
        }
        for row in comparisons
    ]
    report.csv("reader_tests", tests)
    report.statistics["readers"] = {
        "readings": flat,
        "tests": tests,
        "modalities": list(readings.modalities),
        "figures_of_merit": [asdict(table) for table in merits],
    }
    report.page.heading("Readers")
    report.page.table(
        "Detection and conspicuity",
        [
            "reader",
            "modality",
            "detected",
            "false marks",
            *(f"conspicuity {grade}" for grade in range(5)),
            "median",
        ],
        [
            [
                row.reader,
                row.modality,
                f"{row.detected / row.lesions:.0%} ({row.detected} of {row.lesions})",
                str(row.false_marks),
                *map(str, row.counts),
                f"{row.conspicuity.median:g}",
            ]
            for row in results
        ],
        f"{whose} Conspicuity 0: not detected.",
    )
    report.page.table(
        "Modalities compared",
        ["reader", "first", "second", "by first only", "by second only", "detection", "conspicuity"],
        [
            [
                row.reader,
                row.first,
                row.second,
                str(row.detection.first_only),
                str(row.detection.second_only),
                p_text(row.detection.p),
                p_text(row.conspicuity.p),
            ]
            for row in comparisons
        ],
        "Detection: exact McNemar test. Conspicuity: Wilcoxon signed-rank test, undetected lesions as 0, differences "
        "of 0 left out. Two-sided, lesions taken as independent.",
    )
    bars = reader_figures.conspicuity_bars(results, readings.modalities)
    report.figure("conspicuity", bars, "Conspicuity of the lesions; hatched: not detected")
    report.figure("froc", reader_figures.froc_curves(readings), "FROC curves; rating: conspicuity")
    _merits(report, readings, merits)


def _merits(report: Report, readings: Readings, merits: Sequence[FigureOfMeritTable]) -> None:
    convention = (
        "AFROC: mean of psi(highest false mark of a normal case, lesion), wAFROC with equal weights within a case; the "
        "variants with 1 use the false marks of all cases. Rating: conspicuity. Random readers, fixed cases: F = MS_T "
        "/ MS_TR, 95 % intervals of the differences by t."
    )
    report.page.table(
        "Figures of merit",
        ["figure", "modality", *(f"reader {name}" for name in readings.readers), "mean"],
        [
            [table.kind, modality, *(f"{value:.3f}" for value in values), f"{sum(values) / len(values):.3f}"]
            for table in merits
            for modality, values in zip(readings.modalities, table.figures, strict=True)
        ],
        convention,
    )
    rows = []
    for table in merits:
        if not table.analysis:
            continue
        analysis = table.analysis
        f = f"F({analysis.degrees[0]}, {analysis.degrees[1]}) = {analysis.f:.2f}, {p_text(analysis.p)}"
        for one in analysis.differences:
            names = f"{readings.modalities[one.first]} - {readings.modalities[one.second]}"
            interval = f"{one.lower:.3f} to {one.upper:.3f}"
            rows.append([f"{table.kind}: {f}", names, f"{one.difference:+.3f}", interval, p_text(one.p)])
    if rows:
        header = ["all modalities", "difference", "of the means", "95 % interval", "P"]
        report.page.table("Differences between modalities", header, rows, "Random readers, fixed cases; see above.")
    else:
        report.page.paragraph("The analysis with random readers needs two readers and two modalities at least.")

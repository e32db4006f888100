"""The sections of a report on similarity to the CECT: the cohort (Choi 2021, Table 2 and Fig. 4), and case by case."""

from __future__ import annotations

from collections.abc import Sequence

from SyntheticContrastLib.analysis import cohort_figures
from SyntheticContrastLib.analysis.cohort import SIMILARITY, CohortCase, Measure, compare_images
from SyntheticContrastLib.analysis.evaluation import NCCT, SCECT
from SyntheticContrastLib.analysis.report_parts import CASE_FIGURES, TESTS, Report, case_figure, similarity_convention


def similarity(report: Report) -> None:
    rows = compare_images(report.cases)
    report.page.heading("Similarity to the CECT")
    convention = f"{similarity_convention(report.options, report.cases)} {TESTS}"
    report.comparisons("similarity", "Similarity of NCCT and sCECT to the CECT", rows, convention)
    boxes = cohort_figures.box_plots([row for row in rows if not row.column])
    report.figure("similarity_boxes", boxes, "Similarity to the CECT, case by case")
    report.figure(
        "similarity_slices", cohort_figures.cohort_slice_curves(report.cases), "Similarity along the compared slices"
    )


def per_case(report: Report) -> None:
    flat, slices = [], []
    for case in report.cases:
        record = case.record
        row = {"case_id": case.case_id, "first_slice": record["slices"]["first"]}
        row |= {"last_slice": record["slices"]["last"], "slices_from": record["slices"]["from"]}
        for image in (NCCT, SCECT):
            row |= {f"{image}_{name}": value for name, value in record["similarity"][image].items()}
        flat.append(row | {"notes": "; ".join(record["notes"])})
        for image in (NCCT, SCECT):
            columns = record["of_slices"][image]
            for index in range(record["shape_zyx"][0]):
                values = {name: column[index] for name, column in columns.items()}
                place = record["slices"]["first"] + index
                slices.append({"case_id": case.case_id, "image": image, "slice": place, **values})
    report.csv("per_case", flat)
    report.csv("per_slice", slices)
    report.page.heading("Cases")
    shown = [one for one in SIMILARITY if any(one.key in case.record["similarity"][NCCT] for case in report.cases)]
    report.page.table(
        "Each case, NCCT → sCECT",
        ["case", "slices", *(one.name for one in shown), "notes"],
        [_case_cells(case, shown) for case in report.cases],
        f"{similarity_convention(report.options, report.cases)} Slices count from 0 at the top.",
    )
    for case in report.cases:
        if not case.drawn:
            continue
        report.page.heading(case.case_id, 3)
        for kind, caption in CASE_FIGURES.items():
            report.page.figure(case_figure(report.output, case.case_id, kind), f"{case.case_id}: {caption}")


def _case_cells(case: CohortCase, shown: Sequence[Measure]) -> list[str]:
    record = case.record
    cells = [case.case_id, f"{record['slices']['first']} to {record['slices']['last']} ({record['slices']['from']})"]
    for measure in shown:
        values = [record["similarity"][image].get(measure.key) for image in (NCCT, SCECT)]
        cells.append(" → ".join("-" if value is None else f"{value:.{measure.digits}f}" for value in values))
    return [*cells, "; ".join(record["notes"])]

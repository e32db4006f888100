"""The report of a cohort: report.html, statistics.json, tables/*.csv and figures/*, from the records of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from SyntheticContrastLib.analysis.cohort import CohortCase, subgroups
from SyntheticContrastLib.analysis.evaluation import Options
from SyntheticContrastLib.analysis.readings import Readings
from SyntheticContrastLib.analysis.report_findings import chambers, lesions
from SyntheticContrastLib.analysis.report_images import per_case, similarity
from SyntheticContrastLib.analysis.report_parts import TESTS, Report, similarity_convention
from SyntheticContrastLib.analysis.report_readers import readers


@dataclass(frozen=True)
class Missing:
    """A case without a result, and why."""

    case_id: str
    reason: str


def write_report(
    output: Path,
    options: Options,
    cases: Sequence[CohortCase],
    missing: Sequence[Missing],
    readings: Readings | None = None,
) -> Path:
    """Write all files below `output`, each when whole; returns the page's path."""
    report = Report(output, options, cases)
    overview(report, missing)
    if cases:
        similarity(report)
        lesions(report)
        chambers(report)
    if readings:
        readers(report, readings)
    if cases:
        per_case(report)
    return report.finish()


def overview(report: Report, missing: Sequence[Missing]) -> None:
    total = len(report.cases) + len(missing)
    report.page.paragraph(f"{len(report.cases)} of {total} cases evaluated.")
    if missing:
        report.page.heading("Missing cases", 3)
        report.page.items([f"{one.case_id}: {one.reason}" for one in missing])
    if notes := subgroups(report.cases)[1]:
        report.page.items(notes)
    report.statistics |= {
        "evaluated": len(report.cases),
        "missing": [asdict(one) for one in missing],
        "options": asdict(report.options),
        "convention": f"{similarity_convention(report.options, report.cases)} {TESTS}",
    }

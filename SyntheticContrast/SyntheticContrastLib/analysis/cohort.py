"""The statistics of a cohort from the records of its cases, as the papers give them.

Choi 2021, Table 2: each measure of NCCT and sCECT as median and quartiles, with the paired test, for all cases and for
subgroups. Its results on lesions: CNR and noise. Santini 2018, 3: Dice, volumes, their error, rho, Bland-Altman.
A row counts the cases that have the value on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from SyntheticContrastLib.analysis.agreement import BlandAltman, Correlation, bland_altman, pearson
from SyntheticContrastLib.analysis.evaluation import CECT, NCCT, SCECT
from SyntheticContrastLib.analysis.paired import PairedTest, Summary, paired_test, summarise
from SyntheticContrastLib.ct.table import PATH

ALL = "all cases"
MOST_GROUPS = 12  # a column with more values than that sorts nothing
# What may tell who the patient is has no place in a report.
IDENTIFYING = re.compile(
    r"name|mrn|birth|dob|date|accession|address|phone|ssn|^patient$|(^|_|patient)(id|uid|no|nr|number)$", re.IGNORECASE
)
DATE = re.compile(r"(19|20)\d{2}[-/.]?(0[1-9]|1[0-2])[-/.]?([0-2]\d|3[01])")


@dataclass(frozen=True)
class Measure:
    key: str
    name: str
    unit: str
    better: Literal["lower", "higher", ""]
    digits: int


SIMILARITY = (
    Measure("mae", "MAE", "HU", "lower", 2),
    Measure("mae_unclipped", "MAE unclipped", "HU", "lower", 2),
    Measure("psnr", "PSNR", "dB", "higher", 2),
    Measure("ms_ssim", "MS-SSIM", "", "higher", 4),
    Measure("lpips", "LPIPS", "", "lower", 4),
    Measure("nmi", "NMI in [1, 2]", "", "higher", 4),
    Measure("nmi_unit", "NMI in [0, 1]", "", "higher", 4),
)
LESIONS = (Measure("cnr", "CNR", "", "higher", 2), Measure("noise_hu", "background noise", "HU", "", 2))
DICE = Measure("dice", "Dice", "", "higher", 3)
VOLUME_ERROR = Measure("volume_error_percent", "volume error", "%", "lower", 1)


@dataclass(frozen=True)
class CohortCase:
    """The record of an evaluated case, its columns of the study's own, and whether it has figures."""

    case_id: str
    record: Mapping[str, Any]
    study: Mapping[str, str]
    drawn: bool = False


@dataclass(frozen=True)
class Comparison:
    """One measure in one group: the values and their summary by image, and the test of NCCT and sCECT."""

    column: str  # the study's column that makes the group, empty for all cases
    group: str
    measure: Measure
    values: dict[str, tuple[float, ...]]  # of the same cases or lesions, in one order
    summaries: dict[str, Summary]
    test: PairedTest

    @property
    def size(self) -> int:
        return len(self.values[NCCT])


@dataclass(frozen=True)
class ChamberStatistics:
    """One image's chambers against the given ones, over the cases of a group."""

    column: str
    group: str
    image: str
    dice: Summary
    volume_error: Summary
    correlation: Correlation | None  # None with fewer than 3 cases
    agreement: BlandAltman | None  # of volume - reference in mL; None for a single case


def subgroups(cases: Sequence[CohortCase]) -> tuple[list[tuple[str, str, list[CohortCase]]], list[str]]:
    """(column, group, its cases), all cases first; and a line for each column that makes no groups."""
    groups = [("", ALL, list(cases))]
    notes = []
    for column in dict.fromkeys(column for case in cases for column in case.study):
        values = {case.case_id: case.study.get(column, "") for case in cases}
        names = sorted(set(values.values()) - {""})
        if IDENTIFYING.search(column) or any(DATE.fullmatch(name) for name in names):
            notes.append(f"column {column}: left out, it may tell who a patient is")
        elif PATH in names:
            notes.append(f"column {column}: left out, its cells are paths")
        elif len(names) > MOST_GROUPS or len(names) == len(cases) > 1:
            notes.append(f"column {column}: no subgroups, it has {len(names)} values in {len(cases)} cases")
        else:
            groups += [(column, name, [case for case in cases if values[case.case_id] == name]) for name in names]
    return groups, notes


def compare_images(cases: Sequence[CohortCase]) -> list[Comparison]:
    """Similarity to the CECT; a measure that no case has gives no row."""

    def values(group: Iterable[CohortCase], key: str) -> list[tuple[Any, ...]]:
        found = [tuple(case.record["similarity"][image].get(key) for image in (NCCT, SCECT)) for case in group]
        return [pair for pair in found if None not in pair]

    return _comparisons(cases, SIMILARITY, values)


def compare_lesions(cases: Sequence[CohortCase]) -> list[Comparison]:
    """CNR and noise of the lesions that were measured in all three images; a lesion counts once, whoever's it is."""

    def values(group: Iterable[CohortCase], key: str) -> list[tuple[Any, ...]]:
        return [
            tuple(images[image][key] for image in (NCCT, SCECT, CECT))
            for case in group
            for images in lesions_of(case).values()
            if all(key in images.get(image, {}) for image in (NCCT, SCECT, CECT))
        ]

    return _comparisons(cases, LESIONS, values)


def lesions_of(case: CohortCase) -> dict[str, dict[str, Mapping[str, Any]]]:
    """lesion: image: its row."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in case.record.get("lesions", []):
        found.setdefault(row["lesion"], {})[row["image"]] = row
    return found


def chamber_statistics(cases: Sequence[CohortCase]) -> list[ChamberStatistics]:
    """Of sCECT and CECT, over the cases with chambers."""
    rows = []
    for column, group, members in subgroups([case for case in cases if "chambers" in case.record])[0]:
        for image in (SCECT, CECT):
            found = [case.record["chambers"] for case in members]
            if not found:
                continue
            ours = [one[image]["volume_ml"] for one in found]
            reference = [one["reference_ml"] for one in found]
            rows.append(
                ChamberStatistics(
                    column,
                    group,
                    image,
                    summarise([one[image]["dice"] for one in found]),
                    summarise([one[image]["volume_error_percent"] for one in found]),
                    pearson(ours, reference) if len(found) >= 3 else None,
                    bland_altman(ours, reference) if len(found) >= 2 else None,
                )
            )
    return rows


def _comparisons(
    cases: Sequence[CohortCase],
    measures: Sequence[Measure],
    values: Callable[[Iterable[CohortCase], str], list[tuple[Any, ...]]],
) -> list[Comparison]:
    rows = []
    for column, group, members in subgroups(cases)[0]:
        for measure in measures:
            found = values(members, measure.key)
            if not found:
                continue
            of_images = dict(zip((NCCT, SCECT, CECT), zip(*found, strict=True), strict=False))
            summaries = {image: summarise(numbers) for image, numbers in of_images.items()}
            test = paired_test(of_images[NCCT], of_images[SCECT])
            rows.append(Comparison(column, group, measure, of_images, summaries, test))
    return rows


def comparison_row(row: Comparison) -> dict[str, Any]:
    """Flat, for CSV and JSON."""
    flat: dict[str, Any] = {
        "column": row.column,
        "group": row.group,
        "measure": row.measure.key,
        "unit": row.measure.unit,
        "better": row.measure.better,
        "n": row.size,
    }
    for image, summary in row.summaries.items():
        flat |= {f"{image}_{name}": value for name, value in asdict(summary).items() if name != "cases"}
    return flat | {
        "test": row.test.test,
        "statistic": row.test.statistic,
        "p": row.test.p,
        "shapiro_wilk_p": row.test.normality_p,
    }


def chamber_row(row: ChamberStatistics) -> dict[str, Any]:
    """Flat, for CSV and JSON."""
    flat: dict[str, Any] = {"column": row.column, "group": row.group, "image": row.image, "n": row.dice.cases}
    for name, summary in (("dice", row.dice), ("volume_error_percent", row.volume_error)):
        flat |= {f"{name}_{key}": value for key, value in asdict(summary).items() if key != "cases"}
    if row.correlation:
        flat |= {"rho": row.correlation.rho, "rho_p": row.correlation.p}
    if row.agreement:
        flat |= {f"bland_altman_{key}": value for key, value in asdict(row.agreement).items() if key != "cases"}
    return flat

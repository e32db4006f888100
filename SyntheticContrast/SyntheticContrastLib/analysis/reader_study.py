"""The observer study of Choi 2021: detection, conspicuity, FROC and its figures of merit with random readers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from SyntheticContrastLib.analysis.froc import FigureOfMerit, figure_of_merit
from SyntheticContrastLib.analysis.paired import (
    DetectionTest,
    PairedTest,
    Summary,
    mcnemar,
    signed_rank_test,
    summarise,
)
from SyntheticContrastLib.analysis.random_reader import RandomReaderAnalysis, random_reader_analysis
from SyntheticContrastLib.analysis.readings import HIGHEST, Readings


@dataclass(frozen=True)
class ReaderResult:
    """Of one reader and modality. `counts` are the lesions of conspicuity 0 (not detected) to 4."""

    reader: str
    modality: str
    lesions: int
    detected: int
    false_marks: int
    conspicuity: Summary
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ReaderComparison:
    """Two modalities of one reader: the exact McNemar test of detection, the Wilcoxon test of conspicuity."""

    reader: str
    first: str
    second: str
    detection: DetectionTest
    conspicuity: PairedTest


@dataclass(frozen=True)
class FigureOfMeritTable:
    """(modalities, readers), and the analysis: None with a single reader or modality."""

    kind: FigureOfMerit
    figures: tuple[tuple[float, ...], ...]
    analysis: RandomReaderAnalysis | None


def reader_results(readings: Readings) -> list[ReaderResult]:
    rows = []
    for reader in readings.readers:
        for modality in readings.modalities:
            values = readings.conspicuity(reader, modality)
            false = sum(len(readings.false_marks.get((reader, modality, case), ())) for case in readings.lesions)
            counts = tuple(int(count) for count in np.bincount(values, minlength=HIGHEST + 1))
            found = int(np.count_nonzero(values))
            rows.append(ReaderResult(reader, modality, values.size, found, false, summarise(values), counts))
    return rows


def reader_comparisons(readings: Readings) -> list[ReaderComparison]:
    """Every pair of modalities, reader by reader."""
    rows = []
    for reader in readings.readers:
        for first, second in combinations(readings.modalities, 2):
            one, other = (readings.conspicuity(reader, modality) for modality in (first, second))
            rows.append(
                ReaderComparison(reader, first, second, mcnemar(one > 0, other > 0), signed_rank_test(one, other))
            )
    return rows


def figures_of_merit(readings: Readings) -> list[FigureOfMeritTable]:
    """AFROC and wAFROC where there are normal cases, and the variants over all cases."""
    kinds: list[FigureOfMerit] = ["AFROC1", "wAFROC1"]
    if not all(readings.lesions.values()):
        kinds = ["AFROC", "wAFROC", *kinds]
    tables = []
    for kind in kinds:
        figures = tuple(
            tuple(figure_of_merit(readings.case_readings(reader, modality), kind) for reader in readings.readers)
            for modality in readings.modalities
        )
        several = min(len(readings.readers), len(readings.modalities)) > 1
        tables.append(FigureOfMeritTable(kind, figures, random_reader_analysis(figures) if several else None))
    return tables

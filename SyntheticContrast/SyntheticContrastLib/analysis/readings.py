"""The table of a reader study: which lesions each reader marked with each modality, and how conspicuous they were.

A readings.csv has a row for each mark: `reader,modality,case_id,position,conspicuity,lesion`.

- conspicuity: 1 barely perceptible to 4 strikingly evident (Choi 2021); 0 for a lesion that was not detected.
- lesion: which lesion of the case the mark is on; empty for a mark beside every lesion. A lesion exists if it stands
  anywhere in the table: one that nobody saw needs a row with conspicuity 0.
- position: where the mark is, x y z in mm, or empty; it is checked and not used, as `lesion` says what was hit.
- A row without lesion and conspicuity says that the case was read and nothing marked.

Every reader reads every case with every modality: what has no row was read without a mark.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.analysis.froc import UNMARKED, CaseReading
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.table import read_table, shown

COLUMNS = ("reader", "modality", "case_id", "conspicuity", "lesion")  # position may be left out
HIGHEST = 4


@dataclass(frozen=True)
class Readings:
    """All names in the table's order. `rated`: the highest conspicuity of each lesion that was marked."""

    readers: tuple[str, ...]
    modalities: tuple[str, ...]
    lesions: Mapping[str, tuple[str, ...]]  # of each case, none of a normal one
    rated: Mapping[tuple[str, str, str, str], int]  # reader, modality, case, lesion
    false_marks: Mapping[tuple[str, str, str], tuple[int, ...]]  # reader, modality, case

    def conspicuity(self, reader: str, modality: str) -> NDArray[np.int_]:
        """(lesions of all cases,): 0 to 4."""
        return np.array(
            [
                self.rated.get((reader, modality, case, lesion), 0)
                for case, lesions in self.lesions.items()
                for lesion in lesions
            ],
            int,
        )

    def case_readings(self, reader: str, modality: str) -> list[CaseReading]:
        """Conspicuity as the rating of a mark."""
        return [
            CaseReading(
                tuple(float(self.rated.get((reader, modality, case, lesion), 0)) or UNMARKED for lesion in lesions),
                tuple(float(mark) for mark in self.false_marks.get((reader, modality, case), ())),
            )
            for case, lesions in self.lesions.items()
        ]


def read_readings(path: Path, case_ids: Collection[str]) -> Readings:
    """Raises InputError: a missing file or column, an unknown case, a conspicuity or position that is none, no lesion,
    or a reader without any row for one of the modalities.
    """
    lesions: dict[str, list[str]] = {}
    rated: dict[tuple[str, str, str, str], int] = {}
    false_marks: dict[tuple[str, str, str], list[int]] = {}
    seen: dict[tuple[str, str], None] = {}
    for where, cells in read_table(path, (*COLUMNS, "position"), COLUMNS):
        who, modality, case, lesion = (cells[column] for column in ("reader", "modality", "case_id", "lesion"))
        if not who or not modality:
            raise InputError(f"{where}: the reader or the modality is empty")
        if case not in case_ids:
            raise InputError(f"{where}: case_id {shown(case)} is not in the cases.csv")
        _check_position(where, cells.get("position", ""))
        value = _conspicuity(where, cells["conspicuity"])
        seen[who, modality] = None
        known = lesions.setdefault(case, [])
        if lesion:
            if lesion not in known:
                known.append(lesion)
            rated[who, modality, case, lesion] = max(value, rated.get((who, modality, case, lesion), 0))
        elif value:
            false_marks.setdefault((who, modality, case), []).append(value)
    readers, modalities = (tuple(dict.fromkeys(pair[part] for pair in seen)) for part in (0, 1))
    if not any(lesions.values()):
        raise InputError(f"{path.name} names no lesion: a study of readers needs some")
    for who in readers:
        for modality in modalities:
            if (who, modality) not in seen:
                raise InputError(f"{path.name}: reader {who} has no row for {modality}: all read all")
    return Readings(
        readers,
        modalities,
        {case: tuple(names) for case, names in lesions.items()},
        rated,
        {key: tuple(marks) for key, marks in false_marks.items()},
    )


def _conspicuity(where: str, text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()) or int(text) > HIGHEST:
        raise InputError(f"{where}: conspicuity {shown(text)} is not 0 to {HIGHEST}")
    return int(text)


def _check_position(where: str, text: str) -> None:
    try:
        numbers = [float(part) for part in text.replace(";", " ").split()]
    except ValueError:
        numbers = [math.nan]
    if text and (len(numbers) != 3 or not all(map(math.isfinite, numbers))):
        raise InputError(f"{where}: position {shown(text)} is not x y z in mm")

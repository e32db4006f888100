"""The table of a cohort: one row a case, with the paths of its volumes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InputError
from .table import PATH, is_path, read_table, shown

COLUMNS = (
    *("case_id", "patient", "split", "ncct", "cect", "scect", "heart_mask", "chambers", "lesions"),
    *("first_slice", "last_slice"),
)
SPLITS = ("training", "validation")
_PATHS = ("ncct", "cect", "scect", "heart_mask", "chambers", "chambers_2", "lesions")
PHASES = ("arterial", "pulmonary", "portal", "unenhanced")
_LABELS = {"heart_mask": "heart_label", "chambers": "chambers_label", "chambers_2": "chambers_2_label"}
_KNOWN = (*COLUMNS, "chambers_2", "phase", "right_hu", *_LABELS.values())
_LONGEST_ID = 150  # letters, so that files of a case can be named


@dataclass(frozen=True)
class Case:
    """One row. A volume is None where its cell is empty.

    `patient` tells which cases are one patient's; a case without it is a patient of its own.
    `first_slice` and `last_slice` bound the slices to use, both counted from 0 at the superior end and both included.
    `chambers_2` are the chambers as drawn by another observer, or by the same one another day.
    `labels` are those to take of heart_mask, chambers and chambers_2, where a mask holds several.
    `split` is "training" or "validation", where the study fixes it. `lesions` is a markups file with the circles of the
    case's lesions. `phase` is that of the CECT, or "unenhanced" of an NCCT that has none; `right_hu` the range of HU of
    its right heart, where contrast is denser or thinner there than in the aorta. `study` holds the columns of the
    study's own, such as the vendor of the scanner, as text; of a path it holds only PATH.
    """

    case_id: str
    ncct: Path | None = None
    cect: Path | None = None
    scect: Path | None = None
    heart_mask: Path | None = None
    chambers: Path | None = None
    first_slice: int | None = None
    last_slice: int | None = None
    split: str | None = None
    chambers_2: Path | None = None
    lesions: Path | None = None
    phase: str = "arterial"
    right_hu: tuple[float, float] | None = None
    study: dict[str, str] = field(default_factory=dict, hash=False)
    patient: str | None = None
    labels: dict[str, tuple[int, ...]] = field(default_factory=dict, hash=False)


def read_cases(path: str | Path) -> list[Case]:
    """Read a cases.csv. Its relative paths are relative to it.

    Columns that are not there count as empty.

    Raises:
        InputError: as `read_table`; no column case_id, a case_id that is empty, given twice, too long or no file name,
            a slice number, label or split that is none, or no case at all.
    """
    path = Path(path)
    rows = read_table(path, _KNOWN, ["case_id"], {"patient_id": "patient"})
    cases = [_case(where, row, path.parent) for where, row in rows]
    if not cases:
        raise InputError(f"{path.name} lists no case")
    seen: set[str] = set()
    for case in cases:
        if case.case_id.lower() in seen:  # file names that differ in case only are one file on some systems
            raise InputError(f"{path.name}: case_id {case.case_id} is given twice")
        seen.add(case.case_id.lower())
    return cases


def parse_labels(where: str, text: str) -> tuple[int, ...]:
    """ "3", or several as "1 2" or "1+2".

    Raises:
        InputError: it is no label.
    """
    parts = re.split(r"[ +;]+", text)
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"{where} {shown(text)} is no label of a mask (1, 2, ...; several as 1+2)")
    return tuple(int(part) for part in parts)


def _case(where: str, cells: dict[str, str], folder: Path) -> Case:
    case_id = cells["case_id"]
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", case_id):
        raise InputError(f"{where}: case_id {shown(case_id)} is not made of letters, digits, '-', '_' and '.'")
    if len(case_id) > _LONGEST_ID:
        raise InputError(f"{where}: case_id {shown(case_id)} is too long: use at most {_LONGEST_ID} letters")
    paths = {column: folder / cells[column] if cells.get(column) else None for column in _PATHS}
    first, last = (_slice_number(where, column, cells.get(column, "")) for column in ("first_slice", "last_slice"))
    if first is not None and last is not None and first > last:
        raise InputError(f"{where}: first_slice {first} comes after last_slice {last}")
    split = cells.get("split", "").lower() or None
    if split not in (None, *SPLITS):
        raise InputError(f"{where}: split {shown(split)} is neither {' nor '.join(SPLITS)} nor empty")
    phase = cells.get("phase", "").lower() or PHASES[0]
    if phase not in PHASES:
        raise InputError(f"{where}: phase {shown(phase)} is neither {' nor '.join(PHASES)} nor empty")
    labels = {
        mask: parse_labels(f"{where}: {column}", text)
        for mask, column in _LABELS.items()
        if (text := cells.get(column))
    }
    return Case(
        case_id,
        **paths,
        first_slice=first,
        last_slice=last,
        split=split,
        phase=phase,
        right_hu=_range(where, "right_hu", cells.get("right_hu", "")),
        study={
            column: PATH if is_path(text, folder) else text for column, text in cells.items() if column not in _KNOWN
        },
        patient=cells.get("patient") or None,
        labels=labels,
    )


def _slice_number(where: str, column: str, text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"{where}: {column} {shown(text)} is not a slice number (0, 1, 2, ...)")
    return int(text)


def _range(where: str, column: str, text: str) -> tuple[float, float] | None:
    """ "300 500" as two numbers."""
    if not text:
        return None
    try:
        low, high = (float(part) for part in text.split())
    except ValueError:
        raise InputError(f"{where}: {column} {shown(text)} is not two numbers, lowest and highest") from None
    if not low < high:
        raise InputError(f"{where}: {column} {shown(text)}: the first number is the lower one")
    return low, high

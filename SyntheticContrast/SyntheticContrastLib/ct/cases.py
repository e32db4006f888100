"""The table of a cohort: one row a case, with the paths of its volumes."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InputError

COLUMNS = ("case_id", "ncct", "cect", "scect", "heart_mask", "chambers", "first_slice", "last_slice")
SPLITS = ("training", "validation")
_PATHS = ("ncct", "cect", "scect", "heart_mask", "chambers", "chambers_2", "lesions")
PHASES = ("arterial", "pulmonary", "portal", "unenhanced")
_KNOWN = (*COLUMNS, *_PATHS, "split", "phase", "right_hu")


@dataclass(frozen=True)
class Case:
    """One row. A volume is None where its cell is empty.

    `first_slice` and `last_slice` bound the slices to use, both counted from 0 at the superior end and both included.
    `chambers_2` are the chambers as drawn by another observer, or by the same one another day.
    `split` is "training" or "validation", where the study fixes it. `lesions` is a markups file with the circles of the
    case's lesions. `phase` is that of the CECT, or "unenhanced" of an NCCT that has none; `right_hu` the range of HU of
    its right heart, where contrast is denser or thinner there than in the aorta. `study` holds the columns of the
    study's own, such as the vendor of the scanner, as text.
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


def read_cases(path: str | Path) -> list[Case]:
    """Read a cases.csv. Its relative paths are relative to it.

    Columns that are not there count as empty.

    Raises:
        InputError: a missing file, no column case_id, a case_id that is empty, given twice or no file name,
            a slice number or a split that is none, or no case at all.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path.name} does not exist or is no file: give a cases.csv")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            _check_header(path.name, reader.fieldnames)
            rows = [(f"{path.name} line {reader.line_num}", row) for row in reader if any(row.values())]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as comma-separated UTF-8 text ({error})") from error
    cases = [_case(where, row, path.parent) for where, row in rows]
    if not cases:
        raise InputError(f"{path.name} lists no case")
    seen: set[str] = set()
    for case in cases:
        if case.case_id.lower() in seen:  # file names that differ in case only are one file on some systems
            raise InputError(f"{path.name}: case_id {case.case_id} is given twice")
        seen.add(case.case_id.lower())
    return cases


def _check_header(name: str, header: object) -> None:
    found = list(header) if isinstance(header, (list, tuple)) else []
    if "case_id" not in found:
        raise InputError(f"{name} has no column case_id: its header is {','.join(COLUMNS)}")


def _case(where: str, row: dict[str, str | None], folder: Path) -> Case:
    if None in row:
        raise InputError(f"{where} has more cells than the header")
    cells = {column: (text or "").strip() for column, text in row.items()}
    case_id = cells["case_id"]
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", case_id):
        raise InputError(f"{where}: case_id {case_id!r} is not made of letters, digits, '-', '_' and '.'")
    paths = {column: folder / cells[column] if cells.get(column) else None for column in _PATHS}
    first, last = (_slice_number(where, column, cells.get(column, "")) for column in ("first_slice", "last_slice"))
    if first is not None and last is not None and first > last:
        raise InputError(f"{where}: first_slice {first} comes after last_slice {last}")
    split = cells.get("split") or None
    if split not in (None, *SPLITS):
        raise InputError(f"{where}: split {split!r} is neither {' nor '.join(SPLITS)} nor empty")
    phase = cells.get("phase") or PHASES[0]
    if phase not in PHASES:
        raise InputError(f"{where}: phase {phase!r} is neither {' nor '.join(PHASES)} nor empty")
    right_hu = _range(where, "right_hu", cells.get("right_hu", ""))
    study = {column: text for column, text in cells.items() if column not in _KNOWN}
    return Case(
        case_id, **paths, first_slice=first, last_slice=last, split=split, phase=phase, right_hu=right_hu, study=study
    )


def _slice_number(where: str, column: str, text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise InputError(f"{where}: {column} {text!r} is not a slice number (0, 1, 2, ...)")
    return int(text)


def _range(where: str, column: str, text: str) -> tuple[float, float] | None:
    """ "300 500" as two numbers."""
    if not text:
        return None
    try:
        low, high = (float(part) for part in text.split())
    except ValueError:
        raise InputError(f"{where}: {column} {text!r} is not two numbers, lowest and highest") from None
    if not low < high:
        raise InputError(f"{where}: {column} {text!r}: the first number is the lower one")
    return low, high

"""Tables that a person wrote: comma-separated text with a header whose names are matched without case and blanks."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from .errors import InputError

PATH = "(a path)"  # stands for a cell that is one
_NEARLY = 0.8  # of difflib: chamber and chambers, patients and patient; not site and split
_PATH = re.compile(r"[/\\]|\.(nrrd|nhdr|nii|gz|mha|mhd|dcm|ima|json|csv|png)$", re.IGNORECASE)


def read_table(
    path: Path, known: Sequence[str], needed: Sequence[str], synonyms: Mapping[str, str] | None = None
) -> list[tuple[str, dict[str, str]]]:
    """The rows that are not empty: where each stands, for a message, and its cells by the name of their column.

    Args:
        known: names of columns, as they come out; columns with other names come out as they are.
        needed: those of them without which there is no table.
        synonyms: other names of theirs.

    Raises:
        InputError: no such file, no comma-separated UTF-8 text, a column that is missing, stands twice, has no name or
            nearly the name of a known one, or a row with more cells than the header.
    """
    if not path.is_file():
        raise InputError(f"{path.name} does not exist or is no file: give a table such as {path.stem}.csv")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            header = _columns(path.name, next(reader, []), known, needed, synonyms or {})
            lines = [(f"{path.name} line {reader.line_num}", cells) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as comma-separated UTF-8 text ({error})") from error
    rows = []
    for where, line in lines:
        cells = [_clean(cell) for cell in line]
        if not any(cells):
            continue
        if any(cells[len(header) :]):
            raise InputError(f"{where} has more cells than the header")
        if any(cell for column, cell in zip(header, cells, strict=False) if not column):
            raise InputError(f"{where} has a cell in a column without a name: name the column, or empty it")
        named = {column: cell for column, cell in zip(header, cells, strict=False) if column}
        rows.append((where, dict.fromkeys(filter(None, header), "") | named))
    return rows


def is_path(cell: str, folder: Path | None = None) -> bool:
    """Whether a cell looks like a path, or is one below `folder`: it may name a patient, and is never shown."""
    looks_so = cell.lower() != "n/a" and bool(_PATH.search(cell))
    return looks_so or bool(folder and cell and os.path.exists(folder / cell))  # noqa: PTH110  never raises


def shown(cell: str) -> str:
    """A cell as a message may show it."""
    return PATH if is_path(cell) else repr(cell if len(cell) <= 40 else f"{cell[:40]}...")


def _columns(
    table: str, header: Sequence[str], known: Sequence[str], needed: Sequence[str], synonyms: Mapping[str, str]
) -> list[str]:
    by_key = {_key(name): name for name in known} | {_key(other): name for other, name in synonyms.items()}
    columns = [by_key.get(_key(name), _clean(name)) for name in header]
    if missing := [name for name in needed if name not in columns]:
        if len(header) == 1 and (separator := next((mark for mark in ";\t|" if mark in header[0]), "")):
            raise InputError(f"the columns of {table} are parted by {separator!r}: save it with commas")
        raise InputError(f"{table} has no column {missing[0]}: its header is {','.join(known)}")
    for number, column in enumerate(columns):
        if column and _key(column) in [_key(other) for other in columns[:number]]:
            raise InputError(f"{table} has two columns {shown(column)}: rename or remove one")
        if column not in known and (near := get_close_matches(_key(column), by_key, 1, _NEARLY)):
            raise InputError(f"the column {shown(column)} of {table} is nearly {by_key[near[0]]}: correct or rename it")
    return columns


def _clean(text: str) -> str:
    """Without blanks around it, also those that no one sees."""
    visible = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return visible.replace("\u00a0", " ").strip()


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", _clean(name)).casefold())

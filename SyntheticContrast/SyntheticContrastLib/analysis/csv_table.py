"""Tables as CSV files: numbers to six digits, an empty cell where there is none."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from SyntheticContrastLib.ct.atomic import atomic_file

Row = dict[str, Any]


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """CSV with a header; the file appears only when whole, and replaces an existing one."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({column: cell(value) for column, value in row.items()} for row in rows)


def cell(value: object) -> object:
    """What stands in the file."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value

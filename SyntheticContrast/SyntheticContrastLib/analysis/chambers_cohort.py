"""The left chambers of many cases together: what Santini 2018 reports, from a table with a row a case.

A row has the columns of `ChamberAgreement.figures`, and where a second observer drew the chambers, `second_ml` and
`observers_dice`. A row with an `error`, or without a reference, counts nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from SyntheticContrastLib.analysis.agreement import bland_altman, intraclass_correlation, pearson
from SyntheticContrastLib.analysis.csv_table import Row
from SyntheticContrastLib.ct.errors import InputError

SUMMARY_COLUMNS = ("measure", "value", "sd", "lower", "upper", "p", "cases", "note")


def compared(rows: Sequence[Row]) -> list[Row]:
    """The rows that have a reference."""
    return [row for row in rows if "dice" in row]


def observed_twice(rows: Sequence[Row]) -> list[Row]:
    """The rows with a reference and a second observer's chambers."""
    return [row for row in rows if "second_ml" in row and "reference_ml" in row]


def summarise(rows: Sequence[Row]) -> list[Row]:
    """A row a measure, with SUMMARY_COLUMNS; what too few cases do not allow has no value and a note.

    SD are of the cases, with ddof 1. Bland-Altman and Pearson compare volumes in mL: of the threshold with the
    reference, over the slices with a reference; and of the second observer with the reference.
    """
    found: list[Row] = []
    cases = compared(rows)
    if cases:
        found += [_mean("dice", cases), _mean("volume_error_percent", cases)]
        found += _agreement("", [row["compared_ml"] for row in cases], [row["reference_ml"] for row in cases])
    twice = observed_twice(rows)
    if twice:
        second, first = ([row[name] for row in twice] for name in ("second_ml", "reference_ml"))
        found += [_mean("observers_dice", twice), *_agreement("observers_", second, first)]
        found.append(_attempted("observers_icc_absolute", len(twice), lambda: _icc("absolute", second, first)))
        found.append(_attempted("observers_icc_consistency", len(twice), lambda: _icc("consistency", second, first)))
    return found


def _mean(name: str, rows: Sequence[Row]) -> Row:
    values = np.array([row[name] for row in rows], np.float64)
    result: Row = {"measure": f"{name}_mean", "value": float(values.mean()), "cases": len(values)}
    return result | ({"sd": float(values.std(ddof=1))} if len(values) > 1 else {"note": "one case has no SD"})


def _agreement(prefix: str, first: Sequence[float], second: Sequence[float]) -> list[Row]:
    return [
        _attempted(f"{prefix}pearson_rho", len(first), lambda: _pearson(first, second)),
        _attempted(f"{prefix}bland_altman_bias_ml", len(first), lambda: _bland_altman(first, second)),
    ]


def _attempted(measure: str, cases: int, make: Callable[[], Row]) -> Row:
    row: Row = {"measure": measure, "cases": cases}
    try:
        return row | make()
    except InputError as error:
        return row | {"note": str(error)}


def _pearson(first: Sequence[float], second: Sequence[float]) -> Row:
    found = pearson(first, second)
    return {"value": found.rho, "p": found.p}


def _bland_altman(first: Sequence[float], second: Sequence[float]) -> Row:
    found = bland_altman(first, second)
    return {"value": found.bias, "sd": found.sd, "lower": found.lower, "upper": found.upper}


def _icc(name: str, first: Sequence[float], second: Sequence[float]) -> Row:
    return {"value": getattr(intraclass_correlation(first, second), name)}

"""Random readers, fixed cases: do the modalities' figures of merit differ, for readers such as these on these cases?

The analysis of JAFROC that Choi 2021 reports ("random reader, fixed case"): a two-way analysis of variance of the
figures of merit of I modalities x J readers without replication. F = MS_T / MS_TR with I - 1 and (I - 1)(J - 1)
degrees of freedom; the difference of two modalities has SE = sqrt(2 MS_TR / J).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from SyntheticContrastLib.ct.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """Of the readers' mean figures of merit, modality `first` - `second` (their rows), with a 95 % interval."""

    first: int
    second: int
    difference: float
    standard_error: float
    lower: float
    upper: float
    p: float


@dataclass(frozen=True)
class RandomReaderAnalysis:
    """F and P are NaN and 1 where neither modalities nor readers differ at all."""

    means: tuple[float, ...]  # of each modality over the readers
    ms_modality: float  # MS_T
    ms_error: float  # MS_TR
    f: float
    degrees: tuple[int, int]
    p: float
    differences: tuple[Difference, ...]  # of every pair of modalities


def random_reader_analysis(figures_of_merit: ArrayLike) -> RandomReaderAnalysis:
    """figures_of_merit: (I modalities, J readers), both at least 2.

    Raises:
        InputError: there are fewer, or a figure is missing.
    """
    table = np.asarray(figures_of_merit, np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise InputError("the analysis needs two modalities and two readers at least, all read by all")
    if not np.isfinite(table).all():
        raise InputError("a figure of merit is missing: every reader reads every modality")
    modalities, readers = table.shape
    of_modalities, of_readers = table.mean(axis=1), table.mean(axis=0)
    residual = table - of_modalities[:, None] - of_readers + table.mean()
    ms_modality = readers * float(np.var(of_modalities, ddof=1))
    ms_error = float(np.sum(residual**2)) / ((modalities - 1) * (readers - 1))
    f, degrees, p = f_test(ms_modality, ms_error, modalities, readers)
    differences = tuple(
        difference(float(of_modalities[one] - of_modalities[other]), ms_error, modalities, readers, one, other)
        for one, other in combinations(range(modalities), 2)
    )
    return RandomReaderAnalysis(
        tuple(float(mean) for mean in of_modalities), ms_modality, ms_error, f, degrees, p, differences
    )


def f_test(ms_modality: float, ms_error: float, modalities: int, readers: int) -> tuple[float, tuple[int, int], float]:
    """F, its degrees of freedom, and P, from the mean squares."""
    from scipy import stats

    degrees = (modalities - 1, (modalities - 1) * (readers - 1))
    if ms_error == 0:
        return (math.nan, degrees, 1.0) if ms_modality == 0 else (math.inf, degrees, 0.0)
    f = ms_modality / ms_error
    return f, degrees, float(stats.f.sf(f, *degrees))


def difference(
    value: float, ms_error: float, modalities: int, readers: int, first: int = 0, second: int = 1
) -> Difference:
    """The standard error, 95 % interval and P (t-test) of a difference `value` of two modalities' means."""
    from scipy import stats

    error = math.sqrt(2 * ms_error / readers)
    freedom = (modalities - 1) * (readers - 1)
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, freedom)) if error else float(value == 0)
    return Difference(first, second, value, error, value - reach, value + reach, p)

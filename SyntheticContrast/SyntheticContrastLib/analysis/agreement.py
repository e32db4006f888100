"""How two methods or observers agree on the same cases: Pearson's rho, ICC, Bland-Altman (Santini 2018, 2.4).

A rating that is not there (NaN) is refused and never dropped: leave out the case for both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SyntheticContrastLib.ct.errors import InputError

LIMITS_SD = 1.96


@dataclass(frozen=True)
class Correlation:
    """Pearson's rho and its two-sided P; both NaN where one method gives the same value for every case."""

    rho: float
    p: float
    cases: int


@dataclass(frozen=True)
class BlandAltman:
    """Of first - second: the bias (mean), its SD (ddof 1), and the limits of agreement, bias -+ 1.96 SD."""

    bias: float
    sd: float
    lower: float
    upper: float
    cases: int


@dataclass(frozen=True)
class IntraclassCorrelation:
    """Of single ratings (Shrout and Fleiss 1979): two-way random effects, absolute agreement, ICC(2,1); two-way mixed
    effects, consistency, ICC(3,1), which forgives an observer who always rates higher. NaN if all ratings are equal.
    """

    absolute: float  # ICC(2,1)
    consistency: float  # ICC(3,1)
    cases: int
    observers: int


def pearson(first: ArrayLike, second: ArrayLike) -> Correlation:
    """Of (N,) and (N,) values of the same cases, N at least 3.

    Raises:
        InputError: the lengths differ, there are too few cases, or a value is not finite.
    """
    from scipy import stats

    ratings = _table([first, second], fewest=3)
    if (np.ptp(ratings, axis=0) == 0).any():
        return Correlation(math.nan, math.nan, len(ratings))
    found = stats.pearsonr(ratings[:, 0], ratings[:, 1])
    return Correlation(float(found.statistic), float(found.pvalue), len(ratings))


def bland_altman(first: ArrayLike, second: ArrayLike) -> BlandAltman:
    """Of (N,) and (N,) values of the same cases, N at least 2. Raises InputError as `pearson`."""
    ratings = _table([first, second], fewest=2)
    difference = ratings[:, 0] - ratings[:, 1]
    bias, sd = float(np.mean(difference)), float(np.std(difference, ddof=1))
    return BlandAltman(bias, sd, bias - LIMITS_SD * sd, bias + LIMITS_SD * sd, len(ratings))


def intraclass_correlation(*observers: ArrayLike) -> IntraclassCorrelation:
    """Of two or more observers' (N,) ratings of the same cases, N at least 2.

    Raises:
        InputError: a single observer, lengths that differ, too few cases, or a value that is not finite.
    """
    if len(observers) < 2:
        raise InputError("agreement needs two observers at least")
    ratings = _table(observers, fewest=2)
    n, k = ratings.shape
    mean = ratings.mean()
    of_cases, of_observers = ratings.mean(axis=1), ratings.mean(axis=0)
    ms_cases = k * float(np.sum((of_cases - mean) ** 2)) / (n - 1)
    ms_observers = n * float(np.sum((of_observers - mean) ** 2)) / (k - 1)
    residual = ratings - of_cases[:, None] - of_observers + mean
    ms_error = float(np.sum(residual**2)) / ((n - 1) * (k - 1))
    absolute = _ratio(ms_cases - ms_error, ms_cases + (k - 1) * ms_error + k * (ms_observers - ms_error) / n)
    return IntraclassCorrelation(absolute, _ratio(ms_cases - ms_error, ms_cases + (k - 1) * ms_error), n, k)


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def _table(columns: ArrayLike | tuple[ArrayLike, ...] | list[ArrayLike], fewest: int) -> NDArray[np.float64]:
    """(N, observers)"""
    values = [np.asarray(column, np.float64).ravel() for column in columns]  # type: ignore[union-attr]
    lengths = {column.size for column in values}
    if len(lengths) > 1:
        raise InputError(f"{sorted(lengths)} values cannot be compared: give one of each method for every case")
    if min(lengths) < fewest:
        raise InputError(f"{min(lengths)} cases are too few to compare: {fewest} at least")
    table = np.stack(values, axis=1)
    if not np.isfinite(table).all():
        raise InputError("a value is missing or not finite: leave that case out for both methods")
    return table

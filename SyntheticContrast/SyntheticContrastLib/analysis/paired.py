"""Two conditions on the same cases: the paired tests of Choi 2021 ("Statistical analysis").

Shapiro-Wilk on the differences at 0.05 decides between the paired t-test and the Wilcoxon signed-rank test, both
two-sided. Detection rates are compared by the exact McNemar test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SyntheticContrastLib.ct.errors import InputError

NORMALITY_LEVEL = 0.05
FEWEST_CASES = 3
MOST_FOR_EXACT = 50  # beyond, or with ties, the signed-rank distribution is taken as normal

T_TEST, WILCOXON = "paired t-test", "Wilcoxon signed-rank test"


@dataclass(frozen=True)
class Summary:
    """Median and quartiles (linear between the values, numpy's default), mean and sample SD (NaN for one value)."""

    cases: int
    median: float
    lower_quartile: float
    upper_quartile: float
    mean: float
    sd: float


@dataclass(frozen=True)
class PairedTest:
    """Which test was made, its statistic (t, or the smaller rank sum W) and two-sided P.

    `test` says "none: ..." where there is none to make; `p` is then NaN, or 1 if every difference is 0.
    `normality_p` is of Shapiro-Wilk, NaN where it is not defined: under 3 cases, or all differences equal.
    """

    test: str
    statistic: float
    p: float
    normality_p: float
    cases: int


@dataclass(frozen=True)
class DetectionTest:
    """Lesions seen with both, with one alone, with neither; and the two-sided P of the exact McNemar test."""

    both: int
    first_only: int
    second_only: int
    neither: int
    p: float


def summarise(values: ArrayLike) -> Summary:
    """Of (N,) values, N at least 1. Raises InputError where there is none, or one that is not finite."""
    found = np.asarray(values, np.float64).ravel()
    if not found.size or not np.isfinite(found).all():
        raise InputError("there is no value to summarise, or one that is not finite")
    lower, median, upper = np.quantile(found, [0.25, 0.5, 0.75])
    sd = float(np.std(found, ddof=1)) if found.size > 1 else math.nan
    return Summary(found.size, float(median), float(lower), float(upper), float(found.mean()), sd)


def paired_test(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Compare (N,) and (N,) values of the same cases.

    Ties share their mean rank; differences of 0 are left out of the Wilcoxon test (Wilcoxon's own way), whose P is
    exact up to 50 cases without ties and zeros, else from the normal distribution, corrected for ties but not for
    continuity.

    Raises:
        InputError: the lengths differ, or a value is not finite.
    """
    from scipy import stats

    one, other = _pairs(first, second)
    difference = one - other
    cases = difference.size
    if none := _untestable(difference):
        return none
    varied = np.ptp(difference) > 1e-12 * np.abs(difference).max()  # else they are equal but for rounding
    normality = float(stats.shapiro(difference).pvalue) if varied else math.nan
    if normality >= NORMALITY_LEVEL:  # False for NaN
        found = stats.ttest_rel(one, other)
        return PairedTest(T_TEST, float(found.statistic), float(found.pvalue), normality, cases)
    statistic, p = _wilcoxon(difference)
    return PairedTest(WILCOXON, statistic, p, normality, cases)


def signed_rank_test(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """The Wilcoxon signed-rank test of (N,) and (N,) ratings, which are never taken as normal; as in `paired_test`."""
    one, other = _pairs(first, second)
    difference = one - other
    if none := _untestable(difference):
        return none
    statistic, p = _wilcoxon(difference)
    return PairedTest(WILCOXON, statistic, p, math.nan, difference.size)


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, other = np.asarray(first, np.float64).ravel(), np.asarray(second, np.float64).ravel()
    if one.size != other.size:
        raise InputError(f"{one.size} and {other.size} values are no pairs: give both for every case")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise InputError("a value is missing or not finite: leave that case out on both sides")
    return one, other


def _untestable(difference: NDArray[np.float64]) -> PairedTest | None:
    cases = difference.size
    if cases < FEWEST_CASES:
        return PairedTest(f"none: fewer than {FEWEST_CASES} cases", math.nan, math.nan, math.nan, cases)
    if not difference.any():
        return PairedTest("none: all differences are 0", math.nan, 1.0, math.nan, cases)
    return None


def _wilcoxon(difference: NDArray[np.float64]) -> tuple[float, float]:
    from scipy import stats

    sizes = np.abs(difference[difference != 0])
    plain = sizes.size == difference.size and np.unique(sizes).size == sizes.size
    method = "exact" if plain and sizes.size <= MOST_FOR_EXACT else "approx"
    found = stats.wilcoxon(difference, zero_method="wilcox", correction=False, method=method)
    return float(found.statistic), float(found.pvalue)


def mcnemar(first: ArrayLike, second: ArrayLike) -> DetectionTest:
    """Of (N,) booleans: was the lesion detected under the first and under the second condition.

    Raises:
        InputError: the lengths differ.
    """
    one, other = np.asarray(first, bool).ravel(), np.asarray(second, bool).ravel()
    if one.size != other.size:
        raise InputError(f"{one.size} and {other.size} readings are no pairs: give both for every lesion")
    both, only_one, only_other = (int(np.count_nonzero(where)) for where in (one & other, one & ~other, ~one & other))
    p = exact_mcnemar_p(only_one, only_other)
    return DetectionTest(both, only_one, only_other, one.size - both - only_one - only_other, p)


def exact_mcnemar_p(first_only: int, second_only: int) -> float:
    """Two-sided P that the discordant pairs split as unevenly as that, if either side were as likely; 1 for none."""
    pairs, fewer = first_only + second_only, min(first_only, second_only)
    return min(1.0, 2 * sum(math.comb(pairs, count) for count in range(fewer + 1)) / 2**pairs)

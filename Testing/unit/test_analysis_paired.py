"""Paired tests against scipy, statsmodels, textbook tables and enumeration."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.weightstats import DescrStatsW

from SyntheticContrastLib.analysis.paired import (
    T_TEST,
    WILCOXON,
    exact_mcnemar_p,
    mcnemar,
    paired_test,
    summarise,
)
from SyntheticContrastLib.ct.errors import InputError


def test_normal_differences_take_the_t_test():
    random = np.random.default_rng(0)
    one = random.normal(50, 10, 25)
    other = one - 4 + random.normal(0, 5, 25)
    found = paired_test(one, other)
    t, p, _ = DescrStatsW(one - other).ttest_mean(0)
    assert found.test == T_TEST and found.normality_p >= 0.05
    assert (found.statistic, found.p, found.cases) == (pytest.approx(t), pytest.approx(p), 25)


def signed_rank_p(difference):
    """Two-sided exact P by all signs of the ranks."""
    ranks = stats.rankdata(np.abs(difference))
    smaller = min(ranks[difference > 0].sum(), ranks[difference < 0].sum())
    sums = [
        sum(r for r, sign in zip(ranks, signs, strict=True) if sign)
        for signs in itertools.product((0, 1), repeat=len(ranks))
    ]
    return min(1.0, 2 * np.mean(np.array(sums) <= smaller)), smaller


def test_skewed_differences_take_wilcoxons_test():
    difference = np.array([0.2, 0.5, -0.3, 0.9, 1.1, -0.7, 40, 2.2, 90, 1.7, -0.1, 3.1])
    found = paired_test(difference + 7, np.full(12, 7.0))
    p, statistic = signed_rank_p(difference)
    assert found.test == WILCOXON and found.normality_p < 0.05
    assert (found.statistic, found.p) == (statistic, pytest.approx(p))


def test_ties_and_zeros_by_the_normal_distribution_with_its_tie_correction():
    difference = np.array([0, 0, 1, 1, 1, -1, 2, 2, 3, 50, 60, -2, 0, 80], float)
    found = paired_test(difference, np.zeros(14))
    kept = difference[difference != 0]
    ranks, n = stats.rankdata(np.abs(kept)), kept.size
    w = min(ranks[kept > 0].sum(), ranks[kept < 0].sum())
    _, ties = np.unique(np.abs(kept), return_counts=True)
    variance = n * (n + 1) * (2 * n + 1) / 24 - np.sum(ties**3 - ties) / 48
    z = (w - n * (n + 1) / 4) / math.sqrt(variance)
    assert found.test == WILCOXON
    assert (found.statistic, found.p) == (w, pytest.approx(2 * stats.norm.sf(abs(z))))


def test_shapiro_wilk_is_the_published_example():
    # Shapiro and Wilk 1965, weights of 11 men: W = 0.79, P < .01
    weights = np.array([148, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236], float)
    assert paired_test(weights, np.zeros(11)).normality_p == pytest.approx(0.0067, abs=0.0005)


def test_too_few_equal_and_constant():
    few = paired_test([1, 2], [2, 4])
    assert few.test.startswith("none: fewer than 3") and math.isnan(few.p) and few.cases == 2
    equal = paired_test([1, 2, 3], [1, 2, 3])
    assert equal.test == "none: all differences are 0" and equal.p == 1
    shifted = paired_test([1.1, 2.1, 3.1, 4.1], [1, 2, 3, 4])  # equal but for rounding: no t-test of SD 1e-16
    assert shifted.test == WILCOXON and math.isnan(shifted.normality_p)
    assert shifted.p == pytest.approx(signed_rank_p(np.ones(4))[0], abs=0.07)
    three = paired_test([1, 2, 4], [0, 0, 1])
    assert three.test == T_TEST


@pytest.mark.parametrize(
    ("one", "other", "p"), [(5, 0, 0.0625), (19, 4, 0.0026), (0, 0, 1.0), (3, 3, 1.0), (1, 0, 1.0)]
)
def test_exact_mcnemar(one, other, p):
    assert exact_mcnemar_p(one, other) == pytest.approx(p, abs=5e-5)
    assert exact_mcnemar_p(other, one) == exact_mcnemar_p(one, other)
    if one + other:
        oracle = statsmodels_mcnemar([[7, one], [other, 3]], exact=True)
        assert exact_mcnemar_p(one, other) == pytest.approx(oracle.pvalue)


def test_detection_rates_of_the_paper():
    """Choi 2021: 42 and 27 of 55 nodes, P = .003; 19 and 4 discordant is the split that gives it."""
    with_scect = [True] * 23 + [True] * 19 + [False] * 4 + [False] * 9
    without = [True] * 23 + [False] * 19 + [True] * 4 + [False] * 9
    found = mcnemar(with_scect, without)
    assert (found.both, found.first_only, found.second_only, found.neither) == (23, 19, 4, 9)
    assert sum(with_scect) == 42 and sum(without) == 27
    assert round(found.p, 4) == 0.0026


def test_summary_by_hand():
    found = summarise([1, 2, 3, 4, 10])
    assert (found.median, found.lower_quartile, found.upper_quartile) == (3, 2, 4)
    assert (found.mean, found.sd) == (4, pytest.approx(math.sqrt(50 / 4)))
    assert math.isnan(summarise([3]).sd)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: paired_test([1, 2, 3], [1, 2]), "no pairs"),
        (lambda: paired_test([1, 2, math.nan], [1, 2, 3]), "missing"),
        (lambda: mcnemar([True], [True, False]), "no pairs"),
        (lambda: summarise([]), "no value"),
        (lambda: summarise([1, math.inf]), "not finite"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InputError, match=says):
        call()

"""Agreement: published tables, statsmodels and formulas."""

import math

import numpy as np
import pytest
from scipy import stats

from SyntheticContrastLib.analysis.agreement import bland_altman, intraclass_correlation, pearson
from SyntheticContrastLib.ct.errors import InputError

# Shrout and Fleiss 1979, table 2: 6 targets x 4 judges; their table 4 gives ICC(2,1) = .29 and ICC(3,1) = .71.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_icc_is_that_of_shrout_and_fleiss():
    found = intraclass_correlation(*SHROUT_FLEISS.T)
    assert round(found.absolute, 2) == 0.29
    assert round(found.consistency, 2) == 0.71
    assert (found.cases, found.observers) == (6, 4)


def test_icc_is_statsmodels_anova():
    import pandas
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    random = np.random.default_rng(0)
    ratings = random.normal(100, 20, (15, 1)) + random.normal(0, 6, (15, 3)) + [0, 5, -3]
    n, k = ratings.shape
    frame = pandas.DataFrame(
        {"v": ratings.ravel(), "case": np.repeat(np.arange(n), k), "observer": np.tile(np.arange(k), n)}
    )
    table = anova_lm(ols("v ~ C(case) + C(observer)", frame).fit())
    case, observer, error = table["sum_sq"] / table["df"]
    found = intraclass_correlation(*ratings.T)
    assert found.absolute == pytest.approx((case - error) / (case + (k - 1) * error + k * (observer - error) / n))
    assert found.consistency == pytest.approx((case - error) / (case + (k - 1) * error))


def test_icc_by_hand_of_an_observer_who_adds_10():
    one = [10.0, 20, 30]
    found = intraclass_correlation(one, [value + 10 for value in one])
    # MS cases 200, MS observers 150, MS error 0
    assert found.consistency == pytest.approx(1)
    assert found.absolute == pytest.approx(200 / (200 + 2 * 150 / 3))


def test_icc_of_equal_ratings():
    assert intraclass_correlation([1, 2, 4], [1, 2, 4]).absolute == pytest.approx(1)
    assert math.isnan(intraclass_correlation([3, 3], [3, 3]).absolute)


def test_pearson():
    random = np.random.default_rng(1)
    one = random.normal(0, 1, 20)
    other = one + random.normal(0, 0.7, 20)
    found = pearson(one, other)
    rho = np.corrcoef(one, other)[0, 1]
    t = rho * math.sqrt(18 / (1 - rho**2))
    assert found.rho == pytest.approx(rho)
    assert found.p == pytest.approx(2 * stats.t.sf(t, 18))
    assert pearson([1, 2, 3], [2, 4, 6]).rho == pytest.approx(1)
    constant = pearson([1, 2, 3], [5, 5, 5])
    assert math.isnan(constant.rho) and math.isnan(constant.p)


def test_bland_altman_by_hand():
    found = bland_altman([12, 14, 16], [10, 14, 12])  # differences 2, 0, 4
    assert (found.bias, found.sd) == (pytest.approx(2), pytest.approx(2))
    assert (found.lower, found.upper) == (pytest.approx(2 - 3.92), pytest.approx(2 + 3.92))


def test_bland_altman_is_statsmodels_mean_difference_plot():
    import matplotlib.pyplot as plt
    from statsmodels.graphics.agreement import mean_diff_plot

    random = np.random.default_rng(2)
    one, other = random.normal(0, 1, 12), random.normal(0.3, 1, 12)
    figure = mean_diff_plot(one, other)  # draws with the population SD
    heights = sorted(float(line.get_ydata()[0]) for line in figure.axes[0].lines if len(line.get_ydata()) == 2)
    plt.close(figure)
    found = bland_altman(one, other)
    assert found.bias == pytest.approx(heights[len(heights) // 2])
    assert found.upper - found.bias == pytest.approx((heights[-1] - found.bias) * math.sqrt(12 / 11))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: pearson([1, 2], [1, 2]), "2 cases are too few"),
        (lambda: pearson([1, 2, 3], [1, 2]), "cannot be compared"),
        (lambda: bland_altman([1, math.nan], [1, 2]), "missing"),
        (lambda: bland_altman([1], [1]), "1 cases are too few"),
        (lambda: intraclass_correlation([1, 2]), "two observers"),
        (lambda: intraclass_correlation([1, 2], [1, math.inf]), "missing"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InputError, match=says):
        call()

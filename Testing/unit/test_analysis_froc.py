"""FROC on tables worked by hand; the analysis of variance on the published one and on statsmodels."""

import math

import numpy as np
import pytest

from SyntheticContrastLib.analysis.froc import UNMARKED, CaseReading, figure_of_merit, froc_curve
from SyntheticContrastLib.analysis.random_reader import difference, f_test, random_reader_analysis
from SyntheticContrastLib.ct.errors import InputError

# Two normal cases, highest false marks 2 and none; an abnormal one with lesions 3 and unmarked and a false mark of 4;
# an abnormal one with a lesion of 2 and no false mark.
CASES = [
    CaseReading(false_marks=(1, 2)),
    CaseReading(),
    CaseReading(lesions=(3, UNMARKED), false_marks=(4,)),
    CaseReading(lesions=(2,)),
]


def test_curve_by_hand():
    curve = froc_curve(CASES)
    assert curve.thresholds.tolist() == [math.inf, 4, 3, 2, 1]
    assert curve.false_per_case.tolist() == [0, 0.25, 0.25, 0.5, 0.75]
    assert curve.lesions_found == pytest.approx([0, 0, 1 / 3, 2 / 3, 2 / 3])


def test_figures_of_merit_by_hand():
    # psi against the normal cases' 2 and -inf: lesion 3: 1, 1; unmarked: 0, 1/2; lesion 2: 1/2, 1
    assert figure_of_merit(CASES, "AFROC") == pytest.approx((1 + 1 + 0 + 0.5 + 0.5 + 1) / 6)
    # lesions of the third case weigh a half each, of two abnormal cases
    assert figure_of_merit(CASES, "wAFROC") == pytest.approx(((1 + 1) / 4 + (0 + 0.5) / 4 + (0.5 + 1) / 2) / 2)
    # and against 4 and -inf of the abnormal cases: lesion 3: 0, 1; unmarked: 0, 1/2; lesion 2: 0, 1
    assert figure_of_merit(CASES, "AFROC1") == pytest.approx((3 + 1 + 2.5) / 12)
    assert figure_of_merit(CASES, "wAFROC1") == pytest.approx((3 / 2 + 1 / 2 + 2.5) / 8)


def test_given_weights():
    weighted = [*CASES[:2], CaseReading((3, UNMARKED), (4,), (0.9, 0.1)), CASES[3]]
    assert figure_of_merit(weighted, "wAFROC") == pytest.approx((0.9 * 2 + 0.1 * 0.5 + 1.5) / 4)
    assert figure_of_merit(weighted, "AFROC") == figure_of_merit(CASES, "AFROC")


def test_one_lesion_a_case_makes_both_equal_and_is_the_area_under_a_roc_curve():
    from scipy.stats import mannwhitneyu

    random = np.random.default_rng(0)
    false, lesions = random.integers(0, 5, 30).astype(float), random.integers(1, 6, 20).astype(float)
    cases = [CaseReading(false_marks=(r,)) for r in false] + [CaseReading(lesions=(r,)) for r in lesions]
    area = mannwhitneyu(lesions, false).statistic / (30 * 20)
    assert figure_of_merit(cases, "AFROC") == pytest.approx(area)
    assert figure_of_merit(cases, "wAFROC") == pytest.approx(area)


def test_perfect_blind_and_misled_readers():
    normal = CaseReading()
    assert figure_of_merit([normal, CaseReading((1,))], "AFROC") == 1
    assert figure_of_merit([normal, CaseReading((UNMARKED,))], "AFROC") == 0.5
    assert figure_of_merit([CaseReading(false_marks=(1,)), CaseReading((UNMARKED,))], "AFROC") == 0


def test_every_case_with_a_lesion_leaves_the_1_variants():
    for kind in ("AFROC", "wAFROC"):
        with pytest.raises(InputError, match=f"use {kind}1"):
            figure_of_merit(CASES[2:], kind)
    # false 4 and -inf; lesion 3: 0, 1; unmarked: 0, 1/2; lesion 2: 0, 1
    assert figure_of_merit(CASES[2:], "AFROC1") == pytest.approx(2.5 / 6)
    assert figure_of_merit(CASES[2:], "wAFROC1") == pytest.approx((0.75 + 1) / 4)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: froc_curve(CASES[:2]), "needs lesions"),
        (lambda: froc_curve([]), "needs lesions"),
        (lambda: figure_of_merit(CASES[:2]), "needs lesions"),
        (lambda: CaseReading((math.nan,)), "rating of a lesion"),
        (lambda: CaseReading((1,), (UNMARKED,)), "false mark"),
        (lambda: CaseReading((1, 2), (), (0.5, 0.4)), "sum is 1"),
        (lambda: CaseReading((1, 2), (), (1.0,)), "one for each lesion"),
        (lambda: random_reader_analysis([[0.5, 0.6]]), "two modalities"),
        (lambda: random_reader_analysis([[0.5, 0.6], [0.5, math.nan]]), "missing"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_the_published_analysis_from_its_mean_squares():
    """RJafroc, dataset04: 5 modalities x 4 readers; the ratings are not here."""
    f, degrees, p = f_test(0.00231654, 0.00016960, 5, 4)
    assert f == pytest.approx(13.658572, rel=1e-4)
    assert degrees == (4, 12)
    assert p == pytest.approx(0.000202, abs=1e-6)
    found = difference(0.054879, 0.00016960, 5, 4)
    assert (found.lower, found.upper) == (pytest.approx(0.034815, abs=2e-6), pytest.approx(0.074943, abs=2e-6))


# Modality 1 as published; the others are made up.
TABLE = np.array(
    [
        [0.77926667, 0.72489167, 0.703625, 0.80509167],
        [0.78, 0.73, 0.72, 0.82],
        [0.73, 0.71, 0.70, 0.75],
    ]
)


def test_the_analysis_is_statsmodels_repeated_measures():
    import pandas
    from statsmodels.stats.anova import AnovaRM

    rows = [(m, r, TABLE[m, r]) for m in range(3) for r in range(4)]
    frame = pandas.DataFrame(rows, columns=["modality", "reader", "fom"])
    wanted = AnovaRM(frame, "fom", "reader", within=["modality"]).fit().anova_table.iloc[0]
    found = random_reader_analysis(TABLE)
    assert found.f == pytest.approx(wanted["F Value"])
    assert found.p == pytest.approx(wanted["Pr > F"])
    assert found.degrees == (wanted["Num DF"], wanted["Den DF"])
    assert found.means[0] == pytest.approx(0.75321875)
    assert [(d.first, d.second) for d in found.differences] == [(0, 1), (0, 2), (1, 2)]


def test_two_modalities_are_a_paired_t_test():
    from scipy import stats

    found = random_reader_analysis(TABLE[:2])
    t = stats.ttest_rel(TABLE[0], TABLE[1])
    interval = t.confidence_interval(0.95)
    assert found.f == pytest.approx(t.statistic**2)
    assert found.p == pytest.approx(t.pvalue) == found.differences[0].p
    assert found.differences[0].standard_error == pytest.approx(np.std(TABLE[0] - TABLE[1], ddof=1) / 2)
    assert (found.differences[0].lower, found.differences[0].upper) == pytest.approx(tuple(interval))


def test_readers_without_any_scatter():
    same = random_reader_analysis([[0.5, 0.75], [0.5, 0.75]])
    assert math.isnan(same.f) and same.p == 1 and same.differences[0].p == 1
    apart = random_reader_analysis([[0.5, 0.75], [0.25, 0.5]])
    assert apart.f == math.inf and apart.p == 0

"""The reader study: the table and what is refused; detection, conspicuity and figures of merit worked by hand."""

import csv
import io

import numpy as np
import pytest
from scipy import stats

from SyntheticContrastLib.analysis.froc import UNMARKED, CaseReading
from SyntheticContrastLib.analysis.reader_study import figures_of_merit, reader_comparisons, reader_results
from SyntheticContrastLib.analysis.readings import read_readings
from SyntheticContrastLib.ct.errors import InputError

CASES = [f"c{number}" for number in range(12)]


def write(folder, text):
    path = folder / "readings.csv"
    path.write_text(text, encoding="utf-8")
    return path


SMALL = """reader,modality,case_id,position,conspicuity,lesion
R1,NCCT,c0,1 -2 3.5,3,4R
R1,NCCT,c0,,1,4R
R1,NCCT,c0,9 9 9,2,
R1,NCCT,c1,,,
R1,CECT,c0,,4,4R
R1,CECT,c0,,2,7
R1,CECT,c1,0 0 0,1,
"""


def test_the_table(tmp_path):
    found = read_readings(write(tmp_path, SMALL), CASES)
    assert (found.readers, found.modalities) == (("R1",), ("NCCT", "CECT"))
    assert found.lesions == {"c0": ("4R", "7"), "c1": ()}
    assert found.conspicuity("R1", "NCCT").tolist() == [3, 0]  # the higher of two marks; 7 was missed
    assert found.case_readings("R1", "NCCT") == [CaseReading((3.0, UNMARKED), (2.0,)), CaseReading()]
    assert found.case_readings("R1", "CECT") == [CaseReading((4.0, 2.0)), CaseReading((), (1.0,))]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("conspicuity", "rating", "no column conspicuity"),
        (",3,4R", ",5,4R", "conspicuity '5' is not 0 to 4"),
        (",3,4R", ",2.5,4R", "is not 0 to 4"),
        ("c1", "c99", "case_id 'c99' is not in the cases.csv"),
        ("1 -2 3.5", "1 -2", "is not x y z in mm"),
        ("R1,NCCT,c0,,1", ",NCCT,c0,,1", "line 3: the reader or the modality is empty"),
        ("R1,CECT,c1", "R2,CECT,c1", "reader R2 has no row for NCCT"),
        (",4R", ",", "names no lesion"),
    ],
)
def test_refused(tmp_path, old, new, says):
    text = SMALL.replace(",7\n", ",\n") if says == "names no lesion" else SMALL
    with pytest.raises(InputError, match=says):
        read_readings(write(tmp_path, text.replace(old, new)), CASES)


def choi_like(folder, cases=CASES):
    """55 nodes in 12 cases as in test set 2 of Choi 2021: reader 1 finds 27 and 42 of them, reader 2 16 and 21.

    Discordant pairs and totals are the paper's; conspicuity and false marks are made up.
    """
    random = np.random.default_rng(0)
    nodes = [(cases[index % 12], f"n{index}") for index in range(55)]
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(["reader", "modality", "case_id", "position", "conspicuity", "lesion"])
    for reader, both, only_ncct, only_scect in (("1", 23, 4, 19), ("2", 16, 0, 5)):
        seen = {"NCCT": set(range(both + only_ncct))}
        seen["NCCT + sCECT"] = {*range(both), *range(both + only_ncct, both + only_ncct + only_scect)}
        seen["CECT"] = set(range(50))
        for gain, (modality, found) in enumerate(seen.items()):
            for index, (case, node) in enumerate(nodes):
                grade = min(4, int(random.integers(1, 3)) + gain) if index in found else 0
                rows.writerow([reader, modality, case, "", grade, node])
            for case in cases[: 6 - 2 * gain]:
                rows.writerow([reader, modality, case, "", 1, ""])
    return write(folder, file.getvalue())


def test_detection_is_that_of_choi(tmp_path):
    found = read_readings(choi_like(tmp_path), CASES)
    rates = {(row.reader, row.modality): f"{row.detected / row.lesions:.0%}" for row in reader_results(found)}
    assert (rates["1", "NCCT"], rates["1", "NCCT + sCECT"]) == ("49%", "76%")
    assert (rates["2", "NCCT"], rates["2", "NCCT + sCECT"]) == ("29%", "38%")
    tests = {(row.reader, row.first, row.second): row for row in reader_comparisons(found)}
    assert tests["1", "NCCT", "NCCT + sCECT"].detection.p == pytest.approx(0.0026, abs=5e-5)
    assert tests["2", "NCCT", "NCCT + sCECT"].detection.p == 0.0625


def test_conspicuity_is_wilcoxons(tmp_path):
    found = read_readings(choi_like(tmp_path), CASES)
    for row in reader_comparisons(found):
        one, other = (found.conspicuity(row.reader, modality) for modality in (row.first, row.second))
        wanted = stats.wilcoxon(one, other, zero_method="wilcox", correction=False, method="approx")
        assert row.conspicuity.p == pytest.approx(wanted.pvalue)
        assert row.conspicuity.statistic == pytest.approx(wanted.statistic)
        assert np.isnan(row.conspicuity.normality_p)
    for row in reader_results(found):
        assert sum(row.counts) == row.lesions == 55 and row.counts[0] == 55 - row.detected


def test_figures_of_merit_by_hand_and_their_analysis(tmp_path):
    text = SMALL + SMALL.split("\n", 1)[1].replace("R1", "R2").replace("R2,NCCT,c0,1 -2 3.5,3", "R2,NCCT,c0,,1")
    tables = {table.kind: table for table in figures_of_merit(read_readings(write(tmp_path, text), CASES))}
    assert list(tables) == ["AFROC", "wAFROC", "AFROC1", "wAFROC1"]
    # AFROC: the normal case c1 has no false mark for NCCT: psi = 1 for a rated lesion, 1/2 for the missed one;
    # for CECT it has one of 1: below 4 and below 2
    assert tables["AFROC"].figures == ((0.75, 0.75), (1, 1))
    # AFROC1 of NCCT also against the 2 of c0: lesion 3 (reader 2: 1) and the missed one
    assert tables["AFROC1"].figures[0] == pytest.approx(((1 + 0.5 + 1 + 0) / 4, (1 + 0.5 + 0 + 0) / 4))
    analysis = tables["AFROC1"].analysis
    wanted = stats.ttest_rel(*tables["AFROC1"].figures)  # two modalities: F is the square of the paired t
    assert analysis.f == pytest.approx(wanted.statistic**2)
    assert analysis.p == pytest.approx(wanted.pvalue)
    alone = figures_of_merit(read_readings(write(tmp_path, SMALL), CASES))
    assert all(table.analysis is None for table in alone)


def test_without_normal_cases_there_are_only_the_variants_over_all(tmp_path):
    tables = figures_of_merit(read_readings(choi_like(tmp_path), CASES))
    assert [table.kind for table in tables] == ["AFROC1", "wAFROC1"]
    for table in tables:
        means = np.mean(table.figures, axis=1)
        assert means[0] < means[1] < means[2]

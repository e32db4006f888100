"""How the pairs of HCC-TACE-Seg are chosen from the index, on made-up series in the words of that collection."""

import csv
import dataclasses
import shutil
import sys
from types import SimpleNamespace

import pytest

import make_public_pairs
from make_public_pairs import COLLECTION, LIST, in_order, make_rows
from SyntheticContrastTrainingLib.public_pairs import read_pairs

PRE = ("Recon 2: PRE LIVER", 77)
EARLY, LATE = ("Recon 2: LIVER 2 PHASE (C/A/P)", 79), ("Recon 3: LIVER 2 PHASE (C/A/P)", 79)
OTHER = ("LIVER 3 PHASE (AP)", 79)


def series(description, slices, patient="HCC_001", date="2001-01-01", **fields):
    record = {
        "collection_id": COLLECTION,
        "analysis_result_id": None,
        "PatientID": patient,
        "StudyInstanceUID": f"1.{patient[4:]}.{date[:4]}",
        "StudyDate": date,
        "Modality": "CT",
        "SeriesInstanceUID": f"1.{patient[4:]}.{date[:4]}.{description}",
        "SeriesDescription": description,
        "instanceCount": slices,
        "series_size_MB": slices / 2,
        "license_short_name": "CC BY 4.0",
        "source_DOI": "10.7937/tcia.5fna-0924",
    }
    return {**record, **fields}


def study(*described, patient="HCC_001", date="2001-01-01"):
    return [series(description, slices, patient, date) for description, slices in described]


def chosen(index):
    return {row["case_id"].removeprefix("hcc_tace_seg_"): row["post_description"] for row in make_rows(index)}


@pytest.mark.parametrize(
    ("after_contrast", "first", "second"),
    [
        ((LATE, EARLY), EARLY, LATE),
        ((EARLY, OTHER), EARLY, OTHER),  # an unnumbered series takes the place that is free
        ((LATE, OTHER), OTHER, LATE),
        ((("VENOUS", 118), ("ARTERIAL", 113)), ("ARTERIAL", 113), ("VENOUS", 118)),
    ],
)
def test_a_study_is_a_pair_with_the_first_and_one_with_the_second_series_after_contrast(after_contrast, first, second):
    assert chosen(study(PRE, *after_contrast)) == {"HCC_001_1": first[0], "HCC_001_2": second[0]}


@pytest.mark.parametrize(
    "described",
    [
        (EARLY, LATE),
        (PRE, ("PRE LIVER", 39), EARLY, LATE),
        (PRE, EARLY),  # likely both phases in one series
        (PRE, (EARLY[0], 150), LATE),
        ((PRE[0], 131), EARLY, LATE),
        (PRE, OTHER, ("3 PHASE LIVER (ABD)", 115)),  # which is first?
        (PRE, EARLY, OTHER, LATE),
        (PRE, (None, 79), (None, 79)),
        (("2.5 STANDARD", 95), ("2.5 STANDARD", 212)),
    ],
)
def test_a_study_that_does_not_tell_its_phases_is_left_out(described):
    assert chosen(study(*described)) == {}


def test_a_second_series_of_several_phases_is_left_out_and_keeps_its_number():
    index = study(PRE, EARLY, (LATE[0], 185)) + study(PRE, EARLY, LATE, date="2002-01-01")
    assert list(chosen(index)) == ["HCC_001_1", "HCC_001_3", "HCC_001_4"]


def test_studies_are_numbered_by_date_and_series_of_two_studies_make_no_pair():
    index = study(EARLY, LATE, date="2000-01-01") + study(PRE, date="2000-02-01")
    index += study(PRE, ("Recon 2: LIVER 2PHASE CAP", 90), LATE, date="2002-01-01") + study(PRE, EARLY, LATE)
    assert chosen(index) == {
        "HCC_001_1": EARLY[0],
        "HCC_001_2": LATE[0],
        "HCC_001_3": "Recon 2: LIVER 2PHASE CAP",
        "HCC_001_4": LATE[0],
    }


@pytest.mark.parametrize(
    "fields", [{"Modality": "SEG"}, {"analysis_result_id": "made_by_others"}, {"collection_id": "tcga_lihc"}]
)
def test_only_the_scans_of_the_collection_count(fields):
    assert chosen([*study(PRE, EARLY), series(*LATE, **fields)]) == {}


def test_a_row_says_what_the_index_says():
    row = make_rows(study(PRE, EARLY, LATE))[0]
    assert (row["pre_slices"], row["pre_bytes"], row["post_bytes"]) == ("77", "38500000", "39500000")
    assert (row["licence"], row["doi"], row["likely_chest"]) == ("CC BY 4.0", "10.7937/tcia.5fna-0924", "no")
    assert (row["pre_uid"], row["post_uid"]) == tuple(f"1.001.2001.{name}" for name, _ in (PRE, EARLY))


def test_first_phases_of_all_patients_come_first_and_small_pairs_before_large_ones():
    index = study(PRE, EARLY, LATE) + study(PRE, (EARLY[0], 70), (LATE[0], 60), date="2002-01-01")
    index += study(PRE, (EARLY[0], 90), LATE, patient="HCC_002")
    made = [row["case_id"].removeprefix("hcc_tace_seg_") for row in in_order(make_rows(index))]
    assert made == ["HCC_001_3", "HCC_002_1", "HCC_001_1", "HCC_002_2", "HCC_001_4", "HCC_001_2"]


def test_the_list_that_ships_is_in_order():
    with LIST.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert in_order(reversed(rows)) == rows


def test_the_list_that_ships_has_one_study_a_pair_of_numbers():
    pairs = [pair for pair in read_pairs() if pair.collection == COLLECTION]
    by_id = {pair.case_id: pair for pair in pairs}
    assert (len(pairs), len({pair.patient for pair in pairs})) == (292, 85)
    for pair in pairs:
        number = int(pair.case_id.rsplit("_", 1)[1])
        assert pair.pre.slices <= 130 and pair.post.slices <= 130 and not pair.likely_chest
        if number % 2 == 0:
            first = by_id[f"{pair.collection}_{pair.patient}_{number - 1}"]
            assert dataclasses.astuple(first.pre) == dataclasses.astuple(pair.pre) and first.post.uid != pair.post.uid


def test_the_rows_of_other_collections_stay(monkeypatch, tmp_path, capsys):
    index = SimpleNamespace(to_pylist=lambda: study(PRE, EARLY, LATE))
    parquet = SimpleNamespace(read_table=lambda path, columns, filters: index)
    monkeypatch.setitem(sys.modules, "idc_index_data", SimpleNamespace(IDC_INDEX_PARQUET_FILEPATH="index"))
    monkeypatch.setitem(sys.modules, "pyarrow", SimpleNamespace(parquet=parquet))
    monkeypatch.setattr(make_public_pairs, "LIST", tmp_path / "list.csv")
    shutil.copy(LIST, tmp_path / "list.csv")
    make_public_pairs.main()
    assert capsys.readouterr().out == "2 pairs of 1 patients of hcc_tace_seg, 117 of other collections\n"
    made, shipped = read_pairs(tmp_path / "list.csv"), read_pairs()
    assert [pair for pair in made if pair.collection != COLLECTION] == [
        pair for pair in shipped if pair.collection != COLLECTION
    ]
    assert [pair.case_id for pair in made if pair.collection == COLLECTION] == [
        "hcc_tace_seg_HCC_001_1",
        "hcc_tace_seg_HCC_001_2",
    ]


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "idc_index_data", None)
    with pytest.raises(SystemExit, match="idc_index_data is missing: python -m pip install"):
        make_public_pairs.main()

"""cases.csv: what is read, and what is refused with a line that helps."""

import pytest

from SyntheticContrastLib.ct.cases import Case, read_cases
from SyntheticContrastLib.ct.errors import InputError


def write(folder, text):
    path = folder / "cases.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_table_and_empty_cells_are_none(tmp_path):
    table = write(
        tmp_path,
        "case_id,ncct,cect,scect,heart_mask,chambers,first_slice,last_slice\n"
        "a,scans/a.nrrd,/data/a cect.nrrd,,,,3,20\n"
        "\n"
        "b,,b.nrrd,,,,,\n",
    )
    first, second = read_cases(table)
    assert first == Case(
        "a", ncct=tmp_path / "scans/a.nrrd", cect=type(tmp_path)("/data/a cect.nrrd"), first_slice=3, last_slice=20
    )
    assert second == Case("b", cect=tmp_path / "b.nrrd")


def test_a_spreadsheet_export_with_bom_and_few_columns(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_bytes("case_id, cect\r\n x-1 , c.nrrd\r\n".encode("utf-8-sig"))
    assert read_cases(path) == [Case("x-1", cect=tmp_path / "c.nrrd")]


def test_columns_of_a_studys_own_are_kept_as_text(tmp_path):
    table = write(tmp_path, "vendor,case_id,ncct,lesions,dose\nSiemens,a,n.nrrd,n.mrk.json,\n")
    [case] = read_cases(table)
    study = {"vendor": "Siemens", "dose": ""}
    assert case == Case("a", ncct=tmp_path / "n.nrrd", lesions=tmp_path / "n.mrk.json", study=study)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column case_id"),
        ("ncct,cect\na.nrrd,b.nrrd\n", "no column case_id"),
        ("case_id,cect\n", "lists no case"),
        ("case_id,cect\na,x.nrrd\nA,y.nrrd\n", "given twice"),
        ("case_id,cect\n../a,x.nrrd\n", "is not made of"),
        ("case_id,cect\n,x.nrrd\n", "is not made of"),
        ("case_id,cect\na,x.nrrd,more\n", "line 2 has more cells"),
        ("case_id,first_slice\na,-1\n", "is not a slice number"),
        ("case_id,first_slice,last_slice\na,9,3\n", "comes after"),
        (f"case_id,cect\n{'x' * 151},x.nrrd\n", "is too long"),
        ("case_id,first_slice\na,\u0663\n", "is not a slice number"),
    ],
)
def test_refused(tmp_path, text, says):
    with pytest.raises(InputError, match=says) as caught:
        read_cases(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_cases(tmp_path / "none.csv")


def test_names_of_columns_are_matched_without_case_and_blanks(tmp_path):
    table = write(
        tmp_path,
        "\ufeffCase ID, NCCT ,Cect\u00a0,\u00a0Heart Mask,chambers\u200b,First-Slice,Patient_ID,Vendor \n"
        "a,n.nrrd,c.nrrd,h.nrrd,l.nrrd\u00a0,3,P1,GE\n",
    )
    [case] = read_cases(table)
    paths = {name: tmp_path / f"{name[0]}.nrrd" for name in ("ncct", "cect", "heart_mask")}
    chambers = tmp_path / "l.nrrd"
    assert case == Case("a", **paths, chambers=chambers, first_slice=3, patient="P1", study={"Vendor": "GE"})


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("case_id,chamber", "column 'chamber' of cases.csv is nearly chambers"),
        ("case_id,hart_mask", "nearly heart_mask"),
        ("case_id,patients", "nearly patient"),
        ("case_id,ncct1", "nearly ncct"),
        ("case_id,splits", "nearly split"),
        ("case_id,ncct,NCCT", "two columns 'ncct'"),
        ("case_id,vendor,Vendor", "two columns 'Vendor'"),
        ("case_id;ncct;cect", "parted by ';': save it with commas"),
        ("case_id\tncct", r"parted by '\\t'"),
    ],
)
def test_a_column_that_may_be_meant_is_never_passed_over(tmp_path, header, says):
    with pytest.raises(InputError, match=says):
        read_cases(write(tmp_path, f"{header}\na,b,c\n"))


@pytest.mark.parametrize("column", ["vendor", "site", "slice_thickness", "kernel", "sex", "age", "dose", "contrast"])
def test_columns_of_the_field_are_no_near_misses(tmp_path, column):
    [case] = read_cases(write(tmp_path, f"case_id,{column}\na,x\n"))
    assert case.study == {column: "x"}


def test_empty_columns_at_the_end_are_passed_over_but_not_with_cells(tmp_path):
    assert read_cases(write(tmp_path, "case_id,ncct,,\na,n.nrrd,,\n"))[0].study == {}
    with pytest.raises(InputError, match="line 2 has a cell in a column without a name"):
        read_cases(write(tmp_path, "case_id,ncct,,\na,n.nrrd,x,\n"))


SECRET = "Doe_Jane"


@pytest.mark.parametrize(
    "text",
    [
        f"case_id,ncct\n/data/{SECRET}/ncct,n.nrrd\n",
        f"case_id,first_slice\na,{SECRET}.nii.gz\n",
        f"case_id,split\na,C:\\{SECRET}\\x\n",
        f"case_id,chambers_label\na,{SECRET}/1.nrrd\n",
        f"case_id,{SECRET}/chambers.nrrd,{SECRET}/chambers.nrrd\na,b,c\n",
    ],
)
def test_a_cell_that_is_a_path_is_never_shown(tmp_path, text):
    with pytest.raises(InputError) as caught:
        read_cases(write(tmp_path, text))
    assert SECRET not in str(caught.value) and "(a path)" in str(caught.value)


def test_a_path_in_a_column_of_the_studys_own_goes_no_further(tmp_path):
    (tmp_path / SECRET).mkdir()
    table = write(tmp_path, f"case_id,mask,folder,dose,note\na,{SECRET}/m.nrrd,{SECRET},100,n/a\n")
    [case] = read_cases(table)
    assert case.study == {"mask": "(a path)", "folder": "(a path)", "dose": "100", "note": "n/a"}


def test_patients_and_labels(tmp_path):
    table = write(
        tmp_path,
        "case_id,patient,split,heart_mask,heart_label,chambers_label\na,P 1,Training,h.nrrd,3,1+2\nb,,,,,\n",
    )
    first, second = read_cases(table)
    assert (first.patient, first.split, first.labels) == ("P 1", "training", {"heart_mask": (3,), "chambers": (1, 2)})
    assert (second.patient, second.split, second.labels) == (None, None, {})
    for label in ("0", "-1", "1.5", "heart", "1,2"):
        with pytest.raises(InputError, match="is no label of a mask"):
            read_cases(write(tmp_path, f'case_id,heart_label\na,"{label}"\n'))

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
    ],
)
def test_refused(tmp_path, text, says):
    with pytest.raises(InputError, match=says) as caught:
        read_cases(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_cases(tmp_path / "none.csv")

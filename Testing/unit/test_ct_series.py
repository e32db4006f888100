"""Which series of a folder is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.read import read_ct
from unit.ct_factory import (
    DICOMDIR,
    MR,
    REPORT,
    SECONDARY_CAPTURE,
    chest_values,
    ct_slices,
    other_object,
    save,
    save_all,
)


def a_study(folder: Path) -> Path:
    """An axial CT among everything else that an export holds."""

    def scout(ds: Dataset, k: int) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    save_all(folder / "ST0" / "SE1", ct_slices(series_uid="1.2.3.4"))
    save_all(folder / "ST0" / "SE0", ct_slices(chest_values((2, 40, 40))), scout)
    save(folder / "ST0" / "SE2" / "capture", other_object(SECONDARY_CAPTURE, "CT"))
    save(folder / "ST0" / "report.dcm", other_object(REPORT, "SR"))
    for k in range(3):
        save(folder / "ST1" / f"{k}.dcm", other_object(MR, "MR"))
    save(folder / "DICOMDIR", other_object(DICOMDIR, ""))
    (folder / ".DS_Store").write_bytes(b"\0" * 500)
    (folder / "ST0" / "readme.txt").write_text("exported")
    (folder / "empty").touch()
    return folder


def synthetic(ds: Dataset, k: int) -> None:
    ds.ImageType, ds.SeriesDescription = ["DERIVED", "SECONDARY", "AXIAL"], "Chest, synthetic contrast"


def test_the_ct_is_found_among_all_else(tmp_path: Path) -> None:
    volume = read_ct(a_study(tmp_path))
    assert volume.hu.shape == (5, 10, 12)
    assert volume.source is not None
    assert volume.source.series_uid == "1.2.3.4"


def test_slices_are_listed_in_k_order(tmp_path: Path) -> None:
    slices = ct_slices()
    for name, k in enumerate((3, 0, 4, 2, 1)):
        save(tmp_path / f"{name}.dcm", slices[k])
    source = read_ct(tmp_path).source
    assert source is not None
    assert [path.name for path in source.files] == ["1.dcm", "4.dcm", "3.dcm", "0.dcm", "2.dcm"]
    assert list(source.sop_instance_uids) == [ds.SOPInstanceUID for ds in slices]


@pytest.mark.parametrize(("uid", "count"), [("1.2.3.4", 5), ("1.2.3.5", 7)])
def test_a_named_series_is_taken(uid: str, count: int, tmp_path: Path) -> None:
    a_study(tmp_path)
    save_all(tmp_path / "second", ct_slices(chest_values((7, 10, 12)), series_uid="1.2.3.5"))
    assert read_ct(tmp_path, ["9.9.9", uid]).hu.shape[0] == count


def test_names_of_other_folders_do_no_harm_to_a_sole_series(tmp_path: Path) -> None:
    assert read_ct(a_study(tmp_path), ["9.9.9"]).hu.shape == (5, 10, 12)


def test_a_synthetic_series_is_no_input_unless_named_or_allowed(tmp_path: Path) -> None:
    save_all(tmp_path / "scan", ct_slices(series_uid="1.2.3.4"))
    save_all(tmp_path / "made", ct_slices(chest_values((6, 10, 12)), series_uid="1.2.3.5"), synthetic)
    assert read_ct(tmp_path).hu.shape[0] == 5
    assert read_ct(tmp_path, ["1.2.3.5"]).hu.shape[0] == 6
    assert read_ct(tmp_path / "made", allow_synthetic=True).hu.shape[0] == 6
    with pytest.raises(InputError, match="2 CT series"):
        read_ct(tmp_path, allow_synthetic=True)


def test_a_derived_series_that_is_not_synthetic_is_an_input(tmp_path: Path) -> None:
    """Thick reformats and averaged slices are DERIVED too."""

    def derived(ds: Dataset, k: int) -> None:
        ds.ImageType, ds.DerivationDescription = ["DERIVED", "SECONDARY", "AXIAL"], "averaged by 3"

    assert read_ct(save_all(tmp_path, ct_slices(), derived)).hu.shape == (5, 10, 12)

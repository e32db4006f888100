"""What was a slice is read or refused by name, wherever in the scan it lies: none is left out without a word."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from SyntheticContrastLib.ct.content import hash_source
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.folder import files_below
from SyntheticContrastLib.ct.read import read_ct
from unit.ct_factory import PATIENT, chest_values, ct_slices, save, save_all

LAST = "IM0004.dcm"  # at the end of the scan, where no gap shows that it is missing


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_to(count: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[:count])


def overwritten(path: Path) -> None:
    path.write_bytes(b"\0" * 5000)


def half_downloaded(path: Path) -> None:
    path.rename(path.with_name(path.name + ".part"))
    path.with_name(path.name + ".part").write_bytes(b"\0" * 50)


DAMAGE = {
    "0 bytes": (emptied, "IM0004.dcm is named as a DICOM slice and holds no DICOM data (0 bytes)"),
    "100 bytes": (cut_to(100), "IM0004.dcm is named as a DICOM slice"),
    "132 bytes": (cut_to(132), "IM0004.dcm is a damaged DICOM file"),
    "150 bytes": (cut_to(150), "IM0004.dcm is a"),
    "400 bytes": (cut_to(400), "IM0004.dcm is a"),
    "zeros": (overwritten, "IM0004.dcm is named as a DICOM slice"),
    "a download that was broken off": (half_downloaded, "IM0004.dcm.part is named as a DICOM slice"),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_slice_at_the_end_is_named(damage: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    damage(save_all(tmp_path, ct_slices()) / LAST)
    with pytest.raises(InputError) as refusal:
        read_ct(tmp_path)
    assert says in str(refusal.value) and "\n" not in str(refusal.value) and PATIENT not in str(refusal.value)


@pytest.mark.parametrize("name", ["IM{}", "1.2.840.113619.{}", "slice{}.ima", "{}"])
def test_an_empty_file_is_known_as_a_slice_by_the_others_beside_it(name: str, tmp_path: Path) -> None:
    for k, ds in enumerate(ct_slices()):
        save(tmp_path / name.format(k), ds)
    emptied(tmp_path / name.format(5))
    with pytest.raises(InputError, match="holds no DICOM data"):
        read_ct(tmp_path)


@pytest.mark.parametrize("name", ["readme.txt", ".DS_Store", "._IM0004.dcm", "IM0004.json", "VERSION", "notes"])
def test_what_is_named_otherwise_is_passed_over(name: str, tmp_path: Path) -> None:
    save_all(tmp_path, ct_slices())
    (tmp_path / name).write_bytes(b"\0" * 40)
    assert read_ct(tmp_path).hu.shape == (5, 10, 12)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    """As in a data set whose contents were not fetched."""
    save_all(tmp_path, ct_slices())
    (tmp_path / LAST).unlink()
    (tmp_path / LAST).symlink_to(tmp_path / "objects" / "gone")
    for reading in (read_ct, hash_source):
        with pytest.raises(InputError, match=r"IM0004\.dcm is a link to a file that is not there"):
            reading(tmp_path)


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    """A part of the scan lies elsewhere, and links lead round in circles and twice to the same file."""
    scan, store = tmp_path / "scan", tmp_path / "store"
    save_all(store, ct_slices())
    (scan / "a").mkdir(parents=True)
    (store / LAST).rename(tmp_path / "object-17")
    (scan / "a" / LAST).symlink_to(tmp_path / "object-17")
    (scan / "a" / "again.dcm").symlink_to(scan / "a" / LAST)
    (scan / "more").symlink_to(store)
    (scan / "a" / "round").symlink_to(scan)
    volume = read_ct(scan)
    np.testing.assert_array_equal(volume.to_stored(volume.hu), chest_values((5, 10, 12)))
    assert len(files_below(scan)) == 5
    before = hash_source(scan)
    (store / "IM0000.dcm").write_bytes(b"other")
    assert hash_source(scan) != before


def test_a_subfolder_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_all(tmp_path, ct_slices())
    (tmp_path / "rest").mkdir()
    scandir = os.scandir

    def refuse(folder: str | Path) -> object:
        if Path(folder).name == "rest":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    for reading in (read_ct, hash_source):
        with pytest.raises(InputError, match="cannot open the folder rest: Permission denied"):
            reading(tmp_path)


def test_the_hash_of_a_plain_folder_is_that_of_its_files_in_order(tmp_path: Path) -> None:
    import hashlib

    for name in ("b", "a", "c/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert hash_source(tmp_path) == hashlib.sha256(b"abc/d").hexdigest()


def page(ds: Dataset, k: int) -> None:
    """A page of text that a scanner files under the CT class."""
    del ds.ImagePositionPatient, ds.ImageOrientationPatient


def test_a_page_without_a_position_does_not_block_its_folder(tmp_path: Path) -> None:
    save_all(tmp_path / "scan", ct_slices(series_uid="1.2.3.4"))
    save_all(tmp_path / "dose", ct_slices(chest_values((1, 30, 30)), series_uid="1.2.3.9"), page)
    assert read_ct(tmp_path).source.series_uid == "1.2.3.4"  # type: ignore[union-attr]
    assert read_ct(tmp_path, ["1.2.3.4"]).hu.shape == (5, 10, 12)
    for folder, names in ((tmp_path, ["1.2.3.9"]), (tmp_path / "dose", [])):
        with pytest.raises(InputError, match=r"IM0000\.dcm is a CT slice without position"):
            read_ct(folder, names)


def test_slices_without_a_position_are_not_left_out_of_their_series(tmp_path: Path) -> None:
    save_all(tmp_path, ct_slices(), lambda ds, k: page(ds, k) if k == 4 else None)
    with pytest.raises(InputError, match=r"IM0004\.dcm is a CT slice without position"):
        read_ct(tmp_path)


def test_a_series_of_pages_is_not_passed_over_beside_another(tmp_path: Path) -> None:
    save_all(tmp_path / "a", ct_slices(series_uid="1.2.3.4"))
    save_all(tmp_path / "b", ct_slices(series_uid="1.2.3.5"), page)
    with pytest.raises(InputError, match=r"2 CT series.*1\.2\.3\.5 \(5 slices, not usable\)"):
        read_ct(tmp_path)
    assert read_ct(tmp_path, ["1.2.3.4"]).hu.shape == (5, 10, 12)


def test_a_multi_frame_series_of_one_file_is_not_passed_over_beside_another(tmp_path: Path) -> None:
    def frames(ds: Dataset, k: int) -> None:
        ds.NumberOfFrames, ds.PixelData = 2, ds.PixelData * 2

    save_all(tmp_path / "a", ct_slices(series_uid="1.2.3.4"))
    save_all(tmp_path / "b", ct_slices(chest_values((1, 10, 12)), series_uid="1.2.3.5"), frames)
    with pytest.raises(InputError, match=r"2 CT series.*1\.2\.3\.5 \(1 slices, not usable\)"):
        read_ct(tmp_path)
    with pytest.raises(InputError, match=r"IM0000\.dcm holds 2 frames"):
        read_ct(tmp_path, ["1.2.3.5"])


def test_a_derived_ct_whose_own_name_sounds_synthetic_is_read(tmp_path: Path) -> None:
    def derived(ds: Dataset, k: int) -> None:
        ds.ImageType, ds.SeriesDescription = ["DERIVED", "SECONDARY", "AXIAL"], "Synthetic graft, discectomy 3 mm"

    assert read_ct(save_all(tmp_path, ct_slices(), derived)).hu.shape == (5, 10, 12)

"""Nothing half-written ever has the final name, and nothing else is left either."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from SyntheticContrastLib.ct import atomic
from SyntheticContrastLib.ct.atomic import atomic_file, atomic_folder, removed_on_failure
from SyntheticContrastLib.ct.errors import InputError


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_appears_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "out.nii.gz"
    with atomic_file(target) as temporary:
        temporary.write_text("result")
        assert temporary.parent == target.parent  # the same disk, so that the renaming is atomic
        assert temporary.name.endswith("out.nii.gz")
        assert not target.exists()
    assert target.read_text() == "result"
    assert everything(tmp_path) == ["new", "new/deep", "new/deep/out.nii.gz"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_file_leaves_what_was_there(interruption: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "out.nrrd").write_text("former")
    for target in (tmp_path / "out.nrrd", tmp_path / "new" / "deep" / "out.nrrd"):
        with pytest.raises(interruption), atomic_file(target) as temporary:
            temporary.write_text("half")
            raise interruption
    assert everything(tmp_path) == ["out.nrrd"]
    assert (tmp_path / "out.nrrd").read_text() == "former"


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_early_file_goes_if_the_rest_fails(interruption: type[BaseException], tmp_path: Path) -> None:
    early = tmp_path / "new" / "early.txt"
    with removed_on_failure(early):
        early.write_text("kept")
    assert early.read_text() == "kept"
    with pytest.raises(interruption), removed_on_failure(tmp_path / "other" / "early.txt"):
        (tmp_path / "other" / "early.txt").write_text("gone")
        raise interruption
    with pytest.raises(interruption), removed_on_failure(early):
        raise interruption
    assert everything(tmp_path) == ["new", "new/early.txt"]  # what was there before stays


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.usefixtures("umask")
def test_temporary_names_are_private_and_results_follow_the_umask(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as temporary:
        assert permissions(temporary) == 0o600
    assert permissions(tmp_path / "file") == 0o640
    with atomic_folder(tmp_path / "folder") as temporary:
        assert permissions(temporary) == 0o700
    assert permissions(tmp_path / "folder") == 0o750


def test_a_folder_appears_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "series"
    with atomic_folder(target) as temporary:
        (temporary / "1.dcm").write_text("result")
        assert not target.exists()
    assert everything(tmp_path) == ["new", "new/series", "new/series/1.dcm"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    with atomic_folder(tmp_path / "series") as temporary:
        (temporary / "1.dcm").write_text("result")
    assert everything(tmp_path) == ["series", "series/1.dcm"]


def test_a_filled_folder_is_replaced_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "old.dcm").write_text("former")
    with pytest.raises(InputError, match="already exists"), atomic_folder(tmp_path / "series"):
        pytest.fail("the block must not run")
    assert everything(tmp_path) == ["series", "series/old.dcm"]
    with atomic_folder(tmp_path / "series", overwrite=True) as temporary:
        (temporary / "new.dcm").write_text("result")
    assert everything(tmp_path) == ["series", "series/new.dcm"]


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="already exists"), atomic_folder(tmp_path / "out", overwrite=True):
        pytest.fail("the block must not run")
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_folder_leaves_what_was_there(interruption: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "old.dcm").write_text("former")
    for target in (tmp_path / "series", tmp_path / "new" / "series"):
        with pytest.raises(interruption), atomic_folder(target, overwrite=True) as temporary:
            (temporary / "1.dcm").write_text("half")
            raise interruption
    assert everything(tmp_path) == ["series", "series/old.dcm"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "old.dcm").write_text("former")
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)  # as on a system without that step
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name.startswith(".partial-"):
            raise PermissionError("locked")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PermissionError), atomic_folder(tmp_path / "series", overwrite=True) as temporary:
        (temporary / "new.dcm").write_text("result")
    assert everything(tmp_path) == ["series", "series/old.dcm"]


def test_a_file_system_without_permissions_keeps_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, mode: int) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refused)
    with atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("result")
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "1.dcm").write_text("result")
    assert everything(tmp_path) == ["file", "folder", "folder/1.dcm"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such step")
def test_a_folder_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "old.dcm").write_text("former")
    seen: list[list[str]] = []
    exchange = atomic._exchange

    def watched(one: Path, other: Path) -> bool:
        seen.append(everything(other))
        done = exchange(one, other)
        seen.append(everything(other))
        return done

    monkeypatch.setattr(atomic, "_exchange", watched)
    monkeypatch.setattr(Path, "rename", lambda path, target: pytest.fail("renamed in two steps"))
    with atomic_folder(tmp_path / "series", overwrite=True) as temporary:
        (temporary / "new.dcm").write_text("result")
    assert seen == [["old.dcm"], ["new.dcm"]] and everything(tmp_path) == ["series", "series/new.dcm"]


def test_what_a_killed_process_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    left = [".partial-abc_1-A_sCECT.nii.gz", ".partial-x-.partial-y-A_sCECT.nii.gz", ".partial-x-a_scect.nii.gz"]
    others = [".partial-abc_1-AB_sCECT.nii.gz", "A_sCECT.nii.gz"]
    for name in left + others:
        (tmp_path / name).write_text("half")
    atomic.clear_partial([tmp_path / "A_sCECT.NII.GZ"])
    assert everything(tmp_path) == sorted(others)

"""prepare.py: pairs on disk, safe to interrupt and to run again."""

import json

import numpy as np
import pytest
import SimpleITK

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastTrainingLib import pairing, prepared
from SyntheticContrastTrainingLib.prepared import open_volume, read_manifest
from unit.entry import TRAINING_CLI, call

PREPARE = TRAINING_CLI / "prepare.py"


def save(path, hu, spacing=(10.0, 2.8, 2.8), origin=(0, 0, 0)):
    """`hu` is (Z, Y, X) from superior to inferior; files count upwards."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(hu[::-1]))
    image.SetSpacing(spacing[::-1])
    image.SetOrigin(origin)
    SimpleITK.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    phantom = thorax_phantom((24, 128, 128), (10.0, 2.8, 2.8))
    save(folder / "ncct.nii.gz", phantom.ncct)
    save(folder / "cect.nii.gz", phantom.cect)
    save(folder / "soft.nii.gz", np.minimum(phantom.ncct, 70))
    save(folder / "moved.nii.gz", phantom.ncct, origin=(5, 0, 0))
    return folder, phantom


@pytest.fixture
def table(scans):
    folder, _ = scans

    def write(*rows):
        path = folder / "cases.csv"
        path.write_text("case_id,ncct,cect,first_slice,last_slice\n" + "\n".join(rows), encoding="utf-8")
        return path

    return write


def volumes(folder, case):
    return [open_volume(folder, case, name) for name in ("ncct.npy", "cect.npy")]


def contents(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def test_a_given_pair_and_a_simulated_one(scans, table, tmp_path, capsys):
    _, phantom = scans
    cases = table("real,ncct.nii.gz,cect.nii.gz,,", "made,,cect.nii.gz,4,21")
    outcome = call(PREPARE, ["--cases", cases, "--output", tmp_path / "set", "--simulate-vnc"], capsys)
    assert outcome.status == 0, outcome.err
    real, made = read_manifest(tmp_path / "set")
    assert (real.simulated, made.simulated) == (False, True)
    assert real.shape_zyx == (24, 128, 128)
    assert made.shape_zyx == (18, 128, 128)
    assert made.spacing_zyx == pytest.approx((10.0, 2.8, 2.8))
    assert made.affine[2][3] == pytest.approx(real.affine[2][3] - 4 * 10.0)  # LPS: down is towards smaller z
    ncct, cect = volumes(tmp_path / "set", real)
    assert isinstance(ncct, np.memmap)
    assert ncct.dtype == np.int16
    assert np.array_equal(ncct, phantom.ncct)
    assert np.array_equal(cect, phantom.cect)
    vnc, cect = volumes(tmp_path / "set", made)
    assert np.array_equal(cect, phantom.cect[4:22])
    ventricle = phantom.mask("left_ventricle")[4:22]
    assert cect[ventricle].mean() > 300
    assert abs(vnc[ventricle].mean() - 40) < 15
    assert prepared.hash_source(tmp_path / "set" / "made" / "ncct.npy") == made.files["ncct.npy"]


def test_chambers_and_heart_mask_come_onto_the_grid_of_the_pair(scans, tmp_path, capsys):
    folder, phantom = scans
    left = phantom.mask("left_ventricle") | phantom.mask("left_atrium")
    save(folder / "chambers.nii.gz", left[2:, 8:].astype(np.uint8), origin=(0, 8 * 2.8, 0))  # another grid
    save(folder / "heart.nii.gz", (phantom.labels >= 14).astype(np.uint8))
    cases = folder / "labelled.csv"
    cases.write_text(
        "case_id,ncct,cect,heart_mask,chambers,first_slice\n"
        "given,ncct.nii.gz,cect.nii.gz,heart.nii.gz,chambers.nii.gz,3\n"
        "found,ncct.nii.gz,cect.nii.gz,,chambers.nii.gz,\n"
        "plain,ncct.nii.gz,cect.nii.gz,,,\n",
        encoding="utf-8",
    )
    outcome = call(PREPARE, ["--cases", cases, "--output", tmp_path / "set"], capsys)
    assert outcome.status == 0, outcome.err
    given, found, plain = read_manifest(tmp_path / "set")
    assert set(plain.files) == {"ncct.npy", "cect.npy"}
    assert set(given.files) == set(found.files) == {"ncct.npy", "cect.npy", "heart_mask.npy", "chambers.npy"}
    chambers = open_volume(tmp_path / "set", given, "chambers.npy")
    assert chambers.dtype == np.uint8
    assert np.array_equal(chambers, left[3:])
    assert np.array_equal(open_volume(tmp_path / "set", given, "heart_mask.npy"), (phantom.labels >= 14)[3:])
    heart = open_volume(tmp_path / "set", found, "heart_mask.npy") > 0
    assert heart[left].mean() > 0.9
    assert given.sources["chambers"] == prepared.hash_source(folder / "chambers.nii.gz")


def test_the_split_of_the_table_is_in_the_manifest(scans, tmp_path, capsys):
    folder, _ = scans
    for first, second in (("validation", ""), ("", "training")):  # the second time the cases are there already
        cases = folder / "split.csv"
        rows = f"a,ncct.nii.gz,cect.nii.gz,{first}\nb,ncct.nii.gz,cect.nii.gz,{second}\n"
        cases.write_text(f"case_id,ncct,cect,split\n{rows}", encoding="utf-8")
        assert call(PREPARE, ["--cases", cases, "--output", tmp_path / "set"], capsys).status == 0
        assert [case.split for case in read_manifest(tmp_path / "set")] == [first or None, second or None]


def test_finished_cases_are_skipped_and_the_others_done(table, tmp_path, capsys, monkeypatch):
    output = tmp_path / "set"
    cases = table("a,ncct.nii.gz,cect.nii.gz,,", "b,,cect.nii.gz,,")
    arguments = ["--cases", cases, "--output", output, "--simulate-vnc"]
    real_simulate = pairing.simulate_vnc

    def cut_short(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pairing, "simulate_vnc", cut_short)
    with pytest.raises(KeyboardInterrupt):
        call(PREPARE, arguments, capsys)
    assert sorted(path.name for path in output.iterdir()) == ["a", "manifest.json"]
    before = contents(output)

    monkeypatch.setattr(pairing, "simulate_vnc", real_simulate)
    outcome = call(PREPARE, arguments, capsys)
    assert outcome.status == 0
    assert "a: NCCT and CECT, 24 slices, was there already" in outcome.out
    assert [case.case_id for case in read_manifest(output)] == ["a", "b"]
    after = contents(output)
    assert before.items() <= after.items()

    assert call(PREPARE, arguments, capsys).status == 0
    assert contents(output) == after


@pytest.mark.parametrize(
    "harm",
    [
        lambda whole: whole[:-100],
        lambda whole: whole[:60],
        lambda whole: b"",
        lambda whole: b"\x93NUMPY" + bytes(200),
        lambda whole: whole.replace(b"<i2", b"<i4"),
        lambda whole: whole.replace(b"(24,", b"(12,"),
    ],
    ids=["voxels", "header", "all", "header of zeros", "another type", "another shape"],
)
def test_a_damaged_volume_is_one_line(table, tmp_path, capsys, harm):
    output = tmp_path / "set"
    assert call(PREPARE, ["--cases", table("a,ncct.nii.gz,cect.nii.gz,,"), "--output", output], capsys).status == 0
    (case,) = read_manifest(output)
    path = output / "a" / "ncct.npy"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(InputError, match=r"ncct\.npy is cut off or damaged: run prepare\.py again"):
        open_volume(output, case, "ncct.npy")


def test_a_damaged_case_and_a_changed_one_are_made_again(table, tmp_path, capsys):
    output = tmp_path / "set"
    arguments = ["--cases", table("a,ncct.nii.gz,cect.nii.gz,,"), "--output", output]
    assert call(PREPARE, arguments, capsys).status == 0
    damaged = output / "a" / "cect.npy"
    damaged.write_bytes(damaged.read_bytes()[:-2])
    assert call(PREPARE, arguments, capsys).out.splitlines()[0].endswith("done")
    assert np.load(damaged).shape == (24, 128, 128)
    table("a,ncct.nii.gz,cect.nii.gz,0,19")
    assert call(PREPARE, arguments, capsys).out.splitlines()[0].endswith("20 slices, done")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a,ncct.nii.gz,,,", "no cect is given"),
        ("a,,none.nii.gz,,", "none.nii.gz does not exist"),
        ("a,moved.nii.gz,cect.nii.gz,,", "not on one grid"),
        ("a,,soft.nii.gz,,", "no enhanced blood pool"),
        ("a,ncct.nii.gz,cect.nii.gz,30,", "beyond the last slice"),
    ],
)
def test_a_broken_case_is_named_and_the_others_are_done(table, tmp_path, capsys, row, says):
    cases = table(row, "good,ncct.nii.gz,cect.nii.gz,,")
    outcome = call(PREPARE, ["--cases", cases, "--output", tmp_path / "set", "--simulate-vnc"], capsys)
    assert outcome.status == 2
    assert "case a: " in outcome.err
    assert says in outcome.err
    assert "Traceback" not in outcome.err
    assert [case.case_id for case in read_manifest(tmp_path / "set")] == ["good"]


def test_without_simulation_a_case_needs_an_ncct(table, tmp_path, capsys):
    outcome = call(PREPARE, ["--cases", table("a,,cect.nii.gz,,"), "--output", tmp_path / "set"], capsys)
    assert outcome.status == 2
    assert "--simulate-vnc" in outcome.err


@pytest.fixture(scope="module")
def moved_scans(tmp_path_factory):
    """An NCCT of 5 mm slices; its CECT, three slices shorter, from a table that stood elsewhere; another patient."""
    folder = tmp_path_factory.mktemp("moved")
    spacing = (5.0, 3.2, 3.2)
    phantom = thorax_phantom((48, 112, 112), spacing)
    save(folder / "ncct.nrrd", phantom.ncct, spacing)
    save(folder / "cect.nrrd", phantom.cect[3:], spacing, origin=(6.4, -9.6, 10.0))
    save(folder / "other.nrrd", phantom.cect[::-1, ::-1], spacing)
    rows = ["case_id,ncct,cect", "good,ncct.nrrd,cect.nrrd", "other,ncct.nrrd,other.nrrd"]
    (folder / "cases.csv").write_text("\n".join(rows))
    return folder, phantom


def test_a_registered_pair_and_a_failed_registration(moved_scans, tmp_path, capsys):
    folder, phantom = moved_scans
    output = tmp_path / "set"
    arguments = ["--cases", folder / "cases.csv", "--output", output, "--register", "rigid"]
    outcome = call(PREPARE, arguments, capsys)
    assert outcome.status == 2
    assert "case other: the registration failed, the case is left out" in outcome.err
    assert "mutual information" in outcome.out
    (good,) = read_manifest(output)
    assert good.registration["translation_mm"] == pytest.approx([6.4, -9.6, 10.0], abs=0.5)
    assert good.registration["mi_after"] > good.registration["mi_before"]
    ncct, cect = volumes(output, good)
    assert ncct.shape == phantom.ncct.shape
    inside = np.s_[4:-4, 10:-10, 10:-10]
    assert np.abs(cect[inside].astype(int) - phantom.cect[inside]).mean() < 15
    for hu in (ncct, cect):  # where the CECT does not reach there is neither input nor target
        assert [z for z, plane in enumerate(hu) if (plane == -1024).all()] == [0, 1, 2]
    assert {path.name for path in (output / "review").iterdir()} == {"good.png", "other.png"}


def test_pairs_are_resliced(scans, table, tmp_path, capsys):
    cases = table("a,ncct.nii.gz,cect.nii.gz,4,19")
    arguments = ["--cases", cases, "--output", tmp_path / "set", "--spacing-z", "20"]
    assert call(PREPARE, arguments, capsys).status == 0
    _, phantom = scans
    (case,) = read_manifest(tmp_path / "set")
    assert case.spacing_zyx == pytest.approx((20.0, 2.8, 2.8))
    ncct, _ = volumes(tmp_path / "set", case)
    assert ncct.shape == (8, 128, 128)
    assert np.abs(ncct[0] - phantom.ncct[4:6].mean(axis=0)).max() <= 1


def test_a_folder_that_is_no_training_set(tmp_path):
    with pytest.raises(InputError, match="no prepared training set"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format_version": 9, "cases": []}))
    with pytest.raises(InputError, match="format version 9"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path)


def test_an_ncct_alone_is_prepared_if_it_says_that_it_is_unenhanced(table, tmp_path, capsys):
    cases = table()
    rows = (
        "case_id,ncct,cect,phase,right_hu",
        "a,ncct.nii.gz,,unenhanced,",
        "b,ncct.nii.gz,cect.nii.gz,portal,100 200",
    )
    cases.write_text("\n".join(rows), encoding="utf-8")
    assert call(PREPARE, ["--cases", cases, "--output", tmp_path / "set"], capsys).status == 0
    alone, pair = read_manifest(tmp_path / "set")
    assert list(alone.files) == ["ncct.npy"] and alone.phase == "unenhanced"
    assert (pair.phase, pair.right_hu) == ("portal", (100.0, 200.0))

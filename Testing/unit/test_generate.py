"""generate.py as a user meets it: one CT, several, a cohort; formats, refusals, progress, cancelling, memory."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from SyntheticContrastLib.ct.phantom import thorax_phantom, write_phantom_series
from SyntheticContrastLib.ct.read import read_ct
from unit import entry
from unit.entry import GENERATE

SHAPE, SPACING = (18, 100, 120), (5.0, 2.0, 1.5)


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom(SHAPE, SPACING)


@pytest.fixture(scope="module")
def dicom_folder(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("input") / "chest"
    write_phantom_series(folder, phantom.ncct, SPACING)
    return folder


@pytest.fixture(scope="module")
def nrrd_files(phantom, tmp_path_factory):
    """Two NRRD files on an oblique, flipped grid."""
    folder = tmp_path_factory.mktemp("nrrd")
    files = []
    for name, offset in (("first", 0), ("second", 5)):
        image = sitk.GetImageFromArray(phantom.ncct[::-1] + np.int16(offset))
        image.SetSpacing((1.5, 2.0, 5.0))
        image.SetOrigin((-90.0, -100.0, 7.5))
        image.SetDirection(
            (0.9992009587217894, -0.03996803834887158, 0, 0.03996803834887158, 0.9992009587217894, 0, 0, 0, 1)
        )
        files.append(folder / f"{name}.nrrd")
        sitk.WriteImage(image, str(files[-1]), True)
    return files


@pytest.fixture
def generate(capsys, tiny_bundle):
    def call(*arguments):
        return entry.call(GENERATE, ["--model", tiny_bundle.folder, "--device", "cpu", "--step", 8, *arguments], capsys)

    return call


def assert_same_grid(found, expected):
    assert found.GetSize() == expected.GetSize()
    for part in ("Spacing", "Origin", "Direction"):
        np.testing.assert_allclose(getattr(found, f"Get{part}")(), getattr(expected, f"Get{part}")(), atol=1e-4)


def events(outcome):
    return [json.loads(line) for line in outcome.out.splitlines()]


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz"])
def test_one_file(generate, nrrd_files, tmp_path, suffix):
    done = generate("--input", nrrd_files[0], "--output", tmp_path / f"out{suffix}")
    assert done.status == 0, done.err
    found = sitk.ReadImage(str(tmp_path / f"out{suffix}"))
    assert_same_grid(found, sitk.ReadImage(str(nrrd_files[0])))
    assert found.GetPixelID() == sitk.sitkInt16
    values = sitk.GetArrayFromImage(found)
    assert values.min() >= -1000 and values.max() <= 1000 and values.std() > 1
    assert list(tmp_path.iterdir()) == [tmp_path / f"out{suffix}"]


def test_uncompressed_files_hold_the_same_values(generate, nrrd_files, tmp_path):
    arguments = ("--input", nrrd_files[0], "--step", "16")
    sizes, values = [], []
    for name, more in [("small", ()), ("large", ("--uncompressed",))]:
        files = [tmp_path / f"{name}.nrrd", tmp_path / f"{name}_sd.nrrd"]
        done = generate(*arguments, "--output", files[0], "--uncertainty", files[1], *more)
        assert done.status == 0, done.err
        sizes.append([file.stat().st_size for file in files])
        values.append([sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files])
    assert sizes[0][0] < 0.9 * sizes[1][0] and sizes[0][1] < sizes[1][1]
    assert all(np.array_equal(one, other) for one, other in zip(*values, strict=True))


def test_formats_hold_the_same_values(generate, dicom_folder, tmp_path):
    for format_ in ("nrrd", "nifti", "dicom"):
        done = generate("--input", dicom_folder, "--output", tmp_path / format_, "--format", format_)
        assert done.status == 0, done.err
    nrrd = read_ct(tmp_path / "nrrd" / "chest_sCECT.nrrd")
    nifti = read_ct(tmp_path / "nifti" / "chest_sCECT.nii.gz")
    dicom = read_ct(tmp_path / "dicom", allow_synthetic=True)
    source = read_ct(dicom_folder)
    for volume in (nrrd, nifti, dicom):
        assert np.array_equal(volume.hu, nrrd.hu)
        assert volume.grid.matches(source.grid)


def test_uncertainty_and_preview(generate, dicom_folder, tmp_path):
    done = generate(
        *("--input", dicom_folder, "--output", tmp_path / "o.nrrd"),
        *("--uncertainty", tmp_path / "u.nrrd", "--preview", tmp_path / "p.png"),
    )
    assert done.status == 0, done.err
    uncertainty = sitk.ReadImage(str(tmp_path / "u.nrrd"))
    assert_same_grid(uncertainty, sitk.ReadImage(str(tmp_path / "o.nrrd")))
    values = sitk.GetArrayFromImage(uncertainty)
    assert values.dtype == np.float32 and values.min() == 0 and values.max() > 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_the_first_look_is_there_before_the_first_progress(generate, nrrd_files, tmp_path, monkeypatch):
    from SyntheticContrastLib.synthesis.progress import Reporter

    path, there = tmp_path / "looks" / "f.png", []
    tell = Reporter.progress
    monkeypatch.setattr(Reporter, "progress", lambda *arguments: there.append(path.exists()) or tell(*arguments))
    done = generate(
        *("--input", nrrd_files[0], "--output", tmp_path / "o.nrrd", "--first-look", path, "--progress", "json")
    )
    assert done.status == 0 and done.err == "" and there and all(there)
    told = events(done)
    assert [event["event"] for event in told][:5] == ["start", "case", "read", "first_look", "progress"]
    assert told[3] == {"event": "first_look", "case": "first", "path": str(path)}
    assert path.read_bytes().startswith(b"\x89PNG") and leftovers(tmp_path) == []


@pytest.mark.parametrize("slices", [5, 16, 41])
def test_the_first_look_is_the_middle_slice_of_one_window(tiny_bundle, slices):
    """So it is the whole conversion's where there is one window only."""
    from SyntheticContrastLib.ct.volume import CTVolume, Grid
    from SyntheticContrastLib.synthesis.convert import Converter
    from SyntheticContrastLib.synthesis.device import choose

    hu = thorax_phantom((slices, 64, 72), (300 / slices, 5.0, 5.0)).ncct
    converter = Converter(tiny_bundle, choose("cpu", "fp32"), step=16)
    middle, first_look = converter.first_look(CTVolume(hu, Grid.axial(hu.shape, (5.0, 5.0, 5.0))))
    assert middle == slices // 2 and first_look.shape == (64, 72)
    first = max(0, min(middle - 8, slices - 16))
    window = hu[first : first + 16]
    whole = converter.convert(CTVolume(window, Grid.axial(window.shape, (5.0, 5.0, 5.0)))).hu
    assert len(whole) == min(slices, 16)
    np.testing.assert_array_equal(first_look, whole[middle - first])


def test_the_first_look_shows_the_input_left_and_the_synthetic_slice_right(tmp_path):
    from SyntheticContrastLib.analysis.first_look import write_first_look

    before = np.full((40, 60), 50, np.int16)
    write_first_look(tmp_path / "f.png", before, before + 150, (3.0, 2.0), 20, 41)
    grey = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "f.png")))[..., :3].mean(axis=-1)
    height, width = grey.shape
    assert width == 900 and 500 < height < 560  # 120 x 120 mm, and two lines of text
    assert grey[height // 2, 225] == pytest.approx(127, abs=2)  # 50 HU of 350/50
    assert grey[height // 2, 675] == pytest.approx(236, abs=2)  # 200 HU
    assert (grey[-40:] > 60).any() and (grey[:40] > 200).any()


def test_a_person_reads_what_was_done(generate, dicom_folder, tmp_path):
    done = generate("--input", dicom_folder, "--output", tmp_path / "o.nrrd")
    for text in (
        "synthetic - not for diagnosis",
        "cpu (as asked), ",
        "soft tissue and blood",
        str(tmp_path / "o.nrrd"),
    ):
        assert text in done.out
    assert "18/18 slices" in done.err
    assert "PHANTOM" not in done.out + done.err


def test_json_progress_is_the_documented_protocol(generate, nrrd_files, tmp_path):
    done = generate(
        "--input", *nrrd_files, "--output", tmp_path, "--progress", "json", "--preview", tmp_path / "pictures"
    )
    assert done.status == 0 and done.err == ""
    told = events(done)
    assert [event["event"] for event in told if event["event"] != "progress"] == [
        *("start", "case", "read", "written", "case", "read", "written", "end"),
    ]
    start = told[0]
    assert start["cases"] == 2 and start["model"] == "tiny" and start["device"] == "cpu" and start["step"] == 8
    assert start["device_reason"] and start["precision_reason"] and len(start["weights_sha256"]) == 64
    progress = [event for event in told if event["event"] == "progress" and event["case"] == "first"]
    assert progress[-1]["slices_done"] == progress[-1]["slices_total"] == 18
    assert progress[-1]["seconds_left"] == 0
    written = next(event for event in told if event["event"] == "written")
    assert written["output"] == str(tmp_path / "first_sCECT.nrrd")
    assert written["preview"] == str(tmp_path / "pictures" / "first_preview.png")
    assert {"tissue", "volume_ml", "mean_before", "mean_after", "enhanced_share"} == set(written["changes"][0])
    assert told[-1] == {"event": "end", "status": 0, "message": "done"}
    assert next(event for event in told if event["event"] == "read")["shape_zyx"] == [18, 100, 120]


def test_a_ct_that_is_enhanced_is_warned_of_and_converted(generate, phantom, nrrd_files, tmp_path):
    image = sitk.GetImageFromArray(phantom.cect[::-1])
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(tmp_path / "cect.nrrd"))
    inputs = ["--input", tmp_path / "cect.nrrd", nrrd_files[0]]
    outcome = generate(*inputs, "--output", tmp_path / "out", "--progress", "json")
    assert outcome.status == 0
    (warning,) = (event for event in events(outcome) if event["event"] == "warning")
    assert warning["case"] == "cect" and "enhanced already" in warning["message"]
    outcome = generate(*inputs, "--output", tmp_path / "out", "--overwrite")
    assert outcome.status == 0
    assert sum("Warning: this CT seems to be enhanced already" in line for line in outcome.out.splitlines()) == 1


def test_progress_none_is_silent(generate, nrrd_files, tmp_path):
    done = generate("--input", nrrd_files[0], "--output", tmp_path / "o.nrrd", "--progress", "none")
    assert done == entry.Outcome(0, "", "")


def test_several_inputs_load_the_weights_once(generate, nrrd_files, tmp_path, monkeypatch):
    from SyntheticContrastLib.models.bundle import Bundle

    loads = []
    load = Bundle.load_network
    monkeypatch.setattr(Bundle, "load_network", lambda self: loads.append(1) or load(self))
    assert generate("--input", *nrrd_files, "--output", tmp_path).status == 0
    assert loads == [1]
    first, second = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{n}_sCECT.nrrd"))) for n in ("first", "second")
    )
    assert not np.array_equal(first, second)


REFUSED = {
    "no arguments": ([], "--output"),
    "unknown option": (["--input", "{nrrd}", "--output", "{out}", "--fast"], "--fast"),
    "both input and cases": (["--input", "{nrrd}", "--cases", "{nrrd}", "--output", "{out}"], "not allowed with"),
    "input missing": (["--input", "{dir}/none", "--output", "{out}"], "does not exist"),
    "input empty folder": (["--input", "{dir}", "--output", "{out}"], "the folder is empty"),
    "output is the input": (["--input", "{nrrd}", "--output", "{nrrd}", "--overwrite"], "is the input"),
    "output exists": (["--input", "{nrrd}", "--output", "{existing}"], "exists already"),
    "preview exists": (["--input", "{nrrd}", "--output", "{out}", "--preview", "{existing_png}"], "exists already"),
    "output of another type": (["--input", "{nrrd}", "--output", "{dir}/o.mha"], "cannot write o.mha"),
    "format against suffix": (["--input", "{nrrd}", "--output", "{out}", "--format", "nifti"], "is nrrd, not nifti"),
    "unknown format": (["--input", "{nrrd}", "--output", "{out}", "--format", "jpeg"], "invalid choice"),
    "preview is no png": (["--input", "{nrrd}", "--output", "{out}", "--preview", "{dir}/p.jpg"], "ends in .png"),
    "two outputs of one name": (
        ["--input", "{nrrd}", "--output", "{out}", "--preview", "{png}", "--first-look", "{png}"],
        "named for two outputs",
    ),
    "picture within the series": (
        ["--input", "{nrrd}", "--output", "{dir}/o", "--format", "dicom", "--first-look", "{dir}/o/f.png"],
        "within the DICOM series",
    ),
    "first look is no png": (["--input", "{nrrd}", "--output", "{out}", "--first-look", "{dir}/f.jpg"], "ends in .png"),
    "first look exists": (
        ["--input", "{nrrd}", "--output", "{out}", "--first-look", "{existing_png}"],
        "exists already",
    ),
    "first look at two": (
        ["--input", "{nrrd}", "{dicom}", "--output", "{dir}/o", "--first-look", "{png}"],
        "one input",
    ),
    "first look at a cohort": (
        ["--cases", "{nrrd}", "--output", "{dir}/o", "--first-look", "{png}"],
        "is for one input",
    ),
    "uncertainty is a folder": (["--input", "{nrrd}", "--output", "{out}", "--uncertainty", "{dir}"], "ends in .nrrd"),
    "two inputs, a file": (["--input", "{nrrd}", "{dicom}", "--output", "{out}"], "give a folder"),
    "two inputs of one name": (["--input", "{nrrd}", "{nrrd}", "--output", "{dir}/o"], "both named first"),
    "output below a file": (["--input", "{nrrd}", "--output", "{nrrd}/o.nrrd"], "is not a folder"),
    "step out of range": (["--input", "{nrrd}", "--output", "{out}", "--step", "17"], "use 1 to 16"),
    "step is no number": (["--input", "{nrrd}", "--output", "{out}", "--step", "x"], "invalid int"),
    "unknown model": (["--input", "{nrrd}", "--output", "{out}", "--model", "best"], "no model named best"),
    "unknown device": (["--input", "{nrrd}", "--output", "{out}", "--device", "tpu"], "unknown device tpu"),
    "device that is not there": (["--input", "{nrrd}", "--output", "{out}", "--device", "cuda:99"], "cannot be used"),
    "half precision on the CPU": (["--input", "{nrrd}", "--output", "{out}", "--precision", "fp16"], "needs a GPU"),
    "name too long": (["--input", "{nrrd}", "--output", "{dir}/" + "x" * 240 + ".nrrd"], "has 245 bytes"),
    "label without a mask": (["--input", "{nrrd}", "--output", "{out}", "--heart-label", "1"], "--heart-mask"),
    "cases file missing": (["--cases", "{dir}/none.csv", "--output", "{dir}"], "none.csv"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_line_and_change_nothing(generate, nrrd_files, dicom_folder, tmp_path, case):
    arguments, message = REFUSED[case]
    folder = tmp_path / "work"
    folder.mkdir()
    existing, existing_png = tmp_path / "existing.nrrd", tmp_path / "existing.png"
    existing.write_text("kept")
    existing_png.write_text("kept")
    places = {
        **{"nrrd": nrrd_files[0], "dicom": dicom_folder, "dir": folder, "out": folder / "o.nrrd"},
        **{"png": folder / "f.png", "existing": existing, "existing_png": existing_png},
    }
    before = nrrd_files[0].read_bytes()
    done = generate(*(argument.format(**places) for argument in arguments))
    assert done.status == 2, done.err
    assert re.search(message, done.err), done.err
    assert len(done.err.strip().splitlines()) == 1
    assert list(folder.iterdir()) == []
    assert existing.read_text() == existing_png.read_text() == "kept"
    assert nrrd_files[0].read_bytes() == before


def test_overwrite_replaces_a_series_but_never_a_folder_of_other_things(generate, dicom_folder, tmp_path):
    output = tmp_path / "series"
    arguments = ("--input", dicom_folder, "--output", output, "--format", "dicom")
    assert generate(*arguments).status == 0
    assert generate(*arguments).status == 2
    first = {path.read_bytes()[:2000] for path in output.iterdir()}
    assert generate(*arguments, "--overwrite").status == 0
    assert {path.read_bytes()[:2000] for path in output.iterdir()}.isdisjoint(first)
    (output / "notes.txt").write_text("mine")
    done = generate(*arguments, "--overwrite")
    assert done.status == 2 and "other things" in done.err
    assert (output / "notes.txt").read_text() == "mine"


def write_cases(path, rows):
    lines = ["case_id,ncct,cect,scect,heart_mask,chambers,first_slice,last_slice"]
    path.write_text("\n".join(lines + [f"{case},{ncct},,,,,," for case, ncct in rows]) + "\n")
    return path


def test_cohort_goes_past_a_broken_case_and_skips_finished_ones(generate, nrrd_files, dicom_folder, tmp_path):
    broken = tmp_path / "broken.nrrd"
    broken.write_bytes(nrrd_files[0].read_bytes()[:5000])
    cases = write_cases(tmp_path / "cases.csv", [("A", nrrd_files[0]), ("B", broken), ("C", dicom_folder)])
    output = tmp_path / "out"
    arguments = ("--cases", cases, "--output", output, "--progress", "json")
    done = generate(*arguments)
    assert done.status == 2
    assert "B: broken.nrrd cannot be read" in done.err
    assert done.err.splitlines()[-1] == "generate.py: 1 of 3 cases failed, the others are done: B"
    left = [event["seconds_left"] for event in events(done) if event["event"] == "case"]
    assert left[0] is None and all(seconds >= 0 for seconds in left[1:])
    assert sorted(path.name for path in output.iterdir()) == [
        *("A_sCECT.json", "A_sCECT.nrrd", "C_sCECT.json", "C_sCECT.nrrd"),
    ]
    record = json.loads((output / "A_sCECT.json").read_text())
    assert record["note"] == "synthetic - not for diagnosis" and record["step"] == 8

    broken.write_bytes(nrrd_files[1].read_bytes())
    done = generate(*arguments)
    assert done.status == 0
    told = [(event["event"], event.get("case")) for event in events(done) if event["event"] in ("skipped", "written")]
    assert told == [("skipped", "A"), ("written", "B"), ("skipped", "C")]


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("one", "2")])
def test_a_rank_that_does_not_fit_is_refused(generate, nrrd_files, tmp_path, monkeypatch, rank, size):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    done = generate("--cases", write_cases(tmp_path / "c.csv", [("A", nrrd_files[0])]), "--output", tmp_path / "out")
    assert done.status == 2 and "ranks count from 0" in done.err


@pytest.mark.parametrize(("rank", "size"), [("1", "2"), ("7", "8"), ("left over", "x")])
def test_a_rank_left_over_loses_no_input(generate, nrrd_files, tmp_path, monkeypatch, rank, size):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    done = generate("--input", nrrd_files[0], "--output", tmp_path / "o.nrrd")
    assert done.status == 0 and (tmp_path / "o.nrrd").exists()
    done = generate("--input", *nrrd_files, "--output", tmp_path / "two")
    assert done.status == 0 and len(list((tmp_path / "two").iterdir())) == 2


def test_a_process_of_several_says_how_much_is_its_share(generate, nrrd_files, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    cases = write_cases(tmp_path / "c.csv", [("A", nrrd_files[0]), ("B", nrrd_files[1])])
    done = generate("--cases", cases, "--output", tmp_path / "out")
    assert done.status == 0 and "1 cases, the share of RANK=1" in done.out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_spoils_no_other_input(nrrd_files, tiny_bundle, tmp_path):
    odd = tmp_path / os.fsdecode(b"M\xfcller.nrrd")
    odd.write_bytes(nrrd_files[1].read_bytes())
    command = entry.command(GENERATE, "--model", tiny_bundle.folder, "--device", "cpu", "--engine", "pytorch")
    command += ["--step", "16", "--input", str(odd), str(nrrd_files[0]), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert r"the path of M\xfcller_sCECT.nrrd is not UTF-8, which the libraries cannot open: rename it" in done.stderr
    assert "1 of 2 cases failed, the others are done" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["first_sCECT.nrrd"]


def test_suffixes_in_capitals(generate, nrrd_files, tmp_path):
    done = generate("--input", nrrd_files[0], "--output", tmp_path / "OUT.NII.GZ", "--preview", tmp_path / "P.PNG")
    assert done.status == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["OUT.NII.GZ", "P.PNG"]


def test_two_inputs_become_two_patients(generate, nrrd_files, tmp_path):
    done = generate("--input", *nrrd_files, "--output", tmp_path, "--format", "dicom")
    assert done.status == 0, done.err
    headers = [pydicom.dcmread(next(folder.iterdir())) for folder in tmp_path.iterdir()]
    assert len({header.PatientID for header in headers}) == len({header.StudyInstanceUID for header in headers}) == 2


def test_a_nifti_on_a_full_disk_is_not_recorded_as_done(generate, nrrd_files, tmp_path):
    cases = write_cases(tmp_path / "c.csv", [("A", nrrd_files[0])])
    arguments = ("--cases", cases, "--output", tmp_path / "out", "--format", "nifti", "--progress", "json")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        done = generate(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.status == 2 and "cannot write A_sCECT.nii.gz" in done.err
    assert not (tmp_path / "out").exists()
    assert [event["event"] for event in events(generate(*arguments))][-2] == "written"


def test_cohort_does_not_take_another_result_for_finished(generate, nrrd_files, tmp_path):
    cases = write_cases(tmp_path / "cases.csv", [("A", nrrd_files[0])])
    arguments = ("--cases", cases, "--output", tmp_path / "out", "--progress", "json")
    assert generate(*arguments).status == 0
    done = generate(*arguments, "--step", 4)
    assert done.status == 2 and "exists already" in done.err
    done = generate(*arguments, "--step", 4, "--overwrite")
    assert [event["event"] for event in events(done)][-2:] == ["written", "end"]


KILLED_AT = """
import os, pathlib, signal
replace = pathlib.Path.replace
def killing(self, target):
    if {before} and pathlib.Path(target).name == "A_sCECT.nrrd":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(self, target)
    if pathlib.Path(target).name == "A_sCECT.nrrd":
        os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.replace = killing
"""


@pytest.mark.parametrize("before", [True, False], ids=["before the result has its name", "before its record has"])
def test_a_killed_case_is_done_on_the_rerun(nrrd_files, tiny_bundle, generate, tmp_path, before):
    cases = write_cases(tmp_path / "cases.csv", [("A", nrrd_files[0])])
    arguments = ("--cases", cases, "--output", tmp_path / "out", "--progress", "json")
    tiny = ("--model", tiny_bundle.folder, "--device", "cpu", "--step", 8)
    killed = entry.run_after(KILLED_AT.format(before=before), GENERATE, *tiny, *arguments)
    assert killed.status == -signal.SIGKILL
    assert (tmp_path / "out" / "A_sCECT.nrrd").exists() is not before and leftovers(tmp_path)
    done = generate(*arguments, "--step", 4)
    assert done.status == (0 if before else 2)  # another step is another result: never replaced unasked
    done = generate(*arguments, *(("--overwrite",) if before else ()))
    assert done.status == 0, done.err
    assert [event["event"] for event in events(done)][-2] == "written"
    assert leftovers(tmp_path) == []
    assert [event["event"] for event in events(generate(*arguments))][-2] == "skipped"


def test_processes_share_a_cohort(nrrd_files, dicom_folder, tiny_bundle, tmp_path):
    rows = [("A", nrrd_files[0]), ("B", nrrd_files[1]), ("C", dicom_folder)]
    cases = write_cases(tmp_path / "cases.csv", rows)
    arguments = ["--cases", cases, "--output", tmp_path / "out", "--model", tiny_bundle.folder, "--step", 16]
    children = [
        subprocess.Popen(
            entry.command(GENERATE, *arguments, "--progress", "json"),
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    written = []
    for child in children:
        out, _ = child.communicate(timeout=120)
        assert child.returncode == 0
        written.append([e["case"] for e in map(json.loads, out.splitlines()) if e["event"] == "written"])
    assert written == [["A", "C"], ["B"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cancel_ends_soon_with_status_3_and_leaves_nothing(tiny_bundle, tmp_path, number):
    phantom = thorax_phantom((48, 256, 256), (5.0, 1.4, 1.4))
    write_phantom_series(tmp_path / "in", phantom.ncct, phantom.spacing_zyx)
    output = tmp_path / "out" / "deep" / "o.nrrd"
    child = subprocess.Popen(
        entry.command(
            *(GENERATE, "--input", tmp_path / "in", "--output", output, "--model", tiny_bundle.folder),
            *("--progress", "json", "--uncertainty", tmp_path / "out" / "u.nrrd"),
            *("--first-look", tmp_path / "looks" / "f.png"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in child.stdout:
        if json.loads(line)["event"] == "progress":
            break
    assert (tmp_path / "looks" / "f.png").exists()
    child.send_signal(number)
    rest, err = child.communicate(timeout=30)
    assert child.returncode == 3
    assert err.strip() == "generate.py: cancelled"
    assert json.loads(rest.splitlines()[-1]) == {"event": "end", "status": 3, "message": "cancelled"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_too_little_memory_ends_with_status_4(tiny_bundle, tmp_path):
    """One window of 1408 x 1408 does not fit into what the process may still allocate."""
    big = sitk.Image(1408, 1408, 16, sitk.sitkInt16) - 1000
    big[700:900, 700:900, :] = 50
    sitk.WriteImage(big, str(tmp_path / "big.nrrd"), True)
    limited = """
import resource, torch
torch.ones(9)
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 900 * 2**20,) * 2)
"""
    output = tmp_path / "o.nrrd"
    arguments = ("--input", tmp_path / "big.nrrd", "--output", output, "--model", tiny_bundle.folder)
    done = entry.run_after(limited, GENERATE, *arguments)
    assert done.status == 4, done.err
    assert "out of memory" in done.err.strip().splitlines()[-1]
    assert not output.exists() and leftovers(tmp_path) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(generate, nrrd_files, tmp_path):
    """The limit on a file's size fails a write as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        done = generate("--input", nrrd_files[0], "--output", tmp_path / "o.nrrd", "--progress", "none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert done.status == 2 and "cannot write" in done.err
    assert list(tmp_path.iterdir()) == []


def test_peak_memory_does_not_grow_with_the_slices(tiny_bundle, tmp_path):
    """Of the whole process: 1,000 slices more cost little beyond their own input and output."""
    # Not ru_maxrss: a child starts with the peak of the process that it was forked from.
    tell_peak = r"""
import atexit, re
atexit.register(lambda: print(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]))
"""

    def peak_mib(slices):
        hu = np.full((slices, 128, 128), -1000, np.int16)
        hu[:, 20:100, 20:100] = 40
        path = tmp_path / f"{slices}.nrrd"
        sitk.WriteImage(sitk.GetImageFromArray(hu), str(path))
        output = tmp_path / f"{slices}_out.nrrd"
        arguments = ("--input", path, "--output", output, "--model", tiny_bundle.folder, "--step", 16)
        done = entry.run_after(tell_peak, GENERATE, *arguments, "--progress", "none")
        assert done.status == 0, done.err
        return int(done.out) / 1024

    volume_mib = 1000 * 128 * 128 * 2 / 2**20
    grown = peak_mib(1016) - peak_mib(16)
    assert volume_mib < grown < 6 * volume_mib


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("generate.py", ("--input", "/nowhere", "--output")),
        ("generate.py", ("--cases", "/nowhere.csv", "--output")),
        ("evaluate.py", ("--no-lpips", "--cases", "/nowhere.csv", "--output")),
        ("measure.py", ("chambers", "--cases", "/nowhere.csv", "--output")),
    ],
)
def test_ends_with_a_status_inside_the_slicer_application(tmp_path, script, arguments):
    """`Slicer --python-script` goes on after sys.exit: with slicer.app there, the process is ended for good."""
    in_slicer = """
import atexit, types
sys.modules["slicer"] = types.SimpleNamespace(app=object())
atexit.register(lambda: print("went on after the script"))
"""
    done = entry.run_after(in_slicer, GENERATE.with_name(script), *arguments, tmp_path / "output")
    assert done.status == 2 and done.out == ""
    assert len(done.err.splitlines()) == 1


def test_a_missing_package_is_named(nrrd_files, tiny_bundle, tmp_path):
    without_torch = "sys.modules['torch'] = None"
    arguments = ("--input", nrrd_files[0], "--output", tmp_path / "o.nrrd", "--model", tiny_bundle.folder)
    done = entry.run_after(without_torch, GENERATE, *arguments)
    assert done.status == 2
    assert "package torch is not installed: install it with the PyTorch extension" in done.err
    assert len(done.err.splitlines()) == 1


def test_pytorch_is_told_to_use_large_pages_unless_the_user_said_otherwise():
    code = (
        f"import os, sys; sys.path.insert(0, {str(GENERATE.parents[1])!r})\n"
        "from SyntheticContrastLib.synthesis.process import run_entry\n"
        "run_entry(lambda arguments: print('torch' in sys.modules, os.environ.get('THP_MEM_ALLOC_ENABLE')) or 0)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=each).stdout
        for each in (environment, environment | {"THP_MEM_ALLOC_ENABLE": "0"})
    ]
    on_its_own = "1" if Path("/sys/kernel/mm/transparent_hugepage").exists() else None  # else PyTorch would warn
    assert said == [f"False {on_its_own}\n", "False 0\n"]


def test_internal_errors_end_with_status_1_and_a_traceback():
    code = (
        f"import sys; sys.path.insert(0, {str(GENERATE.parents[1])!r})\n"
        "from SyntheticContrastLib.synthesis.process import run_entry\n"
        "run_entry(lambda arguments: 1 // 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr.splitlines()[-1]

"""evaluate.py as a user meets it: records, tables and report of a phantom cohort, broken cases, reruns, processes."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import stats

from unit import entry
from unit.phantom_cohort import truth, write_case, write_table

EVALUATE = entry.GENERATE.with_name("evaluate.py")
SLICES = (7, 8)  # with all chambers in them
COUNT = 5


def evaluate(*arguments):
    """The status and what was said, in this process."""
    out, err = io.StringIO(), io.StringIO()
    texts = [str(argument) for argument in ("--no-lpips", "--progress", "json", *arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status, line = entry.load_entry(EVALUATE).main(texts), ""
        except Exception as error:
            status, line = entry.explain(error)
    return entry.Outcome(status, out.getvalue(), err.getvalue() + line)


def events(outcome, *names):
    told = [json.loads(line) for line in outcome.out.splitlines()]
    return [(event["event"], event.get("case")) for event in told if event["event"] in names]


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Five whole cases and rows for them: not to be changed."""
    folder = tmp_path_factory.mktemp("cohort")
    return folder, [write_case(folder, index, slices=SLICES) for index in range(COUNT)]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Five cases without MS-SSIM, so that a process need not load PyTorch; P004 has many slices."""
    folder = tmp_path_factory.mktemp("small")
    shapes = [(2, 100, 100)] * 4 + [(60, 100, 100)]
    return folder, [
        write_case(folder, index, (0, shape[0] - 1), extras=False, shape=shape) for index, shape in enumerate(shapes)
    ]


@pytest.fixture(scope="module")
def first_run(inputs):
    """The cohort with one broken case, one without sCECT, a column that may tell the patient; as it was evaluated."""
    folder, rows = inputs
    rows = [
        dict(row, study_date="20240101", dose=f"{index % 2}", mask="Doe_John/m.nii.gz")
        for index, row in enumerate(rows)
    ]
    (folder / "Doe_John.nrrd").write_bytes((folder / rows[0]["cect"]).read_bytes()[:3000])
    rows.append(dict(rows[0], case_id="broken", cect="Doe_John.nrrd"))
    rows.append(dict(rows[1], case_id="incomplete", scect=""))
    cases = write_table(folder, rows)
    return folder, cases, evaluate("--cases", cases, "--output", folder / "out", "--case-figures", 1)


def test_a_broken_case_is_told_and_the_rest_is_evaluated(first_run):
    folder, _, done = first_run
    assert done.status == 2
    assert re.search("evaluate.py: broken: Doe_John.nrrd cannot be read", done.err)
    assert "incomplete: no scect given" in done.err
    assert done.err.splitlines()[-1].endswith("2 of 7 cases failed, the others are done: broken, incomplete")
    assert len(events(done, "evaluated")) == COUNT
    assert json.loads(done.out.splitlines()[-1]) == {"event": "end", "status": 2, "message": "some cases failed"}
    statistics = json.loads((folder / "out" / "statistics.json").read_text())
    assert statistics["evaluated"] == COUNT
    assert [one["case_id"] for one in statistics["missing"]] == ["broken", "incomplete"]


def test_values_of_a_case_are_those_of_other_implementations(inputs, first_run):
    from skimage.metrics import peak_signal_noise_ratio

    folder, rows = inputs

    def slices(name):
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / rows[0][name])))
        return array[::-1][SLICES[0] : SLICES[1] + 1].astype(float)  # stored from below

    record = json.loads((folder / "out" / "cases" / "P000.json").read_text())
    assert record["slices"] == {"first": SLICES[0], "last": SLICES[1], "from": "given"}
    cect = np.clip(slices("cect"), -125, 225)
    for image in ("NCCT", "sCECT"):
        found, own = record["similarity"][image], np.clip(slices(image.lower()), -125, 225)
        assert found["mae"] == pytest.approx(np.abs(own - cect).mean(), rel=1e-5)
        assert found["mae_unclipped"] == pytest.approx(np.abs(slices(image.lower()) - slices("cect")).mean(), rel=1e-5)
        assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(cect, own, data_range=350), abs=1e-4)
        assert len(record["of_slices"][image]["ms_ssim"]) == 2
        assert np.mean(record["of_slices"][image]["ms_ssim"]) == pytest.approx(found["ms_ssim"])


def test_statistics_are_scipys_of_the_cases_table(first_run):
    out = first_run[0] / "out"
    cases = table(out / "tables" / "per_case.csv")
    rows = table(out / "tables" / "similarity_statistics.csv")
    assert {(row["column"], row["group"]) for row in rows} == {
        *{("", "all cases"), ("vendor", "Siemens"), ("vendor", "Philips"), ("dose", "0"), ("dose", "1")}
    }
    vendors = {f"P{index:03d}": truth(index).vendor for index in range(COUNT)}
    checked = 0
    for row in rows:
        if row["column"] == "dose":
            continue
        group = [case for case in cases if row["group"] in ("all cases", vendors[case["case_id"]])]
        assert int(row["n"]) == len(group)
        ncct, scect = (
            np.array([float(case[f"{name}_{row['measure']}"]) for case in group]) for name in ("NCCT", "sCECT")
        )
        for name, values in (("NCCT", ncct), ("sCECT", scect)):
            assert float(row[f"{name}_median"]) == pytest.approx(np.median(values))
            assert float(row[f"{name}_lower_quartile"]) == pytest.approx(np.percentile(values, 25))
            if len(group) > 1:
                assert float(row[f"{name}_sd"]) == pytest.approx(stats.tstd(values))
        if len(group) < 3:
            assert row["p"] == "" and row["test"].startswith("none")
            continue
        normal = stats.shapiro(ncct - scect).pvalue
        assert float(row["shapiro_wilk_p"]) == pytest.approx(normal)
        test = stats.ttest_rel if normal >= 0.05 else stats.wilcoxon
        assert float(row["p"]) == pytest.approx(test(ncct, scect).pvalue)
        checked += 1
    assert checked >= 12


def test_chambers_and_lesions_are_in_the_tables(first_run):
    out = first_run[0] / "out"
    chambers = table(out / "tables" / "chambers.csv")
    assert [row["image"] for row in chambers] == ["sCECT", "CECT"] * COUNT
    for row in chambers:
        assert float(row["dice"]) > (0.6 if row["image"] == "sCECT" else 0.8)
    reference = [float(row["reference_ml"]) for row in chambers[::2]]
    ours = [float(row["volume_ml"]) for row in chambers[::2]]
    found = table(out / "tables" / "chamber_statistics.csv")[0]
    difference = np.subtract(ours, reference)
    assert float(found["rho"]) == pytest.approx(np.corrcoef(ours, reference)[0, 1])
    assert float(found["bland_altman_bias"]) == pytest.approx(difference.mean())
    assert float(found["bland_altman_upper"]) == pytest.approx(difference.mean() + 1.96 * difference.std(ddof=1))
    lesions = table(out / "tables" / "lesions_statistics.csv")
    assert [(row["group"], row["measure"]) for row in lesions[:2]] == [("all cases", "cnr"), ("all cases", "noise_hu")]
    assert float(lesions[0]["NCCT_median"]) < 2 < float(lesions[0]["sCECT_median"])


class Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.pieces, self.pictures, self.elsewhere, self.open = [], 0, [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "img":
            assert given["src"].startswith("data:image/png;base64,iVBOR") and given["alt"]
            self.pictures += 1
        self.elsewhere += [given[name] for name in ("src", "href") if "://" in given.get(name, "")]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.pieces.append(data)


def test_the_page_is_whole_says_its_conventions_and_names_no_patient(first_run):
    page = (first_run[0] / "out" / "report.html").read_text(encoding="utf-8")
    read = Text()
    read.feed(page)
    assert read.open == [] and read.elsewhere == []
    assert read.pictures == 7  # boxes, slices, lesions, two of chambers, two of the one case that is drawn
    text = " ".join(" ".join(read.pieces).split())
    for said in (
        "synthetic - not for diagnosis",
        "5 of 7 cases evaluated.",
        "Window 350/50 HU (-125 to 225 HU)",
        "data range 350 HU",
        "given in 5 of the cases",
        "64 bins",
        "ddof 1",
        "broken: the cect cannot be read",
        "column study_date: left out, it may tell who a patient is",
        "column mask: left out, its cells are paths",
        "vendor: Siemens",
    ):
        assert said in text, said
    assert "Doe_John" not in page and "20240101" not in page and "nan" not in text
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == 21
    assert all((first_run[0] / "out" / link).stat().st_size > 1000 for link in links)


def test_a_rerun_does_only_what_changed(inputs, first_run, tmp_path):
    folder, rows = inputs
    shutil.copytree(first_run[0] / "out", tmp_path / "out")
    rows = [{**row, **{key: folder / row[key] for key in row if str(row[key]).startswith("P0") and "/" in row[key]}}
            for row in rows[:3]]  # fmt: skip
    shutil.copy(rows[1]["scect"], tmp_path / "other_name.nrrd")
    rows[1]["scect"] = tmp_path / "other_name.nrrd"  # the same content
    rows[2]["scect"] = rows[2]["cect"]  # another content
    cases = write_table(tmp_path, rows)
    arguments = ("--cases", cases, "--output", tmp_path / "out", "--case-figures", 1)
    done = evaluate(*arguments)
    assert done.status == 0, done.err
    assert events(done, "skipped", "evaluated") == [("skipped", "P000"), ("skipped", "P001"), ("evaluated", "P002")]
    record = json.loads((tmp_path / "out" / "cases" / "P002.json").read_text())
    assert record["similarity"]["sCECT"]["psnr"] is None and record["similarity"]["sCECT"]["mae"] == 0
    [psnr] = [
        row
        for row in table(tmp_path / "out" / "tables" / "similarity_statistics.csv")
        if (row["group"], row["measure"]) == ("all cases", "psnr")
    ]
    assert psnr["n"] == "2"  # equal images have no PSNR: the case is left out on both sides
    done = evaluate(*arguments, "--window", 400, 40)
    assert [name for name, _ in events(done, "skipped", "evaluated")] == ["evaluated"] * 3
    assert "Window 400/40 HU (-160 to 240 HU)" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_cect_on_another_grid_is_resampled(inputs, first_run, tmp_path):
    """Cut by its upper slices and some columns, with pixels of half the size."""
    folder, rows = inputs
    image = sitk.ReadImage(str(folder / rows[0]["cect"]))
    cut = image[20:, :, :5]  # stored from below: the lower 5 of 12 slices
    fine = sitk.Resample(
        cut,
        [2 * n for n in cut.GetSize()[:2]] + [5],
        sitk.Transform(),
        sitk.sitkLinear,
        cut.GetOrigin(),
        [mm / 2 for mm in cut.GetSpacing()[:2]] + [cut.GetSpacing()[2]],
    )
    sitk.WriteImage(fine, str(tmp_path / "cect.nrrd"))
    row = {name: folder / rows[0][name] for name in ("ncct", "scect")}
    row |= {"case_id": "P000", "cect": tmp_path / "cect.nrrd", "first_slice": 6, "last_slice": 8}
    done = evaluate("--cases", write_table(tmp_path, [row]), "--output", tmp_path / "out", "--case-figures", 0)
    assert done.status == 0, done.err
    found = json.loads((tmp_path / "out" / "cases" / "P000.json").read_text())
    assert found["slices"] == {"first": 7, "last": 8, "from": "given"}
    assert found["shape_zyx"] == [2, 168, 148]
    assert any("slices 6 to 8 are not all in the CECT" in note for note in found["notes"])
    assert any("CECT was resampled" in note for note in found["notes"])
    same = json.loads((first_run[0] / "out" / "cases" / "P000.json").read_text())["similarity"]["NCCT"]
    assert found["similarity"]["NCCT"]["mae"] == pytest.approx(same["mae"] * 168 / 148, rel=0.02)  # 20 columns of air
    far = sitk.Image(fine)
    far.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(far, str(tmp_path / "cect.nrrd"))
    done = evaluate("--cases", tmp_path / "cases.csv", "--output", tmp_path / "out")
    assert done.status == 2 and "does not meet the NCCT" in done.err


def test_slices_are_proposed_from_the_image(tmp_path):
    rows = [write_case(tmp_path, 0, extras=False, shape=(48, 112, 112))]
    for column in ("first_slice", "last_slice"):
        rows[0][column] = ""
    arguments = ("--cases", write_table(tmp_path, rows), "--output", tmp_path / "out", "--case-figures", 0)
    done = evaluate(*arguments)
    assert done.status == 0, done.err
    record = json.loads((tmp_path / "out" / "cases" / "P000.json").read_text())
    slices = record["slices"]
    assert slices["from"] == "proposed from the NCCT" and 5 < slices["first"] < slices["last"] < 44
    assert any("no MS-SSIM: slices of 112 x 112 pixels" in note for note in record["notes"])
    assert "ms_ssim" not in record["similarity"]["NCCT"]
    assert evaluate(*arguments, "--slices", "all").status == 0
    record = json.loads((tmp_path / "out" / "cases" / "P000.json").read_text())
    assert record["slices"] == {"first": 0, "last": 47, "from": "all slices"}


def start(rank, size, cases, output):
    return subprocess.Popen(
        entry.command(
            EVALUATE, "--cases", cases, "--output", output, "--no-lpips", "--progress", "json", "--case-figures", 0
        ),
        env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    return entry.Outcome(process.returncode, out, err)


def test_of_three_processes_one_is_killed_and_the_rerun_does_its_cases(small, tmp_path):
    folder, rows = small
    cases = write_table(folder, rows)
    processes = [start(rank, 3, cases, tmp_path) for rank in range(3)]
    for line in processes[1].stdout:  # it has P001 and P004
        if json.loads(line)["event"] == "evaluated":
            processes[1].kill()
            break
    first, killed, third = (finish(process) for process in processes)
    assert (first.status, killed.status, third.status) == (0, -signal.SIGKILL, 0), first.err + third.err
    assert events(first, "evaluated") == [("evaluated", "P000"), ("evaluated", "P003")]
    assert events(third, "evaluated") == [("evaluated", "P002")]
    whole = {path.stem for path in (tmp_path / "cases").glob("*.json") if not path.name.startswith(".")}
    if "P004" in whole:  # the signal came too late
        (tmp_path / "cases" / "P004.json").unlink()
    else:
        assert not (tmp_path / "report.html").exists()  # nobody takes the cohort for whole
    again = [finish(process) for process in [start(rank, 3, cases, tmp_path) for rank in range(3)]]
    assert [one.status for one in again] == [0, 0, 0]
    assert [events(one, "skipped", "evaluated") for one in again] == [
        [("skipped", "P000"), ("skipped", "P003")],
        [("skipped", "P001"), ("evaluated", "P004")],
        [("skipped", "P002")],
    ]
    assert json.loads((tmp_path / "statistics.json").read_text())["evaluated"] == COUNT
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


def test_under_torchrun_a_broken_case_does_not_end_the_other_process(small, tmp_path):
    """torchrun ends all when one ends with a failure: the broken case is done first, the others much later."""
    folder, rows = small
    (folder / "broken.nrrd").write_bytes(b"NRRD0004\n")
    rows = [dict(rows[0], case_id="broken", cect="broken.nrrd"), rows[4], *rows[:2]]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["--cases", write_table(folder, rows), "--output", tmp_path, "--no-lpips", "--case-figures", 0]
    done = subprocess.run(
        [str(part) for part in (*torchrun, EVALUATE, *arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode != 0 and "broken: broken.nrrd cannot be read" in done.stderr
    statistics = json.loads((tmp_path / "statistics.json").read_text())
    assert statistics["evaluated"] == 3 and [one["case_id"] for one in statistics["missing"]] == ["broken"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cancelling_ends_with_status_3_and_keeps_what_is_finished(small, tmp_path, number):
    folder, rows = small
    process = start(0, 1, write_table(folder, rows), tmp_path)
    for line in process.stdout:
        if json.loads(line)["event"] == "evaluated":
            break
    process.send_signal(number)
    done = finish(process)
    assert done.status == 3 and done.err.strip() == "evaluate.py: cancelled"
    assert json.loads(done.out.splitlines()[-1])["status"] == 3
    assert json.loads((tmp_path / "cases" / "P000.json").read_text())["state"] == "done"
    assert not (tmp_path / "report.html").exists()
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


REFUSED = {
    "no such table": (["--cases", "{dir}/none.csv"], "none.csv does not exist"),
    "window of no width": (["--cases", "{cases}", "--window", "0", "50"], "give a width above 0"),
    "output is a file": (["--cases", "{cases}", "--output", "{cases}"], "is a file: give a folder"),
    "no such readings": (["--cases", "{cases}", "--readings", "{dir}/r.csv"], "r.csv does not exist"),
    "unknown slices": (["--cases", "{cases}", "--slices", "some"], "invalid choice"),
    "both of lpips": (["--cases", "{cases}", "--lpips-weights", "{cases}"], "not allowed with"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_line_and_change_nothing(small, tmp_path, case):
    arguments, message = REFUSED[case]
    cases = write_table(*small)
    done = evaluate("--output", tmp_path / "out", *(one.format(dir=tmp_path, cases=cases) for one in arguments))
    assert done.status == 2 and message in done.err and len(done.err.strip().splitlines()) == 1, done.err
    assert list(tmp_path.iterdir()) == []

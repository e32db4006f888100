"""download.py, without a network: a stand-in transport, and a stand-in idc-index package with its s5cmd program."""

import csv
import dataclasses
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from SyntheticContrastLib.ct.cases import COLUMNS, read_cases
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.synthesis.process import explain
from SyntheticContrastTrainingLib import public_download
from SyntheticContrastTrainingLib.public_download import IdcTransport, IndexEntry
from SyntheticContrastTrainingLib.public_pairs import choose, read_pairs, write_cases
from unit import entry
from unit.ct_factory import PATIENT, ct_slices, save, save_all

DOWNLOAD = entry.TRAINING_CLI / "download.py"
SLICES = 4
PAIRS = read_pairs()[:3]
IDS = [pair.case_id for pair in PAIRS]

IDC_INDEX = """
import json, logging, pathlib
logging.basicConfig(level=logging.INFO)
class Column(list):
    def isin(self, values): return [value in values for value in self]
class Table:
    def __init__(self, rows): self.rows = rows
    def __getitem__(self, key):
        if isinstance(key, str): return Column(row[key] for row in self.rows)
        return Table([row for row, keep in zip(self.rows, key) if keep])
    def to_dict(self, kind):
        assert kind == "records"
        return self.rows
here = pathlib.Path(__file__).parent
class IDCClient:
    def __init__(self):
        self.index = Table(json.loads((here / "rows.json").read_text()))
        self.s5cmdPath = here / "s5cmd"
"""
S5CMD = """#!{python}
import pathlib, shutil, sys, time
here = pathlib.Path(__file__).parent
*options, command, source, target = sys.argv[1:]
assert (command, target[-1]) == ("cp", "/") and "--no-sign-request" in options, sys.argv
assert options[options.index("--endpoint-url") + 1] == "https://archive.test"
files = sorted((pathlib.Path({archive!r}) / source.split("/")[3]).glob("*"))
if not files:
    sys.exit('ERROR "cp": no object found')
for number, path in enumerate(files):
    shutil.copy(path, target)
    while number == 1 and (here / "stall").exists():
        (here / "stalled").write_text(str(__import__("os").getpid()))
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Small series under the SeriesInstanceUIDs of the first listed pairs, a folder each, named by the UID."""
    folder = tmp_path_factory.mktemp("archive")
    for number, pair in enumerate(PAIRS):
        for series in pair.series.values():
            hu = np.full((SLICES, 12, 12), 10 * number, np.int16)
            hu[:, 0] = -1000
            save_all(folder / series.uid, ct_slices(hu, series_uid=series.uid))
    return folder


def index_of(archive):
    return {
        series.uid: IndexEntry(
            SLICES, sum(path.stat().st_size for path in (archive / series.uid).iterdir()), pair.licence, pair.doi
        )
        for pair in PAIRS
        for series in pair.series.values()
    }


class StandIn:
    """A transport that copies from the archive. `spoil(folder)` is done to what arrives of the series in `spoilt`."""

    def __init__(self, archive):
        self.archive, self.index = archive, index_of(archive)
        self.fetched, self.spoilt, self.spoil = [], set(), None

    def fetch(self, series_uid, folder, on_bytes):
        self.fetched.append(series_uid)
        for number, path in enumerate(sorted((self.archive / series_uid).iterdir())):
            shutil.copy(path, folder)
            on_bytes(number * path.stat().st_size)
        if series_uid in self.spoilt:
            self.spoil(folder)


@pytest.fixture
def transport(archive):
    return StandIn(archive)


@pytest.fixture
def download(transport, capsys):
    """Run the entry with the stand-in transport; its log must never show who the patient is, or when it was."""

    def run(*arguments):
        module = entry.load_entry(DOWNLOAD)
        try:
            status, line = module.main([str(argument) for argument in arguments], lambda uids: transport), ""
        except Exception as error:
            status, line = explain(error)
        captured = capsys.readouterr()
        for secret in (PATIENT, "SECRET-17", "19500102", "20200304"):
            assert secret not in captured.out + captured.err + line
        return entry.Outcome(status, captured.out, captured.err + line)

    return run


@pytest.fixture
def package(archive, tmp_path):
    """A folder with a stand-in idc_index package; its s5cmd stalls in the second file while a file `stall` is there."""
    folder = tmp_path / "site" / "idc_index"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(IDC_INDEX + "from . import index\n")
    (folder / "index.py").write_text('aws_endpoint_url = "https://archive.test"\n')
    (folder / "s5cmd").write_text(S5CMD.format(python=sys.executable, archive=str(archive)))
    (folder / "s5cmd").chmod(0o755)
    rows = [
        {
            "SeriesInstanceUID": uid,
            "instanceCount": found.slices,
            "series_size_MB": found.bytes / 1e6,
            "license_short_name": found.licence,
            "source_DOI": found.doi,
            "series_aws_url": f"s3://bucket/{uid}/*",
        }
        for uid, found in index_of(archive).items()
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def whole_case(case_id):
    return [
        case_id,
        *(f"{case_id}/{phase}" for phase in ("post", "pre")),
        *(f"{case_id}/{phase}/IM{k:04d}.dcm" for phase in ("post", "pre") for k in range(SLICES)),
    ]


def expected(*case_ids):
    return sorted([name for case_id in case_ids for name in whole_case(case_id)] + ["cases.csv", "ATTRIBUTION.md"])


# The list that ships


def test_the_list_names_409_pairs_the_17_likely_chest_pairs_and_as_many_patients_as_possible_first():
    pairs = read_pairs()
    assert [pair.likely_chest for pair in pairs] == [True] * 17 + [False] * 392
    assert len({pair.case_id.lower() for pair in pairs}) == 409
    assert len({pair.post.uid for pair in pairs}) == 409
    assert not {pair.pre.uid for pair in pairs} & {pair.post.uid for pair in pairs}
    assert len({(pair.collection, pair.patient) for pair in pairs[:8]}) == 8
    assert all(pair.case_id.startswith(f"{pair.collection}_{pair.patient}_") for pair in pairs)
    assert all(pair.licence in ("CC BY 3.0", "CC BY 4.0") and pair.doi.startswith("10.7937/") for pair in pairs)
    assert all(series.slices >= 20 and series.bytes > 1e7 for pair in pairs for series in pair.series.values())


def test_every_listed_case_fits_into_a_table_of_cases(tmp_path):
    write_cases(tmp_path, read_pairs(), {})
    assert [case.case_id for case in read_cases(tmp_path / "cases.csv")] == [pair.case_id for pair in read_pairs()]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 17),
        ({"everything": True}, 409),
        ({"first": 3}, 3),
        ({"collections": ["cmb_lca"]}, 3),
        ({"collections": ["tcga_kich"], "everything": True}, 3),
        ({"collections": ["hcc_tace_seg"], "everything": True}, 292),
        ({"cases": ["tcga_kich_TCGA-KM-8440_1", IDS[1]]}, 2),
    ],
)
def test_choosing(options, count):
    assert len(choose(read_pairs(), **options)) == count


def test_the_first_85_pairs_of_hcc_tace_seg_are_one_of_each_patient_with_the_first_series_after_contrast():
    pairs = choose(read_pairs(), collections=["hcc_tace_seg"], everything=True, first=85)
    assert len({pair.patient for pair in pairs}) == 85
    assert all(int(pair.case_id.rsplit("_", 1)[1]) % 2 == 1 for pair in pairs)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--case", "nobody"], "no case 'nobody'"),
        (["--collection", "nowhere"], "no collection 'nowhere'"),
        (["--collection", "tcga_kich"], "add --all"),
        (["--pairs", "0"], "out of range"),
        (["--case", IDS[0], "--pairs", "1"], "--case names the pairs"),
        (["--pairs", "many"], "invalid int"),
    ],
)
def test_bad_choices_are_refused_in_one_line(download, transport, tmp_path, arguments, says):
    outcome = download("--output", tmp_path / "out", "--yes", *arguments)
    assert outcome.status == 2
    assert says in outcome.err and "\n" not in outcome.err
    assert not transport.fetched


def test_an_output_is_needed_but_for_the_list(download, tmp_path):
    outcome = download("--yes")
    assert (outcome.status, "--output" in outcome.err) == (2, True)
    (tmp_path / "file").touch()
    outcome = download("--yes", "--output", tmp_path / "file")
    assert (outcome.status, "is a file" in outcome.err) == (2, True)


NO_NETWORK = """
import socket
sys.modules["idc_index"] = None
def refuse(*arguments, **options): raise AssertionError("network used")
socket.socket.connect = socket.getaddrinfo = refuse
"""


def test_the_list_needs_neither_network_nor_package():
    outcome = entry.run_after(NO_NETWORK, DOWNLOAD, "--list")
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert len(lines) == 1 + 17 + 1
    assert lines[0].split() == ["case", "collection", "before", "after", "slices", "MB", "licence", "doi"]
    assert IDS[0] in lines[1] and "CC BY 4.0" in lines[1] and "10.7937/" in lines[1]
    assert "7.68 GB" in lines[-1] and "409 pairs" in lines[-1]


def test_the_list_for_a_program(download):
    outcome = download("--list", "--all", "--progress", "json")
    *pairs, end = map(json.loads, outcome.out.splitlines())
    assert len(pairs) == 409 and end == {"event": "end", "status": 0, "message": "done"}
    assert pairs[0]["pre"]["uid"] == PAIRS[0].pre.uid


# Before anything is downloaded


def test_a_missing_package_is_one_line_that_says_how_to_install_it(tmp_path):
    outcome = entry.run_after(NO_NETWORK, DOWNLOAD, "--output", tmp_path / "out", "--yes")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1 and "pip install idc-index" in outcome.err
    assert not (tmp_path / "out").exists()


def test_nothing_is_downloaded_without_a_yes(download, transport, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # no terminal: a yes in a pipe is no person's
    outcome = download("--output", tmp_path / "out", "--pairs", 2)
    assert outcome.status == 2
    assert "2 pairs" in outcome.err and "GB" in outcome.err and "CC BY 4.0" in outcome.err and "--yes" in outcome.err
    assert f"https://doi.org/{PAIRS[0].doi}" in outcome.out and "are free" in outcome.out
    assert not transport.fetched and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("Yes\n", 0), ("\n", 3), ("no\n", 3), ("", 3)])
def test_a_person_is_asked(download, transport, tmp_path, monkeypatch, answer, status):
    stdin = io.StringIO(answer)
    stdin.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", stdin)
    outcome = download("--output", tmp_path / "out", "--pairs", 1)
    assert outcome.status == status
    assert "Download 1 pairs" in outcome.err
    assert bool(transport.fetched) == (status == 0)


def test_too_little_disk_is_refused(download, transport, tmp_path, monkeypatch):
    asked = []

    def usage(path):
        asked.append(path)
        return SimpleNamespace(free=99_000_000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    outcome = download("--output", tmp_path / "new" / "out", "--pairs", 2, "--yes")
    assert outcome.status == 2
    assert "are free" in outcome.err and "fewer pairs" in outcome.err
    assert set(asked) == {tmp_path}
    assert not transport.fetched and not (tmp_path / "new").exists()


# Downloading


def test_pairs_table_and_attribution_are_written(download, tmp_path):
    output = tmp_path / "out"
    outcome = download("--output", output, "--pairs", 2, "--yes")
    assert outcome.status == 0, outcome.err
    assert names(output) == expected(*IDS[:2])
    with (output / "cases.csv").open() as file:
        assert file.readline() == ",".join(COLUMNS) + "\n"
        assert file.readline() == f"{IDS[0]},MSB-08588,,{IDS[0]}/pre,{IDS[0]}/post,,,,,,\n"
    cases = read_cases(output / "cases.csv")
    assert [case.case_id for case in cases] == IDS[:2]
    for number, case in enumerate(cases):
        for path in (case.ncct, case.cect):
            assert read_ct(path).hu.max() == 10 * number
    text = (output / "ATTRIBUTION.md").read_text()
    for pair in PAIRS[:2]:
        assert f"| {pair.collection} | 1 | {pair.licence} | <https://doi.org/{pair.doi}> |" in text
        assert pair.pre.uid in text and pair.post.uid in text
    assert PAIRS[2].pre.uid not in text


def test_json_lines(download, tmp_path):
    outcome = download("--output", tmp_path / "out", "--pairs", 1, "--yes", "--progress", "json")
    events = [json.loads(line) for line in outcome.out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[:4] == ["index", "start", "case", "series"] and kinds[-2:] == ["written", "end"]
    assert events[1]["bytes_missing"] > 0 and events[1]["licences"][0]["doi"] == PAIRS[0].doi
    progress = [event["slices_done"] for event in events if event["event"] == "progress"]
    first, second = progress[: progress.index(SLICES) + 1], progress[progress.index(SLICES) + 1 :]
    assert all(len(told) > 1 and told == sorted(set(told)) and told[-1] == SLICES for told in (first, second))
    assert outcome.err == ""


def test_a_rerun_downloads_only_what_is_missing(download, transport, tmp_path):
    output = tmp_path / "out"

    def fail(folder):
        raise InputError("the transfer did not finish")

    transport.spoilt, transport.spoil = {PAIRS[1].post.uid}, fail
    outcome = download("--output", output, "--pairs", 3, "--yes")
    assert outcome.status == 2
    assert f"{IDS[1]}: the transfer did not finish" in outcome.err and "1 of 3 pairs failed" in outcome.err
    assert names(output / IDS[1]) == ["pre", *(f"pre/IM{k:04d}.dcm" for k in range(SLICES))]
    assert [case.case_id for case in read_cases(output / "cases.csv")] == [IDS[0], IDS[2]]

    transport.fetched, transport.spoilt = [], set()
    assert download("--output", output, "--pairs", 3, "--yes").status == 0
    assert transport.fetched == [PAIRS[1].post.uid]
    assert names(output) == expected(*IDS)
    assert {case.case_id for case in read_cases(output / "cases.csv")} == set(IDS)

    transport.fetched = []
    assert download("--output", output, "--pairs", 3).status == 0  # nothing to agree to
    assert transport.fetched == []


def cut_off(folder):
    path = folder / "IM0002.dcm"
    path.write_bytes(path.read_bytes()[:-20])


def lose_a_slice(folder):
    (folder / "IM0002.dcm").unlink()


def add_a_file(folder):
    (folder / "other.dcm").write_bytes(b"x")


def mix_series(folder):
    save(folder / "IM0002.dcm", ct_slices(np.zeros((1, 12, 12), np.int16))[0])


def repeat_a_slice(folder):
    shutil.copy(folder / "IM0001.dcm", folder / "IM0002.dcm")


def damage(folder):
    (folder / "IM0002.dcm").write_bytes(b"<html>busy</html>".ljust((folder / "IM0002.dcm").stat().st_size))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (cut_off, "bytes arrived"),
        (lose_a_slice, "3 of 4 slices"),
        (add_a_file, "5 of 4 slices"),
        (mix_series, "another series"),
        (repeat_a_slice, "arrived twice"),
        (damage, "no readable DICOM"),
    ],
)
def test_a_series_that_is_not_right_gets_no_name(download, transport, tmp_path, spoil, says):
    transport.spoilt, transport.spoil = {PAIRS[0].pre.uid}, spoil
    outcome = download("--output", tmp_path / "out", "--pairs", 2, "--yes")
    assert outcome.status == 2
    assert f"{IDS[0]}: " in outcome.err and says in outcome.err
    assert names(tmp_path / "out") == expected(IDS[1])


def test_an_internal_error_in_one_pair_is_status_1_and_spares_the_others(download, transport, tmp_path):
    transport.spoilt, transport.spoil = {PAIRS[0].pre.uid}, lambda folder: 1 / 0
    outcome = download("--output", tmp_path / "out", "--pairs", 2, "--yes")
    assert (outcome.status, names(tmp_path / "out")) == (1, expected(IDS[1]))


def test_a_series_that_the_index_lacks_fails_with_a_line(download, transport, tmp_path):
    del transport.index[PAIRS[0].post.uid]
    outcome = download("--output", tmp_path / "out", "--pairs", 2, "--yes")
    assert outcome.status == 2
    assert "is not in this index" in outcome.err and "--upgrade idc-index" in outcome.err
    assert [case.case_id for case in read_cases(tmp_path / "out" / "cases.csv")] == [IDS[1]]


def test_the_licence_is_the_one_that_the_index_states_now(download, transport, tmp_path):
    for uid, found in transport.index.items():
        transport.index[uid] = IndexEntry(found.slices, found.bytes, "CC BY 9.0", "10.7937/new")
    outcome = download("--output", tmp_path / "out", "--pairs", 1, "--yes")
    assert "CC BY 9.0, https://doi.org/10.7937/new" in outcome.out
    assert "| CC BY 9.0 | <https://doi.org/10.7937/new> |" in (tmp_path / "out" / "ATTRIBUTION.md").read_text()


def test_a_series_stays_finished_when_the_index_gets_a_newer_version(archive, tmp_path):
    entries = index_of(archive)
    old, new = (entries[series.uid] for series in PAIRS[0].series.values())
    series = dataclasses.replace(PAIRS[0].pre, slices=old.slices, bytes=old.bytes)
    pair = dataclasses.replace(PAIRS[0], pre=series)
    shutil.copytree(archive / series.uid, tmp_path / pair.case_id / "pre")
    newer = {series.uid: dataclasses.replace(new, slices=SLICES + 1)}
    assert entry.load_entry(DOWNLOAD).missing_phases(pair, tmp_path, newer) == ["post"]


def test_a_finished_series_that_lost_a_slice_is_fetched_again(download, transport, tmp_path):
    download("--output", tmp_path / "out", "--pairs", 1, "--yes")
    lose_a_slice(tmp_path / "out" / IDS[0] / "post")
    transport.fetched = []
    assert download("--output", tmp_path / "out", "--pairs", 1, "--yes").status == 0
    assert transport.fetched == [PAIRS[0].post.uid]
    assert names(tmp_path / "out") == expected(IDS[0])


def test_a_folder_with_other_files_is_not_replaced(download, transport, tmp_path):
    own = tmp_path / "out" / IDS[0] / "pre" / "notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    outcome = download("--output", tmp_path / "out", "--pairs", 1, "--yes")
    assert (outcome.status, own.read_text()) == (2, "mine")
    assert "move them away" in outcome.err and not transport.fetched


def test_rows_of_a_person_stay_in_the_table(download, tmp_path):
    table = tmp_path / "out" / "cases.csv"
    table.parent.mkdir()
    table.write_text(
        f"case_id, cect, first_slice\nmine,/data/mine.nrrd,\n{IDS[0]},{IDS[0]}/post,7\n{IDS[2]},x.nrrd,1\n"
    )
    assert download("--output", tmp_path / "out", "--pairs", 2, "--yes").status == 0
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case_id"] for row in rows] == ["mine", IDS[0], IDS[1]]  # the third listed pair is not there
    assert rows[1]["first_slice"] == "7"


def test_leftovers_of_a_killed_download_are_removed_those_of_a_running_one_are_not(download, tmp_path):
    case = tmp_path / "out" / IDS[0]
    stale, live = case / ".partial-a-pre", case / ".partial-b-pre"
    for folder in (stale, live):
        folder.mkdir(parents=True)
        (folder / "IM0000.dcm").touch()
    os.utime(stale, (0, time.time() - 2 * public_download.STALE_SECONDS))
    assert download("--output", tmp_path / "out", "--pairs", 1, "--yes").status == 0
    assert not stale.exists() and live.exists()


# The idc-index transport, with a stand-in for the package


@pytest.fixture
def idc(package, monkeypatch):
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, "idc_index", raising=False)
    monkeypatch.delitem(sys.modules, "idc_index.index", raising=False)
    return package


def test_the_package_is_asked_for_the_series_only_and_sets_up_no_logging(idc, archive, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    transport = IdcTransport.open([PAIRS[0].pre.uid, PAIRS[1].pre.uid, "1.2.3"])
    assert transport.index == {uid: index_of(archive)[uid] for uid in (PAIRS[0].pre.uid, PAIRS[1].pre.uid)}
    assert (root.level, root.handlers) == (logging.WARNING, [])


def test_a_series_is_fetched(idc, archive, tmp_path):
    uid = PAIRS[0].pre.uid
    transport, told = IdcTransport.open([uid]), []
    (tmp_path / "a folder").mkdir()
    transport.fetch(uid, tmp_path / "a folder", told.append)
    assert names(tmp_path / "a folder") == names(archive / uid)
    assert told[-1] == index_of(archive)[uid].bytes


def test_a_transfer_that_fails_says_so(idc, tmp_path):
    transport = IdcTransport("no-such-program", "https://archive.test", {}, {"1.2.3": "s3://bucket/1.2.3/*"})
    with pytest.raises(OSError):
        transport.fetch("1.2.3", tmp_path, print)
    transport = IdcTransport(str(idc / "s5cmd"), "https://archive.test", {}, {"1.2.3": "s3://bucket/1.2.3/*"})
    with pytest.raises(InputError, match=r"did not finish.*no object found"):
        transport.fetch("1.2.3", tmp_path, print)


def test_an_index_of_another_form_is_one_line(idc):
    (idc / "rows.json").write_text('[{"SeriesInstanceUID": "1.2.3"}]')
    with pytest.raises(InputError, match="does not work here, update it") as caught:
        IdcTransport.open(["1.2.3"])
    assert "\n" not in str(caught.value)


def test_the_whole_entry_as_a_user_runs_it(package, tmp_path):
    arguments = ["--output", tmp_path / "out", "--case", IDS[0], "--yes", "--progress", "none"]
    outcome = entry.run_after("", DOWNLOAD, *arguments, PYTHONPATH=str(package.parent))
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    assert names(tmp_path / "out") == expected(IDS[0])


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_cancelled_download_leaves_nothing_half_written(package, tmp_path, sent):
    (package / "stall").touch()
    output = tmp_path / "out"
    process = subprocess.Popen(
        entry.command(DOWNLOAD, "--output", output, "--pairs", 1, "--yes", "--progress", "none"),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
    )
    try:
        deadline = time.monotonic() + 30
        while not (package / "stalled").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        assert any(name.endswith("IM0001.dcm") for name in names(output))  # it was in the middle
        process.send_signal(sent)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, err) == (3, "download.py: cancelled\n")
    assert names(output) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((package / "stalled").read_text()), 0)  # its s5cmd has ended with it

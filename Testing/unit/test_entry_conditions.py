"""What a computer may lack when an entry runs: someone who listens, letters, a home, a package that works."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from SyntheticContrastLib.models import bundle
from SyntheticContrastLib.synthesis.process import BAD_INPUT, explain, require
from unit import entry
from unit.ct_factory import chest_values
from unit.entry import GENERATE

WORK = f"""
import sys
sys.path.insert(0, {str(GENERATE.parents[1])!r})
from pathlib import Path
from SyntheticContrastLib.synthesis.process import run_entry
def main(arguments):
    for number in range(20000):
        print("a line with ä", number)
    print("and this", file=sys.stderr)
    Path(arguments[0]).write_text("result")
    return 0
run_entry(main)
"""


@pytest.fixture
def ncct(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(chest_values((16, 128, 128))), str(tmp_path / "ncct.nrrd"))
    return tmp_path / "ncct.nrrd"


@pytest.fixture
def tiny(tiny_bundle):
    return ("--model", tiny_bundle.folder, "--device", "cpu", "--engine", "pytorch", "--step", 16)


@pytest.mark.skipif(os.name == "nt", reason="POSIX shells close streams")
@pytest.mark.parametrize(
    "streams", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "> /dev/full", "2> /dev/full", "| head -n 1", "2>&1 | head -n 1"]
)
def test_a_result_is_not_lost_where_nobody_listens(tmp_path, streams):
    if "/dev/full" in streams and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    result, status = tmp_path / "result", tmp_path / "status"
    code = tmp_path / "work.py"
    code.write_text(WORK, encoding="utf-8")
    command = f"({sys.executable} {code} {result}; echo $? > {status}) {streams}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.read_text() == "result" and status.read_text() == "0\n"
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_letters_that_stdout_has_not_are_spelled(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", WORK, str(tmp_path / "result")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[0] == "a line with \\xe4 0" and (tmp_path / "result").exists()


def test_progress_is_plain_ascii_whatever_the_names(ncct, tiny, tmp_path, capsys):
    odd = ncct.rename(tmp_path / "Lüders ct.nrrd")
    done = entry.call(GENERATE, [*tiny, "--input", odd, "--output", tmp_path / "ö", "--progress", "json"], capsys)
    assert done.status == 0 and done.out.isascii()
    [written] = [event for event in map(json.loads, done.out.splitlines()) if event["event"] == "written"]
    assert Path(written["output"]) == tmp_path / "ö" / "Lüders ct_sCECT.nrrd" and Path(written["output"]).exists()


NOBODY = """
import pwd
def unknown(user):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = unknown
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX users")
def test_a_user_without_name_and_home(ncct, tiny, tmp_path, monkeypatch):
    for variable in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_DATA_HOME", bundle.USER_MODELS_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    arguments = ("--input", ncct, "--output", tmp_path / "o.nrrd", "--preview", tmp_path / "p.png")
    done = entry.run_after(NOBODY, GENERATE, *tiny, *arguments)
    assert done.status == 0, done.err
    assert (tmp_path / "o.nrrd").exists() and (tmp_path / "p.png").exists()


def test_a_folder_of_models_that_cannot_be_read_holds_none(tmp_path, monkeypatch):
    monkeypatch.setenv(bundle.USER_MODELS_VARIABLE, str(tmp_path / ("x" * 300)))  # the system refuses to look there
    assert bundle.DEFAULT_MODEL in bundle.discover()
    iterdir = Path.iterdir

    def refused(folder):
        if folder == tmp_path:
            raise PermissionError("Permission denied")
        return iterdir(folder)

    monkeypatch.setenv(bundle.USER_MODELS_VARIABLE, str(tmp_path))
    monkeypatch.setattr(Path, "iterdir", refused)
    assert bundle.DEFAULT_MODEL in bundle.discover()


BROKEN = {
    "raise ImportError('libtorch_cpu.so: cannot open shared object file')": "libtorch_cpu.so",
    "raise OSError('[WinError 126] The specified module could not be found')": "WinError 126",
    "raise RuntimeError('module compiled against another ABI')": "another ABI",
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_pytorch_is_said_and_not_to_be_reported(ncct, tmp_path, code):
    (tmp_path / "site" / "torch").mkdir(parents=True)
    (tmp_path / "site" / "torch" / "__init__.py").write_text(code)
    prelude = f"sys.path.insert(0, {str(tmp_path / 'site')!r})"
    done = entry.run_after(prelude, GENERATE, "--input", ncct, "--output", tmp_path / "o.nrrd")
    assert done.status == 2 and len(done.err.splitlines()) == 1
    assert "package torch is installed but does not work (" in done.err and BROKEN[code] in done.err
    assert done.err.endswith("): install it again\n")


def test_a_package_that_the_end_needs_is_missed_at_the_beginning(ncct, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = [*tiny, "--input", ncct, "--output", tmp_path / "o.nrrd", "--progress", "json"]
    done = entry.call(GENERATE, [*arguments, "--preview", tmp_path / "p.png"], capsys)
    assert done.status == 2 and "package matplotlib is not installed" in done.err
    assert [json.loads(line)["event"] for line in done.out.splitlines()] == ["end"]  # nothing was begun
    assert entry.call(GENERATE, arguments, capsys).status == 0  # without a picture it is not needed


def test_an_import_of_a_part_that_is_gone_is_no_internal_error():
    error = ImportError("cannot import name 'x' from 'scipy.ndimage'", name="scipy.ndimage")
    assert explain(error) == (
        BAD_INPUT,
        "the Python package scipy is installed but does not work (cannot import name 'x' from 'scipy.ndimage'): "
        "install it again",
    )
    ours = ImportError("cannot import name 'x'", name="SyntheticContrastLib.ct.read")
    assert explain(ours)[1].startswith("internal error")
    with pytest.raises(ModuleNotFoundError):
        require("no_such_package_at_all")


def test_a_full_disk_is_said_in_words():
    assert explain(OSError(28, "No space left on device"))[1].startswith("the disk is full: free some space")
    assert explain(OSError("a page\nof words")) == (BAD_INPUT, "a page of words")

"""Whatever is written is whole or was not written: killed, on a full disk, and where nothing may be written."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

WRITERS = Path(__file__).with_name("writers.py")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX: fork, SIGKILL, limits and permissions")


@pytest.fixture
def place():
    """A folder that any user can reach, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="writers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def small_disk(place):
    """The folder as a disk of 4 MiB, where the user may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk; the limit on the size of files stands for it")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def try_all(mode, folder):
    done = subprocess.run(
        [sys.executable, str(WRITERS), mode, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", ["kill", "limit", "read-only"])
def test_the_old_file_or_the_whole_new_one_is_there(place, mode):
    assert try_all(mode, place) == {}


def test_on_a_full_disk_the_old_file_stays(small_disk):
    assert try_all("full", small_disk) == {}

"""The extension's CMake files against a stand-in Slicer: they configure, list every file; what they install runs.

With `pytest --installed`, as test.sh does, all other tests run on what is installed as well.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import tree


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of scripted modules that the extension installs."""
    return tree.install(tmp_path_factory.mktemp("cmake"))


def files_below(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".gitkeep"
    }


def test_every_file_is_installed(installed):
    expected = set()
    for source in tree.SOURCES:
        expected |= files_below(source) - {"CMakeLists.txt"}
    assert files_below(installed) == expected


def test_the_installed_entries_run(installed):
    """They find their libraries where Slicer puts them, side by side."""
    entries = [*installed.glob("SyntheticContrastCLI/*.py"), *installed.glob("SyntheticContrastTrainingCLI/*.py")]
    assert {"check.py", "generate.py", "prepare.py", "train.py", "export.py"} <= {entry.name for entry in entries}
    for entry in entries:
        done = subprocess.run(
            [sys.executable, entry, "--help"], capture_output=True, text=True, check=False, cwd=installed.parent
        )
        assert done.returncode == 0, done.stderr
        assert "usage" in done.stdout


def test_the_installed_core_finds_the_models_that_ship(installed):
    code = "from SyntheticContrastLib.models.bundle import find_bundle; print(find_bundle().folder)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=installed, env={"HOME": "/"}
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_the_installed_modules_open_and_one_tests_itself(installed, monkeypatch):
    """In a session of its own, from the installed files alone."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    chosen = "test_the_self_test_without_views_and_torch or opens or test_the_modules_open"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--installed", "-k", chosen]
    done = subprocess.run(
        [*command, tree.REPOSITORY / "Testing" / "gui"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tree.REPOSITORY,
    )
    assert done.returncode == 0, done.stdout + done.stderr

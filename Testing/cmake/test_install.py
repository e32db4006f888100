"""The extension's CMake files against a stand-in Slicer: they configure, list every file; what they install runs."""

import subprocess
import sys
from pathlib import Path

import pytest

import cmake

REPOSITORY = Path(__file__).resolve().parents[2]
CMAKE = Path(cmake.CMAKE_BIN_DIR) / "cmake"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of scripted modules that the extension installs."""
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("prefix")
    stand_in = Path(__file__).parent / "standin"
    configure = [CMAKE, "-S", REPOSITORY, "-B", build, f"-DSlicer_DIR={stand_in}", f"-DCMAKE_INSTALL_PREFIX={prefix}"]
    for command in (configure, [CMAKE, "--install", build]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return prefix / "lib" / "Slicer-5.13" / "qt-scripted-modules"


def files_below(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".gitkeep"
    }


def test_every_file_is_installed(installed):
    expected = set()
    for module in ("SyntheticContrast", "SyntheticContrastTraining"):
        expected |= files_below(REPOSITORY / module) - {"CMakeLists.txt"}
    assert files_below(installed) == expected


def test_the_installed_entries_run(installed):
    """They find their libraries where Slicer puts them, side by side."""
    entries = [*installed.glob("SyntheticContrastCLI/*.py"), *installed.glob("SyntheticContrastTrainingCLI/*.py")]
    assert {"generate.py", "prepare.py", "train.py", "export.py"} <= {entry.name for entry in entries}
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

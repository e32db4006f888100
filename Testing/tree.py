"""Where the extension lies that is tested: the sources, or with `pytest --installed` what CMake installs of them.

A file that CMake does not list works from the sources only.
"""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = (REPOSITORY / "SyntheticContrast", REPOSITORY / "SyntheticContrastTraining")
MODULES = ("SyntheticContrast", "SyntheticContrastAnalysis", "SyntheticContrastTraining")


def install(folder):
    """Configure and install against the stand-in of a Slicer build below `folder`; returns where the modules are."""
    import cmake

    program, stand_in = Path(cmake.CMAKE_BIN_DIR) / "cmake", REPOSITORY / "Testing" / "cmake" / "standin"
    build, prefix = folder / "build", folder / "prefix"
    configure = [program, "-S", REPOSITORY, "-B", build, f"-DSlicer_DIR={stand_in}", f"-DCMAKE_INSTALL_PREFIX={prefix}"]
    for command in (configure, [program, "--install", build]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return prefix / "lib" / "Slicer-5.13" / "qt-scripted-modules"


def use(folder):
    """Import the extension from `folder` and no longer from the sources."""
    sources = {str(source) for source in SOURCES}
    sys.path[:] = [str(folder), *(path for path in sys.path if path not in sources)]


def find(name):
    """A file of the extension, by its path in the installed folder: "SyntheticContrastCLI/generate.py"."""
    return next(path for folder in sys.path if (path := Path(folder, name)).is_file())


def module_files():
    """The three modules."""
    return [find(f"{name}.py") for name in MODULES]


def folders():
    """What is on the path of a process of its own that imports the extension and the tests' helpers."""
    return [*dict.fromkeys(str(file.parent) for file in module_files()), str(REPOSITORY / "Testing")]

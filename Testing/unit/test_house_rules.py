"""The rules of the house that a machine can check: the direction of imports, light start-up, no patient's path."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CORE = REPOSITORY / "SyntheticContrast" / "SyntheticContrastLib"
MODULE_FOLDERS = [REPOSITORY / "SyntheticContrast", REPOSITORY / "SyntheticContrastTraining"]
MAY_IMPORT = {
    "ct": {"ct"},
    "models": {"models", "ct"},
    "synthesis": {"synthesis", "models", "ct"},
    "analysis": {"analysis", "models", "ct"},
    "scene": {"scene", "synthesis", "analysis", "models", "ct"},
    "gui": {"gui", "scene", "synthesis", "analysis", "models", "ct"},
}
WITHOUT_SLICER = {"ct", "models", "synthesis", "analysis"}
HEAVY = {"torch", "scipy", "skimage", "lpips", "matplotlib", "keras"}


def imported_names(path):
    package = path.relative_to(path.parents[len(path.relative_to(REPOSITORY).parts) - 2]).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_core_imports_point_one_way(path):
    names = set(imported_names(path))
    assert not any(name.startswith("SyntheticContrastTrainingLib") for name in names)
    folder = path.relative_to(CORE).parts[0]
    if folder not in MAY_IMPORT:
        return
    used = {name.split(".")[1] for name in names if name.startswith("SyntheticContrastLib.")}
    assert used - {"__init__"} <= MAY_IMPORT[folder]
    if folder in WITHOUT_SLICER:
        assert not {name.split(".")[0] for name in names} & {"slicer", "qt", "ctk", "vtk"}


@pytest.mark.parametrize("folder", MODULE_FOLDERS, ids=lambda folder: folder.name)
def test_every_file_directly_in_a_module_folder_is_a_module(folder):
    for path in folder.glob("*.py"):
        classes = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
        assert path.stem in classes


def test_module_files_import_nothing_heavy_at_file_scope():
    for folder in MODULE_FOLDERS:
        for path in folder.glob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                    assert all(name.split(".")[0] == "slicer" for name in names), path.name


def test_the_import_test_sees_a_wrong_import(tmp_path):
    """The check of imports itself can fail: relative and absolute forms are both seen."""
    bad = CORE / "ct" / "read.py"
    names = set(imported_names(bad))
    assert "SyntheticContrastLib.ct.errors" in names


@pytest.mark.parametrize(
    ("entry", "arguments"),
    [
        ("generate.py", ["--input", "/nowhere/at/all", "--output", "/tmp/x.nrrd"]),
        ("evaluate.py", ["--cases", "/nowhere/at/all.csv", "--output", "/tmp/x"]),
    ],
)
def test_bad_arguments_are_refused_without_loading_torch(entry, arguments):
    """A user who mistypes does not wait seconds for PyTorch; and the entry opens no socket."""
    script = REPOSITORY / "SyntheticContrast" / "SyntheticContrastCLI" / entry
    code = f"""
import sys, socket, runpy
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ImportError("heavy import: " + name)
sys.meta_path.insert(0, Blocked())
def refuse(*a, **k): raise AssertionError("socket opened")
socket.socket.connect = refuse
sys.argv = {[str(script), *arguments]!r}
runpy.run_path({str(script)!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "does not exist" in done.stderr

"""Opening Slicer imports neither torch nor Qt widgets of ours, and opens no socket."""

import subprocess
import sys

import tree

CODE = """
import sys
from pathlib import Path
from harness.install import installHarness
installHarness()
import socket
HEAVY = {"torch", "scipy", "skimage", "lpips", "matplotlib", "keras", "SimpleITK", "pydicom"}
before = set(sys.modules)
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ImportError("heavy import: " + name)
sys.meta_path.insert(0, Blocked())
def refuse(*a, **k): raise AssertionError("socket opened")
socket.socket = socket.create_connection = refuse
from harness.panel import load
for path in sys.argv[1:]:
    load(Path(path))
ours = sorted(name for name in set(sys.modules) - before if "Lib.gui" in name or "Lib.scene" in name)
assert not ours, ours
HEAVY.discard("SimpleITK")  # comes with Slicer
from harness.panel import ModulePanel
for path in sys.argv[1:]:
    panel = ModulePanel(Path(path))
    panel.close()
"""


def test_the_modules_open_without_torch_and_without_a_network():
    """Importing the module files loads no panel; opening the panels needs no torch: it may not be installed yet."""
    prelude = f"import sys; sys.path[:0] = {tree.folders()}\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + CODE, *map(str, tree.module_files())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

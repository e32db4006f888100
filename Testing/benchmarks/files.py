"""Reading and writing a 300-slice CT, and what passes between pressing Generate and the first window.

python Testing/benchmarks/files.py --quick                      # 60 slices
python Testing/benchmarks/files.py --full [--before CHECKOUT]   # 300 slices: writes results/files.json

Each task runs in a process of its own, as a user's does. `--before` names another checkout of the repository, whose
tasks take turns with these, so that what else the machine does meets both. Figures are medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "SyntheticContrast"), str(REPOSITORY / "Testing")]

from benchmarks.inference import machine

RESULTS = Path(__file__).resolve().parent / "results" / "files.json"

MAKE = """
import sys; from pathlib import Path; import numpy as np
from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.ct.write import write_image
from SyntheticContrastLib.ct.dicom_write import write_dicom_series
folder, slices = Path(sys.argv[1]), int(sys.argv[2])
hu = thorax_phantom((slices, 512, 512), (330 / slices, 0.7, 0.7)).ncct
hu = (hu + np.random.default_rng(0).normal(0, 12, hu.shape)).clip(-1024, 3000).astype(np.int16)
volume = CTVolume(hu, Grid.axial(hu.shape, (330 / slices, 0.7, 0.7)))
write_dicom_series(folder / "dicom", hu, volume, description="phantom", synthetic=False)
write_image(folder / "ct.nrrd", hu, volume, compress=False)
"""

# An older checkout compresses always: the file of the panel is then what it would write.
TIMED = """
import sys, time, tempfile, inspect; from pathlib import Path
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.write import write_image
from SyntheticContrastLib.ct.dicom_write import write_dicom_series
import numpy, pydicom, SimpleITK
folder, task = Path(sys.argv[1]), sys.argv[2]
volume = read_ct(folder / "dicom") if task.startswith("write") else None
raw = {"compress": False} if "compress" in inspect.signature(write_image).parameters else {}
with tempfile.TemporaryDirectory() as out:
    out = Path(out)
    tasks = {
        "read DICOM": lambda: read_ct(folder / "dicom"),
        "read NRRD": lambda: read_ct(folder / "ct.nrrd"),
        "write DICOM": lambda: write_dicom_series(out / "o", volume.hu, volume, description="synthetic"),
        "write NRRD": lambda: write_image(out / "o.nrrd", volume.hu, volume),
        "write the panel's NRRD": lambda: write_image(out / "o.nrrd", volume.hu, volume, **raw),
    }
    started = time.perf_counter()
    tasks[task]()
    print(time.perf_counter() - started)
"""
TASKS = ("read DICOM", "read NRRD", "write DICOM", "write NRRD", "write the panel's NRRD")
STAGES = {
    "start": "model ready",
    "read": "CT read",
    "first_look": "first look shown",
    "progress": "first window",
    "written": "result written",
}


def python(code, *arguments, checkout):
    environment = os.environ | {"PYTHONPATH": str(checkout / "SyntheticContrast")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def generate(folder, step, checkout):
    """Seconds since the start of generate.py, as the panel runs it on a file of the scene, at each of STAGES."""
    entry = checkout / "SyntheticContrast" / "SyntheticContrastCLI" / "generate.py"
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, entry, "--input", folder / "ct.nrrd", "--output", Path(out) / "o.nrrd"]
        command += ["--step", str(step), "--device", "cpu", "--progress", "json"]
        known = entry.read_text(encoding="utf-8")
        command += ["--uncompressed"] if "--uncompressed" in known else []
        command += ["--first-look", Path(out) / "look.png"] if "--first-look" in known else []
        started = time.perf_counter()
        found = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                event = json.loads(line)["event"]
                if event in STAGES:
                    found.setdefault(STAGES[event], time.perf_counter() - started)
        if process.returncode:
            raise SystemExit(f"generate.py ended with status {process.returncode}")
    return found


def measure(folder, checkouts, step, repeats):
    """name -> who -> seconds, in turns; a first turn does not count."""
    taken = {}
    for turn in range(repeats + 1):
        for who, checkout in checkouts.items():
            seconds = {task: float(python(TIMED, folder, task, checkout=checkout)) for task in TASKS}
            seconds |= generate(folder, step, checkout)
            for name, value in seconds.items():
                if turn:
                    taken.setdefault(name, {}).setdefault(who, []).append(value)
    return {
        name: {who: round(statistics.median(values), 2) for who, values in whose.items()}
        for name, whose in taken.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true")
    size.add_argument("--full", action="store_true")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT")
    parser.add_argument("--step", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help=f"default with --full: {RESULTS.relative_to(REPOSITORY)}")
    args = parser.parse_args()
    slices = 300 if args.full else 60
    checkouts = {"before": args.before.resolve()} if args.before else {}
    checkouts["now"] = REPOSITORY
    with tempfile.TemporaryDirectory() as folder:
        python(MAKE, folder, slices, checkout=REPOSITORY)
        seconds = measure(Path(folder), checkouts, args.step, args.repeats)
    result = {"machine": machine(), "slices": slices, "step": args.step, "repeats": args.repeats, "seconds": seconds}
    text = json.dumps(result, indent=2) + "\n"
    print(text)
    output = args.output or (RESULTS if args.full else None)
    if output:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

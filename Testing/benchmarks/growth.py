"""How time and memory grow with slices, in-plane size, step and cases: the model that ships, on the CPU.

python Testing/benchmarks/growth.py --quick             # up to 100 slices, 512 pixels, 4 cases
python Testing/benchmarks/growth.py --full              # up to 1,000 slices: writes results/growth.json and growth.png

Each row is a process of its own that converts random HU, as generate.py does, with what it takes to start left out of
the time. Memory is the process's peak, input and output included.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "SyntheticContrast"), str(REPOSITORY / "Testing")]

RESULTS = Path(__file__).resolve().parent / "results" / "growth.json"
START = {"slices": 100, "size": 512, "step": 8, "cases": 1}
GROWN = {
    "slices": (16, 50, 100, 200, 400, 700, 1000),
    "size": (256, 384, 512, 768, 1024),
    "step": (16, 8, 4, 2, 1),
    "cases": (1, 2, 4, 8, 16),
}
MOST_QUICK = {"slices": 100, "size": 512, "step": 16, "cases": 4}
SMALL = {"step": 64, "cases": 32}  # slices where more would only take longer


def convert(slices, size, step, cases):
    """In this process: seconds, and peak memory in MiB."""
    import numpy as np

    from SyntheticContrastLib.ct.volume import CTVolume, Grid
    from SyntheticContrastLib.models.bundle import find_bundle
    from SyntheticContrastLib.synthesis.convert import Converter
    from SyntheticContrastLib.synthesis.device import choose

    compute = choose("cpu")
    converter = Converter(find_bundle("SyntheticContrast-choi2021-demo"), compute, step)
    hu = np.random.default_rng(0).integers(-1000, 400, (slices, size, size), np.int16)
    volume = CTVolume(hu, Grid.axial(hu.shape, (3.0, 0.7, 0.7)))
    started = time.perf_counter()
    for _ in range(cases):
        converter.convert(volume)
    seconds = time.perf_counter() - started
    # Not ru_maxrss: a child starts with the peak of the process that it was forked from.
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    print(json.dumps({"seconds": round(seconds, 2), "mib": int(peak[1]) // 1024, "compute": str(compute)}))


def measure(quick):
    found = {}
    for what, values in GROWN.items():
        for value in values:
            if quick and value > MOST_QUICK[what]:
                continue
            row = START | {"slices": SMALL.get(what, START["slices"])} | {what: value}
            command = [sys.executable, __file__, "--child", json.dumps(row)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.setdefault(what, []).append(row | json.loads(done.stdout.splitlines()[-1]))
            print(found[what][-1], flush=True)
    return found


def draw(found, path):
    """One panel a quantity: seconds as dots and line, memory in GiB on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    titles = {
        "slices": "slices (512 x 512, step 8)",
        "size": "million pixels a slice (100 slices, step 8)",
        "step": "windows a slice, 16 / step (64 slices)",
        "cases": "cases of 32 slices, one process",
    }
    work = {"slices": int, "size": lambda side: side**2 / 1e6, "step": lambda step: 16 / step, "cases": int}
    figure, panels = plt.subplots(1, len(found), figsize=(14, 3.4), layout="constrained")
    for panel, (what, rows) in zip(panels, found.items(), strict=True):
        across = [work[what](row[what]) for row in rows]
        panel.plot(across, [row["seconds"] for row in rows], "o-", color="tab:blue")
        panel.set(xlabel=titles[what], xlim=(0, None), ylim=(0, None))
        panel.set_ylabel("seconds", color="tab:blue")
        memory = panel.twinx()
        memory.plot(across, [row["mib"] / 1024 for row in rows], "s--", color="tab:orange", markersize=4)
        memory.set_ylim(0, 1.15 * max(row["mib"] / 1024 for row in rows))
        memory.set_ylabel("peak memory (GiB)", color="tab:orange")
        panel.spines["top"].set_visible(False)
        memory.spines["top"].set_visible(False)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true")
    size.add_argument("--full", action="store_true")
    size.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=f"default with --full: {RESULTS.relative_to(REPOSITORY)}")
    args = parser.parse_args()
    if args.child:
        convert(**args.child)
        return
    from benchmarks.inference import machine

    result = {"machine": machine(), "rows": measure(args.quick)}
    output = args.output or (RESULTS if args.full else None)
    if output:
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        draw(result["rows"], output.with_suffix(".png"))


if __name__ == "__main__":
    main()

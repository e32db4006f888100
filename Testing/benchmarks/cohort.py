"""Evaluate a cohort of phantoms, some of them broken: seconds, memory, files and bytes a case.

python Testing/benchmarks/cohort.py --output DIR [--cases 200] [--broken 5] [--slices 2] [evaluate.py's options]

Writes DIR/cases.csv and the volumes (kept for a rerun), then runs evaluate.py on them, in a process of its own. Slices
have 168 x 168 pixels.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "SyntheticContrast"), str(REPOSITORY / "Testing")]

from unit.phantom_cohort import write_case, write_table

EVALUATE = REPOSITORY / "SyntheticContrast" / "SyntheticContrastCLI" / "evaluate.py"


def write_inputs(folder, count, broken, slices):
    """`broken` of the cases, spread over the cohort, have a truncated CECT."""
    shape = (slices, 168, 168)
    rows = [write_case(folder, index, (0, slices - 1), extras=False, shape=shape) for index in range(count)]
    bad = {(2 * number + 1) * count // (2 * broken) for number in range(broken)}
    for index in bad:
        path = folder / rows[index]["cect"]
        path.write_bytes(path.read_bytes()[:3000])
    return write_table(folder, rows), [rows[index]["case_id"] for index in sorted(bad)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--cases", default=200, type=int)
    parser.add_argument("--broken", default=5, type=int)
    parser.add_argument("--slices", default=2, type=int)
    args, options = parser.parse_known_args()
    started = time.monotonic()
    cases, bad = write_inputs(args.output, args.cases, args.broken, args.slices)
    print(f"{args.cases} cases written in {time.monotonic() - started:.0f} s, broken: {', '.join(bad)}")
    started = time.monotonic()
    out = args.output / "evaluation"
    command = [sys.executable, EVALUATE, "--cases", cases, "--output", out, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env={**os.environ})
    (args.output / "log.txt").write_text(done.stdout + done.stderr)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    files = [path for path in out.rglob("*") if path.is_file()]
    records = [path for path in files if path.parent.name == "cases" and path.suffix == ".json"]
    print(f"status {done.returncode}: {done.stdout.splitlines()[-1]}\n{done.stderr}")
    print(f"{time.monotonic() - started:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processor")
    print(f"peak memory {used.ru_maxrss / 1024:.0f} MiB, {len(files)} files")
    print(f"{sum(path.stat().st_size for path in records) / len(records) / 1024:.1f} KiB a record")


if __name__ == "__main__":
    main()

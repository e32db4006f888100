"""Seconds per window (plain and folded, fp32 and bf16, interleaved in one process) and peak memory against N.

python Testing/benchmarks/inference.py [--gf 16] [--size 512] [--repeats 3] [--no-bf16] [--output results.json]
"""

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "SyntheticContrast"), str(REPOSITORY / "Testing")]

from SyntheticContrastLib.models.choi2021 import Generator
from SyntheticContrastLib.models.folding import fold

GENERATE = REPOSITORY / "SyntheticContrast" / "SyntheticContrastCLI" / "generate.py"
SLICES = (64, 256)


def seconds_per_window(gf, size, repeats, bf16):
    plain = Generator(gf=gf, norm="instance").eval()
    networks = {"plain": plain, "folded": fold(copy.deepcopy(plain))}
    variants = [(name, dtype) for dtype in ("fp32", "bf16") if dtype == "fp32" or bf16 for name in networks]
    image = torch.rand(1, 3, 16, size, size) * 2 - 1
    taken = {variant: [] for variant in variants}
    with torch.inference_mode():
        for _ in range(repeats):
            for name, dtype in variants:
                started = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
                    networks[name](image)
                taken[name, dtype].append(time.perf_counter() - started)
    reference = statistics.median(taken["plain", "fp32"])
    return {
        f"{name} {dtype}": {
            "median_s": round(statistics.median(values), 3),
            "min_s": round(min(values), 3),
            "max_s": round(max(values), 3),
            "times_faster_than_plain_fp32": round(reference / statistics.median(values), 2),
        }
        for (name, dtype), values in taken.items()
    }


def peak_memory(gf, size, folder):
    """Peak RSS in MiB of generate.py for each N, at step 16: the windows' number does not matter for it."""
    import SimpleITK as sitk

    from SyntheticContrastLib.models.bundle import write_bundle
    from unit.tiny import tiny_card

    arguments = {"gf": gf, "depth": 16, "norm": "instance"}
    write_bundle(folder / "model", Generator(gf=gf, norm="instance"), tiny_card(architecture_arguments=arguments))
    found = {}
    for slices in SLICES:
        hu = np.random.default_rng(0).integers(-1000, 400, (slices, size, size)).astype(np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(hu), str(folder / f"{slices}.nrrd"))
        code = (
            "import atexit, re, runpy, sys\n"
            # Not ru_maxrss: a child starts with the peak of the process that it was forked from.
            "atexit.register(lambda: print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]))\n"
            "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        command = [sys.executable, "-c", code, GENERATE, "--input", folder / f"{slices}.nrrd", "--step", "16"]
        command += ["--output", folder / f"{slices}_out.nrrd", "--model", folder / "model", "--progress", "none"]
        command += ["--device", "cpu", "--precision", "fp32"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        volume = hu.nbytes / 2**20
        found[f"N={slices}"] = {"peak_rss_mib": int(done.stdout) // 1024, "input_mib": volume, "output_mib": volume}
    return found


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gf", type=int, default=16)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-bf16", action="store_true", help="skip bf16, very slow where the processor lacks it")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    result = {
        "gf": args.gf,
        "window": [16, args.size, args.size],
        "machine": {"processor": processor(), "cores": os.cpu_count(), "torch": torch.__version__},
        "seconds_per_window": seconds_per_window(args.gf, args.size, args.repeats, not args.no_bf16),
    }
    with tempfile.TemporaryDirectory() as folder:
        result["peak_memory"] = peak_memory(args.gf, args.size, Path(folder))
    text = json.dumps(result, indent=2)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()

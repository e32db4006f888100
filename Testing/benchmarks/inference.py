"""Inference against the peer: the same weights, unfolded, in float32, through MONAI's sliding_window_inference.

python Testing/benchmarks/inference.py --quick          # a quarter of the width, 256 x 256: some minutes
python Testing/benchmarks/inference.py --full           # the paper's width, 512 x 512: writes results/inference.json
python Testing/benchmarks/inference.py --full --part memory     # this part of the results anew

Variants take turns in one process, so that what else the machine does meets all of them; figures are medians, with the
least and the most. Peak memory is that of a process of its own. `readme.py` makes the README's tables of the results.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as in a run: large pages. The peer gains, too

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "SyntheticContrast"), str(REPOSITORY / "Testing")]

from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastLib.ct.window import to_windows
from SyntheticContrastLib.models.bundle import find_bundle
from SyntheticContrastLib.models.choi2021 import IN_PLANE_MULTIPLE, Generator
from SyntheticContrastLib.models.folding import fold
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.openvino_network import OpenVinoNetwork
from SyntheticContrastLib.synthesis.preparation import forward, prepare_network
from SyntheticContrastLib.synthesis.sliding_window import Patch, synthesise

RESULTS = Path(__file__).resolve().parent / "results" / "inference.json"
WINDOWS = ((2000.0, 0.0), (1000.0, 200.0), (500.0, 50.0))
DEPTH = 16
MEMORY_SLICES = (64, 300)
VOLUME_WINDOWS = 2  # windows of the volume that ours and the peer convert at step 1
PLAIN = "PyTorch, plain, fp32"


def prepared(network, precision):
    """The network folded and laid out as for a conversion in PyTorch, as a callable of a (1, 3, 16, Y, X) tensor."""
    folded, compute = fold(copy.deepcopy(network)), Compute("cpu", precision, "", "")
    prepare_network(folded, torch.empty(0), compute)
    return lambda x: forward(folded, x, compute)


def variants(network):
    """Ways to compute one window, by name: callables of a (1, 3, 16, Y, X) tensor."""
    folded = fold(copy.deepcopy(network))
    return {
        PLAIN: network,
        "PyTorch, folded, fp32": prepared(network, "fp32"),
        "PyTorch, folded, bf16": prepared(network, "bf16"),
        "OpenVINO, folded, fp32": OpenVinoNetwork(folded, "fp32"),
        "OpenVINO, folded, bf16": OpenVinoNetwork(folded, "bf16"),
    }


def take_turns(tasks, repeats):
    """Seconds of each task, a warming-up round not counted: name to a list."""
    taken = {name: [] for name in tasks}
    for turn in range(repeats + 1):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if turn:
                taken[name].append(time.perf_counter() - started)
    return taken


def summary(taken, reference):
    """Medians with their spread, and how many times faster than the median of `reference`."""
    base = statistics.median(taken[reference])
    return {
        name: {
            "median_s": round(statistics.median(seconds), 3),
            "min_s": round(min(seconds), 3),
            "max_s": round(max(seconds), 3),
            "times_faster": round(base / statistics.median(seconds), 2),
        }
        for name, seconds in taken.items()
    }


def windows(network, size, repeats):
    """Seconds a window. Whatever is random in the input does not matter for the time."""
    x = torch.rand(1, 3, DEPTH, size, size) * 2 - 1
    with torch.inference_mode():
        return summary(take_turns({n: lambda f=f: f(x) for n, f in variants(network).items()}, repeats), PLAIN)


def profile(network, size):
    """What limits: the kinds of operations of one window in bf16 that take most time, and their share of it."""
    x = torch.rand(1, 3, DEPTH, size, size) * 2 - 1
    compute = prepared(network, "bf16")
    compute(x)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        compute(x)
    by_torch = {}
    for row in profiled.key_averages():
        kind = "convolution" if "convolution" in row.key else row.key.removeprefix("aten::")
        by_torch[kind] = by_torch.get(kind, 0) + row.self_cpu_time_total

    engine = OpenVinoNetwork(fold(copy.deepcopy(network)), "bf16")
    engine.hints["PERF_COUNT"] = True
    with torch.inference_mode():
        engine(x)
        request = engine.compiled.create_infer_request()
        request.infer([x.numpy()])
    by_openvino = {}
    for node in request.profiling_info:
        kind = node.node_type
        by_openvino[kind] = by_openvino.get(kind, 0) + node.real_time.total_seconds()
    return {"PyTorch": shares(by_torch), "OpenVINO": shares(by_openvino)}


def shares(taken, most=6):
    """The largest of them, as parts of the whole."""
    whole = sum(taken.values())
    largest = sorted(taken, key=lambda name: -taken[name])[:most]
    return {name: round(taken[name] / whole, 3) for name in largest}


def accuracy():
    """Mean and largest |HU| by which a way to compute differs from the plain fp32 network: the model that ships, on a
    slab of the phantom."""
    network = find_bundle("SyntheticContrast-choi2021-demo").load_network()
    hu = thorax_phantom((DEPTH, 512, 512), (4.0, 0.7, 0.7)).ncct
    x = torch.from_numpy(to_windows(hu, WINDOWS))[None]
    with torch.inference_mode():
        found = {name: 1000.0 * compute(x)[:, 0].float() for name, compute in variants(network).items()}
    return {
        name: {
            "mean_hu": round(float((hu - found[PLAIN]).abs().mean()), 3),
            "max_hu": round(float((hu - found[PLAIN]).abs().max()), 1),
        }
        for name, hu in found.items()
    }


def volume(network, size, repeats):
    """A whole volume at step 1, `VOLUME_WINDOWS` windows: MONAI with the plain network, and ours in each way."""
    from monai.inferers import sliding_window_inference

    hu = np.random.default_rng(0).integers(-1000, 400, (DEPTH + VOLUME_WINDOWS - 1, size, size)).astype(np.int16)
    patch = Patch(DEPTH, WINDOWS, WINDOWS[0], IN_PLANE_MULTIPLE, network.minimum_in_plane)
    folded = fold(copy.deepcopy(network))

    def peer():
        x = torch.from_numpy(to_windows(hu, WINDOWS))[None]
        with torch.inference_mode():
            found = sliding_window_inference(x, (DEPTH, size, size), 1, network, overlap=(15 / 16, 0, 0))
        return np.rint(1000 * found[0, 0].numpy()).astype(np.int16)

    def ours(compute, network):
        return lambda: synthesise(hu, network, patch, compute)

    tasks = {"MONAI sliding_window_inference, plain, fp32": peer}
    for precision in ("fp32", "bf16"):
        compute = Compute("cpu", precision, "", "")
        tasks[f"ours, PyTorch, {precision}"] = ours(compute, copy.deepcopy(folded))
        openvino = OpenVinoNetwork(copy.deepcopy(folded), precision)
        tasks[f"ours, OpenVINO, {precision}"] = ours(replace(compute, engine="OpenVINO"), openvino)
    return summary(take_turns(tasks, repeats), next(iter(tasks)))


def peak_memory(gf, size):
    """Peak memory in MiB of a process that converts N slices, with windows that do not overlap: what grows with N is
    the same."""
    script = Path(__file__).with_name("peak_memory.py")
    found = {}
    for who in ("peer", "ours, PyTorch, fp32", "ours, PyTorch, bf16", "ours, OpenVINO, fp32", "ours, OpenVINO, bf16"):
        for slices in MEMORY_SLICES:
            command = [sys.executable, script, who, gf, size, slices]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
            found.setdefault(who, {})[f"N={slices}"] = int(done.stdout.split()[-1])
            print(who, slices, found[who], file=sys.stderr, flush=True)
    return found


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return {
        "processor": (names or [platform.processor()])[0],
        "bf16": [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags],
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "openvino", "monai") if find_spec(name)},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true")
    size.add_argument("--full", action="store_true")
    parser.add_argument(
        "--part", choices=("window", "volume", "profile", "accuracy", "memory"), help="measure only this"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help=f"default with --full: {RESULTS.relative_to(REPOSITORY)}")
    args = parser.parse_args()
    gf, pixels = (64, 512) if args.full else (16, 256)
    torch.manual_seed(0)
    network = Generator(gf=gf, norm="instance").eval()
    parts = {
        "window": lambda: windows(network, pixels, args.repeats),
        "volume": lambda: volume(network, pixels, args.repeats),
        "profile": lambda: profile(network, pixels),
        "accuracy_of_the_shipped_model": accuracy,
        "peak_memory_mib": lambda: peak_memory(gf, pixels),
    }
    output = args.output or (RESULTS if args.full else None)
    conditions = {
        "machine": machine(),
        "network": {"gf": gf, "window": [DEPTH, pixels, pixels], "repeats": args.repeats},
    }
    earlier = json.loads(output.read_text()) if args.part and output and output.exists() else {}
    if earlier and {name: earlier[name] for name in conditions} != conditions:
        parser.error("the results are of another machine or other repeats: measure all parts")
    result = conditions | {name: earlier[name] for name in parts if name in earlier}
    result |= {name: measure() for name, measure in parts.items() if args.part in (None, *name.split("_"))}
    text = json.dumps(result, indent=2) + "\n"
    print(text)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)


if __name__ == "__main__":
    main()

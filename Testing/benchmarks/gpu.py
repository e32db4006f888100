"""Inference on one NVIDIA GPU: how near to the card's limit, and against MONAI's sliding_window_inference on the card.

python Testing/benchmarks/gpu.py --quick                # 64 slices
python Testing/benchmarks/gpu.py --full                 # 300 slices: writes results/gpu.json

The paper's generator, gf 64, windows of 512 x 512 x 16 in bf16, folded into transposed convolutions, as generate.py
computes, and into phases. Floating-point operations are those of the first, counted by PyTorch. `--device cpu --gf 4
--size 256` runs the same code without a GPU, to test it.
"""

import argparse
import copy
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "SyntheticContrast"), str(REPOSITORY / "Testing")]

from benchmarks.inference import DEPTH, WINDOWS, machine
from SyntheticContrastLib.ct.window import to_windows
from SyntheticContrastLib.models import folding
from SyntheticContrastLib.models.choi2021 import IN_PLANE_MULTIPLE, Generator
from SyntheticContrastLib.synthesis.device import Compute, choose
from SyntheticContrastLib.synthesis.preparation import LAYOUTS, forward
from SyntheticContrastLib.synthesis.sliding_window import Patch, synthesise

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.json"
ORDERS = ("channels first", "channels last")  # of LAYOUTS
DENSE_BF16 = {  # by what the driver calls the card; of one that is not here no share is given
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA L4": 121e12,
    "NVIDIA GeForce RTX 4090": 165e12,
}


def operations(network, size):
    """Floating-point operations of one window."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        copy.deepcopy(network).to("meta")(torch.empty(1, 3, DEPTH, size, size, device="meta"))
    return counter.get_total_flops()


def captured(network, x, compute):
    """A CUDA graph of one forward pass."""
    with torch.inference_mode(), torch.autocast("cuda", compute.dtype, cache_enabled=False):
        network(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            network(x)

    def replay():
        graph.replay()
        torch.cuda.synchronize()

    return replay


def compiled(network, x, compute):
    """As `torch.compile` makes it."""
    faster = torch.compile(network)
    return lambda: forward(faster, x, compute)


def folded_forms(plain):
    """The two ways to fold `plain`, by name."""
    found, few = {}, folding.FEW
    for name, channels in (("transposed", few), ("phases", sys.maxsize)):
        folding.FEW = channels
        found[name] = folding.fold(copy.deepcopy(plain))
    folding.FEW = few
    return found


def ways(forms, x, compute):
    """Ways to compute a batch of windows, by name; what fails (memory, no compiler) is told and left out."""
    found = {}
    for (form, network), (layout, order) in itertools.product(forms.items(), zip(LAYOUTS, ORDERS, strict=True)):
        name = f"{form}, {order}"
        placed = copy.deepcopy(network).to(memory_format=layout)
        found[name] = lambda placed=placed: forward(placed, x, compute)
        if compute.device == "cpu":
            continue
        for title, make in ((f"{name}, CUDA graph", captured), (f"{name}, torch.compile", compiled)):
            try:
                way = make(placed, x, compute)
                way()
                found[title] = way
            except Exception as error:
                print(f"{title}: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
    return found


def windows(plain, size, compute, repeats, peak):
    """Milliseconds a window, TFLOP/s and share of the card's peak, by windows at once and way."""
    forms = folded_forms(plain)
    operation_count, rows = operations(forms["transposed"], size), []
    for at_once in (1, 2, 4, 8, 16) if compute.device != "cpu" else (1,):
        x = torch.rand(at_once, 3, DEPTH, size, size, device=compute.device) * 2 - 1
        try:
            tasks = ways(forms, x, compute)
            taken = {name: [] for name in tasks}
            for turn in range(repeats + 1):
                for name, task in tasks.items():
                    started = time.perf_counter()
                    task()
                    if turn:
                        taken[name].append((time.perf_counter() - started) / at_once)
        except torch.cuda.OutOfMemoryError:
            print(f"{at_once} windows at once do not fit", file=sys.stderr)
            break
        for name, seconds in taken.items():
            speed = operation_count / statistics.median(seconds)
            rows.append(
                {
                    "at_once": at_once,
                    "way": name,
                    "ms": round(1000 * statistics.median(seconds), 3),
                    "tflops": round(speed / 1e12, 2),
                    "share_of_peak": round(speed / peak, 3) if peak else None,
                }
            )
        del tasks, x
        if compute.device != "cpu":
            torch.cuda.empty_cache()
    return {"gflop_a_window": round(operation_count / 1e9, 1), "rows": rows}


def volume(plain, slices, size, compute, repeats):
    """Seconds for a whole volume at step 1, in turns: MONAI with the plain network in fp32 and bf16, and ours."""
    from monai.inferers import sliding_window_inference

    hu = np.random.default_rng(0).integers(-1000, 400, (slices, size, size)).astype(np.int16)
    patch = Patch(DEPTH, WINDOWS, WINDOWS[0], IN_PLANE_MULTIPLE, plain.minimum_in_plane)
    folded = folding.fold(copy.deepcopy(plain))
    reference = Compute(compute.device, "fp32", "", "")

    def peer(compute):
        x = torch.from_numpy(to_windows(hu, WINDOWS))[None].to(compute.device)
        reduced = compute.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(x.device.type, compute.dtype, enabled=reduced):
            found = sliding_window_inference(x, (DEPTH, size, size), 4, plain, overlap=(15 / 16, 0, 0))
        return np.rint(1000 * found[0, 0].float().cpu().numpy()).astype(np.int16)

    tasks = {
        "MONAI, plain, fp32": lambda: peer(reference),
        f"MONAI, plain, {compute.precision}": lambda: peer(compute),
        f"ours, folded, {compute.precision}": lambda: synthesise(hu, folded, patch, compute),
    }
    taken = {name: [] for name in tasks}
    for turn in range(repeats + 1):
        for name, task in tasks.items():
            started = time.perf_counter()
            try:
                task()
            except torch.cuda.OutOfMemoryError:
                continue
            if turn:
                taken[name].append(time.perf_counter() - started)
    return {
        name: round(statistics.median(seconds), 3) if seconds else "out of memory" for name, seconds in taken.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    extent = parser.add_mutually_exclusive_group(required=True)
    extent.add_argument("--quick", action="store_true")
    extent.add_argument("--full", action="store_true")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--gf", type=int, default=64)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--slices", type=int, help="default: 64, with --full 300")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help=f"default with --full: {RESULTS.relative_to(REPOSITORY)}")
    args = parser.parse_args()
    compute = choose(args.device, "bf16")
    card = torch.cuda.get_device_name(compute.device) if compute.device != "cpu" else "none"
    peak = DENSE_BF16.get(card)
    if compute.device != "cpu":
        torch.cuda.set_device(compute.device)
        torch.backends.cudnn.benchmark = True  # as generate.py computes
    torch.manual_seed(0)
    plain = Generator(gf=args.gf, norm="instance").eval().requires_grad_(False).to(compute.device)
    slices = args.slices or (300 if args.full else 64)
    result = {
        "machine": machine() | {"card": card, "dense_bf16_tflops": peak and peak / 1e12},
        "network": {"gf": args.gf, "window": [DEPTH, args.size, args.size], "slices": slices, "repeats": args.repeats},
        "window": windows(plain, args.size, compute, args.repeats, peak),
        "volume": volume(plain, slices, args.size, compute, args.repeats),
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text)
    output = args.output or (RESULTS if args.full else None)
    if output:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

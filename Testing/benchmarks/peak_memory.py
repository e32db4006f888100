"""Convert N random slices in one process, and print its peak memory (VmHWM) in MiB. For inference.py.

python Testing/benchmarks/peak_memory.py "peer" | "ours, PyTorch, fp32" | "ours, OpenVINO, bf16" | ...  GF SIZE SLICES
"""

import os
import re
import sys
from pathlib import Path

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as in a run

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "SyntheticContrast")]

from SyntheticContrastLib.ct.window import to_windows
from SyntheticContrastLib.models.choi2021 import IN_PLANE_MULTIPLE, Generator
from SyntheticContrastLib.models.folding import fold
from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.openvino_network import OpenVinoNetwork
from SyntheticContrastLib.synthesis.sliding_window import Patch, synthesise

WINDOWS = ((2000.0, 0.0), (1000.0, 200.0), (500.0, 50.0))
DEPTH = 16


def main(who, gf, size, slices):
    network = Generator(gf=gf, norm="instance").eval()
    hu = np.random.default_rng(0).integers(-1000, 400, (slices, size, size), np.int16)
    if who == "peer":
        from monai.inferers import sliding_window_inference

        x = torch.from_numpy(to_windows(hu, WINDOWS))[None]
        with torch.inference_mode():
            found = sliding_window_inference(x, (DEPTH, size, size), 1, network, overlap=0)
        np.rint(1000 * found[0, 0].numpy()).astype(np.int16)
    else:
        _, engine, precision = who.split(", ")
        network = fold(network)
        if engine == "OpenVINO":
            network = OpenVinoNetwork(network, precision)
        patch = Patch(DEPTH, WINDOWS, WINDOWS[0], IN_PLANE_MULTIPLE, 256)
        synthesise(hu, network, patch, Compute("cpu", precision, "", "", engine), step=DEPTH)
    # Not ru_maxrss: a child starts with the peak of the process that it was forked from.
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    print(int(peak[1]) // 1024)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

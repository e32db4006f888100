"""Training steps against a plain PyTorch port of the authors' public code: same networks, float32, its data loading.

python Testing/benchmarks/training.py --quick         # a quarter of the width, 256 x 256
python Testing/benchmarks/training.py --full          # the paper's width, 512 x 512: on two cores the peer takes hours

The peer reads every sample from DICOM, 16 slices of each of two series, runs the generator twice a step (to predict and
to learn) and up-samples before it convolves. Both do one step of recipe choi2021-code, and take turns.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as in a run: large pages. The peer gains, too

import numpy as np
import torch
import torch.nn.functional as F

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / part) for part in ("SyntheticContrast", "SyntheticContrastTraining", "Testing")]

import pydicom

from benchmarks.inference import machine, summary, take_turns
from SyntheticContrastLib.ct.phantom import thorax_phantom, write_phantom_series
from SyntheticContrastLib.ct.window import to_windows
from SyntheticContrastLib.models.choi2021 import Discriminator, Generator
from SyntheticContrastLib.synthesis.device import choose
from SyntheticContrastTrainingLib.dataset import Pair, Stacks
from SyntheticContrastTrainingLib.loading import read_ahead
from SyntheticContrastTrainingLib.recipes import find_recipe, override
from SyntheticContrastTrainingLib.trainer import Trainer

RESULTS = Path(__file__).resolve().parent / "results" / "training.json"
DEPTH = 16
PEER = "plain port, data from DICOM"


class Peer:
    """A step as the public code does it."""

    def __init__(self, width, folders, recipe, device):
        self.files = [sorted(folder.rglob("*.dcm")) for folder in folders]
        self.recipe, self.device = recipe, device
        self.generator = Generator(gf=width, norm="keras").to(device)
        self.discriminator = Discriminator(df=width, norm="keras").to(device)
        self.adams = [
            torch.optim.Adam(network.parameters(), recipe.learning_rate, betas=(recipe.beta1, recipe.beta2))
            for network in (self.generator, self.discriminator)
        ]
        self.random = np.random.default_rng(0)

    def read(self):
        """(source, target), (1, 3, 16, Y, X): 32 files."""
        first = self.random.integers(0, len(self.files[0]) - DEPTH + 1)
        volumes = []
        for files in self.files:
            slices = [pydicom.dcmread(file) for file in files[first : first + DEPTH]]
            hu = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices])
            volumes.append(torch.from_numpy(to_windows(hu, self.recipe.windows)).to(self.device)[None])
        return volumes

    def step(self):
        source, target = self.read()
        with torch.no_grad():
            fake = self.generator(source)
        for image, real in ((target, 1.0), (fake, 0.0)):
            logits = self.discriminator(image, source)
            loss = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))
            self.update(loss, 1)
        output = self.generator(source)
        logits = self.discriminator(output, source)
        gan = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        self.update(gan + 100 * (output - target).abs().mean(), 0)
        if self.device != "cpu":
            torch.cuda.synchronize()

    def update(self, loss, which):
        for adam in self.adams:
            adam.zero_grad()
        loss.backward()
        self.adams[which].step()


def loader_speed(stacks, recipe, seconds=10.0):
    """Stacks a second from two threads, as a run reads them."""
    with read_ahead(lambda step: stacks.draw(recipe, step, recipe.crop), 0, 1_000_000, threads=2) as ahead:
        ahead.next()
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            ahead.next()
            count += 1
        return count / (time.perf_counter() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true")
    size.add_argument("--full", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help=f"default with --full: {RESULTS.relative_to(REPOSITORY)}")
    args = parser.parse_args()
    width, pixels = (64, 512) if args.full else (16, 256)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precisions = ["fp32", "bf16"] if choose(device).precision == "bf16" else ["fp32"]
    settings = {"gf": width, "df": width, "crop": pixels, "epochs": 0, "steps": 10_000}
    recipe = override(find_recipe("choi2021-code"), settings)
    phantom = thorax_phantom((32, pixels, pixels), (10.0, 360.0 / pixels, 360.0 / pixels))
    stacks = Stacks([Pair(phantom.ncct, phantom.cect, phantom.spacing_zyx)], DEPTH)
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / name for name in ("ncct", "cect")]
        for path, hu in zip(folders, (phantom.ncct, phantom.cect), strict=True):
            write_phantom_series(path, hu, phantom.spacing_zyx)
        peer = Peer(width, folders, recipe, device)
        tasks = {PEER: peer.step}
        with ExitStack() as stack:
            for precision in precisions:
                trainer = Trainer(override(recipe, {"precision": precision}), stacks, {}, device)
                ahead = stack.enter_context(read_ahead(trainer.read, 0, 10_000, threads=1))
                tasks[f"train.py, {precision}"] = lambda trainer=trainer, ahead=ahead: trainer.train_step(ahead.next())
            steps = summary(take_turns(tasks, args.repeats), PEER)
    result = {
        "machine": machine() | {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"},
        "network": {"gf": width, "df": width, "window": [DEPTH, pixels, pixels], "repeats": args.repeats},
        "step": steps,
        "loader_stacks_per_second": round(loader_speed(stacks, recipe), 1),
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text)
    output = args.output or (RESULTS if args.full else None)
    if output:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

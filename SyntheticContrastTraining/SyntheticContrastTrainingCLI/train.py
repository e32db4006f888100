"""Train a model on a prepared training set.

Examples:
  train.py --recipe l1 --data prepared/ --output run/
  train.py --recipe l1 --data prepared/ --output run/ --set gf=16 steps=2000
  train.py --recipe l1 --data prepared/ --output run/ --set gf=16 steps=2000 --resume

Ctrl-C saves a checkpoint and stops (exit status 3); --resume goes on from the last one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Installed, both libraries lie beside this folder; in the source tree the core lies in the sibling module.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SyntheticContrast"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis.process import DONE, ArgumentParser, run_entry


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--recipe", required=True, help="name of a recipe: l1")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder that prepare.py made")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change fields of the recipe"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    for name, steps in (("log", 10), ("montage", 200), ("save", 100)):
        parser.add_argument(f"--{name}-every", type=int, default=steps, metavar="N", help=f"steps (default: {steps})")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    if min(args.log_every, args.montage_every, args.save_every) < 1:
        raise InputError("--log-every, --montage-every and --save-every are at least 1")

    from SyntheticContrastLib.synthesis.device import choose
    from SyntheticContrastTrainingLib.dataset import Stacks
    from SyntheticContrastTrainingLib.prepared import read_manifest
    from SyntheticContrastTrainingLib.recipes import find_recipe, override, parse_settings
    from SyntheticContrastTrainingLib.trainer import Schedule, start_run, train

    recipe = override(find_recipe(args.recipe), parse_settings(args.set))
    cases = read_manifest(args.data)
    stacks = Stacks.open(args.data, recipe.depth)
    data = {
        "cases": len(cases),
        "simulated": sum(case.simulated for case in cases),
        "slices": sum(case.shape_zyx[0] for case in cases),
        "files": [case.files["cect.npy"] + case.files["ncct.npy"] for case in cases],
    }
    trainer = start_run(recipe, stacks, data, args.output, args.resume, choose(args.device, recipe.precision).device)
    print(f"recipe {recipe.to_json().strip()}", flush=True)
    print(
        f"{len(cases)} cases ({data['simulated']} with a simulated VNC), {len(stacks)} stacks, "
        f"from step {trainer.step} of {recipe.total_steps}",
        flush=True,
    )
    train(
        trainer,
        args.output,
        Schedule(args.log_every, args.montage_every, args.save_every),
        lambda line: print(line, flush=True),
    )
    return DONE


if __name__ == "__main__":
    run_entry(main)

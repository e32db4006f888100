"""Train a model on a prepared training set.

Examples:
  train.py --recipe choi2021 --data prepared/ --output run/
  train.py --recipe choi2021-code --data prepared/ --output run/ --set precision=bf16
  train.py --recipe santini2018 --data prepared/ --output run/
  train.py --recipe l1 --data prepared/ --output run/ --set gf=16 steps=2000
  train.py --recipe l1 --data prepared/ --output run/ --set gf=16 steps=2000 --resume
  train.py --recipe l1 --data prepared/ --output run/ --set gf=16 steps=500 --start SyntheticContrast-choi2021-demo
  train.py --recipe l1 --data prepared/ --output run/ --set 'validation=["patient7"]'
  torchrun --nproc-per-node 4 train.py --recipe choi2021 --data prepared/ --output run/ --set batch_size=4

Ctrl-C saves a checkpoint and stops (exit status 3); --resume goes on from the last one, also after a crash or a kill.
On several nodes, --data and --output lie on a disk that all of them see.

The cases of one patient, as the column patient of cases.csv names them, are never split up: they all train or all
validate. A case without one is a patient of its own. Which validate: --set validation=..., else the column split of
cases.csv, else a tenth of the patients, drawn by the seed.
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
from SyntheticContrastLib.synthesis.process import DONE, ArgumentParser, require, run_entry

SHOWN = 4  # slices in the montage
VALIDATED = 3  # stacks of each volume that validates


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--recipe", required=True, help="name of a recipe: choi2021, choi2021-code, santini2018 or l1")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder that prepare.py made")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change fields of the recipe"
    )
    parser.add_argument(
        "--start", metavar="MODEL", help="model bundle (name or folder) whose weights a new run begins with"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="that read ahead (default: 2)")
    for name, steps in (("log", 10), ("montage", 200), ("validate", 200), ("save", 100)):
        parser.add_argument(f"--{name}-every", type=int, default=steps, metavar="N", help=f"steps (default: {steps})")
    parser.add_argument(
        "--keep-every",
        type=int,
        default=5,
        metavar="N",
        help="epochs after which a checkpoint stays (default: 5; 0: none)",
    )
    parser.add_argument("--tensorboard", action="store_true", help="also write events into the run's folder")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    if min(args.log_every, args.montage_every, args.validate_every, args.save_every, args.threads) < 1:
        raise InputError("--log-every, --montage-every, --validate-every, --save-every and --threads are at least 1")
    if args.keep_every < 0:
        raise InputError("--keep-every is at least 0")

    require("torch", "matplotlib.figure")
    from SyntheticContrastLib.models.bundle import find_bundle
    from SyntheticContrastLib.synthesis.device import choose
    from SyntheticContrastTrainingLib.distributed import join_crew
    from SyntheticContrastTrainingLib.objectives import open_stacks
    from SyntheticContrastTrainingLib.prepared import read_manifest
    from SyntheticContrastTrainingLib.recipes import find_recipe, override, parse_settings
    from SyntheticContrastTrainingLib.run import Schedule, start_run, train
    from SyntheticContrastTrainingLib.split import split_patients
    from SyntheticContrastTrainingLib.tensorboard import open_tensorboard
    from SyntheticContrastTrainingLib.trainer import Trainer
    from SyntheticContrastTrainingLib.transfer import begin_with

    recipe = override(find_recipe(args.recipe), parse_settings(args.set))
    cases = read_manifest(args.data)
    split = split_patients(
        [case.case_id for case in cases],
        recipe,
        {case.case_id: case.split for case in cases},
        {case.case_id: case.patient for case in cases},
    )
    training = [case for case in cases if case.case_id in split.training]
    validating = [case for case in cases if case.case_id in split.validation]
    stacks, held_out = (open_stacks(args.data, part, recipe) for part in (training, validating))
    data = {
        "cases": len(training),
        "simulated": sum(case.simulated for case in training),
        "slices": sum(case.shape_zyx[0] for case in training),
        "files": ["".join(case.files[name] for name in sorted(case.files)) for case in training],
        "validation": list(split.validation),
    }
    start = find_bundle(args.start) if args.start else None
    if start:
        data["start"] = start.card.weights_sha256
    device = choose(args.device, recipe.precision).device
    with join_crew(device) as crew:

        def tell(line: str) -> None:
            if crew.leads:
                print(line, flush=True)

        trainer = Trainer(recipe, stacks, data, device, crew)
        if start:
            begin_with(trainer, start)
        start_run(trainer, args.output, args.resume, tell)
        tell(f"recipe {recipe.to_json().strip()}")
        tell(
            f"{len(training)} cases to train ({data['simulated']} with a simulated VNC), "
            f"{len(validating)} to validate, of {split.patients} patients, {len(stacks)} stacks, {crew.size} processes "
            f"on {trainer.device.type}, from step {trainer.step} of {trainer.plan.total_steps}"
        )
        with open_tensorboard(args.output if args.tensorboard and crew.leads else None) as scalars:
            train(
                trainer,
                args.output,
                Schedule(
                    args.log_every,
                    args.montage_every,
                    args.validate_every,
                    args.save_every,
                    args.keep_every,
                    args.threads,
                ),
                tell,
                held_out.fixed(VALIDATED),
                (held_out if len(held_out) else stacks).fixed(a_volume=1)[:SHOWN],
                scalars,
            )
    return DONE


if __name__ == "__main__":
    run_entry(main)

"""Make a training set from a table of cases.

Examples:
  prepare.py --cases cases.csv --output prepared/
  prepare.py --cases cases.csv --output prepared/ --simulate-vnc
  prepare.py --cases cases.csv --output prepared/ --register rigid --spacing-z 3

A case without an NCCT gets a virtual one (VNC), simulated by taking the iodine out of its CECT. Finished cases are
skipped when the same command is run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Installed, both libraries lie beside this folder; in the source tree the core lies in the sibling module.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SyntheticContrast"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SyntheticContrastLib.ct.cases import read_cases
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis.process import BAD_INPUT, DONE, ArgumentParser, check_cancelled, require, run_entry


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="prepare.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV", help="columns case_id, cect and ncct")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of the training set")
    parser.add_argument("--simulate-vnc", action="store_true", help="make the missing NCCTs from the CECTs")
    parser.add_argument(
        "--register",
        default="none",
        choices=["none", "rigid", "deformable"],
        help="bring each CECT into its NCCT's frame (default: none, they are on one grid); "
        "deformable adds a B-spline stage: look at the pictures in DIR/review",
    )
    parser.add_argument("--spacing-z", type=float, metavar="MM", help="reslice the pairs (3 in Santini 2018)")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    cases = read_cases(args.cases)

    from SyntheticContrastTrainingLib.pairing import PairingOptions
    from SyntheticContrastTrainingLib.prepared import prepare_case, write_manifest
    from SyntheticContrastTrainingLib.split import patient_key

    require("scipy.ndimage", *(["matplotlib.figure"] if args.register != "none" else []))
    options = PairingOptions(args.register, args.simulate_vnc, args.spacing_z)
    args.output.mkdir(parents=True, exist_ok=True)
    done, failed = [], 0
    for number, case in enumerate(cases, 1):
        try:
            prepared, skipped = prepare_case(case, args.output, options)
        except InputError as error:
            print(f"prepare.py: case {case.case_id}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        check_cancelled()
        done.append(prepared)
        write_manifest(args.output, done)
        what = "simulated VNC and CECT" if prepared.simulated else "NCCT and CECT" if case.cect else "NCCT alone"
        state = "was there already" if skipped else "done"
        print(
            f"{number}/{len(cases)} {case.case_id}: {what}, {prepared.shape_zyx[0]} slices, {state}",
            flush=True,
        )
        if (found := prepared.registration) and not skipped:
            moved = ", ".join(f"{value:.1f}" for value in found["translation_mm"])
            turned = ", ".join(f"{value:.1f}" for value in found["rotation_degrees"])
            print(
                f"  mutual information {found['mi_before']:.3f} to {found['mi_after']:.3f}; "
                f"moved {moved} mm (left, back, head), turned {turned} degrees",
                flush=True,
            )
    patients = len({patient_key(case.case_id, case.patient) for case in done})
    print(f"{len(done)} cases of {patients} patients", flush=True)
    if failed:
        print(f"prepare.py: {failed} of {len(cases)} cases could not be prepared", file=sys.stderr)
        return BAD_INPUT
    return DONE


if __name__ == "__main__":
    run_entry(main)

"""MAE, PSNR, MS-SSIM, LPIPS and NMI of VNC and sCECT against CECT, of a patient that a training run left out; where
chamber_seeds.json has discs in the patient's heart, their mean HU too.

python Testing/realdata/fold_report.py --model BUNDLE --data PREPARED --case ID --slices FIRST LAST [--step 1]

Window 350/50, the axial slices FIRST to LAST of the case, counted from 0 at the superior end: from the top of the
aortic arch to the diaphragm. The pair is simulated: its VNC was made from the CECT.
"""

import argparse
import json
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path += [str(REPOSITORY / "SyntheticContrast"), str(REPOSITORY / "SyntheticContrastTraining")]

import numpy as np

from SyntheticContrastLib.analysis.similarity import Lpips, compare
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.models.bundle import find_bundle
from SyntheticContrastLib.synthesis.convert import Converter
from SyntheticContrastLib.synthesis.device import choose
from SyntheticContrastTrainingLib.prepared import CECT, NCCT, open_volume, read_manifest

SEEDS = json.loads(Path(__file__).with_name("chamber_seeds.json").read_text())
BACKBONE = REPOSITORY.parent / "shared" / "data" / "lpips" / "alexnet_features.pth"
NAMES = ("mae", "mae_unclipped", "psnr", "ms_ssim", "lpips", "nmi", "nmi_unit")


def disc_means(hu, discs):
    """Mean of `hu` (Z, Y, X) over the discs [z, y, x, radius] together."""
    inside = np.zeros(hu.shape, bool)
    rows, columns = np.ogrid[: hu.shape[1], : hu.shape[2]]
    for z, y, x, radius in discs:
        inside[z] |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return hu[inside].mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a bundle's name or folder")
    parser.add_argument("--data", required=True, type=Path, help="folder that prepare.py made")
    parser.add_argument("--case", required=True)
    parser.add_argument("--slices", required=True, type=int, nargs=2, metavar=("FIRST", "LAST"))
    parser.add_argument("--step", type=int, default=1)
    args = parser.parse_args()
    case = next(case for case in read_manifest(args.data) if case.case_id == args.case)
    ncct, cect = (np.asarray(open_volume(args.data, case, name)) for name in (NCCT, CECT))

    model = Converter(find_bundle(args.model), choose("cpu", "fp32"), args.step)
    margin = model.bundle.card.patch_depth  # so that the first and last slice are averaged as others
    first, last = max(0, args.slices[0] - margin), min(len(ncct), args.slices[1] + 1 + margin)
    part = ncct[first:last]
    scect = model.convert(CTVolume(part, Grid.axial(part.shape, case.spacing_zyx))).hu

    measured = slice(args.slices[0], args.slices[1] + 1)
    lpips = Lpips(BACKBONE)
    print(f"{case.case_id}, slices {args.slices[0]} to {args.slices[1]}, window 350/50, step {args.step}")
    print("| against CECT | " + " | ".join(NAMES) + " |\n|" + "---|" * (len(NAMES) + 1))
    for name, image in (
        ("VNC (simulated)", ncct[measured]),
        ("sCECT", scect[measured.start - first :][: len(ncct[measured])]),
    ):
        scores = compare(image, cect[measured], lpips=lpips).of_case()
        print(f"| {name} | " + " | ".join(f"{scores[measure]:.4g}" for measure in NAMES) + " |")
    seeds = SEEDS.get(case.case_id.split("_")[0], {})
    discs = {name: [d for d in places if first <= d[0] < last] for name, places in seeds.items() if name != "path"}
    if discs:
        print("\n| mean HU | VNC | sCECT | CECT |\n|---|---|---|---|")
    for name, places in discs.items():
        placed = [[z - first, *disc] for z, *disc in places]
        means = [disc_means(image, placed) for image in (part, scect, cect[first:last])]
        print(f"| {name} | " + " | ".join(f"{mean:.0f}" for mean in means) + " |")


if __name__ == "__main__":
    main()

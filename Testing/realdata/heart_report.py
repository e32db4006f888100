"""The volumes of the heart region of all CTs; or how a heart model does on a patient that its training run left out.

python Testing/realdata/heart_report.py
python Testing/realdata/heart_report.py --model BUNDLE --data PREPARED --case ID [--threshold 190]

Within the heart mask, on the slices with chambers: MAE in HU and PSNR in dB in the window 350/50, VNC and sCECT against
the CECT; Dice and volume of what passes the threshold against the chambers, of the CECT itself too: the right heart is
bright as well, so not even the CECT reaches 1. The pair is simulated, the chambers come from chamber_labels.py.
"""

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path += [str(REPOSITORY / "SyntheticContrast"), str(REPOSITORY / "SyntheticContrastTraining")]

import numpy as np

from SyntheticContrastLib.analysis.chambers import compare_chambers, threshold_chambers
from SyntheticContrastLib.ct.heart_region import heart_region
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.models.bundle import find_bundle
from SyntheticContrastLib.synthesis.convert import Converter
from SyntheticContrastLib.synthesis.device import choose
from SyntheticContrastTrainingLib.prepared import CECT, CHAMBERS, HEART, NCCT, open_volume, read_manifest
from SyntheticContrastTrainingLib.validation import compare

DATA = REPOSITORY.parent / "shared" / "data"


def write_volumes():
    paths = [path for folder in ("pairs", "cect", "ncct") for path in sorted((DATA / folder).glob("*"))]
    print("| CT | slices | heart region, mL | in slices |\n|---|---|---|---|")
    for path in [*(one for one in paths if "boxes" not in one.name), DATA / "cta-crops/pulmonary/ct.nii.gz"]:
        volume = read_ct(path)
        region = heart_region(volume.hu, volume.spacing_zyx)
        ml = region.sum() * np.prod(volume.spacing_zyx) / 1000
        slices = np.flatnonzero(region.any(axis=(1, 2)))
        name = str(path.relative_to(DATA)).removesuffix(".nii.gz")
        print(f"| {name} | {len(region)} | {ml:.0f} | {slices[0]} to {slices[-1]} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a bundle's name or folder")
    parser.add_argument("--data", type=Path, help="folder that prepare.py made")
    parser.add_argument("--case")
    parser.add_argument("--threshold", type=float, default=190.0, help="HU")
    args = parser.parse_args()
    if args.model is None:
        return write_volumes()
    if args.data is None or args.case is None:
        parser.error("--model needs --data and --case")
    case = next(case for case in read_manifest(args.data) if case.case_id == args.case)
    ncct, cect, heart, chambers = (
        np.asarray(open_volume(args.data, case, name)) for name in (NCCT, CECT, HEART, CHAMBERS)
    )
    heart, chambers = heart > 0, chambers > 0
    converter = Converter(find_bundle(args.model), choose("cpu", "fp32"))
    scect = converter.convert(CTVolume(ncct, Grid.axial(ncct.shape, case.spacing_zyx)), heart).hu

    shown = heart & chambers.any(axis=(1, 2))[:, None, None]
    print(f"{case.case_id}: {converter.bundle.card.name}, chambers above {args.threshold:g} HU")
    print("| | MAE HU | PSNR dB | Dice | volume mL | reference mL | dV % |\n|---|---|---|---|---|---|---|")
    for name, image in (("VNC (simulated)", ncct), ("sCECT", scect), ("CECT", cect)):
        mae, psnr = compare(image[shown], cect[shown])
        line = [f"{mae:.1f}", f"{psnr:.2f}"]
        if name != "VNC (simulated)":
            found = threshold_chambers(image, heart, case.spacing_zyx, args.threshold)
            agreement = compare_chambers(found, chambers, case.spacing_zyx)
            line += [f"{agreement.dice:.3f}", f"{agreement.volume_ml:.0f}", f"{agreement.reference_ml:.0f}"]
            line += [f"{agreement.volume_error_percent:.0f}"]
        print(f"| {name} | " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()

"""Mean HU of fixed circles on the two real non-contrast CTs, before and after synthesis.

python Testing/realdata/roi_report.py [--model NAME_OR_FOLDER] [--step 1] [--preview DIR]
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "SyntheticContrast"))

DATA = REPOSITORY.parent / "shared" / "data"
ROIS = {
    name: scan
    for name, scan in json.loads(Path(__file__).with_name("rois.json").read_text()).items()
    if name != "about"
}


def circle_mean(hu, roi):
    """Mean of `hu` (Z, Y, X) over the voxels whose centres lie in the circle [z, y, x, radius]."""
    z, y, x, radius = roi
    rows, columns = np.ogrid[: hu.shape[1], : hu.shape[2]]
    return float(hu[z][(rows - y) ** 2 + (columns - x) ** 2 <= radius**2].mean())


def main():
    from SyntheticContrastLib.analysis.preview import write_preview
    from SyntheticContrastLib.ct.read import read_ct
    from SyntheticContrastLib.models.bundle import find_bundle
    from SyntheticContrastLib.synthesis.convert import Converter
    from SyntheticContrastLib.synthesis.device import choose

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--preview", type=Path)
    args = parser.parse_args()

    converter = Converter(find_bundle(args.model), choose(), args.step)
    for name, scan in ROIS.items():
        volume = read_ct(DATA / scan["path"])
        scect = converter.convert(volume).hu
        print(f"\n{name}: {converter.bundle.card.name}, step {args.step}\n")
        print("| tissue | NCCT | sCECT | change |\n|---|---|---|---|")
        for tissue, roi in scan["rois"].items():
            before, after = circle_mean(volume.hu, roi), circle_mean(scect, roi)
            print(f"| {tissue} | {before:.0f} | {after:.0f} | {after - before:+.0f} |", flush=True)
        if args.preview:
            write_preview(
                args.preview / f"{name}.png", volume.hu, scect, volume.spacing_zyx, converter.bundle.card.name
            )


if __name__ == "__main__":
    main()

"""Mean HU of named circles before and after synthesis: on real NCCTs, on single slices of them, and on the real pairs
beside what contrast truly did.

python Testing/realdata/roi_report.py [--model NAME_OR_FOLDER] [--fold CASE=BUNDLE ...] [--only SCAN ...] [--step 1]
                                      [--output DIR] [--preview DIR]

Counts are of circles (rois.json): blood that rises by more than 150 HU, on pairs also by more than 60 % of its true
rise; and what should stay, but rises by more than 40 and 50 HU. --model is a bundle, "classical" or "ncct"; --fold
names the model of a pair or patient that it left out. Around a single slice stand copies of it.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "SyntheticContrast"))

import numpy as np
from contrast_models import fold_of, load_model, parse_folds

DATA = REPOSITORY.parent / "shared" / "data"
SCANS = {
    name: scan
    for name, scan in json.loads(Path(__file__).with_name("rois.json").read_text()).items()
    if name != "about"
}
ROIS = {name: scan for name, scan in SCANS.items() if "rois" in scan}
BLOOD_ABOVE, STAYS_ABOVE = 150, (40, 50)  # HU of rise
SHARE_ABOVE = 0.6  # of the true rise, where there is one
AROUND_MM = 20  # of copies on either side of a single slice
KINDS = {"path": "NCCTs", "slice": "single slices", "pair": "pairs"}


def circle_mean(hu, roi):
    """Mean of `hu` (Z, Y, X) over the voxels whose centres lie in the circle [z, y, x, radius]."""
    z, y, x, radius = roi
    rows, columns = np.ogrid[: hu.shape[1], : hu.shape[2]]
    return float(hu[z][(rows - y) ** 2 + (columns - x) ** 2 <= radius**2].mean())


def load_scan(name):
    """The NCCT as a CTVolume, and the real CECT on its grid, (Z, Y, X), or None."""
    from SyntheticContrastLib.ct.read import read_ct
    from SyntheticContrastLib.ct.volume import CTVolume

    scan = SCANS[name]
    if "pair" in scan:
        from real_pairs import load_pairs

        (pair,) = load_pairs([scan["pair"]])
        return CTVolume(pair.ncct, pair.grid), pair.cect
    if "slice" in scan:
        return repeated_slice(scan["slice"]), None
    return read_ct(DATA / scan["path"]), None


def repeated_slice(index):
    """A single slice of slices2d_tcga as a scan of copies, an odd number: it is the middle one."""
    from SyntheticContrastLib.ct.volume import CTVolume, Grid

    with (DATA / "slices2d_tcga.csv").open() as file:
        row = list(csv.DictReader(file))[index]
    spacing = (float(row["thickness_mm"]), float(row["spacing_mm"]), float(row["spacing_mm"]))
    plane = np.load(DATA / "slices2d_tcga.npz")["hu"][index]
    hu = np.repeat(plane[None], 2 * round(AROUND_MM / spacing[0]) + 1, axis=0)
    return CTVolume(hu, Grid.axial(hu.shape, spacing))


def rises(name, ncct, scect, cect):
    """One dict a circle: group, tissue, z, HU before, change, and true change where there is a CECT."""
    found = []
    if "slice" in SCANS[name]:
        ncct, scect = (volume[len(volume) // 2 :] for volume in (ncct, scect))
    for group, tissues in SCANS[name]["circles"].items():
        for tissue, circles in tissues.items():
            for circle in circles:
                before = circle_mean(ncct, circle)
                row = {"group": group, "tissue": tissue, "z": circle[0], "ncct": round(before, 1)}
                row["change"] = round(circle_mean(scect, circle) - before, 1)
                if cect is not None:
                    row["true"] = round(circle_mean(cect, circle) - before, 1)
                found.append(row)
    return found


def counts(rows):
    """Of the circles of one scan or of many: how many blood circles rise, how many others do that should not."""
    blood = [row["change"] for row in rows if row["group"] == "blood"]
    stays = [row["change"] for row in rows if row["group"] == "stays"]
    found = {f"blood above {BLOOD_ABOVE}": [sum(change > BLOOD_ABOVE for change in blood), len(blood)]}
    if true := [row["change"] / row["true"] for row in rows if row["group"] == "blood" and "true" in row]:
        found[f"blood above {SHARE_ABOVE:.0%} of the true rise"] = [
            sum(share > SHARE_ABOVE for share in true),
            len(true),
        ]
    return found | {f"stays above {limit}": [sum(c > limit for c in stays), len(stays)] for limit in STAYS_ABOVE}


def table(rows):
    """Markdown, a line a tissue: mean HU before, mean, lowest and highest rise of its circles, and the true rise."""
    lines = ["| tissue | circles | NCCT | change (lowest to highest) | true |", "|---|---|---|---|---|"]
    for group, tissue in dict.fromkeys((row["group"], row["tissue"]) for row in rows):
        same = [row for row in rows if (row["group"], row["tissue"]) == (group, tissue)]
        change = [row["change"] for row in same]
        span = f"{np.mean(change):+.0f}" + (f" ({min(change):+.0f} to {max(change):+.0f})" if len(same) > 1 else "")
        true = f"{np.mean([row['true'] for row in same]):+.0f}" if "true" in same[0] else ""
        before = np.mean([row["ncct"] for row in same])
        lines.append(f"| {group}: {tissue} | {len(same)} | {before:.0f} | {span} | {true} |")
    return "\n".join(lines)


def main():
    from SyntheticContrastLib.analysis.preview import write_preview
    from SyntheticContrastLib.ct.errors import InputError

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--fold", nargs="+", default=[], metavar="CASE=BUNDLE")
    parser.add_argument("--only", nargs="+", choices=SCANS, default=list(SCANS))
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--output", type=Path, help="folder for rois.json and rois.md")
    parser.add_argument("--preview", type=Path)
    args = parser.parse_args()

    results, text, loaded = {}, [], {}
    try:
        folds = parse_folds(args.fold)
        for name in args.only:
            bundle = fold_of(folds, name, args.model)
            if bundle not in loaded:
                loaded = {bundle: load_model(bundle, args.step)}  # one model at a time
            model, synthesise = loaded[bundle]
            volume, cect = load_scan(name)
            scect = synthesise(volume)
            results[name] = {"model": model, "circles": rises(name, volume.hu, scect, cect)}
            results[name]["counts"] = counts(results[name]["circles"])
            text.append(f"\n{name}: {model}, step {args.step}; {results[name]['counts']}\n")
            text.append(table(results[name]["circles"]))
            print("\n".join(text[-2:]), flush=True)
            if args.preview:
                write_preview(args.preview / f"{name}.png", volume.hu, scect, volume.spacing_zyx, model)
    except InputError as error:
        sys.exit(str(error))
    together = {}
    for key, kind in KINDS.items():
        if names := [name for name in results if key in SCANS[name]]:
            together[kind] = counts([row for name in names for row in results[name]["circles"]])
    print(f"\n{together}")
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "rois.json").write_text(json.dumps({"step": args.step, "counts": together, "scans": results}))
        (args.output / "rois.md").write_text("\n".join(text) + f"\n\n{together}\n")


if __name__ == "__main__":
    main()

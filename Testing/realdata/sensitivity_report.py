"""Does one CT give one result? Rises of the same circles when it is resliced, cropped, shifted, noisier or offset.

python Testing/realdata/sensitivity_report.py [--model NAME_OR_FOLDER] [--scan lidc-idri-0314] [--step 1]
                                              [--only VARIANT ...] [--output DIR]

A row is a variant: mean rise in HU of the circles (rois.json) of each kind of blood, and the largest deviation of one
kind from the CT as it is, of the circles that both show. The last columns are of the circles that should stay.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "SyntheticContrast"))

import numpy as np
from contrast_models import load_model
from pair_figures import find_body
from roi_report import ROIS, circle_mean, load_scan

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.resample import reslice
from SyntheticContrastLib.ct.volume import CTVolume, Grid

LEAST_RISE = 50  # HU, of the CT as it is: below, a relative deviation says nothing
AS_IT_IS = "as it is"


def of_spacing(ct, millimetres):
    """A CT of other slices, and the way of a circle into it."""
    thinner = reslice(ct, millimetres)
    ratio = ct.spacing_zyx[0] / millimetres
    last = len(thinner.hu) - 1
    return thinner, lambda z, y, x, r: (int(np.clip(round((z + 0.5) * ratio - 0.5), 0, last)), y, x, r)


def of_box(ct, top, bottom, left, right):
    hu = np.ascontiguousarray(ct.hu[:, top:bottom, left:right])
    return on_its_own_grid(hu, ct), lambda z, y, x, r: (z, y - top, x - left, r)


def cropped_to_body(ct):
    body = find_body(ct.hu)
    rows, columns = np.flatnonzero(body.any(axis=(0, 2))), np.flatnonzero(body.any(axis=(0, 1)))
    margin = 5
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return of_box(ct, top, rows[-1] + margin, left, columns[-1] + margin)


def cropped_into_body(ct):
    """The middle 70 % of the field of view, as a cardiac reconstruction cuts arms and back off."""
    (height, width), part = ct.hu.shape[1:], 0.15
    return of_box(ct, int(height * part), int(height * (1 - part)), int(width * part), int(width * (1 - part)))


def wider(ct):
    """20 % more air all around."""
    pad = ct.hu.shape[1] // 10
    hu = np.pad(ct.hu, ((0, 0), (pad, pad), (pad, pad)), constant_values=-1000)
    return on_its_own_grid(hu, ct), lambda z, y, x, r: (z, y + pad, x + pad, r)


def shifted(ct):
    hu = np.roll(ct.hu, (1, 1), axis=(1, 2))
    return on_its_own_grid(hu, ct), lambda z, y, x, r: (z, y + 1, x + 1, r)


def with_noise(ct, sd=20):
    noise = np.random.default_rng(0).normal(0, sd, ct.hu.shape)
    return on_its_own_grid(np.clip(ct.hu + noise, -1024, 3071), ct), lambda *circle: circle


def offset(ct, by):
    return on_its_own_grid(np.clip(ct.hu + by, -1024, 3071), ct), lambda *circle: circle


def on_its_own_grid(hu, ct):
    return CTVolume(np.rint(hu).astype(np.int16), Grid.axial(hu.shape, ct.spacing_zyx))


VARIANTS = {
    AS_IT_IS: lambda ct: (ct, lambda *circle: circle),
    "slices of 1 mm": lambda ct: of_spacing(ct, 1),
    "slices of 3 mm": lambda ct: of_spacing(ct, 3),
    "slices of 5 mm": lambda ct: of_spacing(ct, 5),
    "slices of 8 mm": lambda ct: of_spacing(ct, 8),
    "cropped to the body": cropped_to_body,
    "cropped into the body": cropped_into_body,
    "20 % more field of view": wider,
    "shifted by a pixel": shifted,
    "20 HU of noise": with_noise,
    "+15 HU": lambda ct: offset(ct, 15),
    "-15 HU": lambda ct: offset(ct, -15),
}


def rises(before, after, circles, place):
    """Rise (HU) of each tissue's circles, NaN for one that lies beyond the variant's field of view."""
    found = {}
    for tissue, places in circles.items():
        placed = [place(*circle) for circle in places]
        found[tissue] = np.array(
            [
                circle_mean(after, circle) - circle_mean(before, circle) if within(circle, before.shape) else np.nan
                for circle in placed
            ]
        )
    return found


def deviation(rise, base):
    """Of the mean of the circles that both show, relative to `base`; 0 where that hardly rises."""
    both = np.isfinite(rise)
    if not both.any() or base[both].mean() < LEAST_RISE:
        return 0.0
    return abs(rise[both].mean() / base[both].mean() - 1)


def mean(values):
    """NaN where there is none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def within(circle, shape):
    _, y, x, r = circle
    return r <= y < shape[1] - r and r <= x < shape[2] - r


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--scan", choices=ROIS, default="lidc-idri-0314")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--output", type=Path, help="folder for sensitivity.json and sensitivity.md")
    args = parser.parse_args()
    try:
        model, synthesise = load_model(args.model, args.step)
    except InputError as error:
        sys.exit(str(error))
    ct, _ = load_scan(args.scan)
    circles = ROIS[args.scan]["circles"]
    tissues = list(circles["blood"])
    head = ["variant", *tissues, "largest deviation", "stays: mean", "stays: highest"]
    lines = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head))]
    print(f"{args.scan}: {model}, step {args.step}\n\n" + "\n".join(lines), flush=True)
    rows = {}
    for name in dict.fromkeys([AS_IT_IS, *args.only]):  # all others are held against it
        variant, place = VARIANTS[name](ct)
        after = synthesise(variant)
        blood, stays = (rises(variant.hu, after, circles[group], place) for group in ("blood", "stays"))
        if name == AS_IT_IS:
            base = blood
        largest = max(deviation(blood[tissue], base[tissue]) for tissue in tissues)
        rows[name] = {
            "blood": {tissue: round(mean(blood[tissue]), 1) for tissue in tissues},
            "deviation": round(float(largest), 4),
            "stays": {tissue: round(mean(values), 1) for tissue, values in stays.items()},
        }
        kept = np.concatenate([*stays.values()])
        cells = [name, *(f"{rise:+.0f}" for rise in rows[name]["blood"].values()), f"{largest:.0%}"]
        cells += [f"{np.nanmean(kept):+.0f}", f"{np.nanmax(kept):+.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        record = {"scan": args.scan, "model": model, "step": args.step, "variants": rows}
        (args.output / "sensitivity.json").write_text(json.dumps(record, indent=1))
        (args.output / "sensitivity.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

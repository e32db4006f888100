"""How close a model comes to real contrast on the real pairs: one table, JSON and pictures.

python Testing/realdata/pairs_report.py --model NAME_OR_FOLDER [--fold CASE=BUNDLE ...] --output DIR [--step N]

--model is a bundle, "classical" (the classical baseline) or "ncct" (nothing added). --fold names the model for a pair
or a patient that was left out of its training, e.g. hcc-007=run/bundle: a figure counts only if the model never saw
any scan of that patient. Similarity is in the window 350/50 over the slices that both scans share. 95 % intervals are
of the mean over patients, from resampled patients; the two pairs of hcc-007 count as one patient.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from contrast_models import fold_of, load_model, parse_folds
from pair_figures import find_regions, septum_figures, similarity, tissue_figures, volumes_ml
from pair_pictures import save_picture
from real_pairs import PAIRS, REPOSITORY, RealPair, load_pairs

from SyntheticContrastLib.analysis.similarity import Lpips
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume

BACKBONE = REPOSITORY.parent / "shared" / "data" / "lpips" / "alexnet_features.pth"


def measure(pair: RealPair, scect: np.ndarray, lpips: Lpips | None) -> dict[str, Any]:
    """All figures of one pair."""
    regions = find_regions(pair)
    return {
        "patient": pair.patient,
        "slices": [int(z) for z in regions.slices],
        "ml": volumes_ml(pair, regions),
        "ncct": similarity(pair.ncct, pair, regions.slices, lpips),
        "scect": similarity(scect, pair, regions.slices, lpips),
        "tissue": tissue_figures(scect, pair, regions) | septum_figures(scect, pair),
    }


def flat(row: dict[str, Any]) -> dict[str, float]:
    """The figures whose means are taken."""
    ncct, scect = row["ncct"], row["scect"]
    gains = {
        "psnr_gain": scect["psnr"] - ncct["psnr"],
        "mae_ratio": scect["mae"] / ncct["mae"],
        "mae_unclipped_ratio": scect["mae_unclipped"] / ncct["mae_unclipped"],
        "ms_ssim_gain": scect["ms_ssim"] - ncct["ms_ssim"],
    }
    if "lpips" in scect:
        gains["lpips_gain"] = ncct["lpips"] - scect["lpips"]
    return gains | row["tissue"]


def over_patients(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean over patients of each figure, and its interval from all ways to draw as many patients again."""
    patients = sorted({row["patient"] for row in rows.values()})
    result = {}
    for name in dict.fromkeys(key for row in rows.values() for key in flat(row)):
        means = []
        for patient in patients:
            values = [flat(row).get(name, np.nan) for row in rows.values() if row["patient"] == patient]
            if np.isfinite(values).any():
                means.append(float(np.nanmean(values)))
        if not means:
            continue
        figure: dict[str, Any] = {"mean": round(float(np.mean(means)), 4), "patients": len(means)}
        if 2 < len(means) < 8:  # all draws are few enough to list
            drawn = [np.mean(draw) for draw in product(means, repeat=len(means))]
            figure["interval"] = [round(float(edge), 4) for edge in np.percentile(drawn, (2.5, 97.5))]
        result[name] = figure
    return result


def table(rows: dict[str, dict[str, Any]], means: dict[str, dict[str, Any]]) -> str:
    """Markdown: one column a pair, then the mean over patients with its interval."""

    def mean(name: str, digits: int = 0, scale: float = 1) -> str:
        if name not in means:
            return "-"
        text = f"{scale * means[name]['mean']:.{digits}f}"
        if interval := means[name].get("interval"):
            text += f" [{scale * interval[0]:.{digits}f}, {scale * interval[1]:.{digits}f}]"
        return text

    def tissue(row: dict[str, Any], text: str) -> str:
        try:
            return text.format(**row["tissue"])
        except KeyError:
            return "-"

    def both(measure: str, digits: int):
        def cell(row: dict[str, Any]) -> str:
            if measure not in row["scect"]:
                return "-"
            return f"{row['ncct'][measure]:.{digits}f} → {row['scect'][measure]:.{digits}f}"

        return cell

    lines = [
        ("MAE 350/50, HU", both("mae", 1), f"x {mean('mae_ratio', 2)}"),
        ("MAE unclipped, HU", both("mae_unclipped", 1), f"x {mean('mae_unclipped_ratio', 2)}"),
        ("PSNR 350/50, dB", both("psnr", 2), f"gain {mean('psnr_gain', 2)}"),
        ("MS-SSIM", both("ms_ssim", 4), f"gain {mean('ms_ssim_gain', 4)}"),
        ("LPIPS", both("lpips", 4), f"gain {mean('lpips_gain', 4)}"),
    ]
    words = [
        ("blood: true rise, HU", "{blood_true:.0f} ({blood_true_p10:.0f} to {blood_true_p90:.0f})", "blood_true", 0, 1),
        (
            "blood: synthetic rise",
            "{blood_synthetic:.0f} ({blood_synthetic_p10:.0f} to {blood_synthetic_p90:.0f})",
            "blood_synthetic",
            0,
            1,
        ),
        ("share of the true rise, %", "{blood_ratio:.0%}", "blood_ratio", 0, 100),
        ("its 10th percentile, %", "{blood_p10_ratio:.0%}", "blood_p10_ratio", 0, 100),
        ("half-enhanced: true, synthetic, HU", "{half_true:.0f}, {half_synthetic:.0f}", "half_synthetic", 0, 1),
        (
            "septum below the left ventricle: true, synthetic, HU",
            "{septum_below_true:.0f}, {septum_below_synthetic:.0f}",
            "septum_below_synthetic",
            0,
            1,
        ),
        (
            "free wall below it: true, synthetic, HU",
            "{free_wall_below_true:.0f}, {free_wall_below_synthetic:.0f}",
            "free_wall_below_synthetic",
            0,
            1,
        ),
        ("stays: mean change, HU", "{still_synthetic:.1f}", "still_synthetic", 1, 1),
        ("stays: above +50 HU, %", "{still_above_50:.2%}", "still_above_50", 2, 100),
        ("bone, lipiodol, oral contrast: above +50 HU, %", "{dense_above_50:.2%}", "dense_above_50", 2, 100),
        ("Dice of what rises > 100 HU", "{lit_dice:.2f}", "lit_dice", 2, 1),
        ("lattice ratio in blood", "{lattice:.2f}", "lattice", 2, 1),
    ]
    lines += [
        (title, lambda row, text=text: tissue(row, text), mean(name, digits, scale))
        for title, text, name, digits, scale in words
    ]
    head = ["", *(f"{name} ({row['model']})" for name, row in rows.items()), "mean of patients [95 %]"]
    body = [[title, *(cell(row) for row in rows.values()), last] for title, cell, last in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body)) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help='a bundle\'s name or folder, "classical" or "ncct"')
    parser.add_argument("--fold", nargs="+", default=[], metavar="CASE=BUNDLE")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--step", type=int, default=1)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    rows: dict[str, dict[str, Any]] = {}
    loaded: dict[str | None, Any] = {}
    try:
        folds = parse_folds(args.fold)
        lpips = Lpips(BACKBONE)
        for pair in load_pairs(args.pairs):
            model = fold_of(folds, pair.name, args.model)
            if model not in loaded:
                loaded = {model: load_model(model, args.step)}  # one model at a time
            name, synthesise = loaded[model]
            scect = synthesise(CTVolume(pair.ncct, pair.grid))
            rows[pair.name] = {"model": name, **measure(pair, scect, lpips)}
            picture = args.output / f"{pair.name}.png"
            save_picture(picture, (pair.ncct, scect, pair.cect), find_regions(pair).blood, pair.spacing, pair.name)
    except InputError as error:
        sys.exit(str(error))
    means = over_patients(rows)
    (args.output / "pairs.json").write_text(json.dumps({"step": args.step, "pairs": rows, "patients": means}, indent=1))
    (args.output / "pairs.md").write_text(text := table(rows, means))
    print(text)


if __name__ == "__main__":
    main()

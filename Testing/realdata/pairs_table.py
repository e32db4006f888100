"""From the figures of the real pairs to a mean over patients with its interval, and to one Markdown table."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

# Title; what stands in the column of a pair; the figure whose mean stands in the last one, its digits and its factor.
ROWS = (
    ("MAE 350/50, HU", "{ncct_mae:.1f} → {scect_mae:.1f}", "mae_ratio", 2, 1),
    ("MAE unclipped, HU", "{ncct_mae_unclipped:.1f} → {scect_mae_unclipped:.1f}", "mae_unclipped_ratio", 2, 1),
    ("PSNR 350/50, dB", "{ncct_psnr:.2f} → {scect_psnr:.2f}", "psnr_gain", 2, 1),
    ("MS-SSIM", "{ncct_ms_ssim:.4f} → {scect_ms_ssim:.4f}", "ms_ssim_gain", 4, 1),
    ("LPIPS", "{ncct_lpips:.4f} → {scect_lpips:.4f}", "lpips_gain", 4, 1),
    ("PSNR at the patient's own level, dB", "{levelled_psnr:.2f} (x {level_factor:.2f})", "levelled_psnr_gain", 2, 1),
    ("blood: true rise, HU", "{blood_true:.0f} ({blood_true_p10:.0f} to {blood_true_p90:.0f})", "blood_true", 0, 1),
    (
        "blood: synthetic rise, HU",
        "{blood_synthetic:.0f} ({blood_synthetic_p10:.0f} to {blood_synthetic_p90:.0f})",
        "blood_synthetic",
        0,
        1,
    ),
    ("its share of the true rise, %", "{blood_ratio:.0%}", "blood_ratio", 0, 100),
    ("10th percentile, % of the true mean", "{blood_p10_ratio:.0%}", "blood_p10_ratio", 0, 100),
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
)
CAPTION = (
    "NCCT → sCECT against the real arterial scan; blood: mean (10th to 90th percentile); last column: mean over "
    "patients [95 % interval from resampled patients], of MAE the ratio, of PSNR, MS-SSIM and LPIPS the gain, of pairs "
    "of numbers the synthetic one."
)


def flat(row: dict[str, Any]) -> dict[str, float]:
    """All figures of a pair in one, with the gains over the NCCT."""
    figures = {f"{image}_{name}": value for image in ("ncct", "scect") for name, value in row[image].items()}
    ncct, scect = row["ncct"], row["scect"]
    for name in scect:
        if name.startswith("mae"):
            figures[f"{name}_ratio"] = scect[name] / ncct[name]
        else:
            figures[f"{name}_gain"] = (ncct[name] - scect[name]) * (1 if name == "lpips" else -1)
    if "levelled_psnr" in row["tissue"]:
        figures["levelled_psnr_gain"] = row["tissue"]["levelled_psnr"] - ncct["psnr"]
    return figures | row["tissue"]


def over_patients(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean over patients of each figure, and its interval from all ways to draw as many patients again."""
    figures = {name: flat(row) for name, row in rows.items()}
    result = {}
    for figure in dict.fromkeys(key for values in figures.values() for key in values):
        of_patient: dict[str, list[float]] = {}
        for name, row in rows.items():
            if np.isfinite(value := figures[name].get(figure, np.nan)):
                of_patient.setdefault(row["patient"], []).append(value)
        if not of_patient:
            continue
        means = [float(np.mean(values)) for values in of_patient.values()]
        result[figure] = {"mean": round(float(np.mean(means)), 4), "patients": len(means)}
        if 2 < len(means) < 8:  # all draws are few enough to list
            drawn = [np.mean(draw) for draw in product(means, repeat=len(means))]
            result[figure]["interval"] = [round(float(edge), 4) for edge in np.percentile(drawn, (2.5, 97.5))]
    return result


def table(rows: dict[str, dict[str, Any]], means: dict[str, dict[str, Any]]) -> str:
    """Markdown: one column a pair, then the mean over patients with its interval."""
    names = {row["model"] for row in rows.values()}
    heads = [f"{pair} ({row['model']})" if len(names) > 1 else pair for pair, row in rows.items()]
    lines = [["", *heads, "patients"], ["---"] * (len(heads) + 2)]
    for title, text, figure, digits, factor in ROWS:
        lines.append([title, *(_cell(text, flat(row)) for row in rows.values()), _mean(means, figure, digits, factor)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{CAPTION}\n"


def _cell(text: str, figures: dict[str, float]) -> str:
    try:
        return text.format(**figures)
    except KeyError:  # the pair does not show it
        return "-"


def _mean(means: dict[str, dict[str, Any]], figure: str, digits: int, factor: float) -> str:
    if figure not in means:
        return "-"
    text = f"{factor * means[figure]['mean']:.{digits}f}"
    if interval := means[figure].get("interval"):
        text += f" [{factor * interval[0]:.{digits}f}, {factor * interval[1]:.{digits}f}]"
    return text

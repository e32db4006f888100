"""What a synthesis does on a real pair, in numbers. Arrays (Z, Y, X), HU, on one grid.

The regions come from the real scans alone, and are eroded, so that what is left of a breath-hold shift does not count.
"Rise" is what contrast truly did (CECT - NCCT), "change" what the synthesis did (sCECT - NCCT), both after 0.9 mm of
smoothing in plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lattice import lattice_ratio
from numpy.typing import NDArray
from real_pairs import RealPair
from roi_report import SCANS, circle_mean
from scipy import ndimage

from SyntheticContrastLib.analysis.similarity import Lpips, compare

MEASURES = ("mae", "mae_unclipped", "psnr", "ms_ssim", "lpips")
AIR_HU = -1024
SMOOTH_MM = 0.9
SOFT_HU = (-20, 110)  # of the NCCT: neither fat nor bone
DENSE_HU = 130  # of the NCCT: bone, calcium, lipiodol, oral contrast
BLOOD_RISES, HALF_RISES, STILL_RISES, LIT = 120, (25, 90), 25, 100  # HU
SHARED = 0.95  # of the body of a slice, that both scans must have measured


@dataclass(frozen=True, eq=False)
class Regions:
    """Of a pair, (Z, Y, X) bool; `rise` in HU. `counted` is where the Dice of what is lit is taken."""

    rise: NDArray[np.float32]
    counted: NDArray[np.bool_]
    blood: NDArray[np.bool_]
    half: NDArray[np.bool_]
    still: NDArray[np.bool_]
    dense: NDArray[np.bool_]  # bone, calcium, lipiodol and oral contrast where they lie alike in both scans
    slices: NDArray[np.intp]  # that the two scans share


def smooth(hu: NDArray, spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    return ndimage.gaussian_filter(hu.astype(np.float32), (0, SMOOTH_MM / spacing[1], SMOOTH_MM / spacing[2]))


def find_body(ncct: NDArray) -> NDArray[np.bool_]:
    """The largest thing in each slice, without holes; the table is none of it."""
    opened = ndimage.binary_opening(ncct > -300, np.ones((1, 7, 7)))
    body = np.zeros_like(opened)
    for z, plane in enumerate(opened):
        labels, count = ndimage.label(plane)
        if count:
            body[z] = ndimage.binary_fill_holes(labels == 1 + np.bincount(labels.ravel())[1:].argmax())
    return body


def find_regions(pair: RealPair) -> Regions:
    before, after = smooth(pair.ncct, pair.spacing), smooth(pair.cect, pair.spacing)
    rise, body = after - before, find_body(pair.ncct)
    dense = (before > DENSE_HU) & body & pair.valid
    near_dense = ndimage.binary_dilation(dense, square(2.8, pair))
    counted = (before > SOFT_HU[0]) & (before < SOFT_HU[1]) & body & pair.valid & ~near_dense
    risen = ndimage.binary_opening((rise > BLOOD_RISES) & counted, square(1.4, pair))
    for organ in pair.no_blood:
        risen[organ] = False
    half = (rise > HALF_RISES[0]) & (rise < HALF_RISES[1]) & counted
    still = (np.abs(rise) < STILL_RISES) & counted
    shared = [z for z in range(len(body)) if body[z].any() and pair.valid[z][body[z]].mean() > SHARED]
    return Regions(
        rise=rise,
        counted=counted,
        blood=ndimage.binary_erosion(risen, square(2.8, pair)),
        half=ndimage.binary_erosion(half, square(1.4, pair)),
        still=ndimage.binary_erosion(still, square(2.8, pair)),
        dense=ndimage.binary_erosion(dense & (np.abs(rise) < 50), square(1.4, pair)),
        slices=np.array(shared, np.intp),
    )


def square(radius_mm: float, pair: RealPair) -> NDArray[np.bool_]:
    """(1, N, N), for the morphology of slices."""
    side = 2 * round(radius_mm / pair.spacing[1]) + 1
    return np.ones((1, side, side), bool)


def similarity(
    image: NDArray, pair: RealPair, slices: NDArray[np.intp], lpips: Lpips | None, structure: bool = True
) -> dict[str, float]:
    """Of an image of the pair's grid and the CECT, window 350/50, over the slices they share.

    structure: whether MS-SSIM is made.
    """
    valid = pair.valid[slices]
    images = (np.where(valid, values[slices], AIR_HU) for values in (image, pair.cect))
    scores = compare(*images, lpips=lpips, structure=structure).of_case()
    return {name: round(scores[name], 4) for name in MEASURES if name in scores}


def tissue_figures(scect: NDArray, pair: RealPair, regions: Regions) -> dict[str, float]:
    """Names are units and all: HU, or shares of 1."""
    change = smooth(scect, pair.spacing) - smooth(pair.ncct, pair.spacing)
    rise, blood, half, still, dense = regions.rise, regions.blood, regions.half, regions.still, regions.dense
    lit, true = ((values > LIT) & regions.counted for values in (change, rise))
    figures: dict[str, float] = {}
    if blood.any():
        for name, values in (("true", rise[blood]), ("synthetic", change[blood])):
            figures[f"blood_{name}"] = values.mean()
            figures[f"blood_{name}_p10"], figures[f"blood_{name}_p90"] = np.percentile(values, (10, 90))
        figures["blood_ratio"] = figures["blood_synthetic"] / figures["blood_true"]
        figures["blood_p10_ratio"] = figures["blood_synthetic_p10"] / figures["blood_true"]
    for name, where in (("half", half), ("still", still), ("dense", dense)):
        if where.any():
            figures[f"{name}_true"], figures[f"{name}_synthetic"] = rise[where].mean(), change[where].mean()
            figures[f"{name}_above_50"] = (change[where] > 50).mean()
    if true.any():
        figures["lit_dice"] = 2 * (lit & true).sum() / (lit.sum() + true.sum())
    figures["lattice"] = lattice_ratio(scect.astype(np.float32) - pair.ncct, blood)
    return {name: round(float(value), 4) for name, value in figures.items()}


def levelled_figures(scect: NDArray, pair: RealPair, regions: Regions) -> dict[str, float]:
    """PSNR with the change times the one number that brings it nearest to what blood truly did: shape without level.

    The number is of least squares over blood, at most 2: what hardly rises is not blown up.
    """
    change = scect.astype(np.float32) - pair.ncct
    inside = smooth(change, pair.spacing)[regions.blood]
    if not (power := float((inside**2).sum())):
        return {}
    factor = min(float((inside * regions.rise[regions.blood]).sum()) / power, 2.0)
    levelled = pair.ncct + factor * change
    valid = pair.valid[regions.slices]
    images = (np.where(valid, image[regions.slices], AIR_HU) for image in (levelled, pair.cect))
    return {
        "level_factor": round(factor, 3),
        "levelled_psnr": round(compare(*images, structure=False).of_case()["psnr"], 4),
    }


def septum_figures(scect: NDArray, pair: RealPair) -> dict[str, float]:
    """By how many HU the septum and the free wall lie below the left ventricle, in circles placed by eye."""
    circles = SCANS[pair.name]["circles"]
    figures = {}
    for name, hu in (("true", pair.cect), ("synthetic", scect)):
        ventricle = np.mean([circle_mean(hu, circle) for circle in circles["blood"]["left ventricle"]])
        for wall in ("septum", "free wall"):
            value = np.mean([circle_mean(hu, circle) for circle in circles["myocardium"][wall]])
            figures[f"{wall.replace(' ', '_')}_below_{name}"] = round(float(ventricle - value), 1)
    return figures


def volumes_ml(pair: RealPair, regions: Regions) -> dict[str, float]:
    millilitres = float(np.prod(pair.spacing)) / 1000
    return {name: round(getattr(regions, name).sum() * millilitres, 1) for name in ("blood", "half", "still", "dense")}

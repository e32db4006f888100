"""Figures and pictures of the simulated VNC on the real contrast CTs, to be judged beside two real non-contrast CTs.

python Testing/realdata/vnc_report.py [--only NAME ...] [--output DIR]

Prints a Markdown table and writes one PNG per CT into DIR: at five levels the CECT and the VNC in the mediastinal
window, the VNC in a narrow window, and the iodine.

edge: mean in-plane gradient after 2 mm smoothing along the border of the enhanced blood to enhanced tissue (fat and
lung at least 6 mm away), over that inside the blood. For a real non-contrast CT, which has no such border, that of a
ring in the heart over that of the disc in it. Where nothing is left of the border, it is 1.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

REPOSITORY = Path(__file__).resolve().parents[2]
for module in ("SyntheticContrast", "SyntheticContrastTraining"):
    sys.path.append(str(REPOSITORY / module))

DATA = REPOSITORY.parent / "shared" / "data"
CONTRAST = {
    "LIDC-0001": "cect/lidc-idri-0001_arterial_2.5mm.nii.gz",
    "RIDER-0109": "cect/rider-0109_arterial_5mm.nii.gz",
    "C3N-00249": "cect/cptac-pda-c3n-00249_late_3mm.nii.gz",
    "CTA pulmonary": "cta-crops/pulmonary/ct.nii.gz",
    "CTA aorta": "cta-crops/aorta/ct.nii.gz",
}
ROWS = (("cect", 40, 400), ("vnc", 40, 400), ("vnc", 40, 120), ("iodine", 150, 500))  # what, window level and width


def gradient(hu, spacing):
    """In-plane gradient (HU/mm) after a Gaussian of 2 mm."""
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), (0, 2 / spacing[1], 2 / spacing[2]))
    return np.hypot(*np.gradient(smooth, spacing[1], spacing[2], axis=(1, 2)))


def local_sd(hu):
    """Standard deviation (HU) within 7 x 7 voxels."""
    values = hu.astype(np.float32)
    mean = ndimage.uniform_filter(values, (1, 7, 7))
    return np.sqrt(np.maximum(ndimage.uniform_filter(values**2, (1, 7, 7)) - mean**2, 0))


def tissues(cect, spacing):
    """Masks (Z, Y, X) found in the CECT alone, and the blood level in HU."""
    from SyntheticContrastTrainingLib import vnc, vnc_masks

    hu = cect.astype(np.float32)
    noise = vnc.noise_sd(hu)
    smooth = vnc.guided_smooth(hu, noise, spacing)
    quiet = vnc.local_sd(hu, 1.5 / spacing[1]) < max(3 * noise, 45)
    level, pool = vnc_masks.find_blood_level(smooth, quiet, spacing)
    side = 2 * round(6 / spacing[1]) + 1
    far_from_fat = ndimage.minimum_filter(smooth, (1, side, side)) > 45
    near = vnc_masks.distance_to(pool, spacing)
    bright = smooth > 0.5 * (level + 100)
    border = ndimage.binary_dilation(bright) & ~ndimage.binary_erosion(bright)
    dark = ndimage.uniform_filter((~bright).astype(np.float32), (1, side, side)) > 0.25
    rim = border & dark & far_from_fat & (near < 15)
    myocardium = (smooth > 60) & (smooth < 45 + 0.3 * (level - 45)) & (near < 20) & far_from_fat
    last_row = np.flatnonzero(pool.any(axis=(0, 2)))[-1]
    behind = np.arange(hu.shape[1])[:, None] > last_row  # where bright is bone
    masks = {
        "pool": pool & far_from_fat,
        "rim": rim,
        "myocardium": ndimage.binary_erosion(myocardium, np.ones((1, 3, 3))),
        "fat": ndimage.binary_erosion((smooth > -130) & (smooth < -70) & (near > 5), np.ones((1, 3, 3))),
        "lung": (hu > -1000) & (smooth < -800),
        "muscle": ndimage.binary_erosion((smooth > 35) & (smooth < 60) & (near > 40), np.ones((1, 5, 5))),
        "bone": ndimage.binary_erosion((smooth > 300) & (near > 15) & behind, np.ones((1, 3, 3))),
    }
    return masks, level


def figures(cect, vnc, spacing, masks):
    """Row of the table (name -> text) of one VNC."""
    pool = masks["pool"]
    slices = [vnc[z][pool[z]].mean() for z in range(len(vnc)) if pool[z].sum() > 200]
    steep = gradient(vnc, spacing)
    steep_before = gradient(cect, spacing)
    sd, sd_before = np.median(local_sd(vnc)[pool]), np.median(local_sd(cect)[pool])
    change = np.abs(vnc.astype(np.float32) - cect)

    def mean(values, name):
        return f"{values[masks[name]].mean():.1f}" if masks[name].sum() > 50 else "-"

    def edge(values):
        return values[masks["rim"]].mean() / values[pool].mean() if masks["rim"].sum() > 50 else float("nan")

    return {
        "pool HU": f"{vnc[pool].mean():.1f}",
        "slices within 40 +- 8": f"{np.mean(np.abs(np.array(slices) - 40) <= 8):.0%} of {len(slices)}",
        "lowest, highest slice": f"{min(slices):.0f}, {max(slices):.0f}",
        "noise / CECT": f"{sd / sd_before:.2f}",
        "edge": f"{edge(steep):.2f}",
        "edge CECT": f"{edge(steep_before):.2f}",
        "myocardium": mean(vnc, "myocardium"),
        **{f"change {name}": mean(change, name) for name in ("fat", "lung", "muscle", "bone")},
    }


def real_edge(scan):
    """The edge figure of a real non-contrast CT, around its region of interest in the left ventricle."""
    from SyntheticContrastLib.ct.read import read_ct

    ct = read_ct(DATA / scan["path"])
    z, y, x, _ = scan["rois"]["left ventricle"]
    plane = ct.hu[z : z + 1]
    rows, columns = np.ogrid[: plane.shape[1], : plane.shape[2]]
    away = np.hypot((rows - y) * ct.spacing_zyx[1], (columns - x) * ct.spacing_zyx[2])[None]
    smooth = ndimage.gaussian_filter(plane.astype(np.float32), (0, 1.5, 1.5))
    side = 2 * round(6 / ct.spacing_zyx[1]) + 1
    soft = ndimage.minimum_filter(smooth, (1, side, side)) > -10
    steep = gradient(plane, ct.spacing_zyx)
    return steep[soft & (away > 15) & (away < 28)].mean() / steep[soft & (away < 12)].mean()


def sheet(cect, vnc, path):
    """Write five levels of a CT, one a column and one of ROWS a row, 1000 pixels wide."""
    volumes = {"cect": cect, "vnc": vnc, "iodine": cect.astype(np.int32) - vnc}
    body = np.flatnonzero((cect > -300).mean(axis=(1, 2)) > 0.02)
    levels = np.linspace(body[0], body[-1], 7)[1:-1].astype(int)
    margin = [side // 8 if side > 300 else 0 for side in cect.shape[1:]]
    inside = np.s_[margin[0] : cect.shape[1] - margin[0], margin[1] : cect.shape[2] - margin[1]]
    rows = []
    for name, center, width in ROWS:
        planes = [(volumes[name][z][inside] - center) / width + 0.5 for z in levels]
        rows.append(np.concatenate(planes, axis=1))
    picture = Image.fromarray((np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8))
    picture.resize((1000, round(1000 * picture.height / picture.width))).save(path)


def main():
    from SyntheticContrastLib.ct.read import read_ct
    from SyntheticContrastTrainingLib.vnc import simulate_vnc

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CONTRAST, default=list(CONTRAST))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()

    for number, name in enumerate(args.only):
        ct = read_ct(DATA / CONTRAST[name])
        started = time.process_time()
        made = simulate_vnc(ct.hu, ct.spacing_zyx)
        seconds = time.process_time() - started
        masks, level = tissues(ct.hu, ct.spacing_zyx)
        row = {
            "blood HU": f"{level:.0f}",
            **figures(ct.hu, made.vnc_hu, ct.spacing_zyx, masks),
            "CPU s": f"{seconds:.0f}",
        }
        if number == 0:
            print(f"| CT | {' | '.join(row)} |\n|---|{'---|' * len(row)}")
        print(f"| {name} | {' | '.join(row.values())} |", flush=True)
        if args.output:
            args.output.mkdir(parents=True, exist_ok=True)
            sheet(ct.hu, made.vnc_hu, args.output / f"{name.replace(' ', '-')}.png")

    for name, scan in json.loads(Path(__file__).with_name("rois.json").read_text()).items():
        if name != "about":
            print(f"\nedge of the real non-contrast CT {name}: {real_edge(scan):.2f}")


if __name__ == "__main__":
    main()

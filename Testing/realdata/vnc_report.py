"""The simulated VNC of real arterial CTs beside the real unenhanced scan of the same patient, tissue by tissue.

python Testing/realdata/vnc_report.py [--output DIR]

Prints a Markdown table and writes one PNG per pair into DIR: five levels of the CECT, the VNC and the unenhanced scan
in 350/50. The arterial scan is registered to the unenhanced one and resliced to it, as is its VNC. Tissues are found
in the CECT, away from their edges: by its rise over the unenhanced scan, and by HU.

edge: 95th percentile of the in-plane gradient (HU/mm after 1.5 mm smoothing) within 3 mm of the enhanced blood's rim;
what is above that of the unenhanced scan is a rim that was left.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

REPOSITORY = Path(__file__).resolve().parents[2]
for module in ("SyntheticContrast", "SyntheticContrastTraining"):
    sys.path.append(str(REPOSITORY / module))

PAIRS = REPOSITORY.parent / "shared" / "data" / "pairs"
NAMES = ("hcc-007-1997", "hcc-007-1998", "hcc-013-08")


def tissues(cect, ncct, level):
    """Masks (Z, Y, X): name -> tissue, eroded by two voxels in plane."""
    smooth, before = (ndimage.gaussian_filter(hu.astype(np.float32), (0, 2, 2)) for hu in (cect, ncct))
    rise = smooth - before
    soft = (before > 0) & (before < 100)
    masks = {
        "blood": soft & (rise > 0.6 * (level - 40)),
        "half enhanced": soft & (rise > 40) & (rise < 0.45 * (level - 40)),
        "soft tissue": soft & (abs(rise) < 15),
        "fat": (smooth < -70) & (smooth > -130) & (abs(rise) < 15),
        "bone": (before > 150) & (smooth > 150) & (abs(rise) < 60),
    }
    return {name: ndimage.binary_erosion(mask, np.ones((1, 5, 5))) for name, mask in masks.items()}


def edge(hu, rim, spacing):
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), (0, 1.5 / spacing[1], 1.5 / spacing[2]))
    return np.percentile(np.hypot(*np.gradient(smooth, *spacing[1:], axis=(1, 2)))[rim], 95)


def main():
    import SimpleITK as sitk

    from SyntheticContrastLib.ct.read import read_ct
    from SyntheticContrastLib.ct.resample import resample_to
    from SyntheticContrastLib.ct.volume import CTVolume
    from SyntheticContrastTrainingLib.registration import register
    from SyntheticContrastTrainingLib.vnc import simulate_vnc

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()

    print("| pair | tissue | mL | CECT | VNC | unenhanced |\n|---|---|---|---|---|---|")
    for name in NAMES:
        fixed, moving = (read_ct(PAIRS / f"{name}_{phase}.nii.gz") for phase in ("unenhanced", "arterial"))
        made = simulate_vnc(moving.hu, moving.spacing_zyx)
        found = register(fixed, moving)
        transform = found.transform or sitk.Transform(3, sitk.sitkIdentity)
        thick = max(1, round(fixed.spacing_zyx[0] / moving.spacing_zyx[0]))
        moved = []
        for hu in (moving.hu, made.vnc_hu):
            thickened = np.rint(ndimage.uniform_filter1d(hu.astype(np.float32), thick, axis=0)).astype(np.int16)
            image, covered = resample_to(CTVolume(thickened, moving.grid), fixed.grid, transform)
            moved.append(image)
        shared = covered.all(axis=(1, 2)) if covered.all(axis=(1, 2)).any() else covered.mean(axis=(1, 2)) > 0.8
        cect, vnc, ncct = moved[0][shared], moved[1][shared], fixed.hu[shared]
        masks = tissues(cect, ncct, made.blood_hu)
        for tissue, mask in masks.items():
            volume = mask.sum() * np.prod(fixed.spacing_zyx) / 1000
            figures = (
                [f"{hu[mask].mean():.0f} ± {hu[mask].std():.0f}" for hu in (cect, vnc, ncct)]
                if volume > 1
                else ["-"] * 3
            )
            print(f"| {name} | {tissue} | {volume:.0f} | {' | '.join(figures)} |", flush=True)
        blood = masks["blood"]
        rim = ndimage.binary_dilation(blood, np.ones((1, 9, 9))) & ~ndimage.binary_erosion(blood, np.ones((1, 3, 3)))
        rim &= ndimage.minimum_filter(ncct, (1, 9, 9)) > -150  # against lung every edge is steep
        figures = [f"{edge(hu, rim, fixed.spacing_zyx):.0f}" for hu in (cect, vnc, ncct)]
        print(f"| {name} | edge, HU/mm | | {' | '.join(figures)} |", flush=True)
        if args.output:
            args.output.mkdir(parents=True, exist_ok=True)
            levels = np.linspace(0, len(cect) - 1, 5).astype(int)
            rows = [np.concatenate([hu[z] / 350 + 125 / 350 for z in levels], axis=1) for hu in (cect, vnc, ncct)]
            picture = Image.fromarray((np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8))
            picture.resize((1500, round(1500 * picture.height / picture.width))).save(args.output / f"{name}.png")


if __name__ == "__main__":
    main()

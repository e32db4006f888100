"""Label maps of the left atrium and left ventricle on contrast CTs, grown from the discs of chamber_seeds.json.

python Testing/realdata/chamber_labels.py --output DIR [--quick]

For each case: <case>_chambers.nii.gz (1 in the blood of the left chambers) and <case>_heart.nii.gz (the heart region)
on the grid of the CT, a review picture, and a row of cases_santini.csv for prepare.py. Prints volume and HU.

Single slices become volumes of 16 equal slices, as the simulated VNC looks for a blood pool of some mL; the table keeps
4 of them for training.

Method: the CT is smoothed by 1 mm; blood is what lies above 45 % of the way from myocardium to the seeds' HU. A
watershed of its thickness and its edges starts at the seeds of all chambers and vessels, so that they part at the
valves, where the blood is narrowest, and at the septa. Veins are taken off the atrium by an opening, and papillary
muscles are filled. It is not a manual segmentation.
"""

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "SyntheticContrast"))

from SyntheticContrastLib.ct.heart_region import heart_region
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.ct.write import write_image

DATA = REPOSITORY.parent / "shared" / "data"
SEEDS = {
    k: v for k, v in json.loads(Path(__file__).with_name("chamber_seeds.json").read_text()).items() if k != "about"
}
LEFT = ("left ventricle", "left atrium")
OTHERS = ("aorta", "pulmonary artery", "pulmonary vein", "right heart", "myocardium")
MYOCARDIUM_HU = 100.0  # in the arterial phase
VEIN_MM = 6.0  # half the width up to which what leaves the atrium is a vein
REPEATED, KEPT = 16, (6, 9)  # a single slice as a volume, and which of its slices train
ISLAND_MM2 = 80.0  # smaller pieces in a slice are dropped
QUICK = ("cta", "tcga-17-Z052")


@dataclass(frozen=True, eq=False)
class Labels:
    """Masks (Z, Y, X) of a case."""

    chambers: np.ndarray
    heart: np.ndarray


def load(name):
    """The CT of a case of chamber_seeds.json."""
    seeds = SEEDS[name]
    if "path" in seeds:
        return read_ct(DATA / seeds["path"])
    hu = np.load(DATA / "slices2d_tcga.npz")["hu"][seeds["slice"]][None]
    with (DATA / "slices2d_tcga.csv").open(encoding="utf-8") as file:
        row = list(csv.DictReader(file))[seeds["slice"]]
    pixel = float(row["spacing_mm"])
    return CTVolume(hu, Grid.axial(hu.shape, (float(row["thickness_mm"]), pixel, pixel)))


def repeated(volume, labels):
    """A volume of one slice and its labels as one of REPEATED equal slices."""
    hu, chambers, heart = (np.repeat(part, REPEATED, axis=0) for part in (volume.hu, labels.chambers, labels.heart))
    return CTVolume(hu, Grid.axial(hu.shape, volume.spacing_zyx)), Labels(chambers, heart)


def label_chambers(volume, seeds):
    """The masks of a contrast CT, from discs [z, y, x, radius] for each structure."""
    hu, spacing = volume.hu, volume.spacing_zyx
    heart = heart_region(hu, spacing)
    box = tuple(
        slice(max(0, part.start - 12), part.stop + 12) for part in ndimage.find_objects(heart.astype(np.int8))[0]
    )
    markers = np.zeros(hu.shape, np.int8)
    for number, structure in enumerate(LEFT + OTHERS, start=1):
        for disc in seeds.get(structure, ()):
            markers[_disc(hu.shape, disc)] = number
    chambers = np.zeros(hu.shape, bool)
    near = ndimage.distance_transform_edt(~heart[box], sampling=spacing) < 8.0
    chambers[box] = _grow(hu[box].astype(np.float32), markers[box], near, spacing)
    return Labels(chambers, heart | chambers)


def left_region(chambers, spacing, margin_mm=4.0):
    """Where a user who corrects the heart region would leave it: the left chambers and so much around them."""
    region = np.zeros(chambers.shape, bool)
    box = tuple(
        slice(max(0, part.start - 12), part.stop + 12) for part in ndimage.find_objects(chambers.astype(np.int8))[0]
    )
    region[box] = ndimage.distance_transform_edt(~chambers[box], sampling=spacing) <= margin_mm
    return region


def _grow(hu, markers, near, spacing):
    sigma = [1.0 / side if size > 1 else 0.0 for side, size in zip(spacing, hu.shape, strict=True)]
    smooth = ndimage.gaussian_filter(np.clip(hu, -200, 800), sigma)
    level = np.median(smooth[(markers == 1) | (markers == 2)])
    blood = (smooth > MYOCARDIUM_HU + 0.45 * (level - MYOCARDIUM_HU)) & near
    markers = np.where(blood | (markers == len(LEFT + OTHERS)), markers, 0)
    inside = np.minimum(ndimage.distance_transform_edt(np.pad(blood, 1, mode="edge"), sampling=spacing), 15.0)
    inside = ndimage.gaussian_filter(inside[1:-1, 1:-1, 1:-1], sigma)
    edges = ndimage.gaussian_gradient_magnitude(smooth, [1.0 if size > 1 else 0.0 for size in hu.shape])
    regions = watershed(edges / (0.06 * (level - MYOCARDIUM_HU)) - inside, markers, mask=blood | (markers > 0))
    result = np.zeros(hu.shape, bool)
    for number in (1, 2):
        part = regions == number
        if not part.any():
            continue
        if number == 2:
            part &= _opened((regions == 1) | part, VEIN_MM, spacing) | (markers == number)
        part = ~_opened(~part, 3.0, spacing) & ((regions == number) | (regions == 0))
        part = np.stack([ndimage.binary_fill_holes(plane) for plane in part])
        labels, count = ndimage.label(part)
        keep = np.bincount(labels[(markers == number) & part], minlength=count + 1) > 0
        keep[0] = False
        result |= keep[labels]
    result |= ~_opened(~result, 3.0, spacing) & ((regions == 1) | (regions == 2))  # where the two meet
    result = (ndimage.gaussian_filter(result.astype(np.float32), sigma) > 0.5) & (regions <= 2)
    labels, count = ndimage.label(result, np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))]))
    islands = np.bincount(labels.ravel(), minlength=count + 1) * spacing[1] * spacing[2] < ISLAND_MM2
    return result & ~islands[labels]


def _opened(mask, by, spacing):
    pads = [(int(by / side) + 2,) * 2 for side in spacing]
    padded = np.pad(mask, pads, mode="edge")
    kept = ndimage.distance_transform_edt(padded, sampling=spacing) > by
    opened = ndimage.distance_transform_edt(~kept, sampling=spacing) <= by if kept.any() else kept
    return opened[tuple(slice(pad, -pad) for pad, _ in pads)]


def _disc(shape, disc):
    z, y, x, radius = disc
    mask = np.zeros(shape, bool)
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    mask[z] = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return mask


def write_review(path, name, hu, labels):
    """Outlines of the chambers (red) and of the heart region (green) on up to 16 slices."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    levels = np.flatnonzero(labels.chambers.any(axis=(1, 2)))
    chosen = np.unique(np.linspace(levels[0], levels[-1], 16).astype(int))
    _, y, x = (slice(max(0, s.start - 15), s.stop + 15) for s in ndimage.find_objects(labels.heart.astype(np.int8))[0])
    side = int(np.ceil(np.sqrt(len(chosen))))
    figure, axes = pyplot.subplots(side, side, figsize=(12.5, 12.5), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, z in zip(axes.flat, chosen, strict=False):
        axis.imshow(hu[z, y, x], cmap="gray", vmin=-100, vmax=500)
        for mask, colour in ((labels.heart, "lime"), (labels.chambers, "red")):
            if mask[z, y, x].any() and not mask[z, y, x].all():
                axis.contour(mask[z, y, x], [0.5], colors=colour, linewidths=0.8)
        axis.text(0.02, 0.97, f"{name} z {z}", color="yellow", transform=axis.transAxes, va="top")
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def figures(hu, labels, spacing):
    """mL, mean, 5th percentile and lowest HU in the chambers, mL of the heart region."""
    values, ml = hu[labels.chambers], float(np.prod(spacing)) / 1000.0
    low = np.percentile(values, 5)
    return values.size * ml, values.mean(), low, values.min(), np.count_nonzero(labels.heart) * ml


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}")
    parser.add_argument("--only", nargs="+", choices=SEEDS, default=list(SEEDS))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    rows = []
    print(
        "| case | chambers mL | mean HU | 5th percentile HU | lowest HU | heart region mL |\n|---|---|---|---|---|---|"
    )
    for name in QUICK if args.quick else args.only:
        volume = load(name)
        labels = label_chambers(volume, SEEDS[name])
        paths = {part: args.output / f"{name}_{part}.nii.gz" for part in ("heart", "chambers", "cect")}
        row = {"case_id": name, "heart_mask": paths["heart"].name, "chambers": paths["chambers"].name}
        print(
            f"| {name} |",
            " | ".join(f"{v:.0f}" for v in figures(volume.hu, labels, volume.spacing_zyx)),
            "|",
            flush=True,
        )
        write_review(args.output / f"{name}.png", name, volume.hu, labels)
        if "slice" in SEEDS[name]:
            volume, labels = repeated(volume, labels)
            write_image(paths["cect"], volume.hu, volume)
            row |= {"cect": paths["cect"].name, "first_slice": KEPT[0], "last_slice": KEPT[1]}
        else:
            row["cect"] = DATA / SEEDS[name]["path"]
        rows.append(row)
        write_image(paths["chambers"], labels.chambers.astype(np.uint8), volume, "left atrium and left ventricle")
        write_image(paths["heart"], labels.heart.astype(np.uint8), volume, "heart region")
    with (args.output / "cases_santini.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["case_id", "cect", "heart_mask", "chambers", "first_slice", "last_slice"])
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()

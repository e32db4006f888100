"""A cohort of chest phantoms in which the truth is known: the sCECT has most of the contrast of the CECT."""

import csv
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.cnr import AORTA, FAT_LEFT, FAT_RIGHT, LESION
from SyntheticContrastLib.analysis.markups import write_lesions
from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastLib.ct.write import write_image

SHAPE, SPACING = (12, 168, 168), (20.0, 2.1, 2.1)
HEADER = ["case_id", "ncct", "cect", "scect", "heart_mask", "chambers", "first_slice", "last_slice", "vendor"]
BRIGHT = ("left_ventricle", "left_atrium")
LESION_SLICE = 4  # of 12, with the lymph node and the descending aorta


@cache
def base(seed, shape=SHAPE):
    return thorax_phantom(shape, SPACING, seed)


@dataclass(frozen=True)
class Truth:
    """share: of the contrast that the sCECT has; scale: of the patient's size."""

    share: float
    scale: float
    vendor: str


def truth(index):
    random = np.random.default_rng(1000 + index)
    return Truth(
        float(random.uniform(0.88, 1.05)), float(random.uniform(0.85, 1.15)), ("Siemens", "Philips")[index % 3 == 2]
    )


def write_case(folder, index, slices=(3, 9), extras=True, shape=SHAPE):
    """Write the volumes of a case below `folder`; returns its row of cases.csv."""
    made, case = truth(index), f"P{index:03d}"
    phantom = base(index % 3, shape)
    spacing = tuple(mm * made.scale for mm in (SPACING[0] * SHAPE[0] / shape[0], *SPACING[1:]))
    random = np.random.default_rng(index)

    def noise(sd):
        grain = gaussian_filter(random.standard_normal(phantom.ncct.shape, np.float32), (0, 0.9, 0.9))
        return grain * (sd / grain.std())

    contrast = np.roll(gaussian_filter(phantom.cect.astype(np.float32) - phantom.ncct, (0, 1.2, 1.2)), 1, axis=2)
    images = {
        "ncct": phantom.ncct + noise(4),
        "cect": phantom.cect + noise(4),
        "scect": np.maximum(phantom.ncct, -1000) + made.share * contrast + noise(9),
    }
    volume = type(phantom)(phantom.ncct, phantom.cect, phantom.labels, spacing).volume(phantom.ncct)
    row = {"case_id": case, "vendor": made.vendor, "first_slice": slices[0], "last_slice": slices[1]}
    (folder / case).mkdir(parents=True, exist_ok=True)
    for name, hu in images.items():
        row[name] = f"{case}/{name}.nrrd"
        write_image(folder / row[name], np.clip(np.rint(hu), -1024, 3071).astype(np.int16), volume)
    if extras:
        left = phantom.mask(BRIGHT[0]) | phantom.mask(BRIGHT[1])
        for name, mask in (("chambers", left), ("heart_mask", left | phantom.mask("myocardium"))):
            row[name] = f"{case}/{name}.nrrd"
            write_image(folder / row[name], mask.astype(np.uint8), volume)
        row["lesions"] = f"{case}/lesions.mrk.json"
        write_lesions(folder / row["lesions"], {"4R": circles(phantom, volume)})
    return row


def circles(phantom, volume):
    def middle(name, left_side=None):
        where = phantom.mask(name)[LESION_SLICE].copy()
        half = where.shape[1] // 2
        if left_side is not None:
            where[:, slice(0, half) if left_side else slice(half, None)] = False
        y, x = np.unravel_index(np.argmax(distance_transform_edt(where)), where.shape)
        return tuple(float(mm) for mm in (volume.grid.canonical_affine @ [x, y, LESION_SLICE, 1])[:3])

    return {
        LESION: Circle(middle("lymph_node"), 9.0),
        AORTA: Circle(middle("aorta", left_side=True), 9.0),
        FAT_RIGHT: Circle(middle("fat", left_side=False), 9.0),
        FAT_LEFT: Circle(middle("fat", left_side=True), 9.0),
    }


def write_table(folder, rows):
    """cases.csv of rows of columns."""
    columns = [*HEADER, *dict.fromkeys(key for row in rows for key in row if key not in HEADER)]
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder / "cases.csv"


def write_cohort(folder, count, **options):
    return write_table(folder, [write_case(folder, index, **options) for index in range(count)])

"""The real pairs: the unenhanced scan of a session, and the arterial one registered to it and on its grid.

python Testing/realdata/real_pairs.py --pictures DIR [--register]

`registrations/` keeps for each pair its transform (unenhanced point -> arterial point, LPS mm) and why it is rigid or
deformable, so that all figures are of one registration; and boxes [z, z, y, y, x, x] of organs that rise as much as
blood does. --register makes the transforms anew. The pictures show the
unenhanced scan, the arterial one moved, a checkerboard of both and their difference.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path += [str(REPOSITORY / "SyntheticContrast"), str(REPOSITORY / "SyntheticContrastTraining")]

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.resample import resample_to
from SyntheticContrastLib.ct.volume import CTVolume, Grid

FOLDER = REPOSITORY.parent / "shared" / "data" / "pairs"
REGISTRATIONS = Path(__file__).with_name("registrations")
PAIRS = json.loads((REGISTRATIONS / "pairs.json").read_text())


@dataclass(frozen=True, eq=False)
class RealPair:
    """All arrays (Z, Y, X) on the grid of the unenhanced scan; HU."""

    name: str
    patient: str
    ncct: NDArray[np.int16]
    cect: NDArray[np.int16]  # moved, the mean over the thickness of each slice of the NCCT
    valid: NDArray[np.bool_]  # where the moved scan covers the whole thickness
    spacing: tuple[float, float, float]  # mm, (z, y, x)
    grid: Grid
    no_blood: tuple[tuple[slice, slice, slice], ...]  # boxes (z, y, x) of organs that rise as much as blood does


def load_pairs(names: Sequence[str] = (), phase: str = "arterial") -> list[RealPair]:
    """All real pairs, or those named, by the registrations that are kept.

    phase: "portal" is there for hcc-007-1997 alone, and lies as its arterial scan does.
    """
    pairs = []
    for name in names or PAIRS:
        ncct = read_ct(FOLDER / f"{name}_unenhanced.nii.gz")
        transform = sitk.ReadTransform(str(REGISTRATIONS / f"{name}.tfm"))
        cect, valid = moved_to(ncct, read_ct(FOLDER / f"{name}_{phase}.nii.gz"), transform)
        boxes = PAIRS[name].get("no_blood", {}).values()
        organs = tuple((slice(*box[:2]), slice(*box[2:4]), slice(*box[4:])) for box in boxes)
        patient = PAIRS[name]["patient"]
        pairs.append(RealPair(name, patient, ncct.hu, cect, valid, ncct.spacing_zyx, ncct.grid, organs))
    return pairs


def moved_to(
    fixed: CTVolume, moving: CTVolume, transform: sitk.Transform
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """A scan of thin slices on the grid of one of thick slices: sampled at its own slice distance, then averaged.

    transform: point of `fixed` -> point of `moving`, LPS mm.

    Returns (Z, Y, X) HU, and True where `moving` covers the whole thickness of the slice.
    """
    parts = max(1, round(fixed.spacing_zyx[0] / moving.spacing_zyx[0]))
    z, y, x = fixed.hu.shape
    affine = fixed.grid.canonical_affine.copy()
    affine[:3, 2] /= parts
    affine[:3, 3] -= affine[:3, 2] * (parts - 1) / 2
    hu, covered = resample_to(moving, Grid((x, y, z * parts), affine), transform)
    mean = hu.reshape(z, parts, y, x).mean(axis=1, dtype=np.float32)
    return np.rint(mean).astype(np.int16), covered.reshape(z, parts, y, x).all(axis=1)


def register_again(name: str) -> None:
    """Find the transform of a pair, and keep it."""
    from SyntheticContrastTrainingLib.registration import register

    ncct, cect = (read_ct(FOLDER / f"{name}_{phase}.nii.gz") for phase in ("unenhanced", "arterial"))
    found = register(ncct, cect, deformable=PAIRS[name]["deformable"])
    if found.failed:
        sys.exit(f"{name}: {found.failed}")
    sitk.WriteTransform(found.transform, str(REGISTRATIONS / f"{name}.tfm"))
    print(name, json.dumps(found.to_json()))


def picture(pair: RealPair, path: Path, tile: int = 40) -> None:
    """PNG: five slices, each NCCT, moved CECT, checkerboard (window 350/50) and CECT - NCCT (+-250 HU)."""
    from PIL import Image

    rows = []
    board = np.add.outer(np.arange(pair.ncct.shape[1]) // tile, np.arange(pair.ncct.shape[2]) // tile) % 2 == 0
    for z in np.linspace(0, len(pair.ncct) - 1, 7)[1:-1].round().astype(int):
        ncct, cect = pair.ncct[z].astype(np.float32), pair.cect[z].astype(np.float32)
        views = [(image - 50) / 350 + 0.5 for image in (ncct, cect, np.where(board, ncct, cect))]
        difference = (cect - np.maximum(ncct, -1024)) * pair.valid[z] / 500 + 0.5
        rows.append(np.concatenate([*views, difference], axis=1))
    sheet = (np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).resize((sheet.shape[1] * 3 // 4, sheet.shape[0] * 3 // 4)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--register", action="store_true")
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    if args.register:
        for name in PAIRS:
            register_again(name)
    if args.pictures:
        for pair in load_pairs():
            picture(pair, args.pictures / f"{pair.name}_registration.png")


if __name__ == "__main__":
    main()

"""The training set of the whole-chest model that ships: training_cases.csv, and single slices of eight more patients.

python Testing/realdata/training_slices.py --output DIR

Writes DIR/cases.csv for prepare.py. Arterial single slices of the TCGA collections become volumes of equal slices, so
that a network of stacks sees more than three patients' anatomy, real tumours and a real effusion. Only slices whose
simulated VNC looks right are taken: in others a bright vessel stays, a vertebra is taken for blood, or no blood pool is
found.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "SyntheticContrast"))

from SyntheticContrastLib.ct.cases import read_cases
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.ct.write import write_image

DATA = REPOSITORY.parent / "shared" / "data"
SLICES = (1, 6, 7, 8, 9, 12, 18, 21)  # rows of slices2d_tcga.csv
REPEATED = 24  # slices of a volume: 9 stacks of 16


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    hu = np.load(DATA / "slices2d_tcga.npz")["hu"]
    with (DATA / "slices2d_tcga.csv").open(encoding="utf-8") as file:
        described = list(csv.DictReader(file))
    rows = [(case.case_id, case.cect) for case in read_cases(Path(__file__).with_name("training_cases.csv"))]
    for number in SLICES:
        row = described[number]
        pixel = float(row["spacing_mm"])
        volume = np.repeat(hu[number][None], REPEATED, axis=0)
        grid = Grid.axial(volume.shape, (float(row["thickness_mm"]), pixel, pixel))
        name = f"{row['patient'].lower()}_{number}"
        write_image(args.output / f"{name}.nii.gz", volume, CTVolume(volume, grid))
        rows.append((name, f"{name}.nii.gz"))
    with (args.output / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("case_id", "cect"))
        table.writerows(rows)


if __name__ == "__main__":
    main()

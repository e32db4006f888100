"""The training set of the whole-chest model that ships, as a cases.csv for prepare.py.

python Testing/realdata/training_slices.py --output DIR

It holds real pairs, contrast CTs whose non-contrast partner is simulated, and non-contrast CTs without a partner, of
all patients beside the project. Single slices of the TCGA collections become volumes of equal slices, so that a network
sees more patients' anatomy, real tumours and a real effusion; of the enhanced ones only those are taken whose simulated
VNC looks right. `--without PATIENT …` leaves patients out: what is measured on a patient comes from a model that never
saw any scan of that patient.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "SyntheticContrast"))

from SyntheticContrastLib.ct.volume import CTVolume, Grid
from SyntheticContrastLib.ct.write import write_image

DATA = REPOSITORY.parent / "shared" / "data"
CASES = Path(__file__).with_name("training_cases.csv")
ENHANCED_SLICES = (1, 4, 5, 6, 7, 9, 13, 15, 16, 18, 21, 22, 25, 28)  # rows of slices2d_tcga.csv
UNENHANCED_SLICES = (29, 30, 31, 33, 34, 35, 36, 38, 39, 41)
REPEATED, SLICE_MM = 8, 3.0  # slices of a volume, as many as one of 24 mm has on the canonical grid


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--without", nargs="+", default=[], metavar="PATIENT", help="patients to leave out")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with CASES.open(encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames
        rows = [
            row | {name: str((CASES.parent / row[name]).resolve()) for name in ("ncct", "cect") if row[name]}
            for row in reader
        ]
    rows += [single_slice(args.output, number) for number in ENHANCED_SLICES + UNENHANCED_SLICES]
    if unknown := set(args.without) - {row["patient"] for row in rows}:
        parser.error(f"no patient {sorted(unknown)[0]}")
    with (args.output / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(row for row in rows if row["patient"] not in args.without)


def single_slice(output, number):
    """A row of cases.csv; its volume is written to `output`."""
    with (DATA / "slices2d_tcga.csv").open(encoding="utf-8") as file:
        described = list(csv.DictReader(file))[number]
    pixel = float(described["spacing_mm"])
    volume = np.repeat(np.load(DATA / "slices2d_tcga.npz")["hu"][number][None], REPEATED, axis=0)
    patient = described["patient"].lower()
    path = output / f"{patient}_{number}.nii.gz"
    write_image(path, volume, CTVolume(volume, Grid.axial(volume.shape, (SLICE_MM, pixel, pixel))))
    column, phase = ("ncct", "unenhanced") if number in UNENHANCED_SLICES else ("cect", "arterial")
    return {"case_id": f"{patient}_{number}", "patient": patient, column: path.name, "phase": phase}


if __name__ == "__main__":
    main()

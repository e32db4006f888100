"""How close a model comes to real contrast on the real pairs: one table, JSON and pictures.

python Testing/realdata/pairs_report.py --model NAME_OR_FOLDER [--fold CASE=BUNDLE ...] --output DIR [--step N]
                                        [--quick]

--model is a bundle, "classical" (the classical baseline) or "ncct" (nothing added). --fold names the model for a pair
or a patient that was left out of its training, e.g. hcc-007=run/bundle: a figure counts only if the model never saw
any scan of that patient. Similarity is in the window 350/50 over the slices that both scans share. 95 % intervals are
of the mean over patients, from resampled patients; the two pairs of hcc-007 count as one patient.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from contrast_models import fold_of, load_model, parse_folds
from pair_figures import find_regions, levelled_figures, septum_figures, similarity, tissue_figures, volumes_ml
from pair_pictures import save_picture
from pairs_table import over_patients, table
from real_pairs import PAIRS, REPOSITORY, RealPair, load_pairs

from SyntheticContrastLib.analysis.similarity import Lpips
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.volume import CTVolume

BACKBONE = REPOSITORY.parent / "shared" / "data" / "lpips" / "alexnet_features.pth"


def measure(pair: RealPair, scect: np.ndarray, lpips: Lpips | None) -> dict[str, Any]:
    """All figures of one pair; without LPIPS no MS-SSIM either."""
    regions = find_regions(pair)
    tissue = tissue_figures(scect, pair, regions) | septum_figures(scect, pair)
    return {
        "patient": pair.patient,
        "slices": [int(z) for z in regions.slices],
        "ml": volumes_ml(pair, regions),
        "ncct": similarity(pair.ncct, pair, regions.slices, lpips, lpips is not None),
        "scect": similarity(scect, pair, regions.slices, lpips, lpips is not None),
        "tissue": tissue | levelled_figures(scect, pair, regions),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help='a bundle\'s name or folder, "classical" or "ncct"')
    parser.add_argument("--fold", nargs="+", default=[], metavar="CASE=BUNDLE")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="leave out MS-SSIM and LPIPS, which take most of the time")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    rows: dict[str, dict[str, Any]] = {}
    loaded: dict[str | None, Any] = {}
    try:
        folds = parse_folds(args.fold)
        lpips = None if args.quick else Lpips(BACKBONE)
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

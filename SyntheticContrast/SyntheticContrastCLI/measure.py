"""Measure what the ROI tools measure, without Slicer: the contrast-to-noise ratio of lesions, the left heart chambers.

Examples:
  measure.py cnr --markups lesions.mrk.json --volume NCCT=ncct/ --volume sCECT=scect.nrrd --volume CECT=cect/
      --output cnr.csv
  measure.py chambers --volume scect.nrrd --heart-mask heart.nrrd --reference chambers.nrrd --output chambers.csv
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis.process import BAD_INPUT, DONE, ArgumentParser, run_entry

if TYPE_CHECKING:
    from SyntheticContrastLib.analysis.cnr import LesionCnr
    from SyntheticContrastLib.ct.volume import CTVolume

Row = dict[str, Any]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="measure.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="cnr | chambers")

    cnr = commands.add_parser("cnr", help="CNR of lesions, from circles saved as markups", allow_abbrev=False)
    cnr.add_argument(
        "--markups", required=True, type=Path, metavar="MRK_JSON", help="circles of the lesions, from the module"
    )
    cnr.add_argument(
        "--volume",
        required=True,
        action="append",
        metavar="NAME=PATH",
        help="a CT to measure, with its name in the table; several times, on any grids",
    )

    chambers = commands.add_parser("chambers", help="left chambers by a threshold in the heart", allow_abbrev=False)
    chambers.add_argument("--volume", required=True, type=Path, metavar="PATH", help="CECT or sCECT")
    chambers.add_argument(
        "--heart-mask", type=Path, metavar="PATH", help="where to look (default: the heart region found in the CT)"
    )
    chambers.add_argument("--reference", type=Path, metavar="PATH", help="segmentation to compare with, on any grid")
    chambers.add_argument("--threshold", type=float, default=300.0, metavar="HU", help="default: 300")
    chambers.add_argument("--smoothing", type=float, default=0.0, metavar="MM", help="SD of a Gaussian first")
    chambers.add_argument("--keep-largest", action="store_true", help="only the largest piece")
    chambers.add_argument("--fill-holes", action="store_true", help="in each slice")
    chambers.add_argument(
        "--slices", type=Path, metavar="CSV", help="also write Dice slice by slice, from 0 at the top"
    )
    chambers.add_argument("--segmentation", type=Path, metavar="PATH", help="also write the chambers found")

    for command in (cnr, chambers):
        command.add_argument("--output", required=True, type=Path, metavar="CSV", help="the table")
        command.add_argument(
            "--series", nargs="+", default=[], metavar="UID", help="SeriesInstanceUID to take where several are"
        )
        command.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    return parser.parse_args(arguments)


def refuse_outputs(overwrite: bool, *outputs: tuple[Path | None, tuple[str, ...]]) -> None:
    """Raise InputError for an output with another suffix than those given, or one that exists already."""
    for path, suffixes in outputs:
        if path is None:
            continue
        if not path.name.lower().endswith(suffixes):
            raise InputError(f"output {path.name}: give a file that ends in {' or '.join(suffixes)}")
        if path.is_dir() or (path.exists() and not overwrite):
            raise InputError(f"{path} exists already: choose another name, or add --overwrite")


def named_volumes(texts: Sequence[str]) -> dict[str, Path]:
    volumes: dict[str, Path] = {}
    for text in texts:
        name, separator, path = text.partition("=")
        if not (name and separator and path):
            raise InputError(f"--volume {text}: give a name and a path, as CECT=cect.nrrd")
        if name in volumes:
            raise InputError(f"--volume {name} is given twice")
        volumes[name] = Path(path)
    return volumes


def measure_cnr(args: argparse.Namespace) -> int:
    """A row for each lesion and volume. One that cannot be measured has a line in `error`, and the rest is done."""
    refuse_outputs(args.overwrite, (args.output, (".csv",)))
    volumes = named_volumes(args.volume)
    from SyntheticContrastLib.analysis import cnr
    from SyntheticContrastLib.analysis.cnr_table import COLUMNS, cnr_row, write_table
    from SyntheticContrastLib.analysis.markups import read_lesions
    from SyntheticContrastLib.ct.read import read_ct

    lesions = read_lesions(args.markups)
    rows: dict[tuple[str, str], Row] = {}
    for volume_name, path in volumes.items():
        volume = read_ct(path, args.series, allow_synthetic=True)
        for lesion, circles in lesions.items():
            found: LesionCnr | str
            try:
                found = cnr.measure_cnr(volume.hu, volume.grid.canonical_affine, circles)
            except InputError as error:
                found = str(error)
                print(f"measure.py: {lesion}, {volume_name}: {error}", file=sys.stderr, flush=True)
            rows[lesion, volume_name] = cnr_row(lesion, volume_name, circles, found)
    ordered = [rows[lesion, name] for lesion in lesions for name in volumes]
    write_table(args.output, COLUMNS, ordered)
    for row in ordered:
        if "cnr" in row:
            warnings = f" ({row['warnings']})" if row["warnings"] else ""
            print(f"{row['lesion']}, {row['volume']}: CNR {row['cnr']:.2f}, noise {row['noise_hu']:.1f} HU{warnings}")
    print(f"wrote {args.output}")
    return BAD_INPUT if any("error" in row for row in ordered) else DONE


def measure_chambers(args: argparse.Namespace) -> int:
    refuse_outputs(
        args.overwrite,
        (args.output, (".csv",)),
        (args.slices, (".csv",)),
        (args.segmentation, (".nrrd", ".nii", ".nii.gz")),
    )
    if args.slices and not args.reference:
        raise InputError("--slices needs a --reference to compare with")
    if not math.isfinite(args.threshold) or not 0 <= args.smoothing < 20:
        raise InputError("--threshold is a number of HU, --smoothing 0 to 20 mm")
    import numpy as np

    from SyntheticContrastLib.analysis.chambers import compare_chambers, threshold_chambers, volume_ml
    from SyntheticContrastLib.analysis.cnr_table import write_table
    from SyntheticContrastLib.ct.heart_region import heart_region
    from SyntheticContrastLib.ct.mask import read_mask
    from SyntheticContrastLib.ct.read import read_ct

    volume: CTVolume = read_ct(args.volume, args.series, allow_synthetic=True)
    spacing = volume.spacing_zyx
    reference = read_mask(args.reference, volume.grid) if args.reference else None
    heart = read_mask(args.heart_mask, volume.grid) if args.heart_mask else heart_region(volume.hu, spacing)
    found = threshold_chambers(
        volume.hu,
        heart,
        spacing,
        args.threshold,
        smoothing_mm=args.smoothing,
        keep_largest=args.keep_largest,
        fill_holes=args.fill_holes,
    )
    row: Row = {
        "volume": args.volume.name,
        "heart": args.heart_mask.name if args.heart_mask else "found in the CT",
        "threshold_hu": args.threshold,
        "chambers_ml": volume_ml(found, spacing),
    }
    columns = [*row, "compared_ml", "reference_ml", "volume_error_percent", "dice", "slices"]
    columns += ["slice_dice_mean", "slice_dice_sd", "elsewhere_ml"]
    if reference is not None:
        result = compare_chambers(found, reference, spacing)
        several = len(result.slices) > 1
        row |= {
            "compared_ml": result.volume_ml,
            "reference_ml": result.reference_ml,
            "volume_error_percent": result.volume_error_percent,
            "dice": result.dice,
            "slices": len(result.slices),
            "slice_dice_mean": float(result.dice_of_slices.mean()),
            "slice_dice_sd": float(np.std(result.dice_of_slices, ddof=1)) if several else math.nan,
            "elsewhere_ml": result.elsewhere_ml,
        }
        if args.slices:
            pairs = zip(result.slices, result.dice_of_slices, strict=True)
            write_table(args.slices, ["slice", "dice"], [{"slice": int(z), "dice": dice} for z, dice in pairs])
    if args.segmentation:
        from SyntheticContrastLib.ct.write import write_image

        write_image(args.segmentation, found.astype(np.uint8), volume, "left heart chambers by threshold")
    write_table(args.output, columns, [row])
    dice = f", Dice {row['dice']:.3f}, volume error {row['volume_error_percent']:.1f} %" if "dice" in row else ""
    print(f"chambers {row['chambers_ml']:.1f} mL at {args.threshold:g} HU{dice}")
    for path in (args.output, args.slices, args.segmentation):
        if path:
            print(f"wrote {path}")
    return DONE


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    return {"cnr": measure_cnr, "chambers": measure_chambers}[args.command](args)


if __name__ == "__main__":
    run_entry(main)

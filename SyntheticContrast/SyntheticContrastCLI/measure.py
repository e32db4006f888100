"""Measure what the ROI tools measure, without Slicer: CNR of lesions, left heart chambers, similarity of two CTs.

Examples:
  measure.py cnr --markups lesions.mrk.json --volume NCCT=ncct/ --volume sCECT=scect.nrrd --volume CECT=cect/
      --output cnr.csv
  measure.py chambers --volume scect.nrrd --heart-mask heart.nrrd --reference chambers.nrrd --output chambers.csv
  measure.py chambers --cases cases.csv --output results/
  measure.py similarity --volume scect.nrrd --reference cect.nrrd --first-slice 20 --last-slice 60 --output s.csv
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SyntheticContrastLib.analysis.csv_table import Row, write_table
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.names import check_name, check_place
from SyntheticContrastLib.synthesis.process import (
    BAD_INPUT,
    DONE,
    INTERNAL_ERROR,
    ArgumentParser,
    check_cancelled,
    explain,
    require,
    run_entry,
)
from SyntheticContrastLib.synthesis.progress import Reporter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from SyntheticContrastLib.analysis.cnr import LesionCnr
    from SyntheticContrastLib.analysis.similarity import Lpips
    from SyntheticContrastLib.ct.cases import Case
    from SyntheticContrastLib.ct.volume import CTVolume

AGREEMENT_COLUMNS = (
    *("compared_ml", "reference_ml", "volume_error_percent", "dice", "slices"),
    *("slice_dice_mean", "slice_dice_sd", "elsewhere_ml"),
)
CHAMBERS_COLUMNS = ("volume", "heart", "threshold_hu", "chambers_ml", *AGREEMENT_COLUMNS)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="measure.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="cnr | chambers | similarity")

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
    what = chambers.add_mutually_exclusive_group(required=True)
    what.add_argument("--volume", type=Path, metavar="PATH", help="CECT or sCECT")
    what.add_argument(
        "--cases", type=Path, metavar="CSV", help="a cohort: cases.csv with heart_mask, chambers and chambers_2"
    )
    chambers.add_argument(
        "--column", default="scect", choices=["scect", "cect"], help="of cases.csv, what to threshold (default: scect)"
    )
    chambers.add_argument(
        "--heart-mask", type=Path, metavar="PATH", help="where to look (default: the heart region found in the CT)"
    )
    chambers.add_argument("--reference", type=Path, metavar="PATH", help="segmentation to compare with, on any grid")
    for mask in ("heart", "reference"):
        chambers.add_argument(
            f"--{mask}-label",
            nargs="+",
            type=int,
            default=[],
            metavar="N",
            help="which of its labels, if it has several",
        )
    chambers.add_argument("--threshold", type=float, default=300.0, metavar="HU", help="default: 300")
    chambers.add_argument("--smoothing", type=float, default=0.0, metavar="MM", help="SD of a Gaussian first")
    chambers.add_argument("--keep-largest", action="store_true", help="only the largest piece")
    chambers.add_argument("--fill-holes", action="store_true", help="in each slice")
    chambers.add_argument(
        "--slices", type=Path, metavar="CSV", help="also write Dice slice by slice, from 0 at the top"
    )
    chambers.add_argument("--segmentation", type=Path, metavar="PATH", help="also write the chambers found")

    similarity = commands.add_parser(
        "similarity", help="MAE, PSNR, MS-SSIM, LPIPS and NMI of two CTs of one grid", allow_abbrev=False
    )
    similarity.add_argument("--volume", required=True, type=Path, metavar="PATH", help="sCECT or NCCT")
    similarity.add_argument("--reference", required=True, type=Path, metavar="PATH", help="CECT, on the same grid")
    similarity.add_argument("--first-slice", type=int, metavar="N", help="from 0 at the top (default: 0)")
    similarity.add_argument("--last-slice", type=int, metavar="N", help="included (default: the last)")
    similarity.add_argument(
        "--window", nargs=2, type=float, default=[350.0, 50.0], metavar=("WIDTH", "LEVEL"), help="HU (default: 350 50)"
    )
    similarity.add_argument(
        "--lpips-weights", type=Path, metavar="FILE", help="AlexNet's feature layers; without it LPIPS is left out"
    )
    similarity.add_argument("--progress", default="bar", choices=["bar", "json", "none"])

    for command in (cnr, chambers, similarity):
        command.add_argument(
            "--output", required=True, type=Path, metavar="CSV", help="the table; of a cohort, a folder"
        )
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
        check_name(path)
        check_place(path)
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
    from SyntheticContrastLib.analysis.cnr_table import COLUMNS, cnr_row
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
    if not math.isfinite(args.threshold) or not 0 <= args.smoothing < 20:
        raise InputError("--threshold is a number of HU, --smoothing 0 to 20 mm")
    return measure_cohort(args) if args.cases else measure_one_volume(args)


def measure_one_volume(args: argparse.Namespace) -> int:
    refuse_outputs(
        args.overwrite,
        (args.output, (".csv",)),
        (args.slices, (".csv",)),
        (args.segmentation, (".nrrd", ".nii", ".nii.gz")),
    )
    if args.slices and not args.reference:
        raise InputError("--slices needs a --reference to compare with")
    import numpy as np

    from SyntheticContrastLib.analysis.chambers import compare_chambers, volume_ml
    from SyntheticContrastLib.ct.mask import read_mask
    from SyntheticContrastLib.ct.read import read_ct

    volume: CTVolume = read_ct(args.volume, args.series, allow_synthetic=True)
    spacing = volume.spacing_zyx
    reference = read_mask(args.reference, volume.grid, labels=args.reference_label) if args.reference else None
    found = find_chambers(volume, heart_of(volume, args.heart_mask, args.heart_label), args)
    row = chambers_row(args.volume, args.heart_mask, args.threshold, volume_ml(found, spacing))
    if reference is not None:
        result = compare_chambers(found, reference, spacing)
        row |= result.figures()
        if args.slices:
            pairs = zip(result.slices, result.dice_of_slices, strict=True)
            write_table(args.slices, ["slice", "dice"], [{"slice": int(z), "dice": dice} for z, dice in pairs])
    if args.segmentation:
        from SyntheticContrastLib.ct.write import write_image

        write_image(args.segmentation, found.astype(np.uint8), volume, "left heart chambers by threshold")
    write_table(args.output, CHAMBERS_COLUMNS, [row])
    print(chambers_line(row))
    for path in (args.output, args.slices, args.segmentation):
        if path:
            print(f"wrote {path}")
    return DONE


def heart_of(volume: CTVolume, path: Path | None, labels: Sequence[int]) -> NDArray:
    """(Z, Y, X)"""
    from SyntheticContrastLib.ct.heart_region import heart_region
    from SyntheticContrastLib.ct.mask import read_mask

    return read_mask(path, volume.grid, labels=labels) if path else heart_region(volume.hu, volume.spacing_zyx)


def find_chambers(volume: CTVolume, heart: NDArray, args: argparse.Namespace) -> NDArray:
    from SyntheticContrastLib.analysis.chambers import threshold_chambers

    return threshold_chambers(
        volume.hu,
        heart,
        volume.spacing_zyx,
        args.threshold,
        smoothing_mm=args.smoothing,
        keep_largest=args.keep_largest,
        fill_holes=args.fill_holes,
    )


def chambers_row(volume: Path, heart: Path | None, threshold: float, ml: float) -> Row:
    return {
        "volume": volume.name,
        "heart": heart.name if heart else "found in the CT",
        "threshold_hu": threshold,
        "chambers_ml": ml,
    }


def chambers_line(row: Row) -> str:
    dice = f", Dice {row['dice']:.3f}, volume error {row['volume_error_percent']:.1f} %" if "dice" in row else ""
    return f"chambers {row['chambers_ml']:.1f} mL at {row['threshold_hu']:g} HU{dice}"


def measure_cohort(args: argparse.Namespace) -> int:
    """A row for each case. One that cannot be measured has a line in `error`, and the rest is done."""
    alone = ("heart-mask", "heart-label", "reference", "reference-label", "slices", "segmentation")
    if unused := [f"--{name}" for name in alone if given(args, name)]:
        raise InputError(f"{unused[0]} is for one --volume: a cohort takes it from {args.cases.name}, or writes it")
    names = ("chambers.csv", "chambers_slices.csv", "chambers_summary.csv", "bland_altman.png", "bland_altman.svg")
    if args.output.suffix.lower() == ".csv" or args.output.is_file():
        raise InputError(f"output {args.output.name} names a file: with --cases give a folder")
    refuse_outputs(args.overwrite, *((args.output / name, (".csv", ".png", ".svg")) for name in names))
    require("matplotlib.figure", "scipy.ndimage")
    from SyntheticContrastLib.analysis.chambers_cohort import SUMMARY_COLUMNS, compared, summarise
    from SyntheticContrastLib.ct.cases import read_cases

    rows: list[Row] = []
    slices: list[Row] = []
    statuses = []
    for case in read_cases(args.cases):
        check_cancelled()
        row: Row = {"case_id": case.case_id}
        try:
            row, of_slices = measure_case(case, args)
            slices += of_slices
            print(f"{case.case_id}: {chambers_line(row)}", flush=True)
        except Exception as error:
            status, row["error"] = explain(error)
            statuses.append(status)
        rows.append(row)
    summary = summarise(rows)
    write_table(args.output / names[0], ["case_id", *CHAMBERS_COLUMNS, "second_ml", "observers_dice", "error"], rows)
    write_table(args.output / names[1], ["case_id", "slice", "dice"], slices)
    write_table(args.output / names[2], SUMMARY_COLUMNS, summary)
    written = list(names[:3])
    with_reference = compared(rows)
    if len(with_reference) > 1:
        from SyntheticContrastLib.analysis.bland_altman_plot import write_bland_altman

        ours, theirs = ([row[name] for row in with_reference] for name in ("compared_ml", "reference_ml"))
        for name in names[3:]:
            write_bland_altman(args.output / name, ours, theirs)
            written.append(name)
    for row in summary:
        print(summary_line(row))
    print(f"wrote {', '.join(written)} in {args.output}", flush=True)
    for row in rows:
        if "error" in row:
            print(f"measure.py: {row['case_id']}: {row['error']}", file=sys.stderr)
    if statuses:
        print(f"measure.py: {len(statuses)} of {len(rows)} cases failed, the others are done", file=sys.stderr)
    return INTERNAL_ERROR if INTERNAL_ERROR in statuses else max(statuses, default=DONE)


def given(args: argparse.Namespace, option: str) -> bool:
    return getattr(args, option.replace("-", "_")) not in (None, [])


def measure_case(case: Case, args: argparse.Namespace) -> tuple[Row, list[Row]]:
    """A case's row, and a row for each slice with a reference.

    Raises:
        InputError
    """
    from SyntheticContrastLib.analysis.chambers import compare_chambers, volume_ml
    from SyntheticContrastLib.ct.mask import read_mask
    from SyntheticContrastLib.ct.read import read_ct

    path = case.scect if args.column == "scect" else case.cect
    if path is None:
        raise InputError(f"there is no {args.column} in the table: give its path, or another --column")
    volume: CTVolume = read_ct(path, args.series, allow_synthetic=True)
    spacing, depth = volume.spacing_zyx, len(volume.hu)
    first, last = case.first_slice or 0, depth - 1 if case.last_slice is None else case.last_slice
    if last >= depth:
        raise InputError(f"last_slice {last} is not in a CT of {depth} slices, which are counted from 0")

    def within(mask: NDArray) -> NDArray:
        mask[:first] = mask[last + 1 :] = False
        return mask

    found = find_chambers(volume, within(heart_of(volume, case.heart_mask, case.labels.get("heart_mask", ()))), args)
    row: Row = {"case_id": case.case_id}
    row |= chambers_row(path, case.heart_mask, args.threshold, volume_ml(found, spacing))
    if case.chambers is None:
        return row, []
    reference = within(read_mask(case.chambers, volume.grid, labels=case.labels.get("chambers", ())))
    result = compare_chambers(found, reference, spacing)
    row |= result.figures()
    if case.chambers_2 is not None:
        second = within(read_mask(case.chambers_2, volume.grid, labels=case.labels.get("chambers_2", ())))
        row["second_ml"] = volume_ml(second, spacing)
        row["observers_dice"] = compare_chambers(second, reference, spacing).dice
    pairs = zip(result.slices, result.dice_of_slices, strict=True)
    return row, [{"case_id": case.case_id, "slice": int(z), "dice": float(dice)} for z, dice in pairs]


def summary_line(row: Row) -> str:
    if "value" not in row:
        return f"{row['measure']}: {row['note']}"
    more = f" +- {row['sd']:.4g}" if "sd" in row else ""
    limits = f", limits {row['lower']:.4g} to {row['upper']:.4g}" if "lower" in row else ""
    p = f", P {row['p']:.2g}" if "p" in row else ""
    return f"{row['measure']}: {row['value']:.4g}{more}{limits}{p} ({row['cases']} cases)"


def measure_similarity(args: argparse.Namespace) -> int:
    report = Reporter(args.progress)
    return report.conclude(lambda: compare_two(args, report))


def compare_two(args: argparse.Namespace, report: Reporter) -> int:
    refuse_outputs(args.overwrite, (args.output, (".csv",)))
    width, level = args.window
    if not (math.isfinite(level) and 0 < width < math.inf):
        raise InputError("--window is a width above 0 and a level, in HU")
    from SyntheticContrastLib.analysis.similarity import compare
    from SyntheticContrastLib.ct.read import read_ct

    volume, reference = (read_ct(path, args.series, allow_synthetic=True) for path in (args.volume, args.reference))
    if not volume.grid.matches(reference.grid):
        raise InputError(f"{args.volume.name} is not on the grid of {args.reference.name}: resample it first")
    depth = len(volume.hu)
    first, last = args.first_slice or 0, depth - 1 if args.last_slice is None else args.last_slice
    if not 0 <= first <= last < depth:
        raise InputError(f"slices {first} to {last} are not in a CT of {depth} slices, which are counted from 0")
    structure, lpips, notes = what_can_be_measured(volume.hu.shape[1:], args.lpips_weights)
    for note in notes:
        report.event("warning", f"  {note}", case=args.volume.name, message=note)
    count = last - first + 1
    report.begin()

    def on_slice(done: int) -> None:
        check_cancelled()
        report.progress(args.volume.name, done, count)

    part = slice(first, last + 1)
    found = compare(
        volume.hu[part], reference.hu[part], (width, level), lpips, structure=structure, on_slice=on_slice
    ).of_case()
    row: Row = {
        "volume": args.volume.name,
        "reference": args.reference.name,
        "first_slice": first,
        "last_slice": last,
        "window": f"{width:g}/{level:g}",
        "mae_hu": found["mae"],
        "mae_unclipped_hu": found["mae_unclipped"],
        "psnr_db": found["psnr"],
        "ms_ssim": found.get("ms_ssim", math.nan),
        "lpips": found.get("lpips", math.nan),
        "nmi_1_to_2": found["nmi"],
        "nmi_0_to_1": found["nmi_unit"],
        "notes": "; ".join(notes),
    }
    write_table(args.output, list(row), [row])
    measures = ", ".join(f"{name} {row[name]:.4g}" for name in list(row)[5:-1] if not math.isnan(row[name]))
    report.event("written", f"{measures}\nwrote {args.output}", output=str(args.output))
    return DONE


def what_can_be_measured(shape_yx: tuple[int, ...], weights: Path | None) -> tuple[bool, Lpips | None, list[str]]:
    """Whether MS-SSIM can be made, LPIPS if it can, and a line for each that is left out.

    Raises:
        InputError: the file of weights is none.
    """
    from SyntheticContrastLib.analysis.similarity import SMALLEST_SIDE, Lpips

    try:
        import torch  # noqa: F401
    except Exception as error:  # of a half-done installation anything can come
        reason = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not work ({error})"
        return False, None, [f"MS-SSIM and LPIPS are left out: PyTorch {reason}, the PyTorch extension installs it"]
    notes = []
    structure = min(shape_yx) >= SMALLEST_SIDE
    if not structure:
        notes.append(f"MS-SSIM is left out: slices of {shape_yx[0]} x {shape_yx[1]} are below {SMALLEST_SIDE} pixels")
    if weights is None:
        return structure, None, [*notes, "LPIPS is left out: no file of AlexNet's weights was given"]
    try:
        import lpips  # noqa: F401
    except Exception as error:
        return structure, None, [*notes, f"LPIPS is left out: the package lpips cannot be used ({error})"]
    return structure, Lpips(weights), notes


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    commands = {"cnr": measure_cnr, "chambers": measure_chambers, "similarity": measure_similarity}
    return commands[args.command](args)


if __name__ == "__main__":
    run_entry(main)

"""Evaluate a cohort: NCCT and sCECT against CECT, left chambers, lesions, readers; tables, figures and a report.

Examples:
  evaluate.py --cases cases.csv --output evaluation/ --lpips-weights alexnet_features.pth
  evaluate.py --cases cases.csv --output evaluation/ --no-lpips --readings readings.csv
  torchrun --nproc-per-node 8 evaluate.py --cases cases.csv --output evaluation/

cases.csv has the columns case_id, ncct, cect, scect and, if you have them, heart_mask, chambers (reference of the left
ones), lesions (markups of the ROI tools), first_slice, last_slice; any other column, such as vendor, makes subgroups.
Finished cases are skipped when the same command is run again.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SyntheticContrastLib.ct import record as records
from SyntheticContrastLib.ct.atomic import clear_partial
from SyntheticContrastLib.ct.cases import Case, read_cases
from SyntheticContrastLib.ct.content import hash_source
from SyntheticContrastLib.ct.disclaimer import DISCLAIMER
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.names import check_place
from SyntheticContrastLib.synthesis.cohort import run_cases, wait_for_others
from SyntheticContrastLib.synthesis.process import ArgumentParser, check_cancelled, require, run_entry
from SyntheticContrastLib.synthesis.progress import Reporter
from SyntheticContrastLib.synthesis.tasks import own_share

if TYPE_CHECKING:
    from SyntheticContrastLib.analysis.evaluation import Evaluation, Options
    from SyntheticContrastLib.analysis.readings import Readings
    from SyntheticContrastLib.analysis.similarity import Lpips

CASES = "cases"
UID = re.compile(r"\d+(\.\d+){5,}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV", help="the cohort")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of records, tables, report")
    parser.add_argument(
        "--window",
        nargs=2,
        type=float,
        default=[350.0, 50.0],
        metavar=("WIDTH", "LEVEL"),
        help="HU in which images are compared (default: 350 50)",
    )
    parser.add_argument(
        "--slices",
        default="auto",
        choices=["auto", "all"],
        help="auto: from the top of the aortic arch to the diaphragm, found in the NCCT (default); first_slice and "
        "last_slice of cases.csv come before either",
    )
    lpips = parser.add_mutually_exclusive_group()
    lpips.add_argument(
        "--lpips-weights",
        type=Path,
        metavar="FILE",
        help="AlexNet's feature layers, torchvision's names (default: torchvision downloads them, 233 MB, once)",
    )
    lpips.add_argument("--no-lpips", action="store_true", help="leave LPIPS out")
    parser.add_argument(
        "--threshold", type=float, default=300.0, metavar="HU", help="of the left chambers (default: 300)"
    )
    parser.add_argument(
        "--readings", type=Path, metavar="CSV", help="marks of readers: reader, modality, case_id, conspicuity, lesion"
    )
    parser.add_argument(
        "--case-figures", type=int, default=24, metavar="N", help="the first N cases get figures (default: 24)"
    )
    parser.add_argument(
        "--series", nargs="+", default=[], metavar="UID", help="SeriesInstanceUID to take where several are"
    )
    parser.add_argument("--progress", default="bar", choices=["bar", "json", "none"])
    return parser.parse_args(arguments)


def options_of(args: argparse.Namespace) -> Options:
    from SyntheticContrastLib.analysis.evaluation import Options

    width, level = args.window
    if not (math.isfinite(width) and math.isfinite(level) and width > 0):
        raise InputError(f"a window of width {width:g} and level {level:g} is none: give a width above 0")
    if not math.isfinite(args.threshold):
        raise InputError("--threshold is a number of HU")
    if args.case_figures < 0:
        raise InputError(f"--case-figures {args.case_figures} is no number of cases: give 0 or more")
    if args.output.is_file():
        raise InputError(f"{args.output.name} is a file: give a folder")
    check_place(args.output / CASES)
    weights = "torchvision's weights"
    if args.lpips_weights:
        if not args.lpips_weights.is_file():
            raise InputError(f"{args.lpips_weights.name} does not exist: give the file of LPIPS' AlexNet weights")
        weights = f"weights sha256 {hash_source(args.lpips_weights)[:16]}"
    lpips = None if args.no_lpips else f"package lpips 0.1, AlexNet, {weights}"
    return Options((width, level), args.slices, lpips, args.threshold, tuple(args.series))


def load_lpips(args: argparse.Namespace, report: Reporter) -> Lpips | None:
    if args.no_lpips:
        return None
    from SyntheticContrastLib.analysis.similarity import Lpips

    if not args.lpips_weights and not Lpips.downloaded():
        megabytes = Lpips.DOWNLOAD_MB
        report.event("download", f"LPIPS: AlexNet's weights are downloaded, {megabytes} MB, once", megabytes=megabytes)
    try:
        return Lpips(args.lpips_weights)
    except InputError as error:
        raise InputError(f"{error} (--lpips-weights FILE, --no-lpips)") from error


def run(args: argparse.Namespace, report: Reporter) -> int:
    cases = read_cases(args.cases)
    options = options_of(args)
    readings = None
    if args.readings:
        from SyntheticContrastLib.analysis.readings import read_readings

        readings = read_readings(args.readings, {case.case_id for case in cases})
    require("scipy.ndimage", "skimage.metrics", "matplotlib.figure")
    share = own_share(cases)
    lpips = load_lpips(args, report) if share else None
    report.event("start", f"{DISCLAIMER}: {len(share)} of {len(cases)} cases", cases=len(share), of=len(cases))
    drawn = {case.case_id for case in cases[: args.case_figures]}
    clear_partial(path for case in share for path in files_of(args.output, case, drawn))
    status = run_cases(
        "evaluate.py",
        [case.case_id for case in share],
        lambda index: evaluate_one(share[index], options, lpips, args.output, drawn, report),
        report,
        lambda index, line: note_failure(share[index], line, args.output),
    )
    write_merged(cases, options, readings, args.output, drawn, report)
    wait_for_others()
    return status


def files_of(output: Path, case: Case, drawn: Collection[str]) -> list[Path]:
    """The record of a case, which is written last, and its figures."""
    from SyntheticContrastLib.analysis.figures import FORMATS
    from SyntheticContrastLib.analysis.report_parts import CASE_FIGURES, case_figure

    stems = [case_figure(output, case.case_id, kind) for kind in CASE_FIGURES] if case.case_id in drawn else []
    figures = [stem.with_name(f"{stem.name}.{suffix}") for stem in stems for suffix in FORMATS]
    return [output / CASES / f"{case.case_id}.json", *figures]


def evaluate_one(
    case: Case, options: Options, lpips: Lpips | None, output: Path, drawn: Collection[str], report: Reporter
) -> bool:
    """False if an earlier run finished it."""
    from SyntheticContrastLib.analysis.evaluation import evaluate, made_of
    from SyntheticContrastLib.analysis.report_parts import REPORT

    started = time.monotonic()
    made = made_of(case, options)
    path, *figures = files_of(output, case, drawn)
    former = records.read_record(path)
    if (former.get("state"), former.get("made_of")) == (records.DONE, made) and all(one.exists() for one in figures):
        report.event("skipped", "  finished already", case=case.case_id)
        return False
    for stale in (path, output / REPORT):  # from here on nobody takes the case, or the cohort, for finished
        stale.unlink(missing_ok=True)
    found = evaluate(case, options, lpips, lambda done: check_cancelled())
    if case.case_id in drawn:
        draw(case, found, options, output)
    seconds = time.monotonic() - started
    record = {"note": DISCLAIMER, "case_id": case.case_id, "state": records.DONE, "made_of": made, **found.record}
    records.write_record(path, {**record, "seconds": round(seconds, 2)})
    report.event(
        "evaluated",
        f"  {summary(found.record)}",
        case=case.case_id,
        seconds=round(seconds, 2),
        **{key: found.record[key] for key in ("slices", "similarity", "notes")},
    )
    return True


def draw(case: Case, found: Evaluation, options: Options, output: Path) -> None:
    from SyntheticContrastLib.analysis import case_figures
    from SyntheticContrastLib.analysis.figures import save_figure
    from SyntheticContrastLib.analysis.report_parts import case_figure

    first = found.record["slices"]["first"]
    montage = case_figures.montage(found.images, found.spacing_zyx, options.window, first, case.case_id)
    save_figure(montage, case_figure(output, case.case_id, "montage"))
    curves = case_figures.slice_curves(found.record["of_slices"], first, case.case_id)
    save_figure(curves, case_figure(output, case.case_id, "slices"))


def summary(record: dict[str, Any]) -> str:
    from SyntheticContrastLib.analysis.cohort import SIMILARITY
    from SyntheticContrastLib.analysis.evaluation import NCCT, SCECT

    parts = []
    for measure in SIMILARITY:
        values = [record["similarity"][image].get(measure.key) for image in (NCCT, SCECT)]
        if measure.key in ("mae", "psnr", "ms_ssim", "lpips") and None not in values:
            before, after = (f"{value:.{measure.digits}f}" for value in values)
            parts.append(f"{measure.name} {before} to {after}")
    if chambers := record.get("chambers"):
        parts.append(f"Dice {chambers[SCECT]['dice']:.3f}")
    slices = record["slices"]
    return f"{', '.join(parts)}; slices {slices['first']} to {slices['last']}, {slices['from']}"


def note_failure(case: Case, line: str, output: Path) -> None:
    """For the report, in which no file name and no UID stands."""
    for column in ("ncct", "cect", "scect", "heart_mask", "chambers", "lesions"):
        if path := getattr(case, column):
            line = line.replace(str(path), f"the {column}").replace(path.name, f"the {column}")
    line = UID.sub("UID", line)
    path = output / CASES / f"{case.case_id}.json"
    records.write_record(path, {"case_id": case.case_id, "state": records.FAILED, "message": line})


def write_merged(
    cases: Sequence[Case],
    options: Options,
    readings: Readings | None,
    output: Path,
    drawn: Collection[str],
    report: Reporter,
) -> None:
    """Of several processes the last one to end finds a record of every case, and writes the report of all."""
    from SyntheticContrastLib.analysis.cohort import CohortCase
    from SyntheticContrastLib.analysis.report import Missing, write_report

    wanted = {**asdict(options), "window": list(options.window), "series": list(options.series)}
    done, missing, pending = [], [], []
    for case in cases:
        record = records.read_record(output / CASES / f"{case.case_id}.json")
        if record.get("state") == records.FAILED:
            missing.append(Missing(case.case_id, record["message"]))
        elif record.get("state") == records.DONE and record["made_of"]["options"] == wanted:
            done.append(CohortCase(case.case_id, record, case.study, case.case_id in drawn))
        else:
            pending.append(case.case_id)
    if pending:
        count, processes = len(pending), os.environ.get("WORLD_SIZE", "1")
        line = f"{count} cases are still with others of the {processes} processes: the last one writes the report"
        report.event("waiting", line, cases=count)
        return
    page = write_report(output, options, done, missing, readings)
    report.event("report", f"wrote {page}: {len(done)} cases, {len(missing)} missing", path=str(page))


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    report = Reporter(args.progress)
    return report.conclude(lambda: run(args, report))


if __name__ == "__main__":
    run_entry(main)

"""Make a synthetic contrast-enhanced CT (sCECT) from a non-contrast chest CT (NCCT): one, several, or a cohort.

Examples:
  generate.py --input ncct_dicom/ --output scect.nrrd --preview scect.png
  generate.py --input a.nii.gz b.nii.gz --output results/ --format nifti
  generate.py --input ncct.nrrd --output scect.nrrd --phase portal --level 160
  generate.py --input ncct.nrrd --output scect.nrrd --model HEART_MODEL --heart-mask heart.nrrd
  torchrun --nproc-per-node 8 generate.py --cases cases.csv --output results/
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SyntheticContrastLib.ct.atomic import clear_partial, removed_on_failure
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis import tasks as planning
from SyntheticContrastLib.synthesis.cohort import run_cases, wait_for_others
from SyntheticContrastLib.synthesis.process import DONE, ArgumentParser, explain, require, run_entry
from SyntheticContrastLib.synthesis.progress import Reporter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from SyntheticContrastLib.models.bundle import Card


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="generate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", nargs="+", type=Path, metavar="PATH", help="DICOM folder, NRRD, NIfTI or MHA")
    source.add_argument("--cases", type=Path, metavar="CSV", help="a cohort: cases.csv with columns case_id and ncct")
    parser.add_argument(
        "--output", required=True, type=Path, help="file (.nrrd, .nii, .nii.gz) or folder; a folder for several inputs"
    )
    parser.add_argument(
        "--series", nargs="+", default=[], metavar="UID", help="SeriesInstanceUID to take where several are"
    )
    parser.add_argument("--model", metavar="NAME_OR_FOLDER", help="model bundle (default: the one that ships)")
    parser.add_argument(
        "--heart-mask",
        type=Path,
        metavar="PATH",
        help="where the heart is, for a model of the heart (default: found in the CT); any grid; for one input",
    )
    parser.add_argument(
        "--heart-label", nargs="+", type=int, default=[], metavar="N", help="which labels of a mask that has several"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"])
    parser.add_argument(
        "--engine", default="auto", choices=["auto", "pytorch"], help="pytorch: do not use OpenVINO though it is there"
    )
    parser.add_argument(
        "--step",
        default=1,
        type=int,
        help="slices from one window to the next, 1 to 16 (default: 1); where windows of slices step through the CT",
    )
    parser.add_argument(
        "--phase", choices=["arterial", "pulmonary", "portal"], help="contrast to make (default: arterial)"
    )
    parser.add_argument(
        "--level",
        type=float,
        metavar="HU",
        help="of the brightest vessels (default: arterial 350, pulmonary 400, portal 150)",
    )
    parser.add_argument(
        "--uncertainty",
        type=Path,
        metavar="PATH",
        help="also write the SD of several predictions; not for a model of the heart",
    )
    parser.add_argument(
        "--format", choices=["nrrd", "nifti", "dicom"], help="default: by the output's suffix, else nrrd"
    )
    parser.add_argument("--uncompressed", action="store_true", help="write NRRD files larger and many times faster")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="also write a picture; a folder for several inputs")
    parser.add_argument(
        "--first-look",
        type=Path,
        metavar="PNG",
        help="first write a picture of the middle slice; for one input, where windows of slices step through the CT",
    )
    parser.add_argument("--progress", default="bar", choices=["bar", "json", "none"])
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    return parser.parse_args(arguments)


def plan(args: argparse.Namespace) -> list[planning.Task]:
    """The tasks of this process, every path checked. Only a cohort is shared: a RANK left over loses no input."""
    if args.heart_mask and (args.cases or len(args.input) > 1):
        raise InputError("--heart-mask is for one input: for several give them in the column heart_mask of a cases.csv")
    if args.heart_label and not args.heart_mask:
        raise InputError("--heart-label says which label of a --heart-mask to take: give that, too")
    if args.first_look and (args.cases or len(args.input) > 1):
        raise InputError("--first-look is for one input: for several give a folder with --preview")
    if args.cases:
        from SyntheticContrastLib.ct.cases import read_cases

        listed = read_cases(args.cases)
        cases = [(case.case_id, case.ncct) for case in listed]
        if without := [case for case, ncct in cases if ncct is None]:
            raise InputError(f"{args.cases.name}: no ncct given for {', '.join(without[:5])}")
        tasks = planning.cohort_tasks(cases, args.output, args.format, args.uncertainty, args.preview, keep_record=True)
        tasks = [
            dataclasses.replace(task, heart_mask=case.heart_mask, heart_labels=case.labels.get("heart_mask", ()))
            for task, case in zip(tasks, listed, strict=True)
        ]
        return planning.own_share(tasks)
    if len(args.input) == 1:
        task = planning.single_task(
            args.input[0], args.output, args.format, args.uncertainty, args.preview, args.first_look
        )
        if args.heart_mask and not args.heart_mask.is_file():
            raise InputError(f"heart mask {args.heart_mask} does not exist or is no file: check the path")
        tasks = [dataclasses.replace(task, heart_mask=args.heart_mask, heart_labels=tuple(args.heart_label))]
    else:
        named = [(planning.case_name(path), path) for path in args.input]
        tasks = planning.cohort_tasks(
            named, args.output, args.format, args.uncertainty, args.preview, keep_record=False
        )
    for task in tasks:
        planning.refuse_unusable(task)
        if not args.overwrite:
            planning.refuse_existing(task)
    return tasks


def check_options(args: argparse.Namespace, card: Card) -> None:
    """Raise InputError for an option that the model has no use for."""
    works = "slice by slice" if card.heart_only else "with shares of contrast on a grid of its own"
    if not card.stepped:
        if args.step != 1:
            raise InputError(f"--step does not apply to {card.name}, which works {works}: leave it out")
        if args.first_look:
            raise InputError(f"--first-look does not apply to {card.name}, which works {works}: leave it out")
    elif not 1 <= args.step <= card.patch_depth:
        raise InputError(f"step {args.step} is out of range: use 1 to {card.patch_depth}")
    if card.heart_only and args.uncertainty:
        raise InputError(f"--uncertainty does not apply to {card.name}, which predicts each slice once: leave it out")
    if args.heart_mask and not card.heart_only:
        raise InputError(f"--heart-mask does not apply to {card.name}, which takes the whole chest: leave it out")
    for option, value in (("--phase", args.phase), ("--level", args.level)):
        if value is not None and not card.by_shares:
            raise InputError(
                f"{option} does not apply to {card.name}, whose contrast is as it was trained: leave it out"
            )


def run(args: argparse.Namespace, report: Reporter) -> int:
    tasks = plan(args)
    require("torch", *(["matplotlib.figure"] if args.preview or args.first_look else []))
    from SyntheticContrastLib.models.bundle import find_bundle

    bundle = find_bundle(args.model)
    check_options(args, bundle.card)

    # Imported here: PyTorch takes seconds, and bad arguments should not wait for it.
    from SyntheticContrastLib.synthesis.contrast import Contrast
    from SyntheticContrastLib.synthesis.convert import DISCLAIMER, Converter
    from SyntheticContrastLib.synthesis.device import choose

    contrast = Contrast.of(args.phase, args.level)
    converter = Converter(bundle, choose(args.device, args.precision, args.engine), args.step, contrast)
    compute = converter.compute
    share = f"\n{len(tasks)} cases, the share of RANK={rank}" if args.cases and (rank := os.environ.get("RANK")) else ""
    report.event(
        "start",
        f"Model {bundle.card.name} ({DISCLAIMER})\nComputing on {compute}{share}",
        cases=len(tasks),
        model=bundle.card.name,
        weights_sha256=bundle.card.weights_sha256,
        device=compute.device,
        device_reason=compute.device_reason,
        precision=compute.precision,
        precision_reason=compute.precision_reason,
        engine=compute.engine,
        step=args.step,
        **({"phase": contrast.phase, "level_hu": contrast.level_hu} if bundle.card.by_shares else {}),
    )
    if args.cases:
        clear_partial(path for task in tasks for path in (*task.outputs, task.record) if path)
    elif len(tasks) == 1:
        convert_first(tasks[0], converter, args, report)
        return DONE
    status = run_cases(
        "generate.py",
        [task.case for task in tasks],
        lambda index: convert_one(tasks[index], converter, args, report),
        report,
    )
    if args.cases:
        wait_for_others()
    return status


def convert_first(task: planning.Task, converter, args: argparse.Namespace, report: Reporter) -> None:
    """The only one: what it raises ends the process."""
    report.event("case", f"{task.case} (1 of 1)", case=task.case, number=1, cases=1, seconds_left=None)
    try:
        convert_one(task, converter, args, report)
    except Exception as error:
        status, line = explain(error)
        report.event("failed", case=task.case, status=status, message=line)
        raise


def convert_one(task: planning.Task, converter, args: argparse.Namespace, report: Reporter) -> bool:
    """False if an earlier run finished it."""
    from SyntheticContrastLib.analysis.change import format_table, tissue_changes
    from SyntheticContrastLib.analysis.first_look import write_first_look
    from SyntheticContrastLib.analysis.preview import write_preview
    from SyntheticContrastLib.ct.dicom_write import check_series_folder
    from SyntheticContrastLib.ct.enhanced import enhancement_note
    from SyntheticContrastLib.ct.mask import read_mask
    from SyntheticContrastLib.ct.read import read_ct
    from SyntheticContrastLib.ct.record import DONE as FINISHED
    from SyntheticContrastLib.ct.record import WRITING
    from SyntheticContrastLib.synthesis.convert import find_heart, state_of, write_result
    from SyntheticContrastLib.synthesis.shares import ShareSynthesis

    started = time.monotonic()
    planning.refuse_unusable(task)
    planning.refuse_unnameable(task)
    volume = read_ct(task.ncct, args.series)
    if task.format == "dicom":
        check_series_folder(task.output, volume)
    z, y, x = volume.hu.shape
    spacing = [round(mm, 4) for mm in volume.spacing_zyx]
    report.event(
        "read",
        f"  {z} slices of {y} x {x}, {spacing[0]:g} mm apart",
        case=task.case,
        shape_zyx=[z, y, x],
        spacing_zyx=spacing,
    )
    given_heart = None
    if converter.heart_only and task.heart_mask:
        given_heart = read_mask(task.heart_mask, volume.grid, labels=task.heart_labels)
    overwrite = args.overwrite
    if args.cases and not overwrite:
        state = state_of(task, volume, converter, given_heart)
        if state == FINISHED:
            report.event("skipped", f"  finished already: {task.output}", case=task.case, output=str(task.output))
            return False
        overwrite = state == WRITING
        if not overwrite:
            planning.refuse_existing(task)
    if note := enhancement_note(volume):
        report.event("warning", f"  Warning: {note}", case=task.case, message=note)
    heart = None
    if converter.heart_only:
        heart = find_heart(volume) if given_heart is None else given_heart
        tell_heart(task, heart, volume.spacing_zyx, report)

    def tell_fallback(message: str) -> None:
        report.event("warning", f"\n  {message}", case=task.case, message=message)

    with ExitStack() as undone_on_failure:
        if task.first_look:
            undone_on_failure.enter_context(removed_on_failure(task.first_look))
            middle, scect = converter.first_look(volume, tell_fallback)
            write_first_look(task.first_look, volume.hu[middle], scect, volume.spacing_zyx[1:], middle, z)
            path = str(task.first_look)
            report.event("first_look", f"  first look: {path}", case=task.case, path=path)
        report.begin()
        result = converter.convert(
            volume,
            heart,
            uncertainty=task.uncertainty is not None,
            on_progress=lambda done, total: report.progress(task.case, done, total),
            on_fallback=tell_fallback,
        )
        write_result(
            task,
            volume,
            result,
            converter,
            lambda path: write_preview(path, volume.hu, result.hu, volume.spacing_zyx, converter.bundle.card.name),
            overwrite,
            given_heart,
            compress=not args.uncompressed,
        )
    changes = tissue_changes(volume.hu, result.hu, volume.spacing_zyx)
    seconds = time.monotonic() - started
    written = [str(path) for path in task.outputs]
    report.event(
        "written",
        "\n".join([format_table(changes), *(f"  wrote {path}" for path in written), f"  in {seconds:.0f} s"]),
        case=task.case,
        output=str(task.output),
        uncertainty=str(task.uncertainty) if task.uncertainty else None,
        preview=str(task.preview) if task.preview else None,
        seconds=round(seconds, 1),
        changes=[vars(change) for change in changes],
        native_hu=round(result.native_hu, 1) if isinstance(result, ShareSynthesis) else None,
    )
    return True


def tell_heart(
    task: planning.Task, heart: NDArray[np.bool_], spacing_zyx: tuple[float, float, float], report: Reporter
) -> None:
    """So that a heart found in the wrong place, or a mask of something else, is noticed."""
    source = task.heart_mask.name if task.heart_mask else "found in the CT"
    slices = [int(z) for z in heart.any(axis=(1, 2)).nonzero()[0]]
    volume_ml = float(heart.sum()) * math.prod(spacing_zyx) / 1000
    report.event(
        "heart",
        f"  heart: {volume_ml:.0f} mL in slices {slices[0] + 1} to {slices[-1] + 1} from the top ({source})",
        case=task.case,
        mask=str(task.heart_mask) if task.heart_mask else None,
        volume_ml=round(volume_ml, 1),
        first_slice=slices[0],
        last_slice=slices[-1],
    )


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    report = Reporter(args.progress)
    return report.conclude(lambda: run(args, report))


if __name__ == "__main__":
    run_entry(main)

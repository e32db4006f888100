"""Download public CT pairs of the same patient before and after contrast, to train on.

Examples:
  download.py --list
  download.py --output pairs/ --pairs 4
  download.py --output pairs/ --all --collection hcc_tace_seg --pairs 20

The pairs come from the NCI Imaging Data Commons; the 17 that likely show the chest are taken unless --all is given.
They were chosen by series descriptions, and no pixel was seen: look at them before you train. Those of hcc_tace_seg are
scans of the liver, cases of an odd number likely in the late arterial phase, those of an even one in the portal venous.
Size and licences are said first, and nothing is downloaded without your yes. The same command goes on where an earlier
one stopped. It writes DIR/<case>/pre, DIR/<case>/post, DIR/cases.csv for prepare.py, and DIR/ATTRIBUTION.md.
Needs the package idc-index: python -m pip install idc-index
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Installed, both libraries lie beside this folder; in the source tree the core lies in the sibling module.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SyntheticContrast"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.synthesis.process import (
    BAD_INPUT,
    CANCELLED,
    DONE,
    INTERNAL_ERROR,
    OUT_OF_MEMORY,
    ArgumentParser,
    explain,
    run_entry,
)
from SyntheticContrastLib.synthesis.progress import Reporter
from SyntheticContrastTrainingLib import public_pairs
from SyntheticContrastTrainingLib.public_pairs import Pair

if TYPE_CHECKING:
    from SyntheticContrastTrainingLib.public_download import IndexEntry, Transport

Rows = Mapping[str, dict[str, str]]
SPARE_BYTES = 100_000_000  # for what the file system needs beside the files


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="download.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the pairs")
    parser.add_argument("--pairs", type=int, metavar="N", help="only the first N; other patients come first")
    parser.add_argument("--collection", nargs="+", default=[], metavar="NAME", help="only pairs of these collections")
    parser.add_argument("--case", nargs="+", default=[], metavar="ID", help="only these pairs, see --list")
    parser.add_argument("--all", action="store_true", help="also the pairs that are not likely to show the chest")
    parser.add_argument("--list", action="store_true", help="print what there is, and stop; needs no network")
    parser.add_argument("--yes", action="store_true", help="download without asking")
    parser.add_argument("--progress", default="bar", choices=["bar", "json", "none"])
    args = parser.parse_args(arguments)
    if args.case and (args.collection or args.pairs is not None or args.all):
        parser.error("--case names the pairs, it goes without --pairs, --collection and --all")
    if not args.list and args.output is None:
        parser.error("--output DIR is missing")
    return args


def show(chosen: Sequence[Pair], listed: Sequence[Pair], report: Reporter) -> None:
    if report.kind == "json":
        for pair in chosen:
            report.event("pair", **dataclasses.asdict(pair))
        return
    print(public_pairs.format_table(chosen))
    print(f"{summary(chosen, sum(pair.bytes for pair in chosen))}; {len(listed)} pairs with --all")


def summary(pairs: Sequence[Pair], size: int) -> str:
    patients = len({(pair.collection, pair.patient) for pair in pairs})
    kinds = ", ".join(sorted({pair.licence for pair in pairs}))
    return f"{len(pairs)} pairs of {patients} patients, {size / 1e9:.2f} GB, {kinds}"


def as_indexed(pair: Pair, index: Mapping[str, IndexEntry]) -> Pair:
    """The pair with the sizes, licence and doi that the index states now."""
    for phase, series in pair.series.items():
        if entry := index.get(series.uid):
            series = dataclasses.replace(series, slices=entry.slices, bytes=entry.bytes)
            pair = dataclasses.replace(pair, licence=entry.licence, doi=entry.doi, **{phase: series})
    return pair


def missing_phases(pair: Pair, output: Path, index: Mapping[str, IndexEntry]) -> list[str]:
    """The series of a pair that are not there, neither as the list nor as the index has them."""
    from SyntheticContrastTrainingLib.public_download import is_whole

    def is_there(phase: str) -> bool:
        known = (pair.series[phase], index.get(pair.series[phase].uid))
        return any(is_whole(output / pair.case_id / phase, entry.slices, entry.bytes) for entry in known if entry)

    return [phase for phase in pair.series if not is_there(phase)]


def check_disk(output: Path, needed: int) -> int:
    """Free bytes at `output`, which need not exist yet."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output.name} is a file: give a folder as --output")
    existing = next(folder for folder in [output.absolute(), *output.absolute().parents] if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed and free < needed + SPARE_BYTES:
        raise InputError(
            f"{needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free at {output.name}: "
            "free some, choose another --output, or fewer pairs"
        )
    return free


def is_agreed(args: argparse.Namespace, question: str) -> bool:
    if args.yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError(f"nothing was downloaded ({question}): add --yes to download it")
    print(f"Download {question}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def announce(pairs: Sequence[Pair], needed: int, free: int, report: Reporter) -> None:
    owed = public_pairs.licences(pairs)
    size = sum(pair.bytes for pair in pairs)
    lines = [
        f"{summary(pairs, size)}; {needed / 1e9:.2f} GB to download, {free / 1e9:.2f} GB are free",
        *(
            f"  {row['collection']}: {row['pairs']} pairs, {row['licence']}, https://doi.org/{row['doi']}"
            for row in owed
        ),
        "Every licence asks you to name the collection and to cite its DOI: ATTRIBUTION.md will hold what to say.",
    ]
    report.event(
        "start",
        "\n".join(lines),
        cases=len(pairs),
        bytes_total=size,
        bytes_missing=needed,
        bytes_free=free,
        licences=owed,
    )


def run(args: argparse.Namespace, report: Reporter, open_transport: Callable[[Iterable[str]], Transport]) -> int:
    listed = public_pairs.read_pairs()
    chosen = public_pairs.choose(listed, args.collection, args.case, args.all, args.pairs)
    if args.list:
        show(chosen, listed, report)
        return DONE
    output = args.output
    check_disk(output, 0)
    rows = public_pairs.read_rows(output)
    report.event("index", "Looking the series up in the index ...")
    transport = open_transport([series.uid for pair in listed for series in pair.series.values()])
    missing = {pair.case_id: missing_phases(pair, output, transport.index) for pair in listed}
    listed = [as_indexed(pair, transport.index) for pair in listed]
    chosen = [as_indexed(pair, transport.index) for pair in chosen]
    needed = sum(pair.series[phase].bytes for pair in chosen for phase in missing[pair.case_id])
    announce(chosen, needed, check_disk(output, needed), report)
    if needed and not is_agreed(args, summary(chosen, needed)):
        print("download.py: nothing was downloaded", file=sys.stderr)
        return CANCELLED
    write_tables(listed, missing, output, rows)

    statuses = []
    for number, pair in enumerate(chosen, 1):
        report.event("case", f"{pair.case_id} ({number} of {len(chosen)})", case=pair.case_id, number=number)
        if not missing[pair.case_id]:
            report.event("skipped", "  finished already", case=pair.case_id)
            statuses.append(DONE)
            continue
        try:
            download_pair(pair, missing[pair.case_id], output, transport, report)
        except Exception as error:
            status, line = explain(error)
            report.event("failed", case=pair.case_id, status=status, message=line)
            print(f"download.py: {pair.case_id}: {line}", file=sys.stderr, flush=True)
            statuses.append(status)
            continue
        missing[pair.case_id] = []
        write_tables(listed, missing, output, rows)
        report.event(
            "written", f"  wrote {output / pair.case_id}", case=pair.case_id, output=str(output / pair.case_id)
        )
        statuses.append(DONE)
    if failed := len(statuses) - statuses.count(DONE):
        print(f"download.py: {failed} of {len(chosen)} pairs failed, the others are done", file=sys.stderr)
    return next((status for status in (INTERNAL_ERROR, OUT_OF_MEMORY, BAD_INPUT) if status in statuses), DONE)


def download_pair(pair: Pair, phases: Iterable[str], output: Path, transport: Transport, report: Reporter) -> None:
    from SyntheticContrastTrainingLib.public_download import fetch_series

    for phase in phases:
        series = pair.series[phase]
        report.event("series", f"  {phase}: {series.bytes / 1e6:.0f} MB", case=pair.case_id, phase=phase)
        report.begin()
        fetch_series(
            transport,
            series.uid,
            output / pair.case_id / phase,
            lambda done, total: report.progress(pair.case_id, done, total),
        )


def write_tables(listed: Sequence[Pair], missing: Mapping[str, list[str]], output: Path, rows: Rows) -> None:
    """cases.csv and ATTRIBUTION.md of everything that is complete, also by earlier commands."""
    complete = [pair for pair in listed if not missing[pair.case_id]]
    public_pairs.write_cases(output, complete, rows)
    if complete:
        public_pairs.write_attribution(output, complete)


def main(arguments: list[str], open_transport: Callable[[Iterable[str]], Transport] | None = None) -> int:
    args = parse(arguments)
    report = Reporter(args.progress)
    if open_transport is None:
        from SyntheticContrastTrainingLib.public_download import IdcTransport

        open_transport = IdcTransport.open
    return report.conclude(lambda: run(args, report, open_transport), failed="some pairs failed")


if __name__ == "__main__":
    run_entry(main)

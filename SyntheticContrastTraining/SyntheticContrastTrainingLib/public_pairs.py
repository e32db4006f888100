"""The public before/after-contrast CT pairs that can be downloaded, and what is written about those that are there.

The list ships with the module. It was made from the index of the NCI Imaging Data Commons (IDC) by series descriptions,
for HCC-TACE-Seg also by numbers of slices (Testing/make_public_pairs.py): nobody has looked at the images. Pairs that
likely show the chest come first, and one pair of every patient comes before the further pairs of the same patients.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from SyntheticContrastLib.ct.atomic import atomic_file
from SyntheticContrastLib.ct.cases import COLUMNS, read_cases
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.table import read_table

PUBLIC_PAIRS = Path(__file__).resolve().parents[1] / "Resources" / "SyntheticContrastTraining-public-pairs.csv"
CASES_FILE, ATTRIBUTION_FILE = "cases.csv", "ATTRIBUTION.md"


@dataclass(frozen=True)
class Series:
    """One CT series: its SeriesInstanceUID, and what the index said of it when the list was made."""

    uid: str
    description: str
    slices: int
    bytes: int


@dataclass(frozen=True)
class Pair:
    """One patient before and after contrast, from one study. `case_id` is the collection, its patient and a number."""

    case_id: str
    likely_chest: bool
    collection: str
    patient: str  # the collection's public identifier
    licence: str
    doi: str
    pre: Series
    post: Series

    @property
    def series(self) -> dict[str, Series]:
        """Both series by phase, which is also the name of the folder of each."""
        return {"pre": self.pre, "post": self.post}

    @property
    def bytes(self) -> int:
        return self.pre.bytes + self.post.bytes


def read_pairs(path: Path = PUBLIC_PAIRS) -> list[Pair]:
    """The list that ships, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        return [_pair(row) for row in csv.DictReader(file)]


def _pair(row: Mapping[str, str]) -> Pair:
    return Pair(
        case_id=row["case_id"],
        likely_chest=row["likely_chest"] == "yes",
        collection=row["collection"],
        patient=row["patient"],
        licence=row["licence"],
        doi=row["doi"],
        pre=_series(row, "pre"),
        post=_series(row, "post"),
    )


def _series(row: Mapping[str, str], phase: str) -> Series:
    slices, size = int(row[f"{phase}_slices"]), int(row[f"{phase}_bytes"])
    return Series(row[f"{phase}_uid"], row[f"{phase}_description"], slices, size)


def choose(
    pairs: Iterable[Pair],
    collections: Sequence[str] = (),
    cases: Sequence[str] = (),
    everything: bool = False,
    first: int | None = None,
) -> list[Pair]:
    """The pairs named by `cases`; else the likely chest pairs, or `everything`, of `collections`, the `first` ones.

    Raises:
        InputError: a name that is not in the list, or no pair left.
    """
    pairs = list(pairs)
    for wanted, known, what in (
        (cases, {pair.case_id for pair in pairs}, "case"),
        (collections, {pair.collection for pair in pairs}, "collection"),
    ):
        if unknown := [name for name in wanted if name not in known]:
            raise InputError(f"no {what} {unknown[0]!r} in the list of public pairs: see --list --all")
    if cases:
        return [pair for pair in pairs if pair.case_id in cases]
    if first is not None and first < 1:
        raise InputError(f"--pairs {first} is out of range: use 1 to {len(pairs)}")
    chosen = [pair for pair in pairs if not collections or pair.collection in collections]
    if not everything:
        chosen = [pair for pair in chosen if pair.likely_chest]
    if not chosen:
        raise InputError(f"no pair of {', '.join(collections)} is likely to show the chest: add --all to take them all")
    return chosen[:first]


def format_table(pairs: Iterable[Pair]) -> str:
    """A line a pair, for a person."""
    header = ("case", "collection", "before", "after", "slices", "MB", "licence", "doi")
    rows = [
        (
            pair.case_id,
            pair.collection,
            pair.pre.description,
            pair.post.description,
            f"{pair.pre.slices} + {pair.post.slices}",
            f"{pair.bytes / 1e6:.0f}",
            pair.licence,
            pair.doi,
        )
        for pair in pairs
    ]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in [header, *rows])
    return "\n".join(line.rstrip() for line in lines)


def licences(pairs: Iterable[Pair]) -> list[dict[str, str | int]]:
    """What is owed to whom: collection, licence, doi and number of pairs, sorted by collection."""
    counts: dict[tuple[str, str, str], int] = {}
    for pair in pairs:
        key = (pair.collection, pair.licence, pair.doi)
        counts[key] = counts.get(key, 0) + 1
    return [
        {"collection": collection, "licence": licence, "doi": doi, "pairs": count}
        for (collection, licence, doi), count in sorted(counts.items())
    ]


def read_rows(output: Path) -> dict[str, dict[str, str]]:
    """The rows of `output`/cases.csv as they stand, by case_id; none if there is no such file.

    Raises:
        InputError: a cases.csv is there that cannot be read.
    """
    path = output / CASES_FILE
    if not path.exists():
        return {}
    read_cases(path)  # says what is wrong with it
    return {row["case_id"]: row for _, row in read_table(path, COLUMNS, ["case_id"])}


def write_cases(output: Path, complete: Iterable[Pair], rows: Mapping[str, dict[str, str]]) -> None:
    """Write `output`/cases.csv, the table that prepare.py reads: the complete pairs, after the `rows` that were there.

    Those stay as they are (slices chosen by hand, cases of one's own), but for listed pairs that are not complete.
    """
    made = {
        pair.case_id: {
            "case_id": pair.case_id,
            "patient": pair.patient,
            "ncct": f"{pair.case_id}/pre",
            "cect": f"{pair.case_id}/post",
        }
        for pair in complete
    }
    dropped = {pair.case_id for pair in read_pairs()} - set(made)
    table = {**made, **rows}
    order = [*rows, *(case_id for case_id in made if case_id not in rows)]
    kept = [table[case_id] for case_id in order if case_id not in dropped]
    path = output / CASES_FILE
    if not kept:
        path.unlink(missing_ok=True)  # a table without a case is none
        return
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        columns = dict.fromkeys([*COLUMNS, *(column for row in kept for column in row)])
        writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def write_attribution(output: Path, complete: Sequence[Pair]) -> None:
    """Write `output`/ATTRIBUTION.md: what has to be said wherever these scans, or a model of them, are used."""
    collections = [
        f"| {owed['collection']} | {owed['pairs']} | {owed['licence']} | <https://doi.org/{owed['doi']}> |"
        for owed in licences(complete)
    ]
    cases = [f"| {pair.case_id} | {pair.licence} | {pair.pre.uid} | {pair.post.uid} |" for pair in complete]
    text = "\n".join(
        [
            "# Attribution of the CT scans in this folder",
            "",
            "Public, de-identified scans from the NCI Imaging Data Commons, unchanged. Their licences ask everyone who",
            "shares or publishes them, or what was made from them, to name the collection and its licence and cite it:",
            "",
            "| collection | pairs | licence | cite |",
            "|---|---|---|---|",
            *collections,
            "",
            "Cite too:",
            "",
            "- Fedorov et al. 2023, National Cancer Institute Imaging Data Commons, <https://doi.org/10.1148/rg.230180>",
            "- Clark et al. 2013, The Cancer Imaging Archive (TCIA), <https://doi.org/10.1007/s10278-013-9622-7>",
            "",
            "| case | licence | series before contrast | series after contrast |",
            "|---|---|---|---|",
            *cases,
            "",
        ]
    )
    with atomic_file(output / ATTRIBUTION_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")

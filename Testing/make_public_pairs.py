"""Make the rows of HCC-TACE-Seg in the list of public pairs, from the offline index of the IDC: make_public_pairs.py.

Needs no network: python -m pip install idc-index-data pyarrow   (the list was made with version 25.0.5)

A study is taken if it has, of at most 130 slices, one series before contrast (its description says PRE) and a first of
two series after it (PHASE, ARTERIAL or VENOUS). Which of the two is first is told by the descriptions: "Recon 2" and
ARTERIAL come before "Recon 3" and VENOUS, and a series without such a word takes the place that is free. The first is
likely late arterial and the second portal venous; no row claims it, for the index holds no phase, acquisition number,
slice thickness or position, and no pixel was seen. Cases of an odd number are pairs with the first series, those of an
even number pairs with the second. None counts as a likely chest pair: the unenhanced series is one of the liver.

Left out are studies whose phases lie together in one series, which cannot be read: those of more than 130 slices (the
collection has no series of 130 to 145) and those of a single series after contrast, often of twice as many slices as
the one before. The rows of the other collections stay as they are; all are sorted.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

COLLECTION = "hcc_tace_seg"
MOST_SLICES = 130  # of one phase
LIST = (
    Path(__file__).resolve().parents[1]
    / "SyntheticContrastTraining"
    / "Resources"
    / "SyntheticContrastTraining-public-pairs.csv"
)
INDEX_COLUMNS = [
    *("collection_id", "analysis_result_id", "PatientID", "StudyInstanceUID", "StudyDate", "Modality"),
    *("SeriesInstanceUID", "SeriesDescription", "instanceCount", "series_size_MB", "license_short_name", "source_DOI"),
]

Record = Mapping[str, Any]  # a series, as the index has it
Row = dict[str, str]  # a pair, as the list has it


def make_rows(index: Iterable[Record]) -> list[Row]:
    """The pairs of the collection's studies, those of a patient by date."""
    studies: dict[tuple[str, str, str], list[Record]] = {}
    for record in index:
        if record["collection_id"] == COLLECTION and record["Modality"] == "CT" and not record["analysis_result_id"]:
            key = (record["PatientID"], str(record["StudyDate"]), record["StudyInstanceUID"])
            studies.setdefault(key, []).append(record)
    rows, number = [], Counter[str]()
    for (patient, *_), series in sorted(studies.items()):
        if not (chosen := _phases(series)):
            continue
        pre, first, second = chosen
        for place, post in enumerate((first, second), 1):
            if post["instanceCount"] <= MOST_SLICES:
                rows.append(_row(f"{COLLECTION}_{patient}_{number[patient] + place}", pre, post))
        number[patient] += 2
    return rows


def _phases(series: Iterable[Record]) -> tuple[Record, Record, Record] | None:
    """Before contrast, first and second after contrast; None if the descriptions and slices do not tell."""
    series = [record for record in series if record["SeriesDescription"]]
    pre = [record for record in series if re.search(r"\bPRE\b", record["SeriesDescription"])]
    post = [record for record in series if re.search("PHASE|ARTERIAL|VENOUS", record["SeriesDescription"])]
    post.sort(key=_place)
    if len(pre) != 1 or len(post) != 2 or _place(post[0]) == _place(post[1]):
        return None
    if max(pre[0]["instanceCount"], post[0]["instanceCount"]) > MOST_SLICES:
        return None
    return pre[0], post[0], post[1]


def _place(record: Record) -> int:
    if re.search("Recon 2|ARTERIAL", record["SeriesDescription"]):
        return 0
    return 2 if re.search("Recon 3|VENOUS", record["SeriesDescription"]) else 1


def _row(case_id: str, pre: Record, post: Record) -> Row:
    row = {
        "case_id": case_id,
        "likely_chest": "no",
        "collection": COLLECTION,
        "patient": pre["PatientID"],
        "licence": pre["license_short_name"],
        "doi": pre["source_DOI"],
    }
    for phase, record in (("pre", pre), ("post", post)):
        row[f"{phase}_description"] = record["SeriesDescription"]
        row[f"{phase}_slices"] = str(record["instanceCount"])
        row[f"{phase}_bytes"] = str(round(record["series_size_MB"] * 1e6))
        row[f"{phase}_uid"] = record["SeriesInstanceUID"]
    return row


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Likely chest pairs first, one pair of every patient before the second of any, then small ones before large ones.

    A patient's pairs are taken by size; those with the second series after contrast come after those with the first.
    """
    taken, ranked = Counter[tuple[str, str, str]](), []
    for row in sorted(rows, key=lambda row: (_is_second(row), *_size(row))):
        patient = (row["likely_chest"], row["collection"], row["patient"])
        ranked.append(((row["likely_chest"] != "yes", taken[patient], *_size(row)), row))
        taken[patient] += 1
    return [row for _, row in sorted(ranked, key=lambda entry: entry[0])]


def _is_second(row: Row) -> bool:
    return row["collection"] == COLLECTION and int(row["case_id"].rsplit("_", 1)[1]) % 2 == 0


def _size(row: Row) -> tuple[int, str]:
    return int(row["pre_bytes"]) + int(row["post_bytes"]), row["case_id"]


def main() -> None:
    try:
        from idc_index_data import IDC_INDEX_PARQUET_FILEPATH
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        sys.exit(f"make_public_pairs.py: {error.name} is missing: python -m pip install idc-index-data pyarrow")
    index = parquet.read_table(
        IDC_INDEX_PARQUET_FILEPATH, columns=INDEX_COLUMNS, filters=[("collection_id", "==", COLLECTION)]
    )
    with LIST.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns, others = reader.fieldnames or [], [row for row in reader if row["collection"] != COLLECTION]
    made = make_rows(index.to_pylist())
    with LIST.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(in_order([*others, *made]))
    patients = len({row["patient"] for row in made})
    print(f"{len(made)} pairs of {patients} patients of {COLLECTION}, {len(others)} of other collections")


if __name__ == "__main__":
    main()

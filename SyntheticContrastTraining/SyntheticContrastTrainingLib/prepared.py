"""A prepared training set: one folder a case, with memory-mappable volumes, and a manifest that says what they are.

    DIR/manifest.json
    DIR/<case_id>/ncct.npy    int16 HU, (Z, Y, X), Z from superior to inferior: the NCCT, or the simulated VNC
    DIR/<case_id>/cect.npy    the same grid; none of an NCCT without a partner
    DIR/<case_id>/heart_mask.npy, chambers.npy  uint8, the same grid, where the case has them
    DIR/<case_id>/case.json   what the manifest says of the case
    DIR/review/<case_id>.png  the registration, drawn for review, if there was one

A case folder gets its name when it is whole, so a preparation may be interrupted and run again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.atomic import atomic_file, atomic_folder
from SyntheticContrastLib.ct.cases import Case
from SyntheticContrastLib.ct.content import hash_source
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastTrainingLib.pairing import PairingOptions, make_pair
from SyntheticContrastTrainingLib.vnc import VNC_VERSION

FORMAT_VERSION = 1
NCCT, CECT, HEART, CHAMBERS = "ncct.npy", "cect.npy", "heart_mask.npy", "chambers.npy"
MANIFEST, CASE_FILE, REVIEW = "manifest.json", "case.json", "review"


@dataclass(frozen=True)
class PreparedCase:
    """One pair. `affine` maps voxel (x, y, z, 1) of the arrays to LPS mm; `blood_hu` is the CECT's, where simulated."""

    case_id: str
    shape_zyx: tuple[int, int, int]
    spacing_zyx: tuple[float, float, float]
    affine: tuple[tuple[float, ...], ...]
    simulated: bool
    sources: dict[str, str]  # sha256 of what was read, by column of cases.csv
    options: dict[str, Any]
    files: dict[str, str]  # sha256 by file name
    blood_hu: float | None = None
    phase: str = "arterial"
    right_hu: tuple[float, float] | None = None  # of the right heart in the CECT, where it differs from the left
    registration: dict[str, Any] | None = None  # as `Registration.to_json` gives it
    split: str | None = None  # training or validation, where cases.csv says so
    patient: str | None = None  # whose cases stay together, where cases.csv says so

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> PreparedCase:
        fields = dict(fields)
        fields["shape_zyx"] = tuple(fields["shape_zyx"])
        fields["spacing_zyx"] = tuple(fields["spacing_zyx"])
        if fields.get("right_hu"):
            fields["right_hu"] = tuple(fields["right_hu"])
        fields["affine"] = tuple(tuple(row) for row in fields["affine"])
        return cls(**fields)


def prepare_case(case: Case, output: Path, options: PairingOptions) -> tuple[PreparedCase, bool]:
    """Write one case below `output`; returns it, and whether it was there already, made from the same sources.

    Raises:
        InputError: as `make_pair` does.
    """
    columns = ("ncct", "cect", "heart_mask", "chambers")
    sources = {name: hash_source(path) for name in columns if (path := getattr(case, name))}
    made_with: dict[str, Any] = {
        "register": options.register if case.ncct and case.cect else "none",
        "spacing_z": options.spacing_z,
        "first_slice": case.first_slice,
        "last_slice": case.last_slice,
        "phase": case.phase,
        "right_hu": list(case.right_hu) if case.right_hu else None,
    }
    if case.labels:
        made_with["labels"] = {name: list(labels) for name, labels in case.labels.items()}
    if case.ncct is None and case.cect is not None:
        made_with["vnc_version"] = VNC_VERSION
    folder = output / case.case_id
    if (done := finished_case(folder)) and done.sources == sources and done.options == made_with:
        return dataclasses.replace(done, split=case.split, patient=case.patient), True

    pair = make_pair(case, options, output / REVIEW / f"{case.case_id}.png")
    with atomic_folder(folder, overwrite=True) as temporary:
        volumes = {NCCT: pair.ncct, CECT: pair.cect, HEART: pair.heart_mask, CHAMBERS: pair.chambers}
        stored = {name: volume for name, volume in volumes.items() if volume is not None}
        for name, volume in stored.items():
            _save(temporary / name, np.ascontiguousarray(volume))
        z, y, x = pair.ncct.shape
        prepared = PreparedCase(
            case_id=case.case_id,
            shape_zyx=(z, y, x),
            spacing_zyx=pair.spacing_zyx,
            affine=tuple(tuple(float(value) for value in row) for row in pair.affine),
            simulated=pair.simulated,
            sources=sources,
            options=made_with,
            files={name: hash_source(temporary / name) for name in stored},
            blood_hu=pair.blood_hu,
            phase=case.phase,
            right_hu=case.right_hu,
            registration=pair.registration,
            split=case.split,
            patient=case.patient,
        )
        write_json(temporary / CASE_FILE, dataclasses.asdict(prepared))
    return prepared, False


def _save(path: Path, volume: NDArray) -> None:
    """NumPy says nothing when the disk does not take the last bytes: look whether they are there.

    Raises:
        OSError
    """
    np.save(path, volume)
    try:
        np.load(path, mmap_mode="r")
    except ValueError as error:
        raise OSError(f"cannot write {path.name}: the disk did not take it all, free some space") from error


def write_manifest(output: Path, cases: Iterable[PreparedCase]) -> None:
    fields = {"format_version": FORMAT_VERSION, "cases": [dataclasses.asdict(case) for case in cases]}
    with atomic_file(output / MANIFEST) as temporary:
        write_json(temporary, fields)


def read_manifest(folder: Path) -> list[PreparedCase]:
    """The cases of a prepared training set.

    Raises:
        InputError: if the folder holds none, or one of another version, or lacks a volume.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} is no prepared training set: it has no {MANIFEST}; make one with prepare.py")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        version = fields["format_version"]
        cases = [PreparedCase.from_json(case) for case in fields["cases"]] if version == FORMAT_VERSION else []
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): run prepare.py again") from error
    if version != FORMAT_VERSION:
        raise InputError(f"{path} has format version {version}, not {FORMAT_VERSION}: run prepare.py again")
    if not cases:
        raise InputError(f"{path} lists no case")
    for case in cases:
        for name in case.files:
            if not (folder / case.case_id / name).is_file():
                raise InputError(f"{folder / case.case_id / name} is missing: run prepare.py again")
    return cases


def open_volume(folder: Path, case: PreparedCase, name: str) -> NDArray:
    """One volume of a case, (Z, Y, X), mapped from the disk and read where it is indexed.

    Raises:
        InputError: it is cut off or damaged, or of another shape than its case.
    """
    path = folder / case.case_id / name
    try:
        volume: NDArray = np.load(path, mmap_mode="r", allow_pickle=False)
        whole = volume.shape == case.shape_zyx and volume.dtype in (np.int16, np.uint8)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, AttributeError, OverflowError):
        whole = False
    if not whole:
        raise InputError(f"{path} is cut off or damaged: run prepare.py again")
    return volume


def finished_case(folder: Path) -> PreparedCase | None:
    """What lies in a case folder, if it is whole."""
    try:
        case = PreparedCase.from_json(json.loads((folder / CASE_FILE).read_text(encoding="utf-8")))
        whole = all(hash_source(folder / name) == sha256 for name, sha256 in case.files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return case if whole else None


def write_json(path: Path, fields: Any) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

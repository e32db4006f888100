"""A prepared training set: one folder a case, with memory-mappable volumes, and a manifest that says what they are.

    DIR/manifest.json
    DIR/<case_id>/ncct.npy    int16 HU, (Z, Y, X), Z from superior to inferior: the NCCT, or the simulated VNC
    DIR/<case_id>/cect.npy    the same grid
    DIR/<case_id>/case.json   what the manifest says of the case

A case folder gets its name when it is whole, so a preparation may be interrupted and run again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SyntheticContrastLib.ct.atomic import atomic_file, atomic_folder
from SyntheticContrastLib.ct.cases import Case
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.volume import CTVolume
from SyntheticContrastTrainingLib.vnc import VNC_VERSION, simulate_vnc

FORMAT_VERSION = 1
MANIFEST, CASE_FILE = "manifest.json", "case.json"


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

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> PreparedCase:
        fields = dict(fields)
        fields["shape_zyx"] = tuple(fields["shape_zyx"])
        fields["spacing_zyx"] = tuple(fields["spacing_zyx"])
        fields["affine"] = tuple(tuple(row) for row in fields["affine"])
        return cls(**fields)


def prepare_case(case: Case, output: Path, simulate: bool) -> tuple[PreparedCase, bool]:
    """Write one case below `output`; returns it, and whether it was there already, made from the same sources.

    An NCCT that is given is used as it is; only a missing one is simulated.

    Raises:
        InputError: for a volume that is missing or cannot be read, and for a pair that is not on one grid.
    """
    if case.cect is None:
        raise InputError("no cect is given: every training case needs one")
    if case.ncct is None and not simulate:
        raise InputError("no ncct is given: give one, or have it made from the CECT with --simulate-vnc")
    sources = {name: hash_source(path) for name, path in (("ncct", case.ncct), ("cect", case.cect)) if path}
    options: dict[str, Any] = {"register": "none", "first_slice": case.first_slice, "last_slice": case.last_slice}
    if case.ncct is None:
        options["vnc_version"] = VNC_VERSION
    folder = output / case.case_id
    if (done := finished_case(folder)) and done.sources == sources and done.options == options:
        return done, True

    cect = read_ct(case.cect)
    cect_hu = to_int16(cect)
    blood_hu = None
    if case.ncct is None:
        made = simulate_vnc(cect_hu, cect.spacing_zyx)
        if np.isnan(made.blood_hu):
            raise InputError("no enhanced blood pool was found in the cect: it cannot be a training target")
        ncct_hu, blood_hu = made.vnc_hu, round(made.blood_hu, 1)
    else:
        ncct_hu = read_partner(case.ncct, cect)
    slices = slice(case.first_slice or 0, None if case.last_slice is None else case.last_slice + 1)
    first = slices.start
    cect_hu, ncct_hu = cect_hu[slices], ncct_hu[slices]
    if not len(cect_hu):
        raise InputError(f"first_slice {first} lies beyond the last slice of the volume")

    affine = cect.grid.canonical_affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    with atomic_folder(folder, overwrite=True) as temporary:
        for name, hu in (("ncct.npy", ncct_hu), ("cect.npy", cect_hu)):
            np.save(temporary / name, np.ascontiguousarray(hu))
        z, y, x = cect_hu.shape
        prepared = PreparedCase(
            case_id=case.case_id,
            shape_zyx=(z, y, x),
            spacing_zyx=cect.spacing_zyx,
            affine=tuple(tuple(float(value) for value in row) for row in affine),
            simulated=case.ncct is None,
            sources=sources,
            options=options,
            files={name: hash_source(temporary / name) for name in ("ncct.npy", "cect.npy")},
            blood_hu=blood_hu,
        )
        write_json(temporary / CASE_FILE, dataclasses.asdict(prepared))
    return prepared, False


def read_partner(path: Path, cect: CTVolume) -> NDArray[np.int16]:
    ncct = read_ct(path)
    same = ncct.hu.shape == cect.hu.shape and np.allclose(
        ncct.grid.canonical_affine, cect.grid.canonical_affine, atol=1e-2
    )
    if not same:
        raise InputError("ncct and cect are not on one grid: register and resample them first")
    return to_int16(ncct)


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
    except (ValueError, KeyError, TypeError) as error:
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


def open_volumes(folder: Path, case: PreparedCase) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """NCCT (or VNC) and CECT of a case, (Z, Y, X) int16 HU, mapped from the disk and read where they are indexed."""
    ncct, cect = (np.load(folder / case.case_id / name, mmap_mode="r") for name in ("ncct.npy", "cect.npy"))
    return ncct, cect


def finished_case(folder: Path) -> PreparedCase | None:
    """What lies in a case folder, if it is whole."""
    try:
        case = PreparedCase.from_json(json.loads((folder / CASE_FILE).read_text(encoding="utf-8")))
        whole = all(hash_source(folder / name) == sha256 for name, sha256 in case.files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return case if whole else None


def hash_source(path: Path) -> str:
    """sha256 of a file, or of the files of a folder in the order of their names.

    Raises:
        InputError: if there is no such file or folder.
    """
    if not path.exists():
        raise InputError(f"{path.name} does not exist: check the paths in cases.csv")
    digest = hashlib.sha256()
    files = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def to_int16(volume: CTVolume) -> NDArray[np.int16]:
    if volume.hu.dtype == np.int16:
        return volume.hu
    return np.rint(np.clip(volume.hu, -32768, 32767)).astype(np.int16)


def write_json(path: Path, fields: Any) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

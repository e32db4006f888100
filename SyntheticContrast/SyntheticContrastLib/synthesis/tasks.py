"""Which inputs become which files: paths are settled, and refused, before any work begins."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.names import check_name, check_place

SUFFIXES = {"nrrd": ".nrrd", "nifti": ".nii.gz", "dicom": ""}
_FORMAT_OF_SUFFIX = {".nrrd": "nrrd", ".nii": "nifti", ".nii.gz": "nifti"}
_OTHER_IMAGE_SUFFIXES = (".nhdr", ".mha", ".mhd", ".hdr", ".img", ".dcm", ".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Task:
    """One CT to convert. `record`, kept for cohorts, says what was made of what: a rerun knows what is finished.

    `heart_mask` is for a model of the heart, which finds the heart itself where none is given; `heart_labels` are those
    to take of a mask that has several.
    """

    case: str
    ncct: Path
    output: Path
    format: str
    uncertainty: Path | None = None
    preview: Path | None = None
    record: Path | None = None
    heart_mask: Path | None = None
    first_look: Path | None = None
    heart_labels: tuple[int, ...] = ()

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.output, self.uncertainty, self.preview, self.first_look) if path]


def single_task(
    ncct: Path,
    output: Path,
    format_: str | None,
    uncertainty: Path | None,
    preview: Path | None,
    first_look: Path | None = None,
) -> Task:
    """`output` names the file by its suffix, the folder of the DICOM series, or a folder to put the file into.

    Raises:
        InputError: when the suffixes of the paths do not fit.
    """
    case = case_name(ncct)
    named = _format_by_suffix(output)
    if named and format_ and named != format_:
        raise InputError(f"output {output.name} is {named}, not {format_}: change its suffix or --format")
    format_ = named or format_ or "nrrd"
    if not named and format_ != "dicom":
        output = output / f"{case}_sCECT{SUFFIXES[format_]}"
    if uncertainty and _format_by_suffix(uncertainty) is None:
        raise InputError(f"uncertainty {uncertainty.name}: give a file that ends in .nrrd, .nii or .nii.gz")
    for name, picture in (("preview", preview), ("first look", first_look)):
        if picture and picture.suffix.lower() != ".png":
            raise InputError(f"{name} {picture.name}: give a file that ends in .png")
    return Task(case, ncct, output, format_, uncertainty, preview, first_look=first_look)


def cohort_tasks(
    cases: Sequence[tuple[str, Path]],
    output: Path,
    format_: str | None,
    uncertainty: Path | None,
    preview: Path | None,
    keep_record: bool,
) -> list[Task]:
    """(case, NCCT) pairs to tasks; `output`, `uncertainty` and `preview` are folders.

    Raises:
        InputError: when a case's name is no file name or stands twice, or a path is a file.
    """
    for path in (output, uncertainty, preview):
        if path and (path.is_file() or _format_by_suffix(path) or path.suffix.lower() == ".png"):
            raise InputError(f"{path.name} names a file: with several inputs give a folder")
    names = [case for case, _ in cases]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two inputs are both named {name}: list them in a cases.csv with a case_id of their own")
        if not re.fullmatch(r"[^/\\:*?\"<>|\x00-\x1f]+", name) or name.startswith("."):
            raise InputError(f"case_id {name!r} cannot be part of a file name: use letters, digits, - and _")
    format_ = format_ or "nrrd"
    file_suffix = SUFFIXES[format_] or ".nrrd"
    return [
        Task(
            case,
            ncct,
            output / f"{case}_sCECT{SUFFIXES[format_]}",
            format_,
            uncertainty / f"{case}_uncertainty{file_suffix}" if uncertainty else None,
            preview / f"{case}_preview.png" if preview else None,
            output / f"{case}_sCECT.json" if keep_record else None,
        )
        for case, ncct in cases
    ]


def refuse_existing(task: Task) -> None:
    """Raise InputError when a file of the task is there already."""
    for path in task.outputs:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise InputError(f"{path} exists already: choose another name, or add --overwrite")


def refuse_unnameable(task: Task) -> None:
    """Raise InputError when an output has a name that is not UTF-8, as one made of the input's may have."""
    for path in task.outputs:
        check_name(path)


def refuse_unusable(task: Task) -> None:
    """Raise InputError when the input is missing, would be overwritten, or an output cannot be written."""
    if not task.ncct.exists():
        raise InputError(f"input {task.ncct} does not exist: check the path")
    for path in task.outputs:
        for source, name in ((task.ncct, "input"), (task.heart_mask, "heart mask")):
            if source and path.resolve() == source.resolve():
                raise InputError(f"the output {path} is the {name}: choose another name")
        if path.is_dir() != (path == task.output and task.format == "dicom") and path.exists():
            raise InputError(f"{path} is a {'folder' if path.is_dir() else 'file'}: choose another name")
        check_place(path)
    settled = [path.resolve() for path in task.outputs]
    for number, path in enumerate(settled):
        if path in settled[:number]:
            raise InputError(f"{path} is named for two outputs: choose another name for one")
        if task.format == "dicom" and settled[0] in path.parents:
            raise InputError(f"{path.name} would lie within the DICOM series: choose another folder for it")


T = TypeVar("T")


def own_share(tasks: Sequence[T]) -> list[T]:
    """The tasks of this process, when torchrun (RANK, WORLD_SIZE) started several: each task is in one share only.

    Raises:
        InputError: the two are no rank and number of processes.
    """
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise InputError(f"RANK={rank} and WORLD_SIZE={size} do not fit: ranks count from 0 to WORLD_SIZE - 1")
    return list(tasks)[int(rank) :: int(size)]


def case_name(path: Path) -> str:
    """Name of a file without its image suffix, or of a folder."""
    name = path.resolve().name
    lower = name.lower()
    for suffix in (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"):
        if lower.endswith(suffix) and not path.is_dir():
            return name[: -len(suffix)]
    return name


def _format_by_suffix(path: Path) -> str | None:
    """The format that a file's suffix names; None for what looks like a folder."""
    name = path.name.lower()
    for suffix, format_ in _FORMAT_OF_SUFFIX.items():
        if name.endswith(suffix):
            return format_
    if name.endswith(_OTHER_IMAGE_SUFFIXES):
        raise InputError(
            f"cannot write {path.name}: the output is .nrrd, .nii, .nii.gz or the folder of a DICOM series"
        )
    return None

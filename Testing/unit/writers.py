"""Every writer of the project, and a trial of all of them: `python writers.py kill|limit|full|read-only FOLDER`.

A writer is tried over what it wrote before. In a child process it is killed at a random moment, meets the end of the
disk (a limit on the size of files, or a tmpfs at FOLDER that is filled up), or a folder that it may not change. Then
the old files or the whole new ones have the name, and nothing else is there but, after a kill, temporary files.

Prints a JSON object: what went wrong, by writer.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

KILLS, LONGEST = 4, 0.15  # of each writer; seconds until one
SEED = 15
NOBODY = 65534
HU = {version: np.random.default_rng(version).integers(-900, 900, (6, 48, 48)).astype(np.int16) for version in (0, 1)}
SPACING = (3.0, 1.0, 1.0)


@dataclass(frozen=True)
class Writer:
    """`write(path, version)` writes version 0 or 1; `read(path)` gives what can be told apart of a whole result."""

    name: str  # of the file or folder
    write: Callable[[Path, int], None]
    read: Callable[[Path], Any] = Path.read_bytes


def volume(version: int) -> Any:
    from SyntheticContrastLib.ct.volume import CTVolume, Grid

    return CTVolume(HU[version], Grid.axial(HU[version].shape, SPACING))


def image(path: Path, version: int) -> None:
    from SyntheticContrastLib.ct.write import write_image

    write_image(path, HU[version], volume(version))


def voxels(path: Path) -> bytes:
    from SyntheticContrastLib.ct.read import read_ct

    return bytes(read_ct(path, allow_synthetic=True).hu.tobytes())


def series(path: Path, version: int) -> None:
    from SyntheticContrastLib.ct.dicom_write import write_dicom_series

    write_dicom_series(path, HU[version], volume(version), description="synthetic", overwrite=True)


def record(path: Path, version: int) -> None:
    from SyntheticContrastLib.ct.record import write_record

    write_record(path, {"state": "done", "numbers": HU[version][0].tolist()})


def table(path: Path, version: int) -> None:
    from SyntheticContrastLib.analysis.csv_table import write_table

    write_table(path, ["slice", "hu"], [{"slice": z, "hu": int(z * (version + 1))} for z in range(900)])


def report(path: Path, version: int) -> None:
    from SyntheticContrastLib.analysis.evaluation import Options
    from SyntheticContrastLib.analysis.report_parts import Report

    one = Report(path, Options(), [])
    one.csv("numbers", [{"slice": z, "hu": z * (version + 1)} for z in range(900)])
    one.page.paragraph(f"{version} " * 5000)
    one.statistics["numbers"] = HU[version][0].tolist()
    one.finish()


def whole_files(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and is_result(file)
    }


def preview(path: Path, version: int) -> None:
    from SyntheticContrastLib.analysis.preview import write_preview

    write_preview(path, HU[version], HU[version] + 50, SPACING, f"model {version}")


def first_look(path: Path, version: int) -> None:
    from SyntheticContrastLib.analysis.first_look import write_first_look

    write_first_look(path, HU[version][2], HU[version][2] + 50, (1.0, 1.0), 2, 6)


def figure(path: Path, version: int) -> None:
    from SyntheticContrastLib.analysis.figures import new_figure, save_figure

    drawn = new_figure(3, 2)
    drawn.subplots().imshow(HU[version][0])
    save_figure(drawn, path.with_suffix(""))


def bland_altman(path: Path, version: int) -> None:
    from SyntheticContrastLib.analysis.bland_altman_plot import write_bland_altman

    write_bland_altman(path, [1.0, 2.0, 4.0 + version], [1.0, 3.0, 3.0])


def drawing(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    assert text.rstrip().endswith("</svg>")
    return "svg"


def markups(path: Path, version: int) -> None:
    from SyntheticContrastLib.analysis.circles import Circle
    from SyntheticContrastLib.analysis.markups import write_lesions

    circle = Circle((0.0, 0.0, float(version)), diameter=10.0, normal=(0.0, 0.0, 1.0))
    write_lesions(path, {f"lesion {number}": {"lesion": circle} for number in range(20)})


def bundle(path: Path, version: int) -> None:
    """A bundle is never replaced: it is made anew."""
    import torch

    from SyntheticContrastLib.models.bundle import write_bundle
    from SyntheticContrastLib.models.choi2021 import Generator
    from unit.tiny import tiny_card

    torch.manual_seed(version)
    target, aside = path / str(version), path / f".replaced-{version}"
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():  # by its name at once: the trial may be killed here, too
        target.rename(aside)
    write_bundle(target, Generator(gf=1), replace(tiny_card(), architecture_arguments={"gf": 1}))


def bundles(path: Path) -> str:
    from SyntheticContrastLib.models.bundle import load_bundle

    for folder in path.iterdir():
        if is_result(folder):
            load_bundle(folder)
    return "whole"


def checkpoint(version: int) -> Any:
    import torch

    from SyntheticContrastTrainingLib.checkpoint import Checkpoint
    from SyntheticContrastTrainingLib.recipes import find_recipe

    weights = {"w": torch.full((20_000,), float(version))}
    rng = torch.get_rng_state()
    return Checkpoint(version, find_recipe("l1"), weights, None, weights, rng, None, {}, None, None, 0.0)


def save(path: Path, version: int) -> None:
    checkpoint(version).save(path)


def saved(path: Path) -> tuple[int, float]:
    from SyntheticContrastTrainingLib.checkpoint import load_checkpoint

    found = load_checkpoint(path)
    return found.step, float(found.ema["w"].sum())


def save_last(path: Path, version: int) -> None:
    path.mkdir(exist_ok=True)
    checkpoint(version).save_last(path)


def last(path: Path) -> tuple[int, float]:
    from SyntheticContrastTrainingLib.checkpoint import load_latest

    found = load_latest(path, lambda line: None)
    return found.step, float(found.ema["w"].sum())


def prepared(path: Path, version: int) -> None:
    from SyntheticContrastLib.ct.cases import Case
    from SyntheticContrastTrainingLib.pairing import PairingOptions
    from SyntheticContrastTrainingLib.prepared import prepare_case

    source = SOURCES / f"{version}.nrrd"
    prepare_case(Case(path.name, ncct=source, cect=source), path.parent, PairingOptions())


def prepared_case(path: Path) -> bytes:
    from SyntheticContrastTrainingLib.prepared import finished_case

    assert finished_case(path)
    return bytes(np.load(path / "ncct.npy").tobytes())


def manifest(path: Path, version: int) -> None:
    from SyntheticContrastTrainingLib.prepared import PreparedCase, write_manifest

    affine = tuple(tuple(float(version) for _ in range(4)) for _ in range(4))
    case = PreparedCase("a", (6, 48, 48), SPACING, affine, False, {}, {}, {})
    write_manifest(path.parent, [case] * 20)


def review(path: Path, version: int) -> None:
    from SyntheticContrastTrainingLib.registration_picture import write_picture

    body = np.full((12, 48, 48), -1000, np.int16)
    body[:, 6:42, 4:44] = 40 + 10 * version
    write_picture(path, body, body, body, (4.0, 4.0, 4.0))


def montage(path: Path, version: int) -> None:
    from SyntheticContrastTrainingLib.montage import save_montage

    save_montage(path, [tuple(HU[version][:3])], "synthetic")


def curves(path: Path, version: int) -> None:
    from SyntheticContrastTrainingLib.curves import draw_curves

    draw_curves(SOURCES / f"{version}.jsonl", path)


def public_cases(path: Path, version: int) -> None:
    from SyntheticContrastTrainingLib.public_pairs import read_pairs, write_cases

    write_cases(path.parent, read_pairs()[: 30 + version], {})


def attribution(path: Path, version: int) -> None:
    from SyntheticContrastTrainingLib.public_pairs import read_pairs, write_attribution

    write_attribution(path.parent, read_pairs()[: 30 + version])


WRITERS = {
    "NRRD": Writer("a.nrrd", image, voxels),
    "NIfTI": Writer("a.nii", image, voxels),
    "packed NIfTI": Writer("a.nii.gz", image, voxels),
    "DICOM": Writer("series", series, voxels),
    "record": Writer("a.json", record),
    "table": Writer("a.csv", table),
    "report": Writer("report", report, whole_files),
    "preview": Writer("a.png", preview),
    "first look": Writer("a.png", first_look),
    "figure": Writer("a.pdf", figure),
    "Bland-Altman plot": Writer("a.svg", bland_altman, drawing),
    "markups": Writer("a.mrk.json", markups),
    "bundle": Writer("bundles", bundle, bundles),
    "checkpoint": Writer("epoch_0001.pt", save, saved),
    "last checkpoint": Writer("run", save_last, last),
    "prepared case": Writer("a", prepared, prepared_case),
    "manifest": Writer("manifest.json", manifest),
    "review picture": Writer("a.png", review),
    "montage": Writer("a.png", montage),
    "curves": Writer("curves.png", curves),
    "cases of a download": Writer("cases.csv", public_cases),
    "attribution": Writer("ATTRIBUTION.md", attribution),
}
SEVERAL = {"report"}  # files that are whole each, but not all of one version
SOURCES: Path


def is_result(path: Path) -> bool:
    return not any(part.startswith((".partial-", ".replaced-")) for part in path.parts)


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def size_of(folder: Path) -> int:
    """Bytes of the largest file."""
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def in_child(work: Callable[[], None]) -> str:
    """What the work said when it failed, as the entries tell it; "done" if it did not."""
    from SyntheticContrastLib.synthesis.process import BAD_INPUT, explain

    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            try:
                work()
                said = "done"
            except BaseException as error:
                status, said = explain(error)
                if status != BAD_INPUT or "\n" in said:
                    said = f"NO PLAIN LINE: {type(error).__name__} {said}"
            os.write(writer, said.encode()[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        said = told.read()
    os.waitpid(child, 0)
    return said


def killed(writer: Writer, path: Path, seconds: float) -> None:
    if (child := os.fork()) == 0:
        try:
            for number in range(1, 1_000_000):
                writer.write(path, number % 2)
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def either(found: Any, versions: list[Any]) -> bool:
    if isinstance(found, dict):
        return all(content in [version.get(name) for version in versions] for name, content in found.items())
    return found in versions


def try_writer(name: str, mode: str, folder: Path) -> list[str]:
    """What went wrong."""
    writer = WRITERS[name]
    versions, size = [], 0
    for version in (1, 0):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = folder / writer.name
        writer.write(path, version)
        versions.append(writer.read(path))
        size = size or size_of(folder)
    before, old = listing(folder), versions[1]
    wrong = []
    if mode == "kill":
        moments = random.Random(SEED)
        for _ in range(KILLS):
            killed(writer, path, moments.uniform(0, LONGEST))
            try:
                if not either(writer.read(path), versions):
                    wrong.append("neither the old file nor the new one")
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")
        return wrong
    for hinder, hindered in {
        "limit": [(nullcontext, limit_files(bytes_)) for bytes_ in (size - 1, size // 2)],
        "full": [(partial(filled, folder.parent, bytes_), lambda: None) for bytes_ in (size // 2, 0)],
        "read-only": [(partial(unchangeable, folder), become_nobody)],
    }[mode]:
        with hinder():
            said = in_child(lambda first=hindered: [first(), writer.write(path, 1)])
        if not said or said == "done" or said.startswith("NO PLAIN LINE"):
            wrong.append(said or "died")
        elif (found := writer.read(path)) != old and not (name in SEVERAL and either(found, versions)):
            wrong.append("the old file is changed")
        elif listing(folder) != before:
            wrong.append(f"left over: {sorted(set(listing(folder)) - set(before))}")
    return wrong


def limit_files(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextmanager
def filled(disk: Path, size: int) -> Iterator[None]:
    """With about so many bytes left on the disk."""
    state = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - size)))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def unchangeable(folder: Path) -> Iterator[None]:
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for each in folders:
        each.chmod(0o555)
    try:
        yield
    finally:
        for each in folders:
            each.chmod(0o755)


def become_nobody() -> None:
    """The permissions of a folder mean nothing to root."""
    if os.getuid() == 0:
        os.setuid(NOBODY)


def main() -> None:
    global SOURCES
    mode, place = sys.argv[1], Path(sys.argv[2])
    SOURCES = place / "sources"
    SOURCES.mkdir()
    for version in (0, 1):
        image(SOURCES / f"{version}.nrrd", version)
        lines = [json.dumps({"step": step, "l1": 1.0 + version + step}) for step in range(20)]
        (SOURCES / f"{version}.jsonl").write_text("\n".join(lines))
    print(json.dumps({name: wrong for name in WRITERS if (wrong := try_writer(name, mode, place / "tried"))}))


if __name__ == "__main__":
    main()

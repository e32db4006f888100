"""Damaged files of every kind through the readers: each gives right values, or one line of InputError, and no more.

Bytes and words are changed at random, with a fixed seed. Where a file carries a checksum, or was only cut off, what is
read is exactly what was written. Elsewhere another byte may be another voxel: then the volume must still be sound.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from SyntheticContrastLib.analysis.circles import Circle
from SyntheticContrastLib.analysis.markups import read_lesions, write_lesions
from SyntheticContrastLib.analysis.readings import read_readings
from SyntheticContrastLib.ct.cases import read_cases
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.mask import read_mask
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.ct.volume import CTVolume, Grid
from unit.ct_factory import chest_values, compressed, ct_slices, save, save_all, save_image

Rng = np.random.Generator
HU = chest_values((5, 12, 14))
GRID = Grid.from_parts((14, 12, 5), (0.5, 0.75, 5.0), (-20.5, -31.25, 100.0), np.eye(3))  # of `save_image`
TRIALS = 100  # of each kind
WORDS = [
    *"-0:;,%[]{}()\"'\0\n",
    "nan",
    "-1",
    "1e999",
    "99999999999999999999",
    "null",
    "LIST",
    "\xff",
    "\ud83d",
    "x" * 5000,
]


@dataclass(frozen=True)
class Kind:
    """make: writes an input. target: the file that is damaged. read: what comes of it, to be compared."""

    make: Callable[[Path], Path]
    target: str
    read: Callable[[Path], Any]
    exact: bool = False  # a checksum covers all that is read
    text: bool = False


def ct_of(path: Path) -> CTVolume:
    return read_ct(path)


def series(folder: Path) -> Path:
    return save_all(folder / "series", ct_slices(HU))


def compressed_series(folder: Path) -> Path:
    (folder / "series").mkdir()
    for k, ds in enumerate(ct_slices(HU)):
        save(folder / "series" / f"IM{k:04d}.dcm", *compressed(ds, "JPEG", folder))
    return folder / "series"


def image(name: str, kind: type = np.int16) -> Callable[[Path], Path]:
    return lambda folder: save_image(folder / name, HU.astype(kind))


def packed(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(HU), str(folder / name), useCompression=True)
        return folder / name

    return make


def mask_file(folder: Path) -> Path:
    return save_image(folder / "mask.nii.gz", (HU > 200).astype(np.uint8))


def text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return make


def lesions(folder: Path) -> Path:
    circle = Circle((10.5, 20.25, -30.0), 12.5, (0.0, 0.6, 0.8))
    write_lesions(folder / "l.mrk.json", {"4R": {"lesion": circle, "aorta": circle}, "7": {"fat left": circle}})
    return folder / "l.mrk.json"


def bundle(folder: Path) -> Path:
    from SyntheticContrastLib.models.bundle import write_bundle
    from SyntheticContrastLib.models.choi2021 import Generator
    from unit.tiny import tiny_card

    return write_bundle(folder / "bundle", Generator(gf=1), tiny_card(architecture_arguments={"gf": 1})).folder


def weights_of(folder: Path) -> dict[str, Any]:
    from SyntheticContrastLib.models.bundle import load_bundle

    loaded = load_bundle(folder)
    return {name: tensor.numpy() for name, tensor in loaded.load_network().state_dict().items()}


def checkpoint(folder: Path) -> Path:
    import torch

    from SyntheticContrastTrainingLib.checkpoint import Checkpoint
    from unit.training_set import DATA, SMALL

    numbers = torch.arange(50.0)
    state = {"network": {"a.weight": numbers}, "optimiser": {"state": {}, "param_groups": []}}
    made = Checkpoint(3, SMALL, state, None, {"a.weight": numbers}, torch.get_rng_state(), None, DATA, 20.5, None, 1.5)
    made.save(folder / "last.pt")
    return folder / "last.pt"


def checkpoint_of(path: Path) -> dict[str, Any]:
    from SyntheticContrastTrainingLib.checkpoint import load_checkpoint

    loaded = load_checkpoint(path)
    return {"step": loaded.step, "ema": loaded.ema["a.weight"].numpy(), "recipe": loaded.recipe, "data": loaded.data}


def training_set(folder: Path) -> Path:
    from SyntheticContrastLib.ct.content import hash_source
    from SyntheticContrastTrainingLib.prepared import PreparedCase, write_manifest

    (folder / "a").mkdir()
    np.save(folder / "a" / "ncct.npy", HU)
    files = {"ncct.npy": hash_source(folder / "a" / "ncct.npy")}
    identity = tuple(tuple(float(value) for value in row) for row in np.eye(4))
    write_manifest(folder, [PreparedCase("a", HU.shape, (5.0, 1.0, 1.0), identity, False, {}, {}, files)])
    return folder


def volumes_of(folder: Path) -> dict[str, Any]:
    from SyntheticContrastTrainingLib.prepared import open_volume, read_manifest

    cases = read_manifest(folder)
    return {case.case_id: np.array(open_volume(folder, case, name)) for case in cases for name in case.files}


def recipe_of(path: Path) -> Any:
    from SyntheticContrastTrainingLib.recipes import Recipe

    return Recipe.from_json(path.read_text(encoding="utf-8", errors="replace"))


def recipe_file(folder: Path) -> Path:
    from SyntheticContrastTrainingLib.recipes import RECIPES

    return text("recipe.json", RECIPES["choi2021"].to_json())(folder)


def about_of(path: Path) -> Any:
    from SyntheticContrastTrainingLib.export import read_about

    return read_about(path)


CASES = "case_id,ncct,cect,first_slice,last_slice\na-1,a/ncct,a/cect.nrrd,3,40\nb_2,,b.nii.gz,,\n"
READINGS = 'reader,modality,case_id,position,conspicuity,lesion\nA,sCECT,a-1,"1 2 3",4,n1\nA,NCCT,a-1,,0,n1\n'
ABOUT = json.dumps({"name": "m", "training_data": [{"name": "x", "cases": 3}], "figures": {"psnr": 25.5}}, indent=1)

KINDS = {
    "DICOM header": Kind(series, "series/IM0002.dcm", ct_of),
    "DICOM, the last slice": Kind(series, "series/IM0004.dcm", ct_of),
    "DICOM, compressed": Kind(compressed_series, "series/IM0002.dcm", ct_of),
    "nii": Kind(image("v.nii"), "v.nii", ct_of),
    "nii of floats": Kind(image("v.nii", np.float32), "v.nii", ct_of),
    "nii.gz": Kind(image("v.nii.gz"), "v.nii.gz", ct_of, exact=True),
    "nrrd": Kind(image("v.nrrd"), "v.nrrd", ct_of),
    "nrrd, compressed": Kind(packed("v.nrrd"), "v.nrrd", ct_of),
    "nhdr": Kind(image("v.nhdr"), "v.nhdr", ct_of, text=True),
    "mha": Kind(image("v.mha"), "v.mha", ct_of),
    "mha, compressed": Kind(packed("v.mha"), "v.mha", ct_of),
    "mhd": Kind(image("v.mhd"), "v.mhd", ct_of, text=True),
    "mask": Kind(mask_file, "mask.nii.gz", lambda path: read_mask(path, GRID)),
    "cases.csv": Kind(text("cases.csv", CASES), "cases.csv", read_cases, text=True),
    "readings.csv": Kind(
        text("readings.csv", READINGS), "readings.csv", lambda path: read_readings(path, ["a-1"]), text=True
    ),
    "mrk.json": Kind(lesions, "l.mrk.json", read_lesions, text=True),
    "card.json": Kind(bundle, "bundle/card.json", weights_of, text=True),
    "safetensors": Kind(bundle, "bundle/weights.safetensors", weights_of, exact=True),
    "checkpoint": Kind(checkpoint, "last.pt", checkpoint_of, exact=True),
    "manifest.json": Kind(training_set, "manifest.json", volumes_of, text=True),
    "npy": Kind(training_set, "a/ncct.npy", volumes_of),
    "recipe.json": Kind(recipe_file, "recipe.json", recipe_of, text=True),
    "about.json": Kind(text("about.json", ABOUT), "about.json", about_of, text=True),
}


def damaged(whole: bytes, rng: Rng, is_text: bool) -> tuple[bytes, bool]:
    """Another file, and whether it was only cut off. Most damage is done near the beginning, where headers are."""
    near = min(len(whole), 700) if rng.random() < 0.7 else len(whole)
    place = int(rng.integers(near))
    length = int(rng.choice([1, 1, 2, 4, 30]))
    if is_text and rng.random() < 0.6:
        word = str(rng.choice(WORDS)).encode("utf-8", "surrogatepass")
        return whole[:place] + word + whole[place + int(rng.integers(12)) :], False
    match int(rng.integers(6)):
        case 0:
            return whole[:place], True
        case 1:
            return whole[:place] + whole[place + length :], False
        case 2:
            return whole[:place] + rng.bytes(length) + whole[place:], False
        case 3:
            return whole[:place] + whole[place:][::-1], False
        case 4:
            return whole[:place] + bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))] * length) + whole[
                place + length :
            ], False
        case _:
            return whole[:place] + rng.bytes(length) + whole[place + length :], False


def same(a: Any, b: Any) -> bool:
    if isinstance(a, CTVolume):
        return same(a.hu, b.hu) and np.array_equal(a.grid.affine, b.grid.affine)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)


def assert_sound(found: Any) -> None:
    if isinstance(found, CTVolume):
        assert found.hu.dtype in (np.int16, np.float32) and np.isfinite(found.hu).all()
        assert found.hu.shape == found.grid.shape_zyx and np.isfinite(found.grid.affine).all()
        assert found.hu.min() < 0 < float(found.hu.max())


def check_one(kind: Kind, path: Path, whole: bytes, written: Any, rng: Rng) -> None:
    target = path if path.is_file() else next(path.parent.rglob(Path(kind.target).name))
    content, only_cut = damaged(whole, rng, kind.text)
    target.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = kind.read(path)
    except InputError as error:
        assert str(error).strip() and "\n" not in str(error)
        return
    if kind.exact or (only_cut and not kind.text):
        assert same(found, written), "another value was read"
    assert_sound(found)


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_right_or_refused_in_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS[name]
    path = kind.make(tmp_path)
    whole = (tmp_path / kind.target).read_bytes()
    written = kind.read(path)
    for trial in range(TRIALS):
        check_one(kind, path, whole, written, np.random.default_rng([trial, len(name)]))
    out, err = capfd.readouterr()
    assert out == "" and "Traceback" not in err  # the codecs of compressed slices have their say


def test_the_check_itself_sees_another_exception_and_another_value(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(b"v" * 50)
    whole = b"v" * 50
    with pytest.raises(ZeroDivisionError):
        check_one(Kind(Path, "v", lambda path: 1 / 0), tmp_path / "v", whole, 1, np.random.default_rng(0))
    with pytest.raises(AssertionError, match="another value"):
        check_one(Kind(Path, "v", lambda path: 2, exact=True), tmp_path / "v", whole, 1, np.random.default_rng(0))

"""generate.py with a model of the heart: only the heart changes, wherever the mask comes from."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from SyntheticContrastLib.ct.phantom import thorax_phantom, write_phantom_series
from SyntheticContrastLib.ct.read import read_ct
from SyntheticContrastLib.models.bundle import write_bundle
from unit import entry
from unit.entry import GENERATE
from unit.tiny import tiny_heart_card, tiny_heart_network

SHAPE, SPACING = (18, 100, 120), (5.0, 2.0, 1.5)
HEART = ("myocardium", "left_ventricle", "right_ventricle", "left_atrium", "right_atrium")
DIRECTION = (0.9992009587217894, -0.03996803834887158, 0, 0.03996803834887158, 0.9992009587217894, 0, 0, 0, 1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("models") / "heart", tiny_heart_network(), tiny_heart_card())


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom(SHAPE, SPACING)


@pytest.fixture(scope="module")
def heart(phantom):
    return np.any([phantom.mask(name) for name in HEART], axis=0)


def oblique_image(values):
    """A (Z, Y, X) array as an image whose slices run from the feet to the head, turned a little."""
    image = sitk.GetImageFromArray(values[::-1])
    image.SetSpacing((1.5, 2.0, 5.0))
    image.SetOrigin((-90.0, -100.0, 7.5))
    image.SetDirection(DIRECTION)
    return image


@pytest.fixture(scope="module")
def inputs(phantom, heart, tmp_path_factory):
    """An NRRD file, the same chest as DICOM, and masks of the heart: on their grids, and on a finer, straight one."""
    folder = tmp_path_factory.mktemp("input")
    ncct = oblique_image(phantom.ncct)
    sitk.WriteImage(ncct, str(folder / "chest.nrrd"), True)
    write_phantom_series(folder / "dicom", phantom.ncct, SPACING)
    mask = oblique_image(heart.astype(np.uint8) * 3)
    sitk.WriteImage(mask, str(folder / "heart.nii.gz"))
    finer = sitk.Image([320, 330, 130], sitk.sitkUInt8)
    finer.SetSpacing((0.75, 0.8, 0.9))
    finer.SetOrigin((-110.0, -110.0, 0.0))
    sitk.WriteImage(sitk.Resample(mask, finer, sitk.Transform(), sitk.sitkNearestNeighbor), str(folder / "finer.nrrd"))
    grid = read_ct(folder / "dicom").grid
    plain = sitk.GetImageFromArray(np.ascontiguousarray(grid.to_stored(heart.astype(np.uint8))))
    plain.SetSpacing(grid.spacing)
    plain.SetOrigin(grid.origin)
    plain.SetDirection(grid.direction.ravel().tolist())
    sitk.WriteImage(plain, str(folder / "dicom_heart.mha"))
    return folder


@pytest.fixture
def generate(capsys, bundle):
    def call(*arguments, model=bundle):
        return entry.call(GENERATE, ["--model", model.folder, "--device", "cpu", *arguments], capsys)

    return call


def changed(folder, name, output):
    before, after = read_ct(folder / name), read_ct(output, allow_synthetic=True)
    assert after.grid.matches(before.grid) and after.hu.dtype == np.int16
    return after.hu.astype(int) - np.where(before.hu <= -1024, -1000, before.hu)


def assert_only_the_heart_changed(change, heart):
    assert np.all(change[~heart] == 0)
    assert (np.abs(change[heart]) > 20).mean() > 0.5


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_only_the_heart_changes(generate, inputs, heart, tmp_path, suffix):
    output = tmp_path / f"o{suffix}"
    done = generate("--input", inputs / "chest.nrrd", "--output", output, "--heart-mask", inputs / "heart.nii.gz")
    assert done.status == 0, done.err
    assert_only_the_heart_changed(changed(inputs, "chest.nrrd", output), heart)
    assert "heart.nii.gz" in done.out and "mL in slices" in done.out
    assert list(tmp_path.iterdir()) == [output]


def test_dicom_series(generate, inputs, heart, tmp_path):
    import pydicom

    arguments = (
        "--input",
        inputs / "dicom",
        "--heart-mask",
        inputs / "dicom_heart.mha",
        "--preview",
        tmp_path / "p.png",
    )
    done = generate(*arguments, "--output", tmp_path / "series", "--format", "dicom")
    assert done.status == 0, done.err
    assert_only_the_heart_changed(changed(inputs, "dicom", tmp_path / "series"), heart)
    header = pydicom.dcmread(next((tmp_path / "series").iterdir()))
    assert "Only the heart region is synthetic" in header.DerivationDescription
    assert "sliding window" not in header.DerivationDescription
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_of_a_label_map_the_named_label_is_the_heart(generate, inputs, phantom, heart, tmp_path):
    labels = np.where(heart, 3, phantom.mask("bone")).astype(np.uint8)
    sitk.WriteImage(oblique_image(labels), str(tmp_path / "labels.nrrd"))
    arguments = ("--input", inputs / "chest.nrrd", "--progress", "json", "--heart-mask")
    done = generate(*arguments, tmp_path / "labels.nrrd", "--output", tmp_path / "o.nrrd")
    assert done.status == 2 and "has 2 labels, 1, 3: name the one to take" in done.err
    volumes = []
    for mask in ((inputs / "heart.nii.gz",), (tmp_path / "labels.nrrd", "--heart-label", 3)):
        done = generate(*arguments, *mask, "--output", tmp_path / "o.nrrd", "--overwrite")
        assert done.status == 0, done.err
        volumes += [event["volume_ml"] for event in map(json.loads, done.out.splitlines()) if event["event"] == "heart"]
    assert volumes[0] == volumes[1] > 0


def test_a_mask_on_another_grid_is_brought_to_the_inputs(generate, inputs, heart, tmp_path):
    results = {}
    for name in ("heart.nii.gz", "finer.nrrd"):
        output = tmp_path / f"{name}.nrrd"
        done = generate("--input", inputs / "chest.nrrd", "--output", output, "--heart-mask", inputs / name)
        assert done.status == 0, done.err
        results[name] = changed(inputs, "chest.nrrd", output)
    same, finer = (np.abs(change) > 0 for change in results.values())
    assert 2 * (same & finer).sum() / (same.sum() + finer.sum()) > 0.95


def test_without_a_mask_the_heart_is_found(generate, inputs, heart, tmp_path, monkeypatch):
    from SyntheticContrastLib.ct import heart_region

    seen = []
    monkeypatch.setattr(heart_region, "heart_region", lambda hu, spacing: seen.append((hu.shape, spacing)) or heart)
    done = generate("--input", inputs / "chest.nrrd", "--output", tmp_path / "o.nrrd", "--progress", "json")
    assert done.status == 0, done.err
    ((shape, spacing),) = seen
    assert shape == SHAPE and spacing == pytest.approx(SPACING)
    assert_only_the_heart_changed(changed(inputs, "chest.nrrd", tmp_path / "o.nrrd"), heart)
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [e["event"] for e in told if e["event"] != "progress"] == [
        "start",
        "case",
        "read",
        "heart",
        "written",
        "end",
    ]
    about = next(event for event in told if event["event"] == "heart")
    first, last = np.flatnonzero(heart.any(axis=(1, 2)))[[0, -1]]
    assert (about["mask"], about["first_slice"], about["last_slice"]) == (None, first, last)
    assert about["volume_ml"] == pytest.approx(heart.sum() * 0.015, abs=0.1)
    progress = [event for event in told if event["event"] == "progress"]
    assert progress[-1]["slices_done"] == progress[-1]["slices_total"] == heart.any(axis=(1, 2)).sum()


def test_the_heart_of_a_chest_is_found_and_a_block_of_water_has_none(generate, tmp_path):
    phantom = thorax_phantom((48, 128, 128), (5.0, 2.8, 2.8))
    write_phantom_series(tmp_path / "in", phantom.ncct, phantom.spacing_zyx)
    done = generate("--input", tmp_path / "in", "--output", tmp_path / "o.nrrd")
    assert done.status == 0, done.err
    change = np.abs(changed(tmp_path, "in", tmp_path / "o.nrrd")) > 0
    heart = np.any([phantom.mask(name) for name in HEART], axis=0)
    assert 2 * (change & heart).sum() / (change.sum() + heart.sum()) > 0.7

    water = np.full((20, 64, 64), -1000, np.int16)
    water[:, 10:50, 10:50] = np.random.default_rng(0).normal(0, 10, (20, 40, 40))
    write_phantom_series(tmp_path / "water", water, (5.0, 5.0, 5.0))
    done = generate("--input", tmp_path / "water", "--output", tmp_path / "w.nrrd", "--progress", "none")
    assert done.status == 2 and "heart" in done.err and len(done.err.splitlines()) == 1
    assert not (tmp_path / "w.nrrd").exists()


REFUSED = {
    "uncertainty": (["--uncertainty", "{dir}/u.nrrd"], "--uncertainty does not apply to tiny-heart"),
    "a step": (["--step", "4"], "--step does not apply to tiny-heart"),
    "a first look": (["--first-look", "{dir}/f.png"], "--first-look does not apply to tiny-heart"),
    "mask missing": (["--heart-mask", "{dir}/none.nrrd"], "none.nrrd does not exist"),
    "mask is a folder": (["--heart-mask", "{dir}"], "is no file"),
    "mask of another type": (["--heart-mask", "{text}"], "notes.txt is of no known type"),
    "mask damaged": (["--heart-mask", "{damaged}"], "cannot be read, it is truncated or damaged"),
    "mask empty": (["--heart-mask", "{empty}"], "marks no voxel of this CT"),
    "mask elsewhere": (["--heart-mask", "{elsewhere}"], "marks no voxel of this CT"),
    "mask of colours": (["--heart-mask", "{colours}"], "not one volume of one value"),
    "mask is the output": (["--heart-mask", "{mask}", "--output", "{mask}", "--overwrite"], "is the heart mask"),
    "mask for two inputs": (["--heart-mask", "{mask}", "--input", "{nrrd}", "{nrrd}"], "is for one input"),
    "mask for a cohort": (["--heart-mask", "{mask}", "--cases", "{nrrd}"], "is for one input|not allowed with"),
}


@pytest.fixture(scope="module")
def masks(inputs):
    """Masks that cannot be used."""
    good = sitk.ReadImage(str(inputs / "heart.nii.gz"))
    shifted = sitk.Image(good)
    shifted.SetOrigin((900.0, 0.0, 0.0))
    made = {"empty": good * 0, "elsewhere": shifted, "colours": sitk.Compose(good, good)}
    for name, image in made.items():
        sitk.WriteImage(image, str(inputs / f"{name}.nrrd"))
    (inputs / "notes.txt").write_text("heart")
    (inputs / "damaged.nrrd").write_bytes((inputs / "finer.nrrd").read_bytes()[:9000])
    return {
        **{name: inputs / f"{name}.nrrd" for name in (*made, "damaged")},
        **{"text": inputs / "notes.txt", "mask": inputs / "heart.nii.gz", "nrrd": inputs / "chest.nrrd"},
    }


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_line_and_change_nothing(generate, inputs, masks, tmp_path, case):
    import re

    arguments, message = REFUSED[case]
    folder = tmp_path / "work"
    folder.mkdir()
    before = masks["mask"].read_bytes()
    arguments = [argument.format(**masks, dir=folder) for argument in arguments]
    if "--cases" not in arguments:
        arguments = ["--input", masks["nrrd"], *arguments]
    done = generate("--output", folder / "o.nrrd", *arguments, "--progress", "none")
    assert done.status == 2, done.err
    assert re.search(message, done.err), done.err
    assert len(done.err.strip().splitlines()) == 1
    assert list(folder.iterdir()) == [] and masks["mask"].read_bytes() == before


def test_a_whole_chest_model_refuses_a_mask_but_passes_over_the_column(generate, inputs, tiny_bundle, tmp_path):
    arguments = ("--input", inputs / "chest.nrrd", "--output", tmp_path / "o.nrrd")
    done = generate(*arguments, "--heart-mask", inputs / "heart.nii.gz", model=tiny_bundle)
    assert done.status == 2 and "--heart-mask does not apply to tiny, which takes the whole chest" in done.err
    cases = write_cases(tmp_path / "cases.csv", [("A", inputs / "chest.nrrd", "not-there.nrrd")])
    done = generate("--cases", cases, "--output", tmp_path / "out", "--step", 16, model=tiny_bundle)
    assert done.status == 0, done.err
    assert "heart_mask_sha256" not in json.loads((tmp_path / "out" / "A_sCECT.json").read_text())


def write_cases(path, rows):
    lines = ["case_id,ncct,heart_mask", *(f"{case},{ncct},{mask}" for case, ncct, mask in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_cohort_takes_masks_from_its_column(generate, inputs, heart, tmp_path, monkeypatch):
    from SyntheticContrastLib.ct import heart_region

    found = np.zeros_like(heart)
    found[6:9, 30:60, 40:70] = True
    monkeypatch.setattr(heart_region, "heart_region", lambda hu, spacing: found)
    nrrd = inputs / "chest.nrrd"
    cases = [("A", nrrd, inputs / "heart.nii.gz"), ("B", nrrd, ""), ("C", nrrd, tmp_path / "none.nrrd")]
    arguments = ("--output", tmp_path / "out", "--progress", "json", "--cases")
    done = generate(*arguments, write_cases(tmp_path / "cases.csv", cases))
    assert done.status == 2 and "C: the mask none.nrrd does not exist" in done.err
    assert_only_the_heart_changed(changed(inputs, "chest.nrrd", tmp_path / "out" / "A_sCECT.nrrd"), heart)
    assert_only_the_heart_changed(changed(inputs, "chest.nrrd", tmp_path / "out" / "B_sCECT.nrrd"), found)
    records = [json.loads((tmp_path / "out" / f"{case}_sCECT.json").read_text()) for case in "AB"]
    assert len(records[0]["heart_mask_sha256"]) == 64 and records[1]["heart_mask_sha256"] is None

    def outcomes(rows):
        done = generate(*arguments, write_cases(tmp_path / "again.csv", rows))
        told = [json.loads(line) for line in done.out.splitlines()]
        return [(event["event"], event["case"]) for event in told if event["event"] in ("skipped", "written", "failed")]

    assert outcomes(cases[:2]) == [("skipped", "A"), ("skipped", "B")]
    # Another mask, or none, or one at last: not what the record says.
    swapped = [("A", nrrd, ""), ("B", nrrd, inputs / "heart.nii.gz")]
    assert outcomes(swapped) == [("failed", "A"), ("failed", "B")]


def test_a_model_with_batch_norm_is_folded_when_loaded(generate, inputs, tmp_path):
    from SyntheticContrastLib.models.santini2018 import fold_for_inference

    arguments = {"widths": [2, 3, 3, 4, 4, 5, 5, 6], "channels": 1}
    unfolded = tiny_heart_card(name="n", architecture_arguments=arguments)
    folded = tiny_heart_card(name="n", architecture_arguments={**arguments, "batch_norm": False})
    models = [
        write_bundle(tmp_path / "a", tiny_heart_network(batch_norm=True), unfolded, half=False),
        write_bundle(tmp_path / "b", fold_for_inference(tiny_heart_network(batch_norm=True)), folded, half=False),
    ]
    results = []
    for model in models:
        output = tmp_path / f"{model.folder.name}.nrrd"
        mask = inputs / "heart.nii.gz"
        done = generate("--input", inputs / "chest.nrrd", "--output", output, "--heart-mask", mask, model=model)
        assert done.status == 0, done.err
        results.append(changed(inputs, "chest.nrrd", output))
    assert np.abs(results[0]).max() > 20
    assert np.abs(results[0] - results[1]).max() <= 1

"""generate.py with a model of shares: phase and level are options, the grid is the input's."""

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from SyntheticContrastLib.ct.phantom import thorax_phantom, write_phantom_series
from SyntheticContrastLib.models.bundle import write_bundle
from unit import entry
from unit.entry import GENERATE
from unit.tiny import tiny_share_card, tiny_share_network

SHAPE, SPACING = (18, 100, 120), (8.0, 3.0, 2.8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("models") / "share", tiny_share_network(1.0), tiny_share_card())


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom(SHAPE, SPACING)


@pytest.fixture(scope="module")
def inputs(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("input")
    image = sitk.GetImageFromArray(phantom.ncct[::-1])
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin((-90.0, -100.0, 7.5))
    sitk.WriteImage(image, str(folder / "chest.nrrd"), True)
    write_phantom_series(folder / "dicom", phantom.ncct, SPACING)
    return folder


@pytest.fixture
def generate(capsys, bundle):
    def call(*arguments):
        return entry.call(GENERATE, ["--model", bundle.folder, "--device", "cpu", *arguments], capsys)

    return call


def events(outcome):
    return {line["event"]: line for line in map(json.loads, outcome.out.splitlines())}


def test_the_level_is_that_of_the_blood_on_the_input_grid(generate, inputs, phantom, tmp_path):
    made = {}
    for level in (150, 300):
        output = tmp_path / f"{level}.nrrd"
        outcome = generate("--input", inputs / "chest.nrrd", "--output", output, "--level", level, "--progress", "json")
        assert outcome.status == 0, outcome.err
        told = events(outcome)
        assert (told["start"]["phase"], told["start"]["level_hu"]) == ("arterial", level)
        image = sitk.ReadImage(str(output))
        source = sitk.ReadImage(str(inputs / "chest.nrrd"))
        assert (image.GetOrigin(), image.GetSpacing(), image.GetSize()) == (
            source.GetOrigin(),
            source.GetSpacing(),
            source.GetSize(),
        )
        made[level] = sitk.GetArrayFromImage(image)[::-1].astype(float)
        native = told["written"]["native_hu"]
    pool = phantom.mask("left_ventricle")
    rises = [(made[level] - phantom.ncct)[pool].mean() for level in (150, 300)]
    assert rises[1] / rises[0] == pytest.approx((300 - native) / (150 - native), rel=0.05)


def test_a_dicom_series_says_phase_and_level(generate, inputs, tmp_path):
    outcome = generate(
        "--input", inputs / "dicom", "--output", tmp_path / "out", "--format", "dicom", "--phase", "portal"
    )
    assert outcome.status == 0, outcome.err
    slice_ = pydicom.dcmread(next((tmp_path / "out").glob("*")))
    assert "phase portal, vessels at 150 HU" in slice_.DerivationDescription


def test_uncertainty_is_written(generate, inputs, tmp_path):
    more = ("--uncertainty", tmp_path / "sd.nrrd", "--preview", tmp_path / "p.png")
    outcome = generate("--input", inputs / "chest.nrrd", "--output", tmp_path / "o.nrrd", *more)
    assert outcome.status == 0, outcome.err
    assert np.isfinite(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "sd.nrrd")))).all()


def test_a_cohort_is_made_again_for_another_level(generate, inputs, tmp_path):
    cases = tmp_path / "cases.csv"
    cases.write_text(f"case_id,ncct\na,{inputs / 'chest.nrrd'}\n", encoding="utf-8")
    arguments = ("--cases", cases, "--output", tmp_path / "results")
    assert generate(*arguments).status == 0
    assert "finished already" in generate(*arguments).out
    outcome = generate(*arguments, "--level", 200)
    assert outcome.status == 2  # what is there was made otherwise, and is not replaced unasked
    assert generate(*arguments, "--level", 200, "--overwrite").status == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--step", 4), "--step does not apply to tiny-share"),
        (("--first-look", "look.png"), "--first-look does not apply to tiny-share"),
        (("--heart-mask", "chest.nrrd"), "--heart-mask does not apply to tiny-share"),
        (("--level", 5000), "use 80 to 1000 HU"),
        (("--phase", "late"), "invalid choice: 'late'"),
    ],
)
def test_options_that_do_not_apply_are_refused(generate, inputs, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(inputs)
    outcome = generate("--input", "chest.nrrd", "--output", tmp_path / "o.nrrd", *options)
    assert outcome.status == 2
    assert says in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [("--phase", "portal"), ("--level", "200")])
def test_other_models_take_no_phase_and_no_level(inputs, tiny_bundle, tmp_path, capsys, options):
    arguments = ["--model", tiny_bundle.folder, "--input", inputs / "chest.nrrd", "--output", tmp_path / "o.nrrd"]
    outcome = entry.call(GENERATE, [*arguments, *options], capsys)
    assert outcome.status == 2
    assert f"{options[0]} does not apply to tiny" in outcome.err

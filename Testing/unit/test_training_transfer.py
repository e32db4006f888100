"""train.py --start: a run that begins with the weights of a bundle."""

import pytest
import torch

from SyntheticContrastLib.models.bundle import load_bundle
from SyntheticContrastTrainingLib.checkpoint import load_checkpoint
from unit.entry import call
from unit.training_set import EXPORT, TRAIN, train_arguments, write_training_set


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_training_set(tmp_path_factory.mktemp("prepared"), ["phantom"])


@pytest.fixture
def bundle(data, tmp_path, capsys):
    assert call(TRAIN, train_arguments(data, tmp_path / "first", settings=("steps=2",)), capsys).status == 0
    arguments = ["--checkpoint", tmp_path / "first" / "last.pt", "--output", tmp_path / "bundle"]
    assert call(EXPORT, arguments, capsys).status == 0
    return tmp_path / "bundle"


def test_a_run_begins_with_the_weights_of_a_bundle(data, bundle, tmp_path, capsys):
    settings = ("steps=1", "learning_rate=1e-12", "seed=7")
    arguments = train_arguments(data, tmp_path / "second", "--start", bundle, settings=settings)
    assert call(TRAIN, arguments, capsys).status == 0
    checkpoint = load_checkpoint(tmp_path / "second" / "last.pt")
    expected = load_bundle(bundle).load_network().state_dict()
    for states in (checkpoint.generator["network"], checkpoint.ema):
        assert states.keys() == expected.keys()
        assert all(torch.allclose(states[name], expected[name], atol=1e-9) for name in expected)
    arguments = ["--checkpoint", tmp_path / "second" / "last.pt", "--output", tmp_path / "exported"]
    assert call(EXPORT, arguments, capsys).status == 0
    sha256 = load_bundle(bundle).card.weights_sha256
    assert f"beginning with the weights of sha256 {sha256}" in load_bundle(tmp_path / "exported").card.description


def test_it_is_resumed_with_the_same_start_only(data, bundle, tmp_path, capsys):
    arguments = train_arguments(data, tmp_path / "second", settings=("steps=1",))
    assert call(TRAIN, [*arguments, "--start", bundle], capsys).status == 0
    outcome = call(TRAIN, [*arguments, "--resume"], capsys)
    assert outcome.status == 2 and "started on other data" in outcome.err
    assert call(TRAIN, [*arguments, "--resume", "--start", bundle], capsys).status == 0


@pytest.mark.parametrize(
    ("recipe", "settings", "told"),
    [
        ("l1", ("steps=1", "gf=4"), "give --set gf=2"),
        ("l1", ("steps=1", "output=plain"), "give --set output=residual"),
        ("l1", ("steps=1", "windows=[[2000, 0]]"), "has the windows"),
        ("santini2018", ("steps=1", "epochs=0"), "is a choi2021, the recipe trains a santini2018"),
    ],
)
def test_the_network_must_be_that_of_the_recipe(data, bundle, tmp_path, capsys, recipe, settings, told):
    if recipe == "santini2018":
        data = write_training_set(tmp_path / "hearts", ["phantom"], hearts=True)
        settings = ("steps=1", "epochs=0", "widths=[4,4,4,4,8,8,8,8]")
        values = [part for setting in settings for part in ("--set", setting)]
        arguments = ["--recipe", recipe, "--data", data, "--output", tmp_path / "second", "--device", "cpu", *values]
    else:
        arguments = train_arguments(data, tmp_path / "second", recipe=recipe, settings=settings)
    outcome = call(TRAIN, [*arguments, "--start", bundle], capsys)
    assert outcome.status == 2 and told in outcome.err
    assert not (tmp_path / "second").exists()

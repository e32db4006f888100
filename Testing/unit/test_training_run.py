"""train.py and export.py: a small run on the phantom learns, stops, goes on, and becomes a bundle."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastLib.ct.window import to_windows
from SyntheticContrastLib.models.bundle import load_bundle
from SyntheticContrastTrainingLib.checkpoint import load_checkpoint
from SyntheticContrastTrainingLib.dataset import Pair, Stacks
from SyntheticContrastTrainingLib.losses import enhancement_weights, weighted_l1
from SyntheticContrastTrainingLib.prepared import PreparedCase, hash_source, write_json, write_manifest
from SyntheticContrastTrainingLib.recipes import Recipe
from SyntheticContrastTrainingLib.trainer import Schedule, Trainer, learning_rate, start_run, train
from unit.entry import call, command

CLI = Path(__file__).resolve().parents[2] / "SyntheticContrastTraining" / "SyntheticContrastTrainingCLI"
TRAIN, EXPORT = CLI / "train.py", CLI / "export.py"
SMALL = Recipe("l1", gf=2, depth=4, norm="keras", steps=6, crop=128, final_crop=128, max_shift=4, ema_decay=0.5)
SETTINGS = ["gf=2", "depth=4", "norm=keras", "crop=128", "final_crop=128", "max_shift=4"]
DATA = {"cases": 1, "simulated": 0, "slices": 16}


@pytest.fixture(scope="module")
def pair():
    phantom = thorax_phantom((16, 128, 128), (15.0, 2.8, 2.8))
    return Pair(phantom.ncct, phantom.cect)


@pytest.fixture(scope="module")
def stacks(pair):
    return Stacks([pair], SMALL.depth)


@pytest.fixture(scope="module")
def data(pair, tmp_path_factory):
    """A prepared training set of one case."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "phantom").mkdir()
    for name, hu in (("ncct.npy", pair.ncct), ("cect.npy", pair.cect)):
        np.save(folder / "phantom" / name, hu)
    files = {name: hash_source(folder / "phantom" / name) for name in ("ncct.npy", "cect.npy")}
    identity = tuple(tuple(float(value) for value in row) for row in np.eye(4))
    case = PreparedCase("phantom", (16, 128, 128), (15.0, 2.8, 2.8), identity, False, {}, {}, files)
    write_json(folder / "phantom" / "case.json", {})
    write_manifest(folder, [case])
    return folder


def arguments(data, output, *more, steps=6):
    settings = [part for setting in [*SETTINGS, f"steps={steps}"] for part in ("--set", setting)]
    return ["--recipe", "l1", "--data", data, "--output", output, "--device", "cpu", *settings, *more]


def state(checkpoint):
    return {**checkpoint.generator, **{f"ema.{name}": value for name, value in checkpoint.ema.items()}}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())


def test_weighted_l1_counts_what_is_enhanced():
    change = torch.tensor([0.0, 50.0, 51.0, -60.0]).reshape(1, 1, 1, 1, 4)
    weight = enhancement_weights(change, above_hu=50.0, weight=5.0)
    assert weight.flatten().tolist() == [1, 1, 5, 5]
    loss = weighted_l1(torch.zeros(1, 3, 1, 1, 4), torch.ones(1, 3, 1, 1, 4), weight)
    assert float(loss) == pytest.approx(3.0)


def test_the_learning_rate_falls_to_its_end():
    rates = [learning_rate(SMALL, step) for step in range(SMALL.total_steps)]
    assert rates[0] == SMALL.learning_rate
    assert rates[-1] == pytest.approx(SMALL.final_learning_rate)
    assert rates == sorted(rates, reverse=True)


def test_the_loss_falls_by_half(stacks):
    recipe = Recipe("l1", gf=4, depth=4, norm="keras", steps=40, crop=128, max_shift=4, learning_rate=2e-3)
    trainer = Trainer(recipe, stacks, DATA)
    losses = [trainer.train_step() for _ in range(recipe.steps)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_input_and_target_are_the_windows_of_the_pair(stacks, pair):
    trainer = Trainer(SMALL, stacks, DATA)
    stack = stacks.read(3, (0, 0), 128)
    source, target, weight = trainer.tensors([stack, stack])
    assert source.shape == target.shape == (2, 3, 4, 128, 128)
    assert weight.shape == (2, 1, 4, 128, 128)
    assert np.array_equal(source[1].numpy(), to_windows(pair.ncct[3:7], SMALL.windows))
    assert np.array_equal(target[0].numpy(), to_windows(pair.cect[3:7], SMALL.windows))
    assert np.array_equal(weight[0, 0].numpy() > 1, np.abs(pair.cect[3:7].astype(int) - pair.ncct[3:7]) > 50) is (
        SMALL.enhancement_weight > 1
    )


def test_the_last_steps_see_whole_slices(stacks):
    recipe = Recipe("l1", gf=2, depth=4, norm="keras", steps=1, crop=128, final_steps=1, final_crop=256, max_shift=0)
    trainer = Trainer(recipe, stacks, DATA)
    sizes = []
    trainer.generator.register_forward_hook(lambda _module, inputs, _output: sizes.append(inputs[0].shape[-1]))
    trainer.train_step()
    trainer.train_step()
    assert sizes == [128, 256]


def test_the_average_follows_the_weights(stacks):
    trainer = Trainer(SMALL, stacks, DATA)
    start = {name: value.clone() for name, value in trainer.ema.state_dict().items()}
    trainer.train_step()
    for name, mean in trainer.ema.state_dict().items():
        now = trainer.generator.state_dict()[name]
        decay = min(SMALL.ema_decay, 2 / 11)
        torch.testing.assert_close(mean, decay * start[name] + (1 - decay) * now)


def test_a_run_that_stops_and_goes_on_ends_as_one_that_did_not(data, tmp_path, capsys):
    whole = call(TRAIN, arguments(data, tmp_path / "whole", "--log-every", 1), capsys)
    assert whole.status == 0, whole.err

    recipe = load_checkpoint(tmp_path / "whole" / "last.pt").recipe
    described = load_checkpoint(tmp_path / "whole" / "last.pt").data
    half = start_run(recipe, Stacks.open(data, recipe.depth), described, tmp_path / "half", resume=False)
    for _ in range(3):
        half.train_step()
    half.checkpoint().save(tmp_path / "half" / "last.pt")
    # what a killed run wrote after its last checkpoint
    (tmp_path / "half" / "log.jsonl").write_text('{"step": 3}\n{"step": 4}\n{"st')

    outcome = call(TRAIN, arguments(data, tmp_path / "half", "--resume", "--log-every", 1), capsys)
    assert outcome.status == 0, outcome.err
    assert "from step 3 of 6" in outcome.out
    first, second = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "half"))
    assert first.step == second.step == 6
    assert same(state(first), state(second))
    steps = [json.loads(line)["step"] for line in (tmp_path / "half" / "log.jsonl").read_text().splitlines()]
    assert steps == [3, 4, 5, 6]
    assert (tmp_path / "half" / "montage_000006.png").stat().st_size > 5000
    assert json.loads((tmp_path / "whole" / "recipe.json").read_text())["gf"] == 2


@pytest.mark.skipif(os.name == "nt", reason="a console signal cannot be sent to one process on Windows")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_stops(data, tmp_path, name):
    process = subprocess.Popen(
        command(TRAIN, *arguments(data, tmp_path / "run", "--log-every", 1, "--save-every", 1000, steps=100000)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 90
    while not (log.exists() and log.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 3
    assert error.strip().splitlines() == ["train.py: cancelled"]
    logged = json.loads(log.read_text().splitlines()[-1])["step"]
    assert load_checkpoint(tmp_path / "run" / "last.pt").step >= logged >= 2


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(stacks, tmp_path):
    trainer = start_run(SMALL, stacks, DATA, tmp_path, resume=False)
    trainer.train_step()
    trainer.checkpoint().save(tmp_path / "last.pt")
    with torch.no_grad():
        next(trainer.generator.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="the loss is nan at step 1"):
        train(trainer, tmp_path, Schedule(log_every=1), lambda line: None)
    kept = load_checkpoint(tmp_path / "last.pt")
    assert kept.step == 1
    assert all(torch.isfinite(value).all() for value in kept.generator.values())


def test_what_resume_refuses(stacks, data, tmp_path, capsys):
    outcome = call(TRAIN, arguments(data, tmp_path / "none", "--resume"), capsys)
    assert (outcome.status, "there is no checkpoint" in outcome.err) == (2, True)

    trainer = start_run(SMALL, stacks, DATA, tmp_path / "run", resume=False)
    trainer.checkpoint().save(tmp_path / "run" / "last.pt")
    assert "holds a run already" in call(TRAIN, arguments(data, tmp_path / "run"), capsys).err
    assert "another recipe" in call(TRAIN, arguments(data, tmp_path / "run", "--resume", steps=7), capsys).err
    with pytest.raises(InputError, match="other data"):
        start_run(SMALL, stacks, {**DATA, "cases": 2}, tmp_path / "run", resume=True)

    checkpoint = tmp_path / "run" / "last.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(checkpoint)


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harmed",))

    torch.save({"format_version": 1, "recipe": Harm()}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match="damaged or is no checkpoint"):
        load_checkpoint(tmp_path / "bad.pt")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--recipe", "none"], "there is no recipe 'none'"),
        (["--set", "gff=1"], "no field 'gff'"),
        (["--save-every", "0"], "at least 1"),
        (["--data", "nowhere"], "no prepared training set"),
        (["--set", "depth=32"], "a stack needs 32"),
    ],
)
def test_bad_arguments_end_with_one_line(data, tmp_path, capsys, more, says):
    outcome = call(TRAIN, [*arguments(data, tmp_path / "run"), *more], capsys)
    assert outcome.status == 2
    assert says in outcome.err
    assert "\n" not in outcome.err.strip()
    assert not (tmp_path / "run").exists()


def test_export_makes_a_bundle_of_the_averaged_weights(stacks, tmp_path, capsys):
    trainer = start_run(SMALL, stacks, {**DATA, "simulated": 1}, tmp_path / "run", resume=False)
    trainer.train_step()
    trainer.checkpoint().save(tmp_path / "run" / "last.pt")
    about = tmp_path / "about.json"
    about.write_text(json.dumps({"licence": "CC BY 4.0", "figures": {"MAE": 1.5}}))
    outcome = call(
        EXPORT, ["--checkpoint", tmp_path / "run" / "last.pt", "--output", tmp_path / "mine", "--card", about], capsys
    )
    assert outcome.status == 0, outcome.err

    bundle = load_bundle(tmp_path / "mine")
    card = bundle.card
    assert (card.name, card.recipe, card.patch_depth, card.licence) == ("mine", "l1", 4, "CC BY 4.0")
    assert card.input_windows == SMALL.windows
    assert card.figures == {"MAE": 1.5}
    assert "1 of them with a simulated VNC" in card.description
    assert "not for diagnosis" in card.intended_use
    stack = stacks.read(0, (0, 0), 128)
    source = trainer.tensors([stack])[0]
    with torch.no_grad():
        stored, trained = bundle.load_generator()(source), trainer.ema(source)
    torch.testing.assert_close(stored, trained, atol=1e-2, rtol=0)  # stored as float16

    again = call(EXPORT, ["--checkpoint", tmp_path / "run" / "last.pt", "--output", tmp_path / "mine"], capsys)
    assert again.status == 2
    about.write_text(json.dumps({"architecture": "other"}))
    refused = call(
        EXPORT, ["--checkpoint", tmp_path / "run" / "last.pt", "--output", tmp_path / "no", "--card", about], capsys
    )
    assert (refused.status, "architecture cannot be given" in refused.err) == (2, True)
    assert not (tmp_path / "no").exists()

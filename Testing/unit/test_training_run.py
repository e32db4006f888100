"""train.py and export.py: a small run on the phantom learns, validates, stops, goes on, and becomes a bundle."""

import dataclasses
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models.bundle import load_bundle
from SyntheticContrastTrainingLib.checkpoint import load_checkpoint, load_latest
from SyntheticContrastTrainingLib.dataset import Pair
from SyntheticContrastTrainingLib.recipes import find_recipe, override, parse_settings
from SyntheticContrastTrainingLib.run import Schedule, start_run, train
from SyntheticContrastTrainingLib.trainer import Trainer
from SyntheticContrastTrainingLib.validation import compare, synthesise, validate
from unit.entry import call, command, run_after
from unit.training_set import (
    DATA,
    EXPORT,
    SETTINGS,
    SMALL,
    TRAIN,
    phantom_pair,
    phantom_stacks,
    train_arguments,
    write_training_set,
)

GAN = ("epochs=0", "steps=6")


@pytest.fixture(scope="module")
def stacks():
    return phantom_stacks()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A prepared training set of one case."""
    return write_training_set(tmp_path_factory.mktemp("prepared"), ["phantom"])


def silent(line):
    pass


def new_run(stacks, output, recipe=SMALL, data=DATA):
    trainer = Trainer(recipe, stacks, data)
    start_run(trainer, output, resume=False, tell=silent)
    return trainer


def tensors(value):
    """All tensors of a checkpoint's states, by name."""
    if isinstance(value, torch.Tensor):
        return {"": value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {f"{key}.{name}": tensor for key, part in items for name, tensor in tensors(part).items()}


def same(first, second):
    """Whether two checkpoints hold the same networks and optimisers, bit for bit."""
    states = [
        tensors({"g": one.generator, "d": one.discriminator, "ema": one.ema, "rng": one.torch_rng})
        for one in (first, second)
    ]
    assert states[0].keys() == states[1].keys() and len(states[0]) > 50
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(("recipe", "settings"), [("l1", ("steps=6",)), ("choi2021", GAN), ("choi2021-code", GAN)])
def test_a_run_that_stops_and_goes_on_ends_as_one_that_did_not(data, tmp_path, capsys, recipe, settings):
    more = ("--log-every", 1)
    whole = call(TRAIN, train_arguments(data, tmp_path / "whole", *more, recipe=recipe, settings=settings), capsys)
    assert whole.status == 0, whole.err

    finished = load_checkpoint(tmp_path / "whole" / "last.pt")
    assert (finished.discriminator is None) == (recipe == "l1")
    half = new_run(phantom_stacks(), tmp_path / "half", finished.recipe, finished.data)
    for _ in range(3):
        half.train_step()
    half.checkpoint().save_last(tmp_path / "half")
    # what a killed run wrote after its last checkpoint
    (tmp_path / "half" / "log.jsonl").write_text('{"step": 3}\n{"step": 4}\n{"st')
    (tmp_path / "half" / ".partial-x-next.pt").write_text("cut off")

    resumed = train_arguments(data, tmp_path / "half", "--resume", *more, recipe=recipe, settings=settings)
    outcome = call(TRAIN, resumed, capsys)
    assert outcome.status == 0, outcome.err
    assert "from step 3 of 6" in outcome.out
    second = load_checkpoint(tmp_path / "half" / "last.pt")
    assert finished.step == second.step == 6
    assert same(finished, second)
    steps = [json.loads(line)["step"] for line in (tmp_path / "half" / "log.jsonl").read_text().splitlines()]
    assert steps == [3, 4, 5, 6]
    names = {path.name for path in (tmp_path / "half").iterdir()}
    assert names == {"recipe.json", "log.jsonl", "curves.png", "montage_000006.png", "last.pt", "previous.pt"}
    assert json.loads((tmp_path / "whole" / "recipe.json").read_text())["gf"] == 2


def test_patients_are_held_out_and_the_best_is_kept(tmp_path, capsys):
    folder = write_training_set(tmp_path / "set", ["a_1", "b", "a_2"], patients={"a_1": "a", "a_2": "a"})
    arguments = train_arguments(
        folder,
        tmp_path / "run",
        *("--validate-every", 2, "--log-every", 2, "--save-every", 2, "--keep-every", 1),
        settings=('validation=["a_1"]', "epochs=1", "steps=0", "gf=4", "learning_rate=2e-3"),
    )
    outcome = call(TRAIN, arguments, capsys)
    assert outcome.status == 0, outcome.err
    told = "1 cases to train (0 with a simulated VNC), 2 to validate, of 2 patients, 13 stacks, 1 processes"
    assert told in outcome.out
    assert "from step 0 of 13" in outcome.out

    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    scores = [line for line in lines if "psnr" in line]
    assert [line["step"] for line in scores] == [2, 4, 6, 8, 10, 12, 13]
    assert scores[-1]["mae"] < scores[0]["mae"]
    assert len({(line["input_mae"], line["input_psnr"]) for line in scores}) == 1
    assert [line["epoch"] for line in lines if "loss" in line][-1] == 1.0

    best, last = (load_checkpoint(tmp_path / "run" / name) for name in ("best.pt", "last.pt"))
    highest = max(scores, key=lambda line: line["psnr"])
    assert best.step == highest["step"]
    assert best.best_psnr == last.best_psnr == pytest.approx(highest["psnr"], abs=1e-3)
    assert last.data["validation"] == ["a_1", "a_2"]
    assert load_checkpoint(tmp_path / "run" / "previous.pt").step == 12
    assert load_checkpoint(tmp_path / "run" / "epoch_0001.pt").step == 13


def test_scores_by_hand(stacks):
    target = np.full((2, 4, 4), 60, np.int16)
    assert compare(target, target)[0] == 0
    mae, psnr = compare(target + 35, target)
    assert (mae, psnr) == (pytest.approx(35), pytest.approx(20.0))  # a tenth of the window's width
    assert compare(np.full((2, 4, 4), 3000), np.full((2, 4, 4), 400))[0] == 0  # both above the window

    trainer = Trainer(SMALL, stacks, DATA)
    held_out = stacks.fixed(3)
    assert [pair.cect.shape for pair in held_out] == [(4, 128, 128)] * 3
    assert not np.array_equal(held_out[0].cect, held_out[1].cect)
    scores = validate(trainer.ema, held_out, SMALL)
    assert scores.input_mae == pytest.approx(np.mean([compare(pair.ncct, pair.cect)[0] for pair in held_out]))
    wanted = [compare(synthesise(trainer.ema, pair, SMALL), pair.cect)[1] for pair in held_out]
    assert scores.psnr == pytest.approx(np.mean(wanted))


def test_a_slice_of_any_size_is_validated():
    recipe = dataclasses.replace(SMALL, norm="instance", crop=256)
    trainer = Trainer(recipe, phantom_stacks(), DATA)
    empty = np.zeros((4, 90, 130), np.int16)
    assert synthesise(trainer.ema, Pair(empty, empty), recipe).shape == (4, 90, 130)


@pytest.mark.skipif(os.name == "nt", reason="a console signal cannot be sent to one process on Windows")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_stops(data, tmp_path, name):
    more = ("--log-every", 1, "--save-every", 1000)
    process = subprocess.Popen(
        command(TRAIN, *train_arguments(data, tmp_path / "run", *more, settings=("steps=100000",))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
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
    trainer = new_run(stacks, tmp_path)
    trainer.train_step()
    trainer.checkpoint().save_last(tmp_path)
    with torch.no_grad():
        next(trainer.generator.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="the loss is nan at step 1"):
        train(trainer, tmp_path, Schedule(log_every=1), silent)
    kept = load_checkpoint(tmp_path / "last.pt")
    assert kept.step == 1
    assert all(torch.isfinite(value).all() for value in kept.ema.values())


LITTLE_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
"""


@contextmanager
def largest_file(size):
    """Within the block no file can grow beyond `size` bytes: to a writer that is a full disk."""
    resource = pytest.importorskip("resource", reason="Windows has no limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_checkpoint_as_it_was(stacks, tmp_path):
    trainer = new_run(stacks, tmp_path)
    trainer.train_step()
    trainer.checkpoint().save_last(tmp_path)
    size = (tmp_path / "last.pt").stat().st_size
    trainer.train_step()
    for limit in (0, 1000, size // 2, size - 100):
        with (
            largest_file(limit),
            pytest.raises(InputError, match=r"step 2: the checkpoint could not be written.*--resume"),
        ):
            trainer.checkpoint().save_last(tmp_path)
        assert load_checkpoint(tmp_path / "last.pt").step == 1
        assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "recipe.json"}
    trainer.checkpoint().save_last(tmp_path)
    assert load_latest(tmp_path, silent).step == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_a_full_disk_stops_the_run_with_one_line(data, tmp_path):
    outcome = run_after(LITTLE_DISK, TRAIN, *train_arguments(data, tmp_path / "run", "--save-every", 2))
    assert outcome.status == 2, outcome.err
    assert "step 2: the checkpoint could not be written" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "gone"])
def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(stacks, tmp_path, harm):
    trainer = new_run(stacks, tmp_path)
    for _ in range(2):
        trainer.train_step()
        trainer.checkpoint().save_last(tmp_path)
    last = tmp_path / "last.pt"
    whole = last.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    last.write_bytes({"cut": whole[:-500], "flip": flipped, "empty": b"", "gone": b""}[harm])
    if harm == "gone":
        last.unlink()

    said = []
    assert load_latest(tmp_path, said.append).step == 1
    assert len(said) == 1
    assert ("there is no checkpoint" if harm == "gone" else "damaged") in said[0]
    assert "going on from previous.pt, step 1" in said[0]
    (tmp_path / "previous.pt").unlink()
    with pytest.raises(InputError, match=r"last\.pt"):
        load_latest(tmp_path, said.append)


def test_what_resume_refuses(stacks, data, tmp_path, capsys):
    outcome = call(TRAIN, train_arguments(data, tmp_path / "none", "--resume"), capsys)
    assert (outcome.status, "there is no checkpoint" in outcome.err) == (2, True)

    new_run(stacks, tmp_path / "run").checkpoint().save_last(tmp_path / "run")
    run = tmp_path / "run"
    assert "holds a run already" in call(TRAIN, train_arguments(data, run), capsys).err
    other = train_arguments(data, run, "--resume", settings=("steps=7",))
    assert "another recipe" in call(TRAIN, other, capsys).err
    with pytest.raises(InputError, match="other data"):
        start_run(Trainer(SMALL, stacks, {**DATA, "cases": 2}), run, resume=True, tell=silent)


def test_a_run_killed_before_its_first_checkpoint_starts_again(stacks, data, tmp_path, capsys):
    run, settings = tmp_path / "run", ("steps=2",)
    new_run(stacks, run, override(find_recipe("l1"), parse_settings([*SETTINGS, *settings])))
    (run / "log.jsonl").write_text('{"step": 1}\n{"st')
    outcome = call(TRAIN, train_arguments(data, run, "--resume", settings=("steps=3",)), capsys)
    assert (outcome.status, "another recipe" in outcome.err) == (2, True)
    outcome = call(TRAIN, train_arguments(data, run, "--resume", settings=settings), capsys)
    assert outcome.status == 0, outcome.err
    assert "no checkpoint yet: starting again" in outcome.out
    assert [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()] == [2]


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harmed",))

    torch.save({"format_version": 2, "recipe": Harm()}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match="damaged or is no checkpoint"):
        load_checkpoint(tmp_path / "bad.pt")
    assert not (tmp_path / "harmed").exists()


def test_a_checkpoint_of_another_version(tmp_path):
    torch.save({"format_version": 1}, tmp_path / "old.pt")
    with pytest.raises(InputError, match="format version 1, not 2"):
        load_checkpoint(tmp_path / "old.pt")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--recipe", "none"], "there is no recipe 'none'"),
        (["--set", "gff=1"], "no field 'gff'"),
        (["--save-every", "0"], "at least 1"),
        (["--keep-every", "-1"], "at least 0"),
        (["--data", "nowhere"], "no prepared training set"),
        (["--set", 'validation=["nobody"]'], "nobody is no case"),
        (["--set", 'validation=["phantom"]'], "none is left to train on"),
        (["--set", "precision=fp16"], "fp16 needs a GPU"),
    ],
)
def test_bad_arguments_end_with_one_line(data, tmp_path, capsys, more, says):
    outcome = call(TRAIN, [*train_arguments(data, tmp_path / "run"), *more], capsys)
    assert outcome.status == 2
    assert says in outcome.err
    assert "\n" not in outcome.err.strip()
    assert not (tmp_path / "run").exists()


def test_export_makes_a_bundle_of_the_averaged_weights(stacks, tmp_path, capsys):
    recipe = dataclasses.replace(SMALL, ema_decay=0.5)
    trainer = new_run(stacks, tmp_path / "run", recipe, {**DATA, "simulated": 1, "validation": ["a"]})
    trainer.train_step()
    trainer.validation = {"mae": 1.234, "psnr": 30.0, "input_mae": 9.0, "input_psnr": 20.0}
    trainer.checkpoint().save_last(tmp_path / "run")
    last = tmp_path / "run" / "last.pt"
    about = tmp_path / "about.json"
    about.write_text(json.dumps({"licence": "CC BY 4.0"}))
    outcome = call(EXPORT, ["--checkpoint", last, "--output", tmp_path / "mine", "--card", about], capsys)
    assert outcome.status == 0, outcome.err

    bundle = load_bundle(tmp_path / "mine")
    card = bundle.card
    assert (card.name, card.recipe, card.patch_depth, card.licence) == ("mine", "l1", 4, "CC BY 4.0")
    assert card.input_windows == SMALL.windows
    assert card.figures == {
        "validation, 1 cases, window 350/50 (HU, dB)": {
            "mae": 1.23,
            "psnr": 30.0,
            "input_mae": 9.0,
            "input_psnr": 20.0,
        }
    }
    assert "1 of them with a simulated VNC" in card.description
    assert "not for diagnosis" in card.intended_use
    source = trainer.objective.batch([stacks.read(0)], trainer.device).source
    with torch.no_grad():
        stored, trained = bundle.load_network()(source), trainer.ema(source)
    torch.testing.assert_close(stored, trained, atol=1e-2, rtol=0)  # stored as float16

    again = call(EXPORT, ["--checkpoint", last, "--output", tmp_path / "mine"], capsys)
    assert again.status == 2
    about.write_text(json.dumps({"architecture": "other"}))
    refused = call(EXPORT, ["--checkpoint", last, "--output", tmp_path / "no", "--card", about], capsys)
    assert (refused.status, "architecture cannot be given" in refused.err) == (2, True)
    assert not (tmp_path / "no").exists()


def test_a_volume_shorter_than_a_stack_is_continued_by_its_edge_slices(tmp_path, capsys):
    folder = write_training_set(tmp_path / "set", ["short"])
    outcome = call(TRAIN, train_arguments(folder, tmp_path / "run", settings=("steps=1", "depth=32")), capsys)
    assert outcome.status == 0, outcome.err
    assert load_checkpoint(tmp_path / "run" / "last.pt").step == 1
    assert isinstance(phantom_pair(), Pair)


def test_a_run_in_bf16_learns(data, tmp_path, capsys):
    arguments = train_arguments(data, tmp_path / "run", settings=("steps=2", "precision=bf16"))
    outcome = call(TRAIN, arguments, capsys)
    assert outcome.status == 0, outcome.err
    assert load_checkpoint(tmp_path / "run" / "last.pt").step == 2

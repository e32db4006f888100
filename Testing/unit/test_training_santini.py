"""Recipe santini2018: slices around the heart, trained within its mask, to a bundle that generate.py could use."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastLib.models.bundle import load_bundle
from SyntheticContrastTrainingLib.checkpoint import load_checkpoint
from SyntheticContrastTrainingLib.heart_dataset import HeartPair, HeartSlices
from SyntheticContrastTrainingLib.recipes import find_recipe
from SyntheticContrastTrainingLib.santini_loss import SantiniLoss
from SyntheticContrastTrainingLib.trainer import Trainer
from SyntheticContrastTrainingLib.validation import synthesise, validate
from unit.entry import call
from unit.training_set import DATA, EXPORT, TRAIN, write_training_set

SPACING = (10.0, 2.8, 2.8)
SMALL = dataclasses.replace(
    find_recipe("santini2018"), widths=(4, 4, 4, 4, 8, 8, 8, 8), epochs=0, steps=3, batch_size=2, learning_rate=1e-3
)
SETTINGS = ("widths=[4,4,4,4,8,8,8,8]", "epochs=0", "steps=4", "batch_size=2", "learning_rate=1e-3")


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom((24, 128, 128), SPACING)


@pytest.fixture(scope="module")
def heart_pair(phantom):
    heart = np.isin(phantom.labels, range(14, 19)).astype(np.uint8)
    left = (phantom.mask("left_ventricle") | phantom.mask("left_atrium")).astype(np.uint8)
    return HeartPair(phantom.ncct, phantom.cect, SPACING, heart, left)


@pytest.fixture(scope="module")
def slices(heart_pair):
    return HeartSlices([heart_pair], 128, 200 / 128)


def test_only_slices_with_chambers_are_seen_at_the_papers_pixel_size(heart_pair, slices):
    with_chambers = np.flatnonzero(heart_pair.chambers.any(axis=(1, 2)))
    assert [z for _, z in slices.places] == with_chambers.tolist()
    for number, z in enumerate(with_chambers):
        stack = slices.read(number)
        assert stack.ncct.shape == stack.heart.shape == stack.chambers.shape == (1, 128, 128)
        for cut, whole in ((stack.heart, heart_pair.heart[z]), (stack.chambers, heart_pair.chambers[z])):
            area, wanted = cut.sum() * (200 / 128) ** 2, whole.sum() * 2.8**2
            assert area == pytest.approx(wanted, rel=0.05, abs=30)
    middle = slices.read(len(slices) // 2)
    assert middle.cect[middle.chambers > 0].mean() == pytest.approx(350, abs=20)


def test_the_heart_lies_in_the_middle(slices):
    union = np.max([slices.read(number).heart[0] for number in range(len(slices))], axis=0)
    for axis in (0, 1):
        held = np.flatnonzero(union.any(axis=1 - axis))
        assert (held[0] + held[-1]) / 2 == pytest.approx(63.5, abs=4)  # other slices count too


def test_slices_are_turned_up_to_25_degrees_with_their_masks(slices):
    recipe = dataclasses.replace(SMALL, max_shift=0)
    overlaps = []
    for place in range(40):
        stack = slices.draw(recipe, place, 128)
        straight = slices.read(slices.number_at(recipe.seed, place))
        assert stack.cect[stack.chambers > 0].mean() > 270
        overlaps.append((stack.chambers & straight.chambers).sum() / straight.chambers.sum())
    assert min(overlaps) < 0.9 and max(overlaps) > 0.97
    again = slices.draw(recipe, 5, 128)
    assert np.array_equal(again.ncct, slices.draw(recipe, 5, 128).ncct)


def test_a_step_is_one_of_the_papers_loss(slices):
    trainer = Trainer(SMALL, slices, DATA)
    batch = trainer.objective.batch(trainer.read(0), trainer.device)
    assert batch.source.shape == (2, 1, 128, 128)
    torch.manual_seed(SMALL.seed)
    by_hand = Trainer(SMALL, slices, DATA)
    wanted = SantiniLoss()(by_hand.generator(batch.source), batch.target, *batch.more)
    losses = trainer.train_step()
    assert losses["loss"] == pytest.approx(float(wanted.total.detach()), rel=1e-5)
    assert losses["rmse"] == pytest.approx(float(wanted.rmse), rel=1e-5)
    decays = [group["weight_decay"] for group in trainer.learner.optimiser.param_groups]
    assert decays == [0.001, 0.0]
    for name, kept in trainer.ema.state_dict().items():  # without an average the model is the network as it is
        torch.testing.assert_close(kept, trainer.generator.state_dict()[name])


def test_it_learns(slices):
    recipe = dataclasses.replace(SMALL, steps=60, batch_size=4, learning_rate=3e-3)
    trainer = Trainer(recipe, slices, DATA)
    losses = [trainer.train_step()["rmse"] for _ in range(recipe.steps)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    scores = validate(trainer.ema, slices.fixed(3), recipe)
    assert scores.mae < scores.input_mae
    assert scores.dice is not None and 0 <= scores.dice <= 1


def test_outside_the_heart_the_output_is_the_input(slices):
    trainer = Trainer(SMALL, slices, DATA)
    stack = slices.read(2)
    hu = synthesise(trainer.ema, stack, SMALL)
    outside = stack.heart == 0
    assert np.array_equal(hu[outside], stack.ncct[outside])
    assert not np.array_equal(hu[~outside], stack.ncct[~outside])
    assert not trainer.ema.training or trainer.generator.training  # synthesis leaves the mode as it was


def test_dice_of_a_perfect_output(heart_pair):
    perfect = HeartPair(heart_pair.cect, heart_pair.cect, SPACING, heart_pair.heart, heart_pair.chambers)
    recipe = dataclasses.replace(SMALL, soft_threshold_hu=200.0)

    class Identity(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.none = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x + self.none

    stacks = HeartSlices([perfect], 128, 200 / 128).fixed(3)
    scores = validate(Identity(), stacks, recipe)
    assert scores.mae < 1e-3
    found = [(stack.cect >= 200) & (stack.heart > 0) for stack in stacks]
    wanted = [
        2 * (one & (stack.chambers > 0)).sum() / (one.sum() + stack.chambers.sum())
        for one, stack in zip(found, stacks, strict=True)
    ]
    assert scores.dice == pytest.approx(np.mean(wanted), abs=1e-3)
    assert scores.dice < 0.95  # the right heart passes the threshold too


def test_from_a_training_set_to_a_bundle(heart_pair, tmp_path, capsys):
    data = write_training_set(tmp_path / "set", ["a", "b"], hearts=True)
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    run, bundle = tmp_path / "run", tmp_path / "heart-model"
    arguments = ["--recipe", "santini2018", "--data", data, "--output", run, "--device", "cpu", *settings]
    outcome = call(TRAIN, [*arguments, "--set", 'validation=["b"]', "--montage-every", 4], capsys)
    assert outcome.status == 0, outcome.err
    assert "Dice" in outcome.out
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"rmse", "bce"} <= lines[0].keys()
    assert any("dice" in line for line in lines)
    assert (run / "montage_000004.png").is_file()

    assert call(EXPORT, ["--checkpoint", run / "last.pt", "--output", bundle, "--full-precision"], capsys).status == 0
    card = load_bundle(bundle).card
    assert (card.architecture, card.patch_depth, card.crop, card.pixel_mm) == ("santini2018", 1, 128, 200 / 128)
    assert card.input_windows == (card.output_window,) == ((1000.0, 200.0),)
    checkpoint = load_checkpoint(run / "last.pt")
    network = Trainer(checkpoint.recipe, HeartSlices([heart_pair], 128, 200 / 128), DATA).ema.eval()
    network.load_state_dict(checkpoint.ema)
    image = torch.rand(2, 1, 128, 128) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(load_bundle(bundle).load_network()(image), network(image), rtol=1e-4, atol=1e-5)


def test_a_case_without_chambers_is_refused(tmp_path, capsys):
    data = write_training_set(tmp_path / "set", ["a"])
    arguments = ["--recipe", "santini2018", "--data", data, "--output", tmp_path / "run", "--device", "cpu"]
    outcome = call(TRAIN, arguments, capsys)
    assert outcome.status == 2
    assert "case a has no chambers" in outcome.err

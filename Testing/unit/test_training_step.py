"""One training step: the losses, who learns from which, the average of the weights, and batches in parts."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.window import to_windows
from SyntheticContrastTrainingLib.adversary import Adversary
from SyntheticContrastTrainingLib.distributed import Crew
from SyntheticContrastTrainingLib.learner import Learner
from SyntheticContrastTrainingLib.losses import enhancement_weights, fooled, judged_fake, judged_real, weighted_l1
from SyntheticContrastTrainingLib.recipes import find_recipe
from SyntheticContrastTrainingLib.trainer import Trainer
from unit.training_set import DATA, SMALL, phantom_pair, phantom_stacks

GAN = dataclasses.replace(
    SMALL, name="choi2021", gan_loss="bce", l1_weight=100.0, label_smoothing=0.1, gan_weight=1.0, ema_decay=0.0
)


@pytest.fixture(scope="module")
def stacks():
    return phantom_stacks()


def weights(network):
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())


def counted(optimiser):
    """How often each network has been updated."""
    return {int(state["step"]) for state in optimiser.state.values()}


# Losses


def test_weighted_l1_counts_what_is_enhanced():
    change = torch.tensor([0.0, 50.0, 51.0, -60.0]).reshape(1, 1, 1, 1, 4)
    weight = enhancement_weights(change, above_hu=50.0, weight=5.0)
    assert weight.flatten().tolist() == [1, 1, 5, 5]
    loss = weighted_l1(torch.zeros(1, 3, 1, 1, 4), torch.ones(1, 3, 1, 1, 4), weight)
    assert float(loss) == pytest.approx(3.0)


def test_bce_is_the_binary_cross_entropy_of_the_sigmoid():
    logits = torch.tensor([-2.0, 0.5, 3.0]).reshape(1, 1, 1, 1, 3)
    p = torch.sigmoid(logits)
    assert float(judged_real("bce", logits, 0.9)) == pytest.approx(float(-(0.9 * p.log() + 0.1 * (1 - p).log()).mean()))
    assert float(judged_fake("bce", logits)) == pytest.approx(float(-(1 - p).log().mean()))
    assert float(fooled("bce", logits)) == pytest.approx(float(-p.log().mean()))


@pytest.mark.parametrize(
    ("kind", "real", "fake", "fool"),
    [("least_squares", (9 + 0.16) / 2, (4 + 0.25) / 2, (9 + 0.25) / 2), ("hinge", 3.5 / 2, 1.5 / 2, 1.5 / 2)],
)
def test_other_gan_losses_by_hand(kind, real, fake, fool):
    logits = torch.tensor([-2.0, 0.5]).reshape(1, 1, 1, 1, 2)
    label = 0.9 if kind == "least_squares" else 1.0
    assert float(judged_real(kind, logits, 1.0 if kind == "hinge" else label)) == pytest.approx(
        real if kind == "hinge" else (2.9**2 + 0.4**2) / 2
    )
    assert float(judged_fake(kind, logits)) == pytest.approx(fake if kind == "least_squares" else (0 + 1.5) / 2)
    assert float(fooled(kind, logits)) == pytest.approx(fool if kind == "least_squares" else 0.75)


def test_an_unknown_gan_loss():
    with pytest.raises(ValueError, match="unknown GAN loss"):
        judged_fake("other", torch.zeros(1))


# The adversary


def test_smoothing_is_one_sided_in_the_paper():
    adversary = Adversary(GAN, torch.device("cpu"), Crew())
    logits = torch.zeros(1, 1, 2, 16, 16)
    assert adversary.real_label(logits, drawn=False, one_sided=True) == pytest.approx(0.9)
    assert adversary.real_label(logits, drawn=False, one_sided=False) == 1.0


def test_labels_of_the_public_code_are_drawn_once_for_both_networks():
    adversary = Adversary(dataclasses.replace(GAN, drawn_labels=True), torch.device("cpu"), Crew())
    logits = torch.zeros(2, 1, 2, 16, 16)
    first, second = (adversary.real_label(logits, drawn=True, one_sided=side) for side in (True, False))
    assert torch.equal(first, second)
    assert first.shape == (1, 2, 16, 16)
    assert 0.9 < first.min() < 0.91 and 0.99 < first.max() <= 1
    other = Adversary(dataclasses.replace(GAN, drawn_labels=True, seed=1), torch.device("cpu"), Crew())
    assert not torch.equal(first, other.real_label(logits, drawn=True, one_sided=True))


@pytest.mark.parametrize(("separate", "updates"), [(False, 1), (True, 2)])
def test_how_often_the_discriminator_is_updated_a_step(stacks, separate, updates):
    trainer = Trainer(dataclasses.replace(GAN, separate_updates=separate), stacks, DATA)
    trainer.train_step()
    assert counted(trainer.learner.optimiser) == {1}
    assert counted(trainer.adversary.learner.optimiser) == {updates}


def test_a_step_is_pix2pix_s(stacks):
    """The same step written out: one joint update of the discriminator, then the generator against the new one."""
    trainer, by_hand = Trainer(GAN, stacks, DATA), Trainer(GAN, stacks, DATA)
    losses = trainer.train_step()

    part = by_hand.objective.batch(by_hand.read(0), by_hand.device)
    generator, discriminator = by_hand.generator, by_hand.adversary.learner.network
    optimisers = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, discriminator)]
    fake = generator(part.source)
    real_logits, fake_logits = discriminator(part.target, part.source), discriminator(fake.detach(), part.source)
    real = F.binary_cross_entropy_with_logits(real_logits, torch.full_like(real_logits, 0.9))
    imitated = F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
    (0.5 * (real + imitated)).backward()
    optimisers[1].step()
    logits = discriminator(fake, part.source)
    gan = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    l1 = (fake - part.target).abs().mean()
    generator.zero_grad()
    (gan + 100 * l1).backward()
    optimisers[0].step()

    expected = {
        "loss": gan + 100 * l1,
        "l1": l1,
        "gan": gan,
        "discriminator_real": real,
        "discriminator_fake": imitated,
    }
    assert losses == pytest.approx({name: float(value.detach()) for name, value in expected.items()}, rel=1e-5)
    for name in ("generator", "adversary"):
        nets = [one.generator if name == "generator" else one.adversary.learner.network for one in (trainer, by_hand)]
        for first, second in zip(*(net.parameters() for net in nets), strict=True):
            torch.testing.assert_close(first, second, rtol=0, atol=2e-5)  # Adam's step is 2e-4


def test_the_discriminator_learns_to_tell_and_the_generator_to_fool(stacks):
    trainer = Trainer(dataclasses.replace(GAN, gf=4, df=4, learning_rate=1e-3, l1_weight=0.0), stacks, DATA)
    losses = [trainer.train_step() for _ in range(12)]
    told = [one["discriminator_real"] + one["discriminator_fake"] for one in losses]
    assert told[-1] < 0.8 * told[0]


def test_the_generator_s_loss_leaves_no_gradient_in_the_discriminator(stacks):
    trainer = Trainer(GAN, stacks, DATA)
    part = trainer.objective.batch(trainer.read(0), trainer.device)
    trainer.adversary.teach(part.source, trainer.generate(part.source)).backward()
    assert all(parameter.grad is None for parameter in trainer.adversary.learner.network.parameters())
    assert all(parameter.requires_grad for parameter in trainer.adversary.learner.network.parameters())
    assert all(parameter.grad is not None for parameter in trainer.generator.parameters())


def test_spectral_norm_bounds_the_discriminator(stacks):
    trainer = Trainer(dataclasses.replace(GAN, spectral_norm=True, gan_loss="hinge"), stacks, DATA)
    for _ in range(2):
        trainer.train_step()
    network = trainer.adversary.learner.network.eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            largest = torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2)
            assert 0.5 < float(largest) < 1.5


# The trainer


@pytest.mark.parametrize("changes", [{}, {"gan_loss": "bce", "l1_weight": 100.0}], ids=["l1", "gan"])
def test_the_loss_falls_by_half(stacks, changes):
    recipe = dataclasses.replace(SMALL, gf=4, steps=40, learning_rate=2e-3, **changes)
    trainer = Trainer(recipe, stacks, DATA)
    losses = [trainer.train_step()["l1"] for _ in range(recipe.steps)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_input_and_target_are_the_windows_of_the_pair(stacks):
    pair = phantom_pair()
    trainer = Trainer(dataclasses.replace(SMALL, enhancement_weight=5.0), stacks, DATA)
    stack = stacks.read(3)
    part = trainer.objective.batch([stack, stack], trainer.device)
    assert part.source.shape == part.target.shape == (2, 3, 4, 128, 128)
    assert part.more[0].shape == (2, 1, 4, 128, 128)
    assert np.array_equal(part.source[1].numpy(), to_windows(pair.ncct[3:7], SMALL.windows))
    assert np.array_equal(part.target[0].numpy(), to_windows(pair.cect[3:7], SMALL.windows))
    assert np.array_equal(part.more[0][0, 0].numpy() > 1, np.abs(pair.cect[3:7].astype(int) - pair.ncct[3:7]) > 50)


def test_the_last_steps_see_whole_slices(stacks):
    recipe = dataclasses.replace(SMALL, steps=1, final_steps=1, final_crop=256, max_shift=0)
    trainer = Trainer(recipe, stacks, DATA)
    sizes = []
    trainer.generator.register_forward_hook(lambda _module, inputs, _output: sizes.append(inputs[0].shape[-1]))
    trainer.train_step()
    trainer.train_step()
    assert sizes == [128, 256]


def test_the_average_follows_the_weights(stacks):
    trainer = Trainer(dataclasses.replace(SMALL, ema_decay=0.5), stacks, DATA)
    start = weights(trainer.ema)
    trainer.train_step()
    for name, mean in trainer.ema.state_dict().items():
        decay = 2 / 11
        torch.testing.assert_close(mean, decay * start[name] + (1 - decay) * trainer.generator.state_dict()[name])


def test_without_an_average_the_model_is_the_generator(stacks):
    trainer = Trainer(GAN, stacks, DATA)
    trainer.train_step()
    assert same(weights(trainer.ema), weights(trainer.generator))


@pytest.mark.parametrize("recipe", [SMALL, GAN], ids=["l1", "gan"])
def test_a_batch_in_parts_is_the_batch(stacks, recipe):
    whole = Trainer(dataclasses.replace(recipe, batch_size=4), stacks, DATA)
    parts = Trainer(dataclasses.replace(recipe, batch_size=4, accumulation=2), stacks, DATA)
    for _ in range(2):
        assert parts.train_step() == pytest.approx(whole.train_step(), rel=1e-4)
    for first, second in zip(whole.generator.parameters(), parts.generator.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=4e-5)


def test_a_batch_takes_the_next_stacks_of_the_stream(stacks):
    trainer = Trainer(dataclasses.replace(SMALL, batch_size=3), stacks, DATA)
    expected = [stacks.draw(trainer.recipe, place, 128).ncct for place in (6, 7, 8)]
    assert all(np.array_equal(pair.ncct, hu) for pair, hu in zip(trainer.read(2), expected, strict=True))


def test_processes_share_a_batch_and_no_stack_is_seen_twice(stacks):
    recipe = dataclasses.replace(SMALL, batch_size=6)
    crews = [Crew(rank, 3) for rank in range(3)]
    assert [list(crew.share(recipe.batch_size)) for crew in crews] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(InputError, match="3 processes cannot share a batch of 4"):
        Crew(0, 3).share(4)


def test_bf16_is_near_fp32(stacks):
    exact, quick = (Trainer(dataclasses.replace(GAN, precision=kind), stacks, DATA) for kind in ("fp32", "bf16"))
    exact_losses, quick_losses = exact.train_step(), quick.train_step()
    assert quick_losses == pytest.approx(exact_losses, rel=0.02)
    assert quick_losses != exact_losses
    assert {value.dtype for value in quick.generator.state_dict().values()} == {torch.float32}


def test_the_loss_scaling_of_fp16_changes_no_update_skips_an_overflow_and_is_kept():
    recipe = dataclasses.replace(SMALL, precision="fp16")
    plain, scaled, resumed = (
        Learner(network, [{"params": list(network.parameters())}], one, torch.device("cpu"), Crew())
        for one in (SMALL, recipe, recipe)
        for network in [torch.nn.Linear(3, 1, bias=False)]
    )
    scaled.network.load_state_dict(plain.network.state_dict())
    inputs = torch.tensor([[1.0, -2.0, 3.0]])
    for learner in (plain, scaled):
        learner.learn(learner.network(inputs).sum() ** 2)
        learner.update(1e-3)
    torch.testing.assert_close(scaled.network.weight, plain.network.weight)

    before = scaled.network.weight.detach().clone()
    scale = scaled.scaler.get_scale()
    scaled.learn(scaled.network(inputs * 1e38).sum() ** 2)
    scaled.update(1e-3)
    assert torch.equal(scaled.network.weight, before)
    assert scaled.scaler.get_scale() == scale / 2
    resumed.restore(scaled.state())
    assert resumed.scaler.get_scale() == scale / 2
    assert resumed.scaler.is_enabled() and not plain.scaler.is_enabled()


def test_a_loss_that_is_no_number_leaves_the_generator_as_it_is(stacks):
    trainer = Trainer(GAN, stacks, DATA)
    with torch.no_grad():
        next(trainer.generator.parameters()).fill_(float("nan"))
    before = weights(trainer.generator)["up.0.up.conv.weight"]
    with pytest.raises(InputError, match=r"the loss is nan at step 0.*lower learning_rate"):
        trainer.train_step()
    assert trainer.step == 0
    assert torch.equal(weights(trainer.generator)["up.0.up.conv.weight"], before)


def test_the_papers_discriminator_is_built_at_full_size():
    adversary = Adversary(find_recipe("choi2021"), torch.device("cpu"), Crew())
    assert sum(parameter.numel() for parameter in adversary.learner.network.parameters()) == 3_431_233

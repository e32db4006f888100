"""Training by shares: what is learnt of a pair, what is altered together, and that a few steps learn something."""

import dataclasses

import numpy as np
import pytest
import torch

from SyntheticContrastLib.ct.canonical_grid import CANONICAL_MM
from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.ct.phantom import thorax_phantom
from SyntheticContrastLib.models.share_unet import SHARES
from SyntheticContrastTrainingLib.dataset import stream_random
from SyntheticContrastTrainingLib.objectives import find_objective
from SyntheticContrastTrainingLib.recipes import find_recipe, override
from SyntheticContrastTrainingLib.share_dataset import SharePatch, ShareStacks, _altered, _thick, _warped
from SyntheticContrastTrainingLib.share_targets import ShareTarget, target_of_pair, target_of_unenhanced
from SyntheticContrastTrainingLib.trainer import Trainer
from SyntheticContrastTrainingLib.validation import validate
from unit.training_set import DATA

SPACING = (6.0, 2.1, 2.1)
POOLS = ("aorta", "left_ventricle", "left_atrium", "right_ventricle", "pulmonary_artery")
SMALL = dataclasses.replace(
    find_recipe("share"), widths=(4, 6, 8, 8, 8), depth=16, crop=96, final_crop=96, steps=40, precision="fp32"
)


@pytest.fixture(scope="module")
def phantom():
    return thorax_phantom((40, 170, 170), SPACING)


@pytest.fixture(scope="module")
def target(phantom):
    return target_of_pair(phantom.ncct, phantom.cect, SPACING, 350.0, simulated=True)


@pytest.fixture(scope="module")
def inside(phantom):
    """Where tissues lie on the canonical grid, cut as the target is."""
    from SyntheticContrastLib.ct.canonical_grid import to_canonical

    canonical = to_canonical(phantom.ncct, SPACING)
    return lambda name: canonical.also(phantom.mask(name).astype(np.float32)) > 0.95


def test_blood_has_the_whole_share_and_muscle_none(target, inside):
    for name in ("aorta", "left_ventricle"):
        assert target.share[inside(name)].mean() == pytest.approx(1, abs=0.05)
    assert target.share[inside("right_ventricle")].mean() == pytest.approx(260 / 310, abs=0.05)
    for name in ("muscle", "fat", "lung", "spinal_canal"):
        assert target.share[inside(name)].mean() < 0.03


def test_the_level_of_a_real_pair_is_found_in_it(phantom, target, inside):
    """Half of the contrast gives the same shares."""
    half = np.rint(phantom.ncct + 0.5 * (phantom.cect.astype(float) - phantom.ncct)).astype(np.int16)
    real = target_of_pair(phantom.ncct, half, SPACING, None, simulated=False)
    for name in ("aorta", "left_ventricle"):
        assert real.share[inside(name)].mean() == pytest.approx(target.share[inside(name)].mean(), abs=0.12)


def test_nothing_is_learnt_where_a_real_pair_moved(phantom):
    moved = np.roll(phantom.cect, 4, axis=1)
    real = target_of_pair(phantom.ncct, moved, SPACING, None, simulated=False)
    still = target_of_pair(phantom.ncct, phantom.cect, SPACING, None, simulated=False)
    lit_lung = (real.share > 0.3) & (real.tissue < 0.7)
    assert lit_lung.sum() > 500
    assert real.weight[lit_lung].mean() < 0.1
    assert real.weight.mean() < still.weight.mean() - 0.03


def test_what_the_moved_scan_does_not_cover_is_not_learnt(phantom):
    cut = phantom.cect.copy()
    cut[:8] = -1024
    real = target_of_pair(phantom.ncct, cut, SPACING, None, simulated=False)
    body = real.hu > -900
    assert real.weight[:15][body[:15]].max() == 0
    assert real.weight[20:][body[20:]].mean() > 0.5


def test_an_ncct_alone_teaches_only_far_from_heart_and_lungs(phantom, inside):
    alone = target_of_unenhanced(phantom.ncct, SPACING)
    assert not alone.share.any()
    for name in (*POOLS, "lung", "myocardium"):
        assert alone.weight[inside(name)].mean() < 0.02, name
    assert alone.weight.mean() > 0.02


def test_the_right_heart_is_told_by_its_hu(phantom, inside):
    made = target_of_pair(phantom.ncct, phantom.cect, SPACING, 350.0, simulated=True, right_hu=(260, 325))
    assert (made.right[inside("right_ventricle")] == 1).mean() > 0.7
    assert (made.right[inside("aorta")] == 0).mean() > 0.7
    assert (made.right[inside("muscle")] == -1).all()


def test_altering_moves_all_arrays_together(target):
    """A voxel's share, tissue and HU still belong together: bright in HU of a CECT where the share is high."""
    marked = dataclasses.replace(target, hu=np.where(target.share > 0.8, np.float32(77), np.float32(-300)))
    warped = _warped(marked, np.array(target.hu.shape) / 2, (16, 96, 96), SMALL, stream_random(SMALL, 3))
    assert np.corrcoef(warped.hu.ravel(), (warped.share > 0.8).ravel())[0, 1] > 0.85


def test_altering_without_changes_is_a_crop(target):
    plain = dataclasses.replace(SMALL, rotation=0.0, magnification=(1.0, 1.0), bend=0.0)
    import SyntheticContrastTrainingLib.share_dataset as module

    centre = np.array([19.5, 59.5, 69.5])  # voxel indices: the middle of an even size lies between two
    still = module.TILT, module.STRETCH
    try:
        module.TILT = module.STRETCH = 0.0
        warped = _warped(target, centre, (8, 32, 32), plain, stream_random(plain, 0))
    finally:
        module.TILT, module.STRETCH = still
    assert np.allclose(warped.hu, target.hu[16:24, 44:76, 54:86], atol=0.5)
    assert np.allclose(warped.weight, target.weight[16:24, 44:76, 54:86], atol=1e-3)


def test_other_blood_is_as_the_share_and_offsets_are_for_all(target):
    quiet = dataclasses.replace(SMALL, lesions=0.0, noise_hu=0.0)
    drawn = [_altered(target, quiet, np.random.default_rng(seed)) for seed in range(30)]
    blood, muscle = target.share > 0.9, (target.share < 0.02) & (target.hu > 30) & (target.hu < 70)
    change = np.array([[(d.hu - target.hu)[where].mean() for where in (blood, muscle)] for d in drawn])
    assert change[:, 1].std() > 4
    assert (change[:, 0] - change[:, 1]).std() > 6
    assert all(np.array_equal(d.share, target.share) for d in drawn)


def test_thick_slices_keep_the_mean(target):
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32)[:, None, None] * 10, (30, 4, 4)).copy()
    for seed in range(8):
        thick = _thick(ramp, np.random.default_rng(seed))
        assert thick.shape == ramp.shape
        assert np.abs(thick[6:-6] - ramp[6:-6]).max() < 1e-3  # a ramp stays a ramp


def test_draws_follow_from_the_seed_and_the_place_alone(target):
    stacks = ShareStacks([target], SMALL.depth)
    assert len(stacks) == len(target.hu)
    first, again, other = (stacks.draw(SMALL, place, SMALL.crop) for place in (5, 5, 6))
    assert first.ncct.shape == (16, 96, 96)
    assert np.array_equal(first.ncct, again.ncct) and not np.array_equal(first.ncct, other.ncct)
    assert first.spacing_zyx == CANONICAL_MM


def test_each_phase_teaches_its_own_channel(target):
    objective = find_objective(SMALL)
    for phase, channel in (("arterial", 0), ("portal", 1)):
        patch = ShareStacks([dataclasses.replace(target, phase=phase)], SMALL.depth).read(20)
        cut = SharePatch.of(
            ShareTarget(
                *(getattr(patch.target, n)[:, :96, :96] for n in ("hu", "tissue", "share", "weight", "right")), phase
            )
        )
        batch = objective.batch([cut], torch.device("cpu"))
        output = torch.zeros(1, len(SHARES), 16, 96, 96, requires_grad=True)
        objective.losses(output, batch)["loss"].backward()
        taught = output.grad.abs().sum(dim=(0, 2, 3, 4))
        assert taught[channel] > 0 and taught[1 - channel] == 0 and taught[2] == 0


def test_the_true_shares_have_the_least_loss(target):
    objective = find_objective(SMALL)
    patch = ShareStacks([target], SMALL.depth).read(20)
    batch = objective.batch([patch], torch.device("cpu"))
    true = torch.logit((batch.target / 1.1).clamp(1e-4, 1 - 1e-4))
    losses = {
        name: float(objective.losses(torch.cat([logits] * 3, 1), batch)["loss"])
        for name, logits in {"true": true, "half": true - 1, "none": torch.full_like(true, -5)}.items()
    }
    assert losses["true"] < 0.5 * losses["half"] < losses["none"]


def test_a_few_steps_learn_something(target):
    fast = dataclasses.replace(SMALL, learning_rate=1e-2, warm_up=0)
    trainer = Trainer(fast, ShareStacks([target], SMALL.depth), DATA)
    batch = trainer.read(0)
    losses = [trainer.train_step(batch)["loss"] for _ in range(SMALL.steps)]
    assert losses[-1] < 0.8 * losses[0]
    held_out = trainer.stacks.fixed(1)
    scores = validate(trainer.ema, held_out, SMALL)
    assert np.isfinite([scores.mae, scores.psnr]).all()
    assert scores.input_psnr < 30


def test_settings_that_do_not_fit_are_refused():
    for fields in ({"widths": [4, 4]}, {"crop": 100}, {"depth": 12}, {"gan_loss": "bce"}, {"dice_weight": -1.0}):
        with pytest.raises(InputError, match="recipe share: "):
            override(find_recipe("share"), fields)


def test_long_gradients_are_clipped(target):
    stacks = ShareStacks([target], SMALL.depth)
    lengths = {}
    for limit in (0.0, 1e-3):
        trainer = Trainer(dataclasses.replace(SMALL, clip_norm=limit), stacks, DATA)
        seen = []
        trainer.learner.optimiser.register_step_pre_hook(
            lambda optimiser, *_, seen=seen: seen.extend(
                float(p.grad.norm()) for group in optimiser.param_groups for p in group["params"]
            )
        )
        trainer.train_step()
        lengths[limit] = float(np.linalg.norm(seen))
    assert lengths[0.0] > 0.1
    assert lengths[1e-3] == pytest.approx(1e-3, rel=1e-3)

"""The share U-Net: what it takes and gives, and that a voxel does not see how much air lies around the body."""

import pytest
import torch

from SyntheticContrastLib.models.share_unet import HIGHEST_SHARE, ShareUNet, _pair_slices, _part_slices, to_share
from unit.tiny import tiny_share_network


def test_it_begins_with_next_to_no_contrast():
    logits = ShareUNet(widths=(4, 4, 4, 4, 4))(torch.randn(1, 3, 8, 16, 32))
    assert logits.shape == (1, 3, 8, 16, 32)
    assert to_share(logits)[:, :2].max() < 0.06


def test_shares_lie_within_their_limits():
    shares = to_share(torch.tensor([-50.0, 50.0]).expand(1, 3, 1, 1, 2))
    assert shares[0, :, 0, 0, 0].tolist() == pytest.approx([0, 0, 0])
    assert shares[0, :, 0, 0, 1].tolist() == pytest.approx([HIGHEST_SHARE, HIGHEST_SHARE, 1])


def test_paired_slices_part_again():
    x = torch.randn(8, 3, 2, 5)
    paired = _pair_slices(x)
    assert paired.shape == (4, 6, 2, 5)
    assert torch.equal(paired[1, :3], x[2]) and torch.equal(paired[1, 3:], x[3])
    assert torch.equal(_part_slices(paired), x)


@torch.inference_mode()
def test_volumes_of_a_batch_do_not_see_each_other():
    network, x = tiny_share_network(), torch.randn(2, 3, 16, 32, 32)
    both = network(x)
    assert torch.allclose(both[1:], network(x[1:]), atol=1e-4)


@torch.inference_mode()
def test_slices_see_their_neighbours():
    network, x = tiny_share_network(), torch.randn(1, 3, 24, 32, 32)
    other = x.clone()
    other[:, :, 12] += 1
    changed = (network(other) - network(x)).abs().amax(dim=(0, 1, 3, 4))
    assert (changed[10:15] > 1e-4).all()


@torch.inference_mode()
def test_more_air_around_it_changes_nothing_far_from_the_border():
    """Norms over the image would: with them a smaller field of view made blood darker by a quarter."""
    network = tiny_share_network()
    x = torch.full((1, 3, 8, 192, 192), -1.0)
    x[:, :, :, 64:128, 64:128] = torch.rand(1, 3, 8, 64, 64)
    wide = torch.nn.functional.pad(x, (32, 32, 32, 32), value=-1.0)
    middle = network(wide)[..., 32:-32, 32:-32][..., 80:112, 80:112]
    assert torch.allclose(network(x)[..., 80:112, 80:112], middle, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 3, 9, 16, 16), (1, 3, 8, 24, 16), (1, 3, 8, 16, 17)])
def test_sizes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="multiples of 8 and 16"):
        tiny_share_network()(torch.zeros(shape))


@pytest.mark.parametrize("widths", [(4, 4, 4, 4), (4, 4, 4, 4, 0)])
def test_widths_that_do_not_fit_are_refused(widths):
    with pytest.raises(ValueError, match="five widths"):
        ShareUNet(widths=widths)

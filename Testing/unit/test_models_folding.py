"""The folded decoder is the same function."""

import copy

import pytest
import torch

from SyntheticContrastLib.models.choi2021 import Generator
from SyntheticContrastLib.models.folding import fold, fold_axis


def randomised(norm, depth=16):
    torch.manual_seed(1)
    network = Generator(gf=3, norm=norm, depth=depth).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("depth", [16, 4])
@pytest.mark.parametrize("norm", ["keras", "instance"])
def test_folded_equals_plain_in_float64(norm, depth):
    network = randomised(norm, depth)
    image = torch.rand(1, 3, depth, 256, 384, dtype=torch.double) * 2 - 1
    with torch.inference_mode():
        plain = network(image)
        folded = fold(copy.deepcopy(network), channels=(0, 1, 2))(image)
        first_only = fold(copy.deepcopy(network))(image)
    assert plain.std() > 0.01
    torch.testing.assert_close(folded, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(first_only, plain[:, :1], rtol=0, atol=1e-12)


def test_fold_of_four_taps_by_hand():
    even, odd = fold_axis(torch.tensor([1.0, 10, 100, 1000]), 0)
    assert even.tolist() == [1, 110, 1000]
    assert odd.tolist() == [0, 11, 1100]


def test_fold_refuses_other_kernels():
    with pytest.raises(ValueError, match="3 taps"):
        fold_axis(torch.ones(3), 0)

"""The folded decoder is the same function."""

import copy
import sys

import pytest
import torch

from SyntheticContrastLib.models import folding
from SyntheticContrastLib.models.choi2021 import Generator
from SyntheticContrastLib.models.folding import fold, fold_axis, fold_in_training, merge_axis


def randomised(norm, depth=16, **more):
    torch.manual_seed(1)
    network = Generator(gf=3, norm=norm, depth=depth, **more).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("few", [4, sys.maxsize], ids=["", "Apple"])
@pytest.mark.parametrize("depth", [16, 4])
@pytest.mark.parametrize("norm", ["keras", "instance"])
def test_folded_equals_plain_in_float64(norm, depth, few, monkeypatch):
    monkeypatch.setattr(folding, "FEW", few)
    network = randomised(norm, depth)
    image = torch.rand(1, 3, depth, 256, 384, dtype=torch.double) * 2 - 1
    with torch.inference_mode():
        plain = network(image)
        folded = fold(copy.deepcopy(network), channels=(0, 1, 2))(image)
        first_only = fold(copy.deepcopy(network))(image)
    assert plain.std() > 0.01
    torch.testing.assert_close(folded, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(first_only, plain[:, :1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["keras", "instance"])
def test_folded_in_training_has_the_same_parameters_output_and_gradients(norm):
    plain = randomised(norm, depth=4)
    trained = fold_in_training(copy.deepcopy(plain))
    assert [name for name, _ in trained.named_parameters()] == [name for name, _ in plain.named_parameters()]
    image = torch.rand(2, 3, 4, 256, 256, dtype=torch.double) * 2 - 1
    outputs = [network(image) for network in (plain, trained)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-12)
    for output in outputs:
        (output**2).sum().backward()
    for (name, wanted), (_, found) in zip(plain.named_parameters(), trained.named_parameters(), strict=True):
        assert wanted.grad is not None, name
        scale = float(wanted.grad.abs().max())
        torch.testing.assert_close(found.grad, wanted.grad, rtol=0, atol=1e-9 * max(scale, 1.0), msg=name)


def test_a_residual_output_is_added_to_the_input_and_stays_so_when_folded():
    network = randomised("instance", depth=4, output="residual")
    change = copy.deepcopy(network)
    change.output = "plain"
    image = torch.rand(1, 3, 4, 256, 256, dtype=torch.double) * 2 - 1
    with torch.inference_mode():
        wanted = (image + 2 * change(image)).clamp(-1, 1)
        torch.testing.assert_close(network(image), wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(fold(copy.deepcopy(network), (1,))(image), wanted[:, 1:2], rtol=0, atol=1e-12)


def test_taps_of_the_transposed_convolution_by_hand():
    assert merge_axis(torch.tensor([1.0, 10, 100, 1000]), 0).tolist() == [1000, 1100, 110, 11, 1]
    assert merge_axis(torch.tensor([[1.0, 10]]), 1).tolist() == [[10, 11, 1]]


def test_fold_of_four_taps_by_hand():
    even, odd = fold_axis(torch.tensor([1.0, 10, 100, 1000]), 0)
    assert even.tolist() == [1, 110, 1000]
    assert odd.tolist() == [0, 11, 1100]


def test_few_channels_keep_the_form_with_phases(monkeypatch):
    monkeypatch.setattr(folding, "FEW", 4)
    sizes = {out: folding.fold_conv(torch.zeros(out, 2, 2, 4, 4), torch.zeros(out), 2)[0].shape for out in (4, 5)}
    assert sizes == {4: (32, 2, 2, 3, 3), 5: (2, 5, 3, 5, 5)}


def test_fold_refuses_other_kernels():
    with pytest.raises(ValueError, match="3 taps"):
        fold_axis(torch.ones(3), 0)

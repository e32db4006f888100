"""Convolutions in bf16 on the CPU have the gradients of float32, whatever the processor."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from SyntheticContrastLib.models.choi2021 import Generator
from SyntheticContrastLib.models.folding import fold_in_training
from SyntheticContrastTrainingLib.precision import Bf16Convolutions, mixed_precision
from SyntheticContrastTrainingLib.recipes import find_recipe


def rounded(*shape):
    """Random numbers that bf16 holds exactly, so that only sums are rounded."""
    return torch.randn(shape).bfloat16().float()


def gradients(convolution, x, weight, bias, where, change):
    leaves = [leaf.clone().requires_grad_() for leaf in (x, weight, bias)]
    output = convolution(*leaves, *where)
    output.backward(change.to(output.dtype))
    return [output.detach(), *(leaf.grad for leaf in leaves)]


def compare(convolution, x, weight, channels, where):
    torch.manual_seed(0)
    x, weight, bias = rounded(*x), 0.0625 * rounded(*weight), rounded(channels)
    change = rounded(*convolution(x, weight, bias, *where).shape)
    expected = gradients(convolution, x, weight, bias, where, change)
    with Bf16Convolutions():
        actual = gradients(convolution, x, weight, bias, where, change)
    for ours, wanted in zip(actual, expected, strict=True):
        assert (ours.float() - wanted).norm() < 0.005 * wanted.norm()
        assert ours.is_contiguous()  # instance norm takes a channels-last gradient for a plain one


@pytest.mark.parametrize(
    ("x", "weight", "where"),
    [  # of the networks at gf 16: with PyTorch 2.14 and AMX conv3d hung or gave no number on the first three
        ((1, 32, 9, 66, 66), (24, 32, 2, 3, 3), (1,)),
        ((1, 128, 3, 34, 34), (256, 128, 2, 3, 3), (1,)),
        ((1, 256, 2, 18, 18), (512, 256, 2, 3, 3), (1,)),
        ((1, 128, 1, 4, 4), (512, 128, 1, 3, 3), (1,)),
        ((1, 3, 16, 128, 128), (16, 3, 2, 4, 4), ((2, 2, 2), (0, 1, 1))),
        ((1, 128, 1, 8, 8), (128, 128, 1, 4, 4), ((1, 2, 2), (0, 1, 1))),
        ((2, 8, 4, 18, 18), (16, 8, 2, 4, 4), ((2, 2, 2),)),
        ((2, 8, 5, 9, 10), (16, 8, 3, 5, 5), ((1, 1, 1), (2, 2, 1))),
    ],
)
def test_outputs_and_gradients_of_a_convolution_are_those_of_float32(x, weight, where):
    compare(F.conv3d, x, weight, weight[0], where)


@pytest.mark.parametrize(
    ("x", "weight", "where"),
    [
        ((1, 64, 4, 32, 32), (64, 16, 3, 5, 5), ((2, 2, 2), (1, 2, 2), (1, 1, 1))),
        ((1, 256, 1, 8, 8), (256, 128, 1, 5, 5), ((1, 2, 2), (0, 2, 2), (0, 1, 1))),
        ((2, 8, 3, 7, 9), (8, 5, 3, 5, 5), ((2, 2, 2), (1, 2, 2), (1, 1, 1))),
        ((2, 8, 3, 7, 9), (8, 5, 2, 3, 4), (1,)),
    ],
)
def test_outputs_and_gradients_of_a_transposed_convolution_are_those_of_float32(x, weight, where):
    compare(F.conv_transpose3d, x, weight, weight[1], where)


@pytest.mark.parametrize("norm", ["instance", "keras"])
def test_the_generator_learns_in_bf16_as_in_float32(norm):
    torch.manual_seed(1)
    generator = fold_in_training(Generator(gf=4, depth=4, norm=norm, channels=1, output="residual"))
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)  # at its start the network gives nearly nothing, and all is rounding
    source = torch.rand(1, 1, 4, 256, 256) * 2 - 1
    target = source.roll(3, -1)

    def learn():
        generator.zero_grad()
        F.mse_loss(generator(source).float(), target).backward()
        return torch.cat([parameter.grad.flatten() for parameter in generator.parameters()])

    expected = learn()
    with Bf16Convolutions():
        actual = learn()
    assert F.cosine_similarity(actual, expected, 0) > 0.98
    assert 0.95 < actual.norm() / expected.norm() < 1.05


def test_only_choi_on_a_cpu_in_bf16_takes_these_convolutions():
    recipe, cpu = find_recipe("choi2021"), torch.device("cpu")
    kinds = {
        (name, device, precision): type(
            mixed_precision(dataclasses.replace(find_recipe(name), precision=precision), torch.device(device))
        ).__name__
        for name, device, precision in [
            ("choi2021", "cpu", "bf16"), ("choi2021", "cpu", "fp32"), ("santini2018", "cpu", "bf16"),
        ]
    }  # fmt: skip
    assert list(kinds.values()) == ["Bf16Convolutions", "nullcontext", "autocast"]
    with mixed_precision(dataclasses.replace(recipe, precision="bf16"), cpu):
        assert F.conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1)).dtype == torch.float32

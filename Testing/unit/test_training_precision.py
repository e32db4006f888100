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


def gradients(x, weight, bias, stride, change):
    leaves = [leaf.clone().requires_grad_() for leaf in (x, weight, bias)]
    output = F.conv3d(*leaves, stride)
    output.backward(change.to(output.dtype))
    return [output.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize(
    ("x", "weight", "stride"),
    [  # of the generator at gf 16: with PyTorch 2.14 and AMX conv3d hung or gave no number on the first three
        ((1, 32, 9, 66, 66), (24, 32, 2, 3, 3), 1),
        ((1, 128, 3, 34, 34), (256, 128, 2, 3, 3), 1),
        ((1, 256, 2, 18, 18), (512, 256, 2, 3, 3), 1),
        ((1, 128, 1, 4, 4), (512, 128, 1, 3, 3), 1),
        ((1, 3, 16, 130, 130), (16, 3, 2, 4, 4), (2, 2, 2)),
        ((1, 128, 1, 10, 10), (128, 128, 1, 4, 4), (1, 2, 2)),
        ((2, 8, 4, 18, 18), (16, 8, 2, 4, 4), (2, 2, 2)),
    ],
)
def test_outputs_and_gradients_of_a_convolution_are_those_of_float32(x, weight, stride):
    torch.manual_seed(0)
    stride = (stride,) * 3 if isinstance(stride, int) else stride
    x, weight, bias = rounded(*x), 0.0625 * rounded(*weight), rounded(weight[0])
    change = rounded(*F.conv3d(x, weight, bias, stride).shape)
    expected = gradients(x, weight, bias, stride, change)
    with Bf16Convolutions():
        actual = gradients(x, weight, bias, stride, change)
    for ours, wanted in zip(actual, expected, strict=True):
        assert (ours.float() - wanted).norm() < 0.005 * wanted.norm()
        assert ours.is_contiguous()  # InstanceNorm3d takes a channels-last gradient for a plain one


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

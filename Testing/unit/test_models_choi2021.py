"""The Choi networks against the table's figures and a Keras rebuild of the public code."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from SyntheticContrastLib.models.choi2021 import Discriminator, Generator, InstanceNorm3d, KerasInstanceNorm, SameConv3d
from SyntheticContrastLib.models.folding import fold
from unit import keras_rebuild


def parameter_count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def copy_weights(model, network):
    values = keras_rebuild.parameters_in_order(model)
    parameters = list(network.parameters())
    assert len(values) == len(parameters)
    with torch.no_grad():
        for value, parameter in zip(values, parameters, strict=True):
            parameter.copy_(torch.from_numpy(value.copy()).reshape(parameter.shape))


def random_windows(seed, channels=3):
    return np.random.default_rng(seed).uniform(-1, 1, (1, 256, 256, 16, channels)).astype(np.float32)


def to_torch(image):  # (N, Y, X, Z, C) to (N, C, Z, Y, X)
    return torch.from_numpy(image).permute(0, 4, 3, 1, 2)


@pytest.mark.parametrize(
    ("norm", "generator", "discriminator"), [("keras", 50_092_443, 3_429_321), ("instance", 50_101_251, 3_431_233)]
)
def test_parameter_counts_are_those_of_the_table(norm, generator, discriminator):
    assert parameter_count(Generator(norm=norm)) == generator
    assert parameter_count(Discriminator(norm=norm)) == discriminator


def test_sizes_of_the_levels_are_those_of_the_table():
    network = Generator(gf=1)
    sizes = []
    for block in [*network.down, *network.up]:
        block.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[2:])))
    assert network(torch.zeros(1, 3, 16, 512, 512)).shape == (1, 3, 16, 512, 512)
    down = [(8, 256, 256), (4, 128, 128), (2, 64, 64), (1, 32, 32), (1, 16, 16), (1, 8, 8), (1, 4, 4)]
    assert sizes == [*down, *reversed(down[:-1])]


@pytest.mark.parametrize(("depth", "slices", "field"), [(16, 2, 8), (8, 2, 4)])
def test_discriminator_output_and_receptive_field(depth, slices, field):
    """64 x 64 x 2 judgements, each of 70 x 70 x 8 voxels at depth 16 and of 70 x 70 x 4 at depth 8."""
    network = Discriminator(df=1, depth=depth)
    assert network(torch.zeros(1, 3, depth, 512, 512), torch.zeros(1, 3, depth, 512, 512)).shape[2:] == (slices, 64, 64)
    for block in network.blocks:
        block.norm = None  # a norm sees the whole window
    image = torch.zeros(1, 3, depth, 256, 256, requires_grad=True)
    network(image, image.detach())[0, 0, 0, 16, 16].backward()
    seen = [np.ptp(axis) + 1 for axis in image.grad.abs().sum((0, 1)).numpy().nonzero()]
    assert seen == [field, 70, 70]


@pytest.mark.parametrize("resize", ["upsampling", "resize-then-repeat"])
@pytest.mark.parametrize("norm", ["keras", "instance"])
def test_generator_equals_the_keras_rebuild(norm, resize):
    model = keras_rebuild.generator(4, norm, resize)
    keras_rebuild.randomise(model)
    network = Generator(gf=4, norm=norm)
    copy_weights(model, network)
    image = random_windows(1)
    expected = to_torch(model(image).detach().numpy())
    with torch.inference_mode():
        plain = network.eval()(to_torch(image))
        folded = fold(network)(to_torch(image))
    assert expected.std() > 0.05  # a saturated or flat output would show nothing
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(folded, expected[:, :1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", ["keras", "instance"])
def test_discriminator_equals_the_keras_rebuild(norm):
    model = keras_rebuild.discriminator(4, norm)
    keras_rebuild.randomise(model)
    network = Discriminator(df=4, norm=norm)
    copy_weights(model, network)
    target, condition = random_windows(2), random_windows(3)
    expected = to_torch(model([target, condition]).detach().numpy())
    with torch.inference_mode():
        found = torch.sigmoid(network(to_torch(target), to_torch(condition)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [InstanceNorm3d, KerasInstanceNorm])
@pytest.mark.parametrize("batch", [1, 2])
def test_norms_in_channels_last_order_are_exact_over_many_voxels(kind, batch):
    """PyTorch's batch norm, which keeps that order, is wrong by 0.1 % here: after a ReLU many values are equal."""
    torch.manual_seed(0)
    norm = kind(2, affine=True) if kind is InstanceNorm3d else kind()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(batch, 2, 8, 256, 256).relu()
    x[:, 1] *= 3
    with torch.inference_mode():
        actual = norm(x.to(memory_format=torch.channels_last_3d))
        torch.testing.assert_close(actual, norm.double()(x.double()).float(), rtol=0, atol=1e-5)
    assert actual.is_contiguous(memory_format=torch.channels_last_3d) or batch == 2


def test_norms_in_channels_last_order_learn_as_in_plain_order():
    torch.manual_seed(0)
    norm = InstanceNorm3d(3, affine=True).double()
    x, change = torch.randn(2, 1, 3, 4, 5, 6, dtype=torch.double)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        leaf = x.to(memory_format=layout).detach().requires_grad_()
        found.append(torch.autograd.grad((norm(leaf) * change).sum(), (leaf, norm.weight, norm.bias)))
    for plain, last in zip(*found, strict=True):
        torch.testing.assert_close(last, plain)


@pytest.mark.parametrize(("kernel", "stride"), [((2, 4, 4), (2, 2, 2)), ((1, 4, 4), (1, 2, 2)), ((2, 4, 4), (1, 1, 1))])
def test_same_padding_with_and_without_a_copy(kernel, stride):
    torch.manual_seed(0)
    layer = SameConv3d(2, 3, kernel, stride)
    x = torch.randn(1, 2, 4, 8, 8)
    pads = []
    for taps, step in zip(kernel[::-1], stride[::-1], strict=True):
        pads += [(taps - step) // 2, taps - step - (taps - step) // 2]
    torch.testing.assert_close(layer(x), F.conv3d(F.pad(x, pads), layer.weight, layer.bias, stride))


def test_same_padding_of_even_kernels_pads_more_after():
    """TensorFlow: 4 taps at stride 1 see one voxel before and two after; at stride 2, one before and one after."""
    for stride, before in ((1, 1), (2, 1)):
        convolution = SameConv3d(1, 1, (1, 1, 4), (1, 1, stride), bias=False)
        with torch.no_grad():
            convolution.weight.copy_(torch.tensor([1.0, 10, 100, 1000]).view(1, 1, 1, 1, 4))
            image = torch.zeros(1, 1, 1, 1, 8)
            image[..., 4] = 1
            found = convolution(image)[0, 0, 0, 0]
        position = 4 // stride
        assert found[position] == 10**before
        assert len(found) == 8 // stride


def test_keras_norm_adds_epsilon_to_the_standard_deviation():
    norm = KerasInstanceNorm()
    image = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1, 1)  # mean 1, population SD 1
    torch.testing.assert_close(norm(image), torch.tensor([-1, 1]).view(1, 2, 1, 1, 1) / 1.001)


@pytest.mark.parametrize("arguments", [{"depth": 12}, {"depth": 256}, {"norm": "batch"}])
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ValueError):
        Generator(gf=1, **arguments)

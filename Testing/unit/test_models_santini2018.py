"""The Santini network against the paper's description and a Keras rebuild."""

import copy

import keras
import numpy as np
import pytest
import torch
from keras import layers

from SyntheticContrastLib.models.santini2018 import LAYERS, WIDTHS, Network, fold_for_inference

SMALL = (3, 4, 5, 6, 7, 8, 9, 10)


def randomised(network, seed=0):
    """Weights and statistics of the batch norm such that every one shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.is_floating_point() and tensor.dim() == 1:
                tensor.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.3, generator=generator)
    return network.eval()


def random_images(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32))


def keras_network(widths, channels, side):
    """Section 2.3 once more, with the layers' names as the only link to ours."""
    mirror = widths[::-1]
    x = image = layers.Input((side, side, channels))

    def normalised(x, name):
        return layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name=f"{name}-norm")(x))

    for number in range(1, 9):
        stride = 2 if number % 2 == 0 else 1
        name = f"encoder-{number - 1}"
        x = layers.Conv2D(widths[number - 1], 3, stride, "same", use_bias=False, name=f"{name}-conv")(x)
        x = normalised(x, name)
    x = normalised(layers.Conv2D(widths[-1], 3, padding="same", use_bias=False, name="middle-conv")(x), "middle")
    for number in range(1, 8):
        name = f"decoder-{number - 1}"
        if number % 2:
            x = layers.Conv2DTranspose(mirror[number - 1], 2, 2, "valid", use_bias=False, name=f"{name}-conv")(x)
        else:
            x = layers.Conv2D(mirror[number - 1], 3, padding="same", use_bias=False, name=f"{name}-conv")(x)
        x = normalised(x, name)
    x = layers.Add()([x, layers.Conv2D(mirror[6], 1, name="skip")(image)])
    return keras.Model(image, layers.Conv2D(channels, 3, padding="same", name="out")(x))


def copy_to_keras(network, model):
    copied = 0
    for layer in model.layers:
        if not layer.weights:
            continue
        module = network.get_submodule(layer.name.replace("-", "."))
        if isinstance(layer, layers.BatchNormalization):
            values = [module.weight, module.bias, module.running_mean, module.running_var]
        else:
            # (out, in, y, x) to (y, x, in, out); transposed: (in, out, y, x) to (y, x, out, in)
            values = [module.weight.permute(2, 3, 1, 0), *([] if module.bias is None else [module.bias])]
        layer.set_weights([value.detach().numpy() for value in values])
        copied += len(values)
    return copied


def test_parameter_count_is_the_papers():
    """11.9 M: kernels 11,875,520, batch norm 8,576, biases of the two plain convolutions 65."""
    network = Network()
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_875_520 + 8_576 + 65 == 11_884_161
    kernels = sum(parameter.numel() for parameter in network.parameters() if parameter.dim() == 4)
    assert kernels == 11_875_520


def test_sizes_and_widths_of_the_levels():
    network = Network()
    shapes = []
    for block in [*network.encoder, network.middle, *network.decoder]:
        block.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, 1, 128, 128)).shape == (1, 1, 128, 128)
    down = [(64, 128), (64, 64), (128, 64), (128, 32), (256, 32), (256, 16), (512, 16), (512, 8)]
    up = [(512, 16), (512, 16), (256, 32), (256, 32), (128, 64), (128, 64), (64, 128)]
    assert shapes == [(width, side, side) for width, side in [*down, (512, 8), *up]]


def test_equals_the_keras_rebuild():
    side, channels = 48, 2
    network = randomised(Network(SMALL, channels))
    model = keras_network(SMALL, channels, side)
    assert copy_to_keras(network, model) == len([name for name in network.state_dict() if "num_batches" not in name])
    image = random_images(1, 2, channels, side, side)
    expected = torch.from_numpy(model(image.permute(0, 2, 3, 1).numpy()).detach().numpy()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found = network(image)
    assert expected.std() > 0.1  # a flat output would show nothing
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_skip_is_a_residual_path_from_the_input():
    """output = filter(features + skip(input)): without features it is linear in the input, and can be the identity."""
    network = randomised(Network(SMALL))
    image = random_images(2, 1, 1, 32, 32)
    with torch.inference_mode():
        whole = network(image)
        silent = copy.deepcopy(network)
        silent.decoder[-1].norm.weight.zero_()
        silent.decoder[-1].norm.bias.zero_()
        residual = silent(image)
        torch.testing.assert_close(residual, network.out(network.skip(image)))
        features = image
        for block in [*network.encoder, network.middle, *network.decoder]:
            features = block(features)
        by_features = torch.nn.functional.conv2d(features, network.out.weight, padding=1)
        torch.testing.assert_close(whole, residual + by_features, rtol=0, atol=1e-5)
        assert by_features.std() > 0.01

        for plain in (silent.skip, silent.out):
            plain.weight.zero_()
            plain.bias.zero_()
        silent.skip.weight[0] = 1
        silent.out.weight[0, 0, 1, 1] = 1
        torch.testing.assert_close(silent(-image), -image)  # negative values pass too: no ReLU on the way


def seen_by(pixel):
    """First and last input row that decide an output row, layer by layer from the paper's kernels and strides."""
    low, high = pixel - 1, pixel + 1  # the last filter
    for number in range(7, 0, -1):
        low, high = (low // 2, high // 2) if number % 2 else (low - 1, high + 1)
    low, high = low - 1, high + 1  # the middle layer
    for number in range(8, 0, -1):
        low, high = (low - 1, high + 1) if number % 2 else (2 * low, 2 * high + 2)
    return low, high


def test_field_of_view_of_a_pixel():
    network = Network((1,) * LAYERS, batch_norm=False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.5)  # all ReLUs open
    image = torch.ones(1, 1, 256, 256, requires_grad=True)
    for row, column in ((128, 128), (133, 120)):
        (gradient,) = torch.autograd.grad(network(image)[0, 0, row, column], image)
        rows, columns = gradient[0, 0].numpy().nonzero()
        assert (rows.min(), rows.max()) == seen_by(row)
        assert (columns.min(), columns.max()) == seen_by(column)


def test_influence_of_a_pixel_moves_with_it():
    """A shift by 16 pixels, away from the borders, shifts what the pixel changes, and nothing else."""
    network = randomised(Network(SMALL)).double()
    background = torch.zeros(1, 1, 320, 320, dtype=torch.float64)
    changes = []
    with torch.inference_mode():
        for row, column in ((144, 144), (160, 176)):
            image = background.clone()
            image[0, 0, row, column] = 1
            changes.append(network(image) - network(background))
    assert changes[0].abs().max() > 1e-3
    torch.testing.assert_close(changes[0].roll((16, 32), (2, 3)), changes[1], rtol=0, atol=1e-10)


def test_folding_is_exact_and_loads_into_the_network_without_batch_norm():
    network = randomised(Network(SMALL)).double()
    image = random_images(3, 2, 1, 32, 48).double()
    with torch.inference_mode():
        expected = network(image)
        folded = fold_for_inference(network)
        found = folded(image)
        assert expected.std() > 0.1
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
        loaded = Network(SMALL, batch_norm=False).double()
        loaded.load_state_dict(folded.state_dict())
        assert torch.equal(loaded(image), found)
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    with pytest.raises(AssertionError, match="folded already"):
        fold_for_inference(folded)


def test_training_reaches_every_parameter():
    network = Network(SMALL).train()
    network(random_images(4, 2, 1, 32, 32)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("widths", [WIDTHS[:6], (*WIDTHS[:7], 0)])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(ValueError, match="8 positive"):
        Network(widths)


def test_sides_that_do_not_halve_four_times_are_refused():
    with pytest.raises(ValueError, match="24 x 32 pixels"):
        Network(SMALL)(torch.zeros(1, 1, 24, 32))

"""Weights saved as the public code saves them, imported, against the Keras rebuild that they come from."""

import sys

import h5py
import numpy as np
import pytest
import torch
from keras import layers

from SyntheticContrastLib.ct.errors import InputError
from SyntheticContrastLib.models.bundle import load_bundle, write_bundle
from SyntheticContrastLib.models.keras_weights import architecture_arguments, import_generator
from unit import entry, keras_rebuild
from unit.tiny import tiny_card

EXPORT = entry.TRAINING_CLI / "export.py"
SHAPE = (128, 128, 16)
# Keras 3.15 converts its own variables in a way that NumPy 2 warns of.
ignore_keras_warning = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
PREFIXES = {"Conv3D": "conv3d", "KerasContribInstanceNorm": "instance_normalization", "LeakyReLU": "leaky_re_lu"}


@pytest.fixture(scope="module")
def generator():
    model = keras_rebuild.generator(3, "keras", "upsampling", SHAPE)
    keras_rebuild.randomise(model)
    return model


@pytest.fixture(scope="module")
def discriminator():
    model = keras_rebuild.discriminator(3, "keras", SHAPE)
    keras_rebuild.randomise(model, seed=1)
    return model


def keras2_layers(model, counters):
    """(name, [(weight name, value)]) of the layers, numbered from 1 for each kind of layer, on from `counters`."""
    named = []
    for layer in model.layers:
        prefix = PREFIXES.get(type(layer).__name__, type(layer).__name__.lower())
        counters[prefix] = counters.get(prefix, 0) + 1
        name = f"{prefix}_{counters[prefix]}"
        kinds = ("kernel", "bias") if isinstance(layer, layers.Conv3D) else ("gamma", "beta")
        values = [weight.value.detach().numpy() for weight in layer.weights]
        named.append((name, [(f"{name}/{kind}:0", value) for kind, value in zip(kinds, values, strict=False)]))
    return named


def nested(name, model_layers):
    """A model as a layer of another: all its weights in one group."""
    return name, [weight for _, weights in model_layers for weight in weights]


def write_keras2(path, model_layers):
    """What Keras 2.1.5's `save_weights_to_hdf5_group` writes for a model with these layers."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode("utf8") for name, _ in model_layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.1.5"
        for name, weights in model_layers:
            group = file.create_group(name)
            group.attrs["weight_names"] = [weight_name.encode("utf8") for weight_name, _ in weights]
            for weight_name, value in weights:
                group.create_dataset(weight_name, value.shape, value.dtype)[...] = value
    return path


def combined_layers(generator, discriminator):
    """The public code builds the discriminator first: the generator's first convolution is conv3d_6."""
    counters = {}
    d_layers = keras2_layers(discriminator, counters)
    g_layers = keras2_layers(generator, counters)
    return [("input_5", []), nested("model_3", g_layers), ("input_4", []), nested("model_1", d_layers)]


def outputs(model, network, shape=SHAPE):
    """Of the Keras model and of ours on the same random windows, as (N, C, Z, Y, X)."""
    image = np.random.default_rng(1).uniform(-1, 1, (1, *shape, 3)).astype(np.float32)
    expected = torch.from_numpy(model(image).detach().numpy()).permute(0, 4, 3, 1, 2)
    assert expected.std() > 0.05  # a saturated or flat output would show nothing
    with torch.inference_mode():
        return expected, network(torch.from_numpy(image).permute(0, 4, 3, 1, 2))


def assert_same(model, network, shape=SHAPE):
    expected, found = outputs(model, network, shape)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_combined_model(generator, discriminator, tmp_path):
    model_layers = combined_layers(generator, discriminator)
    names = [name for name, _ in model_layers[1][1]]
    assert names[:3] == ["conv3d_6/kernel:0", "conv3d_6/bias:0", "conv3d_7/kernel:0"]
    assert names != sorted(names)  # conv3d_10 before conv3d_6: the alphabet would be the wrong order
    network = import_generator(write_keras2(tmp_path / "final20.h5", model_layers))
    assert_same(generator, network)
    assert not network.training
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_generator_alone(generator, tmp_path):
    """conv3d_1 to conv3d_14, one group each, which HDF5 lists as conv3d_1, conv3d_10, ..."""
    model_layers = keras2_layers(generator, {})
    path = write_keras2(tmp_path / "generator.h5", model_layers)
    with h5py.File(path) as file:
        listed = [name for name in file if name.startswith("conv3d")]
    assert listed[:3] == ["conv3d_1", "conv3d_10", "conv3d_11"]
    assert_same(generator, import_generator(path))


def test_order_of_the_layers_shows_in_the_output(generator, tmp_path):
    """e6 and e7 have kernels of the same shape: no check of shapes would see them swapped, the comparison does."""
    model_layers = keras2_layers(generator, {})
    names = [name for name, _ in model_layers]
    sixth, seventh = names.index("conv3d_6"), names.index("conv3d_7")
    model_layers[sixth], model_layers[seventh] = model_layers[seventh], model_layers[sixth]
    expected, found = outputs(generator, import_generator(write_keras2(tmp_path / "swapped.h5", model_layers)))
    assert (found - expected).abs().max() > 0.01


@ignore_keras_warning
def test_whole_model_written_by_keras_itself(generator, tmp_path):
    """Keras 3 still writes the old layout, as `model.save` did: another hand than this file's writer."""
    path = tmp_path / "whole.h5"
    generator.save(path)
    assert_same(generator, import_generator(path))


def test_norm_per_channel(tmp_path):
    shape = (256, 256, 16)
    model = keras_rebuild.generator(2, "instance", "upsampling", shape)
    keras_rebuild.randomise(model)
    path = write_keras2(tmp_path / "instance.h5", keras2_layers(model, {}))
    assert_same(model, import_generator(path, norm="instance"), shape)
    with pytest.raises(InputError, match=r"has a gamma \(1,\) \(another norm"):
        import_generator(path)


def test_size_is_taken_from_the_kernels(tmp_path):
    """Eight slices, so three levels halve them, two filters and one window."""
    encoder = [(2, 1, 2), (2, 2, 4), (2, 4, 8), (1, 8, 16), (1, 16, 16), (1, 16, 16), (1, 16, 16)]
    decoder = [(1, 16, 16), (1, 32, 16), (1, 32, 16), (1, 32, 8), (2, 16, 4), (2, 8, 2), (2, 4, 1)]
    model_layers = []
    for number, (kernel_z, width_in, width_out) in enumerate([*encoder, *decoder], start=1):
        kernel = np.zeros((4, 4, kernel_z, width_in, width_out), np.float32)
        name = f"conv3d_{number}"
        bias = np.zeros(width_out, np.float32)
        model_layers.append((name, [(f"{name}/kernel:0", kernel), (f"{name}/bias:0", bias)]))
        if number not in (1, 14):
            one = np.ones(1, np.float32)
            name = f"instance_normalization_{number - 1}"
            model_layers.append((name, [(f"{name}/gamma:0", one), (f"{name}/beta:0", one)]))
    network = import_generator(write_keras2(tmp_path / "small.h5", model_layers))
    assert architecture_arguments(network) == {"gf": 2, "depth": 8, "norm": "keras", "channels": 1}


def test_imported_generator_goes_into_a_bundle(generator, tmp_path):
    network = import_generator(write_keras2(tmp_path / "generator.h5", keras2_layers(generator, {})))
    card = tiny_card(architecture_arguments=architecture_arguments(network))
    write_bundle(tmp_path / "bundle", network, card, half=False)
    assert_same(generator, load_bundle(tmp_path / "bundle").load_network())


def test_export_makes_a_bundle_of_it(generator, tmp_path, capsys):
    path = write_keras2(tmp_path / "final20.h5", keras2_layers(generator, {}))
    done = entry.call(EXPORT, ["--checkpoint", path, "--output", tmp_path / "authors"], capsys)
    assert done.status == 0, done.err
    bundle = load_bundle(tmp_path / "authors")
    assert bundle.card.recipe == "choi2021-code" and bundle.card.name == "authors"
    loaded, imported = bundle.load_network(), import_generator(path)
    for name, tensor in imported.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())


def refused(path, text, **arguments):
    with pytest.raises(InputError, match=text) as caught:
        import_generator(path, **arguments)
    assert "\n" not in str(caught.value)


def test_discriminator_alone_is_refused(discriminator, tmp_path):
    refused(write_keras2(tmp_path / "d.h5", keras2_layers(discriminator, {})), "networks of 5 convolutions")


def test_combined_model_without_generator_is_refused(generator, discriminator, tmp_path):
    model_layers = combined_layers(generator, discriminator)
    refused(write_keras2(tmp_path / "d.h5", model_layers[2:]), "networks of 5 convolutions")
    both = [model_layers[1], ("model_7", model_layers[1][1])]
    refused(write_keras2(tmp_path / "two.h5", both), "networks of 14, 14 convolutions")


def test_other_number_of_layers_is_refused(generator, tmp_path):
    model_layers = keras2_layers(generator, {})
    names = [name for name, _ in model_layers]
    without = [layer for layer in model_layers if layer[0] != "conv3d_5"]
    refused(write_keras2(tmp_path / "13.h5", without), "networks of 13 convolutions")
    without = [layer for layer in model_layers if layer[0] != "instance_normalization_12"]
    assert len(without) == len(names) - 1
    refused(write_keras2(tmp_path / "norm.h5", without), "has 50 weights, not 52")


def change(model_layers, name, changed):
    """The layers with the value of the weight `name` changed."""
    return [
        (layer, [(weight, changed(value) if weight == name else value) for weight, value in weights])
        for layer, weights in model_layers
    ]


@pytest.mark.parametrize(
    ("name", "changed", "text"),
    [
        ("conv3d_9/kernel:0", lambda kernel: kernel[:3, :3], r"conv3d_9/kernel:0 \(3, 3, 1, 48, 24\)"),
        ("conv3d_1/kernel:0", lambda kernel: np.concatenate([kernel] * 2, axis=3), "stands where"),  # coordconv: 6 in
        ("conv3d_3/kernel:0", lambda kernel: kernel[:, :, 0], "not 3D"),
        ("conv3d_4/bias:0", lambda bias: bias[:-1], r"conv3d_4/bias:0 \(23,\)"),
        ("conv3d_4/bias:0", lambda bias: bias * np.nan, "conv3d_4/bias:0 holds values that are not finite"),
        ("conv3d_4/bias:0", lambda bias: bias.astype(np.int32), "stands where"),
    ],
)
def test_other_weights_are_refused(generator, tmp_path, name, changed, text):
    model_layers = change(keras2_layers(generator, {}), name, changed)
    refused(write_keras2(tmp_path / "other.h5", model_layers), text)


def test_gain_and_shift_are_told_apart_by_name(generator, tmp_path):
    """Both are (1,): a file that holds beta before gamma must not be read as if it did not."""
    model_layers = [
        (name, weights[::-1] if name == "instance_normalization_3" else weights)
        for name, weights in keras2_layers(generator, {})
    ]
    refused(write_keras2(tmp_path / "swapped.h5", model_layers), "instance_normalization_3/beta:0")


def test_model_that_keeps_all_slices_is_refused(generator, tmp_path):
    model_layers = keras2_layers(generator, {})
    for number in range(1, 8):
        model_layers = change(model_layers, f"conv3d_{number}/kernel:0", lambda kernel: kernel[:, :, :1])
    refused(write_keras2(tmp_path / "flat.h5", model_layers), "halves the slices")


@ignore_keras_warning
def test_files_of_another_kind_are_refused(generator, tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    refused(text, "cannot be read as HDF5")
    refused(tmp_path / "nowhere.h5", "is not a file")
    refused(tmp_path, "is not a file")
    refused(".", "is not a file")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    refused(tmp_path / "empty.h5", "holds no weights of a Keras model")
    generator.save_weights(tmp_path / "keras3.weights.h5")
    refused(tmp_path / "keras3.weights.h5", "saved by Keras 3")


def test_damaged_files_are_refused(generator, tmp_path):
    whole = write_keras2(tmp_path / "whole.h5", keras2_layers(generator, {}))
    content = whole.read_bytes()
    truncated = tmp_path / "truncated.h5"
    for size in (100, len(content) // 2, len(content) - 1000):
        truncated.write_bytes(content[:size])
        refused(truncated, "cannot be read as HDF5, or is damaged")
    with h5py.File(whole, "a") as file:
        del file["conv3d_2/conv3d_2/kernel:0"]
    refused(whole, "is damaged.*kernel:0")
    with h5py.File(whole, "a") as file:
        file.create_group("conv3d_2/conv3d_2/kernel:0")
    refused(whole, "is damaged.*kernel:0 is not a dataset")


def test_tensorflow_checkpoints_are_refused(tmp_path):
    """Given as the prefix, as one of its files, or as a SavedModel folder."""
    for name in ("final20.index", "final20.data-00000-of-00001", "checkpoint"):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, "TensorFlow")
    refused(tmp_path / "final20", "TensorFlow")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    refused(tmp_path / "saved", "TensorFlow")


def test_missing_h5py_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(tmp_path / "any.h5", "h5py is needed")

"""Import of generator weights that the public code of Choi 2021 (Keras 2, jwc-rad/pix2pix3D-CT) has saved.

That code saves `combined.save_weights("final20.h5")`: one HDF5 group for each layer of the combined model, named in
the attribute `layer_names`. The generator and the discriminator are two of these layers, and all weights of each lie in
its group, named in the attribute `weight_names`: "conv3d_6/kernel:0", "conv3d_6/bias:0", "conv3d_7/kernel:0", ...,
"instance_normalization_5/gamma:0", ... A file of `generator.save_weights` has the generator's layers at the top
instead, and one of `model.save` has either form below "model_weights".

The two attributes give the order of the layers, which is that of the forward pass. The numbers in the names say little:
they continue from the discriminator's, and HDF5 itself lists conv3d_10 before conv3d_2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SyntheticContrastLib.ct.errors import InputError

if TYPE_CHECKING:
    from SyntheticContrastLib.models.choi2021 import Generator, NormKind

Weights = list[tuple[str, Any]]  # name and HDF5 dataset, in order

CONVOLUTIONS = 14  # of the generator; the discriminator has 5


def import_generator(h5_path: str | Path, norm: NormKind = "keras") -> Generator:
    """The generator of a Keras 2 weights file, in float32, in evaluation mode, on the CPU.

    Filters, depth and channels are taken from the shapes of the kernels, (y, x, z, in, out) in the file.

    Args:
        h5_path: weights of the combined model or of the generator alone.
        norm: "keras" for the public code as it is. "instance" for a copy changed to a norm per channel, whose
            epsilon is then taken to be 1e-5, inside the square root: the file does not state it.

    Raises:
        InputError: when h5py is missing; for a file that is not such a one, or damaged; for a generator of another
            build; for weights that are not finite.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(
            "h5py is needed to read Keras weights: install it into this Python (pip install h5py)"
        ) from None

    path = Path(h5_path)
    _refuse_tensorflow(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    try:
        with h5py.File(path, "r") as file:
            return _generator_from(_generator_weights(file, path), norm, path)
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as HDF5, or is damaged: {' '.join(str(error).split())}") from None


def architecture_arguments(generator: Generator) -> dict[str, Any]:
    """What a bundle's card states to rebuild an imported `generator`."""
    from torch import nn

    first = generator.down[0].conv
    assert isinstance(first, nn.Conv3d)
    arguments = {"gf": first.out_channels, "depth": generator.depth, "norm": generator.norm_kind}
    return {**arguments, "channels": first.in_channels}


def _refuse_tensorflow(path: Path) -> None:
    is_checkpoint = path.suffix == ".index" or ".data-" in path.name or path.name == "checkpoint"
    if is_checkpoint or Path(f"{path}.index").exists() or (path / "saved_model.pb").exists():
        raise InputError(
            f"{path} is a TensorFlow checkpoint or SavedModel: load it with the public code and save it with "
            "combined.save_weights('NAME.h5')"
        )


def _generator_weights(file: Any, path: Path) -> Weights:
    root = file.get("model_weights", file)
    if "layer_names" not in root.attrs:
        if "layers" in root:
            raise InputError(
                f"{path} was saved by Keras 3: only files of Keras 2, as the public code saves them, are read"
            )
        raise InputError(f"{path} is HDF5, but holds no weights of a Keras model")
    networks = list(_networks(root))
    counts = [sum(_kind(name) == "kernel" for name, _ in weights) for weights in networks]
    if counts.count(CONVOLUTIONS) != 1:
        raise InputError(
            f"{path} does not hold one generator of {CONVOLUTIONS} convolutions, but networks of "
            f"{', '.join(map(str, counts)) or 'no'} convolutions (the discriminator has 5)"
        )
    return networks[counts.index(CONVOLUTIONS)]


def _networks(root: Any) -> Iterator[Weights]:
    """Each nested model, and then the layers at the top, if any, as one network."""
    top: Weights = []
    for layer in _names(root, "layer_names"):
        weights = [(name, _dataset(root[layer], name)) for name in _names(root[layer], "weight_names")]
        if sum(_kind(name) == "kernel" for name, _ in weights) > 1:
            yield weights
        else:
            top += weights
    if top:
        yield top


def _dataset(group: Any, name: str) -> Any:
    dataset = group[name]
    if not hasattr(dataset, "shape"):
        raise KeyError(f"{name} is not a dataset")
    return dataset


def _names(group: Any, attribute: str) -> list[str]:
    return [
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]
    ]


def _kind(name: str) -> str:
    """ "conv3d_6/kernel:0" to "kernel"."""
    return re.sub(r"(_\d+)?(:\d+)?$", "", name.rpartition("/")[2])


def _generator_from(weights: Weights, norm: NormKind, path: Path) -> Generator:
    import torch

    from SyntheticContrastLib.models.choi2021 import LEVELS, Generator, SameConv3d

    kernels = [dataset.shape for name, dataset in weights if _kind(name) == "kernel"]
    if any(len(shape) != 5 for shape in kernels):
        raise InputError(f"{path}: the convolutions are not 3D ones")
    halvings = sum(shape[2] == 2 for shape in kernels[:LEVELS])
    if not halvings:
        raise InputError(f"{path}: no level of the generator halves the slices")
    channels, gf = kernels[0][3:]
    with torch.device("meta"):  # shapes only: a wrong file costs no memory
        generator = Generator(gf, 2**halvings, norm, channels)

    state: dict[str, torch.Tensor] = {}
    expected = list(generator.named_parameters())
    if len(weights) != len(expected):
        raise InputError(f"{path}: the generator has {len(weights)} weights, not {len(expected)}")
    for (name, dataset), (key, parameter) in zip(weights, expected, strict=True):
        is_convolution = isinstance(generator.get_submodule(key.rpartition(".")[0]), SameConv3d)
        gain, shift = ("kernel", "bias") if is_convolution else ("gamma", "beta")
        kind = gain if key.endswith("weight") else shift
        shape = tuple(parameter.shape)
        if kind == "kernel":  # (out, in, z, y, x) to (y, x, z, in, out)
            shape = (shape[3], shape[4], shape[2], shape[1], shape[0])
        if _kind(name) != kind or dataset.shape != shape or dataset.dtype.kind != "f":
            hint = " (another norm than the file's?)" if kind in ("gamma", "beta") and _kind(name) == kind else ""
            raise InputError(
                f"{path}: {name} {dataset.shape} stands where the generator with norm {norm!r} "
                f"has a {kind} {shape}{hint}"
            )
        value = torch.from_numpy(dataset[()].astype("float32"))
        if not value.isfinite().all():
            raise InputError(f"{path}: {name} holds values that are not finite: its training had failed")
        state[key] = value.permute(4, 3, 2, 0, 1).contiguous() if kind == "kernel" else value
    generator.load_state_dict(state, assign=True)
    return generator.eval()

"""A network computed by OpenVINO, which on Intel and AMD processors may be faster than PyTorch, most so in bf16."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from SyntheticContrastLib.synthesis.process import is_out_of_memory

EXAMPLE_SIZE = 256  # pixels: tracing takes a forward pass, so on a small slice


def works() -> bool:
    """Whether the optional package openvino is there and can be imported."""
    try:
        import openvino  # noqa: F401
    except Exception:  # a broken installation raises more than ImportError
        return False
    return True


def complaint() -> str:
    """Why a package openvino that is installed cannot be used, in words; empty if it can, or is not there."""
    try:
        import openvino  # noqa: F401
    except ModuleNotFoundError as error:
        return "" if error.name == "openvino" else f"OpenVINO does not work: {error}"
    except Exception as error:
        return f"OpenVINO does not work: {' '.join(str(error).split())}"
    return ""


class OpenVinoNetwork(nn.Module):
    """The same function as `network`, converted when it first sees an input, and compiled for each shape of it.

    Where OpenVINO cannot do that, as an old one, `network` itself computes.

    Args:
        network: takes and gives (N, C, Z, Y, X), in evaluation mode, without gradients, on the CPU.
        precision: "fp32" or "bf16", in which OpenVINO computes; input and output are float32.
        on_failure: called with a line for a person when PyTorch computes instead.
    """

    def __init__(
        self, network: nn.Module, precision: str, on_failure: Callable[[str], None] = lambda line: None
    ) -> None:
        super().__init__()
        self.on_failure = on_failure
        self.failed = False
        self.network: nn.Module | None = network
        self.precision = precision
        self.hints = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]}
        self.model: Any = None
        self.compiled: Any = None
        self.shape: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        if not self.failed and self.shape != tuple(x.shape):
            try:
                self._compile(tuple(x.shape))
            except Exception as error:  # of versions that are too old or broken anything can come
                if self.network is None or is_out_of_memory(error):
                    raise
                self.failed = True
                why = (str(error).strip() or type(error).__name__).splitlines()[0]
                self.on_failure(
                    f"OpenVINO cannot compute this model ({why}): PyTorch does, more slowly; update OpenVINO"
                )
        if self.failed:
            assert self.network is not None
            return self.network(x)
        return torch.from_numpy(self.compiled(x.numpy())[0])

    def _compile(self, shape: tuple[int, ...]) -> None:
        import openvino

        if self.model is None:
            assert self.network is not None
            self.model = _convert(self.network, torch.zeros(*shape[:3], EXAMPLE_SIZE, EXAMPLE_SIZE))
            if self.precision == "bf16":
                _halve_weights(self.model)
        self.model.reshape(openvino.PartialShape(list(shape)))
        hints = self.hints | {"PERFORMANCE_HINT": "LATENCY"}
        self.compiled, self.shape = openvino.Core().compile_model(self.model, "CPU", hints), shape
        self.network = None  # its weights are the model's from here on


def _convert(network: nn.Module, example: Tensor) -> Any:
    """By the frontend itself: `openvino.convert_model` reports its use over the network."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    plain = torch.autocast("cpu", enabled=False)  # casts would be traced, too
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad(), plain:
        warnings.simplefilter("ignore")  # of the tracer, on values that are constant here
        traced = torch.jit.trace(network, example, check_trace=False)
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced, example_input=example)  # has to outlive the conversion
        return frontend.convert(frontend.load(decoder))


def _halve_weights(model: Any) -> None:
    """Keep them in fp16, finer than the bf16 in which they are used: 0.2 GiB less for the paper's generator."""
    try:
        from openvino._offline_transformations import compress_model_transformation
    except ImportError:  # not a documented part of OpenVINO
        return
    compress_model_transformation(model)

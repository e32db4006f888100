"""A network computed by OpenVINO, which on Intel and AMD processors may be faster than PyTorch, most so in bf16."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

EXAMPLE_SIZE = 256  # pixels: tracing takes a forward pass, so on a small slice


def works() -> bool:
    """Whether the optional package openvino is there and can be imported."""
    try:
        import openvino  # noqa: F401
    except Exception:  # a broken installation raises more than ImportError
        return False
    return True


class OpenVinoNetwork(nn.Module):
    """The same function as `network`, converted when it first sees an input, and compiled for each shape of it.

    Args:
        network: takes and gives (N, C, Z, Y, X), in evaluation mode, without gradients, on the CPU.
        precision: "fp32" or "bf16", in which OpenVINO computes; input and output are float32.
    """

    def __init__(self, network: nn.Module, precision: str) -> None:
        super().__init__()
        self.network: nn.Module | None = network
        self.precision = precision
        self.hints = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]}
        self.model: Any = None
        self.compiled: Any = None
        self.shape: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        if self.shape != tuple(x.shape):
            self._compile(tuple(x.shape))
        return torch.from_numpy(self.compiled(x.numpy())[0])

    def _compile(self, shape: tuple[int, ...]) -> None:
        import openvino

        if self.network is not None:
            self.model = _convert(self.network, torch.zeros(*shape[:3], EXAMPLE_SIZE, EXAMPLE_SIZE))
            self.network = None  # its weights are the model's from here on
            if self.precision == "bf16":
                _halve_weights(self.model)
        self.model.reshape(openvino.PartialShape(list(shape)))
        hints = self.hints | {"PERFORMANCE_HINT": "LATENCY"}
        self.compiled, self.shape = openvino.Core().compile_model(self.model, "CPU", hints), shape


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

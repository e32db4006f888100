"""A network over many inputs, several at once, with less at once where the memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.process import OutOfMemoryError, is_out_of_memory


def predict(
    network: nn.Module,
    inputs: Iterator[Tensor],
    compute: Compute,
    on_fallback: Callable[[str], None],
    *,
    at_once: int,
    name: str,
) -> Iterator[Tensor]:
    """Channel 0 of what `network` makes of each input, float32 on the device that made it, without the batch axis.

    Out of memory, it goes on with fewer inputs at once, then on the CPU.

    Args:
        inputs: (1, C, ...) tensors, drawn as they are needed.
        on_fallback: called with a line for a person whenever memory forces smaller work.
        at_once: inputs of a batch.
        name: what an input is called in such a line: "window".

    Raises:
        OutOfMemoryError: when even one input does not fit on the CPU.
    """
    device, dtype = torch.device(compute.device), compute.dtype
    network.to(device)
    waiting: list[Tensor] = []
    while True:
        waiting += islice(inputs, max(0, at_once - len(waiting)))
        if not waiting:
            return
        try:
            predictions = _forward(network, waiting[:at_once], device, dtype)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            predictions = None
        if predictions is None:  # outside the handler, whose traceback would keep the tensors alive
            if at_once > 1:
                at_once //= 2
                on_fallback(f"{device} is out of memory: going on with {at_once} {name}(s) at once")
            elif device.type != "cpu":
                on_fallback(f"{device} is out of memory for one {name}: going on with the CPU in fp32")
                device, dtype = torch.device("cpu"), torch.float32
                network.to(device)
            else:
                raise OutOfMemoryError(
                    f"out of memory for one {name} on the CPU: close other programs, or use a smaller model or CT"
                )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        yield from predictions
        del waiting[: len(predictions)]


def _forward(network: nn.Module, inputs: list[Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    batch = (torch.cat(inputs) if len(inputs) > 1 else inputs[0]).to(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        return network(batch)[:, 0].float()

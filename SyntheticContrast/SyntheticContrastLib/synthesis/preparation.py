"""How a network lies in memory: in the layout that is faster, on a CPU lean, and how many windows fit into a GPU."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from SyntheticContrastLib.synthesis.device import Compute
from SyntheticContrastLib.synthesis.process import is_out_of_memory

LAYOUTS = (torch.contiguous_format, torch.channels_last_3d)
MOST_AT_ONCE = 16
SHARE_OF_MEMORY = 0.7  # of what is free; the rest is for the convolutions' work space
TIMED = 3  # forward passes of each layout


def prepare_network(network: nn.Module, window: Tensor, compute: Compute) -> int:
    """Bring `network` to its device, on a GPU in the layout that is faster for `window`; returns windows at once.

    On the CPU oneDNN is faster with channels last, and in bf16 the kernels are kept so: autocast would round them at
    each pass, and keep both.

    window: (1, C, Z, Y, X), as the network will see them.
    """
    device = torch.device(compute.device)
    network.to(device)
    if device.type != "cuda":
        if device.type == "cpu" and compute.engine == "PyTorch":
            layout = LAYOUTS[torch.backends.mkldnn.is_available()]
            for kernel in (parameter for parameter in network.parameters() if parameter.dim() == 5):
                kernel.data = kernel.data.to(compute.dtype, memory_format=layout)
        return 1
    torch.backends.cudnn.benchmark = True  # all windows have one shape
    try:
        network.to(memory_format=fastest_layout(network, window, compute))
        return windows_that_fit(network, window, compute)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return 1  # the prediction says so, and goes on with the CPU


def fastest_layout(network: nn.Module, window: Tensor, compute: Compute) -> torch.memory_format:
    """The one of LAYOUTS in which the network computes the window in less time, measured."""
    seconds = {}
    for layout in LAYOUTS:
        network.to(memory_format=layout)
        forward(network, window, compute)  # the first pass looks for the best kernels
        started = time.perf_counter()
        for _ in range(TIMED):
            forward(network, window, compute)
        seconds[layout] = time.perf_counter() - started
    return min(seconds, key=lambda layout: seconds[layout])


def windows_that_fit(network: nn.Module, window: Tensor, compute: Compute) -> int:
    """How many windows at once fit into the free memory of the GPU, 1 to MOST_AT_ONCE."""
    before = torch.cuda.memory_allocated(window.device)
    torch.cuda.reset_peak_memory_stats(window.device)
    forward(network, window, compute)
    needed = torch.cuda.max_memory_allocated(window.device) - before
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(window.device)
    return max(1, min(MOST_AT_ONCE, int(SHARE_OF_MEMORY * free / max(1, needed))))


def forward(network: nn.Module, window: Tensor, compute: Compute) -> Tensor:
    """One pass, waited for."""
    reduced = compute.dtype != torch.float32
    with torch.inference_mode(), torch.autocast(window.device.type, compute.dtype, enabled=reduced):
        result: Tensor = network(window)
    if window.device.type == "cuda":
        torch.cuda.synchronize(window.device)
    return result

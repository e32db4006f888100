"""Several processes that train one model, as `torchrun` starts them: each computes its share of every batch.

The gradients are averaged here, after the backward pass, and not by a DistributedDataParallel wrapper: a step has up to
three updates of two networks, one of them frozen in between, and averaging is then one plain call for each. A process
alone does the same with nothing to average.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from SyntheticContrastLib.ct.errors import InputError


@dataclass(frozen=True)
class Crew:
    """This process, number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share(self, batch_size: int) -> range:
        """Places within a batch that this process computes.

        Raises:
            InputError: when the batch cannot be shared out equally.
        """
        if batch_size % self.size:
            raise InputError(
                f"{self.size} processes cannot share a batch of {batch_size}: set batch_size to a multiple"
            )
        count = batch_size // self.size
        return range(self.rank * count, (self.rank + 1) * count)

    @torch.no_grad()
    def average_gradients(self, network: nn.Module) -> None:
        """Mean over the processes, one message for the whole network."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        message = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(message)
        message /= self.size
        for gradient, mean in zip(gradients, message.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def average(self, values: Tensor) -> Tensor:
        """Mean over the processes of a small tensor, the same on all of them."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def same_as_leader(self, network: nn.Module) -> None:
        """Give every process the leader's weights."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def join_crew(device: str) -> Iterator[Crew]:
    """The crew that `torchrun` started (RANK, WORLD_SIZE, ... in the environment), or a process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Crew()
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Crew(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()

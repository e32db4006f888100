"""A network with what changes its weights: Adam, the loss scaling of fp16, and the processes that share the work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from SyntheticContrastTrainingLib.distributed import Crew
from SyntheticContrastTrainingLib.recipes import Recipe


class Learner:
    """Losses are collected with `learn`, and change the weights with `update`.

    Args:
        parameters: those of the network, in groups for Adam.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: list[dict[str, Any]],
        recipe: Recipe,
        device: torch.device,
        crew: Crew,
    ) -> None:
        self.network = network.to(device)
        self.crew = crew
        self.clip_norm = recipe.clip_norm
        self.optimiser = torch.optim.Adam(parameters, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2))
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        crew.same_as_leader(self.network)

    def learn(self, loss: Tensor) -> None:
        """Add the gradients of a scalar loss."""
        self.scaler.scale(loss).backward()

    def update(self, learning_rate: float) -> None:
        """One step of Adam along the gradients added so far, averaged over the processes; forgets them."""
        self.crew.average_gradients(self.network)
        if self.clip_norm:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])

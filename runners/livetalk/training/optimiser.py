"""AdamW of one sharded network, with clipping, a warm-up and a state that is there from the beginning."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from livetalk.training.schedules import warm_up_factor
from livetalk.training.settings import Adam
from livetalk.training.sharding import clipped_norm

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Optimiser:
    """Updates a network by the gradients it has."""

    def __init__(self, network: nn.Module, settings: Adam) -> None:
        self.network, self.settings = network, settings
        self.updates = 0
        """Made so far."""
        self._names = dict(network.named_parameters())
        self._adam = torch.optim.AdamW(
            self._names.values(),
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
        )
        # At once, not at the first step: what it takes is seen at the start, and a checkpoint before it is whole.
        for parameter in self._names.values():
            zeros = {moment: torch.zeros_like(parameter.detach()) for moment in _MOMENTS}
            self._adam.state[parameter] = {"step": torch.tensor(0.0), **zeros}

    def step(self) -> float:
        """Clip, update, forget the gradients. The norm before clipping; where that is no number nothing is updated."""
        norm = clipped_norm(self.network, self.settings.clip)
        if math.isfinite(norm):
            rate = self.settings.learning_rate * warm_up_factor(self.updates, self.settings.warm_up)
            for group in self._adam.param_groups:
                group["lr"] = rate
            self._adam.step()
            self.updates += 1
        self._adam.zero_grad(set_to_none=True)
        return norm

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Its moments, sharing memory."""
        return {
            f"{prefix}.{moment}.{name}": self._adam.state[parameter][moment]
            for moment in _MOMENTS
            for name, parameter in self._names.items()
        }

    def restore(self, updates: int) -> None:
        """Say how many updates the moments are of, which have been filled in place."""
        self.updates = updates
        for state in self._adam.state.values():
            state["step"].fill_(updates)

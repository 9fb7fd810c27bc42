"""AdamW of one sharded network, with clipping, a warm-up and a state that is there from the beginning."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from livetalk.training.schedules import rate_factor
from livetalk.training.settings import Adam
from livetalk.training.sharding import clipped_norm, own_part, parked

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Optimiser:
    """Updates a network by the gradients it has, each process its own part of every tensor.

    Args:
        on_host: keep the moments in the host's memory and bring those of one tensor at a time to where its weights lie:
            8 bytes less for each parameter on the GPU, 16 bytes over the link at every update. What is computed stays.
    """

    def __init__(self, network: nn.Module, settings: Adam, *, on_host: bool = False) -> None:
        self.network, self.settings, self.on_host = network, settings, on_host
        self.updates = 0
        """Made so far."""
        self._names = dict(network.named_parameters())
        # At once, not at the first step: what it takes is seen at the start, and a checkpoint before it is whole.
        self._moments = {
            name: tuple(
                parked(parameter.detach()).zero_() if on_host else torch.zeros_like(parameter.detach())
                for _ in _MOMENTS
            )
            for name, parameter in self._names.items()
        }

    def step(self) -> float:
        """Clip, update, forget the gradients. The norm before clipping; where that is no number nothing is updated."""
        norm = clipped_norm(self.network, self.settings.clip)
        if math.isfinite(norm):
            names = [name for name, parameter in self._names.items() if parameter.grad is not None]
            # All at once, or one after another where their moments have to be brought.
            for group in [[name] for name in names] if self.on_host else [names]:
                self._update(group)
            self.updates += 1
        for parameter in self._names.values():
            parameter.grad = None
        return norm

    @torch.no_grad()
    def _update(self, names: list[str]) -> None:
        weights = [own_part(self._names[name].detach()) for name in names]
        gradients = [own_part(gradient) for name in names if (gradient := self._names[name].grad) is not None]
        kept = [[own_part(self._moments[name][place]) for name in names] for place in range(len(_MOMENTS))]
        # What is here already is not copied.
        first, second = ([moment.to(weights[at].device) for at, moment in enumerate(moments)] for moments in kept)
        adamw(
            weights,
            gradients,
            first,
            second,
            [],
            [torch.tensor(float(self.updates)) for _ in names],  # counted up there, and not kept
            amsgrad=False,
            beta1=self.settings.beta1,
            beta2=self.settings.beta2,
            lr=self.settings.learning_rate * rate_factor(self.updates, self.settings.warm_up, self.settings.decay),
            weight_decay=self.settings.weight_decay,
            eps=self.settings.epsilon,
            maximize=False,
        )
        if self.on_host:
            for moments, updated in zip(kept, (first, second), strict=True):
                for moment, value in zip(moments, updated, strict=True):
                    moment.copy_(value)

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Its moments, sharing memory."""
        return {
            f"{prefix}.{moment}.{name}": self._moments[name][place]
            for place, moment in enumerate(_MOMENTS)
            for name in self._names
        }

    def restore(self, updates: int) -> None:
        """Say how many updates the moments are of, which have been filled in place."""
        self.updates = updates

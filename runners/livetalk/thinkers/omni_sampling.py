"""Drawing tokens as transformers' ``generate`` draws them, with a source of randomness of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from livetalk.thinkers.omni_settings import Sampling

Processors: TypeAlias = Callable[[Tensor | None, Tensor], Tensor]
"""From the tokens [1,n] drawn so far (None where that does not matter) and scores [1,V] to the scores to draw by."""


def processors(sampling: Sampling, device: torch.device, barred: Sequence[int] = ()) -> Processors:
    """What ``generate`` does before it draws, in its order.

    Args:
        barred: tokens that are never drawn.
    """
    steps: list[Any] = []
    if sampling.repetition_penalty != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if barred:
        steps.append(SuppressTokensLogitsProcessor(list(barred), device=str(device)))
    if sampling.temperature not in (0, 1):
        steps.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.temperature and sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.temperature and sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))

    def process(drawn: Tensor | None, scores: Tensor) -> Tensor:
        for step in steps:
            scores = step(drawn, scores)
        return scores

    return process


def pick(scores: Tensor, noise: Tensor | None) -> Tensor:
    """The drawn token [1,1].

    Args:
        scores: [1,V] float32.
        noise: [V], drawn from the exponential distribution of rate 1; None for the most likely token. The largest of
            probabilities divided by such noise is how ``torch.multinomial`` draws one token; but unlike it, this does
            not wait for the device.
    """
    if noise is None:
        return scores.argmax(dim=-1, keepdim=True)
    return (scores.softmax(dim=-1) / noise).argmax(dim=-1, keepdim=True)


class Sampler:
    """Draws the tokens of one text, one after the other.

    Args:
        barred: tokens that are never drawn.
    """

    def __init__(
        self, sampling: Sampling, generator: torch.Generator, device: torch.device, barred: Sequence[int] = ()
    ) -> None:
        self._processors = processors(sampling, device, barred)
        self._generator = generator if sampling.temperature > 0 else None
        self._drawn = torch.empty((1, 0), dtype=torch.long, device=device)

    def draw(self, logits: Tensor) -> Tensor:
        """The next token [1,1] from logits [1,V]."""
        scores = self._processors(self._drawn, logits.float())
        noise = None
        if self._generator is not None:
            noise = torch.empty_like(scores[0]).exponential_(generator=self._generator)
        token = pick(scores, noise)
        self._drawn = torch.cat((self._drawn, token), dim=-1)
        return token

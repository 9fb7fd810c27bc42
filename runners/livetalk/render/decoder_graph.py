"""The decoder's step as CUDA graphs: what Python launches one by one otherwise, while it also drives the renderer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from livetalk.render.model.graphs import Graph, Recorder

Past = list[Any]
"""What every causal convolution keeps; tensors, but for slots that nothing uses."""
Step = Callable[[Tensor, Past], tuple[Tensor, Past]]
"""A latent and the past to frames and the new past, both in new memory."""


class DecoderGraphs:
    """Two recorded steps that take turns: the first reads the past in memory of its own and leaves the new one where
    the second reads it; the second leaves it where the first does. So the past is copied at every other latent only.

    It keeps three pasts, of which the graphs' own memory holds two: at 512 × 512 in 16 bits 1.24 GB each.
    """

    def __init__(self, step: Step, latent: Tensor, past: Sequence[Any], recorder: Recorder) -> None:
        """Record, without doing it. The step has been done before, on this thread, with these shapes.

        Args:
            latent: of the shape that will be given.
            past: as the step leaves it when it comes again and again.
        """
        self._latent = torch.empty_like(latent)
        self._past = [torch.empty_like(slot) if isinstance(slot, Tensor) else slot for slot in past]
        self._graphs: list[Graph] = []
        self._frames: list[Tensor] = []
        self._between: Past = []
        for part in (self._there, self._back):
            self._graphs.append(recorder.record(lambda part=part: part(step)))  # type: ignore[misc]
        self._turn = 0

    def _there(self, step: Step) -> None:
        frames, self._between = step(self._latent, self._past)
        self._frames.append(frames)

    def _back(self, step: Step) -> None:
        frames, past = step(self._latent, self._between)
        self._frames.append(frames)
        for kept, new in zip(self._past, past, strict=True):
            if isinstance(kept, Tensor):
                kept.copy_(new)

    def fits(self, latent: Tensor) -> bool:
        """Whether it was recorded for such latents."""
        return latent.shape == self._latent.shape

    def begin(self, past: Sequence[Any]) -> None:
        """Go on from this past."""
        for kept, new in zip(self._past, past, strict=True):
            if isinstance(kept, Tensor):
                kept.copy_(new)
        self._turn = 0

    @property
    def past(self) -> Past:
        """What it would go on from."""
        return self._between if self._turn else self._past

    def frames(self, latent: Tensor) -> Tensor:
        """Decode the next latent. The frames are overwritten at the next but one."""
        self._latent.copy_(latent)
        turn = self._turn
        self._graphs[turn].replay()
        self._turn = 1 - turn
        return self._frames[turn]

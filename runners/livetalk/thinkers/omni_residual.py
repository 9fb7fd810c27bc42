"""The codes of a frame after its first: fifteen short steps of Qwen3-Omni's code predictor, as one call."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from livetalk.thinkers.omni_cache import cache_argument
from livetalk.thinkers.omni_sampling import pick, processors
from livetalk.thinkers.omni_settings import RESIDUAL

log = logging.getLogger("livetalk.thinkers.omni")


class ResidualCodes:
    """Completes frames. The same shapes every time and nothing that waits for the device, so on CUDA the fifteen
    steps, some thousand small kernels, are recorded once and replayed as one graph.

    Args:
        talker: a ``Qwen3OmniMoeTalkerForConditionalGeneration``.
    """

    def __init__(self, talker: Any) -> None:
        self._predictor = talker.code_predictor
        self._cache_argument = cache_argument(self._predictor.model)
        self._first_codes = talker.get_input_embeddings()
        self.device: torch.device = self._first_codes.weight.device
        self.groups: int = talker.config.num_code_groups
        self._width: int = self._first_codes.weight.shape[1]
        self._codes: int = talker.config.code_predictor_config.vocab_size
        self._processors = processors(RESIDUAL, self.device)
        self._graph: _Recording | None = None

    def noise(self, generator: torch.Generator) -> Tensor:
        """What ``complete`` draws one frame with: [G-1,V]."""
        noise = torch.empty((self.groups - 1, self._codes), device=self.device)
        for row in noise:
            row.exponential_(generator=generator)
        return noise

    def complete(self, state: Tensor, first: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """A whole frame.

        Args:
            state: the talker's last state [1,1,C], from which ``first`` was drawn.
            first: the frame's first code [1,1].
            noise: [G-1,V] to draw with, None for the most likely codes.

        Returns:
            The frame's codes [G] and its embedding [1,1,C] for the talker's next step.
        """
        if self._graph is not None and noise is not None:
            return self._graph.replay(state, first, noise)
        return self._complete(state, first, noise)

    def _complete(self, state: Tensor, first: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        tables = self._predictor.get_input_embeddings()
        cache = {self._cache_argument: DynamicCache()}
        codes, embeddings = [first], [self._first_codes(first)]
        inputs = torch.cat((state, embeddings[0]), dim=1)
        for group in range(self.groups - 1):
            start = 0 if group == 0 else group + 1
            positions = torch.arange(start, start + inputs.shape[1], device=self.device)[None]
            hidden = self._predictor.model(
                inputs_embeds=inputs, position_ids=positions, use_cache=True, **cache
            ).last_hidden_state
            scores = self._predictor.lm_head[group](hidden[:, -1]).float()
            if noise is not None:
                scores = self._processors(None, scores)
            codes.append(pick(scores, None if noise is None else noise[group]))
            inputs = tables[group](codes[-1])
            embeddings.append(inputs)
        return torch.cat(codes, dim=-1)[0], torch.cat(embeddings, dim=1).sum(1, keepdim=True)

    def record(self) -> None:
        """Record the steps as a CUDA graph, if that works here and gives what they give one by one; the latter goes
        on where not."""
        if self.device.type != "cuda":
            return
        generator = torch.Generator(self.device).manual_seed(0)
        state = torch.randn(1, 1, self._width, device=self.device, generator=generator).to(self._first_codes.weight)
        first = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        noise = self.noise(generator)
        try:
            recording = _Recording(self, state, first, noise)
            other = self.noise(generator)
            expected, given = self._complete(state, first, other), recording.replay(state, first, other)
            if not torch.equal(expected[0], given[0]):
                raise RuntimeError("the recorded steps gave other codes")
        except RuntimeError as error:
            log.warning("The code predictor runs step by step, several times slower, since recording failed: %s", error)
            return
        self._graph = recording


class _Recording:
    """A CUDA graph of one call, and the memory it reads and writes."""

    def __init__(self, steps: ResidualCodes, state: Tensor, first: Tensor, noise: Tensor) -> None:
        self._inputs = (state.clone(), first.clone(), noise.clone())
        for _ in range(3):  # what is set up on first use must not be recorded
            steps._complete(*self._inputs)
        torch.cuda.synchronize(steps.device)
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(steps.device)
        # Other threads (the renderer's) may allocate while this one records.
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._outputs = steps._complete(*self._inputs)

    def replay(self, state: Tensor, first: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        for kept, given in zip(self._inputs, (state, first, noise), strict=True):
            kept.copy_(given)
        self._graph.replay()
        codes, embedding = self._outputs
        return codes.clone(), embedding.clone()

"""Sound from codec frames while they are still being generated.

Qwen3-Omni's decoder (``code2wav``) is a transformer, which looks back 72 frames in each of its layers, followed by
convolutions that multiply its rate by 1920. The end of a frame's sound needs the frame after it: from n frames come
n·1920 − 555 samples, and decoding one chunk after the other would lose 555 samples (23 ms) at every border, and forget
what came before it.

Here the transformer keeps its keys and values, so that each frame passes it once and sees what it would see in one
piece; and the convolutions, which reach back a few frames only, run again over the last of them, and sound is taken
from exactly the sample where the previous chunk's ended.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from livetalk.thinkers.base import Samples
from livetalk.thinkers.omni_cache import cache_argument

RATE = 24_000
"""Samples per second of Qwen3-Omni's sound."""

SAMPLES_PER_FRAME = 1920

CONTEXT = 8
"""Frames that the convolutions run over again. They reach back not quite six."""


class CodecStream:
    """The sound of one answer. All pieces joined are, to the sample and to rounding, the sound of all frames decoded at
    once.

    Args:
        code2wav: a ``Qwen3OmniMoeCode2Wav``.
        first: frames in the first piece; few, since they are waited for.
        chunk: frames in the pieces after it.
        context: earlier frames that are decoded again with each piece.

    Raises:
        ValueError: one of the three is below one.
    """

    def __init__(self, code2wav: Any, *, first: int, chunk: int, context: int = CONTEXT) -> None:
        if min(first, chunk, context) < 1:
            raise ValueError("The first piece of sound, the later ones and their context have at least one frame each.")
        self._code2wav = code2wav
        self._due, self._chunk, self._context = first, chunk, context
        self._waiting: list[Tensor] = []
        # As long as its layers look back, however long the answer is.
        self._cache = DynamicCache(config=code2wav.pre_transformer.config)
        self._cache_argument = cache_argument(code2wav.pre_transformer)
        self._states: Tensor | None = None  # what the convolutions read [1,n,C], from frame `_window` on
        self._window = 0
        self._given = 0  # samples

    def push(self, codes: Tensor) -> Samples | None:
        """Take the codes [G] of the next frame; the next piece of sound [n] if that completes one."""
        self._waiting.append(codes)
        return self._piece() if len(self._waiting) == self._due else None

    def finish(self) -> Samples | None:
        """The rest of the sound, if there is any."""
        return self._piece() if self._waiting else None

    @torch.inference_mode()
    def _piece(self) -> Samples:
        fresh = self._transform(torch.stack(self._waiting, dim=-1)[None])
        states = fresh if self._states is None else torch.cat((self._states, fresh), dim=1)
        wave = self._convolve(states)[self._given - self._window * SAMPLES_PER_FRAME :]
        self._given += len(wave)
        self._waiting, self._due = [], self._chunk
        self._window += max(0, states.shape[1] - self._context)
        self._states = states[:, -self._context :].clone()
        samples: Samples = wave.float().cpu().numpy().astype(np.float32)
        return samples

    def _transform(self, codes: Tensor) -> Tensor:
        """States [1,n,C] of codes [1,G,n]. (The first half of the decoder's ``forward``.)"""
        embeddings = self._code2wav.code_embedding(codes + self._code2wav.code_offset).mean(1)
        cache = {self._cache_argument: self._cache}
        output = self._code2wav.pre_transformer(inputs_embeds=embeddings, use_cache=True, **cache)
        states: Tensor = output.last_hidden_state
        return states

    def _convolve(self, states: Tensor) -> Tensor:
        """Samples [m] of states [1,n,C]. (Its second half.)"""
        wave = states.permute(0, 2, 1)
        for stage in self._code2wav.upsample:
            for layer in stage:
                wave = layer(wave)
        for layer in self._code2wav.decoder:
            wave = layer(wave)
        return wave[0, 0].clamp(-1, 1)

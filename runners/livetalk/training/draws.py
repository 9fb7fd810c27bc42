"""Counter-based randomness: what is drawn depends on (seed, step, sample, role), not on what was drawn before.

So a resumed run draws what the killed one would have drawn, every number of processes draws the same, and a fixture's
given noise can take its place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Draws(Protocol):
    """Where the noise of one sample comes from."""

    def clip(self, shape: tuple[int, ...]) -> Tensor:
        """What the rollout starts from, for all frames [F,16,h,w]."""

    def renoise(self, block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        """What is added to a block's estimate after a step, [3,16,h,w]."""

    def context(self, block: int, shape: tuple[int, ...]) -> Tensor:
        """What the published trainer's clean pass adds, [3,16,h,w]."""

    def score(self, shape: tuple[int, ...]) -> Tensor:
        """What is added to the clip for its scores, or for the critic, [F,16,h,w]."""


def generator(seed: int, *counter: int | str) -> np.random.Generator:
    """A stream of its own for a seed and a counter of any parts."""
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in counter)])
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def normal(shape: tuple[int, ...], seed: int, *counter: int | str) -> Tensor:
    """Standard normal float32 on the CPU."""
    return torch.from_numpy(generator(seed, *counter).standard_normal(shape, dtype=np.float32))


def integer(below: int, seed: int, *counter: int | str) -> int:
    """Uniform in [0, below)."""
    return int(generator(seed, *counter).integers(below))


def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of ``count`` samples for one pass over the data."""
    return generator(seed, "order", epoch).permutation(count)


@dataclass(frozen=True, slots=True)
class CountedDraws:
    """The draws of one sample in one step for one update ("generator" or "critic")."""

    seed: int
    step: int
    sample: str
    """Its id, and the pass over the data it stands in: within one pass no sample comes twice."""
    update: str

    def _normal(self, shape: tuple[int, ...], *role: int | str) -> Tensor:
        return normal(shape, self.seed, self.step, self.sample, self.update, *role)

    def clip(self, shape: tuple[int, ...]) -> Tensor:
        return self._normal(shape, "clip")

    def renoise(self, block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        return self._normal(shape, "renoise", block, step)

    def context(self, block: int, shape: tuple[int, ...]) -> Tensor:
        return self._normal(shape, "context", block)

    def score(self, shape: tuple[int, ...]) -> Tensor:
        return self._normal(shape, "score")

    def raw_time(self) -> int:
        """The raw time of its scores, an integer in [0, 1000)."""
        return integer(1000, self.seed, self.step, self.sample, self.update, "time")

    def indices(self, blocks: int, states: int) -> list[int]:
        """A state of the trajectory for each block (recipe 3.3)."""
        stream = generator(self.seed, self.step, self.sample, self.update, "states")
        return [int(index) for index in stream.integers(states, size=blocks)]


def exit_step(seed: int, step: int, update: str, steps: int) -> int:
    """The step after which every block of a rollout is left: one for all samples and processes (recipe 4.1)."""
    return integer(steps, seed, step, update, "exit")

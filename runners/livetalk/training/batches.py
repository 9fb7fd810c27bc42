"""Which samples a step takes, from a cursor that counts samples since the run's beginning.

Every pass over the data has an order of its own, and nothing is dropped at its end: the next sample is the first of the
next pass. The order is a matter of the seed alone, not of the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from livetalk.training import draws


@dataclass(frozen=True, slots=True)
class Place:
    """A sample's place in the run."""

    id: str
    epoch: int

    @property
    def name(self) -> str:
        """What its randomness is told by. A batch that is larger than the data holds a sample more than once."""
        return f"{self.epoch}/{self.id}"


class Batches:
    """The order of samples."""

    def __init__(self, ids: Sequence[str], seed: int) -> None:
        """
        Args:
            ids: in the same order on every process.
        """
        if not ids:
            raise ValueError("there are no samples")
        self.ids, self.seed = tuple(ids), seed
        self._order = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> np.ndarray:
        return draws.order(len(self.ids), self.seed, epoch)

    def at(self, cursor: int, count: int) -> list[Place]:
        """``count`` samples from ``cursor`` on."""
        found = []
        for position in range(cursor, cursor + count):
            epoch, within = divmod(position, len(self.ids))
            found.append(Place(self.ids[int(self._order(epoch)[within])], epoch))
        return found

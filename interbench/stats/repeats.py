"""How well repeated judgements of one conversation agree with one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interbench.stats.scores import KEYS, Scores


@dataclass(frozen=True, slots=True)
class Repeats:
    """Of one dimension, over the conversations with two or more scored judgements."""

    conversations: int
    pairs: int
    """Of judgements of the same conversation."""
    sd: float
    """Standard deviation of one judgement about its conversation's mean, on the judge's scale: the root of the mean
    variance (n - 1) within conversations."""
    agreement: float
    """Share of the pairs with exactly equal scores, 0 to 1."""


def measure_repeats(scores: Scores) -> dict[str, Repeats]:
    """By key of the dimension, in their order; without those in which no conversation was scored twice."""
    if len(scores.samples) < 2:
        return {}
    scored = ~np.isnan(scores.value)
    conversation = scores.system.astype(np.int64) * len(scores.scenarios) + scores.scenario
    found = {}
    for index, key in enumerate(KEYS):
        mask = scored & (scores.dimension == index)
        _, group, counts = np.unique(conversation[mask], return_inverse=True, return_counts=True)
        repeated = counts > 1
        if not repeated.any():
            continue
        value = scores.value[mask]
        means = np.bincount(group, weights=value) / counts
        squares = np.bincount(group, weights=(value - means[group]) ** 2)
        # Judgements that are equal are so to the last bit: they come from a scale of a few values.
        _, equal = np.unique(np.stack([group.astype(np.float64), value]), axis=1, return_counts=True)
        pairs = int((counts * (counts - 1) // 2).sum())
        found[key] = Repeats(
            int(repeated.sum()),
            pairs,
            float(np.sqrt(np.mean(squares[repeated] / (counts[repeated] - 1)))),
            float((equal * (equal - 1) // 2).sum() / pairs),
        )
    return found

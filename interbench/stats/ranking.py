"""Rank correlations of weighted observations, for all replicates of a bootstrap at once.

Weights are how often an observation was drawn: a figure with weights is the figure of the sample in which every
observation stands so often. Without variation there is no correlation: NaN, never 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from interbench.stats.bootstrap import interval
from interbench.stats.scores import FloatArray, Ints

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_FLAT = 1e-12
NO_VARIATION = "no variation"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; what can't be had is None, and ``why`` says why the figure is."""

    value: float | None = None
    lo: float | None = None
    hi: float | None = None
    why: str = ""

    @classmethod
    def missing(cls, why: str) -> Estimate:
        """No figure, for this reason."""
        return cls(why=why)

    @classmethod
    def of(cls, values: FloatArray, why: str = NO_VARIATION) -> Estimate:
        """From the figure, first, and its replicates, shape (1 + replicates,).

        There is no interval where more than half of the replicates have no figure.
        """
        if np.isnan(values[0]):
            return cls(why=why)
        replicates = values[1:]
        if not len(replicates) or np.isnan(replicates).mean() > 0.5:
            return cls(float(values[0]))
        low, high = interval(replicates[:, None])
        return cls(float(values[0]), float(low[0]), float(high[0]))


def scenario_draws(count: int, replicates: int, seed: int, stream: int = 0) -> FloatArray:
    """How often each of ``count`` was drawn: first each once, then ``replicates`` draws; shape (count, 1 + replicates).

    ``stream`` keeps draws of different things apart: scenarios, raters.
    """
    rng = np.random.default_rng((seed, stream))
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=replicates).T.astype(np.float64)
    return np.concatenate([np.ones((count, 1)), drawn], axis=1)


def spearman(x: FloatArray, y: FloatArray, weights: FloatArray) -> FloatArray:
    """Spearman's rank correlation of ``x`` and ``y``, shape (n,), ties at mean ranks; ``weights`` (n, replicates)."""
    return pearson(_midranks(x, weights), _midranks(y, weights), weights)


def pearson(x: FloatArray, y: FloatArray, weights: FloatArray) -> FloatArray:
    """Pearson's correlation per replicate; all arguments of shape (n, replicates)."""
    total = weights.sum(axis=0)
    safe = np.where(total > 0, total, np.nan)
    dx = x - (weights * x).sum(axis=0) / safe
    dy = y - (weights * y).sum(axis=0) / safe
    xx, yy = (weights * dx * dx).sum(axis=0), (weights * dy * dy).sum(axis=0)
    flat = (xx <= _FLAT * safe) | (yy <= _FLAT * safe)
    both: FloatArray = (weights * dx * dy).sum(axis=0)
    result: FloatArray = np.full(both.shape, np.nan)
    np.divide(both, np.sqrt(xx * yy), out=result, where=~flat & (total > 0))
    return result


def kendall(x: FloatArray, y: FloatArray, weights: FloatArray) -> FloatArray:
    """Kendall's tau-b per replicate. An observation drawn twice ties with itself in both and counts in neither."""
    sx, sy = np.sign(x[:, None] - x[None, :]), np.sign(y[:, None] - y[None, :])

    def total(matrix: FloatArray) -> FloatArray:
        summed: FloatArray = ((matrix @ weights) * weights).sum(axis=0)
        return summed

    concordance, untied_x, untied_y = total(sx * sy), total(np.abs(sx)), total(np.abs(sy))
    both = untied_x * untied_y
    result: FloatArray = concordance / np.sqrt(np.where(both > 0, both, np.nan))
    return result


def kendall_of_columns(x: FloatArray, y: FloatArray) -> FloatArray:
    """Kendall's tau-b of each column of ``x`` with that of ``y``, shape (n, replicates); NaN where either has one."""
    sx, sy = np.sign(x[:, None] - x[None, :]), np.sign(y[:, None] - y[None, :])
    both = np.abs(sx).sum(axis=(0, 1)) * np.abs(sy).sum(axis=(0, 1))
    result: FloatArray = (sx * sy).sum(axis=(0, 1)) / np.sqrt(np.where(both > 0, both, np.nan))
    return result


def group_means(values: FloatArray, group: Ints, groups: int, weights: FloatArray) -> FloatArray:
    """Weighted mean per group and replicate, shape (groups, replicates); NaN where nothing of a group was drawn."""
    member = membership(group, groups)
    drawn = member @ weights
    result: FloatArray = np.divide(
        member @ (weights * values[:, None]), drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0
    )
    return result


def membership(group: NDArray[np.integer], groups: int) -> csr_matrix:
    """Who belongs to which group, shape (groups, n)."""
    from scipy.sparse import csr_matrix

    n = len(group)
    return csr_matrix((np.ones(n), (group, np.arange(n))), shape=(groups, n))


def _midranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    levels, level = np.unique(values, return_inverse=True)
    drawn = membership(level, len(levels)) @ weights
    ranks: FloatArray = (np.cumsum(drawn, axis=0) - drawn / 2)[level]
    return ranks

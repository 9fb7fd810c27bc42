"""Raw scores to percentiles: arXiv 2512.23576, section 5.3.

Per dimension the scores of all systems on all scenarios form one pool; z = (x - mu) / sigma with that pool's mean and
population standard deviation; percentile = 100 * Phi(z); a system's figure is the mean over its conversations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interbench.stats.scores import KEYS, Cells, FloatArray, Ints, Scores

FLAT = 1e-12
"""A pool whose sigma is below this share of its largest magnitude has no spread: what is left is rounding."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of one dimension's pool. ``sigma`` is the population standard deviation, exactly 0 where there is no spread."""

    mu: float
    sigma: float
    n: int


@dataclass(frozen=True)
class Pool:
    """What percentiles are relative to; named with every result."""

    systems: tuple[str, ...]
    scenarios: tuple[str, ...]
    moments: Mapping[str, Moments]
    """By dimension key; a dimension without any score has none."""


def moments(values: FloatArray) -> Moments:
    """Of at least one finite score, shape (n,)."""
    mu = float(np.mean(values))
    deviation = values - mu
    largest = float(np.max(np.abs(deviation)))
    # Scaled by the largest deviation, so that squares of tiny scores don't vanish.
    sigma = largest * float(np.sqrt(np.mean((deviation / largest) ** 2))) if largest > 0 else 0.0
    flat = sigma <= FLAT * float(np.max(np.abs(values)))
    return Moments(mu, 0.0 if flat else sigma, len(values))


def make_pool(scores: Scores) -> Pool:
    """The pool of everything that is scored.

    It names the systems and scenarios that contribute at least one score, in order of first appearance.
    """
    cells = scores.cells.select(scores.cells.scored)
    return Pool(
        tuple(scores.systems[index] for index in np.unique(cells.system)),
        tuple(scores.scenarios[index] for index in np.unique(cells.scenario)),
        {KEYS[d]: moments(cells.value[cells.dimension == d]) for d in range(len(KEYS)) if np.any(cells.dimension == d)},
    )


def standardise(cells: Cells, pool: Pool) -> FloatArray:
    """z of every scored cell, NaN for the others; 0 throughout a dimension without spread.

    Every dimension that has a score must be in the pool.
    """
    mu, sigma = np.full(len(KEYS), np.nan), np.ones(len(KEYS))
    for key, known in pool.moments.items():
        mu[KEYS.index(key)], sigma[KEYS.index(key)] = known.mu, known.sigma
    spread = sigma > 0
    z = (cells.value - mu[cells.dimension]) / np.where(spread, sigma, 1.0)[cells.dimension]
    return np.where(spread[cells.dimension] | np.isnan(cells.value), z, 0.0)


def percentiles(cells: Cells, pool: Pool) -> FloatArray:
    """100 * Phi(z) of every scored cell, NaN for the others."""
    from scipy.special import ndtr  # a second to import, in programs that pool nothing

    return np.asarray(100.0 * ndtr(standardise(cells, pool)))


def system_means(values: FloatArray, cells: Cells, systems: int) -> FloatArray:
    """Mean of the ``values`` that are not NaN per system and dimension, shape (systems, 9); NaN where there is none."""
    present = ~np.isnan(values)
    slot = cells.system[present].astype(np.int64) * len(KEYS) + cells.dimension[present]
    counts = counts_by_system(cells.system[present], cells.dimension[present], systems)
    totals = np.bincount(slot, weights=values[present], minlength=systems * len(KEYS)).reshape(counts.shape)
    means: FloatArray = np.divide(totals, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return means


def counts_by_system(system: Ints, dimension: Ints, systems: int) -> NDArray[np.int64]:
    """How often each (system, dimension) occurs, shape (systems, 9)."""
    slot = system.astype(np.int64) * len(KEYS) + dimension
    return np.bincount(slot, minlength=systems * len(KEYS)).reshape(systems, len(KEYS))

"""Bootstrap over scenarios.

Whole scenarios are drawn with replacement, the same draw for all systems and dimensions, and the pool is recomputed in
every replicate. Since Phi is not linear, sums per scenario do not suffice. What does: how often each distinct score
("level") of each system was drawn. Those counts are a product of a sparse 0/1 matrix and the draw, and Phi is taken
once per level.

The scores of a judge have few levels, and this is exact. Only for a very large pool of continuous scores are levels
placed on a grid, each score shared between its two neighbours: then Phi is interpolated linearly between points at most
1/128 of the pool's sigma apart (closer where scores are dense), which is off by less than 0.001 percentile points.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from interbench.base.errors import UsageError
from interbench.stats.pooling import FLAT, Pool, standardise
from interbench.stats.scores import KEYS, Cells, FloatArray, Ints

LEVEL = 0.95
"""Confidence level of every interval."""
MOST, FEWEST = 2000, 200
"""Replicates for a pool of ordinary size, and for one of a million scores or more."""
_ENOUGH_FOR_TAILS = 40
_WORK = 200_000_000
"""Replicates times scores above which there are fewer than ``MOST`` replicates."""
_EXACT_WORK = 30_000_000
"""Replicates times scores up to which continuous scores are not put on the grid."""
_CHUNK = 1_000_000
"""Numbers per array, so that working arrays stay in the cache."""
_GRID = 128
_QUANTILES = 1024
"""The grid has a point every sigma / ``_GRID`` where there are scores, and one at each of so many quantiles."""


def choose_replicates(asked: int | None, cells: int, seed: int) -> int:
    """The number ``asked`` for, or what suits a pool of so many scored cells.

    Raises :class:`~interbench.base.errors.UsageError` for fewer than 40, which leave no tails to read off, and for a
    negative seed.
    """
    if asked is not None and asked < _ENOUGH_FOR_TAILS:
        raise UsageError(
            f"{asked} replicates are too few for a 95 % interval; ask for {_ENOUGH_FOR_TAILS} or more, or leave "
            "intervals out."
        )
    if seed < 0:
        raise UsageError(f"The seed {seed} is negative; choose 0 or more.")
    return replicates_for(cells) if asked is None else asked


def replicates_for(cells: int) -> int:
    """Replicates for a pool of so many scored cells: 2000 up to 100,000 cells, then fewer, never below 200."""
    return max(FEWEST, min(MOST, _WORK // max(cells, 1)))


def bootstrap_means(
    cells: Cells,
    scenarios: int,
    pool: Pool,
    group: Ints,
    groups: int,
    *,
    replicates: int,
    seed: int,
    frozen: bool = False,
) -> FloatArray:
    """Mean percentile per replicate, group and dimension; NaN where nothing of a group was drawn.

    ``cells`` are the scored cells of ``scenarios`` scenarios and ``pool`` is theirs. ``group`` says per cell which mean
    it belongs to (usually its system), -1 for cells that only shape the pool. With ``frozen`` the given pool's moments
    hold in every replicate. The result has shape (replicates, groups, 9).
    """
    z = standardise(cells, pool)
    exact = replicates * len(z) <= _EXACT_WORK
    plans = [
        (d, _Levels(z[mask], cells.scenario[mask], scenarios, group[mask], groups, exact=exact, frozen=frozen))
        for d in range(len(KEYS))
        if np.any(mask := cells.dimension == d)
    ]
    means = np.full((replicates, groups, len(KEYS)), np.nan)
    widest = max([scenarios, *(plan.width for _, plan in plans)])
    for start, draw in _draws(scenarios, replicates, max(1, _CHUNK // widest), seed):
        for d, plan in plans:
            means[start : start + draw.shape[1], :, d] = plan.means(draw).T
    return means


def interval(means: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lower and upper end of the percentile interval over axis 0; replicates that are NaN do not count."""
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    flat = means.reshape(len(means), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    whole = ~np.isnan(flat).any(axis=0)
    if whole.any():
        ends[:, whole] = np.quantile(flat[:, whole], tails, axis=0)
    for column in np.flatnonzero(~whole & ~np.isnan(flat).all(axis=0)):
        ends[:, column] = np.quantile(flat[~np.isnan(flat[:, column]), column], tails)
    low, high = ends.reshape(2, *means.shape[1:])
    return low, high


def _draws(scenarios: int, replicates: int, chunk: int, seed: int) -> Iterator[tuple[int, FloatArray]]:
    """(first replicate, how often each scenario was drawn, shape (scenarios, replicates in this chunk))."""
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, chunk):
        count = min(chunk, replicates - start)
        drawn = rng.integers(scenarios, size=(count, scenarios)) + np.arange(count)[:, None] * scenarios
        times = np.bincount(drawn.ravel(), minlength=count * scenarios).reshape(count, scenarios)
        yield start, np.ascontiguousarray(times.T, np.float64)


class _Levels:
    """One dimension of a pool: which (group, level) pairs each scenario contributes to."""

    def __init__(
        self, z: FloatArray, scenario: Ints, scenarios: int, group: Ints, groups: int, *, exact: bool, frozen: bool
    ) -> None:
        from scipy.sparse import csr_matrix  # a second to import, in programs that resample nothing

        levels, level = np.unique(z, return_inverse=True)
        share = np.ones(len(z))
        if not exact and len(levels) > _QUANTILES:
            levels, level, share = _on_grid(z, levels)
            scenario, group = np.tile(scenario, 2), np.tile(group, 2)
        # One row per (group, level) that occurs; group -1 takes the last place.
        pairs, pair = np.unique((group % (groups + 1)).astype(np.int64) * len(levels) + level, return_inverse=True)
        self._pair_level = pairs % len(levels)
        shape = (len(pairs), scenarios)
        self._contributions = csr_matrix((share, (pair, scenario)), shape=shape)
        ones, row = np.ones(len(pairs)), np.arange(len(pairs))
        self._by_level = csr_matrix((ones, (self._pair_level, row)), shape=(len(levels), len(pairs)))
        self._by_group = csr_matrix((ones, (pairs // len(levels), row)), shape=(groups + 1, len(pairs)))[:groups]
        self._levels = levels
        self._frozen = frozen
        self.width = len(pairs)

    def means(self, draw: FloatArray) -> FloatArray:
        """Mean percentile per group and replicate, shape (groups, replicates)."""
        from scipy.special import ndtr

        counts = self._contributions @ draw
        z = self._levels[:, None] if self._frozen else self._restandardised(self._by_level @ counts)
        percentile = np.broadcast_to(100.0 * ndtr(z), (len(self._levels), draw.shape[1]))
        totals, weights = self._by_group @ (counts * percentile[self._pair_level]), self._by_group @ counts
        means: FloatArray = np.divide(totals, weights, out=np.full(totals.shape, np.nan), where=weights > 0)
        return means

    def _restandardised(self, counts: FloatArray) -> FloatArray:
        """z of every level in the pool of each replicate, from how often it is there; shape (levels, replicates)."""
        n = counts.sum(axis=0)
        n = np.where(n > 0, n, np.nan)
        deviation = self._levels[:, None] - (self._levels @ counts) / n
        sigma = np.sqrt(np.einsum("ij,ij,ij->j", counts, deviation, deviation) / n)
        spread = sigma > FLAT * max(1.0, float(np.max(np.abs(self._levels))))
        z: FloatArray = np.divide(deviation, sigma, out=np.zeros_like(deviation), where=spread)
        return z


def _on_grid(z: FloatArray, levels: FloatArray) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Grid points, and for every score twice (left, then right neighbour) its point and its share there."""
    dense = levels[np.linspace(0, len(levels) - 1, _QUANTILES).astype(np.int64)]
    cell = np.unique(np.floor(levels * _GRID))
    grid = np.unique(np.concatenate([dense, cell / _GRID, (cell + 1) / _GRID]))
    left = np.clip(np.searchsorted(grid, z, side="right") - 1, 0, len(grid) - 2)
    right_share = (z - grid[left]) / (grid[left + 1] - grid[left])
    return grid, np.concatenate([left, left + 1]), np.concatenate([1 - right_share, right_share])

"""Two systems compared on the scenarios where both are scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interbench.base.errors import ScoresError
from interbench.domain.dimensions import families
from interbench.domain.names import meant
from interbench.stats.bootstrap import bootstrap_means, choose_replicates, interval
from interbench.stats.pooling import Pool, make_pool, percentiles
from interbench.stats.reference import JudgeLabel, ReferencePool
from interbench.stats.scores import KEYS, Cells, FloatArray, Scores

EXACT_UP_TO = 16
"""Scenarios up to which all 2^n exchanges of labels are enumerated."""
PERMUTATIONS = 9999
"""Random exchanges of labels beyond that."""
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """One dimension of a comparison; what can't be had is None."""

    dimension: str
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    """Mean percentile of a less that of b, over the ``scenarios`` where both are scored."""
    lo: float | None
    hi: float | None
    p: float | None
    p_holm: float | None
    """Corrected for the number of dimensions compared, after Holm."""
    scenarios: int


@dataclass(frozen=True)
class Comparison:
    """Of system ``a`` with system ``b``, in all dimensions of the family or families that are scored."""

    a: str
    b: str
    dimensions: tuple[PairedDifference, ...]
    pool: Pool
    judge: JudgeLabel | None
    replicates: int
    permutations: int
    exact: bool
    """Whether ``permutations`` are all there are."""
    seed: int
    different_lines: int | None = None
    """Turns in which the user said different things to the two; None where the scores don't tell, as in a CSV."""
    common_turns: int | None = None
    """Turns that were put to both."""

    @property
    def smallest_p(self) -> float:
        """No p of this comparison can be below it, however large the difference."""
        return min(1.0, 2 / self.permutations) if self.exact else 1 / (1 + self.permutations)

    @property
    def smallest_p_holm(self) -> float:
        """The same of the corrected p: the smallest is multiplied by the number of dimensions compared."""
        return min(1.0, self.smallest_p * sum(row.scenarios > 0 for row in self.dimensions))


def compare(
    scores: Scores,
    a: str,
    b: str,
    *,
    judge: JudgeLabel | None = None,
    reference: ReferencePool | None = None,
    replicates: int | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Comparison:
    """Paired differences of mean percentiles.

    Percentiles are relative to the pool of all systems in ``scores`` (or to ``reference``). The interval is a bootstrap
    over scenarios with the pool recomputed. p is two-sided, by permutation: under the null hypothesis the labels of the
    two systems are exchangeable within each scenario, and exchanging them there (in all dimensions at once) leaves the
    pool as it is. With random permutations p = (1 + as extreme) / (1 + permutations).

    Raises :class:`~interbench.base.errors.ScoresError` for a system without any row, or one compared with itself, and
    :class:`~interbench.base.errors.UsageError` for fewer than 40 replicates.
    """
    a, b = meant(a, scores.systems), meant(b, scores.systems)
    for name in (a, b):
        if name not in scores.systems:
            raise ScoresError(f"There is no system {name!r} to compare; the scores hold {', '.join(scores.systems)}.")
    if a == b:
        raise ScoresError(f"{a!r} can't be compared with itself; name two systems.")
    cells = scores.cells.select(scores.cells.scored)
    if reference is not None:
        reference.check(judge, [KEYS[d] for d in np.unique(cells.dimension)])
    pool = make_pool(scores) if reference is None else reference.pool
    values = _grids(cells, percentiles(cells, pool), scores, (a, b))
    both = ~(np.isnan(values[0]) | np.isnan(values[1]))
    scenarios = both.sum(axis=0)

    replicates = choose_replicates(replicates, len(cells.value), seed)
    group = np.full(len(cells.value), -1, np.int32)
    for index, name in enumerate((a, b)):
        group[(cells.system == scores.systems.index(name)) & both[cells.scenario, cells.dimension]] = index
    means = bootstrap_means(
        cells,
        len(scores.scenarios),
        pool,
        group,
        2,
        replicates=replicates,
        seed=seed,
        frozen=reference is not None,
    )
    low, high = interval(means[:, 0] - means[:, 1])
    differences = np.where(both, values[0] - values[1], 0.0)
    p, tried, exact = permutation_test(differences, permutations=permutations, seed=seed)
    p_holm = holm(np.where(scenarios > 0, p, np.nan))

    def row(d: int) -> PairedDifference:
        n = int(scenarios[d])
        if n == 0:
            return PairedDifference(KEYS[d], None, None, None, None, None, None, None, 0)
        mean_a, mean_b = (float(values[index, both[:, d], d].mean()) for index in (0, 1))
        lo, hi = (float(low[d]), float(high[d])) if n >= 2 else (None, None)
        return PairedDifference(
            KEYS[d], mean_a, mean_b, mean_a - mean_b, lo, hi, float(p[d]), float(p_holm[d]), scenarios=n
        )

    asked = families([KEYS[d] for d in np.unique(scores.dimension)])
    rows = tuple(row(d) for d, key in enumerate(KEYS) if key in asked)
    return Comparison(a, b, rows, pool, judge, replicates, tried, exact, seed)


def permutation_test(
    differences: FloatArray, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[FloatArray, int, bool]:
    """Two-sided sign-flip test of each column's mean; 0 stands for a pair that is tied or not there.

    ``differences`` has shape (pairs, columns); a pair is flipped in all columns at once. Returns the p-values, the
    number of permutations looked at, and whether these are all there are.
    """
    moving = differences[np.any(differences != 0, axis=1)]
    observed = np.abs(moving.sum(axis=0))
    # A permutation that ties with what was observed must count, whatever order its sum was rounded in.
    bar = observed - 1e-12 * np.abs(moving).sum(axis=0)
    exact = len(moving) <= EXACT_UP_TO
    total = 2 ** len(moving) if exact else permutations
    rng = np.random.default_rng((seed, 1))
    extreme = np.zeros(differences.shape[1], np.int64)
    chunk = max(1, _CHUNK // max(1, len(moving)))
    for start in range(0, total, chunk):
        count = min(chunk, total - start)
        if exact:
            flipped = ((np.arange(start, start + count)[:, None] >> np.arange(len(moving))) & 1).astype(np.uint8)
        else:
            bits = rng.integers(256, size=(count, -(-len(moving) // 8)), dtype=np.uint8)
            flipped = np.unpackbits(bits, axis=1, count=len(moving))
        signs = 1.0 - 2.0 * flipped
        extreme += (np.abs(signs @ moving) >= bar).sum(axis=0)
    return (extreme / total if exact else (1 + extreme) / (1 + total)), total, exact


def holm(p: FloatArray) -> FloatArray:
    """Holm's step-down correction; NaN entries are no hypotheses and stay NaN."""
    corrected = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _grids(cells: Cells, values: FloatArray, scores: Scores, names: tuple[str, str]) -> NDArray[np.float64]:
    """``values`` of each named system as (systems, scenarios, len(KEYS)), NaN where there is none."""
    grids = np.full((len(names), len(scores.scenarios), len(KEYS)), np.nan)
    for index, name in enumerate(names):
        own = cells.system == scores.systems.index(name)
        grids[index, cells.scenario[own], cells.dimension[own]] = values[own]
    return grids

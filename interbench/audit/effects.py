"""Effects of planted defects: scores against the control's, with a bootstrap over scenarios and joint draws.

Pure functions over arrays. y(i, d, c, k) is the score of scenario i in dimension d under condition c, judgement k; its
mean over k less that of the control is the effect Δ(i, d, c), and its mean over scenarios Δ̄(d, c). A scenario counts
in a cell only where both sides are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from interbench.domain.catalogue import Kind
from interbench.stats.comparison import PERMUTATIONS, holm, permutation_test

FloatArray = npt.NDArray[np.float64]
EPSILON = 0.5
"""Raw points: what counts as a change at all."""
REPLICATES = 2000
TAIL = 0.05
"""Of each end: intervals are of 90 %, as two one-sided tests at 5 % ask for."""
SIGNIFICANT = 0.05
LEAST_SCENARIOS = 6
LEAST_SHARE = 0.8
"""Of the scenarios of a condition: with fewer a cell is not tested."""
_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Condition:
    """One way in which the conversations of the base are shown to the judge."""

    name: str
    """``ENTRY@STRENGTH``, or the entry's name where it has one strength."""
    entry: str
    kind: Kind
    control: str
    """Name of the condition that it is compared with; empty for a control that is compared with nothing."""
    strength: int = 1
    """1-based."""
    strongest: int = 1
    """Of the strengths of this entry that are tried."""
    value: float = 1.0
    aim: str = ""
    may: frozenset[str] = frozenset()
    unheard: bool = False
    """It is perceived through a channel that the judge does not have."""


@dataclass(frozen=True)
class Judged:
    """What a judge said."""

    keys: tuple[str, ...]
    """Dimensions or measures."""
    conditions: tuple[Condition, ...]
    scenarios: tuple[str, ...]
    scores: FloatArray
    """``[conditions, keys, scenarios, judgements]``, NaN where there is none."""
    planned: npt.NDArray[np.bool_]
    """``[conditions, keys, scenarios]``: which were made, where the key applies to the scenario at all."""

    @cached_property
    def index(self) -> dict[str, int]:
        return {condition.name: number for number, condition in enumerate(self.conditions)}

    @cached_property
    def means(self) -> FloatArray:
        """Over judgements: ``[conditions, keys, scenarios]``."""
        there = ~np.isnan(self.scores)
        count = there.sum(axis=-1)
        total = np.where(there, self.scores, 0.0).sum(axis=-1)
        means: FloatArray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return means

    def of(self, *kinds: Kind) -> list[int]:
        """Numbers of the conditions of these kinds."""
        return [number for number, condition in enumerate(self.conditions) if condition.kind in kinds]


@dataclass(frozen=True)
class Effects:
    """Of every condition in every key, NaN where nothing is scored or there is no control."""

    judged: Judged
    delta: FloatArray
    """``[conditions, keys, scenarios]``."""
    drawn: FloatArray
    """Means over drawn scenarios: ``[replicates, conditions, keys]``."""
    p: FloatArray
    """Two-sided, by sign flips: ``[conditions, keys]``; NaN but for nuisances and defects."""
    seed: int

    @cached_property
    def n(self) -> npt.NDArray[np.int64]:
        """Scenarios scored on both sides: ``[conditions, keys]``."""
        found: npt.NDArray[np.int64] = (~np.isnan(self.delta)).sum(axis=-1)
        return found

    @cached_property
    def mean(self) -> FloatArray:
        """Δ̄: ``[conditions, keys]``."""
        total = np.nansum(self.delta, axis=-1)
        mean: FloatArray = np.divide(total, self.n, out=np.full(total.shape, np.nan), where=self.n > 0)
        return mean

    @cached_property
    def planned(self) -> npt.NDArray[np.int64]:
        """Scenarios that were to be scored: ``[conditions, keys]``."""
        found: npt.NDArray[np.int64] = self.judged.planned.sum(axis=-1)
        return found

    @cached_property
    def tested(self) -> npt.NDArray[np.bool_]:
        """Where enough is scored: ``[conditions, keys]``."""
        found: npt.NDArray[np.bool_] = (self.n >= LEAST_SCENARIOS) & (self.n >= LEAST_SHARE * self.planned)
        return found

    def quantiles(self, share: float, plus: FloatArray | float = 0.0) -> FloatArray:
        """Of Δ̄ over replicates, ``[conditions, keys]``; ``plus`` is something drawn with it."""
        return quantiles(self.drawn + plus, share)


def quantiles(drawn: FloatArray, share: float) -> FloatArray:
    """Over axis 0; replicates that are NaN do not count."""
    flat = drawn.reshape(len(drawn), -1)
    found = np.full(flat.shape[1], np.nan)
    holes = np.isnan(flat)
    whole = ~holes.any(axis=0)
    if whole.any():
        found[whole] = np.quantile(flat[:, whole], share, axis=0)
    for column in np.flatnonzero(~whole & ~holes.all(axis=0)):
        found[column] = np.quantile(flat[~holes[:, column], column], share)
    shaped: FloatArray = found.reshape(drawn.shape[1:])
    return shaped


def draws(scenarios: int, replicates: int, seed: int) -> FloatArray:
    """How often each scenario is drawn: ``[replicates, scenarios]``; one draw serves all conditions and keys."""
    rng = np.random.default_rng((seed, 19))
    drawn = rng.integers(scenarios, size=(replicates, scenarios)) + np.arange(replicates)[:, None] * scenarios
    times = np.bincount(drawn.ravel(), minlength=replicates * scenarios)
    return times.reshape(replicates, scenarios).astype(np.float64)


def take_effects(
    judged: Judged, *, replicates: int = REPLICATES, permutations: int = PERMUTATIONS, seed: int = 0
) -> Effects:
    """Effects against each condition's control."""
    means = judged.means
    delta: FloatArray = np.full(means.shape, np.nan)
    for number, condition in enumerate(judged.conditions):
        control = judged.index.get(condition.control)
        if control is not None:
            delta[number] = means[number] - means[control]
    shape = means.shape
    flat = delta.reshape(-1, shape[-1])
    there = ~np.isnan(flat)
    values = np.where(there, flat, 0.0)
    weights = draws(shape[-1], replicates, seed)
    count = weights @ there.T
    drawn = np.divide(weights @ values.T, count, out=np.full(count.shape, np.nan), where=count > 0)
    p = np.full(shape[:2], np.nan)
    tried = judged.of(Kind.NUISANCE, Kind.DEFECT)
    if tried:
        found, _, _ = permutation_test(
            values.reshape(shape)[tried].reshape(-1, shape[-1]).T, permutations=permutations, seed=seed
        )
        p[tried] = np.where(there.reshape(shape)[tried].any(axis=-1), found.reshape(-1, shape[1]), np.nan)
    return Effects(judged, delta, drawn.reshape(replicates, *shape[:2]), p, seed)


@dataclass(frozen=True)
class Floor:
    """How far a key moves by what must not matter."""

    key: str
    size: float
    """φ: the largest |Δ̄| of those nuisances that move it beyond chance; 0 if none does."""
    drawn: FloatArray
    """The margin δ in every replicate."""
    by: str
    """Name of the nuisance that does it; empty if none does."""
    nuisances: tuple[tuple[str, float, float], ...]
    """(condition, Δ̄, p after Holm) of all that are tested."""

    @property
    def margin(self) -> float:
        """δ = max(ε, φ)."""
        return max(EPSILON, self.size)

    @property
    def steady(self) -> bool:
        return self.size <= EPSILON


def floors(effects: Effects) -> tuple[Floor, ...]:
    """The floor of every key.

    The largest |Δ̄| over all nuisances would be a maximum of noise: the worse the data, the wider the margin and the
    better the certificate. So only nuisances count whose sign-flip p, after Holm over all of them, is below 0.05.
    """
    judged = effects.judged
    found = []
    for k, key in enumerate(judged.keys):
        tried = [c for c in judged.of(Kind.NUISANCE) if effects.tested[c, k]]
        p = holm(effects.p[tried, k]) if tried else np.zeros(0)
        moving = [c for c, corrected in zip(tried, p, strict=True) if corrected < SIGNIFICANT]
        sizes = np.abs(effects.mean[moving, k])
        drawn = np.full(len(effects.drawn), EPSILON)
        for c in moving:
            drawn = np.fmax(drawn, np.abs(effects.drawn[:, c, k]))
        largest = int(np.argmax(sizes)) if moving else -1
        found.append(
            Floor(
                key,
                float(sizes[largest]) if moving else 0.0,
                drawn,
                judged.conditions[moving[largest]].name if moving else "",
                tuple(
                    (judged.conditions[c].name, float(effects.mean[c, k]), float(corrected))
                    for c, corrected in zip(tried, p, strict=True)
                ),
            )
        )
    return tuple(found)


def margins(found: Sequence[Floor]) -> FloatArray:
    """δ in every replicate, to be added to what is drawn: ``[replicates, 1, keys]``."""
    return np.stack([floor.drawn for floor in found], axis=-1)[:, None, :]


def correlations(values: FloatArray) -> FloatArray:
    """Pearson's r between the rows of ``values`` over the columns where both are there; NaN where one is flat."""
    size = len(values)
    found = np.full((size, size), np.nan)
    for i in range(size):
        for j in range(size):
            both = ~(np.isnan(values[i]) | np.isnan(values[j]))
            a, b = values[i, both], values[j, both]
            if len(a) > 2 and a.std() > _SPREAD and b.std() > _SPREAD:
                found[i, j] = float(np.corrcoef(a, b)[0, 1])
    return found


def effective_dimensions(moments: FloatArray) -> float:
    """(Σλ)² / Σλ² of a matrix of second moments: as many as it has rows where all are distinct, 1 for one halo."""
    values = np.clip(np.linalg.eigvalsh(moments), 0.0, None)
    total, squares = float(values.sum()), float((values**2).sum())
    return total**2 / squares if squares > _SPREAD else float("nan")

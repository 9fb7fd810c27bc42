"""What else an audit tells of a judge: how it answers to growing strength, halo, repeatability, position, length, and
whether it obeys what it is shown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, page_trend_test

from interbench.audit.effects import (
    REPLICATES,
    TAIL,
    Effects,
    FloatArray,
    Floor,
    Judged,
    correlations,
    draws,
    effective_dimensions,
    margins,
)
from interbench.audit.verdicts import Matrix, State, Validity
from interbench.domain.catalogue import Kind

CEILING, BOTTOM = 9.5, 2.0
"""Means of the base from which a scale leaves no room."""
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Dose:
    """How one key answers to the strengths of one defect."""

    entry: str
    key: str
    strengths: tuple[int, ...]
    """Those that were tried, 1-based."""
    values: tuple[float, ...]
    """The same as the catalogue's numbers."""
    means: tuple[float | None, ...]
    """Δ̄ by strength."""
    ends: tuple[tuple[float | None, float | None], ...]
    steps: tuple[float | None, ...]
    """Change of Δ̄ from each strength to the next, from none to the first on."""
    tau: float | None
    """Kendall's τ_b between strength and score, mean over scenarios; −1 where the score falls with every step."""
    page_p: float | None
    """Page's trend test over scenarios: falling with strength."""
    resolution: int | None
    """The least strength that is detected."""


def doses(effects: Effects, matrix: Matrix) -> tuple[Dose, ...]:
    """Of every defect that aims at a key of the judge, with the strengths that were tried."""
    judged = effects.judged
    found = []
    for entry in dict.fromkeys(judged.conditions[c].entry for c in judged.of(Kind.DEFECT)):
        own = sorted(
            (c for c in judged.of(Kind.DEFECT) if judged.conditions[c].entry == entry),
            key=lambda c: judged.conditions[c].strength,
        )
        key = judged.conditions[own[0]].aim
        if key not in judged.keys:
            continue
        k = judged.keys.index(key)
        control = judged.index[judged.conditions[own[0]].control]
        table = judged.means[[control, *own], k].T
        whole = table[~np.isnan(table).any(axis=1)]
        means = [float(effects.mean[c, k]) for c in own]
        cells = [matrix.cell(judged.conditions[c].name, key) for c in own]
        found.append(
            Dose(
                entry,
                key,
                tuple(judged.conditions[c].strength for c in own),
                tuple(judged.conditions[c].value for c in own),
                tuple(_known(mean) for mean in means),
                tuple((None, None) if cell is None else (cell.lo, cell.hi) for cell in cells),
                tuple(_known(after - before) for before, after in zip([0.0, *means], means, strict=False)),
                _tau(whole),
                _page(whole),
                next(
                    (
                        judged.conditions[c].strength
                        for c, cell in zip(own, cells, strict=True)
                        if cell is not None and cell.state is State.DETECTED
                    ),
                    None,
                ),
            )
        )
    return tuple(found)


def _tau(table: FloatArray) -> float | None:
    """Mean over rows of Kendall's τ_b with the column's number; a row of one value has none."""
    if table.shape[0] == 0 or table.shape[1] < _FEWEST:
        return None
    taus = [kendalltau(np.arange(table.shape[1]), row).statistic for row in table if np.ptp(row) > 0]
    return float(np.mean(taus)) if taus else None


def _page(table: FloatArray) -> float | None:
    rows, columns = table.shape
    if rows < _FEWEST or columns < _FEWEST:
        return None
    return float(page_trend_test(table, predicted_ranks=np.arange(columns, 0, -1), method="asymptotic").pvalue)


@dataclass(frozen=True, slots=True)
class Halo:
    """How far dimensions move together."""

    correlations: tuple[tuple[float | None, ...], ...]
    """Of Δ over (defect × scenario), key by key."""
    effective: float | None
    """(Σλ)²/Σλ² of the defect × dimension matrix of Δ̄: as many as keys if distinct, 1 if all is one halo."""
    ordinary: float | None
    """The same number for the scores of the conversations as they are, over scenarios."""


def halo(effects: Effects) -> Halo:
    judged = effects.judged
    own = judged.of(Kind.DEFECT)
    strong = [c for c in own if judged.conditions[c].strength == judged.conditions[c].strongest]
    size = len(judged.keys)
    flat = effects.delta[own].transpose(1, 0, 2).reshape(size, -1) if own else np.full((size, 1), np.nan)
    matrix = effects.mean[strong]
    matrix = matrix[~np.isnan(matrix).any(axis=1)]
    base = judged.means[judged.index["base"]] if "base" in judged.index else np.full((size, 1), np.nan)
    base = base[:, ~np.isnan(base).any(axis=0)]
    ordinary = np.cov(base) if base.shape[1] > 1 else np.zeros((size, size))
    return Halo(
        tuple(tuple(_known(r) for r in row) for row in correlations(flat)),
        _known(effective_dimensions(matrix.T @ matrix)) if len(matrix) else None,
        _known(effective_dimensions(np.atleast_2d(ordinary))),
    )


@dataclass(frozen=True, slots=True)
class Repeatability:
    """How far judgements of the same conversations agree with one another."""

    key: str
    judgements: int
    scenarios: int
    sd: float | None
    """s_w: root of the mean variance within a conversation."""
    icc: float | None
    """ICC(1); None without variance."""
    identical: float | None
    """Share of conversations whose judgements are all the same."""
    least_difference: float | None
    """Of two systems on so many scenarios, judged once each: 1.96·√(2 s_w²/n); the judge's share alone."""
    entropy: float | None
    """Of the distribution of rounded scores over the conversations, in bits."""
    at_ten: float | None
    mean: float | None
    limit: str
    """``ceiling``, ``floor`` or empty."""


def repeatability(judged: Judged, condition: str = "sham") -> tuple[Repeatability, ...]:
    found = []
    number = judged.index.get(condition)
    for k, key in enumerate(judged.keys):
        grid = judged.scores[number, k] if number is not None else np.full((0, 1), np.nan)
        used = grid[:, ~np.isnan(grid).all(axis=0)]
        whole = used[~np.isnan(used).any(axis=1)] if used.size else np.zeros((0, 0))
        found.append(_repeated(key, whole, grid[~np.isnan(grid)]))
    return tuple(found)


def _repeated(key: str, whole: FloatArray, every: FloatArray) -> Repeatability:
    n, times = whole.shape
    mean = float(every.mean()) if every.size else None
    limit = "" if mean is None else "ceiling" if mean >= CEILING else "floor" if mean <= BOTTOM else ""
    counts = np.asarray(list(Counter(np.round(every).tolist()).values()), np.float64)
    shares = counts / counts.sum() if counts.size else counts
    entropy = abs(float((shares * np.log2(shares)).sum())) if counts.size else None
    at_ten = float((np.round(every) == 10).mean()) if every.size else None
    if n < 2 or times < 2:
        return Repeatability(key, times, n, None, None, None, None, entropy, at_ten, mean, limit)
    within = float(whole.var(axis=1, ddof=1).mean())
    between = float(times * whole.mean(axis=1).var(ddof=1))
    total = between + (times - 1) * within
    return Repeatability(
        key,
        times,
        n,
        math.sqrt(within),
        (between - within) / total if total > 0 else None,
        float((np.ptp(whole, axis=1) == 0).mean()),
        1.96 * math.sqrt(2 * within / n),
        entropy,
        at_ten,
        mean,
        limit,
    )


@dataclass(frozen=True, slots=True)
class Cold:
    """One key of the same conversations, judged once more with nothing in the judge's caches."""

    key: str
    scenarios: int
    difference: float | None
    """Mean of the cold score less the mean of the others."""
    lo: float | None
    hi: float | None
    """The 90 % interval, by scenarios."""
    identical: float | None
    """Share of conversations with a score that was given before, too."""


def colder(
    judged: Judged, every: Judged, sample: int | None, condition: str = "sham", *, seed: int = 0
) -> tuple[Cold, ...]:
    """What a judge makes of the control after its caches were emptied.

    Args:
        judged: without that judgement.
        every: with it.
        sample: its number; None where there is none.
        condition: the control.
        seed: of the bootstrap.
    """
    number = judged.index.get(condition)
    if sample is None or number is None or sample >= every.scores.shape[-1]:
        return ()
    found = []
    for k, key in enumerate(judged.keys):
        cold, warm = every.scores[number, k, :, sample], judged.scores[number, k]
        both = ~np.isnan(cold) & ~np.isnan(warm).all(axis=-1)
        count = int(both.sum())
        apart = cold[both] - judged.means[number, k, both]
        same = (warm[both] == cold[both, None]).any(axis=-1)
        lo = hi = None
        if count > 1:
            lo, hi = np.quantile(draws(count, REPLICATES, seed) @ apart / count, [TAIL, 1 - TAIL]).tolist()
        if count:
            found.append(Cold(key, count, float(apart.mean()), lo, hi, float(same.mean())))
        else:
            found.append(Cold(key, 0, None, None, None, None))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Position:
    """Whether it matters where in a conversation something is wrong."""

    what: str
    key: str
    effects: Mapping[str, float | None]
    """Δ̄ by place: first, middle, last."""
    difference: float | None
    """Of the last place and the first, with its 90 % interval."""
    lo: float | None
    hi: float | None


def positions(effects: Effects) -> tuple[Position, ...]:
    judged = effects.judged
    rows: dict[str, dict[str, int]] = {}
    for c in judged.of(Kind.POSITION):
        what, _, place = judged.conditions[c].entry.rpartition("-")
        rows.setdefault(what, {})[place] = c
    found = []
    for what, places in rows.items():
        aim = judged.conditions[next(iter(places.values()))].aim
        if aim not in judged.keys or not {"first", "last"} <= set(places):
            continue
        k = judged.keys.index(aim)
        drawn = effects.drawn[:, places["last"], k] - effects.drawn[:, places["first"], k]
        mean = float(effects.mean[places["last"], k] - effects.mean[places["first"], k])
        known = drawn[~np.isnan(drawn)]
        lo, hi = np.quantile(known, [TAIL, 1 - TAIL]).tolist() if len(known) else (math.nan, math.nan)
        by_place = {place: _known(float(effects.mean[c, k])) for place, c in places.items()}
        found.append(Position(what, aim, by_place, _known(mean), _known(lo), _known(hi)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Injection:
    """Whether the judge obeys a text that it is shown."""

    condition: str
    verdict: Validity
    worst: str
    """The key that rises most."""
    rise: float | None
    """Upper end of its Δ̄ against the harmless text (95 %)."""
    quoted: int
    """Verdicts that were read from a box within a quotation of the text."""


def injections(effects: Effects, found: Sequence[Floor], quoted: Mapping[str, int]) -> tuple[Injection, ...]:
    """Pass: nothing rises demonstrably by δ or more, in any key, and no verdict was quoted."""
    judged = effects.judged
    results = []
    highs, lows = (effects.quantiles(share, -margins(found)) for share in (1 - TAIL, TAIL))
    ends = effects.quantiles(1 - TAIL)
    for c in judged.of(Kind.INJECTION):
        name = judged.conditions[c].name
        tested = np.flatnonzero(effects.tested[c])
        worst = int(tested[np.argmax(highs[c, tested])]) if len(tested) else -1
        if quoted.get(name, 0) or bool((lows[c, tested] > 0).any()):
            verdict = Validity.FAIL
        elif len(tested) == len(judged.keys) and highs[c, worst] < 0:
            verdict = Validity.PASS
        else:
            verdict = Validity.UNDECIDED
        found_in = judged.keys[worst] if worst >= 0 else ""
        rise = _known(float(ends[c, worst])) if worst >= 0 else None
        results.append(Injection(name, verdict, found_in, rise, quoted.get(name, 0)))
    return tuple(results)


_BOX = re.compile(r"\\boxed\s*\{")


def quoted_box(answer: str, payload: str) -> bool:
    """Whether the last box of ``answer`` stands within a quotation of ``payload``."""
    boxes = [found.start() for found in _BOX.finditer(answer)]
    start = answer.rfind(payload) if payload else -1
    return bool(boxes) and start >= 0 and start <= boxes[-1] < start + len(payload)


@dataclass(frozen=True, slots=True)
class Verbosity:
    """Whether the same facts in more words are scored higher."""

    key: str
    slope: float | None
    """Raw points per doubling of the words."""
    lo: float | None
    hi: float | None
    verdict: Validity


VERBOSE_KEYS = ("IC", "SR", "kp-recall", "lexical")


def verbosity(effects: Effects, found: Sequence[Floor]) -> tuple[Verbosity, ...]:
    """Slope of the score on log2 of the length, through the control at length 1. Pass: q95(slope) < δ."""
    judged = effects.judged
    own = judged.of(Kind.VERBOSITY)
    if not own:
        return ()
    doublings = np.log2([judged.conditions[c].value for c in own])
    results = []
    for k, floor in enumerate(found):
        if floor.key not in VERBOSE_KEYS:
            continue
        tested = bool(effects.tested[own, k].all())
        x = np.asarray([0.0, *doublings])
        centred = x - x.mean()
        y = np.concatenate([np.zeros((len(effects.drawn), 1)), effects.drawn[:, own, k]], axis=1)
        slopes = (y @ centred) / (centred @ centred)
        whole = np.asarray([0.0, *effects.mean[own, k]])
        slope = float(whole @ centred / (centred @ centred))
        lo, hi = (float(np.nanquantile(slopes, share)) for share in (TAIL, 1 - TAIL))
        over = float(np.nanquantile(slopes - floor.drawn, 1 - TAIL))
        under = float(np.nanquantile(slopes - floor.drawn, TAIL))
        verdict = Validity.UNDECIDED
        if tested and over < 0:
            verdict = Validity.PASS
        elif tested and under > 0:
            verdict = Validity.FAIL
        results.append(Verbosity(floor.key, _known(slope), _known(lo), _known(hi), verdict))
    return tuple(results)


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)

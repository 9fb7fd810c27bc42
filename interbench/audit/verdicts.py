"""From effects to words: every cell of the matrix, and whether a dimension measures what it is called after.

Three words each, never two: what the data can't decide is undecided.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interbench.audit.effects import EPSILON, TAIL, Effects, FloatArray, Floor, margins
from interbench.domain.catalogue import Kind
from interbench.stats.comparison import holm

FALLS_MOST = 0.95
"""Share of replicates in which the aimed key must be the lowest of all that must not fall."""
ENOUGH_DEFECTS = 2
_MORE_MISSING = 0.1
_TRIED = (Kind.DEFECT, Kind.GROSS, Kind.CHANNEL, Kind.POSITION, Kind.BLINDNESS)
"""Kinds of conditions that are rows of the matrix."""


class State(enum.StrEnum):
    """What a cell says."""

    DETECTED = "detected"
    MISSED = "missed"
    CLEAN = "clean"
    LEAKS = "leaks"
    UNDECIDED = "undecided"
    ALLOWED = "may fall"
    """It may fall beside the aim, and is not judged."""
    NOT_TESTED = "not tested"
    """Too few scenarios are scored on both sides."""
    NOT_SCORED = "not scored"
    """The judge has no such column."""
    UNHEARD = "can't hear"
    """The judge lacks the channel: nothing was to be expected."""


class Validity(enum.StrEnum):
    """Whether a dimension notices its own defects, and nothing else does."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNDECIDED = "undecided"
    NOT_SCORED = "not scored"


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition in one key."""

    condition: str
    key: str
    state: State
    aimed: bool
    mean: float | None
    """Δ̄ in raw points."""
    lo: float | None
    hi: float | None
    """The 90 % interval of Δ̄."""
    n: int
    planned: int
    missing: int
    """Scenarios without a score under this condition."""
    p: float | None
    p_holm: float | None
    """Over the aimed cells; None elsewhere."""


@dataclass(frozen=True, slots=True)
class Discrimination:
    """The verdict on one dimension."""

    key: str
    validity: Validity
    detected: tuple[str, ...]
    """Conditions at full strength that aim at it and are detected."""
    missed: tuple[str, ...]
    undecided: tuple[str, ...]
    leaks: tuple[tuple[str, str], ...]
    """(condition, other key) of its defects that lower what they must not."""
    falls_most: float | None
    """The least share, over its detected defects, of replicates in which it falls most."""
    why: str
    """A sentence."""


@dataclass(frozen=True)
class Matrix:
    """All cells and what they come to."""

    cells: tuple[Cell, ...]
    floors: tuple[Floor, ...]
    dimensions: tuple[Discrimination, ...]
    makes_missing: tuple[tuple[str, str, int, int], ...]
    """(condition, key, missing, missing under its control) where a defect makes verdicts go missing."""

    def cell(self, condition: str, key: str) -> Cell | None:
        return next((c for c in self.cells if (c.condition, c.key) == (condition, key)), None)


def judge_effects(effects: Effects, found: Sequence[Floor], asked: Sequence[str]) -> Matrix:
    """The matrix, for the dimensions ``asked`` for (those that the judge has no column of are not scored)."""
    judged = effects.judged
    numbers = [c for c, condition in enumerate(judged.conditions) if condition.kind in _TRIED and condition.control]
    corrected = _corrected(effects, numbers)
    ends = _Ends.of(effects, found)
    cells = tuple(
        _cell(effects, ends, floor, c, k, corrected.get((c, k))) for c in numbers for k, floor in enumerate(found)
    )
    states = {(cell.condition, cell.key): cell for cell in cells}
    dimensions = tuple(
        _discrimination(effects, states, found, key)
        if key in judged.keys
        else Discrimination(key, Validity.NOT_SCORED, (), (), (), (), None, "This judge does not score it.")
        for key in asked
    )
    return Matrix(cells, tuple(found), dimensions, tuple(_missing(effects)))


def _corrected(effects: Effects, numbers: Sequence[int]) -> dict[tuple[int, int], float]:
    judged = effects.judged
    aimed = [
        (c, judged.keys.index(judged.conditions[c].aim))
        for c in numbers
        if judged.conditions[c].kind is Kind.DEFECT and judged.conditions[c].aim in judged.keys
    ]
    p = np.asarray([effects.p[c, k] if effects.tested[c, k] else np.nan for c, k in aimed])
    values: FloatArray = holm(p) if len(p) else p
    return {cell: float(value) for cell, value in zip(aimed, values, strict=True) if not np.isnan(value)}


@dataclass(frozen=True, slots=True)
class _Ends:
    """Quantiles by condition and key."""

    lo: FloatArray
    hi: FloatArray
    under: FloatArray
    """The lower one of Δ̄ + δ."""
    over: FloatArray
    """The upper one of it."""

    @classmethod
    def of(cls, effects: Effects, found: Sequence[Floor]) -> _Ends:
        margin = margins(found)
        return cls(
            effects.quantiles(TAIL),
            effects.quantiles(1 - TAIL),
            effects.quantiles(TAIL, margin),
            effects.quantiles(1 - TAIL, margin),
        )


def _cell(effects: Effects, ends: _Ends, floor: Floor, c: int, k: int, p_holm: float | None) -> Cell:
    condition = effects.judged.conditions[c]
    scored = ~np.isnan(effects.judged.means[c, k])
    return Cell(
        condition.name,
        floor.key,
        _state(effects, ends, floor.key, c, k),
        condition.aim == floor.key,
        _known(effects.mean[c, k]),
        _known(ends.lo[c, k]),
        _known(ends.hi[c, k]),
        int(effects.n[c, k]),
        int(effects.planned[c, k]),
        int((effects.judged.planned[c, k] & ~scored).sum()),
        _known(effects.p[c, k]),
        p_holm,
    )


def _state(effects: Effects, ends: _Ends, key: str, c: int, k: int) -> State:
    condition = effects.judged.conditions[c]
    aimed = condition.aim == key
    if not effects.tested[c, k]:
        return State.NOT_TESTED
    if not aimed and key in condition.may:
        return State.ALLOWED
    falls = ends.over[c, k] < 0
    if aimed and not condition.unheard:
        if falls:
            return State.DETECTED
        return State.MISSED if ends.under[c, k] > 0 else State.UNDECIDED
    if falls:
        return State.LEAKS
    if condition.unheard and aimed:
        return State.UNHEARD
    # Equivalence, by a margin that does not grow with the noise.
    return State.CLEAN if ends.lo[c, k] > -EPSILON and ends.hi[c, k] < EPSILON else State.UNDECIDED


def _discrimination(
    effects: Effects, states: dict[tuple[str, str], Cell], found: Sequence[Floor], key: str
) -> Discrimination:
    judged = effects.judged
    own = [c for c in judged.of(Kind.DEFECT) if judged.conditions[c].aim == key]
    full = [c for c in own if judged.conditions[c].strength == judged.conditions[c].strongest]
    named = {c: judged.conditions[c].name for c in own}
    by_state = {
        state: tuple(named[c] for c in full if states[named[c], key].state is state)
        for state in (State.DETECTED, State.MISSED, State.UNDECIDED)
    }
    leaks = tuple(
        (named[c], floor.key) for c in own for floor in found if states[named[c], floor.key].state is State.LEAKS
    )
    most = [_falls_most(effects, c, key) for c in full if named[c] in by_state[State.DETECTED]]
    share = min(most) if most else None
    detected = by_state[State.DETECTED]
    missed = by_state[State.MISSED]
    if missed or leaks:
        validity = Validity.FAIL
    elif len(detected) >= ENOUGH_DEFECTS and share is not None and share >= FALLS_MOST:
        validity = Validity.PASS
    else:
        validity = Validity.UNDECIDED
    return Discrimination(
        key, validity, detected, missed, by_state[State.UNDECIDED], leaks, share, _why(detected, missed, leaks, share)
    )


def _falls_most(effects: Effects, c: int, key: str) -> float:
    """Share of replicates in which ``key`` is the lowest of all that condition ``c`` must not lower beside it."""
    judged, condition = effects.judged, effects.judged.conditions[c]
    k = judged.keys.index(key)
    others = [
        j for j, other in enumerate(judged.keys) if j != k and other not in condition.may and effects.tested[c, j]
    ]
    if not others:
        return 1.0
    own, rest = effects.drawn[:, c, k], np.nanmin(effects.drawn[:, c][:, others], axis=1)
    return float(np.mean(own < rest))


def _why(detected: Sequence[str], missed: Sequence[str], leaks: Sequence[tuple[str, str]], share: float | None) -> str:
    if missed:
        return f"It does not notice {_listed(missed)}, which aims at it."
    if leaks:
        first, key = leaks[0]
        more = f", and {len(leaks) - 1} more such" if len(leaks) > 1 else ""
        return f"{first} aims at it and lowers {key} as well, which it must not{more}."
    if len(detected) < ENOUGH_DEFECTS:
        known = f"{_listed(detected)} is detected" if detected else "no defect that aims at it is detected"
        return f"Only two detected defects decide, and {known} so far."
    if share is not None and share < FALLS_MOST:
        return f"Its own defects are detected, but it falls most in only {share:.0%} of the draws."
    return f"It notices {_listed(detected)}, falls most, and what must not fall does not demonstrably fall."


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))


def _missing(effects: Effects) -> list[tuple[str, str, int, int]]:
    judged = effects.judged
    found = []
    for c, condition in enumerate(judged.conditions):
        control = judged.index.get(condition.control)
        if control is None:
            continue
        for k, key in enumerate(judged.keys):
            planned = judged.planned[c, k]
            own = int((planned & np.isnan(judged.means[c, k])).sum())
            other = int((planned & np.isnan(judged.means[control, k])).sum())
            if own - other > max(1, _MORE_MISSING * planned.sum()):
                found.append((condition.name, key, own, other))
    return found


def _known(value: float | np.floating) -> float | None:
    return None if np.isnan(value) else float(value)

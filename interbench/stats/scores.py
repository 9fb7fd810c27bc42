"""Raw scores as the statistics take them: long form, one row per judgement, columns of codes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from interbench.base.errors import ScoresError
from interbench.domain.dimensions import EVERY, dimension

Ints = NDArray[np.int32]
FloatArray = NDArray[np.float64]

KEYS = tuple(d.key for d in EVERY)
"""Of dimensions and measures, in the order of a table's columns."""
LARGEST = 1e100
"""Scores beyond this magnitude are refused: their squares would overflow, and no judge's scale reaches there."""
NO_REASON = "no reason given"


class Judgement(Protocol):
    """What one row is made from; :class:`interbench.domain.records.Verdict` is one."""

    @property
    def system(self) -> str: ...
    @property
    def scenario(self) -> str: ...
    @property
    def dimension(self) -> str: ...
    @property
    def sample(self) -> int: ...
    @property
    def score(self) -> float | None: ...
    @property
    def missing(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class ScoreRecord:
    """One judgement: a score, or None with the reason in ``missing``."""

    system: str
    scenario: str
    dimension: str
    score: float | None
    missing: str | None = None
    sample: int = 0
    """Index of the repeated judgement."""


@dataclass(frozen=True, eq=False)
class Cells:
    """One entry per (system, scenario, dimension), repeated judgements averaged; arrays of equal length."""

    system: Ints
    scenario: Ints
    dimension: Ints
    """Index into :data:`KEYS`."""
    value: FloatArray
    """Mean of the scored judgements; NaN where there is none."""
    reason: Ints
    """Index into :attr:`Scores.reasons` where the value is missing."""
    samples: Ints
    """Judgements recorded."""
    samples_missing: Ints
    """Of these, the ones without a score."""

    @property
    def scored(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.value)

    def select(self, mask: NDArray[np.bool_]) -> Cells:
        return Cells(
            self.system[mask],
            self.scenario[mask],
            self.dimension[mask],
            self.value[mask],
            self.reason[mask],
            self.samples[mask],
            self.samples_missing[mask],
        )


@dataclass(frozen=True, eq=False)
class Scores:
    """Judgements in long form. Name tuples are in order of first appearance; the arrays hold indices into them.

    Build one with :meth:`from_records`, :meth:`concat` or :func:`interbench.stats.read_scores`, which refuse doubled
    rows.
    """

    systems: tuple[str, ...]
    scenarios: tuple[str, ...]
    samples: tuple[str, ...]
    reasons: tuple[str, ...]
    system: Ints
    scenario: Ints
    dimension: Ints
    """Index into :data:`KEYS`."""
    sample: Ints
    value: FloatArray
    """NaN where missing."""
    reason: Ints
    """Why the value is missing; meaningless where it is not."""

    def __len__(self) -> int:
        return len(self.value)

    @classmethod
    def from_records(cls, records: Iterable[Judgement]) -> Scores:
        """Raises :class:`~interbench.base.errors.ScoresError` for a score that is no finite number, or doubled rows."""
        table = ScoresBuilder()
        for r in records:
            if r.score is not None and not abs(r.score) <= LARGEST:
                raise ScoresError(
                    f"System {r.system!r}, scenario {r.scenario!r}, {r.dimension}: {r.score} is not a usable score; "
                    "give a finite number, or none with the reason it is missing."
                )
            table.add(r.system, r.scenario, dimension(r.dimension).key, str(r.sample), r.score, r.missing)
        return table.build()._without_duplicates()

    @classmethod
    def concat(cls, parts: Sequence[Scores]) -> Scores:
        """Several sets of judgements by the same judge as one. Raises ScoresError if a row stands in two of them."""
        return join(parts)._without_duplicates()

    def only(self, scenarios: Collection[str]) -> Scores:
        """The judgements of these scenarios; the systems stay, also where nothing of theirs is left."""
        kept = [index for index, name in enumerate(self.scenarios) if name in scenarios]
        place = np.full(len(self.scenarios) + 1, -1, np.int32)
        place[kept] = np.arange(len(kept))
        mask = place[self.scenario] >= 0
        return Scores(
            self.systems,
            tuple(self.scenarios[index] for index in kept),
            self.samples,
            self.reasons,
            self.system[mask],
            place[self.scenario[mask]],
            self.dimension[mask],
            self.sample[mask],
            self.value[mask],
            self.reason[mask],
        )

    def select(self, mask: NDArray[np.bool_]) -> Scores:
        """The rows of ``mask``, with only the names that occur in them."""

        def kept(names: tuple[str, ...], codes: Ints) -> tuple[tuple[str, ...], Ints]:
            used, first, code = np.unique(codes[mask], return_index=True, return_inverse=True)
            order = np.argsort(first)
            place = np.empty(len(used), np.int32)
            place[order] = np.arange(len(used), dtype=np.int32)
            return tuple(names[index] for index in used[order]), place[code]

        systems, system = kept(self.systems, self.system)
        scenarios, scenario = kept(self.scenarios, self.scenario)
        samples, sample = kept(self.samples, self.sample)
        return Scores(
            systems,
            scenarios,
            samples,
            self.reasons,
            system,
            scenario,
            self.dimension[mask],
            sample,
            self.value[mask],
            self.reason[mask],
        )

    def first_duplicate(self) -> tuple[int, int] | None:
        """The first row that repeats an earlier one's (system, scenario, dimension, sample), as (earlier, later)."""
        keys = self._cell_keys * len(self.samples) + self.sample
        if not _repeats(keys):
            return None
        order = np.argsort(keys, kind="stable")
        pairs = np.flatnonzero(np.diff(keys[order]) == 0)
        later = int(np.min(order[pairs + 1]))
        return int(np.flatnonzero(keys == keys[later])[0]), later

    @cached_property
    def cells(self) -> Cells:
        """The judgements with repeated ones averaged; missing ones left out of the mean but counted."""
        absent = np.isnan(self.value)
        if not _repeats(self._cell_keys):
            ones = np.ones(len(self), np.int32)
            return Cells(
                self.system, self.scenario, self.dimension, self.value, self.reason, ones, absent.astype(np.int32)
            )
        order = np.argsort(self._cell_keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(self._cell_keys[order]) != 0])
        value, absent = self.value[order], absent[order]
        recorded = np.diff(np.r_[starts, len(order)]).astype(np.int32)
        missing = np.add.reduceat(absent.astype(np.int32), starts)
        low = np.minimum.reduceat(np.where(absent, np.inf, value), starts)
        high = np.maximum.reduceat(np.where(absent, -np.inf, value), starts)
        total = np.add.reduceat(np.where(absent, 0.0, value), starts)
        with np.errstate(invalid="ignore"):
            mean = total / np.where(recorded > missing, recorded - missing, np.nan)
        mean = np.where(low == high, low, mean)  # equal judgements average to themselves, to the last bit
        first = order[starts]
        return Cells(
            self.system[first],
            self.scenario[first],
            self.dimension[first],
            mean,
            self.reason[first],
            recorded,
            missing,
        )

    @cached_property
    def _cell_keys(self) -> NDArray[np.int64]:
        rows = self.system.astype(np.int64) * len(self.scenarios) + self.scenario
        return rows * len(KEYS) + self.dimension

    def _without_duplicates(self) -> Scores:
        if found := self.first_duplicate():
            row = found[1]
            raise ScoresError(
                f"System {self.systems[self.system[row]]!r}, scenario {self.scenarios[self.scenario[row]]!r}, "
                f"dimension {KEYS[self.dimension[row]]}, sample {self.samples[self.sample[row]]} is there twice; "
                "keep one of the two, or number repeated judgements."
            )
        return self


class ScoresBuilder:
    """Collects rows one by one; names become indices in order of first appearance."""

    def __init__(self) -> None:
        self._names: tuple[dict[str, int], ...] = ({}, {}, {}, {})
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._values: list[float] = []

    def add(self, system: str, scenario: str, key: str, sample: str, score: float | None, reason: str | None) -> None:
        """``key`` must be one of :data:`KEYS`; names and score are taken as given."""
        systems, scenarios, samples, reasons = self._names
        self._rows.append(
            (
                systems.setdefault(system, len(systems)),
                scenarios.setdefault(scenario, len(scenarios)),
                _INDEX[key],
                samples.setdefault(sample, len(samples)),
                reasons.setdefault(str(reason) if reason else NO_REASON, len(reasons)) if score is None else 0,
            )
        )
        self._values.append(np.nan if score is None else score)

    def build(self) -> Scores:
        rows = np.array(self._rows, np.int32).reshape(-1, 5)
        system, scenario, key, sample, reason = (np.ascontiguousarray(column) for column in rows.T)
        systems, scenarios, samples, reasons = (tuple(names) for names in self._names)
        value = np.array(self._values, np.float64)
        return Scores(systems, scenarios, samples, reasons, system, scenario, key, sample, value, reason)


def join(parts: Sequence[Scores]) -> Scores:
    """The rows of all parts, unchecked."""
    if len(parts) == 1:
        return parts[0]

    def merged(names: Sequence[tuple[str, ...]], codes: Sequence[Ints]) -> tuple[tuple[str, ...], Ints]:
        index: dict[str, int] = {}
        maps = [np.array([index.setdefault(n, len(index)) for n in part] or [0], np.int32) for part in names]
        return tuple(index), np.concatenate([m[c] for m, c in zip(maps, codes, strict=True)] or [np.empty(0, np.int32)])

    systems, system = merged([p.systems for p in parts], [p.system for p in parts])
    scenarios, scenario = merged([p.scenarios for p in parts], [p.scenario for p in parts])
    samples, sample = merged([p.samples for p in parts], [p.sample for p in parts])
    reasons, reason = merged([p.reasons for p in parts], [p.reason for p in parts])
    return Scores(
        systems,
        scenarios,
        samples,
        reasons,
        system,
        scenario,
        np.concatenate([p.dimension for p in parts] or [np.empty(0, np.int32)]),
        sample,
        np.concatenate([p.value for p in parts] or [np.empty(0)]),
        reason,
    )


_INDEX = {key: index for index, key in enumerate(KEYS)}


def _repeats(keys: NDArray[np.int64]) -> bool:
    return bool(len(keys) > 1 and np.any(np.diff(np.sort(keys)) == 0))

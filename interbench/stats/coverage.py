"""How much of what was planned is scored, and why the rest is not.

The denominator comes from the plan and never shrinks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interbench.base.errors import ScoresError
from interbench.domain.dimensions import DIMENSION_KEYS, families
from interbench.stats.scores import KEYS, Ints, Scores

NO_RECORD = "no record"
"""Reason of a conversation that the plan asks for and the scores say nothing about."""


@dataclass(frozen=True)
class Expected:
    """The plan: every system on its scenarios, each conversation judged on ``dimensions``."""

    scenarios: Mapping[str, Sequence[str]]
    """By system, in the order of the table's rows."""
    dimensions: tuple[str, ...] = DIMENSION_KEYS

    @classmethod
    def product(
        cls, systems: Sequence[str], scenarios: Sequence[str], dimensions: Sequence[str] = DIMENSION_KEYS
    ) -> Expected:
        """Every system on every scenario."""
        return cls({system: tuple(scenarios) for system in systems}, tuple(dimensions))

    @classmethod
    def from_scores(cls, scores: Scores, dimensions: Sequence[str] | None = None) -> Expected:
        """Where nobody states a plan: every system on every scenario that any system has a row for.

        ``dimensions`` None: all of the family or families (:func:`interbench.domain.dimensions.families`) that occur.
        """
        return cls.product(scores.systems, scores.scenarios, dimensions or _families(scores))

    @classmethod
    def from_rows(cls, scores: Scores, dimensions: Sequence[str] | None = None) -> Expected:
        """Where the rows are the plan: every system on the scenarios that it has a row for, scored or not.

        ``dimensions`` as for :meth:`from_scores`.
        """
        pairs = np.unique(scores.system.astype(np.int64) * len(scores.scenarios) + scores.scenario)
        plan: dict[str, list[str]] = {system: [] for system in scores.systems}
        for pair in pairs:
            system, scenario = divmod(int(pair), len(scores.scenarios))
            plan[scores.systems[system]].append(scores.scenarios[scenario])
        return cls(plan, tuple(dimensions or _families(scores)))


def _families(scores: Scores) -> tuple[str, ...]:
    return families([KEYS[d] for d in np.unique(scores.dimension)])


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of one system on one dimension, in conversations."""

    scored: int
    expected: int
    missing: Mapping[str, int]
    """Reason to number of conversations; the numbers add up to ``expected - scored``."""
    samples_missing: int = 0
    """Repeated judgements without a score in conversations that other judgements did score."""


def measure_coverage(scores: Scores, expected: Expected) -> dict[str, dict[str, Coverage]]:
    """Coverage by system and dimension, for every system of the plan and all dimensions.

    Raises :class:`~interbench.base.errors.ScoresError` if there are scores the plan does not ask for.
    """
    _refuse_unplanned(scores, expected)
    cells = scores.cells
    scored = cells.scored
    counts: dict[tuple[int, int], dict[str, int]] = {}
    shape = (len(scores.systems), len(KEYS))

    def count(mask: NDArray[np.bool_], weights: Ints | None = None) -> NDArray[np.int64]:
        slot = cells.system[mask].astype(np.int64) * len(KEYS) + cells.dimension[mask]
        chosen = None if weights is None else weights[mask]
        return np.bincount(slot, weights=chosen, minlength=shape[0] * shape[1]).reshape(shape).astype(np.int64)

    for index, reason in enumerate(scores.reasons):
        by_reason = count(~scored & (cells.reason == index))
        for system, dimension in np.argwhere(by_reason):
            reasons = counts.setdefault((int(system), int(dimension)), {})
            reasons[reason] = reasons.get(reason, 0) + int(by_reason[system, dimension])
    number_scored, samples_missing = count(scored), count(scored, cells.samples_missing)

    def coverage(name: str, dimension: int, planned: int) -> Coverage:
        if name not in index_of:
            return Coverage(0, planned, {NO_RECORD: planned} if planned else {})
        system = index_of[name]
        missing = dict(counts.get((system, dimension), {}))
        have = int(number_scored[system, dimension])
        if unrecorded := planned - have - sum(missing.values()):
            missing[NO_RECORD] = unrecorded
        return Coverage(have, planned, missing, int(samples_missing[system, dimension]))

    index_of = {name: index for index, name in enumerate(scores.systems)}
    return {
        name: {
            key: coverage(name, d, len(scenarios) if key in expected.dimensions else 0) for d, key in enumerate(KEYS)
        }
        for name, scenarios in expected.scenarios.items()
    }


def _refuse_unplanned(scores: Scores, expected: Expected) -> None:
    advice = "State a plan that holds everything that was judged, or leave these scores out."
    for name in scores.systems:
        if name not in expected.scenarios:
            raise ScoresError(f"There are scores of the system {name!r}, which the plan does not name. {advice}")
    scenario_of = {name: index for index, name in enumerate(scores.scenarios)}
    planned = np.zeros((len(scores.systems), len(scores.scenarios)), bool)
    for index, name in enumerate(scores.systems):
        planned[index, [scenario_of[s] for s in expected.scenarios[name] if s in scenario_of]] = True
    beyond = np.flatnonzero(~planned[scores.system, scores.scenario])
    if len(beyond):
        system, scenario = scores.systems[scores.system[beyond[0]]], scores.scenarios[scores.scenario[beyond[0]]]
        raise ScoresError(f"There are scores of {system!r} on {scenario!r}, which the plan does not ask for. {advice}")
    for key in (KEYS[d] for d in np.unique(scores.dimension)):
        if key not in expected.dimensions:
            raise ScoresError(f"There are scores for {key}, a dimension the plan does not ask for. {advice}")

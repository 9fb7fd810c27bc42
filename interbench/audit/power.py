"""What a number of scenarios and judgements can decide, by simulation of the audit's own rules.

Scores are rounded to 1–10, the noise of a judgement is normal, the effect the same in all scenarios.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interbench.audit.effects import Condition, Judged, floors, take_effects
from interbench.audit.verdicts import State, judge_effects
from interbench.domain.catalogue import Kind

NOISE = (0.7, 1.0, 1.5)
"""Standard deviations of a judgement that are tried where the judge's own is not known."""
FALL = 1.5
TRIALS = 150
_NUISANCES = 10
_BASE, _SPREAD = 7.5, 0.8
_REPLICATES, _PERMUTATIONS = 300, 199


@dataclass(frozen=True, slots=True)
class Power:
    """Of one design and one noise."""

    scenarios: int
    repeats: int
    noise: float
    clean: float
    """Share of trials in which an untouched cell is called clean."""
    detected: float
    """Share in which a fall of :data:`FALL` points is detected."""
    leaks: float
    """Share in which an untouched cell is called a leak."""


def power_table(
    designs: Sequence[tuple[int, int]], noise: Sequence[float] = NOISE, *, trials: int = TRIALS, seed: int = 0
) -> tuple[Power, ...]:
    """For each (scenarios, repeats) and each noise."""
    return tuple(_power(n, k, sd, trials, seed) for n, k in designs for sd in noise)


def _power(scenarios: int, repeats: int, noise: float, trials: int, seed: int) -> Power:
    conditions = (
        Condition("base", "base", Kind.NUISANCE, ""),
        Condition("defect", "defect", Kind.DEFECT, "base", aim="EA"),
        *(Condition(f"n{n}", f"n{n}", Kind.NUISANCE, "base") for n in range(_NUISANCES)),
    )
    rng = np.random.default_rng((seed, scenarios, repeats, round(100 * noise)))
    fall = np.zeros((len(conditions), 2))
    fall[1, 0] = FALL
    counts = dict.fromkeys((State.CLEAN, State.DETECTED, State.LEAKS), 0)
    for trial in range(trials):
        truth = rng.normal(_BASE, _SPREAD, (1, 2, scenarios, 1)) - fall[..., None, None]
        scores = truth + rng.normal(0, noise, (len(conditions), 2, scenarios, repeats))
        judged = Judged(
            ("EA", "NI"),
            conditions,
            tuple(map(str, range(scenarios))),
            np.clip(np.round(scores), 1, 10),
            np.ones((len(conditions), 2, scenarios), bool),
        )
        effects = take_effects(judged, replicates=_REPLICATES, permutations=_PERMUTATIONS, seed=trial)
        for cell in judge_effects(effects, floors(effects), ("EA", "NI")).cells:
            if cell.state in counts and (cell.key == "EA") == (cell.state is State.DETECTED):
                counts[cell.state] += 1
    return Power(scenarios, repeats, noise, *(counts[s] / trials for s in (State.CLEAN, State.DETECTED, State.LEAKS)))

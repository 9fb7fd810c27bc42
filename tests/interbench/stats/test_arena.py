"""The arena against an independent fit, and against votes of known strengths."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize

from interbench.stats.arena import RIDGE, Arena, Vote, fit_arena, inversions

SYSTEMS = ("a", "b", "c", "d")


def votes_of(
    strengths: dict[str, float], scenarios: int, *, side: float = 0.0, per_pair: int = 1, seed: int = 0
) -> list[Vote]:
    rng = np.random.default_rng(seed)
    found = []
    for scenario in range(scenarios):
        for pair in itertools.combinations(strengths, 2):
            for _ in range(per_pair):
                left, right = pair if rng.random() < 0.5 else pair[::-1]
                chance = 1 / (1 + math.exp(-(strengths[left] - strengths[right] + side)))
                found.append(Vote(f"s{scenario}", left, right, "left" if rng.random() < chance else "right"))
    return found


def theta(arena: Arena) -> dict[str, float]:
    return {s.system: s.strength for s in arena.standings if s.strength is not None}


def test_the_fit_is_that_of_a_general_optimizer() -> None:
    votes = votes_of({"a": 1.0, "b": 0.3, "c": -0.2, "d": -1.0}, 12, side=0.4)
    votes += [Vote("s0", "a", "b", "tie"), Vote("s1", "c", "d", "both_bad")]
    won = {"left": 1.0, "right": 0.0, "tie": 0.5, "both_bad": 0.5}

    def loss(x: np.ndarray) -> float:
        total = RIDGE * float(x @ x) / 2
        for vote in votes:
            logit = x[SYSTEMS.index(vote.left)] - x[SYSTEMS.index(vote.right)] + x[4]
            total += math.log1p(math.exp(logit)) - won[vote.choice] * logit
        return total

    best = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-8}).x
    expected = best[:4] - best[:4].mean()
    arena = fit_arena(votes, SYSTEMS, replicates=40)
    assert [theta(arena)[name] for name in SYSTEMS] == pytest.approx(expected.tolist(), abs=1e-4)
    assert arena.side.value == pytest.approx(100 / (1 + math.exp(-best[4])), abs=1e-2)
    assert arena.ties == 2 and arena.both_bad == 1
    rates = {s.system: s.win_rate.value for s in arena.standings}
    for n, name in enumerate(SYSTEMS):
        beats = [1 / (1 + math.exp(expected[m] - expected[n])) for m in range(4) if m != n]
        assert rates[name] == pytest.approx(100 * sum(beats) / 3, abs=1e-2)


def test_strengths_and_side_are_found_again() -> None:
    true = {"a": 0.9, "b": 0.2, "c": -0.3, "d": -0.8}
    arena = fit_arena(votes_of(true, 400, side=0.5), SYSTEMS, replicates=100)
    assert theta(arena) == pytest.approx(true, abs=0.2)
    assert [s.system for s in arena.standings] == ["a", "b", "c", "d"]
    assert arena.side.lo is not None and arena.side.hi is not None
    assert arena.side.lo < 100 / (1 + math.exp(-0.5)) < arena.side.hi
    assert arena.connected and arena.triads == 4 and arena.intransitive == 0


def test_a_side_effect_favours_nobody() -> None:
    """Equal systems under a strong preference for the left."""
    arena = fit_arena(votes_of(dict.fromkeys(SYSTEMS, 0.0), 300, side=1.5, seed=2), SYSTEMS, replicates=60)
    for standing in arena.standings:
        assert standing.win_rate.value == pytest.approx(50, abs=6)
    assert arena.left_share is not None and arena.left_share > 75


def test_who_never_lost_is_not_compared() -> None:
    votes = [Vote(f"s{n}", "a", "b", "left") for n in range(6)] + [Vote("s0", "b", "c", "tie")]
    arena = fit_arena(votes, ("a", "b", "c"), replicates=40)
    assert arena.components == (("b", "c"), ("a",)) and not arena.connected
    rates = {s.system: s.win_rate for s in arena.standings}
    assert rates["a"].value is None and rates["a"].why == "not comparable"
    assert rates["b"].value == pytest.approx(50), "compared with c alone"
    assert arena.side.value is None


def test_intervals_are_over_scenarios_not_over_votes() -> None:
    """Twenty raters who all say the same of each scenario are no more scenarios."""
    rng = np.random.default_rng(1)
    few = [
        Vote(f"s{n}", "a", "b", "left" if rng.random() < 0.7 else "right") for n in range(25)
    ]  # fmt: skip
    one, many = (fit_arena(few * times, ("a", "b"), replicates=400) for times in (1, 20))

    def width(arena: Arena) -> float:
        rate = next(s.win_rate for s in arena.standings if s.system == "a")
        assert rate.hi is not None and rate.lo is not None
        return rate.hi - rate.lo

    assert width(many) > 0.8 * width(one)


def test_circles_are_counted_and_order_of_votes_is_nothing() -> None:
    votes = [Vote("s1", *pair, "left") for pair in (("a", "b"), ("b", "c"), ("c", "a"))]
    arena = fit_arena(votes, ("a", "b", "c"), replicates=40)
    assert (arena.triads, arena.intransitive) == (1, 1)
    for standing in arena.standings:
        assert standing.win_rate.value == pytest.approx(50)
    mixed = votes_of({"a": 1.0, "b": 0.0, "c": -1.0}, 20)
    there, back = (fit_arena(v, ("a", "b", "c"), replicates=40) for v in (mixed, mixed[::-1]))
    assert theta(there) == pytest.approx(theta(back))


def test_inversions_between_two_arenas() -> None:
    people = fit_arena(votes_of({"a": 1.0, "b": 0.0, "c": -1.0}, 100), ("a", "b", "c"), replicates=40)
    judge = fit_arena(votes_of({"b": 1.0, "a": 0.0, "c": -1.0}, 100), ("a", "b", "c"), replicates=40)
    assert inversions(people, judge) == [("a", "b")]
    assert inversions(people, people) == []


def test_no_votes_are_no_figures() -> None:
    arena = fit_arena([], ("a", "b"), replicates=40)
    assert all(s.win_rate.value is None and s.votes == 0 for s in arena.standings)
    assert arena.left_share is None

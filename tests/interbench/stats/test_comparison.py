"""Paired comparisons: p against brute force, behaviour under the null hypothesis, Holm's correction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import known

from interbench.base.errors import ReferencePoolError, ScoresError
from interbench.stats import JudgeLabel, ReferencePool, ScoreRecord, Scores, compare, holm, make_pool, permutation_test


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-3, 3)), min_size=1, max_size=8))
def test_exact_p_is_brute_force(pairs: list[tuple[int, int]]) -> None:
    differences = np.array(pairs, float)
    p, tried, exact = permutation_test(differences)
    for column in range(2):
        sums = [
            abs(sum(s * d for s, d in zip(signs, differences[:, column], strict=True)))
            for signs in itertools.product((1, -1), repeat=len(pairs))
        ]
        assert p[column] == pytest.approx(np.mean([s >= sums[0] for s in sums]))
    assert exact
    assert tried == 2 ** np.any(differences != 0, axis=1).sum()


def test_random_permutations_agree_with_theory() -> None:
    p, tried, exact = permutation_test(np.ones((20, 1)), permutations=9999)
    assert not exact
    assert tried == 9999
    assert p[0] == pytest.approx(1 / 10_000), "2 in 2^20 would be hit by chance almost never; the observed one counts"
    mixed = np.r_[np.ones(30), -np.ones(20)][:, None]
    expected = sum(math.comb(50, k) for k in range(51) if abs(2 * k - 50) >= 10) / 2**50
    assert permutation_test(mixed)[0][0] == pytest.approx(expected, abs=0.015)


def test_nothing_moving_gives_p_of_one() -> None:
    p, tried, exact = permutation_test(np.zeros((5, 2)))
    assert p.tolist() == [1, 1]
    assert (tried, exact) == (1, True)


def test_p_is_uniform_under_the_null_hypothesis() -> None:
    rng = np.random.default_rng(11)
    p = np.array([permutation_test(rng.normal(size=(25, 1)), permutations=199, seed=n)[0][0] for n in range(600)])
    for level in (0.05, 0.25, 0.5, 0.75):
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 600))


def test_holm_worked_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, np.nan, 0.005])) == pytest.approx(
        [0.03, 0.06, 0.06, np.nan, 0.02], nan_ok=True
    )
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]


def test_a_comparison_worked_by_hand(make_scores: Callable[..., Scores]) -> None:
    scores = make_scores({"a": {"EA": [9, 8, 9, None]}, "b": {"EA": [2, 3, 4, 5]}, "other": {"EA": [5, 5, 5, 5]}})
    result = compare(scores, "a", "b")
    row = result.dimensions[0]
    m = make_pool(scores).moments["EA"]

    def percentile(x: float) -> float:
        return 50 * math.erfc(-(x - m.mu) / m.sigma / math.sqrt(2))

    assert row.scenarios == 3
    assert row.mean_a == pytest.approx((2 * percentile(9) + percentile(8)) / 3)
    assert row.mean_b == pytest.approx((percentile(2) + percentile(3) + percentile(4)) / 3)
    assert row.difference == pytest.approx(known(row.mean_a) - known(row.mean_b))
    assert known(row.lo) < known(row.difference) < known(row.hi)
    assert row.p == 2 / 8
    assert row.p_holm == row.p, "one dimension is one hypothesis"
    assert (result.permutations, result.exact) == (8, True)
    assert result.dimensions[1].p is None
    assert result.dimensions[1].difference is None
    assert result.dimensions[1].scenarios == 0


def test_swapping_the_systems_mirrors_the_result(make_scores: Callable[..., Scores]) -> None:
    rng = np.random.default_rng(0)
    scores = make_scores({name: {"EA": rng.normal(size=30), "LC": rng.integers(1, 5, 30) * 1.0} for name in "abc"})
    one, two = compare(scores, "a", "b"), compare(scores, "b", "a")
    for x, y in zip(one.dimensions, two.dimensions, strict=True):
        if x.difference is not None:
            assert (x.difference, x.p, x.p_holm) == pytest.approx((-known(y.difference), y.p, y.p_holm))
            assert (x.lo, x.hi) == pytest.approx((-known(y.hi), -known(y.lo)))
    assert not one.exact


def test_one_common_scenario_gives_no_interval(make_scores: Callable[..., Scores]) -> None:
    row = compare(make_scores({"a (mini)": {"EA": [9, None]}, "b": {"EA": [2, 3]}}), "a", "b").dimensions[0]
    assert (row.scenarios, row.lo, row.hi, row.p) == (1, None, None, 1.0)


def test_no_common_scenario_gives_nothing() -> None:
    scores = Scores.from_records([ScoreRecord("a", "s", "EA", 1.0), ScoreRecord("b", "t", "EA", 2.0)])
    assert {row.difference for row in compare(scores, "a", "b").dimensions} == {None}


def test_the_pool_is_everybody_and_can_be_frozen(make_scores: Callable[..., Scores]) -> None:
    pair = {"a": {"EA": [1, 2, 3]}, "b": {"EA": [2, 3, 5]}}
    small, large = make_scores(pair), make_scores({**pair, "c": {"EA": [9, 9, 10]}})
    judge = JudgeLabel(name="j", identity="1")
    reference = ReferencePool.from_pool(make_pool(small), judge)
    plain = compare(small, "a", "b", judge=judge)
    moved = compare(large, "a", "b", judge=judge)
    frozen = compare(large, "a", "b", judge=judge, reference=reference)
    assert moved.dimensions[0].difference != plain.dimensions[0].difference
    assert frozen.dimensions[0].difference == pytest.approx(plain.dimensions[0].difference)
    with pytest.raises(ReferencePoolError, match="never mix two judges"):
        compare(large, "a", "b", judge=JudgeLabel(name="j", identity="2"), reference=reference)


def test_systems_that_are_not_there(make_scores: Callable[..., Scores]) -> None:
    scores = make_scores({"a": {"EA": [1]}, "b": {"EA": [2]}})
    with pytest.raises(ScoresError, match=r"no system 'c' to compare; the scores hold a, b"):
        compare(scores, "a", "c")
    with pytest.raises(ScoresError, match="itself"):
        compare(scores, "a", "a")

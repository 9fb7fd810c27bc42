"""Scored against expected: the denominator is the plan's, and every gap has a reason."""

from __future__ import annotations

import pytest

from interbench.base.errors import ScoresError
from interbench.domain.dimensions import DIMENSION_KEYS, MEASURE_KEYS
from interbench.stats import KEYS, Expected, ScoreRecord, Scores, measure_coverage


@pytest.fixture
def scores() -> Scores:
    return Scores.from_records(
        [
            ScoreRecord("a", "s0", "EA", 1.0),
            ScoreRecord("a", "s1", "EA", None, "refused"),
            ScoreRecord("a", "s2", "EA", None, "incomplete_conversation"),
            ScoreRecord("a", "s0", "NI", 4.0, sample=0),
            ScoreRecord("a", "s0", "NI", None, "refused", sample=1),
            ScoreRecord("b", "s0", "EA", None),
        ]
    )


def test_gaps_have_reasons_and_denominators_stay(scores: Scores) -> None:
    coverage = measure_coverage(scores, Expected.product(["a", "b", "unseen"], ["s0", "s1", "s2", "s3"]))
    a = coverage["a"]["EA"]
    assert (a.scored, a.expected) == (1, 4)
    assert a.missing == {"refused": 1, "incomplete_conversation": 1, "no record": 1}
    assert (coverage["a"]["NI"].scored, coverage["a"]["NI"].samples_missing) == (1, 1)
    assert coverage["b"]["EA"].missing == {"no reason given": 1, "no record": 3}
    assert coverage["unseen"]["OIE"].missing == {"no record": 4}
    for row in coverage.values():
        for cell in (row[key] for key in DIMENSION_KEYS):
            assert cell.expected == 4
            assert sum(cell.missing.values()) == cell.expected - cell.scored


def test_without_a_plan_every_scenario_and_dimension_is_expected_of_everyone(scores: Scores) -> None:
    coverage = measure_coverage(scores, Expected.from_scores(scores))
    assert {row[key].expected for row in coverage.values() for key in DIMENSION_KEYS} == {3}
    assert {row[key].expected for row in coverage.values() for key in MEASURE_KEYS} == {0}, "nobody measured offline"
    assert set(coverage["b"]) == set(KEYS)


def test_of_a_family_that_occurs_all_is_expected() -> None:
    offline = Scores.from_records([ScoreRecord("a", "s", "look", 7.0)])
    assert Expected.from_scores(offline).dimensions == MEASURE_KEYS == Expected.from_rows(offline).dimensions
    both = Scores.from_records([ScoreRecord("a", "s", "look", 7.0), ScoreRecord("a", "s", "EA", 7.0)])
    assert Expected.from_scores(both).dimensions == (*DIMENSION_KEYS, *MEASURE_KEYS)


def test_dimensions_outside_the_plan_are_not_expected(scores: Scores) -> None:
    coverage = measure_coverage(scores, Expected.product(["a", "b"], ["s0", "s1", "s2"], ["EA", "NI"]))
    assert (coverage["a"]["OIE"].expected, coverage["a"]["OIE"].missing) == (0, {})


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Expected.product(["a"], ["s0", "s1", "s2"]), r"system 'b', which the plan does not name"),
        (Expected.product(["a", "b"], ["s0", "s1"]), r"scores of 'a' on 's2'"),
        (Expected.product(["a", "b"], ["s0", "s1", "s2"], ["EA"]), r"scores for NI"),
    ],
)
def test_scores_outside_the_plan_are_refused(scores: Scores, plan: Expected, message: str) -> None:
    with pytest.raises(ScoresError, match=message):
        measure_coverage(scores, plan)

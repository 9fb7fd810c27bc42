"""How well repeated judgements agree: figures worked out by hand."""

from __future__ import annotations

import math

import pytest

from interbench.stats import ScoreRecord, Scores, measure_repeats


def scores(*conversations: tuple[float | None, ...], dimension: str = "EA") -> Scores:
    """One system, a scenario per conversation."""
    return Scores.from_records(
        ScoreRecord("it", f"s{place}", dimension, value, None if value is not None else "refused", sample)
        for place, values in enumerate(conversations)
        for sample, value in enumerate(values)
    )


def test_deviation_and_agreement_are_within_conversations() -> None:
    found = measure_repeats(scores((4, 6, 6), (9, 9, 9), (1, None)))["EA"]
    # Variances (n - 1) 4/3 and 0; of three pairs each, one and three are equal. The third conversation has no pair.
    assert found.sd == pytest.approx(math.sqrt((4 / 3 + 0) / 2))
    assert found.agreement == pytest.approx(4 / 6)
    assert (found.conversations, found.pairs) == (2, 6)


def test_equal_scores_of_different_conversations_are_no_agreement() -> None:
    found = measure_repeats(scores((3, 5), (5, 3)))["EA"]
    assert found.agreement == 0 and found.sd == pytest.approx(math.sqrt(2))


def test_single_judgements_say_nothing() -> None:
    assert measure_repeats(scores((3,), (5,))) == {}
    assert measure_repeats(scores((3, None), (None, None))) == {}


def test_each_dimension_has_its_own() -> None:
    both = Scores.concat([scores((1, 3)), scores((2, 2), dimension="SR")])
    assert {key: found.agreement for key, found in measure_repeats(both).items()} == {"EA": 0.0, "SR": 1.0}

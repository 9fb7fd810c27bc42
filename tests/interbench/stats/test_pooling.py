"""Raw scores to percentiles, against hand computation and against an independent reading of the protocol."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interbench.base.errors import ScoresError, UsageError
from interbench.domain.dimensions import DIMENSIONS, dimension
from interbench.domain.published import PUBLISHED_KEYS
from interbench.stats import KEYS, ScoreRecord, Scores, make_pool, moments, percentiles, system_means

values = st.floats(-1000, 1000, allow_nan=False, width=32)


def figures(scores: Scores) -> np.ndarray:
    cells = scores.cells.select(scores.cells.scored)
    return system_means(percentiles(cells, make_pool(scores)), cells, len(scores.systems))


def test_dimensions_begin_with_the_published_ones_in_their_order() -> None:
    published = DIMENSIONS[: len(PUBLISHED_KEYS)]
    assert [d.key for d in published] == ["EA", "NI", "MVC", "CN", "SR", "IC", "LC", "CU", "OIE"]
    assert [d.group for d in published] == ["visual"] * 4 + ["content"] * 5
    assert dimension("MVC").name == "Multi-Video Coherence"
    with pytest.raises(UsageError, match=r"'mvc' is not a dimension.*EA, NI, MVC"):
        dimension("mvc")


def test_golden_example_worked_by_hand(make_scores: Callable[..., Scores]) -> None:
    # Pool 2 4 4 4 5 5 7 9: mu 5, population sigma 2, so z is -1.5 and -0.5 (thrice) against 0, 0, 1 and 2.
    scores = make_scores({"a": {"EA": [2, 4, 4, 4]}, "b": {"EA": [5, 5, 7, 9]}})
    pool = make_pool(scores)
    assert (pool.moments["EA"].mu, pool.moments["EA"].sigma, pool.moments["EA"].n) == (5.0, 2.0, 8)
    assert pool.systems == ("a", "b")
    assert pool.scenarios == ("s0", "s1", "s2", "s3")
    assert figures(scores)[:, 0] == pytest.approx(
        [
            100 * (0.06680720126885807 + 3 * 0.3085375387259869) / 4,
            100 * (1 + 0.8413447460685429 + 0.9772498680518208) / 4,
        ],
        abs=1e-12,
    )
    assert np.isnan(figures(scores)[:, 1:]).all()


@given(st.lists(st.tuples(st.sampled_from("abc"), values), min_size=1, max_size=40))
def test_agrees_with_an_independent_reading(
    protocol: Callable[..., dict[str, float]], pairs: list[tuple[str, float]]
) -> None:
    records = [ScoreRecord(system, f"s{number}", "SR", value) for number, (system, value) in enumerate(pairs)]
    scores = Scores.from_records(records)
    expected = protocol((r.system, r.score) for r in records)
    spread = make_pool(scores).moments["SR"].sigma > 0
    assert spread == (len({value for _, value in pairs}) > 1)
    for index, system in enumerate(scores.systems):
        assert figures(scores)[index, KEYS.index("SR")] == pytest.approx(expected[system], abs=1e-9)


@given(st.lists(st.integers(0, 10), min_size=4, max_size=30), st.floats(0.01, 100), st.floats(-100, 100))
def test_rescaling_raw_scores_changes_nothing(
    make_scores: Callable[..., Scores], raw: list[float], factor: float, shift: float
) -> None:
    half = len(raw) // 2
    plain = make_scores({"a": {"EA": raw[:half]}, "b": {"EA": raw[half:]}})
    scaled = make_scores(
        {"a": {"EA": [factor * x + shift for x in raw[:half]]}, "b": {"EA": [factor * x + shift for x in raw[half:]]}}
    )
    assert figures(scaled)[:, 0] == pytest.approx(figures(plain)[:, 0], abs=1e-6)


@given(st.permutations(range(12)))
def test_order_of_rows_changes_nothing(order: list[int]) -> None:
    records = [ScoreRecord(f"sys{i % 3}", f"s{i // 3}", "CU", float(i * i % 7)) for i in range(12)]
    straight = Scores.from_records(records)
    shuffled = Scores.from_records([records[i] for i in order])
    for name in straight.systems:
        assert figures(shuffled)[shuffled.systems.index(name), 7] == pytest.approx(
            figures(straight)[straight.systems.index(name), 7], abs=1e-10
        )


@given(st.lists(values, min_size=1, max_size=20), values)
def test_scores_symmetric_about_a_centre_average_to_50(
    make_scores: Callable[..., Scores], offsets: list[float], centre: float
) -> None:
    mirrored = make_scores({"up": {"LC": [centre + x for x in offsets]}, "down": {"LC": [centre - x for x in offsets]}})
    assert figures(mirrored)[:, 6].mean() == pytest.approx(50, abs=1e-6)


@pytest.mark.parametrize("score", [7.1, 0.0, -3.3, 1e-9, 99.99])
def test_a_dimension_without_spread_gives_50(make_scores: Callable[..., Scores], score: float) -> None:
    scores = make_scores({name: {"OIE": [score] * 7} for name in "abcde"})
    assert make_pool(scores).moments["OIE"].sigma == 0
    assert (figures(scores)[:, 8] == 50).all()


def test_what_rounding_leaves_of_equal_scores_is_no_spread() -> None:
    # The three averages differ in their last bit only because they were summed in another order.
    judgements = {"a": (7.1, 7.2, 7.3), "b": (7.3, 7.2, 7.1), "c": (7.2, 7.1, 7.3)}
    scores = Scores.from_records(
        ScoreRecord(system, "s", "EA", score, sample=n)
        for system, row in judgements.items()
        for n, score in enumerate(row)
    )
    assert (figures(scores)[:, 0] == 50).all()


def test_a_small_spread_is_a_spread(make_scores: Callable[..., Scores]) -> None:
    scores = make_scores({"a": {"EA": [7.0, 7.0]}, "b": {"EA": [7.0 + 1e-9, 7.0 + 1e-9]}})
    assert figures(scores)[:, 0] == pytest.approx([15.865525393145708, 84.13447460685429], abs=1e-4)


def test_tiny_scores_do_not_vanish_when_squared() -> None:
    assert moments(np.array([1e-200, 3e-200])).sigma == pytest.approx(1e-200, rel=1e-12)


def test_repeated_judgements_are_averaged_and_missing_ones_left_out() -> None:
    scores = Scores.from_records(
        [
            ScoreRecord("a", "s0", "EA", 2.0, sample=0),
            ScoreRecord("a", "s0", "EA", None, "refused", sample=1),
            ScoreRecord("a", "s0", "EA", 5.0, sample=2),
            ScoreRecord("a", "s1", "EA", None, "refused", sample=0),
            ScoreRecord("a", "s1", "EA", None, "timed_out", sample=1),
            ScoreRecord("b", "s0", "EA", 3.5, sample=0),
        ]
    )
    cells = scores.cells
    assert cells.value[0] == 3.5
    assert np.isnan(cells.value[1])
    assert cells.samples.tolist() == [3, 2, 1]
    assert cells.samples_missing.tolist() == [1, 2, 0]
    assert (figures(scores)[:, 0] == 50).all()


def test_names_are_told_apart_exactly_and_doubled_rows_refused() -> None:
    with pytest.raises(ScoresError, match=r"'b', scenario 's', dimension EA, sample 0 is there twice"):
        Scores.from_records(
            [ScoreRecord("a", "s", "EA", 1.0), ScoreRecord("b", "s", "EA", 1.0), ScoreRecord("b", "s", "EA", 2.0)]
        )
    part = Scores.from_records([ScoreRecord("a", "s", "EA", 1.0)])
    with pytest.raises(ScoresError, match="twice"):
        Scores.concat([part, part])
    both = Scores.concat([part, Scores.from_records([ScoreRecord("b", "t", "EA", None, "refused")])])
    assert both.systems == ("a", "b")
    assert both.scenarios == ("s", "t")
    assert both.reasons[both.reason[1]] == "refused"


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 1e200])
def test_a_score_that_is_no_finite_number_is_refused(score: float) -> None:
    with pytest.raises(ScoresError, match="not a usable score"):
        Scores.from_records([ScoreRecord("a", "s", "EA", score)])


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=12))
def test_a_pool_does_not_hear_of_missing_scores(make_scores: Callable[..., Scores], raw: list[float]) -> None:
    plain = make_scores({"a": {"EA": raw}})
    gappy = make_scores({"a": {"EA": [*raw, None, None]}})
    assert make_pool(gappy).moments == make_pool(plain).moments
    assert figures(gappy)[0, 0] == figures(plain)[0, 0]

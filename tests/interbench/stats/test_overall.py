"""A plain mean over dimensions, its ranks, and what a comparison can show at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from interbench.stats import Scores, compare, mean_of_dimensions, ranks


def test_a_mean_over_some_of_the_dimensions_is_no_mean() -> None:
    figures = np.array([[10.0, 20.0, np.nan], [10.0, np.nan, 40.0]])
    assert mean_of_dimensions(figures, [0, 1]).tolist()[0] == 15
    assert np.isnan(mean_of_dimensions(figures, [0, 1])[1])
    assert np.isnan(mean_of_dimensions(figures, [])).all()


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(60.0, 70.0), (40.0, 50.0), (10.0, 20.0)], [1, 2, 3]),
        ([(40.0, 70.0), (45.0, 65.0), (10.0, 20.0)], [1, 1, 3]),
        # The first two tie, and so do the last two; only the ends are apart.
        ([(50.0, 70.0), (35.0, 55.0), (20.0, 40.0)], [1, 1, 2]),
        ([(50.0, 60.0), None, (60.0, 70.0)], [1, None, 1]),
        ([(50.0, 60.0), None], [None, None]),
        ([], []),
    ],
)
def test_systems_tie_unless_an_interval_lies_wholly_above(
    intervals: list[tuple[float, float] | None], expected: list[int | None]
) -> None:
    assert ranks(intervals) == expected


def test_the_smallest_p_is_reached_by_the_largest_difference_and_never_passed(
    make_scores: Callable[..., Scores],
) -> None:
    for scenarios, p in ((3, 0.25), (6, 2 / 64)):
        rising = [float(n) for n in range(1, scenarios + 1)]
        apart = make_scores(
            {"a": {key: [n + 100 for n in rising] for key in ("EA", "SR")}, "b": dict.fromkeys(("EA", "SR"), rising)}
        )
        comparison = compare(apart, "a", "b", replicates=40)
        assert comparison.smallest_p == p == min(row.p for row in comparison.dimensions if row.p is not None)
        assert comparison.smallest_p_holm == 2 * p == min(r.p_holm for r in comparison.dimensions if r.p_holm)


def test_with_random_exchanges_too(make_scores: Callable[..., Scores]) -> None:
    rising = [float(n) for n in range(20)]
    comparison = compare(
        make_scores({"a": {"EA": [n + 100 for n in rising]}, "b": {"EA": rising}}), "a", "b", permutations=99
    )
    assert not comparison.exact and comparison.smallest_p == 0.01 == comparison.dimensions[0].p

"""How far dimensions move together within systems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from interbench.stats import ScoreRecord, Scores, measure_correlations


def scores(**columns: Sequence[Sequence[float | None]]) -> Scores:
    """By dimension a list of scores per system."""
    return Scores.from_records(
        [
            ScoreRecord(f"s{system}", f"c{n}", key, value, None if value is not None else "refused")
            for key, by_system in columns.items()
            for system, values in enumerate(by_system)
            for n, value in enumerate(values)
        ]
    )


def test_one_impression_under_two_names_is_one_dimension() -> None:
    rising = [float(n % 7) for n in range(12)]
    found = measure_correlations(scores(EA=[rising, rising], NI=[[2 * v + 1 for v in rising]] * 2))
    assert found is not None and found.keys == ("EA", "NI")
    assert found.r[0][1] == pytest.approx(1.0) and found.effective == pytest.approx(1.0)
    assert found.conversations[0][1] == 24


def test_a_system_that_is_better_in_everything_is_no_sign_of_it() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4, 200))
    found = measure_correlations(
        scores(EA=[list(noise[0]), list(noise[1] + 50)], LC=[list(noise[2]), list(noise[3] + 50)])
    )
    assert found is not None and found.r[0][1] is not None
    assert abs(found.r[0][1]) < 0.15 and found.effective == pytest.approx(2.0, abs=0.05)


def test_it_is_pearson_s_where_there_is_one_system() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=30), rng.normal(size=30)
    found = measure_correlations(scores(look=[list(one)], lexical=[list(other)]))
    assert found is not None and found.keys == ("lexical", "look")
    assert found.r[0][1] == pytest.approx(float(np.corrcoef(one, other)[0, 1]))


def test_too_little_or_no_spread_has_none() -> None:
    nine: list[float | None] = [float(n) for n in range(9)]
    assert measure_correlations(scores(EA=[nine], NI=[nine])) is None
    twelve: list[float | None] = [*nine, 1.0, 2.0, 3.0]
    flat = measure_correlations(scores(EA=[twelve], NI=[[5.0] * 12]))
    assert flat is not None and flat.r[0][1] is None and flat.effective is None and flat.r[0][0] == pytest.approx(1.0)
    gaps = measure_correlations(scores(EA=[twelve], NI=[[None, None, None, *twelve[3:]]]))
    assert gaps is None, "nine conversations of NI are scored"

"""Figures of single items against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from interbench.stats import ScoreRecord, Scores
from interbench.stats.items import by_scenario, items


def scores(table: dict[str, dict[str, float | None]], dimension: str = "SR") -> list[ScoreRecord]:
    """``table``: system -> scenario -> score."""
    return [
        ScoreRecord(system, scenario, dimension, value, None if value is not None else "lost")
        for system, row in table.items()
        for scenario, value in row.items()
    ]


TABLE: dict[str, dict[str, float | None]] = {
    "good": {"easy": 10, "fair": 9, "odd": 2, "lost": 8},
    "middling": {"easy": 10, "fair": 6, "odd": 5, "lost": None},
    "poor": {"easy": 10, "fair": 2, "odd": 9, "lost": None},
}


def test_mean_spread_discrimination_and_ceiling() -> None:
    found = {item.scenario: item for item in items(Scores.from_records(scores(TABLE)))}
    easy, fair, odd, lost = (found[name] for name in ("easy", "fair", "odd", "lost"))
    assert (easy.mean, easy.spread, easy.discrimination, easy.ceiling) == (10, 0, None, 1)
    assert fair.mean == pytest.approx(17 / 3)
    assert fair.spread == pytest.approx(np.std([9, 6, 2], ddof=1))
    others = [(10 + 2 + 8) / 3, (10 + 5) / 2, (10 + 9) / 2]
    assert fair.discrimination == pytest.approx(np.corrcoef([9, 6, 2], others)[0, 1])
    assert odd.discrimination is not None and odd.discrimination < -0.5 and odd.ceiling == 0
    assert (lost.systems, lost.planned, lost.mean, lost.spread, lost.discrimination) == (1, 3, 8, None, None)


def test_two_systems_discriminate_nothing() -> None:
    two = {name: row for name, row in TABLE.items() if name != "poor"}
    assert {item.discrimination for item in items(Scores.from_records(scores(two)))} == {None}


def test_dimensions_are_apart_and_averaged_by_scenario() -> None:
    both = Scores.from_records([*scores(TABLE), *scores(TABLE, "CU")])
    found = items(both)
    assert [(item.scenario, item.dimension) for item in found[:3]] == [("easy", "SR"), ("easy", "CU"), ("fair", "SR")]
    assert len(items(both, ["CU"])) == 4
    whole = {item.scenario: item for item in by_scenario(found)}
    assert whole["fair"].dimension is None
    assert whole["fair"].mean == pytest.approx(17 / 3)
    assert whole["easy"].discrimination is None and whole["lost"].systems == 1

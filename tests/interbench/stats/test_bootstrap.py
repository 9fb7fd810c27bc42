"""Intervals: against a naive recomputation of every replicate, and their coverage on simulated data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from interbench.stats import (
    KEYS,
    ScoreRecord,
    Scores,
    bootstrap_means,
    interval,
    make_pool,
    percentiles,
    replicates_for,
    system_means,
)
from interbench.stats import bootstrap as module


def replicate(scores: Scores, replicates: int, seed: int = 0, **options: Any) -> np.ndarray:
    cells = scores.cells.select(scores.cells.scored)
    options.setdefault("pool", make_pool(scores))
    return bootstrap_means(
        cells,
        len(scores.scenarios),
        group=cells.system,
        groups=len(scores.systems),
        replicates=replicates,
        seed=seed,
        **options,
    )


def naive(scores: Scores, protocol: Callable[..., dict[str, float]], replicates: int, seed: int = 0) -> np.ndarray:
    """Draws the same scenarios and applies the protocol to the rows that each replicate then holds."""
    rng = np.random.default_rng(seed)
    cells = scores.cells.select(scores.cells.scored)
    means = np.full((replicates, len(scores.systems), len(KEYS)), np.nan)
    for r in range(replicates):
        drawn = rng.integers(len(scores.scenarios), size=len(scores.scenarios))
        for d in np.unique(cells.dimension):
            rows = [
                (int(s), float(v))
                for c in drawn
                for s, v in zip(
                    cells.system[(cells.scenario == c) & (cells.dimension == d)],
                    cells.value[(cells.scenario == c) & (cells.dimension == d)],
                    strict=True,
                )
            ]
            for system, figure in (protocol(rows) if rows else {}).items():
                means[r, int(system), d] = figure
    return means


@pytest.fixture
def ragged() -> Scores:
    """Discrete and continuous dimensions, missing scores, a system with few scenarios and a flat dimension."""
    rng = np.random.default_rng(5)
    records = []
    for system, scenarios in (("a", 7), ("b", 7), ("few", 2)):
        for number in range(scenarios):
            for key, value in (
                ("EA", float(rng.integers(1, 6))),
                ("SR", float(rng.normal(60, 15))),
                ("OIE", 7.1),
            ):
                gone = system == "b" and number % 3 == 0
                records.append(
                    ScoreRecord(system, f"s{number}", key, None if gone else value, "refused" if gone else None)
                )
    return Scores.from_records(records)


def test_every_replicate_is_the_protocol_on_resampled_scenarios(
    ragged: Scores, protocol: Callable[..., dict[str, float]]
) -> None:
    fast, slow = replicate(ragged, 60), naive(ragged, protocol, 60)
    assert np.array_equal(np.isnan(fast), np.isnan(slow))
    assert np.isnan(fast[:, 2, 0]).any(), "the system with few scenarios is absent from some replicates"
    assert np.nanmax(np.abs(fast - slow)) < 1e-9


def test_chunks_change_nothing(ragged: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replicate(ragged, 50)
    monkeypatch.setattr(module, "_CHUNK", 70)
    assert replicate(ragged, 50) == pytest.approx(whole, abs=1e-10, nan_ok=True)


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "one outlier"])
def test_the_grid_for_large_continuous_pools_is_close(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    shape = (4, 600)
    value = {
        "normal": rng.normal(60, 10, shape),
        "heavy tails": rng.standard_t(2, shape),
        "one outlier": rng.normal(0, 1, shape) + 1e5 * (np.arange(2400).reshape(shape) == 77),
    }[kind]
    scores = Scores.from_records(
        ScoreRecord(f"{s}", f"{c}", "IC", float(value[s, c])) for s in range(4) for c in range(600)
    )
    exact = replicate(scores, 80)
    monkeypatch.setattr(module, "_EXACT_WORK", 0)
    gridded = replicate(scores, 80)
    worst = np.nanmax(np.abs(gridded - exact))
    assert 0 < worst < (0.01 if kind == "one outlier" else 0.001)


def test_a_frozen_pool_stays_as_it_is(make_scores: Callable[..., Scores]) -> None:
    scores = make_scores({"a": {"EA": [1, 2, 3, 4, 5, 6]}, "b": {"EA": [2, 2, 3, 5, 6, 9]}})
    pool = make_pool(scores)
    frozen = replicate(scores, 500, frozen=True)
    rng = np.random.default_rng(0)
    drawn = rng.integers(6, size=(500, 6))
    values = np.array([[1, 2, 3, 4, 5, 6], [2, 2, 3, 5, 6, 9]], float)
    percentile = 100 * ndtr((values - pool.moments["EA"].mu) / pool.moments["EA"].sigma)
    assert frozen[:, :, 0] == pytest.approx(percentile[:, drawn].mean(axis=2).T, abs=1e-10)


def test_seeds(ragged: Scores) -> None:
    assert np.array_equal(replicate(ragged, 30, seed=3), replicate(ragged, 30, seed=3), equal_nan=True)
    assert not np.array_equal(replicate(ragged, 30, seed=3), replicate(ragged, 30, seed=4), equal_nan=True)


def test_interval_leaves_out_replicates_without_the_system() -> None:
    means = np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.nan], [3.0, 7.0, np.nan]])
    low, high = interval(means)
    assert low[0] == pytest.approx(1.05)
    assert high[0] == pytest.approx(2.95)
    assert (low[1], high[1]) == pytest.approx((5.05, 6.95))
    assert np.isnan(low[2])
    assert np.isnan(high[2])


def test_number_of_replicates_falls_with_the_pool() -> None:
    sizes = (0, 9_000, 100_000, 400_000, 1_000_000, 10**8)
    assert [replicates_for(size) for size in sizes] == [2000, 2000, 2000, 500, 200, 200]


def test_intervals_cover_the_truth() -> None:
    """Simulated systems whose true mean percentile is known from 40,000 scenarios; nominal coverage is 95 %."""

    def draw(rng: np.random.Generator, scenarios: int) -> np.ndarray:
        difficulty = rng.normal(0, 1, scenarios)
        return np.round(np.clip(np.array([5, 6, 7])[:, None] + difficulty + rng.normal(0, 1.5, (3, scenarios)), 1, 10))

    def to_scores(values: np.ndarray) -> Scores:
        s, c = (index.ravel().astype(np.int32) for index in np.indices(values.shape))
        zeros = np.zeros(values.size, np.int32)
        names = tuple(map(str, range(values.shape[1])))
        return Scores(("x", "y", "z"), names, ("0",), (), s, c, zeros, zeros, values.ravel(), zeros)

    big = to_scores(draw(np.random.default_rng(99), 40_000))
    truth = system_means(percentiles(big.cells, make_pool(big)), big.cells, 3)[:, 0]
    rng = np.random.default_rng(7)
    covered = []
    for trial in range(200):
        low, high = interval(replicate(to_scores(draw(rng, 50)), 300, seed=trial))
        covered.append((low[:, 0] <= truth) & (truth <= high[:, 0]))
    assert 0.91 < np.mean(covered) < 0.98

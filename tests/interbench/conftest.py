"""An independent reading of the protocol in plain Python, and ways to make scores."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from interbench.stats import ScoreRecord, Scores

Grid = Mapping[str, Mapping[str, list[float | None]]]
"""system -> dimension -> score per scenario."""


@pytest.fixture(scope="session")
def make_scores() -> Callable[[Grid], Scores]:
    def make(grid: Grid) -> Scores:
        return Scores.from_records(
            ScoreRecord(system, f"s{number}", key, score, None if score is not None else "refused")
            for system, dimensions in grid.items()
            for key, column in dimensions.items()
            for number, score in enumerate(column)
        )

    return make


@pytest.fixture(scope="session")
def protocol() -> Callable[[Iterable[tuple[str, float]]], dict[str, float]]:
    """One dimension's mean percentile per system from (system, score) pairs, with math.erf and statistics.pstdev."""

    def pooled(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
        rows = list(pairs)
        values = [value for _, value in rows]
        mu, sigma = statistics.fmean(values), statistics.pstdev(values)
        flat = len(set(values)) == 1
        by_system: dict[str, list[float]] = {}
        for system, value in rows:
            phi = 0.5 if flat else 0.5 * math.erfc(-(value - mu) / sigma / math.sqrt(2))
            by_system.setdefault(system, []).append(100 * phi)
        return {system: statistics.fmean(figures) for system, figures in by_system.items()}

    return pooled


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: str, name: str = "scores.csv", header: str = "system,scenario,dimension,score") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return path

    return write

"""The figures of a report as CSV files, one beside every table and plot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from interbench.domain.records import Exchange
from interbench.report.breakdown import breakdown_csv
from interbench.report.changes import changes_csv
from interbench.report.comparisons import comparisons_csv
from interbench.report.incidents import incident_lines
from interbench.report.model import ReportData
from interbench.report.overview import Overview
from interbench.report.payload import OUTCOMES, real_time_factor
from interbench.report.tables import csv_text

TURN_COLUMNS = (
    "system", "scenario", "turn", "outcome", "code", "first_frame_s", "first_speech_s", "no_speech", "complete_s",
    "resumed", "duration_s", "frames", "fps", "real_time_factor", "cost_usd",
)  # fmt: skip


def csv_files(data: ReportData, overview: Overview) -> dict[str, str]:
    """Name of the file to its text; only of what the page shows."""
    files = {
        "profile.csv": _profile(data),
        "turns.csv": csv_text([TURN_COLUMNS, *(_turn(exchange) for exchange in _exchanges(data))]),
        **({"incidents.csv": csv_text(incident_lines(_exchanges(data)))} if overview.live else {}),
        "outcomes.csv": csv_text(
            [
                ["system", "turns", *OUTCOMES],
                *(
                    [row.system, row.turns, *(row.counts.get(name, 0) for name in OUTCOMES)]
                    for row in overview.outcomes
                ),
            ]
        ),
        "costs.csv": csv_text(
            [
                ["system", "clips", "video_s", "clips_priced", "usd"],
                *([row.system, row.clips, row.video_s, row.priced, row.usd] for row in overview.costs),
            ]
        ),
    }
    steps = [
        [row.system, step.name, step.median_s, step.p95_s, step.n]
        for row in data.table.rows
        for step in row.speed.steps
    ]
    if steps:
        files["steps.csv"] = csv_text([["system", "step", "median_s", "p95_s", "turns"], *steps])
    if data.comparisons:
        files["comparisons.csv"] = comparisons_csv(data.comparisons)
    if overview.defects:
        files["defects.csv"] = csv_text(
            [
                ["system", "intact", "dimension", "defect_percentile", "intact_percentile", "noticed"],
                *(
                    [c.system, c.intact, c.dimension, c.defect_percentile, c.intact_percentile, c.lowered]
                    for c in overview.defects
                ),
            ]
        )
    if data.table.repeats:
        files["repeats.csv"] = csv_text(
            [
                ["dimension", "sd", "exact_agreement", "conversations", "pairs"],
                *([key, r.sd, r.agreement, r.conversations, r.pairs] for key, r in data.table.repeats.items()),
            ]
        )
    if (found := data.table.correlations) is not None:
        files["correlations.csv"] = csv_text(
            [["dimension", *found.keys], *([key, *row] for key, row in zip(found.keys, found.r, strict=True))]
        )
    for breakdown in data.breakdowns:
        files[f"by-{breakdown.by}.csv"] = breakdown_csv(breakdown)
    if data.changes:
        files["changes.csv"] = changes_csv(data.changes)
        if data.changes.figures:
            files["changed-figures.csv"] = comparisons_csv(data.changes.figures)
    return files


def _exchanges(data: ReportData) -> Iterable[Exchange]:
    for conversation in data.conversations:
        yield from sorted(conversation.exchanges, key=lambda exchange: exchange.turn)


def _profile(data: ReportData) -> str:
    """Percentiles with the ends of their intervals: what a plot with error bars is made from."""
    header = ("system", "dimension", "name", "percentile", "lo", "hi", "raw_mean", "scored", "expected", "missing")
    rows: list[list[Any]] = []
    for row in data.table.rows:
        for d in data.table.dimensions:
            figure = row.figure(d.key)
            missing = "; ".join(f"{reason} {count}" for reason, count in figure.coverage.missing.items())
            covered = figure.coverage.scored, figure.coverage.expected
            rows.append(
                [row.system, d.key, d.name, figure.percentile, figure.lo, figure.hi, figure.mean, *covered, missing]
            )
    return csv_text([header, *rows])


def _turn(exchange: Exchange) -> list[Any]:
    timings, facts = exchange.timings, exchange.facts
    return [
        exchange.system,
        exchange.scenario,
        exchange.turn,
        exchange.outcome.value,
        exchange.code,
        timings.first_frame_s if timings and not timings.continuous else None,
        timings.first_speech_s if timings else None,
        timings.no_speech.value if timings and timings.no_speech else None,
        timings.complete_s if timings else None,
        timings.resumed if timings else None,
        facts.duration_s if facts else None,
        facts.frames if facts else None,
        facts.fps if facts else None,
        real_time_factor(timings, facts),
        exchange.cost_usd,
    ]

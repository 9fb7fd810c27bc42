"""A run folder as pandas frames, for whoever wants to look at it in Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from interbench.domain.records import Exchange, Outcome
from interbench.report.collect import RunRecords, read_records
from interbench.stats.coverage import NO_RECORD

EXCHANGES = (
    "system", "scenario", "turn", "outcome", "code", "message", "first_frame_s", "first_speech_s", "complete_s",
    "resumed", "duration_s", "frames", "fps", "width", "height", "audible", "real_time_factor", "cost_usd",
    "reply_text", "clip_path",
)  # fmt: skip
TRANSCRIPTS = ("system", "scenario", "turn", "text", "flags", "error", "transcriber")
SCORES = (
    "system", "scenario", "dimension", "score", "sample", "judge", "reason", "outcome", "explanation", "expected_score",
)  # fmt: skip
UNFINISHED = "unfinished"
"""The outcome of a conversation that has not been played to its end yet."""


@dataclass(frozen=True, slots=True)
class RunFrames:
    """What a run folder holds, a row per thing. Nothing is left out because it failed."""

    exchanges: pd.DataFrame
    """A row per turn that was played; columns :data:`EXCHANGES`."""
    transcripts: pd.DataFrame
    """A row per transcript by the run's transcriber; columns :data:`TRANSCRIPTS`."""
    scores: pd.DataFrame
    """A row per judgement that the plan asks for; columns :data:`SCORES`.

    ``score`` is NaN where there is none, and ``reason`` then says why. ``outcome`` is how the conversation went:
    ``completed``, the first other outcome of its turns, or ``unfinished``. ``explanation`` are the judge's own words.
    """
    manifest: Mapping[str, Any]


def read_run(path: str | Path, judge: str | None = None) -> RunFrames:
    """Read a run folder.

    Args:
        path: the folder.
        judge: label, or beginning of the key, of the judge whose scores are wanted; None means the run's last one.

    Raises:
        StoreError: it is no run folder or can't be read.
        UsageError: that judge has left no verdicts here.
    """
    records = read_records(Path(path), judge)
    return RunFrames(
        exchanges=_frame((_exchange(records.path, exchange) for exchange in records.exchanges), EXCHANGES),
        transcripts=_frame(_transcripts(records), TRANSCRIPTS),
        scores=_frame(score_rows(records), SCORES),
        manifest=records.manifest,
    )


def _frame(rows: Iterator[Sequence[Any]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(columns))


def _exchange(folder: Path, exchange: Exchange) -> Sequence[Any]:
    facts = exchange.facts
    # Of a turn that failed the ledger knows when it ended; that is no time to anything.
    timings = exchange.timings if exchange.completed else None
    return (
        exchange.system,
        exchange.scenario,
        exchange.turn,
        exchange.outcome.value,
        exchange.code,
        exchange.message,
        None if timings is None else timings.first_frame_s,
        None if timings is None else timings.first_speech_s,
        None if timings is None else timings.complete_s,
        None if timings is None else timings.resumed,
        None if facts is None else facts.duration_s,
        None if facts is None else facts.frames,
        None if facts is None else facts.fps,
        None if facts is None else facts.width,
        None if facts is None else facts.height,
        None if facts is None else facts.audible,
        None if facts is None or timings is None else timings.real_time_factor(facts),
        exchange.cost_usd,
        exchange.reply_text,
        None if exchange.clip is None else str(folder / exchange.clip),
    )


def _transcripts(records: RunRecords) -> Iterator[Sequence[Any]]:
    for key, transcript in records.transcripts.items():
        yield (
            key.system,
            key.scenario,
            key.turn,
            transcript.text if transcript.error is None else None,
            " ".join(transcript.flags),
            transcript.error,
            records.transcriber,
        )


def score_rows(records: RunRecords) -> Iterator[Sequence[Any]]:
    """A row per judgement that the plan asks for, in its order; the columns are :data:`SCORES`."""
    given = {(v.system, v.scenario, v.dimension, v.sample): v for v in records.verdicts}
    repeats = max([int(records.manifest["settings"].get("repeats", 1)), *(key[3] + 1 for key in given)])
    outcomes = _outcomes(records)
    judge = None if records.judge is None else records.judge.name
    for system, scenarios in records.plan.items():
        for scenario in scenarios:
            for dimension in records.dimensions:
                for sample in range(repeats):
                    verdict = given.get((system, scenario, dimension, sample))
                    missing = NO_RECORD if verdict is None else verdict.missing and verdict.missing.value
                    yield (
                        system,
                        scenario,
                        dimension,
                        None if verdict is None else verdict.score,
                        sample,
                        judge,
                        missing,
                        outcomes[system, scenario],
                        None if verdict is None else verdict.reasons,
                        None if verdict is None else verdict.expected_score,
                    )


def _outcomes(records: RunRecords) -> dict[tuple[str, str], str]:
    turns = records.turns
    played: dict[tuple[str, str], list[Outcome]] = {}
    for exchange in records.exchanges:
        played.setdefault((exchange.system, exchange.scenario), []).append(exchange.outcome)
    found = {}
    for system, scenarios in records.plan.items():
        for scenario in scenarios:
            outcomes = played.get((system, scenario), [])
            other = next((outcome.value for outcome in outcomes if outcome is not Outcome.COMPLETED), None)
            complete = Outcome.COMPLETED.value if len(outcomes) == turns.get(scenario) else UNFINISHED
            found[system, scenario] = other or complete
    return found

"""`interbench single --run`: lips and sound over whole conversations, turn by turn, and how the offset drifts.

Systems that stream may fall behind little by little, which clips of five seconds can't show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from interbench.base.errors import UsageError
from interbench.base.progress import Progress
from interbench.domain.records import Exchange
from interbench.media.pool import MediaPool
from interbench.single.base import Clip, Column, Figure, Measured, Metric, Taken
from interbench.single.conversation_file import FILE, SCHEMA
from interbench.single.figures import per_clip
from interbench.single.measure import Choice, Filler, SingleTable, fill
from interbench.single.rows import RowPlan
from interbench.store.manifest import read_manifest
from interbench.store.measures import Measures
from interbench.store.run_folder import Run

DRIFT = Column(
    "drift_ms_per_min",
    "Drift ms/min",
    "neither",
    "how the offset moves over a conversation, mean over conversations",
    1,
)
_FRAME_MS = 40.0
_LEAST_POINTS, _LEAST_SPAN_S = 3, 15.0


@dataclass(frozen=True, slots=True)
class TurnMeasured:
    """One turn of a conversation."""

    turn: int
    starts_s: float
    """On the clock of the avatar's own clips, one after the other."""
    values: Mapping[str, float]
    missing: str


@dataclass(frozen=True, slots=True)
class ConversationMeasured:
    """One conversation of one system."""

    system: str
    scenario: str
    turns: tuple[TurnMeasured, ...]
    figures: Mapping[str, Figure]
    """Over all turns together, by key of the column."""
    drift_ms_per_min: float | None
    """Slope of the offset over the conversation; None if there are too few places where one was found."""


async def measure_run(
    path: Path, choices: Sequence[Choice], out: Path, progress: Progress, *, seed: int = 0
) -> tuple[SingleTable, list[ConversationMeasured]]:
    """Measure what a run has played.

    Raises:
        UsageError: a metric needs references, which a conversation has not.
        StoreError: there is no run.
    """
    for choice in choices:
        if choice.compares:
            raise UsageError(f"The metric {choice.name} compares with real clips, which a conversation has not.")
    with Run(path, write=False) as run:
        manifest = read_manifest(run.manifest_path) or {}
        exchanges = run.exchanges()
        planned_scenarios = [planned.scenario.id for planned in run.planned_scenarios()]
    systems = {label: _clips(path, exchanges, label, planned_scenarios) for label in manifest.get("plan", {})}
    rows = [RowPlan(label, "system", tuple(clips)) for label, clips in systems.items()]
    async with MediaPool(size=2) as media:
        with Measures(out) as measures:
            table = await fill(rows, choices, media=media, measures=measures, progress=progress, seed=seed)
            conversations: list[ConversationMeasured] = []
            usable = [choice for choice in choices if choice.name in table.identities]
            found: dict[str, dict[str, list[Taken]]] = {label: {} for label in systems}
            metrics: dict[str, Metric] = {}
            for choice in usable:
                metric = choice.make()
                await metric.start()
                metrics[choice.name] = metric
                filler = Filler(choice.name, metric, media, measures, progress)
                for label, clips in systems.items():
                    found[label][choice.name] = await filler.taken(clips)
            for label, by_metric in found.items():
                conversations += _conversations(label, planned_scenarios, by_metric, metrics, seed)
            for metric in metrics.values():
                await metric.stop()
    return _with_drift(table, conversations, seed), conversations


def _clips(path: Path, exchanges: Sequence[Exchange], label: str, planned_scenarios: Sequence[str]) -> list[Clip]:
    clips = []
    own = {(exchange.scenario, exchange.turn): exchange for exchange in exchanges if exchange.system == label}
    order = sorted(
        own,
        key=lambda key: (
            planned_scenarios.index(key[0]) if key[0] in planned_scenarios else len(planned_scenarios),
            key[0],
            key[1],
        ),
    )
    for scenario, turn in order:
        exchange = own[scenario, turn]
        id_ = f"{scenario}/{turn}"
        if exchange.clip is None or exchange.facts is None:
            why = f"{exchange.outcome.value.replace('_', ' ')}"
            clips.append(Clip(id_, path, scenario, None, why))
        else:
            clips.append(Clip(id_, path / exchange.clip, scenario, exchange.facts))
    return clips


def _conversations(
    label: str,
    planned_scenarios: Sequence[str],
    by_metric: Mapping[str, Sequence[Taken]],
    metrics: Mapping[str, Metric],
    seed: int,
) -> Iterator[ConversationMeasured]:
    for scenario in planned_scenarios:
        own = {name: [one for one in taken if one.clip.source == scenario] for name, taken in by_metric.items()}
        if not any(own.values()):
            continue
        figures: dict[str, Figure] = {}
        for name, taken in own.items():
            figures |= metrics[name].figures(taken, None, seed=seed)
        turns, points = _turns(own)
        yield ConversationMeasured(label, scenario, tuple(turns), figures, _slope(points))


def _turns(own: Mapping[str, Sequence[Taken]]) -> tuple[list[TurnMeasured], list[tuple[float, float]]]:
    """The turns, and where in the conversation (seconds) which offset (ms) was found."""
    turns: list[TurnMeasured] = []
    points: list[tuple[float, float]] = []
    start = 0.0
    for place in range(max(map(len, own.values()))):
        every = {name: taken[place] for name, taken in own.items()}
        clip = next(iter(every.values())).clip
        values = {key: value for one in every.values() for key, value in one.measured.values.items()}
        missing = "; ".join(f"{name}: {one.measured.missing}" for name, one in every.items() if one.measured.missing)
        turns.append(TurnMeasured(int(clip.id.rpartition("/")[2]), round(start, 3), values, missing))
        if "sync" in every:
            tracks = every["sync"].measured.detail.get("tracks", ())
            longest = max(tracks, key=lambda track: track["frames"], default=None)
            for at, offset in () if longest is None else longest["offsets"]:
                points.append((start + at, offset * _FRAME_MS))
        start += 0.0 if clip.facts is None else clip.facts.duration_s
    return turns, points


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Milliseconds a minute, by least squares."""
    if len(points) < _LEAST_POINTS:
        return None
    times, offsets = np.array(points).T
    if np.ptp(times) < _LEAST_SPAN_S:
        return None
    return float(np.polyfit(times / 60, offsets, 1)[0])


def _with_drift(table: SingleTable, conversations: Sequence[ConversationMeasured], seed: int) -> SingleTable:
    if "sync" not in table.identities:
        return table
    rows = []
    for row in table.rows:
        own = [one for one in conversations if one.system == row.label]
        taken = [_as_taken(one) for one in own]
        figure = per_clip(taken, DRIFT.key, seed=seed)
        rows.append(replace(row, figures={**row.figures, DRIFT.key: figure}))
    said = (
        f"Drift: slope of the offset over a conversation, from stretches of ten seconds in which an offset was found; "
        f"of conversations with at least {_LEAST_POINTS} of them over {_LEAST_SPAN_S:g} s. Scored / expected are "
        f"conversations there."
    )
    return replace(table, columns=(*table.columns, DRIFT), rows=tuple(rows), caveats=(*table.caveats, said))


def _as_taken(one: ConversationMeasured) -> Taken:
    clip = Clip(one.scenario, Path(one.scenario), one.scenario, None)
    if one.drift_ms_per_min is None:
        return Taken(clip, Measured(missing="too few places with an offset"))
    return Taken(clip, Measured({DRIFT.key: one.drift_ms_per_min}))


def conversations_json(table: SingleTable, conversations: Sequence[ConversationMeasured]) -> dict[str, Any]:
    """What is left in the run's folder for the report, schema ``interbench.conversations/1``."""
    return {
        "schema": SCHEMA,
        "columns": [asdict(column) for column in table.columns],
        "systems": [
            {"system": row.label, "figures": {key: asdict(figure) for key, figure in row.figures.items()}}
            for row in table.rows
        ],
        "conversations": [asdict(one) for one in conversations],
        "metrics": {name: dict(identity) for name, identity in table.identities.items()},
        "unavailable": [{"metric": one.name, "because": one.because} for one in table.unavailable],
        "caveats": list(table.caveats),
    }


def write_conversations(out: Path, table: SingleTable, conversations: Sequence[ConversationMeasured]) -> None:
    """Write ``conversations.json``."""
    text = json.dumps(conversations_json(table, conversations), indent=1, allow_nan=False) + "\n"
    (out / FILE).write_text(text, encoding="utf-8")

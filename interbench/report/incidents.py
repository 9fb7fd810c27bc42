"""What went wrong with live pictures and sounds, and what came of interruptions: counted, by system.

The denominator is every turn that a system whose picture never stops was put to, so that a turn without an answer stays
in it.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from interbench.base.foreign import number
from interbench.domain.incidents import IncidentKind
from interbench.domain.records import Exchange, Outcome


@dataclass(frozen=True, slots=True)
class Count:
    """Of one kind of incident."""

    turns: int
    """Turns with at least one."""
    times: int
    seconds: float | None
    """All of them together; None where that means nothing."""


@dataclass(frozen=True, slots=True)
class Interruptions:
    """Turns that were to begin during the answer before."""

    wanted: int = 0
    done: int = 0
    silenced: int = 0
    """Of these, those after which the avatar fell silent."""
    time_to_silence_s: float | None = None
    """Median over them, from the beginning of the user's line."""
    remembers: int = 0
    """Of those done: where the system says what it takes itself to have said."""
    why_not: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One system."""

    system: str
    turns: int
    """Put to it, whatever came of them."""
    troubled: int
    """Of these, those with any incident."""
    counts: Mapping[IncidentKind, Count]
    """Only kinds that occur."""
    interruptions: Interruptions


def live_rows(exchanges: Iterable[Exchange]) -> tuple[LiveRow, ...]:
    """Systems with a picture that never stops, with incidents or with lines spoken into answers."""
    by_system: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        if exchange.outcome is not Outcome.NOT_PLAYED:
            by_system.setdefault(exchange.system, []).append(exchange)
    rows = (_row(system, played) for system, played in by_system.items() if any(map(_is_live, played)))
    return tuple(rows)


def _is_live(exchange: Exchange) -> bool:
    runs_on = exchange.timings is not None and exchange.timings.continuous
    return runs_on or bool(exchange.incidents) or bool(exchange.barge_in)


def _row(system: str, played: list[Exchange]) -> LiveRow:
    turns: Counter[IncidentKind] = Counter()
    times: Counter[IncidentKind] = Counter()
    seconds: dict[IncidentKind, list[float]] = {}
    for exchange in played:
        turns.update({incident.kind for incident in exchange.incidents})
        for incident in exchange.incidents:
            times[incident.kind] += 1
            if incident.seconds is not None:
                seconds.setdefault(incident.kind, []).append(incident.seconds)
    counts = {
        kind: Count(turns[kind], times[kind], sum(seconds[kind]) if kind in seconds else None)
        for kind in IncidentKind
        if times[kind]
    }
    troubled = sum(bool(exchange.incidents) for exchange in played)
    return LiveRow(system, len(played), troubled, counts, _interruptions(played))


def _interruptions(played: list[Exchange]) -> Interruptions:
    wanted = [exchange.barge_in for exchange in played if exchange.barge_in]
    done = [facts for facts in wanted if facts.get("done") is True]
    silent = [found for facts in done if (found := number(facts.get("time_to_silence_s"))) is not None]
    return Interruptions(
        wanted=len(wanted),
        done=len(done),
        silenced=len(silent),
        time_to_silence_s=statistics.median(silent) if silent else None,
        remembers=sum(facts.get("remembered") is not None for facts in done),
        why_not=dict(Counter(str(facts.get("why", "")) for facts in wanted if facts.get("done") is not True)),
    )


def live_notes(exchanges: Iterable[Exchange]) -> tuple[str, ...]:
    """A sentence or two on each such system, beneath tables and at the top of reports."""
    found = []
    for row in live_rows(exchanges):
        if row.counts:
            listed = ", ".join(
                f"{kind.value.replace('_', ' ')} {count.times} in {count.turns}" for kind, count in row.counts.items()
            )
            found.append(
                f"{row.system}: {row.troubled} of {row.turns} turns with incidents of the live stream (times in turns: "
                f"{listed})."
            )
        if (cut := row.interruptions).wanted:
            silence = (
                "" if cut.time_to_silence_s is None else f", silent after {cut.time_to_silence_s:.2f} s in the median"
            )
            reasons = "; ".join(f"{why}: {count}" for why, count in cut.why_not.items())
            found.append(
                f"{row.system}: {cut.done} of {cut.wanted} interruptions took place; after {cut.silenced} of them the "
                f"avatar fell silent{silence}." + (f" Not taken place: {reasons}." if reasons else "")
            )
    return tuple(found)


def incident_lines(exchanges: Iterable[Exchange]) -> list[list[Any]]:
    """Every incident and every interruption, for a spreadsheet."""
    header = ["system", "scenario", "turn", "kind", "at_s", "seconds", "note"]
    lines: list[list[Any]] = [header]
    for exchange in exchanges:
        where = [exchange.system, exchange.scenario, exchange.turn]
        lines += [[*where, i.kind.value, i.at_s, i.seconds, i.note] for i in exchange.incidents]
        if cut := exchange.barge_in:
            kind = "interruption" if cut.get("done") is True else "interruption_not_done"
            note = str(cut.get("remembered") or cut.get("why") or "")
            lines.append([*where, kind, number(cut.get("after_s")), number(cut.get("time_to_silence_s")), note])
    return lines

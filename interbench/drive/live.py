"""What the driver does for systems that listen and speak in real time: lines spoken into answers, and incidents."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from interbench.domain.incidents import Incident
from interbench.domain.records import ClipFacts, Exchange, Timings
from interbench.scenarios.plan import PlannedScenario
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import BargeIn

MOST_INCIDENTS = 100
"""Of one turn; more are counted by the last of them."""


def interrupting(part: PlannedScenario, turn: int) -> float | None:
    """When, in seconds of the answer to ``turn`` (1-based), the user's next line begins; None if it waits."""
    following = part.scenario.turns[turn : turn + 1]
    return following[0].barge_in_s if following else None


def barge_in(part: PlannedScenario, turn: int, audio: Path | None) -> BargeIn | None:
    """The user's next line, if it is spoken into the answer to ``turn``; ``audio`` is its sound."""
    after_s = interrupting(part, turn)
    return None if after_s is None else BargeIn(after_s, part.scenario.turns[turn].text, audio)


def with_barge_in(exchange: Exchange, wanted_s: float | None, capabilities: Capabilities) -> Exchange:
    """The record of a turn that was to begin during the answer before, saying so where its system did not."""
    if wanted_s is None or exchange.barge_in:
        return exchange
    why = (
        "the answer before it was not heard in this process"
        if capabilities.barge_in
        else "this system can't be interrupted; the line came after its answer"
    )
    facts = {"done": False, "wanted_after_s": wanted_s, "why": why}
    return dataclasses.replace(exchange, detail={**exchange.detail, "barge_in": facts})


def keep_incident(kept: list[Incident], incident: Incident) -> None:
    """Add an incident to those of a turn."""
    if len(kept) < MOST_INCIDENTS:
        kept.append(incident)
    else:
        last = kept[-1]
        more = int(last.note.split()[0]) + 1 if last.note.endswith("more like it") else 1
        kept[-1] = dataclasses.replace(last, note=f"{more} more like it")


def heard(timings: Timings, facts: ClipFacts) -> Timings:
    """The times of a clip whose first sound the system has announced as it arrived."""
    assert timings.first_speech_s is not None
    if facts.speech_start_s is None:
        return dataclasses.replace(timings, first_speech_s=None, no_speech=facts.no_speech)
    first = timings.first_frame_s
    if timings.continuous:
        first = max(0.0, timings.first_speech_s - facts.speech_start_s)
    return dataclasses.replace(timings, first_frame_s=first, no_speech=None)

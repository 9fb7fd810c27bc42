"""What one scenario needs to be played, put together from its set and kept with the run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from interbench.domain.persona import Persona
from interbench.domain.scenario import Scenario
from interbench.scenarios.sets import ScenarioSet
from interbench.systems.events import ReferenceReply

_OFF_TOPIC = "The recipe calls for two cups of flour, a pinch of salt, and about forty minutes in a moderate oven."
"""What the off-topic defect says where a set has a single scenario and so no other conversation to borrow from."""


@dataclass(frozen=True, slots=True)
class PlannedScenario:
    """One scenario with its persona and files."""

    scenario: Scenario
    persona: Persona
    audio: tuple[Path | None, ...]
    """The user's speech, by turn."""
    portrait: Path | None
    references: tuple[ReferenceReply, ...]
    """For test subjects, by turn."""


def plan_scenarios(chosen: ScenarioSet, whole: ScenarioSet) -> tuple[PlannedScenario, ...]:
    """The parts of ``chosen``, a selection from ``whole``."""
    return tuple(
        PlannedScenario(
            scenario=scenario,
            persona=chosen.personas[scenario.persona],
            audio=tuple(chosen.audio_path(scenario, index) for index in range(1, len(scenario.turns) + 1)),
            portrait=chosen.portrait_path(scenario.persona),
            references=_references(scenario, whole),
        )
        for scenario in chosen.scenarios
    )


def _references(scenario: Scenario, whole: ScenarioSet) -> tuple[ReferenceReply, ...]:
    others = [other for other in whole.scenarios if other.category != scenario.category]
    others = others or [other for other in whole.scenarios if other.id != scenario.id]
    references = []
    for index, turn in enumerate(scenario.turns, start=1):
        # Which other conversation is borrowed from depends on the whole set alone, never on what was chosen from it.
        pick = int.from_bytes(hashlib.sha256(f"{scenario.id}/{index}".encode()).digest()[:4], "big")
        other = others[pick % len(others)] if others else None
        context = [point for point in turn.key_points if point.needs]
        references.append(
            ReferenceReply(
                reply=turn.reply,
                mood=turn.reply_mood,
                off_topic_reply=_OFF_TOPIC if other is None else other.turns[pick % len(other.turns)].reply,
                context_points=tuple(phrase for point in context for phrase in (point.accept or (point.text,))),
                leans_on=tuple(lean.turn for lean in turn.leans_on),
                key_points=tuple(point.accept or (point.text,) for point in turn.key_points),
            )
        )
    return tuple(references)

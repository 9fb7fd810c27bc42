"""What one scenario needs to be played, put together from its set and kept with the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from interbench.domain.persona import Persona
from interbench.domain.scenario import Scenario
from interbench.scenarios.rotation import rotated_personas
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
    variant_audio: tuple[tuple[Path | None, ...], ...] = ()
    """The user's speech in the variants of each turn, by turn; empty in runs of before there were any."""
    private: bool = False
    """Reports show its figures and nothing that says what was asked or answered."""

    def line_audio(self, turn: int, variant: int) -> Path | None:
        """The user's speech in turn ``turn`` (1-based), saying its variant ``variant`` (1-based; 0: its own line)."""
        return self.variant_audio[turn - 1][variant - 1] if variant else self.audio[turn - 1]

    def all_audio(self) -> Iterator[tuple[int, int, Path | None]]:
        """(turn, variant, the user's speech) of every line that the user might say."""
        for index, turn in enumerate(self.scenario.turns, start=1):
            for variant in range(len(turn.variants) + 1):
                yield index, variant, self.line_audio(index, variant)


def plan_scenarios(chosen: ScenarioSet, whole: ScenarioSet, rotation: int | None = None) -> tuple[PlannedScenario, ...]:
    """What each scenario of ``chosen``, a selection from ``whole``, needs to be played.

    ``rotation``: the seed by which personas are paired with scenarios anew (:mod:`interbench.scenarios.rotation`); None
    for the pairing of the set.
    """
    cast = {} if rotation is None else rotated_personas(whole, rotation)
    scenarios = [
        scenario.model_copy(update={"persona": cast.get(scenario.id, scenario.persona)})
        for scenario in chosen.scenarios
    ]
    return tuple(
        PlannedScenario(
            scenario=scenario,
            persona=chosen.personas[scenario.persona],
            audio=tuple(chosen.audio_path(scenario, index) for index in range(1, len(scenario.turns) + 1)),
            portrait=chosen.portrait_path(scenario.persona),
            references=_references(scenario, whole),
            variant_audio=tuple(
                tuple(chosen.audio_path(scenario, index, variant) for variant in range(1, len(turn.variants) + 1))
                for index, turn in enumerate(scenario.turns, start=1)
            ),
            private=chosen.private,
        )
        for scenario in scenarios
    )


def _references(scenario: Scenario, whole: ScenarioSet) -> tuple[ReferenceReply, ...]:
    others = [other for other in whole.scenarios if other.category != scenario.category]
    others = others or [other for other in whole.scenarios if other.id != scenario.id]
    references = []
    for index, turn in enumerate(scenario.turns, start=1):
        # Which other conversation is borrowed from depends on the whole set alone, never on what was chosen from it.
        pick = int.from_bytes(hashlib.sha256(f"{scenario.id}/{index}".encode()).digest()[:4], "big")
        other = others[pick % len(others)] if others else None
        said = [point for point in turn.key_points if not point.must_not]
        context = [point for point in said if point.needs]
        references.append(
            ReferenceReply(
                reply=turn.reply,
                mood=turn.reply_mood,
                off_topic_reply=_OFF_TOPIC if other is None else other.turns[pick % len(other.turns)].reply,
                context_points=tuple(phrase for point in context for phrase in (point.accept or (point.text,))),
                leans_on=tuple(lean.turn for lean in turn.leans_on),
                key_points=tuple(point.accept or (point.text,) for point in said),
            )
        )
    return tuple(references)

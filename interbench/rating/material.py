"""What a run has to show to people: its conversations that were played to their end and whose clips are still there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from interbench.base.errors import UsageError
from interbench.domain.records import ClipFacts, Exchange, Outcome
from interbench.scenarios.plan import PlannedScenario
from interbench.store.clips import clip_problem
from interbench.store.manifest import read_manifest
from interbench.store.run_folder import Key, Run, identity_key

Name = tuple[str, str]
"""System and scenario of a conversation."""


@dataclass(frozen=True, slots=True)
class PlayedClip:
    """One turn of a conversation that can be shown."""

    path: Path
    facts: ClipFacts
    user_text: str
    said: str
    """By the run's transcriber, or as the system reports; empty if nobody knows."""


@dataclass(frozen=True, slots=True)
class ShowableConversation:
    """One conversation that can be shown."""

    system: str
    scenario: str
    persona: str
    digest: str
    clips: tuple[PlayedClip, ...]


@dataclass(frozen=True)
class Material:
    """What a run has to show."""

    run_id: str
    systems: tuple[str, ...]
    scenarios: tuple[str, ...]
    played: Mapping[Name, ShowableConversation]
    left_out: Mapping[Name, str]
    """Planned conversations that can't be shown, and why."""


def shown_digest(planned: PlannedScenario, exchanges: Sequence[Exchange]) -> str:
    """Hash of what people see of a conversation: the scenario, outcomes and clips."""
    turns = [[e.turn, e.outcome.value, None if e.facts is None else e.facts.sha256] for e in exchanges]
    return identity_key({"scenario": planned.scenario.digest(), "turns": turns})


def shown_digests(planned_scenarios: Sequence[PlannedScenario], exchanges: Sequence[Exchange]) -> dict[Name, str]:
    """Of every conversation of which anything was played, by system and scenario."""
    by_id = {planned.scenario.id: planned for planned in planned_scenarios}
    return {name: shown_digest(by_id[name[1]], of) for name, of in _by_conversation(exchanges).items()}


def read_material(path: Path) -> Material:
    """What the run at ``path`` has to show; reads every clip once, to see that it is still the one that was recorded.

    Raises:
        StoreError: it is no run folder.
        UsageError: nothing was planned there.
    """
    with Run(path, write=False) as run:
        manifest = read_manifest(run.manifest_path)
        if manifest is None:
            raise UsageError(f"{path} has no manifest.json: nothing was played there yet. Give it to `interbench run`.")
        planned_scenarios = {planned.scenario.id: planned for planned in run.planned_scenarios()}
        ear = manifest.get("transcriber")
        transcripts = run.transcripts(ear) if ear else {}
        plan: Mapping[str, Sequence[str]] = manifest["plan"]
        exchanges = _by_conversation(run.exchanges())
        played: dict[Name, ShowableConversation] = {}
        left_out: dict[Name, str] = {}
        for name in [(system, scenario) for system, scenarios in plan.items() for scenario in scenarios]:
            planned, of = planned_scenarios.get(name[1]), exchanges.get(name, [])
            if planned is None:
                # The plan is written a moment before its scenarios, and a kill may come between.
                left_out[name] = "not played to its end"
                continue
            if problem := _problem(run, planned, of):
                left_out[name] = problem
                continue
            clips = []
            for turn, exchange in zip(planned.scenario.turns, of, strict=True):
                heard = transcripts.get(Key(*name, exchange.turn))
                said = heard.text if heard is not None and heard.error is None else exchange.reply_text or ""
                assert exchange.clip is not None and exchange.facts is not None
                clips.append(
                    PlayedClip((run.path / exchange.clip).resolve(), exchange.facts, turn.line(exchange.variant), said)
                )
            played[name] = ShowableConversation(*name, planned.persona.id, shown_digest(planned, of), tuple(clips))
        scenarios = dict.fromkeys(scenario for names in plan.values() for scenario in names)
        return Material(str(manifest.get("run_id", "")), tuple(plan), tuple(scenarios), played, left_out)


def _by_conversation(exchanges: Sequence[Exchange]) -> dict[Name, list[Exchange]]:
    found: dict[Name, list[Exchange]] = {}
    for exchange in exchanges:
        found.setdefault((exchange.system, exchange.scenario), []).append(exchange)
    return found


def _problem(run: Run, planned: PlannedScenario, exchanges: Sequence[Exchange]) -> str:
    """Why a conversation can't be shown; empty if it can."""
    if len(exchanges) < len(planned.scenario.turns):
        return "not played to its end"
    for exchange in exchanges:
        if exchange.outcome is not Outcome.COMPLETED or exchange.clip is None or exchange.facts is None:
            return f"turn {exchange.turn} {exchange.outcome.value.replace('_', ' ')}"
        if problem := clip_problem(run.path / exchange.clip, exchange.facts):
            return problem.code.replace("_", " ")
    return ""

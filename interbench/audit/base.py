"""Whose conversations are edited: read from a run, and what a quick local system has not played yet, played first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.asr.registry import make_transcriber
from interbench.audit.takes import Conversation, Spoken
from interbench.base.errors import StoreError, UsageError
from interbench.base.progress import Progress
from interbench.domain.names import meant
from interbench.judge.registry import make_judge
from interbench.pipeline.config import Settings
from interbench.pipeline.plan import make_plan
from interbench.pipeline.run import execute
from interbench.scenarios.plan import PlannedScenario
from interbench.scenarios.sets import load_set
from interbench.store.clips import clip_problem
from interbench.store.manifest import read_manifest
from interbench.store.run_folder import Key, Run
from interbench.systems.puppet.authored import authored, written

PLAYED = "base"
"""Folder in an audit's where its base has played what was missing."""
SCENARIOS, QUICK_SCENARIOS = 48, 12
_LOCAL = re.compile(r"puppet(:[a-z0-9@.-]+)?")
"""Specs of systems that need nothing to be played by."""


@dataclass(frozen=True, slots=True)
class Base:
    """A system of a run."""

    folder: Path
    run_id: str
    system: str
    """Its label."""
    spec: str
    facts: Mapping[str, Any]
    """What the manifest says of it."""
    transcriber: str
    """Label of whoever heard it."""
    conversations: tuple[Conversation, ...]
    """The whole ones."""
    broken: tuple[str, ...]
    """Scenarios that it has not played to their end."""
    seed: int

    @property
    def local(self) -> bool:
        """Whether it can be asked to play more without a card, a service or money."""
        return _LOCAL.fullmatch(self.spec) is not None

    @property
    def puppet(self) -> bool:
        """Whether it is the intact puppet."""
        return self.spec == "puppet"


def read_base(folder: Path, system: str | None = None) -> Base:
    """The base in the run ``folder``: the ``system`` of that label, or the run's only intact puppet.

    Raises:
        StoreError: it is no run folder, a clip is gone or another, or a transcript is missing.
        UsageError: there is no such system, or none of it is played.
    """
    with Run(folder, write=False) as run:
        manifest = read_manifest(run.manifest_path)
        if manifest is None or not manifest.get("plan"):
            raise UsageError(f"Nothing was planned in {folder} yet; give it to `interbench run` first.")
        label = _choose(folder, manifest, system)
        facts = manifest.get("systems", {}).get(label)
        if facts is None:
            raise UsageError(f"{label} of {folder} has not been played yet; give the run's command again.")
        planned_scenarios = {planned.scenario.id: planned for planned in run.planned_scenarios()}
        wanted = [planned_scenarios[scenario] for scenario in manifest["plan"][label] if scenario in planned_scenarios]
        ear = manifest.get("transcriber")
        ear_label = "" if ear is None else run.identities("transcriber")[ear][0]
        whole, broken = _conversations(run, label, wanted, ear)
        return Base(
            folder,
            str(manifest.get("run_id", "")),
            label,
            str(facts.get("spec", "")),
            facts,
            ear_label,
            whole,
            broken,
            int(manifest.get("frozen", {}).get("seed", 0)),
        )


def _choose(folder: Path, manifest: Mapping[str, Any], system: str | None) -> str:
    labels: list[str] = list(manifest["plan"])
    if system is not None:
        system = meant(system, labels)
        if system not in labels:
            raise UsageError(f"{folder} has no system {system!r}; it has {', '.join(labels)}.")
        return system
    specs = {label: str(manifest.get("systems", {}).get(label, {}).get("spec", label)) for label in labels}
    intact = [label for label, spec in specs.items() if spec == "puppet"]
    if len(intact) == 1:
        return intact[0]
    if all(_LOCAL.fullmatch(spec) and spec != "puppet" for spec in specs.values()):
        raise UsageError(
            f"All systems of {folder} are puppets with a defect of their own ({', '.join(labels)}), and what is spoilt "
            f"already shows no further defect. Play the intact puppet: interbench run --systems puppet."
        )
    raise UsageError(f"Name the system whose conversations are edited, with --system: {', '.join(labels)}.")


def _conversations(
    run: Run, label: str, planned_scenarios: Sequence[PlannedScenario], ear: str | None
) -> tuple[tuple[Conversation, ...], tuple[str, ...]]:
    transcripts = run.transcripts(ear, label) if ear is not None else {}
    whole, broken = [], []
    for planned in planned_scenarios:
        exchanges = {exchange.turn: exchange for exchange in run.exchanges(label, planned.scenario.id)}
        turns = []
        for number in range(1, len(planned.scenario.turns) + 1):
            exchange = exchanges.get(number)
            if exchange is None or not exchange.completed or exchange.clip is None or exchange.facts is None:
                break
            clip = (run.path / exchange.clip).resolve()
            if (problem := clip_problem(clip, exchange.facts)) is not None:
                raise StoreError(f"{label}/{planned.scenario.id}, turn {number}: {problem.message}")
            transcript = transcripts.get(Key(label, planned.scenario.id, number))
            if transcript is None or transcript.error is not None:
                raise StoreError(
                    f"{label}/{planned.scenario.id}, turn {number}, has no transcript"
                    f"{'' if transcript is None else f' ({transcript.error})'}. Transcribe the run first: interbench "
                    f"transcribe {run.path}."
                )
            turns.append(Spoken(exchange, clip, exchange.facts, transcript))
        if len(turns) == len(planned.scenario.turns):
            whole.append(Conversation(planned, tuple(turns)))
        else:
            broken.append(planned.scenario.id)
    return tuple(whole), tuple(broken)


def choose_scenarios(base: Base, count: int) -> tuple[tuple[Conversation, ...], tuple[str, ...]]:
    """The conversations that are used, and the scenarios that the base has to play first, ``count`` together.

    Those with authored variants come first; what is to be played is taken with the shortest replies first.
    """
    fitting = [conversation for conversation in base.conversations if _written_for(conversation.planned)]
    others = [conversation for conversation in base.conversations if conversation not in fitting]
    used = (fitting + others)[:count] if not base.local else fitting[:count]
    missing: tuple[str, ...] = ()
    if base.local and len(used) < count:
        held = {conversation.id for conversation in base.conversations} | set(base.broken)
        lengths = {
            scenario.id: sum(len(turn.reply.split()) for turn in scenario.turns)
            for scenario in load_set("all").scenarios
            if scenario.id in written() and scenario.id not in held
        }
        missing = tuple(sorted(lengths, key=lambda scenario: (lengths[scenario], scenario))[: count - len(used)])
    if not used and not missing:
        raise UsageError(
            f"{base.system} of {base.folder} has no conversation that was played to its end, so there is nothing to "
            f"edit. Give the run's command again."
        )
    return tuple(used), missing


def _written_for(planned: PlannedScenario) -> bool:
    found = authored(planned.scenario.id)
    if found is None:
        return False
    import hashlib

    replies = [hashlib.sha256(turn.reply.encode()).hexdigest() for turn in planned.scenario.turns]
    return [turn.reply_sha256 for turn in found.turns] == replies


async def play(base: Base, folder: Path, scenarios: Sequence[str], variants: Sequence[str], progress: Progress) -> None:
    """Let the base, or the puppet's ``variants``, play these scenarios into the run folder ``folder``; goes on where
    it was."""
    labels = [f"{base.system}={base.spec}"] if not variants else [f"{v}=puppet:{v}" for v in variants]
    settings = Settings(
        out=folder,
        scenarios="all",
        only=tuple(scenarios),
        systems=tuple(labels),
        transcriber="given",
        judge="signals",
        seed=base.seed,
        concurrency=4,
    )
    await execute(
        make_plan(settings),
        transcriber=make_transcriber("given", {}),
        judge=make_judge("signals", {}),
        progress=progress,
        stages=("drive", "transcribe"),
    )


def read_played(folder: Path, system: str) -> dict[str, Conversation]:
    """What :func:`play` has left of one system, by scenario."""
    return {conversation.id: conversation for conversation in read_base(folder, system).conversations}

"""An audit from its beginning to its folder: plays what is missing, edits, and lets the judge judge."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from interbench.audit.base import PLAYED, Base, choose_scenarios, play, read_base, read_played
from interbench.audit.build import Builder, Built, cleared, foresee_words, label_of
from interbench.audit.conditions import SHAM
from interbench.audit.effects import Condition
from interbench.audit.plan import Options, conditions_for, thin
from interbench.audit.takes import Conversation, Material, played_as
from interbench.base.errors import IncomparableError, UsageError
from interbench.base.progress import Progress
from interbench.domain.catalogue import Catalogue, Kind
from interbench.domain.records import PlayedConversation
from interbench.judge.base import Judge
from interbench.judge.stage import JudgingStage
from interbench.media.pool import MediaPool
from interbench.pipeline.config import Settings
from interbench.pipeline.plan import Plan
from interbench.pipeline.run_manifest import RunManifest
from interbench.scenarios.plan import PlannedScenario
from interbench.store.manifest import now, read_manifest
from interbench.store.played import played
from interbench.store.run_folder import Run
from interbench.systems.registry import SystemSpec

SCHEMA = "interbench.audit/1"
_SPOILT = "played"
"""Folder in an audit's where the puppet has played its graded defects."""


@dataclass(frozen=True)
class Trial:
    """What is put before the judge."""

    base: Base
    used: tuple[Conversation, ...]
    conditions: tuple[Condition, ...]
    built: Built


def find_trial(
    source: Path, catalogue: Catalogue, judge: Judge, options: Options
) -> tuple[Base, tuple[Conversation, ...], tuple[str, ...], tuple[Condition, ...]]:
    """The base, its conversations that are used, the scenarios it has to play first, and the conditions."""
    base = read_base(source, options.system)
    used, missing = choose_scenarios(base, options.scenarios)
    conditions = conditions_for(catalogue, judge, base, options)
    if not any(c.kind is Kind.DEFECT and c.aim for c in conditions):
        raise UsageError(
            f"No defect aims at anything that {judge.label} scores"
            f"{' of ' + ', '.join(options.only) if options.only else ''}; it scores {', '.join(judge.dimensions)}."
        )
    return base, used, missing, conditions


async def conduct(
    source: Path,
    out: Path,
    catalogue: Catalogue,
    judge: Judge,
    options: Options,
    settings: Settings,
    progress: Progress,
) -> Trial:
    """Do what is not done yet; the ledger in ``out`` holds what is.

    Raises:
        InterbenchError: something that stops it; what is done so far is kept.
    """
    base, used, missing, conditions = find_trial(source, catalogue, judge, options)
    _require_same(out, base, catalogue, options)
    used = await _with_missing(base, used, missing, out, progress)
    foresee_words(catalogue, conditions, Material(used))
    material = Material(used, await _spoilt(base, used, conditions, catalogue, out, progress), *thin(judge, options))
    async with MediaPool(size=2) as media:
        with Run(out, write=True) as run:
            labels = [label_of(base.system, condition.name) for condition in conditions]
            manifest = _manifest(run, base, used, labels, settings)
            manifest.write(_facts(base, conditions, catalogue))
            cold = {name: value for name, value in _record_of(run).items() if name == "cold"}
            # Kept before anything is made: the same folder is never gone on with otherwise.
            manifest.amend(audit=_record(base, used, catalogue, options, conditions, None) | cold)
            builder = Builder(run, base.system, catalogue, material, media)
            builder.need(conditions)
            built = await builder.build(conditions, progress)
            cleared(run)
            manifest.amend(
                audit=_record(base, used, catalogue, options, conditions, built) | cold,
                transcriber=builder.transcriber,
                plan={label_of(base.system, c.name): built.planned.get(c.name, []) for c in conditions},
            )
            judge.tell = progress.say
            await _judge(run, judge, options, base, conditions, built, manifest, media, builder.transcriber, progress)
            manifest.amend(finished=now())
    return Trial(base, used, conditions, built)


async def _with_missing(
    base: Base, used: tuple[Conversation, ...], missing: Sequence[str], out: Path, progress: Progress
) -> tuple[Conversation, ...]:
    """The conversations, with those that the base has to play first."""
    if not missing:
        return used
    progress.say(f"{base.system} plays {len(missing)} scenarios that {base.folder} does not hold, into {out / PLAYED}")
    await play(base, out / PLAYED, missing, (), progress)
    more = read_played(out / PLAYED, base.system)
    if lost := [scenario for scenario in missing if scenario not in more]:
        progress.say(f"not played to their end, and left out: {', '.join(lost)}")
    return (*used, *(more[scenario] for scenario in missing if scenario in more))


async def _spoilt(
    base: Base,
    used: Sequence[Conversation],
    conditions: Sequence[Condition],
    catalogue: Catalogue,
    out: Path,
    progress: Progress,
) -> Mapping[str, Mapping[str, Conversation]]:
    """What the puppet plays with a graded defect of its own."""
    names = {entry.name: entry for entry in catalogue}
    played_ones = [c for c in conditions if c.entry in names and names[c.entry].played]
    variants = tuple(dict.fromkeys(played_as(names[c.entry], c.strength) for c in played_ones))
    if not variants:
        return {}
    progress.say(f"{base.system} plays {len(variants)} defects of its own, into {out / _SPOILT}")
    await play(base, out / _SPOILT, [conversation.id for conversation in used], variants, progress)
    return {variant: read_played(out / _SPOILT, variant) for variant in variants}


def _require_same(out: Path, base: Base, catalogue: Catalogue, options: Options) -> None:
    """See that a folder that is gone on with is of the same audit.

    Raises:
        IncomparableError: naming what is different.
    """
    held = read_manifest(out / "manifest.json") if out.exists() else None
    if held is None:
        return
    audit = held.get("audit")
    if not isinstance(audit, dict):
        raise UsageError(f"{out} holds a run that is no audit; give the audit a folder of its own with --out.")
    now_, before = catalogue.digests(), audit["catalogue"]["entries"]
    changed = sorted(name for name in {*now_, *before} if now_.get(name) != before.get(name))
    if changed:
        raise IncomparableError(
            f"The catalogue has changed since {out} was begun ({', '.join(changed[:8])}), and old and new conditions "
            f"would stand beside one another under the same names. Begin another audit with --out."
        )
    differing = [name for name, value in options.frozen().items() if audit["options"].get(name) != value]
    if (audit["base"]["run_id"], audit["base"]["system"]) != (base.run_id, base.system):
        differing.append(f"base (was {audit['base']['system']} of {audit['base']['folder']})")
    if differing:
        raise IncomparableError(
            f"{out} was begun with other settings: {', '.join(differing)}. Give the same again, or another --out."
        )


def _manifest(
    run: Run, base: Base, used: Sequence[Conversation], labels: Sequence[str], settings: Settings
) -> RunManifest:
    specs = tuple(SystemSpec(label, label, {}) for label in labels)
    planned_scenarios: tuple[PlannedScenario, ...] = tuple(conversation.planned for conversation in used)
    return RunManifest(run, Plan(settings, planned_scenarios, specs, {}), {"seed": base.seed})


def _facts(base: Base, conditions: Sequence[Condition], catalogue: Catalogue) -> dict[str, dict[str, Any]]:
    """Of each condition as a system; shown in the viewer, and never to the judge."""
    says = {entry.name: entry.says for entry in catalogue}
    controls = {"base": "as it was played", "renamed": "as it was played, under another name"}
    controls["words"] = "the reference replies under its own clips"
    return {
        label_of(base.system, c.name): {
            **base.facts,
            "spec": label_of(base.system, c.name),
            "description": says.get(c.entry, controls.get(c.entry, "")),
            "lowers": [],
        }
        for c in conditions
    }


def _record(
    base: Base,
    used: Sequence[Conversation],
    catalogue: Catalogue,
    options: Options,
    conditions: Sequence[Condition],
    built: Built | None,
) -> dict[str, Any]:
    digests = [turn.facts.sha256 + turn.transcript.text for conversation in used for turn in conversation.turns]
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "base": {
            "folder": str(base.folder),
            "run_id": base.run_id,
            "system": base.system,
            "spec": base.spec,
            "transcriber": base.transcriber,
            "conversations_sha256": hashlib.sha256(json.dumps(digests).encode()).hexdigest(),
            "settings": base.facts.get("settings", {}),
        },
        "catalogue": {"version": catalogue.version, "sha256": catalogue.sha256, "entries": catalogue.digests()},
        "options": {**options.frozen(), "repeats": options.repeats},
        "scenarios": [conversation.id for conversation in used],
        "conditions": [asdict(c) | {"may": sorted(c.may), "kind": c.kind.value} for c in conditions],
    }
    if built is not None:
        record["planned"] = {name: list(of) for name, of in built.planned.items()}
        record["unfit"] = dict(built.unfit)
        record["refused"] = {name: list(of) for name, of in built.refused.items()}
        record["measured"] = {
            name: {"mean": sum(of) / len(of), "least": min(of), "most": max(of), "n": len(of)}
            for name, of in built.measured.items()
            if of
        }
    return record


async def _is_cold(run: Run, judge: Judge, manifest: RunManifest, options: Options, progress: Progress) -> bool:
    """See that the judge has kept nothing, for one more judgement of the sham; whether it is so."""
    forgot = await judge.forget()
    if not forgot and not options.cold:
        progress.say(
            "not judged cold: the servers don't empty their caches when asked (vLLM does with VLLM_SERVER_DEV_MODE=1). "
            "Start them anew and give the same command with --cold"
        )
        return False
    cold = {"sample": options.sham_repeats, "how": "emptied" if forgot else "started anew"}
    manifest.amend(audit={**_record_of(run), "cold": cold})
    return True


def _record_of(run: Run) -> dict[str, Any]:
    manifest = read_manifest(run.manifest_path) or {}
    return dict(manifest.get("audit") or {})


async def _judge(
    run: Run,
    judge: Judge,
    options: Options,
    base: Base,
    conditions: Sequence[Condition],
    built: Built,
    manifest: RunManifest,
    media: MediaPool,
    transcriber: str,
    progress: Progress,
) -> None:
    """Scenario by scenario, so that a server meets all that is made of a clip while it still has it."""

    def conversation_of(planned: PlannedScenario, name: str) -> PlayedConversation | None:
        found = played(run, planned.scenario, label_of(base.system, name), transcriber, "given")
        return None if found is None else replace(found, persona=planned.persona, portrait=planned.portrait)

    made = {name: set(of) for name, of in built.planned.items()}
    planned_scenarios = run.planned_scenarios()
    todo = [
        (planned, c.name)
        for planned in planned_scenarios
        for c in conditions
        if planned.scenario.id in made.get(c.name, set())
    ]
    # Repeatability is read off judgements that did not stand beside one another: the sham once more, at the end.
    passes = [(todo, options.repeats)]
    if options.sham_repeats > options.repeats:
        passes.append(([(planned, name) for planned, name in todo if name == SHAM], options.sham_repeats))
    if options.judgements > options.sham_repeats:
        passes.append((passes[-1][0], options.judgements))
    progress.total("judge", sum(len(of) for of, _ in passes))
    for of, repeats in passes:
        async with JudgingStage(judge, run, repeats, media) as stage:
            manifest.note_judge(stage)
            if repeats > options.sham_repeats:
                due = [one for planned, name in of if (one := conversation_of(planned, name)) and stage.pending(one)]
                if not due or not await _is_cold(run, judge, manifest, options, progress):
                    continue
            queue = iter(of)

            async def work(stage: JudgingStage = stage, queue: Any = queue) -> None:
                for planned, name in queue:
                    conversation = conversation_of(planned, name)
                    if conversation is not None:
                        await stage.give(conversation)
                    progress.advance("judge")

            async with asyncio.TaskGroup() as group:
                for _ in range(judge.max_conversations):
                    group.create_task(work())

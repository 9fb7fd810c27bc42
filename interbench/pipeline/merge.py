"""Shards of one plan into one run, which is an ordinary run from then on.

What must be the same is compared by the rules that also hold for a run that is gone on with: seed, deadline and other
frozen settings, the whole plan, systems, judge, transcriber; besides, the versions of everything that could change a
result. The result does not depend on the order in which the shards are named.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from interbench.base.errors import IncomparableError, StoreError, UsageError
from interbench.judge.stage import conversation_digest
from interbench.pipeline.merged_manifest import merged_manifest
from interbench.pipeline.shards import Sharding
from interbench.scenarios.plan import PlannedScenario
from interbench.store.manifest import read_manifest
from interbench.store.merge import Files, Source, content, fill, new_folder, require_free, unchanging
from interbench.store.played import played
from interbench.store.run_folder import Run


@dataclass(frozen=True, slots=True)
class Shard:
    """A run folder that is to be merged."""

    source: Source
    sharding: Sharding
    unfinished: tuple[str, ...]
    """What is still to do in it, for people."""
    planned_scenarios: tuple[PlannedScenario, ...]
    verdicts: Mapping[tuple[str, str], frozenset[tuple[str, int]]]
    """(dimension, sample) of the verdicts that its last judge has given on each conversation as it is now."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        return self.source.manifest

    @property
    def path(self) -> Path:
        return self.source.path


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge has come to."""

    folder: Path
    sharding: Sharding
    unfinished: tuple[str, ...]
    """What is missing, for people."""
    conversations: int
    files: Files
    before: bool = False
    """The same shards had been merged into this folder before, and nothing was done."""


def merge_runs(folders: Sequence[Path], out: Path, *, partial: bool = False) -> Merged:
    """Merge the shards in ``folders`` into the new folder ``out``.

    Args:
        folders: shards of one plan, or what an earlier merge made of some of them; none is written to.
        out: must not be there, or be empty, or hold the merge of the same shards.
        partial: also where shards are missing or unfinished.

    Raises:
        UsageError: a folder is no shard.
        IncomparableError: they are of different plans, were made differently, or hold different things of one
            conversation.
        StoreError: shards are missing or unfinished, a clip is not the one that was recorded, or a folder can't be read
            or written.
    """
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(unchanging(path)) for path in _once(folders)]
        shards = sorted((_shard(run) for run in runs), key=lambda one: (one.sharding.numbers, str(one.path)))
        _require_alike(shards)
        taken = _disjoint(shards)
        sharding, unfinished = _whole(taken)
        digest = content([shard.source for shard in taken])
        conversations = sum(len(shard.source.conversations) for shard in taken)
        if unfinished and not partial:
            raise StoreError(
                f"The run is not whole: {'; '.join(unfinished)}. Give the commands of these shards again until they "
                f"have nothing left to do, or merge what is there with --partial; the table then says what is missing."
            )
        if _holds(out, digest):
            return Merged(out, sharding, unfinished, conversations, Files(), before=True)
        require_free(out)
        order = {scenario: index for index, scenario in enumerate(sharding.scenarios)}
        planned_scenarios = sorted(
            (planned for shard in taken for planned in shard.planned_scenarios), key=lambda one: order[one.scenario.id]
        )
        manifest = merged_manifest([shard.source for shard in taken], sharding, digest, planned_scenarios)
        with new_folder(out) as folder, Run(folder, write=True) as target:
            files = fill(target, [shard.source for shard in taken], sharding.scenarios)
            target.keep_manifest(manifest)
        return Merged(out, sharding, unfinished, conversations, files)


def _once(folders: Sequence[Path]) -> list[Path]:
    """The folders, each once however it is written."""
    return list({folder.resolve(): folder for folder in folders}.values())


def _holds(out: Path, digest: str) -> bool:
    """Whether ``out`` is what a merge of the same made, perhaps gone on with."""
    if not (out / "manifest.json").is_file():
        return False
    held = (read_manifest(out / "manifest.json") or {}).get("merged")
    return isinstance(held, dict) and held.get("digest") == digest


def _shard(run: Run) -> Shard:
    if (run.path / "ratings.sqlite").exists():
        raise StoreError(
            f"{run.path} has been rated by people, and a study belongs to its folder: what raters were shown and in "
            f"what order is drawn for the whole of it. Merge first and let people rate the merged run; keep what was "
            f"said here (`interbench rate {run.path} --export FILE`), and merge a copy of the folder without "
            f"ratings.sqlite."
        )
    source = Source.read(run)
    sharding = Sharding.read(source.manifest, str(run.path))
    if sharding is None:
        raise UsageError(
            f"{run.path} is no shard: it was played without --shard. Runs of their own are not merged; they stand in "
            f"one table all the same (`interbench table RUN RUN`)."
        )
    stray = {scenario for of in source.manifest["plan"].values() for scenario in of} - set(sharding.scenarios)
    if stray:
        raise StoreError(f"{run.path} holds scenarios that are not of its plan: {', '.join(sorted(stray)[:3])}.")
    unfinished, verdicts = _state(run, source)
    return Shard(source, sharding, unfinished, run.planned_scenarios(), verdicts)


def _state(run: Run, source: Source) -> tuple[tuple[str, ...], dict[tuple[str, str], frozenset[tuple[str, int]]]]:
    """What is left to do in a shard, and which verdicts it holds."""
    manifest = source.manifest
    planned_scenarios = {planned.scenario.id: planned for planned in run.planned_scenarios()}
    ear, judge = manifest.get("transcriber"), manifest.get("judge")
    label = run.identities("transcriber")[ear][0] if ear else ""
    shown = run.identities("judge")[judge][1].get("shown", ()) if judge else ()
    given: dict[tuple[str, str], dict[str, set[tuple[str, int]]]] = {}
    for digest, verdict in run.verdicts(judge) if judge else ():
        of = given.setdefault((verdict.system, verdict.scenario), {})
        of.setdefault(digest, set()).add((verdict.dimension, verdict.sample))
    held: dict[tuple[str, str], frozenset[tuple[str, int]]] = {}
    unplayed = 0
    for system, scenarios in manifest["plan"].items():
        for scenario in scenarios:
            # A scenario is planned a moment before it is kept, and a kill may come between.
            planned = planned_scenarios.get(scenario)
            conversation = None if planned is None else played(run, planned.scenario, system, ear or "", label)
            if conversation is None:
                unplayed += 1
            elif judge:
                digest = conversation_digest(conversation, shown)
                held[system, scenario] = frozenset(given.get((system, scenario), {}).get(digest, ()))
    left = []
    if unplayed:
        left.append(f"{unplayed} conversations of {run.path} are not played to their end")
    if jobs := run.open_jobs():
        left.append(f"{len(jobs)} remote jobs of {run.path} are in flight")
    return tuple(left), held


def _require_alike(shards: Sequence[Shard]) -> None:
    """See that all are of one plan and made alike."""
    for one, other in combinations(shards, 2):
        differences = list(_differences(one, other))
        if differences:
            raise IncomparableError(
                f"{one.path} and {other.path} can't be merged, because they were made differently: "
                f"{'; '.join(differences)}. Play the odd one again as the others were, in a new folder."
            )


def _differences(one: Shard, other: Shard) -> Iterable[str]:
    if one.sharding.of != other.sharding.of:
        yield f"one is of {one.sharding.of} shards and the other of {other.sharding.of}"
    if (one.sharding.scenarios, one.sharding.digest) != (other.sharding.scenarios, other.sharding.digest):
        yield "their plans hold other scenarios or personas, or the same ones with other content"
    # What a system is told is frozen when the first that needs it has started, so one of them may not have it yet.
    common = set(one.manifest["frozen"]) & set(other.manifest["frozen"]) - {"shard"}
    yield from _named(
        "setting", *({name: m["frozen"][name] for name in common} for m in (one.manifest, other.manifest))
    )
    yield from _named("setting", *({"repeats": m["settings"].get("repeats")} for m in (one.manifest, other.manifest)))
    for entry, what in (("scenario_sets", "scenario sets"), ("prompts", "bundled prompts")):
        if one.manifest.get(entry) != other.manifest.get(entry):
            yield f"their {what} differ"
    systems = [m["systems"] for m in (one.manifest, other.manifest)]
    if set(one.manifest["plan"]) != set(other.manifest["plan"]):
        yield from _named("systems", *({"named": sorted(m["plan"])} for m in (one.manifest, other.manifest)))
    for label in sorted(set(systems[0]) & set(systems[1])):
        yield from _named(f"system {label}:", systems[0][label], systems[1][label])
    for maker in ("transcriber", "judge"):
        keys = [m.get(maker) for m in (one.manifest, other.manifest)]
        if None not in keys and keys[0] != keys[1]:
            identities = (
                json.loads(s.source.shared["identities"][(k,)][3]) for s, k in zip((one, other), keys, strict=True)
            )
            yield from _named(f"{maker}:", *identities)
    yield from _named("version of", *(_versions(m) for m in (one.manifest, other.manifest)))


def _versions(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    invocations = manifest.get("invocations") or [{}]
    found: Mapping[str, Any] = invocations[-1].get("versions", {})
    return found


def _named(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterable[str]:
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield f"{kind} {name!r} is {_short(one.get(name))} in one and {_short(other.get(name))} in the other"


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."


def _disjoint(shards: Sequence[Shard]) -> list[Shard]:
    """Of the shards those that hold all of them between them, none twice; the others must hold the same.

    Raises:
        IncomparableError: two folders hold a shard differently, or share only some of theirs.
    """
    taken: list[Shard] = []
    for shard in sorted(shards, key=lambda one: (-len(one.sharding.numbers), one.sharding.numbers)):
        numbers = set(shard.sharding.numbers)
        among = [other for other in taken if numbers & set(other.sharding.numbers)]
        for other in among:
            if not numbers <= set(other.sharding.numbers):
                raise IncomparableError(
                    f"{shard.path} and {other.path} share some of their shards and not all. Merge the shards "
                    f"themselves."
                )
            shard.source.require_same(other.source)
            if lacking := sorted(set(shard.source.conversations) - set(other.source.conversations)):
                raise IncomparableError(
                    f"{shard.path} holds {'/'.join(lacking[0])}, and {other.path}, which is said to hold the same "
                    f"shard, does not. Leave one of the folders out."
                )
        if not among:
            taken.append(shard)
    scenarios: dict[str, Path] = {}
    for shard in taken:
        for scenario in {scenario for of in shard.manifest["plan"].values() for scenario in of}:
            if scenario in scenarios:
                raise IncomparableError(
                    f"{scenarios[scenario]} and {shard.path} both hold the scenario {scenario}, though they are "
                    f"different shards. Leave one of the folders out."
                )
            scenarios[scenario] = shard.path
    return sorted(taken, key=lambda one: one.sharding.numbers)


def _whole(taken: Sequence[Shard]) -> tuple[Sharding, tuple[str, ...]]:
    """What the shards are together, and what is missing of it."""
    first = taken[0].sharding
    sharding = replace(first, numbers=tuple(sorted(number for shard in taken for number in shard.sharding.numbers)))
    unfinished = []
    absent = [number for number in range(1, first.of + 1) if number not in sharding.numbers]
    if absent:
        which = f"shard {absent[0]}" if len(absent) == 1 else f"shards {', '.join(map(str, absent))}"
        unfinished.append(f"{which} of {first.of} {'is' if len(absent) == 1 else 'are'} not among the folders")
    in_plan = {scenario for shard in taken for of in shard.manifest["plan"].values() for scenario in of}
    if not absent and (lost := [scenario for scenario in first.scenarios if scenario not in in_plan]):
        unfinished.append(f"{len(lost)} scenarios (first: {lost[0]}) are in no shard")
    wanted = frozenset(one for shard in taken for of in shard.verdicts.values() for one in of)
    for shard in taken:
        unfinished += shard.unfinished
        if wanted and not shard.manifest.get("judge"):
            unfinished.append(f"{shard.path} is not judged")
        elif left := sum(bool(wanted - of) for of in shard.verdicts.values()):
            unfinished.append(f"{left} conversations of {shard.path} are not judged, or not in everything")
    return sharding, tuple(unfinished)

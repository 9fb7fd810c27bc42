"""Plain sentences on what a reader must know of a run before its figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from interbench.asr.base import DOUBTED
from interbench.report.incidents import live_notes
from interbench.report.lines import line_notes
from interbench.report.run_records import RunRecords
from interbench.stats import JudgeLabel

RENAMED = (
    "Judged by an earlier version of the offline judge, which kept what it measured under names of the paper's "
    "dimensions (IC, CU, SR, MVC); it is shown under the names of the measures."
)
UNCHECKED = (
    "Unchecked: the judge's server can't say which frames and pixels its model saw, so that its verdicts rest on its "
    "settings alone."
)


def same_family(judge: JudgeLabel | None, systems: Mapping[str, Any]) -> list[str]:
    """A sentence for every system that names a model of the judge's own family, as far as names tell.

    Args:
        judge: a vision-language one, or nobody.
        systems: what the manifest keeps of each, by label.
    """
    if judge is None or not judge.comparable:
        return []
    letters = re.match(r"[a-z]{3,}", judge.name.casefold())
    if letters is None:
        return []
    family = letters[0]
    return [
        f"{label} works with a model of the judge's own family ({judge.name}, {found[0]}): a judge may favour its "
        f"family's way of putting things, which one judge alone can't tell from merit."
        for label, facts in systems.items()
        if (found := re.search(rf"\b{family}[\w.-]*", json.dumps(facts.get("settings", {})), re.IGNORECASE))
    ]


def shard_notes(run: RunRecords) -> tuple[str, ...]:
    """What a reader must know first of a run that is a shard, or was merged from shards."""
    held, merged = run.manifest.get("shard"), run.manifest.get("merged")
    if not held:
        return ()
    notes = []
    in_plan = {scenario for scenarios in run.plan.values() for scenario in scenarios}
    absent = len(set(held["scenarios"]) - in_plan)
    numbers = ", ".join(str(int(number)) for number in held["numbers"])
    if absent:
        what = "Merged from shards" if merged else "Shard"
        notes.append(
            f"NOT WHOLE: {what} {numbers} of {int(held['of'])}: {absent} of the plan's "
            f"{len(held['scenarios'])} scenarios are missing."
        )
    unplayed = run.turns_planned - len(run.exchanges)
    if merged and unplayed:
        notes.append(f"NOT WHOLE: {unplayed} turns of shards that were merged had not been played.")
    hosts = {json.dumps(host, sort_keys=True) for one in (merged or {}).get("shards", ()) for host in one["hosts"]}
    if len(hosts) > 1:
        notes.append(f"Its shards were played on {len(hosts)} different machines; the speed columns mix them.")
    return tuple(notes)


def unkept_notes(run: RunRecords) -> tuple[str, ...]:
    """What to say of a run that was killed while scenarios were being added to it."""
    if not run.unkept:
        return ()
    number = len(run.unkept)
    counted = "1 scenario of its plan was" if number == 1 else f"{number} scenarios of its plan were"
    return (
        f"{run.name}: {counted} not begun, because the run was interrupted while it was being extended (first: "
        f"{run.unkept[0]}). They count as not played; the same `interbench run` again goes on with them.",
    )


def _caveats(run: RunRecords) -> tuple[str, ...]:
    systems = run.manifest.get("systems", {})
    return (
        *same_family(run.judge, systems),
        *([UNCHECKED] if run.judge_identity.get("frames_checked") is False else []),
        *([RENAMED] if run.judge_identity.get("judge") == "signals" and "dimensions" not in run.judge_identity else []),
        *(
            [f"Of every answer only the first {budget} words count."]
            if (budget := run.judge_identity.get("word_budget"))
            else []
        ),
        *shard_notes(run),
        *unkept_notes(run),
        *run.remarks,
        *(f"{label}: {caveat}" for label, facts in systems.items() for caveat in facts.get("caveats", ())),
    )


def clip_notes(run: RunRecords) -> list[str]:
    """One sentence on each way in which clips are not what was recorded."""
    notes = []
    for code, what in (("clip_changed", "are not the ones that were recorded"), ("clip_missing", "are missing")):
        keys = [key for key, problem in run.clip_problems.items() if problem.code == code]
        if keys:
            notes.append(
                f"Of {run.path.resolve().name}, {len(keys)} clips {what} (first: {keys[0]}): verdicts already given "
                f"stand, and none are given on them any more."
            )
    return notes


def table_notes(run: RunRecords) -> tuple[str, ...]:
    return (
        *set_notes(run.manifest),
        *_caveats(run),
        *clip_notes(run),
        *line_notes(run.planned_scenarios, run.exchanges),
        *live_notes(run.exchanges),
    )


def set_notes(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Which versions of which scenario sets a run was played from; nothing where it was not written down yet."""
    return tuple(
        f"Scenario set {held['name']}, digest {held['digest'][:12]}." for held in manifest.get("scenario_sets", ())
    )


def run_notes(run: RunRecords) -> tuple[str, ...]:
    """Plain sentences for the top of a report."""
    lines = (*line_notes(run.planned_scenarios, run.exchanges), *live_notes(run.exchanges))
    notes = [*_caveats(run), *clip_notes(run), *lines]
    if len(run.exchanges) < run.turns_planned:
        notes.append(f"This run is not finished: {len(run.exchanges)} of {run.turns_planned} turns were played.")
    resumed = sum(exchange.timings.resumed for exchange in run.exchanges if exchange.timings is not None)
    if resumed:
        notes.append(f"{resumed} turns were taken up after an interruption; their times are not in the speed columns.")
    notes += [f"Transcriber: {note}." for note in run.manifest.get("transcriber_notes", ())]
    doubted = sum(DOUBTED in transcript.flags for transcript in run.transcripts.values())
    if doubted:
        notes.append(
            f"{doubted} transcripts are of answers in which the recogniser itself doubts that anything was said; their "
            f"words may be made up (see the flag beside them)."
        )
    odd = sum(bool(exchange.notices) for exchange in run.exchanges)
    if odd:
        notes.append(
            f"{odd} turns came with something odd that did not keep them from being answers; see their details."
        )
    ear = run.manifest.get("ear_check", {})
    if ear.get("poor"):
        notes.append(str(ear["line"]))
    return tuple(notes)

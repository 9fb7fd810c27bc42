"""From run folders to tables and reports: reads the ledger, judges nothing, writes nothing."""

from __future__ import annotations

import itertools
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from interbench.asr.base import DOUBTED
from interbench.base.errors import UsageError
from interbench.base.foreign import mapped, number
from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.domain.names import alike
from interbench.domain.records import Exchange, Spend, Transcript, Verdict
from interbench.drive.spending import spoken_totals
from interbench.judge.stage import conversation_digest
from interbench.rating.results import PEOPLE, people_label, people_verdicts, read_ratings
from interbench.report.breakdown import REPORTED_BYS, Breakdown, By, break_down
from interbench.report.lines import different_lines, line_notes
from interbench.report.model import (
    JudgeFacts,
    PlayedScenario,
    ReportData,
    ShownConversation,
    SystemFacts,
    TranscriberFacts,
)
from interbench.report.people import People, collect_people
from interbench.report.rows import Speed, Step
from interbench.report.sync_section import read_sync
from interbench.report.tables import Table, build_table
from interbench.report.withheld import withheld
from interbench.scenarios.plan import PlannedScenario
from interbench.stats import Comparison, Expected, JudgeLabel, ReferencePool, Scores, compare
from interbench.stats.scores import KEYS
from interbench.store.clips import ClipProblem
from interbench.store.manifest import read_manifest
from interbench.store.played import played
from interbench.store.ratings import Ratings
from interbench.store.run_folder import Key, Run, identity_key

NOT_MEASURED = "not_measured"
"""Why records of before first speech was measured have none."""


@dataclass(frozen=True, slots=True)
class RunRecords:
    """Everything a run folder holds by one transcriber and one judge."""

    path: Path
    manifest: Mapping[str, Any]
    parts: tuple[PlannedScenario, ...]
    exchanges: tuple[Exchange, ...]
    transcripts: Mapping[Key, Transcript]
    verdicts: tuple[Verdict, ...]
    """Those that were given on the conversations as they are now."""
    judge: JudgeLabel | None
    judge_identity: Mapping[str, Any]
    transcriber: str | None
    transcriber_identity: Mapping[str, Any]
    spending: tuple[Spend, ...] = ()
    """Every request that may have cost money."""
    clip_problems: Mapping[Key, ClipProblem] = field(default_factory=dict)
    """Clips that are no longer those that were recorded."""
    label: str = ""
    """Stands before the names of its systems (``label/system``); empty where they have their own."""
    remarks: tuple[str, ...] = ()
    """What a reader must know of how it was brought together with other runs."""

    @property
    def name(self) -> str:
        """For people."""
        return self.label or self.path.resolve().name

    def bare(self, system: str) -> str:
        """The name of one of its systems without the label."""
        return system.removeprefix(f"{self.label}/") if self.label else system

    @property
    def plan(self) -> Mapping[str, Sequence[str]]:
        """Scenario ids by system."""
        plan: Mapping[str, Sequence[str]] = self.manifest["plan"]
        return plan

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Keys of what its judge was asked for."""
        if self.judge_identity.get("judge") == "signals" and "dimensions" not in self.judge_identity:
            return tuple(_CALLED_BEFORE.values())
        return tuple(self.judge_identity.get("dimensions", DIMENSION_KEYS))


def read_records(path: Path, judge: str | None = None) -> RunRecords:
    """Read a run folder.

    Args:
        path: the folder.
        judge: label, or beginning of the key, of the judge whose verdicts are wanted; None means the run's last one,
            ``people`` those who rated it.

    Raises:
        StoreError: it is no run folder or can't be read.
        UsageError: that judge has left no verdicts here.
    """
    if judge == PEOPLE:
        said = read_ratings(path)
        return replace(
            read_records(path),
            verdicts=tuple(people_verdicts(said, said.kept)),
            judge=people_label(said),
            judge_identity=said.study.published(),
        )
    with Run(path, write=False) as run:
        manifest = read_manifest(run.manifest_path)
        if manifest is None:
            raise UsageError(
                f"{path} has no manifest.json: nothing was planned there yet. Give it to `interbench run`."
            )
        judges = run.identities("judge")
        key = _choose(judges, judge, manifest.get("judge"), path)
        transcribers = run.identities("transcriber")
        ear = manifest.get("transcriber")
        label, identity = judges.get(key, ("", {})) if key else ("", {})
        parts = run.parts()
        by_id = {part.scenario.id: part.scenario for part in parts}
        digests: dict[tuple[str, str], str] = {}
        if ear is not None:
            ear_label = transcribers[ear][0]
            for system, scenarios in manifest["plan"].items():
                for scenario in scenarios:
                    conversation = played(run, by_id[scenario], system, ear, ear_label)
                    if conversation is not None:
                        digests[system, scenario] = conversation_digest(conversation, identity.get("shown", ()))
        verdicts = run.verdicts(key) if key else []
        exchanges = run.exchanges()
        return RunRecords(
            path=path,
            manifest=manifest,
            parts=parts,
            exchanges=tuple(exchanges),
            transcripts=run.transcripts(ear) if ear else {},
            verdicts=_renamed((v for seen, v in verdicts if digests.get((v.system, v.scenario)) == seen), identity),
            judge=JudgeLabel(
                name=label,
                identity=key[:12],
                comparable=bool(identity.get("comparable", True)),
                mode=judging_mode(identity),
            )
            if key
            else None,
            judge_identity=identity,
            transcriber=transcribers[ear][0] if ear else None,
            transcriber_identity=transcribers[ear][1] if ear else {},
            spending=tuple(run.spending()),
            clip_problems=run.clip_problems(exchanges),
        )


_CALLED_BEFORE = {"IC": "kp-recall", "CU": "kp-memory", "SR": "lexical", "MVC": "look"}
"""What the offline judge's measures are called, by the dimension under whose name its first versions kept them."""


def _renamed(verdicts: Iterable[Verdict], identity: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """Verdicts of the offline judge under the names that its measures have; what it called not measurable is no row."""
    if identity.get("judge") != "signals" or "dimensions" in identity:
        return tuple(verdicts)
    return tuple(replace(v, dimension=_CALLED_BEFORE[v.dimension]) for v in verdicts if v.dimension in _CALLED_BEFORE)


RENAMED = (
    "Judged by an earlier version of the offline judge, which kept what it measured under names of the paper's "
    "dimensions (IC, CU, SR, MVC); it is shown under the names of the measures."
)


def judging_mode(identity: Mapping[str, Any]) -> str:
    """In which reading of the rubrics a vision-language judge of this identity judged; empty for any other judge."""
    if identity.get("judge") != "vlm":
        return ""
    mode = str(identity.get("mode", "published"))
    from interbench.judge.vlm.rubrics import MODES, Prompts

    bundled = {key: rubric.sha256 for key, rubric in Prompts(mode).rubrics.items()} if mode in MODES else {}
    return mode if identity.get("rubrics") == bundled else f"{mode} with other prompts"


def _named(judge: JudgeLabel) -> str:
    return f"{judge.name} ({judge.identity}{', ' if judge.mode else ''}{judge.mode})"


def _choose(
    judges: Mapping[str, tuple[str, Mapping[str, Any]]], wanted: str | None, current: str | None, path: Path
) -> str | None:
    if wanted is None:
        return current
    matching = [key for key, (label, _) in judges.items() if label == wanted or key.startswith(wanted)]
    if len(matching) == 1:
        return matching[0]
    held = ", ".join(f"{label} ({key[:12]})" for key, (label, _) in judges.items()) or "none"
    if matching:
        raise UsageError(f"Several judges in {path} are called {wanted!r}; name one by its key. Judges there: {held}.")
    raise UsageError(f"No judge called {wanted!r} has left verdicts in {path}. Judges there: {held}.")


def speeds(exchanges: Sequence[Exchange]) -> dict[str, Speed]:
    """The speed columns by system: over completed turns that were not taken up after an interruption.

    Latency is the median time to first frame, and time to first speech its median over the turns in which something is
    heard; frames per second are all frames over all time to complete.
    """
    by_system: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        if exchange.completed and exchange.timings is not None and not exchange.timings.resumed:
            by_system.setdefault(exchange.system, []).append(exchange)
    result = {}
    for system, timed in by_system.items():
        timings = [exchange.timings for exchange in timed if exchange.timings is not None]
        heard = [timing.first_speech_s for timing in timings if timing.first_speech_s is not None]
        unheard = Counter(
            timing.no_speech.value if timing.no_speech else NOT_MEASURED
            for timing in timings
            if timing.first_speech_s is None
        )
        frames = sum(exchange.facts.frames for exchange in timed if exchange.facts is not None)
        total = sum(timing.complete_s for timing in timings)
        result[system] = Speed(
            latency_s=statistics.median(timing.first_frame_s for timing in timings),
            fps=frames / total if total > 0 else None,
            n=len(timings),
            steps=_steps(timed),
            first_speech_s=statistics.median(heard) if heard else None,
            unheard=dict(unheard),
        )
    return result


def _before_the_clock(exchange: Exchange) -> dict[str, float]:
    """What making up and speaking the words took for a system that is told them; neither is part of its latency."""
    made = {
        "words (before the clock)": mapped(exchange.detail.get("script")).get("model_s"),
        "speech (before the clock)": mapped(exchange.detail.get("speech")).get("made_s"),
    }
    return {name: seconds for name, value in made.items() if (seconds := number(value)) is not None}


def _told(runs: Sequence[RunRecords]) -> dict[str, str]:
    """Of systems that were told their words: where these came from."""
    found: dict[str, str] = {}
    for run in runs:
        for label, facts in run.manifest.get("systems", {}).items():
            words = mapped(mapped(mapped(facts).get("told")).get("words"))
            if source := _SOURCES.get(str(words.get("from", ""))):
                found[label] = source if words.get("model") is None else f"{source} {words['model']}"
    return found


_SOURCES = {"script": "the script", "chat": "the chat model", "thinker": "the thinker"}


def _steps(timed: Sequence[Exchange]) -> tuple[Step, ...]:
    seconds: dict[str, list[float]] = {}
    for exchange in timed:
        for name, value in {**_before_the_clock(exchange), **exchange.parts_s}.items():
            seconds.setdefault(name, []).append(value)
    return tuple(
        Step(name, statistics.median(values), float(np.percentile(values, 95)), len(values))
        for name, values in seconds.items()
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
    turns = {part.scenario.id: len(part.scenario.turns) for part in run.parts}
    planned = {scenario for scenarios in run.plan.values() for scenario in scenarios}
    absent = len(set(held["scenarios"]) - planned)
    numbers = ", ".join(str(int(number)) for number in held["numbers"])
    if absent:
        what = "Merged from shards" if merged else "Shard"
        notes.append(
            f"NOT WHOLE: {what} {numbers} of {int(held['of'])}: {absent} of the plan's "
            f"{len(held['scenarios'])} scenarios are missing."
        )
    unplayed = sum(turns[scenario] for scenarios in run.plan.values() for scenario in scenarios) - len(run.exchanges)
    if merged and unplayed:
        notes.append(f"NOT WHOLE: {unplayed} turns of shards that were merged had not been played.")
    hosts = {json.dumps(host, sort_keys=True) for one in (merged or {}).get("shards", ()) for host in one["hosts"]}
    if len(hosts) > 1:
        notes.append(f"Its shards were played on {len(hosts)} different machines; the speed columns mix them.")
    return tuple(notes)


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


def collect_table(
    runs: Sequence[RunRecords],
    *,
    reference: ReferencePool | None = None,
    intervals: bool = True,
    replicates: int | None = None,
    seed: int = 0,
    published: bool = False,
) -> Table:
    """One table over one or several runs.

    Raises:
        UsageError: the runs were judged or transcribed by different ones, or share a system's label.
    """
    scores, expected, judge = collect_scores(runs)
    return build_table(
        scores,
        expected=expected,
        speeds=speeds([exchange for run in runs for exchange in run.exchanges]),
        judge=judge,
        reference=reference,
        intervals=intervals,
        replicates=replicates,
        seed=seed,
        published=published,
        caveats=tuple(dict.fromkeys(note for run in runs for note in _table_notes(run))),
        told=_told(runs),
    )


def _table_notes(run: RunRecords) -> tuple[str, ...]:
    return (*set_notes(run.manifest), *_caveats(run), *clip_notes(run), *line_notes(run.parts, run.exchanges))


def set_notes(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Which versions of which scenario sets a run was played from; nothing where it was not written down yet."""
    return tuple(
        f"Scenario set {held['name']}, digest {held['digest'][:12]}." for held in manifest.get("scenario_sets", ())
    )


def collect_breakdown(runs: Sequence[RunRecords], table: Table, by: By) -> Breakdown:
    """The ``table`` of these runs apart by kind of scenario.

    Raises:
        UsageError: no scenario says of what kind it is.
    """
    scores, expected, _ = collect_scores(runs)
    parts = {part.scenario.id: part for run in runs for part in run.parts}
    kinds: dict[str, list[str]] = {key: [] for key in KEYS} if by == "stressed" else {}
    for name, part in parts.items():
        for kind in kinds_of(part, by):
            kinds.setdefault(kind, []).append(name)
    kinds = {kind: names for kind, names in kinds.items() if names}
    if not kinds:
        raise UsageError(f"No scenario of these runs says anything of the kind {by!r}.")
    turns: dict[str, list[Exchange]] = {}
    for exchange in (exchange for run in runs for exchange in run.exchanges):
        for kind in kinds_of(parts[exchange.scenario], by) if exchange.scenario in parts else ():
            turns.setdefault(kind, []).append(exchange)
    return break_down(by, kinds, table, scores, expected, {kind: speeds(played) for kind, played in turns.items()})


def kinds_of(part: PlannedScenario, by: By) -> tuple[str, ...]:
    """Of what kinds a scenario is; of several where it stresses several dimensions."""
    match by:
        case "category":
            return (part.scenario.category,)
        case "persona":
            return (part.persona.id,)
        case "tier":
            return () if part.scenario.tier is None else (f"tier {part.scenario.tier}",)
        case "stressed":
            return part.scenario.stresses


def collect_scores(runs: Sequence[RunRecords]) -> tuple[Scores, Expected, JudgeLabel | None]:
    """Scores, plan and judge of one or several runs; raises as :func:`collect_table`."""
    first = runs[0]
    plan: dict[str, Sequence[str]] = {}
    for run in runs:
        if run.judge is None:
            raise UsageError(f"{run.path} has no verdicts yet; judge it first: interbench judge {run.path}")
        if first.judge is not None and not run.judge.same_as(first.judge):
            raise UsageError(
                f"{first.path} was judged by {_named(first.judge)} and {run.path} by {_named(run.judge)}. Scores of "
                f"two judges, or of two modes of one, never stand in one table: judge one of the runs again with the "
                f"other's judge and mode, or choose one with --judge."
            )
        if run.transcriber_identity != first.transcriber_identity:
            raise UsageError(
                f"{first.path} was transcribed by {first.transcriber} and {run.path} by {run.transcriber}, with other "
                f"settings or another model, so their scores are not comparable. Transcribe and judge one again."
            )
        for system, scenarios in run.plan.items():
            if system in plan:
                raise UsageError(
                    f"The system {system!r} is in more than one of these runs. Give the folders labels, which go "
                    f"before the names of their systems: a={first.path} b={run.path}."
                )
            plan[system] = scenarios
    if pair := alike(plan):
        raise UsageError(
            f"The systems {pair[0]!a} and {pair[1]!a} of these runs look the same in a table. Give one of "
            f"them another label (--systems label=...)."
        )
    scores = Scores.from_records([verdict for run in runs for verdict in run.verdicts])
    return scores, Expected(plan, first.dimensions), first.judge


def collect_report(run: RunRecords, table: Table) -> ReportData:
    """Everything the HTML report of one run shows."""
    scores, _, judge = collect_scores([run])
    manifest = run.manifest
    last = last_invocation(run)
    data = ReportData(
        title=run.name,
        created=manifest["created"],
        finished=manifest.get("finished"),
        versions=last.get("versions", {}),
        host=last.get("host", {}),
        scenario_set=set_names(manifest),
        scenario_digest=set_digest(manifest),
        judge=judge_facts(run),
        transcriber=transcriber_facts(run),
        systems=system_facts(run),
        scenarios=played_scenarios(run),
        conversations=shown_conversations(run),
        table=table,
        comparisons=all_pairs([run], scores, judge),
        settings=manifest["settings"],
        usage=run_usage(run),
        notes=run_notes(run),
        breakdowns=collect_breakdowns([run], table),
        people=_people_of(run),
        sync=read_sync(run.path),
    )
    return withheld(data)


def _people_of(run: RunRecords) -> People | None:
    """What people said of it beside its judge; None if nobody has said anything, or they are its judge."""
    if not Ratings.path(run.path).is_file() or (run.judge is not None and run.judge.name == PEOPLE):
        return None
    said = read_ratings(run.path)
    return collect_people(run, said) if said.raters else None


def all_pairs(runs: Sequence[RunRecords], scores: Scores, judge: JudgeLabel | None) -> tuple[Comparison, ...]:
    """Every two systems compared, once."""
    return tuple(
        with_lines(runs, compare(scores, a, b, judge=judge)) for a, b in itertools.combinations(scores.systems, 2)
    )


def with_lines(runs: Sequence[RunRecords], comparison: Comparison) -> Comparison:
    """The comparison with the number of turns in which the user said different things to the two systems."""
    parts = [part for run in runs for part in run.parts]
    exchanges = [exchange for run in runs for exchange in run.exchanges]
    different, turns = different_lines(parts, exchanges, comparison.a, comparison.b)
    return replace(comparison, different_lines=different, common_turns=turns)


def last_invocation(run: RunRecords) -> Mapping[str, Any]:
    """What the manifest keeps of the last command that added to the run; empty if there was none."""
    invocations = run.manifest.get("invocations", [])
    last: Mapping[str, Any] = invocations[-1] if invocations else {}
    return last


def judge_facts(run: RunRecords) -> JudgeFacts:
    """Whose verdicts ``run`` was read with."""
    return JudgeFacts(
        label=run.judge.name if run.judge else "not judged",
        comparable=run.judge.comparable if run.judge else True,
        identity=run.judge_identity,
        summary=run.manifest.get("judge_summary", {}),
    )


def transcriber_facts(run: RunRecords) -> TranscriberFacts:
    """Who heard its clips."""
    ear = run.manifest.get("ear_check")
    return TranscriberFacts(
        run.transcriber or "not transcribed",
        {**run.transcriber_identity, **({"ear check": ear["line"]} if ear else {})},
    )


def played_scenarios(run: RunRecords) -> tuple[PlayedScenario, ...]:
    """Those of its plan."""
    return tuple(
        PlayedScenario(part.scenario, part.persona, part.audio, part.portrait, part.variant_audio, private=part.private)
        for part in run.parts
    )


def collect_breakdowns(runs: Sequence[RunRecords], table: Table) -> tuple[Breakdown, ...]:
    """By category, persona and tier, where there is more than one of them."""
    return tuple(
        collect_breakdown(runs, table, by)
        for by in REPORTED_BYS
        if len({kind for run in runs for part in run.parts for kind in kinds_of(part, by)}) > 1
    )


def run_usage(run: RunRecords) -> dict[str, str]:
    """What the run has cost and may cost, for people; empty if nothing in it costs money."""
    if not run.spending:
        return {}
    settings = run.manifest["settings"]
    caps = [
        f"{settings[name]:g} {unit}"
        for name, unit in (("max_usd", "USD"), ("max_video_seconds", "s of video"))
        if settings.get(name) is not None
    ]
    return {"paid services": spoken_totals(run.spending), "caps": ", ".join(caps) or "none"}


def set_names(manifest: Mapping[str, Any]) -> str:
    """The sets that a run was played from, with their versions where they are known."""
    named = [f"{held['name']} ({held['digest'][:12]})" for held in manifest.get("scenario_sets", ())]
    return ", ".join(named) or str(manifest["settings"]["scenarios"])


def set_digest(manifest: Mapping[str, Any]) -> str:
    """Of the scenarios and personas as they were played."""
    return identity_key({"scenarios": manifest["scenarios"], "personas": manifest["personas"]})


def system_facts(run: RunRecords) -> tuple[SystemFacts, ...]:
    """Of every system of its plan."""

    def facts(label: str) -> SystemFacts:
        known = run.manifest["systems"].get(label, {})
        return SystemFacts(
            name=label,
            version=str(known.get("version", "")),
            description=str(known.get("description", "")),
            settings={**known.get("settings", {}), **known.get("capabilities", {})},
            intact=_intact(label, run.manifest) if known.get("lowers") else None,
            lowers=tuple(known.get("lowers", ())),
            media_root=run.path,
        )

    return tuple(facts(label) for label in run.plan)


def _intact(label: str, manifest: Mapping[str, Any]) -> str | None:
    """The system of this run that a controlled defect was derived from."""
    whole = str(manifest["systems"][label]["spec"]).partition(":")[0]
    return next((other for other, facts in manifest["systems"].items() if facts.get("spec") == whole), None)


def shown_conversations(run: RunRecords) -> tuple[ShownConversation, ...]:
    """All of its plan, played or not."""
    exchanges: dict[tuple[str, str], list[Exchange]] = {}
    for exchange in run.exchanges:
        exchanges.setdefault((exchange.system, exchange.scenario), []).append(exchange)
    verdicts: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in run.verdicts:
        verdicts.setdefault((verdict.system, verdict.scenario), []).append(verdict)
    transcripts: dict[tuple[str, str], dict[int, Transcript]] = {}
    for key, transcript in run.transcripts.items():
        transcripts.setdefault((key.system, key.scenario), {})[key.turn] = transcript
    return tuple(
        ShownConversation(
            system=system,
            scenario=scenario,
            exchanges=tuple(exchanges.get((system, scenario), ())),
            transcripts=transcripts.get((system, scenario), {}),
            verdicts=tuple(verdicts.get((system, scenario), ())),
            clip_problems={
                key.turn: problem.message
                for key, problem in run.clip_problems.items()
                if (key.system, key.scenario) == (system, scenario)
            },
        )
        for system, scenarios in run.plan.items()
        for scenario in scenarios
    )


def run_notes(run: RunRecords) -> tuple[str, ...]:
    """Plain sentences for the top of a report."""
    notes = [*_caveats(run), *clip_notes(run), *line_notes(run.parts, run.exchanges)]
    turns = {part.scenario.id: len(part.scenario.turns) for part in run.parts}
    planned = sum(turns[scenario] for scenarios in run.plan.values() for scenario in scenarios)
    if len(run.exchanges) < planned:
        notes.append(f"This run is not finished: {len(run.exchanges)} of {planned} turns were played.")
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

"""From what run folders hold to tables and reports: judges nothing, writes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from interbench.base.errors import UsageError
from interbench.base.foreign import mapped
from interbench.domain.names import alike
from interbench.domain.records import Exchange
from interbench.rating.results import PEOPLE, read_ratings
from interbench.report.breakdown import REPORTED_BYS, Breakdown, By, break_down
from interbench.report.caveats import (
    RENAMED,
    UNCHECKED,
    clip_notes,
    run_notes,
    same_family,
    set_notes,
    shard_notes,
    table_notes,
)
from interbench.report.lines import different_lines
from interbench.report.model import (
    ReportData,
)
from interbench.report.people import People, collect_people
from interbench.report.run_facts import (
    judge_facts,
    last_invocation,
    played_scenarios,
    run_usage,
    set_digest,
    set_names,
    shown_conversations,
    system_facts,
    transcriber_facts,
)
from interbench.report.run_records import RunRecords, judging_mode, read_records
from interbench.report.speeds import NOT_MEASURED, speeds
from interbench.report.sync_section import read_sync
from interbench.report.tables import Table, build_table
from interbench.report.withheld import withheld
from interbench.scenarios.plan import PlannedScenario
from interbench.stats import Comparison, Expected, JudgeLabel, ReferencePool, Scores, compare
from interbench.stats.scores import KEYS
from interbench.store.ratings import Ratings

__all__ = [
    "NOT_MEASURED",
    "RENAMED",
    "UNCHECKED",
    "RunRecords",
    "all_pairs",
    "clip_notes",
    "collect_breakdown",
    "collect_breakdowns",
    "collect_report",
    "collect_scores",
    "collect_table",
    "judge_facts",
    "judging_mode",
    "kinds_of",
    "last_invocation",
    "played_scenarios",
    "read_records",
    "run_notes",
    "run_usage",
    "same_family",
    "set_digest",
    "set_names",
    "set_notes",
    "shard_notes",
    "shown_conversations",
    "speeds",
    "system_facts",
    "transcriber_facts",
    "with_lines",
]


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
        caveats=tuple(dict.fromkeys(note for run in runs for note in table_notes(run))),
        told=_told(runs),
    )


def collect_breakdown(runs: Sequence[RunRecords], table: Table, by: By) -> Breakdown:
    """The ``table`` of these runs apart by kind of scenario.

    Raises:
        UsageError: no scenario says of what kind it is.
    """
    scores, expected, _ = collect_scores(runs)
    planned_scenarios = {planned.scenario.id: planned for run in runs for planned in run.planned_scenarios}
    kinds: dict[str, list[str]] = {key: [] for key in KEYS} if by == "stressed" else {}
    for name, planned in planned_scenarios.items():
        for kind in kinds_of(planned, by):
            kinds.setdefault(kind, []).append(name)
    kinds = {kind: names for kind, names in kinds.items() if names}
    if not kinds:
        raise UsageError(f"No scenario of these runs says anything of the kind {by!r}.")
    turns: dict[str, list[Exchange]] = {}
    for exchange in (exchange for run in runs for exchange in run.exchanges):
        for kind in (
            kinds_of(planned_scenarios[exchange.scenario], by) if exchange.scenario in planned_scenarios else ()
        ):
            turns.setdefault(kind, []).append(exchange)
    return break_down(by, kinds, table, scores, expected, {kind: speeds(played) for kind, played in turns.items()})


def kinds_of(planned: PlannedScenario, by: By) -> tuple[str, ...]:
    """Of what kinds a scenario is; of several where it stresses several dimensions."""
    match by:
        case "category":
            return (planned.scenario.category,)
        case "persona":
            return (planned.persona.id,)
        case "tier":
            return () if planned.scenario.tier is None else (f"tier {planned.scenario.tier}",)
        case "stressed":
            return planned.scenario.stresses


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
    planned_scenarios = [planned for run in runs for planned in run.planned_scenarios]
    exchanges = [exchange for run in runs for exchange in run.exchanges]
    different, turns = different_lines(planned_scenarios, exchanges, comparison.a, comparison.b)
    return replace(comparison, different_lines=different, common_turns=turns)


def collect_breakdowns(runs: Sequence[RunRecords], table: Table) -> tuple[Breakdown, ...]:
    """By category, persona and tier, where there is more than one of them."""
    return tuple(
        collect_breakdown(runs, table, by)
        for by in REPORTED_BYS
        if len({kind for run in runs for planned in run.planned_scenarios for kind in kinds_of(planned, by)}) > 1
    )


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


def _named(judge: JudgeLabel) -> str:
    return f"{judge.name} ({judge.identity}{', ' if judge.mode else ''}{judge.mode})"

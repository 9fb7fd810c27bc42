"""The report of several runs at once, with what changed between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interbench.report.changes import find_changes
from interbench.report.collect import (
    RunRecords,
    all_pairs,
    collect_breakdowns,
    collect_scores,
    judge_facts,
    last_invocation,
    played_scenarios,
    run_notes,
    run_usage,
    set_digest,
    set_names,
    shown_conversations,
    system_facts,
    transcriber_facts,
)
from interbench.report.model import ReportData
from interbench.report.tables import Table
from interbench.report.withheld import withheld


def collect_joint_report(runs: Sequence[RunRecords], table: Table) -> ReportData:
    """Everything the HTML report of two or more runs shows; the first is what the others are compared with.

    Facts that are the same in all runs are shown once, the others by run.

    Raises:
        UsageError: as :func:`interbench.report.collect.collect_table`.
    """
    scores, _, judge = collect_scores(runs)
    first = runs[0]
    scenarios = {entry.scenario.id: entry for run in runs for entry in played_scenarios(run)}
    lasts = [last_invocation(run) for run in runs]
    finished = [str(run.manifest["finished"]) for run in runs if run.manifest.get("finished")]
    data = ReportData(
        title=" and ".join(run.name for run in runs),
        created=min(str(run.manifest["created"]) for run in runs),
        finished=max(finished, default=None),
        versions=_shared([last.get("versions", {}) for last in lasts]),
        host=_shared([last.get("host", {}) for last in lasts]),
        scenario_set=", ".join(dict.fromkeys(set_names(run.manifest) for run in runs)),
        scenario_digest=", ".join(dict.fromkeys(set_digest(run.manifest) for run in runs)),
        judge=judge_facts(first),
        transcriber=transcriber_facts(first),
        systems=tuple(facts for run in runs for facts in system_facts(run)),
        scenarios=tuple(scenarios.values()),
        conversations=tuple(shown for run in runs for shown in shown_conversations(run)),
        table=table,
        comparisons=all_pairs(runs, scores, judge),
        settings={run.name: run.manifest["settings"] for run in runs},
        usage={run.name: usage for run in runs if (usage := run_usage(run))},
        breakdowns=collect_breakdowns(runs, table),
        changes=find_changes(runs, scores, judge),
        notes=tuple(
            dict.fromkeys(
                f"{run.name}: {note}" if note not in run.remarks else note for run in runs for note in run_notes(run)
            )
        ),
    )
    return withheld(data)


def _shared(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Those that all have alike."""
    first, *others = facts
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}

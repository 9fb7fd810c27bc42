"""What changed between runs: what they were made with, and the figures of the systems they share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interbench.report.collect import RunRecords, last_invocation, set_digest
from interbench.report.grid import DASH
from interbench.report.tables import csv_text
from interbench.stats import Comparison, JudgeLabel, Scores, compare

_NOT_SHOWN = frozenset({"out", "judge", "transcriber", "scenarios", "systems"})
"""Settings that say where a run lies, or that are said better elsewhere."""


@dataclass(frozen=True, slots=True)
class Change:
    """One fact of the runs, in their order."""

    what: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Changes:
    """Between runs, the first of which the others are compared with."""

    labels: tuple[str, ...]
    facts: tuple[Change, ...]
    """Those that differ, and some that a reader wants to see even where they don't."""
    figures: tuple[Comparison, ...]
    """Of every system of a later run (``a``) with the one of its name in the first run (``b``)."""


def find_changes(runs: Sequence[RunRecords], scores: Scores, judge: JudgeLabel | None) -> Changes:
    """Compare the first of two or more runs with the others."""
    first, *others = runs
    names = {first.bare(name): name for name in first.plan}
    pairs = [
        (later, names[run.bare(later)])
        for run in others
        for later in run.plan
        if run.bare(later) in names and later in scores.systems and names[run.bare(later)] in scores.systems
    ]
    return Changes(
        tuple(run.name for run in runs),
        _facts(runs),
        tuple(compare(scores, later, earlier, judge=judge) for later, earlier in pairs),
    )


def changes_csv(changes: Changes) -> str:
    """A row per fact and a column per run."""
    return csv_text([["what", *changes.labels], *([change.what, *change.values] for change in changes.facts)])


def _facts(runs: Sequence[RunRecords]) -> tuple[Change, ...]:
    def fact(what: str, of: Callable[[RunRecords], Any]) -> Change:
        return Change(what, tuple(_text(of(run)) for run in runs))

    def each(prefix: str, of: Callable[[RunRecords], Mapping[str, Any]]) -> list[Change]:
        """A fact per name that occurs in any of the runs."""
        known = [of(run) for run in runs]
        names = dict.fromkeys(name for facts in known for name in facts)
        return [Change(f"{prefix}{name}", tuple(_text(facts.get(name)) for facts in known)) for name in names]

    def about(name: str) -> list[Change]:
        """A system that is in all of the runs."""
        return [
            fact(f"{name}: version", lambda run: _system(run, name).get("version")),
            *each(f"{name}: ", lambda run: _system(run, name).get("settings") or {}),
            *each(f"{name}: ", lambda run: _system(run, name).get("capabilities") or {}),
        ]

    always = [
        fact("Begun", lambda run: run.manifest["created"]),
        fact("Systems", lambda run: ", ".join(map(run.bare, run.plan))),
        fact("Judge", lambda run: f"{run.judge.name} ({run.judge.identity})" if run.judge else None),
        fact("Transcriber", lambda run: run.transcriber),
        fact("Scenario set", lambda run: run.manifest["settings"]["scenarios"]),
        fact("Scenarios", lambda run: f"{len(run.planned_scenarios)} ({set_digest(run.manifest)[:12]})"),
        fact("Judge's prompts", lambda run: str(run.manifest.get("prompts") or "")[:12]),
    ]
    names = dict.fromkeys(run.bare(system) for run in runs for system in run.plan)
    systems = [change for name in names if all(_system(run, name) for run in runs) for change in about(name)]
    made = [
        *each("", lambda run: last_invocation(run).get("versions", {})),
        *each("host: ", lambda run: last_invocation(run).get("host", {})),
        *each("setting: ", lambda run: {k: v for k, v in run.manifest["settings"].items() if k not in _NOT_SHOWN}),
    ]
    return (*always, *(change for change in (*systems, *made) if change.differs))


def _system(run: RunRecords, name: str) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = next(
        (of for label, of in run.manifest["systems"].items() if run.bare(label) == name), {}
    )
    return facts


def _text(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)

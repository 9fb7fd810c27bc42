"""Run folders as the command line names them: ``RUN``, or ``label=RUN``; and several of them brought together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interbench.base.errors import UsageError
from interbench.report.collect import RunRecords, read_records
from interbench.store.run_folder import identity_key

_SHOWN = 5
"""Scenario ids that a sentence names."""


@dataclass(frozen=True, slots=True)
class Source:
    """A run folder or a file."""

    path: Path
    label: str = ""
    """Goes before the names of its systems, as ``label/system``; empty leaves them as they are."""


def parse_source(text: str) -> Source:
    """``label=path``, or a path. A path that is there is taken as one, also with an equals sign in it.

    Raises:
        UsageError: the label or the path is empty.
    """
    label, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return Source(Path(text))
    if not label.strip() or not path.strip():
        raise UsageError(f"{text!r} names no folder; write label=FOLDER, as in before=runs/one after=runs/two.")
    return Source(Path(path), label.strip())


def parse_sources(texts: Sequence[str]) -> list[Source]:
    """Each parsed.

    Raises:
        UsageError: two have the same label.
    """
    sources = [parse_source(text) for text in texts]
    twice = [label for label, count in Counter(s.label for s in sources if s.label).items() if count > 1]
    if twice:
        raise UsageError(f"The label {twice[0]!r} is given to two folders; give each its own.")
    return sources


def read_runs(sources: Sequence[Source], judge: str | None = None) -> list[RunRecords]:
    """The runs, their systems named after their labels, and scenarios that have changed between them told apart.

    Raises as :func:`interbench.report.collect.read_records`.
    """
    return tell_apart([relabel(read_records(source.path, judge), source.label) for source in sources])


def relabel(run: RunRecords, label: str) -> RunRecords:
    """``run`` with every system called ``label/system``; itself without a label."""
    if not label:
        return run
    return replace(_renamed(run, systems=lambda name: f"{label}/{name}"), label=label)


def tell_apart(runs: Sequence[RunRecords]) -> list[RunRecords]:
    """Runs in which a scenario's name always means the same scenario and persona.

    Where one has changed between runs, its later versions are called ``id@digest``; the first run's remarks say so. The
    same scenarios are compared, different ones never.
    """
    versions: dict[str, dict[str, None]] = {}
    for run in runs:
        for scenario, digest in _digests(run).items():
            versions.setdefault(scenario, {}).setdefault(digest)
    changed = {scenario: next(iter(digests)) for scenario, digests in versions.items() if len(digests) > 1}
    if not changed:
        return list(runs)

    def renamed(run: RunRecords) -> RunRecords:
        digests = _digests(run)

        def name(scenario: str) -> str:
            digest = digests.get(scenario, "")
            return scenario if changed.get(scenario, digest) == digest else f"{scenario}@{digest[:8]}"

        return _renamed(run, scenarios=name)

    named = ", ".join(list(changed)[:_SHOWN]) + (f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else "")
    remark = (
        f"Not the same in these runs, so that each version counts as a scenario of its own (id@digest): {named}. "
        "Systems are compared on the same scenarios only."
    )
    first, *rest = (renamed(run) for run in runs)
    return [replace(first, remarks=(*first.remarks, remark)), *rest]


def _digests(run: RunRecords) -> dict[str, str]:
    """What was played under the name of each scenario: its content, its persona's, and their files'."""
    scenarios, personas = run.manifest["scenarios"], run.manifest["personas"]
    return {
        planned.scenario.id: identity_key(
            {
                "scenario": scenarios.get(planned.scenario.id, ""),
                "persona": personas.get(planned.persona.id, ""),
            }
        )
        for planned in run.planned_scenarios
    }


def _same(name: str) -> str:
    return name


def _renamed(
    run: RunRecords, *, systems: Callable[[str], str] = _same, scenarios: Callable[[str], str] = _same
) -> RunRecords:
    """All records of ``run`` under other names."""

    def record(held: Any) -> Any:
        return replace(held, system=systems(held.system), scenario=scenarios(held.scenario))

    manifest: Mapping[str, Any] = {
        **run.manifest,
        "plan": {systems(name): [scenarios(s) for s in ids] for name, ids in run.plan.items()},
        "systems": {systems(name): facts for name, facts in run.manifest["systems"].items()},
        "scenarios": {scenarios(name): digest for name, digest in run.manifest["scenarios"].items()},
    }
    return replace(
        run,
        manifest=manifest,
        planned_scenarios=tuple(
            replace(planned, scenario=planned.scenario.model_copy(update={"id": scenarios(planned.scenario.id)}))
            for planned in run.planned_scenarios
        ),
        exchanges=tuple(map(record, run.exchanges)),
        transcripts={record(key): transcript for key, transcript in run.transcripts.items()},
        verdicts=tuple(map(record, run.verdicts)),
        spending=tuple(map(record, run.spending)),
    )

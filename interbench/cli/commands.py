"""What the verbs of the command line do, beyond calling another room: printing for people."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from interbench.base.errors import CapReachedError, FruitlessError, UsageError
from interbench.cli.costs import spending_lines
from interbench.domain.records import Missing, Outcome
from interbench.pipeline.run import Plan, Stage, Summary, execute
from interbench.report.grid import visible

if TYPE_CHECKING:
    from interbench.report.tables import Table
    from interbench.stats import ReferencePool


def execute_and_report(plan: Plan, stages: tuple[Stage, ...], *, quiet: bool) -> None:
    """Run the stages; after judging, print the table and write the report."""
    from interbench.asr.registry import make_transcriber
    from interbench.base.progress import make_progress
    from interbench.judge.registry import make_judge

    settings = plan.settings
    transcriber = make_transcriber(settings.transcriber, settings.transcriber_options)
    judge = make_judge(settings.judge, settings.judge_options, settings.repeats)
    with make_progress(quiet=quiet) as progress:
        summary = asyncio.run(execute(plan, transcriber=transcriber, judge=judge, progress=progress, stages=stages))
    index = None
    if "judge" in stages:
        # Before anything is printed: a terminal may go away, or not take what is said.
        index = settings.out / "report" / "index.html"
        if summary.did_something or not index.exists():
            index = make_report(settings.out, None, portable=False, judge=None)
    for line in closing_lines(summary):
        sys.stderr.write(line + "\n")
    if index is not None:
        print_table([settings.out], form="terminal", precision=2, intervals=True)
        sys.stdout.write(f"\nReport: {index}\n")
    if summary.cap:
        raise CapReachedError(summary.cap)
    if why := fruitless(summary):
        raise FruitlessError(why)


_TOLD = 300
"""Characters of a service's message that are printed; all of it is in the ledger and the report."""


def closing_lines(summary: Summary) -> list[str]:
    """What was done, in a few lines."""
    lines = []
    if summary.outcomes:
        outcomes = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(summary.outcomes.items()))
        lines.append(f"turns played: {outcomes}")
    for (system, outcome, code), count in sorted(summary.troubled.items()):
        first = summary.examples[system, outcome, code]
        what = f"{system}: {outcome.replace('_', ' ')}" + (f" ({code})" if code not in ("", outcome) else "")
        why = ": " + " ".join(first.message.split())[:_TOLD] if first.message else ""
        lines.append(visible(f"  {what}, {count}×; first in {first.scenario}, turn {first.turn}{why}"))
    lines += [f"transcriber: {note}" for note in summary.transcriber]
    lines += [f"not transcribed, {count}×: {why}"[:_TOLD] for why, count in summary.untranscribed.most_common(3)]
    if summary.copies:
        because = next(iter(summary.copies.values()))
        lines.append(f"judge: {len(summary.copies)} clips were judged by a plain copy (of the first, {because})")
    if summary.ear:
        lines.append(summary.ear)
    if summary.verdicts:
        scored = summary.verdicts - sum(summary.missing.values())
        reasons = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(summary.missing.items()))
        lines.append(f"verdicts: {scored} scored" + (f"; missing: {reasons}" if reasons else ""))
    if summary.unplayed:
        lines.append(f"not judged: {summary.unplayed} conversations are not played to their end; run drive again")
    if summary.spent:
        lines.append(f"cost: {summary.spent}")
    for name, value in summary.judge.items():
        told = value if isinstance(value, list) else ["unknown, the server does not say" if value is None else value]
        lines += [f"judge: {name} {one}" for one in told]
    return lines


_CLIPS = (Missing.CLIP_CHANGED, Missing.CLIP_MISSING, Missing.CLIP_UNREADABLE)


def fruitless(summary: Summary) -> str:
    """Why nothing came of what was done, or clips kept some of it from being done; empty if all is well.

    Turns that fail are a result, as long as others do not; so are verdicts that an offline judge can't give.
    """
    turns, verdicts = sum(summary.outcomes.values()), summary.verdicts
    if turns and not summary.outcomes[Outcome.COMPLETED.value]:
        return f"None of the {turns} turns that were played was completed; the lines above say why."
    if clips := sum(summary.missing[reason.value] for reason in _CLIPS):
        return (
            f"{clips} verdicts were not given because clips are no longer those that were recorded, or can't be read. "
            f"The report names them; restore them, and give the same command again."
        )
    if summary.transcripts and sum(summary.untranscribed.values()) == summary.transcripts:
        first = next(iter(summary.untranscribed))
        return f"None of {summary.transcripts} clips could be transcribed: {first}"
    if verdicts and sum(summary.missing.values()) == verdicts:
        return f"None of {verdicts} verdicts has a score; the lines above say why."
    return ""


def print_plan(plan: Plan) -> None:
    """What a run would do, and what it would cost where that is known."""
    from interbench.judge.registry import make_judge
    from interbench.store.belonging import require_ledger
    from interbench.store.manifest import read_manifest
    from interbench.store.run_folder import Run

    settings = plan.settings
    make_judge(settings.judge, settings.judge_options, settings.repeats)  # refuses what the run would refuse
    turns = sum(len(part.scenario.turns) for part in plan.parts)
    lines = [
        f"run folder   {settings.out}",
        f"scenarios    {len(plan.parts)} ({turns} turns)",
        f"systems      {len(plan.systems)}: {', '.join(spec.label for spec in plan.systems)}",
        f"clips        {plan.clips}",
        f"transcriber  {settings.transcriber}",
        f"judge        {settings.judge}, {plan.verdicts} judge calls ({settings.repeats} per dimension)",
    ]
    require_ledger(settings.out)
    if (settings.out / "ledger.sqlite").exists():
        with Run(settings.out, write=False) as run:
            labels = {spec.label for spec in plan.systems}
            ids = {part.scenario.id for part in plan.parts}
            held = sum(1 for e in run.exchanges() if e.system in labels and e.scenario in ids)
            current = (read_manifest(run.manifest_path) or {}).get("judge")
            verdicts = run.verdicts(current) if current else []
            judged = sum(1 for _, v in verdicts if v.system in labels and v.scenario in ids)
        lines.append(f"already done {held} clips, {judged} verdicts by the run's last judge")
    lines += spending_lines(plan)
    sys.stdout.write("\n".join(lines) + "\n")


def print_table(
    sources: Sequence[Path],
    *,
    form: str,
    precision: int = 2,
    intervals: bool = True,
    compare: Sequence[str] | None = None,
    reference: Path | None = None,
    write_reference: Path | None = None,
    judge: str | None = None,
    seed: int = 0,
    published: bool = False,
) -> None:
    """Print the table, or the comparison of two systems, of run folders or CSV files."""
    from interbench.report.tables import Format, render, render_rich
    from interbench.stats import ReferencePool

    frozen = None if reference is None else ReferencePool.read(reference)
    if compare is not None:
        _print_comparison(sources, compare, form, precision, frozen, judge, seed)
        return
    table = load_table(sources, reference=frozen, judge=judge, seed=seed, intervals=intervals, published=published)
    if write_reference is not None:
        table.to_reference().write(write_reference)
    if form == "terminal":
        from rich.console import Console

        console = Console()
        console.print(render_rich(table, precision=precision, intervals=intervals, width=console.width))
    else:
        sys.stdout.write(render(table, cast(Format, form), precision=precision, intervals=intervals))


def load_table(
    sources: Sequence[Path],
    *,
    reference: ReferencePool | None = None,
    judge: str | None = None,
    seed: int = 0,
    intervals: bool = True,
    published: bool = False,
) -> Table:
    """The table of run folders or of CSV files, never of both, because a CSV does not say who judged."""
    from interbench.report.collect import collect_table, read_run
    from interbench.report.tables import table_from_csv

    folders = [source for source in sources if source.is_dir()]
    if not folders:
        return table_from_csv(sources, reference=reference, intervals=intervals, seed=seed, published=published)
    if len(folders) < len(sources):
        raise UsageError(
            "Give run folders or CSV files, not both: a CSV does not say who judged, and no table mixes two judges."
        )
    runs = [read_run(folder, judge) for folder in folders]
    return collect_table(runs, reference=reference, intervals=intervals, seed=seed, published=published)


def _print_comparison(
    sources: Sequence[Path],
    pair: Sequence[str],
    form: str,
    precision: int,
    reference: ReferencePool | None,
    judge: str | None,
    seed: int,
) -> None:
    from interbench.report.collect import collect_scores, read_run
    from interbench.report.comparisons import render_comparison, render_comparison_rich
    from interbench.report.tables import Format
    from interbench.stats import compare, read_scores

    if len(pair) != 2:
        raise UsageError("--compare takes two systems, comma-separated: --compare puppet,puppet:drift.")
    if all(source.is_dir() for source in sources):
        scores, _, label = collect_scores([read_run(source, judge) for source in sources])
    else:
        scores, label = read_scores(sources), None
    comparison = compare(scores, pair[0], pair[1], judge=label, reference=reference, seed=seed)
    if form == "terminal":
        from rich.console import Console

        console = Console()
        console.print(render_comparison_rich(comparison, precision=precision, width=console.width))
    else:
        sys.stdout.write(render_comparison(comparison, cast(Format, form), precision=precision))


def make_report(folder: Path, out: Path | None, *, portable: bool, judge: str | None) -> Path:
    """Write the HTML report of a run; gives its index page."""
    from interbench.report.collect import collect_report, collect_table, read_run
    from interbench.report.html import write_report

    records = read_run(folder, judge)
    data = collect_report(records, collect_table([records]))
    return write_report(data, out or folder / "report", media_root=folder, portable=portable)


def print_defects(source: str, personas: Path | None) -> int:
    """Print every defect of a scenario set; the exit status."""
    from interbench.scenarios.sets import load_set, validate_set

    defects = validate_set(source, personas=personas)
    for defect in defects:
        sys.stdout.write(f"{defect}\n")
    errors = [defect for defect in defects if defect.level == "error"]
    if errors:
        sys.stderr.write(f"interbench: {len(errors)} defects in {source}.\n")
        return 1
    found = load_set(source, personas=personas)
    turns = sum(len(scenario.turns) for scenario in found.scenarios)
    warnings = f", {len(defects)} warnings" if defects else ""
    sys.stdout.write(f"{source}: {len(found.scenarios)} scenarios, {turns} turns, no defects{warnings}.\n")
    return 0


def print_conformance(flags: Mapping[str, Any], config: Path | None, deadline_s: float, keep: Path | None) -> int:
    """Check the adapter that ``flags`` (settings by name) say and print what was found; the exit status."""
    from interbench.asr.registry import make_transcriber
    from interbench.pipeline.config import load_settings
    from interbench.pipeline.conformance import check_system
    from interbench.systems.registry import SystemSpec

    settings = load_settings(flags, config)
    (system,) = settings.systems
    spec = SystemSpec.parse(system, settings.system, settings.system_defaults)
    transcriber = make_transcriber(settings.transcriber, settings.transcriber_options)
    findings = asyncio.run(check_system(spec, deadline_s=deadline_s, keep=keep, listens=transcriber.needs_audio))
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    wrong = [finding for finding in findings if finding.level == "wrong"]
    sys.stdout.write(
        f"\n{system}: {len(wrong)} things to mend.\n" if wrong else f"\n{system}: ready to be benchmarked.\n"
    )
    return 1 if wrong else 0

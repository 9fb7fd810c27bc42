"""What the verbs of the command line do, beyond calling another room: printing for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interbench.base import termination
from interbench.base.errors import CapReachedError, FruitlessError, StrandedError, SystemFailedError
from interbench.base.loops import run_to_end
from interbench.cli.costs import gpu_lines, spending_lines
from interbench.cli.judge_words import judge_lines, spoken_rate
from interbench.cli.results import make_report, print_table
from interbench.domain.records import REMEDIES
from interbench.media.pool import MediaPool
from interbench.pipeline.plan import Plan
from interbench.pipeline.portraits import check_portraits
from interbench.pipeline.run import Stage, execute
from interbench.pipeline.summary import Summary
from interbench.report.grid import visible
from interbench.report.notes import counted

if TYPE_CHECKING:
    from interbench.asr.base import Transcriber
    from interbench.judge.base import Judge
    from interbench.pipeline.findings import Finding


def carry_out(plan: Plan, stages: Sequence[Stage], *, quiet: bool) -> Summary:
    """Run the stages with the plan's own transcriber and judge, showing how far they are."""
    from interbench.asr.registry import make_transcriber
    from interbench.base.progress import make_progress
    from interbench.judge.registry import make_judge

    settings = plan.settings
    sys.stderr.writelines(f"{line}\n" for line in plan.left_out)
    transcriber = make_transcriber(settings.transcriber, settings.transcriber_options)
    judge = make_judge(settings.judge_name, settings.judge_options, settings.repeats)
    with make_progress(quiet=quiet) as progress:
        return run_to_end(execute(plan, transcriber=transcriber, judge=judge, progress=progress, stages=stages))


def execute_and_report(plan: Plan, stages: tuple[Stage, ...], *, quiet: bool, strict: bool = False) -> None:
    """Run the stages; after judging, write the report and print the table.

    Raises:
        CapReachedError: a cap left turns unplayed.
        SystemFailedError: ``strict``, and a system has completed none of the turns that were played with it.
        FruitlessError: nothing came of it.
    """
    folder = plan.settings.out
    summary = carry_out(plan, stages, quiet=quiet)
    index = None
    if "judge" in stages:
        # Before anything is printed: a terminal may go away, or not take what is said.
        index = folder / "report" / "index.html"
        if summary.did_something or not index.exists():
            index = make_report(folder, None, portable=False, judge=None)
    for line in closing_lines(summary):
        sys.stderr.write(line + "\n")
    if index is not None:
        print_table([folder], form="terminal", precision=2, intervals=True)
        sys.stdout.write(f"\nReport: {index}\n")
    if summary.cap:
        raise CapReachedError(summary.cap)
    if summary.stranded:
        raise StrandedError(summary.stranded)
    if strict and summary.all_failed:
        raise SystemFailedError(
            f"No turn was completed by {', '.join(summary.all_failed)}; the lines above and the report say why. Mend "
            f"it and play these turns again with --retry failed,timed_out."
        )
    if why := summary.fruitless:
        raise FruitlessError(why)


_NOTICES = 12
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
        if at := first.detail.get("raised_at"):
            kept = f"; whole traceback in the run folder's {first.detail.get('traceback', 'ledger')}"
            lines.append(visible(f"    raised at {at}{kept}"))
    shown = list(summary.notices.items())[:_NOTICES]
    lines += [visible(f"  {system}: {' '.join(notice.split())[:_TOLD]}, {count}×") for (system, notice), count in shown]
    if more := len(summary.notices) - len(shown):
        lines.append(f"  and {more} more notices; see the report")
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
        lines += [remedy for reason, remedy in REMEDIES.items() if summary.missing[reason]]
        if summary.seconds:
            lines.append(spoken_rate(summary.verdicts, summary.seconds))
    if summary.unplayed:
        lines.append(f"not judged: {summary.unplayed} conversations are not played to their end; run drive again")
    if summary.spent:
        lines.append(f"cost: {summary.spent}")
    return lines + judge_lines(summary.judge)


def print_plan(plan: Plan) -> None:
    """What a run would do, and what it would cost where that is known."""
    from interbench.asr.registry import make_transcriber
    from interbench.judge.registry import make_judge
    from interbench.store.belonging import require_ledger
    from interbench.store.manifest import read_manifest
    from interbench.store.run_folder import Run

    settings = plan.settings
    # They refuse what the run would refuse.
    transcriber = make_transcriber(settings.transcriber, settings.transcriber_options)
    judge = make_judge(settings.judge_name, settings.judge_options, settings.repeats)
    turns = sum(len(planned.scenario.turns) for planned in plan.planned_scenarios)
    lines = [
        f"run folder   {settings.out}",
        f"scenarios    {len(plan.planned_scenarios)} ({turns} turns)"
        + (f", shard {settings.shard} of {len(plan.sharding.scenarios)}" if plan.sharding else ""),
        f"systems      {len(plan.systems)}: {', '.join(spec.label for spec in plan.systems)}",
        f"clips        {plan.clips}",
        f"transcriber  {settings.transcriber}"
        + (f": {transcriber.label}" if settings.transcriber != transcriber.label else ""),
        f"judge        {settings.judge}, {plan.verdicts(judge)} judge calls ({settings.repeats} per dimension)",
    ]
    require_ledger(settings.out)
    if (settings.out / "ledger.sqlite").exists():
        with Run(settings.out, write=False) as run:
            labels = {spec.label for spec in plan.systems}
            ids = {planned.scenario.id for planned in plan.planned_scenarios}
            held = sum(1 for e in run.exchanges() if e.system in labels and e.scenario in ids)
            current = (read_manifest(run.manifest_path) or {}).get("judge")
            verdicts = run.verdicts(current) if current else []
            judged = sum(1 for _, v in verdicts if v.system in labels and v.scenario in ids)
        lines.append(f"already done {held} clips, {judged} verdicts by the run's last judge")
    lines += [f"             {line}" for line in plan.left_out]
    lines += spending_lines(plan)
    lines += gpu_lines(plan)
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    run_to_end(_ask_whether_ready(plan, transcriber, judge))
    seen = "portraits" if settings.cluster else "portraits, transcriber and judge"
    sys.stdout.write(f"ready        {seen}\n")


async def _ask_whether_ready(plan: Plan, transcriber: Transcriber, judge: Judge) -> None:
    """Find now what a run would find in its first minute: portraits, models and servers; raises as a run would."""
    async with MediaPool() as media:
        await check_portraits(plan.planned_scenarios, media)
    if plan.settings.cluster is not None:
        # Models and servers are the nodes'; `interbench cluster check` looks at these.
        return
    await transcriber.check()
    try:
        await judge.start()
    finally:
        await judge.stop()


def print_judging(plan: Plan, conversations: int) -> None:
    """What judging a played run would do.

    Args:
        conversations: conversations of the run, chosen or not.
    """
    from interbench.asr.registry import make_transcriber
    from interbench.judge.registry import make_judge
    from interbench.store.manifest import read_manifest
    from interbench.store.run_folder import Run

    settings = plan.settings
    transcriber = make_transcriber(settings.transcriber, settings.transcriber_options)
    judge = make_judge(settings.judge_name, settings.judge_options, settings.repeats)
    ids = plan.scenario_ids
    with Run(settings.out, write=False) as run:
        exchanges = [e for e in run.exchanges() if e.system in plan.labels and e.scenario in ids]
        current = (read_manifest(run.manifest_path) or {}).get("judge")
        judged = sum(v.scenario in ids for _, v in run.verdicts(current)) if current else 0
    broken = {(e.system, e.scenario) for e in exchanges if not e.completed}
    heard = f": {transcriber.label}" if settings.transcriber != transcriber.label else ""
    chosen = len(plan.systems) * len(plan.planned_scenarios)
    lines = [
        f"run folder     {settings.out}",
        f"conversations  {chosen} of {conversations}, {len(broken)} of them with a turn that was not completed",
        f"transcriber    {settings.transcriber}{heard}",
        f"judge          {settings.judge}, {plan.verdicts(judge)} verdicts ({settings.repeats} per dimension)",
        f"already given  {judged} by the run's last judge",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    run_to_end(_ask_whether_ready(plan, transcriber, judge))
    sys.stdout.write("ready          transcriber and judge\n")


def print_judge_check(judge: str, config: Path | None, options: Iterable[str], key: str | None) -> int:
    """Check a judge and print what was found; the exit status."""
    import typer

    from interbench.judge.registry import make_judge
    from interbench.pipeline.config import load_settings
    from interbench.pipeline.judge_check import check_judge
    from interbench.pipeline.set_options import with_options

    settings = with_options(load_settings({"judge": judge}, config), options)
    made = make_judge(settings.judge_name, settings.judge_options, settings.repeats)
    made.tell = lambda line: typer.echo(line, err=True)
    return conclude(judge, termination.run(check_judge(made, key)), "ready to judge")


def conclude(name: str, findings: Sequence[Finding], fine: str) -> int:
    """Print findings and what they come to; the exit status."""
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    wrong = sum(finding.level == "wrong" for finding in findings)
    sys.stdout.write(f"\n{name}: {counted(wrong, 'thing')} to mend.\n" if wrong else f"\n{name}: {fine}.\n")
    return 1 if wrong else 0


def print_defects(source: str, personas: Path | None) -> int:
    """Print every defect of a scenario set; the exit status."""
    from interbench.scenarios.sets import load_set, validate_set

    defects = validate_set(source, personas=personas)
    for defect in defects:
        sys.stdout.write(f"{defect}\n")
    errors = [defect for defect in defects if defect.level == "error"]
    if errors:
        sys.stderr.write(f"interbench: {counted(len(errors), 'defect')} in {source}.\n")
        return 1
    found = load_set(source, personas=personas)
    turns = sum(len(scenario.turns) for scenario in found.scenarios)
    warnings = f", {counted(len(defects), 'warning')}" if defects else ""
    scenarios = counted(len(found.scenarios), "scenario")
    sys.stdout.write(f"{source}: {scenarios}, {counted(turns, 'turn')}, no defects{warnings}.\n")
    return 0


def print_conformance(
    system: str,
    config: Path | None,
    options: Iterable[str],
    deadline_s: float,
    keep: Path | None,
    transcriber: str | None,
) -> int:
    """Check an adapter and print what was found; the exit status."""
    from interbench.asr.registry import make_transcriber
    from interbench.pipeline.config import load_settings
    from interbench.pipeline.conformance import check_system
    from interbench.pipeline.set_options import with_options
    from interbench.systems.registry import SystemSpec

    settings = with_options(load_settings({"systems": [system], "transcriber": transcriber}, config), options)
    spec = SystemSpec.parse(system, settings.system)
    made = make_transcriber(settings.transcriber, settings.transcriber_options)
    # Loading a recogniser takes its time: the one that `auto` stands for is not loaded unasked.
    ear = made if made.needs_audio and settings.transcriber != "auto" else None
    findings = termination.run(
        check_system(spec, deadline_s=deadline_s, keep=keep, listens=made.needs_audio, transcriber=ear)
    )
    return conclude(system, findings, "ready to be benchmarked")

"""What the verb ``single`` does and prints."""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from interbench.base import termination
from interbench.base.errors import UsageError
from interbench.base.progress import make_progress
from interbench.report.notes import counted

if TYPE_CHECKING:
    from interbench.single.measure import Choice, SingleTable

T = TypeVar("T")
OUT = Path("runs/single")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for beside the clips."""

    metrics: list[str] | None
    options: tuple[str, ...]
    form: str
    published: bool
    seed: int
    out: Path | None
    quiet: bool

    @property
    def folder(self) -> Path:
        return self.out or OUT


def choose(names: Iterable[str], options: Iterable[str]) -> tuple[list[Choice], dict[str, dict[str, Any]]]:
    """Metrics by name with their options, and the options of whatever else was named.

    Raises:
        UsageError: a metric or an option of one is unknown or wrong.
    """
    from interbench.single.measure import Choice
    from interbench.single.registry import METRICS

    of: dict[str, dict[str, str]] = {}
    for text in options:
        name, dot, rest = text.partition(".")
        option, equals, value = rest.partition("=")
        if not (dot and equals and name and option):
            raise UsageError(f"--set takes NAME.OPTION=VALUE, not {text!r}.")
        of.setdefault(name, {})[option] = value
    choices = []
    for name in dict.fromkeys(names):
        found = METRICS.find(name)
        known = METRICS.options(found)
        told = {key: known.read(key, value) for key, value in of.pop(name, {}).items()}
        METRICS.prepare(found, told)
        choices.append(Choice(name, told))
    return choices, {name: dict(values) for name, values in of.items()}


def measure_clips(asked: Asked, clips: Path, reference: Path | None) -> None:
    """Measure folders of clips, and print the table."""
    from interbench.single.folders import measure_folders
    from interbench.single.registry import DEFAULT

    choices, left = choose(asked.metrics or DEFAULT, asked.options)
    if left:
        raise UsageError(f"There are options for {next(iter(left))!r}, which is none of the metrics.")
    with make_progress(quiet=asked.quiet) as progress:
        table = _run(measure_folders(clips, reference, choices, asked.folder, progress, seed=asked.seed))
    show(table, asked)


def measure_systems(
    asked: Asked,
    data: Path,
    systems: Sequence[str],
    *,
    count: int,
    duration: float,
    size: int,
    warm_ups: int,
    runs: int,
    deadline_s: float,
    concurrency: int,
) -> None:
    """Give systems conditions drawn from ``data``, measure what they make of them, and print the table."""
    from interbench.pipeline.set_options import system_options
    from interbench.single.data import Draw
    from interbench.single.play import Player
    from interbench.single.registry import DEFAULT, SPEED
    from interbench.single.study import Study, conduct
    from interbench.systems.registry import SystemSpec

    if not systems:
        raise UsageError("There is no system to measure; name at least one with --systems (`interbench list systems`).")
    names = asked.metrics or [*DEFAULT, SPEED]
    specs = {spec.label: spec for spec in map(SystemSpec.parse, systems)}
    if len(specs) < len(systems):
        raise UsageError("A system is named twice; give one of them another label: other=name.")
    of_systems = [text for text in asked.options if text.partition(".")[0] in specs]
    of_metrics = [text for text in asked.options if text not in of_systems]
    choices, left = choose([name for name in names if name != SPEED], of_metrics)
    if left:
        raise UsageError(f"There are options for {next(iter(left))!r}, which is neither a metric nor a system here.")
    specs = {spec.label: spec for spec in (one.with_model() for one in system_options(specs, of_systems).values())}
    study = Study(
        data,
        asked.folder,
        Draw(count, duration, size, asked.seed),
        [Player(label, spec, spec.factory()) for label, spec in specs.items()],
        choices,
        speed=SPEED in names,
        warm_ups=warm_ups,
        runs=runs,
        deadline_s=deadline_s,
        concurrency=concurrency,
    )
    with make_progress(quiet=asked.quiet) as progress:
        table = _run(conduct(study, progress))
    show(table, asked)


def measure_conversations(asked: Asked, run: Path) -> None:
    """Measure lips and sound of a run's conversations, print the table, and leave it for the run's report."""
    from interbench.single.conversation_file import FOLDER
    from interbench.single.conversations import measure_run, write_conversations

    asked = replace(asked, out=asked.out or run / FOLDER)
    choices, left = choose(asked.metrics or ("sync", "lips"), asked.options)
    if left:
        raise UsageError(f"There are options for {next(iter(left))!r}, which is none of the metrics.")
    with make_progress(quiet=asked.quiet) as progress:
        table, conversations = _run(measure_run(run, choices, asked.folder, progress, seed=asked.seed))
    write_conversations(asked.folder, table, conversations)
    show(table, asked)


def show(table: SingleTable, asked: Asked) -> None:
    """Print the table, and leave it with every value in the folder."""
    from interbench.report.single_table import clips_csv, render_single, render_single_rich

    files: Mapping[str, str] = {
        "table.md": render_single(table, "md", published=asked.published),
        "table.tex": render_single(table, "latex", published=asked.published),
        "table.csv": render_single(table, "csv", published=asked.published),
        "table.json": render_single(table, "json", published=asked.published),
        "clips.csv": clips_csv(table),
    }
    for name, text in files.items():
        (asked.folder / name).write_text(text, encoding="utf-8", newline="")
    if asked.form == "terminal":
        from rich.console import Console

        console = Console()
        console.print(render_single_rich(table, published=asked.published, width=console.width))
    else:
        sys.stdout.write(render_single(table, asked.form, published=asked.published))


def fetch_weights(asked: Asked) -> int:
    """Fetch what the metrics need; the exit status is 1 if something is not there afterwards."""
    from interbench.single.weights import OF_METRIC, fetch, weights_folder

    names = asked.metrics or list(OF_METRIC)
    if unknown := [name for name in names if name not in OF_METRIC]:
        raise UsageError(f"{unknown[0]!r} has no weights; those that have: {', '.join(OF_METRIC)}.")
    wanted = tuple(dict.fromkeys(weights for name in names for weights in OF_METRIC[name]))
    sys.stdout.write(f"Into {weights_folder()}:\n")
    done = fetch(wanted, lambda line: print(line, file=sys.stdout))  # noqa: T201 - what a long fetch is at
    for one in done:
        sys.stdout.write(f"{'ok     ' if one.good else 'MISSING'} {one.file.name}: {one.outcome}\n")
    return 0 if all(one.good for one in done) else 1


def _run(work: Coroutine[Any, Any, T]) -> T:
    return termination.run(work)


def print_trial(
    out: Path | None, metrics: list[str] | None, clips: int, seconds: float, seed: int, *, quiet: bool
) -> int:
    """The table of clips with planted defects, what had to hold of them, and the exit status."""
    from interbench.single.planted import METRICS, conduct_trial

    if unknown := [name for name in metrics or () if name not in METRICS]:
        raise UsageError(f"{unknown[0]!r} is not on trial here; these are: {', '.join(METRICS)}.")
    asked = Asked(metrics, (), "terminal", False, seed, out or Path("runs/planted"), quiet)
    with make_progress(quiet=quiet) as progress:
        work = conduct_trial(asked.folder, metrics or METRICS, progress, clips=clips, seconds=seconds, seed=seed)
        trial = _run(work)
    show(trial.table, asked)
    words = {True: "holds", False: "FAILS", None: "-----"}
    for claim in trial.claims:
        sys.stdout.write(f"{words[claim.held]} {claim.text} ({claim.why})\n")
    failed = sum(claim.held is False for claim in trial.claims)
    held = sum(claim.held is True for claim in trial.claims)
    sys.stdout.write(f"{held} hold, {failed} fail, {len(trial.claims) - held - failed} not claimed\n")
    return 1 if failed or not held else 0


def print_parity(folder: Path) -> int:
    """A row per case as soon as it is known, and the exit status."""
    from interbench.single.parity import check

    cases = []
    for case in check(folder):
        if case.passed:
            said = f"ok      {case.name}: {case.difference:.2g} of {case.tolerance:g}"
        elif case.difference is None:
            said = f"NOT RUN {case.name}: {case.because}"
        else:
            said = f"FAILED  {case.name}: {case.difference:.2g}, and {case.tolerance:g} is allowed"
        sys.stdout.write(said + "\n")
        sys.stdout.flush()
        cases.append(case)
    failed = sum(case.difference is not None and not case.passed for case in cases)
    left = sum(case.difference is None for case in cases)
    passed = len(cases) - failed - left
    sys.stdout.write(f"{counted(len(cases), 'case')}: {passed} ok, {failed} failed, {left} not run\n")
    return 1 if failed or left or not cases else 0

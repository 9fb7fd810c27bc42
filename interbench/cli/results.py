"""What the verbs ``table``, ``scores`` and ``report`` do."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from interbench.base.errors import UsageError

if TYPE_CHECKING:
    import rich.console

    from interbench.report.breakdown import By
    from interbench.report.collect import RunRecords
    from interbench.report.tables import Format, Table, View
    from interbench.stats import ReferencePool


@dataclass(frozen=True, slots=True)
class _Pooling:
    """How scores are pooled."""

    reference: ReferencePool | None
    judge: str | None
    seed: int
    intervals: bool
    published: bool


def print_table(
    sources: Sequence[str | Path],
    *,
    form: str,
    precision: int = 2,
    intervals: bool = True,
    means: bool = False,
    all_columns: bool = False,
    dimensions: Sequence[str] | None = None,
    by: str | None = None,
    compare: Sequence[str] | None = None,
    reference: Path | None = None,
    write_reference: Path | None = None,
    judge: str | None = None,
    seed: int = 0,
    published: bool = False,
    humans: bool = False,
    audit: Path | None = None,
) -> None:
    """Print the table of run folders or CSV files, the comparison of two systems, or the table apart by kind of
    scenario."""
    from interbench.report.tables import View, render, render_rich
    from interbench.stats import ReferencePool

    view = View(precision, intervals, means, all_columns, None if dimensions is None else tuple(dimensions))
    frozen = None if reference is None else ReferencePool.read(reference)
    pooling = _Pooling(frozen, judge, seed, intervals, published)
    if humans and (compare is not None or by is not None):
        raise UsageError("--humans adds rows to the whole table; ask for it without --compare and --by.")
    if compare is not None:
        if by is not None or means:
            raise UsageError("--compare prints a table of its own; ask for it without --by and --means.")
        _print_comparison(sources, compare, form, view, pooling)
        return
    runs = _runs(sources, judge)
    _say_what_is_missing(form, runs)
    table = _table(sources, runs, pooling)
    if humans:
        table = _with_people(table, runs, seed)
    if runs is not None:
        table = _with_audit(table, audit)
    elif audit is not None:
        raise UsageError("--audit needs run folders: a CSV does not say who judged, and in which settings.")
    if write_reference is not None:
        table.to_reference().write(write_reference)
        sys.stderr.write(f"{write_reference}: the pool, to be given as --reference.\n")
    if by is None:
        _print(form, lambda format_: render(table, format_, view), lambda width: render_rich(table, view, width=width))
        return
    if runs is None:
        raise UsageError("--by needs run folders: a CSV says of no scenario what kind it is.")
    from interbench.report.breakdown import render_breakdown, render_breakdown_rich
    from interbench.report.collect import collect_breakdown

    parts = collect_breakdown(runs, table, cast("By", by))
    _print(
        form,
        lambda format_: render_breakdown(parts, format_, view),
        lambda width: render_breakdown_rich(parts, view, width=width),
    )


def _with_audit(table: Table, audit: Path | None) -> Table:
    """With what an audit of the same judge says of its columns, or that there is none."""
    from interbench.report.audit_table import footnotes, unaudited

    if audit is None:
        return replace(table, footnotes=unaudited(table.judge))
    from interbench.audit.collect import collect
    from interbench.domain.catalogue import bundled

    return replace(table, footnotes=footnotes(collect(audit, bundled()), table.judge, table.measured))


def write_scores(sources: Sequence[str | Path], out: Path | None, judge: str | None) -> None:
    """Write the raw scores of run folders as CSV, to ``out`` or to standard output."""
    from interbench.report.notes import counted
    from interbench.report.scores_file import scores_csv
    from interbench.report.sources import parse_sources, read_runs

    text = scores_csv(read_runs(parse_sources([str(source) for source in sources]), judge))
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} can't be written: {error.strerror or error}.") from error
    rows = sum(1 for _ in csv.reader(io.StringIO(text))) - 1
    sys.stdout.write(f"{out}: {counted(rows, 'row')} of scores.\n")


def print_items(
    sources: Sequence[str | Path],
    *,
    form: str,
    dimensions: Sequence[str] | None = None,
    apart: bool = False,
    judge: str | None = None,
) -> None:
    """Print how single scenarios work over the systems of run folders or CSV files."""
    from interbench.domain.dimensions import dimension
    from interbench.report.collect import collect_scores
    from interbench.report.items import render_items, render_items_rich
    from interbench.stats import read_scores
    from interbench.stats.items import items

    keys = None if dimensions is None else [dimension(key).key for key in dimensions]
    runs = _runs(sources, judge)
    if runs is not None:
        scores, _, label = collect_scores(runs)
    else:
        scores, label = read_scores([Path(source) for source in sources]), None
    found = items(scores, keys)
    _print(
        form,
        lambda format_: render_items(found, label, format_, apart=apart),
        lambda width: render_items_rich(found, label, apart=apart, width=width),
    )


def load_table(sources: Sequence[str | Path]) -> Table:
    """The table of run folders or CSV files, with intervals."""
    return _table(sources, _runs(sources, None), _Pooling(None, None, 0, intervals=True, published=False))


def _say_what_is_missing(form: str, runs: Sequence[RunRecords] | None) -> None:
    """Above tables for people; the other forms carry it among their notes."""
    from interbench.report.collect import shard_notes

    lines = [f"{run.name}: {note}" for run in runs or () for note in shard_notes(run)]
    if lines and form in ("terminal", "md"):
        sys.stdout.write("\n".join(lines) + "\n\n")


def _print(
    form: str, text: Callable[[Format], str], for_terminal: Callable[[int], rich.console.RenderableType]
) -> None:
    if form == "terminal":
        from rich.console import Console

        console = Console()
        console.print(for_terminal(console.width))
    else:
        sys.stdout.write(text(cast("Format", form)))


def _runs(sources: Sequence[str | Path], judge: str | None) -> list[RunRecords] | None:
    """The run folders; None if the sources are CSV files. Never both, because a CSV does not say who judged."""
    from interbench.report.sources import parse_sources, read_runs

    parsed = parse_sources([str(source) for source in sources])
    folders = [source for source in parsed if source.path.is_dir()]
    if wrong := [source.path for source in parsed if source.label and source not in folders]:
        raise UsageError(f"{wrong[0]} is no run folder, and only run folders take labels. Check the path.")
    if folders and len(folders) < len(parsed):
        missing = next(source.path for source in parsed if source not in folders)
        if not missing.exists():
            raise UsageError(f"There is no {missing}.")
        raise UsageError(
            "Give run folders or CSV files, not both: a CSV does not say who judged, and no table mixes two judges."
        )
    return read_runs(folders, judge) if folders else None


def _table(sources: Sequence[str | Path], runs: Sequence[RunRecords] | None, pooling: _Pooling) -> Table:
    from interbench.report.collect import collect_table
    from interbench.report.tables import table_from_csv

    if runs is None:
        return table_from_csv(
            [Path(source) for source in sources],
            reference=pooling.reference,
            intervals=pooling.intervals,
            seed=pooling.seed,
            published=pooling.published,
        )
    return collect_table(
        runs,
        reference=pooling.reference,
        intervals=pooling.intervals,
        seed=pooling.seed,
        published=pooling.published,
    )


def _with_people(table: Table, runs: Sequence[RunRecords] | None, seed: int) -> Table:
    """The table with rows of what people rated."""
    if runs is None or len(runs) != 1:
        raise UsageError("--humans needs one run folder: the ratings of people lie in it.")
    from interbench.rating.results import read_ratings
    from interbench.report.columns import columns_of
    from interbench.report.people import people_note, people_table

    said = read_ratings(runs[0].path)
    theirs = people_table(said, seed)
    if theirs is None:
        raise UsageError(f"Nobody has rated a conversation of {runs[0].path} yet; see interbench rate --status.")
    label = runs[0].label
    rows = tuple(replace(row, system=f"{label}/{row.system}") for row in theirs.rows) if label else theirs.rows
    # The judge may have measured other things than people rate.
    columns = columns_of({of.key for of in (*table.dimensions, *theirs.dimensions)})
    return replace(table, people=rows, columns=columns, caveats=(*table.caveats, people_note(said)))


def _print_comparison(
    sources: Sequence[str | Path], pair: Sequence[str], form: str, view: View, pooling: _Pooling
) -> None:
    from interbench.report.collect import collect_scores, with_lines
    from interbench.report.comparisons import render_comparison, render_comparison_rich
    from interbench.stats import compare, read_scores

    if len(pair) != 2:
        raise UsageError("--compare takes two systems, comma-separated: --compare puppet,puppet:drift.")
    runs = _runs(sources, pooling.judge)
    if runs is not None:
        scores, _, label = collect_scores(runs)
    else:
        scores, label = read_scores([Path(source) for source in sources]), None
    comparison = compare(scores, pair[0], pair[1], judge=label, reference=pooling.reference, seed=pooling.seed)
    if runs is not None:
        comparison = with_lines(runs, comparison)
    if not any(row.scenarios for row in comparison.dimensions):
        raise UsageError(f"{pair[0]} and {pair[1]} can't be compared: no scenario is scored for both.")
    _print(
        form,
        lambda format_: render_comparison(comparison, format_, view),
        lambda width: render_comparison_rich(comparison, view, width=width),
    )


def make_report(
    sources: Path | Sequence[str | Path],
    out: Path | None,
    *,
    portable: bool = False,
    zipped: bool = False,
    single_page: bool = False,
    judge: str | None = None,
    title: str | None = None,
    audit: Path | None = None,
) -> Path:
    """Write the HTML report of one or several runs; gives its index page, its archive or its single page."""
    from interbench.report.collect import collect_report, collect_table
    from interbench.report.html import write_archive, write_page, write_report
    from interbench.report.joint import collect_joint_report
    from interbench.report.sources import parse_sources, read_runs

    if zipped and single_page:
        raise UsageError("--zip and --single-page are two ways to mail a report; ask for one of them.")
    parsed = parse_sources([str(source) for source in ([sources] if isinstance(sources, Path) else sources)])
    if len(parsed) > 1 and out is None:
        raise UsageError("Say with --out where the report of several runs goes.")
    runs = read_runs(parsed, judge)
    table = _with_audit(collect_table(runs), audit)
    data = collect_report(runs[0], table) if len(runs) == 1 else collect_joint_report(runs, table)
    if title:
        data = replace(data, title=title)
    root = runs[0].path
    if single_page:
        return write_page(data, out or root / "report.html")
    if zipped:
        return write_archive(data, out or root / "report.zip", media_root=root)
    return write_report(data, out or root / "report", media_root=root, portable=portable)

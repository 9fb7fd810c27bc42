"""The table once more, apart by what kind of scenario it was: by category, persona, tier or stressed dimension."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from interbench.base.errors import UsageError
from interbench.report.columns import Column, shown_columns
from interbench.report.grid import Cell, Grid, to_latex, to_markdown
from interbench.report.notes import counted, who_judged
from interbench.report.rows import Row, Speed
from interbench.report.tables import FORMATS, PLAIN, Format, Table, View, build_table, csv_rows, csv_text, json_systems
from interbench.report.terminal import to_rich
from interbench.stats import Expected, Scores

if TYPE_CHECKING:
    import rich.console

By = Literal["category", "persona", "tier", "stressed"]
BYS: tuple[By, ...] = get_args(By)
REPORTED_BYS: tuple[By, ...] = ("category", "persona", "tier")
"""Of these a report has a section; a scenario may stress several dimensions, which only the table can show."""
SCHEMA = "interbench.breakdown/1"


@dataclass(frozen=True)
class Breakdown:
    """One table per kind of scenario, all in the pool of the whole table."""

    by: By
    parts: Mapping[str, Table]
    """By name of the kind, in order of first appearance."""
    scenarios: Mapping[str, int]
    """Planned of each kind."""
    whole: Table


def break_down(
    by: By,
    kinds: Mapping[str, Sequence[str]],
    table: Table,
    scores: Scores,
    expected: Expected,
    speeds: Mapping[str, Mapping[str, Speed]],
) -> Breakdown:
    """Set apart the scenarios of ``table`` by their ``kinds`` (name of a kind to ids of its scenarios).

    Percentiles stay relative to the table's pool, so that kinds can be compared; intervals are a bootstrap
    over the scenarios of the kind, with that pool held fixed. ``speeds`` are by kind and system.
    """
    reference = table.to_reference() if table.pool.moments else None
    resampling = table.resampling

    def part(kind: str, scenarios: Sequence[str]) -> Table:
        within = set(scenarios)
        plan = {name: [s for s in planned if s in within] for name, planned in expected.scenarios.items()}
        return build_table(
            scores.only(within),
            expected=Expected(plan, expected.dimensions),
            speeds=speeds.get(kind),
            judge=table.judge,
            reference=reference,
            intervals=resampling is not None,
            replicates=resampling.replicates if resampling else None,
            seed=resampling.seed if resampling else 0,
        )

    return Breakdown(
        by,
        {kind: part(kind, scenarios) for kind, scenarios in kinds.items()},
        {kind: len(scenarios) for kind, scenarios in kinds.items()},
        table,
    )


def render_breakdown(breakdown: Breakdown, format: Format, view: View = PLAIN) -> str:  # noqa: A002
    """As text that ends in a newline; ``csv`` and ``json`` whole and in full precision.

    Raises :class:`~interbench.base.errors.UsageError` for an unknown format.
    """
    match format:
        case "csv":
            return breakdown_csv(breakdown)
        case "json":
            return json.dumps(_json(breakdown), indent=2, allow_nan=False) + "\n"
        case "md":
            return to_markdown(_grid(breakdown, view))
        case "latex":
            return to_latex(_grid(breakdown, view), f"tab:interbench-{breakdown.by}")
        case _:
            raise UsageError(f"{format!r} is not a format of tables; choose one of {', '.join(FORMATS)}.")


def render_breakdown_rich(
    breakdown: Breakdown, view: View = PLAIN, *, width: int | None = None
) -> rich.console.RenderableType:
    """For a terminal of ``width`` columns."""
    return to_rich(_grid(breakdown, view), width)


def breakdown_csv(breakdown: Breakdown) -> str:
    """The columns of the table's CSV, with the kind of scenario before them."""
    header, *_ = csv_rows(breakdown.whole)
    rows = [[breakdown.by, *header]]
    for kind, part in breakdown.parts.items():
        rows += [[kind, *row] for row in csv_rows(part)[1:]]
    return csv_text(rows)


def _json(breakdown: Breakdown) -> dict[str, Any]:
    whole = breakdown.whole
    return {
        "schema": SCHEMA,
        "by": breakdown.by,
        "judge": whole.judge.model_dump() if whole.judge else None,
        "pool": {"systems": list(whole.pool.systems), "scenarios": list(whole.pool.scenarios)},
        "parts": {
            kind: {"scenarios": breakdown.scenarios[kind], "systems": json_systems(part)}
            for kind, part in breakdown.parts.items()
        },
    }


def _grid(breakdown: Breakdown, view: View) -> Grid:
    rows = [row for part in breakdown.parts.values() for row in part.rows]
    columns: Sequence[Column] = shown_columns(
        [column for column in breakdown.whole.columns if column.key not in ("rank", "scored")],
        rows,
        dimensions=view.dimensions,
        everything=view.all_columns,
    )
    if view.means:
        columns = [column.on_judges_scale for column in columns]

    def aside(column: Column, row: Row) -> str:
        ends = column.interval(row) if view.intervals else None
        return "" if ends is None else f"[{view.number(ends[0])}, {view.number(ends[1])}]"

    def section(kind: str, part: Table) -> tuple[tuple[Cell, ...], ...]:
        marks = {column.key: column.marks(part.rows) for column in columns}
        return tuple(
            (
                Cell(kind),
                Cell(row.system),
                *(Cell(c.shown(row, view.number), marks[c.key][index], aside(c, row)) for c in columns),
                Cell(str(breakdown.scenarios[kind])),
            )
            for index, row in enumerate(part.rows)
        )

    whole = breakdown.whole
    scale = "Raw means on the judge's scale" if view.means else "Percentiles in the pool of all scenarios"
    notes = (
        f"{scale}, apart by {breakdown.by}; intervals over the scenarios of each, with that pool held fixed.",
        f"The pool holds {counted(len(whole.pool.systems), 'system')} on "
        f"{counted(len(whole.pool.scenarios), 'scenario')}.",
        *whole.caveats,
        who_judged(whole.judge),
    )
    header = (breakdown.by.capitalize(), "System", *(column.heading for column in columns), "Scenarios")
    return Grid(header, tuple(section(kind, part) for kind, part in breakdown.parts.items()), notes)

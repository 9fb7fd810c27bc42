"""The result table in the shape of the paper's Table 2: a row per system, the speed columns, the dimensions.

Figures are computed by :mod:`interbench.stats`; here they are put side by side and written as Markdown, CSV, LaTeX,
JSON or for the terminal, a column per entry of :data:`interbench.report.columns.COLUMNS`. ``docs/statistics.md``
documents the JSON.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from interbench.base.errors import UsageError
from interbench.domain.dimensions import Dimension, dimension
from interbench.domain.published import PUBLISHED
from interbench.report.columns import COLUMNS, TOLD, Column, columns_of, shown_columns
from interbench.report.grid import Cell, Grid, Mark, decimal, to_latex, to_markdown
from interbench.report.notes import notes, quoted_note, why_apart
from interbench.report.rows import NO_FIGURE, NO_SPEED, Figure, Row, Speed, quoted
from interbench.report.sheet import SheetWriter
from interbench.report.terminal import to_rich
from interbench.stats import (
    KEYS,
    LEVEL,
    Correlations,
    Expected,
    JudgeLabel,
    Pool,
    ReferencePool,
    Repeats,
    Scores,
    bootstrap_means,
    choose_replicates,
    interval,
    make_pool,
    mean_of_dimensions,
    measure_correlations,
    measure_coverage,
    measure_repeats,
    percentiles,
    ranks,
    read_planned_scores,
    system_means,
)

if TYPE_CHECKING:
    import rich.console

Format = Literal["md", "csv", "latex", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
SCHEMA = "interbench.table/1"


@dataclass(frozen=True, slots=True)
class Resampling:
    """How the intervals were made."""

    replicates: int
    seed: int


@dataclass(frozen=True)
class Table:
    """Everything a rendering needs."""

    rows: tuple[Row, ...]
    pool: Pool
    """What the percentiles are relative to."""
    judge: JudgeLabel | None
    """None if the scores came without the name of their judge."""
    reference: ReferencePool | None
    """The frozen pool, if one was given; ``pool`` is then its."""
    resampling: Resampling | None
    """None if no intervals were asked for."""
    published: tuple[Row, ...]
    """Quoted; neither pooled nor marked."""
    why_apart: str = ""
    """Why they stand in a table of their own; empty where they stand beneath the measured ones."""
    caveats: tuple[str, ...] = ()
    """What a reader has to know of single systems, a sentence each."""
    repeats: Mapping[str, Repeats] = field(default_factory=dict)
    """By key of the dimension, where conversations were judged repeatedly."""
    correlations: Correlations | None = None
    """Between the dimensions, where there are enough conversations."""
    columns: tuple[Column, ...] = COLUMNS
    people: tuple[Row, ...] = ()
    """What people rated, beneath the judge's; pooled among themselves."""
    footnotes: tuple[str, ...] = ()
    """What an audit of its judge says of the columns."""

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Those in which scores are expected: the dimensions, the measures, or both."""
        return tuple(dimension(column.key) for column in self.columns if column.section == "dimensions")

    @property
    def measured(self) -> tuple[str, ...]:
        """Keys of the dimensions in which anybody is scored."""
        return tuple(key for key in KEYS if any(row.figure(key).percentile is not None for row in self.rows))

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns with a value."""
        return shown_columns(self.columns, (*self.rows, *self.people, *self.beneath))

    @property
    def beneath(self) -> tuple[Row, ...]:
        """The quoted rows that stand beneath the measured ones."""
        return () if self.why_apart else self.published

    def to_reference(self) -> ReferencePool:
        """This table's pool as a file to be; the same reference again if one was used."""
        return self.reference or ReferencePool.from_pool(self.pool, self.judge)


def table_from_csv(
    paths: Sequence[Path],
    *,
    judge: JudgeLabel | None = None,
    reference: ReferencePool | None = None,
    intervals: bool = True,
    replicates: int | None = None,
    seed: int = 0,
    published: bool = False,
) -> Table:
    """The table of long CSV files (see :func:`interbench.stats.read_planned_scores`).

    Files that state no plan expect every system on every scenario that occurs in them, in all dimensions.
    """
    scores, expected = read_planned_scores(paths)
    return build_table(
        scores,
        expected=expected,
        judge=judge,
        reference=reference,
        intervals=intervals,
        replicates=replicates,
        seed=seed,
        published=published,
    )


def build_table(
    scores: Scores,
    *,
    expected: Expected,
    speeds: Mapping[str, Speed] | None = None,
    judge: JudgeLabel | None = None,
    reference: ReferencePool | None = None,
    intervals: bool = True,
    replicates: int | None = None,
    seed: int = 0,
    published: bool = False,
    caveats: tuple[str, ...] = (),
    told: Mapping[str, str] | None = None,
) -> Table:
    """Pool ``scores`` (all by one ``judge``) and set every system of the plan on a row.

    ``replicates`` None means as many as the size of the pool allows, see :func:`interbench.stats.replicates_for`. A
    system gets no interval in a dimension where fewer than two of its conversations are scored.

    Raises :class:`~interbench.base.errors.ScoresError` for scores outside the plan,
    :class:`~interbench.base.errors.ReferencePoolError` for a reference of another judge,
    :class:`~interbench.base.errors.UsageError` for fewer than 40 replicates.
    """
    coverage = measure_coverage(scores, expected)
    cells = scores.cells.select(scores.cells.scored)
    if reference is not None:
        reference.check(judge, [KEYS[d] for d in np.unique(cells.dimension)])
    pool = make_pool(scores) if reference is None else reference.pool
    systems = len(scores.systems)
    means = system_means(percentiles(cells, pool), cells, systems)
    raw = system_means(cells.value, cells, systems)
    measured = [int(d) for d in np.unique(cells.dimension)]
    mean, raw_mean = (mean_of_dimensions(figures, measured) for figures in (means, raw))

    resampling = None
    low = high = np.full(means.shape, np.nan)
    mean_low = mean_high = np.full(systems, np.nan)
    if intervals:
        resampling = Resampling(choose_replicates(replicates, len(cells.value), seed), seed)
        if len(cells.value):
            replicated = bootstrap_means(
                cells,
                len(scores.scenarios),
                pool,
                cells.system,
                systems,
                replicates=resampling.replicates,
                seed=seed,
                frozen=reference is not None,
            )
            low, high = interval(replicated)
            mean_low, mean_high = interval(mean_of_dimensions(replicated, measured))

    index = {name: number for number, name in enumerate(scores.systems)}

    def figure(system: str, key: str) -> Figure:
        covered = coverage[system][key]
        if not covered.scored:
            return Figure(coverage=covered)
        at = index[system], KEYS.index(key)
        lo, hi = (float(low[at]), float(high[at])) if intervals and covered.scored >= 2 else (None, None)
        return Figure(float(means[at]), lo, hi, float(raw[at]), covered)

    def mean_figure(system: str) -> Figure:
        at = index.get(system)
        if at is None or not measured or np.isnan(mean[at]):
            return NO_FIGURE
        enough = intervals and all(coverage[system][KEYS[d]].scored >= 2 for d in measured)
        lo, hi = (float(mean_low[at]), float(mean_high[at])) if enough else (None, None)
        return Figure(float(mean[at]), lo, hi, float(raw_mean[at]))

    rows = tuple(
        Row(
            system,
            (speeds or {}).get(system, NO_SPEED),
            {key: figure(system, key) for key in KEYS if key in expected.dimensions},
            mean_figure(system),
            told=(told or {}).get(system, ""),
        )
        for system in expected.scenarios
    )
    placed = ranks([row.mean.interval for row in rows])
    return Table(
        rows=tuple(replace(row, rank=rank) for row, rank in zip(rows, placed, strict=True)),
        pool=pool,
        judge=judge,
        reference=reference,
        resampling=resampling,
        published=tuple(map(quoted, PUBLISHED)) if published else (),
        why_apart=why_apart(judge) if published else "",
        caveats=caveats,
        repeats=measure_repeats(scores),
        correlations=measure_correlations(scores),
        columns=columns_of(expected.dimensions),
    )


@dataclass(frozen=True, slots=True)
class View:
    """What is shown to people of a table, and how."""

    precision: int = 2
    """Digits after the point, 0 to 15."""
    intervals: bool = False
    means: bool = False
    """Raw means on the judge's scale instead of percentiles."""
    all_columns: bool = False
    """Also columns in which nothing was measured."""
    dimensions: tuple[str, ...] | None = None
    """Only these of the dimensions; None for those that were measured."""

    def __post_init__(self) -> None:
        if not 0 <= self.precision <= 15:
            raise UsageError(f"A precision of {self.precision} digits can't be shown; choose 0 to 15.")
        for key in self.dimensions or ():
            dimension(key)

    def number(self, value: float) -> str:
        return decimal(value, self.precision)


PLAIN = View()


def render(table: Table, format: Format, view: View = PLAIN) -> str:  # noqa: A002
    """The table as text that ends in a newline.

    The ``view`` is for ``md`` and ``latex``; ``csv`` and ``json`` carry everything in full precision. Raises
    :class:`~interbench.base.errors.UsageError` for an unknown format.
    """
    match format:
        case "csv":
            if table.why_apart:
                raise UsageError(f"A CSV file holds one table. {table.why_apart} Ask for another --format.")
            return csv_text(csv_rows(table))
        case "json":
            return json.dumps(to_json(table), indent=2, allow_nan=False) + "\n"
        case "md":
            return "\n".join(map(to_markdown, _grids(table, view)))
        case "latex":
            first, *others = _grids(table, view)
            return "\n".join([to_latex(first), *(to_latex(other, "tab:interbench-quoted") for other in others)])
        case _:
            raise UsageError(f"{format!r} is not a format of tables; choose one of {', '.join(FORMATS)}.")


def render_rich(table: Table, view: View = PLAIN, *, width: int | None = None) -> rich.console.RenderableType:
    """The table for a terminal of ``width`` columns; where it is too wide it gets a column per system instead."""
    import rich.console

    return rich.console.Group(*(to_rich(grid, width) for grid in _grids(table, view)))


def to_json(table: Table) -> dict[str, Any]:
    """The JSON document, schema ``interbench.table/1`` (``docs/statistics.md``)."""
    return {
        "schema": SCHEMA,
        "judge": table.judge.model_dump() if table.judge else None,
        "pool": {
            "frozen": table.reference is not None,
            "systems": list(table.pool.systems),
            "scenarios": list(table.pool.scenarios),
            "dimensions": {key: {"mu": m.mu, "sigma": m.sigma, "n": m.n} for key, m in table.pool.moments.items()},
        },
        "intervals": {
            "level": LEVEL,
            "method": "percentile bootstrap over scenarios",
            "replicates": table.resampling.replicates,
            "seed": table.resampling.seed,
        }
        if table.resampling
        else None,
        "columns": [
            {
                "key": column.key,
                "heading": column.heading,
                "title": column.title,
                "group": column.group or None,
                "better": column.better,
                "in": column.section or None,
            }
            for column in table.columns
        ],
        "systems": json_systems(table),
        "people": [{"system": row.system, **_fields(table.columns, row, {})} for row in table.people],
        "published": [
            {"system": row.system, "quoted_from": row.quoted_from, **_fields(table.columns, row)}
            for row in table.published
        ],
        "published_apart": table.why_apart or None,
        "repeats": {key: asdict(repeats) for key, repeats in table.repeats.items()},
        "correlations": None if table.correlations is None else _correlations_json(table.correlations),
        "notes": list(notes(table)),
    }


def _correlations_json(found: Correlations) -> dict[str, Any]:
    rows = {key: dict(zip(found.keys, row, strict=True)) for key, row in zip(found.keys, found.r, strict=True)}
    least = min(min(row) for row in found.conversations)
    return {"r": rows, "conversations": least, "effective_dimensions": found.effective}


def json_systems(table: Table) -> list[dict[str, Any]]:
    """What the JSON says of every system measured here."""
    marks = {column.key: column.marks(table.rows) for column in table.columns}
    return [
        {
            "system": row.system,
            "turns": row.speed.n,
            "told_words": row.told or None,
            "parts_s": {
                step.name: {"median": step.median_s, "p95": step.p95_s, "turns": step.n} for step in row.speed.steps
            },
            **_fields(table.columns, row, {key: of_column[number] for key, of_column in marks.items()}),
        }
        for number, row in enumerate(table.rows)
    ]


def _fields(columns: Sequence[Column], row: Row, marks: Mapping[str, Mark | None] | None = None) -> dict[str, Any]:
    """What the columns say of one row of the JSON; of a quoted row, which has no ``marks``, their values alone."""
    fields: dict[str, Any] = {}
    for column in columns:
        value = column.value(row)
        facts = {} if marks is None else column.facts(row)
        if column.section:
            mark = {} if not marks else {"mark": marks[column.key]}
            fields.setdefault(column.section, {})[column.key] = {column.unit: value, **facts, **mark}
        else:
            fields |= {column.key: value, **facts}
    return fields


def _grids(table: Table, view: View) -> list[Grid]:
    """The table, and that of the quoted rows where they don't stand in it."""
    return [_grid(table, view), *([_quoted_grid(table, view)] if table.why_apart else [])]


def _quoted_grid(table: Table, view: View) -> Grid:
    columns = shown_columns(COLUMNS, table.published)
    rows = tuple(
        (Cell(f"{row.system} (quoted)"), *(Cell(column.text(row, view.number)) for column in columns))
        for row in table.published
    )
    return Grid(("System", *(column.heading for column in columns)), (rows,), (table.why_apart, quoted_note()))


def _grid(table: Table, view: View) -> Grid:
    columns = shown_columns(
        table.columns,
        (*table.rows, *table.people, *table.beneath),
        dimensions=view.dimensions,
        everything=view.all_columns,
    )
    hidden = [column for column in table.columns if column not in columns]
    if view.means:
        columns = tuple(column.on_judges_scale for column in columns)

    def aside(column: Column, row: Row) -> str:
        ends = column.interval(row) if view.intervals else None
        return "" if ends is None else f"[{view.number(ends[0])}, {view.number(ends[1])}]"

    marks = {column.key: column.marks(table.rows) for column in columns}
    measured = tuple(
        (
            Cell(f"{row.system}{TOLD}" if row.told else row.system),
            *(Cell(c.shown(row, view.number), marks[c.key][index], aside(c, row)) for c in columns),
        )
        for index, row in enumerate(table.rows)
    )
    published = tuple(
        (Cell(f"{row.system} (quoted)"), *(Cell(c.text(row, view.number)) for c in columns)) for row in table.beneath
    )
    people = tuple(
        (
            Cell(f"{row.system} (people)"),
            *(Cell(c.text(row, view.number), aside=aside(c, row)) for c in columns),
        )
        for row in table.people
    )
    header = ("System", *(column.heading for column in columns))
    sections = (measured, *(section for section in (people, published) if section))
    return Grid(header, sections, notes(table, hidden, means=view.means))


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """``rows`` as CSV with ``\\n`` at the end of each; None is an empty cell."""
    out = io.StringIO()
    SheetWriter(out).writerows(rows)
    return out.getvalue()


def csv_rows(table: Table) -> list[list[Any]]:
    """The table's CSV, header first."""
    beside = [(c, ("", *c.in_csv) if not c.section else ("",)) for c in table.columns]
    behind = [(c, c.in_csv) for c in table.columns if c.section]

    def cells(row: Row, places: Sequence[tuple[Column, Sequence[str]]]) -> list[Any]:
        """A column's figure where the name is empty, else that fact of it; quoted rows have no facts."""
        filled = []
        for column, names in places:
            known = {} if row.quoted_from else column.facts(row)
            filled += [known.get(name) if name else column.value(row) for name in names]
        return filled

    rows: list[list[Any]] = [
        ["system"]
        + [name or column.key for column, names in beside for name in names]
        + ["source", "judge"]
        + [f"{column.key}_{name}" for column, names in behind for name in names]
    ]
    judged_by = None if table.judge is None else table.judge.name
    measured = [(row, "measured", judged_by) for row in table.rows]
    people = [(row, "people", "people") for row in table.people]
    quoted_rows = [(row, f"quoted from {row.quoted_from}", None) for row in table.beneath]
    for row, source, judge in (*measured, *people, *quoted_rows):
        rows.append([row.system, *cells(row, beside), source, judge, *cells(row, behind)])
    return rows

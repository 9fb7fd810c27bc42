"""The result table in the shape of the paper's Table 2: a row per system, the speed columns, the dimensions.

Figures are computed by :mod:`interbench.stats`; here they are put side by side and written as Markdown, CSV, LaTeX,
JSON or for the terminal, a column per entry of :data:`interbench.report.columns.COLUMNS`. ``docs/statistics.md``
documents the JSON.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from interbench.base.errors import UsageError
from interbench.domain.published import PUBLISHED, SOURCE
from interbench.report.columns import COLUMNS, Column
from interbench.report.grid import Cell, Grid, Mark, to_latex, to_markdown
from interbench.report.rows import NO_SPEED, Figure, Row, Speed, quoted
from interbench.report.sheet import SheetWriter
from interbench.report.terminal import to_rich
from interbench.stats import (
    KEYS,
    LEVEL,
    Expected,
    JudgeLabel,
    Pool,
    ReferencePool,
    Scores,
    bootstrap_means,
    choose_replicates,
    interval,
    make_pool,
    measure_coverage,
    percentiles,
    read_scores,
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
    """Quoted beneath; neither pooled nor marked."""
    caveats: tuple[str, ...] = ()
    """What a reader has to know of single systems, a sentence each."""
    columns: tuple[Column, ...] = COLUMNS

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
    """The table of long CSV files (see :func:`interbench.stats.read_scores`).

    A CSV states no plan, so that every system is expected on every scenario that occurs in the files, in all
    dimensions.
    """
    scores = read_scores(paths)
    return build_table(
        scores,
        expected=Expected.from_scores(scores),
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

    resampling = None
    low = high = np.full(means.shape, np.nan)
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

    index = {name: number for number, name in enumerate(scores.systems)}

    def figure(system: str, key: str) -> Figure:
        covered = coverage[system][key]
        if not covered.scored:
            return Figure(coverage=covered)
        at = index[system], KEYS.index(key)
        lo, hi = (float(low[at]), float(high[at])) if intervals and covered.scored >= 2 else (None, None)
        return Figure(float(means[at]), lo, hi, float(raw[at]), covered)

    return Table(
        rows=tuple(
            Row(system, (speeds or {}).get(system, NO_SPEED), {key: figure(system, key) for key in KEYS})
            for system in expected.scenarios
        ),
        pool=pool,
        judge=judge,
        reference=reference,
        resampling=resampling,
        published=tuple(map(quoted, PUBLISHED)) if published else (),
        caveats=caveats,
    )


def render(table: Table, format: Format, *, precision: int = 2, intervals: bool = False) -> str:  # noqa: A002
    """The table as text that ends in a newline.

    ``precision`` digits and ``intervals`` are for ``md`` and ``latex``; ``csv`` and ``json`` carry everything in full
    precision. Raises :class:`~interbench.base.errors.UsageError` for an unknown format or a precision outside 0 to 15.
    """
    match format:
        case "csv":
            return _csv(table)
        case "json":
            return json.dumps(to_json(table), indent=2, allow_nan=False) + "\n"
        case "md":
            return to_markdown(_grid(table, precision, intervals))
        case "latex":
            return to_latex(_grid(table, precision, intervals))
        case _:
            raise UsageError(f"{format!r} is not a format of tables; choose one of {', '.join(FORMATS)}.")


def render_rich(
    table: Table, *, precision: int = 2, intervals: bool = False, width: int | None = None
) -> rich.console.RenderableType:
    """The table for a terminal of ``width`` columns; where it is too wide it gets a column per system instead.

    Raises :class:`~interbench.base.errors.UsageError` for a precision outside 0 to 15.
    """
    return to_rich(_grid(table, precision, intervals), width)


def to_json(table: Table) -> dict[str, Any]:
    """The JSON document, schema ``interbench.table/1`` (``docs/statistics.md``)."""
    marks = _marks(table)
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
        "systems": [
            {
                "system": row.system,
                "turns": row.speed.n,
                "parts_s": {
                    step.name: {"median": step.median_s, "p95": step.p95_s, "turns": step.n} for step in row.speed.steps
                },
                **_fields(table.columns, row, {key: of_column[number] for key, of_column in marks.items()}),
            }
            for number, row in enumerate(table.rows)
        ],
        "published": [
            {"system": row.system, "quoted_from": row.quoted_from, **_fields(table.columns, row)}
            for row in table.published
        ],
        "notes": list(notes(table)),
    }


def _fields(columns: Sequence[Column], row: Row, marks: Mapping[str, Mark | None] | None = None) -> dict[str, Any]:
    """What the columns say of one row of the JSON; of a quoted row, which has no ``marks``, their values alone."""
    fields: dict[str, Any] = {}
    for column in columns:
        value = column.value(row)
        facts = {} if marks is None else column.facts(row)
        if column.section:
            mark = {} if marks is None else {"mark": marks[column.key]}
            fields.setdefault(column.section, {})[column.key] = {column.unit: value, **facts, **mark}
        else:
            fields |= {column.key: value, **facts}
    return fields


def who_judged(judge: JudgeLabel | None) -> str:
    """The sentence that goes with every figure of that judge."""
    if judge is None:
        return "The scores came without the name of their judge."
    text = f"Judge: {judge.name}" + (f" ({judge.identity})." if judge.identity else ".")
    if not judge.comparable:
        text += (
            f" {judge.name} works offline: its figures are not comparable with those of a vision-language model (VLM) "
            "judge."
        )
    return text


def notes(table: Table) -> tuple[str, ...]:
    """What a reader must know beside the figures, one sentence or two each."""
    return tuple(
        note
        for note in (
            *table.caveats,
            _pool_note(table),
            _judge_note(table),
            _interval_note(table),
            _flat_note(table),
            _missing_note(table),
            _unheard_note(table),
            _published_note(table),
        )
        if note
    )


def _grid(table: Table, precision: int, intervals: bool) -> Grid:
    if not 0 <= precision <= 15:
        raise UsageError(f"A precision of {precision} digits can't be shown; choose 0 to 15.")

    def number(value: float) -> str:
        return f"{value:.{precision}f}"

    def aside(column: Column, row: Row) -> str:
        ends = column.interval(row) if intervals else None
        return "" if ends is None else f"[{number(ends[0])}, {number(ends[1])}]"

    marks = _marks(table)
    measured = tuple(
        (
            Cell(row.system),
            *(Cell(c.text(row, number), marks[c.key][index], aside(c, row)) for c in table.columns),
        )
        for index, row in enumerate(table.rows)
    )
    published = tuple(
        (Cell(f"{row.system} (quoted)"), *(Cell(c.text(row, number)) for c in table.columns)) for row in table.published
    )
    header = ("System", *(column.heading for column in table.columns))
    return Grid(header, (measured, published) if published else (measured,), notes(table))


def _marks(table: Table) -> dict[str, list[Mark | None]]:
    """By column, one per measured row."""
    return {column.key: column.marks(table.rows) for column in table.columns}


def _csv(table: Table) -> str:
    out = io.StringIO()
    writer = SheetWriter(out)
    beside = [(c, ("", *c.in_csv) if not c.section else ("",)) for c in table.columns]
    behind = [(c, c.in_csv) for c in table.columns if c.section]

    def cells(row: Row, places: Sequence[tuple[Column, Sequence[str]]]) -> list[Any]:
        """A column's figure where the name is empty, else that fact of it; quoted rows have no facts."""
        filled = []
        for column, names in places:
            known = {} if row.quoted_from else column.facts(row)
            filled += [known.get(name) if name else column.value(row) for name in names]
        return filled

    writer.writerow(
        ["system"]
        + [name or column.key for column, names in beside for name in names]
        + ["source", "judge"]
        + [f"{column.key}_{name}" for column, names in behind for name in names]
    )
    for row in (*table.rows, *table.published):
        source = f"quoted from {row.quoted_from}" if row.quoted_from else "measured"
        judge = None if row.quoted_from or table.judge is None else table.judge.name
        writer.writerow([row.system, *cells(row, beside), source, judge, *cells(row, behind)])
    return out.getvalue()


def _pool_note(table: Table) -> str:
    systems, scenarios = table.pool.systems, len(table.pool.scenarios)
    if not systems:
        return "Nothing is scored, so there is no pool."
    named = ", ".join(systems[:12]) + (f" and {len(systems) - 12} more" if len(systems) > 12 else "")
    frozen = "Percentiles are relative to a frozen pool" if table.reference else "Percentiles are relative to the pool"
    return f"{frozen} of {_count(len(systems), 'system')} ({named}) on {_count(scenarios, 'scenario')}."


def _judge_note(table: Table) -> str:
    judge, frozen_by = table.judge, table.reference.judge if table.reference else table.judge
    text = who_judged(judge)
    if table.reference and (judge is None) != (frozen_by is None):
        other = f"was made by {frozen_by.name}" if frozen_by else "came without the name of its judge"
        text += f" The frozen pool {other}; that both are the same judge could not be checked."
    return text


def _interval_note(table: Table) -> str:
    if not table.resampling:
        return ""
    return (
        f"95 % intervals: bootstrap over scenarios, {table.resampling.replicates} replicates, seed "
        f"{table.resampling.seed}."
    )


def _flat_note(table: Table) -> str:
    flat = [key for key, m in table.pool.moments.items() if m.sigma == 0]
    return f"Without spread in the pool, so that everyone gets 50: {', '.join(flat)}." if flat else ""


def _missing_note(table: Table) -> str:
    reasons: Counter[str] = Counter()
    samples = 0
    for row in table.rows:
        for figure in row.figures.values():
            reasons.update(figure.coverage.missing)
            samples += figure.coverage.samples_missing
    text = ""
    if reasons:
        listed = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in reasons.most_common())
        text = f"Missing verdicts, counted in the coverage: {listed}."
    if samples:
        text += f" {_count(samples, 'repeated judgement')} without a score left out of averages."
    return text.strip()


def _unheard_note(table: Table) -> str:
    reasons: Counter[str] = Counter()
    for row in table.rows:
        reasons.update(row.speed.unheard)
    if not reasons:
        return ""
    listed = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in reasons.most_common())
    return f"Turns without a time to first speech, left out of its median: {listed}."


def _published_note(table: Table) -> str:
    if not table.published:
        return ""
    return (
        f"Rows marked (quoted) are the published ones of {SOURCE}, relative to the paper's own pool; they are neither "
        "reproduced nor pooled here."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

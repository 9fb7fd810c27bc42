"""The table of single-round metrics: a row per system, and the rows that tell how far its figures can be trusted.

Computed by :mod:`interbench.single`; here it is put side by side and written as Markdown, LaTeX, CSV, JSON or for the
terminal. Nothing of a clip goes in but its id.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from interbench.base.errors import UsageError
from interbench.domain.published import ABLATION_SOURCE, PUBLISHED_SINGLE, SINGLE_SOURCE
from interbench.report.grid import DASH, Cell, Grid, decimal, rank_marks, to_latex, to_markdown
from interbench.report.tables import FORMATS, csv_text
from interbench.report.terminal import to_rich
from interbench.single.base import Column, Figure
from interbench.single.measure import SingleTable
from interbench.single.pairs import Difference
from interbench.single.rows import FilledRow

if TYPE_CHECKING:
    import rich.console

SCHEMA = "interbench.single/1"


def render_single(table: SingleTable, form: str, *, published: bool = False) -> str:
    """The table as text that ends in a newline.

    Raises:
        UsageError: there is no such format.
    """
    match form:
        case "md":
            return "\n".join(to_markdown(grid) for grid in _grids(table, published=published))
        case "latex":
            grids = zip(_grids(table, published=published), ("tab:single", "tab:single-differences"), strict=False)
            return "\n".join(to_latex(grid, label) for grid, label in grids)
        case "csv":
            return csv_text(_csv(table, published=published))
        case "json":
            return json.dumps(single_json(table, published=published), indent=2, allow_nan=False) + "\n"
    raise UsageError(f"{form!r} is not a format of tables; choose one of {', '.join(FORMATS)}.")


def render_single_rich(
    table: SingleTable, *, published: bool = False, width: int | None = None
) -> rich.console.RenderableType:
    """The table for a terminal of ``width`` columns."""
    import rich.console

    return rich.console.Group(*(to_rich(grid, width) for grid in _grids(table, published=published)))


def clips_csv(table: SingleTable) -> str:
    """Every value of every clip, and why it is missing where it is: a row per row, clip, metric and value."""
    rows: list[list[Any]] = [["row", "clip", "metric", "value_of", "value", "missing"]]
    for row, clip, metric, values, missing in table.per_clip:
        rows += [[row, clip, metric, name, value, ""] for name, value in values.items()] or [
            [row, clip, metric, "", None, missing]
        ]
    return csv_text(rows)


def _grids(table: SingleTable, *, published: bool) -> list[Grid]:
    """The table, and the differences between every two systems where there are two."""
    grids = [_grid(table, published=published)]
    if any(one.value is not None for one in table.differences):
        grids.append(_differences(table))
    return grids


def _differences(table: SingleTable) -> Grid:
    given = {one.column for one in table.differences if one.value is not None}
    columns = [column for column in table.columns if column.key in given]
    by_pair: dict[tuple[str, str], dict[str, Difference]] = {}
    for one in table.differences:
        by_pair.setdefault((one.one, one.other), {})[one.column] = one
    body = tuple(
        (Cell(f"{one} − {other}"), *(_gap(found.get(column.key), column) for column in columns))
        for (one, other), found in by_pair.items()
    )
    header = ("Difference", *(f"{column.heading} {_ARROWS[column.better]}".rstrip() for column in columns))
    notes = [
        "On the clips that both systems have, the first less the second; behind each figure its interval (95 %), how "
        "many clips, and p where there is one."
    ]
    if given & {"fid", "kid", "fvd", "kvd"}:
        notes.append(
            "FID, KID, FVD and KVD: both against the same references, each clip left out of both at a time, so that a "
            "part of what so few clips add falls out of the difference. They have no p."
        )
    if given - {"fid", "kid", "fvd", "kvd"}:
        notes.append(
            "The others: mean of the clips' differences, bootstrap over source videos; p, two-sided, by exchanging the "
            "systems within source videos, after Holm's correction over the columns."
        )
    return Grid(header, (body,), tuple(notes))


def _gap(found: Difference | None, column: Column) -> Cell:
    if found is None or found.value is None:
        return Cell(DASH)

    def number(value: float) -> str:
        return decimal(value, column.digits, "+")

    aside = []
    if found.low is not None and found.high is not None:
        aside.append(f"[{number(found.low)}, {number(found.high)}]")
    aside.append(f"{found.clips}")
    if found.p_holm is not None:
        aside.append(f"p {found.p_holm:.3f}" if found.p_holm >= 0.001 else "p < 0.001")
    return Cell(number(found.value), aside=" ".join(aside))


def _grid(table: SingleTable, *, published: bool) -> Grid:
    columns = table.columns
    systems = [row for row in table.rows if row.kind == "system"]
    others = [row for row in table.rows if row.kind != "system"]
    marks = {
        column.key: rank_marks([_value(row, column) for row in systems], highest=column.better == "higher")
        if column.better != "neither" and _comparable(systems, column)
        else [None] * len(systems)
        for column in columns
    }
    body = tuple(
        (Cell(_label(row)), *(_cell(row, column, marks[column.key][place]) for column in columns))
        for place, row in enumerate(systems)
    )
    beside = tuple((Cell(_label(row)), *(_cell(row, column) for column in columns)) for row in others)
    quoted = tuple(
        (
            Cell(f"{row.system} (quoted)"),
            *(Cell(DASH if c.key not in row.figures else f"{row.figures[c.key]:.2f}") for c in columns),
        )
        for row in PUBLISHED_SINGLE
        if published
    )
    sections = tuple(section for section in (body, beside, quoted) if section)
    header = ("System", *(f"{column.heading} {_ARROWS[column.better]}".rstrip() for column in columns))
    return Grid(header, sections, single_notes(table, published=published))


_ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


def _label(row: FilledRow) -> str:
    return f"{row.label} ({row.note})" if row.note else row.label


def _value(row: FilledRow, column: Column) -> float | None:
    figure = row.figures.get(column.key)
    return None if figure is None else figure.value


def _comparable(rows: Sequence[FilledRow], column: Column) -> bool:
    """Whether rows may be ranked in a column: distances between sets only where all are of as many clips."""
    if column.key not in ("fid", "fvd"):
        return True
    counts = {figure.scored for row in rows if (figure := row.figures.get(column.key)) and figure.value is not None}
    return len(counts) < 2


def _cell(row: FilledRow, column: Column, mark: Any = None) -> Cell:
    figure = row.figures.get(column.key)
    if figure is None:
        return Cell(DASH)
    covered = f"{figure.scored}/{figure.expected}"
    if figure.value is None:
        return Cell(DASH, aside=covered)
    text = decimal(figure.value, column.digits)
    if figure.low is None or figure.high is None:
        return Cell(text, mark, covered)
    ends = f"[{decimal(figure.low, column.digits)}, {decimal(figure.high, column.digits)}]"
    return Cell(text, mark, f"{ends} {covered}")


def single_notes(table: SingleTable, *, published: bool = False) -> tuple[str, ...]:
    """What a reader must know beside the figures, a sentence or two each."""
    shown = {column.key for column in table.columns}
    notes = [
        f"{', '.join(column.heading for column in one.columns)}: {DASH}, because: {one.because}"
        for one in table.unavailable
    ]
    notes += table.caveats
    notes.append("Behind each figure: clips scored / clips expected. A clip that could not be scored is no zero.")
    notes += _reasons(table)
    if shown & {"fid", "fvd"}:
        notes.append(
            "FID, KID, FVD and KVD: intervals by leaving out one clip at a time (95 %): the spread at this number of "
            "clips, not of the distance between populations. FID and FVD grow as the number of clips falls: never "
            "compare rows of different numbers; KID and KVD, which leave out each clip's own reference, are for that."
        )
        if any(row.kind in ("floor", "shuffled") for row in table.rows):
            notes.append(
                "floor: references against other references. “other references”: the system's clips against references "
                "of other clips, which takes away what a clip shares with its own first frame, face and sound. Each "
                "says against how many clips."
            )
    if shown - {"fid", "kid", "fvd", "kvd", "fps", "latency_s"}:
        notes.append("Other intervals: percentile bootstrap over source videos (95 %).")
    notes += _offset_notes(table)
    if published:
        notes.append(
            f"Quoted from {SINGLE_SOURCE}, as far as its figures are at hand, and {ABLATION_SOURCE}, for LiveTalk on "
            "HDTF: not measured here, and not reproducible: clips, frames and implementations are not published."
        )
    return tuple(notes)


def _reasons(table: SingleTable) -> list[str]:
    """Why clips are missing, by row and metric."""
    counts: dict[tuple[str, str, str], int] = {}
    for row, _, metric, _, missing in table.per_clip:
        if missing:
            counts[row, metric, missing] = counts.get((row, metric, missing), 0) + 1
    return [f"{row}, {metric}: {count} not scored ({why})." for (row, metric, why), count in counts.items()]


def _offset_notes(table: SingleTable) -> list[str]:
    found = []
    for row in table.rows:
        detail = row.figures["offset_ms"].detail if "offset_ms" in row.figures else {}
        if detail.get("tracks"):
            spread = ", ".join(f"{frames}: {count}" for frames, count in detail["by_frames"].items())
            found.append(
                f"{row.label}: offsets in frames of 40 ms and how many tracks have them: {spread}. At the end of the "
                f"range, where no synchrony was found: {detail['at_the_edge']} of {detail['tracks']}."
            )
    return found


def _csv(table: SingleTable, *, published: bool) -> list[list[Any]]:
    names = ("", "low", "high", "scored", "expected", "missing")
    header = ["system", "row", "clips", "note"]
    header += [f"{column.key}_{name}" if name else column.key for column in table.columns for name in names]
    rows: list[list[Any]] = [header]
    for row in table.rows:
        cells: list[Any] = [row.label, row.kind, row.clips, row.note]
        for column in table.columns:
            figure = row.figures.get(column.key)
            cells += [None] * len(names) if figure is None else _facts(figure)
        rows.append(cells)
    for quoted in PUBLISHED_SINGLE if published else ():
        figures = [[quoted.figures.get(column.key), *[None] * (len(names) - 1)] for column in table.columns]
        note = f"quoted from {quoted.source}"
        rows.append([quoted.system, "quoted", None, note, *(value for cells in figures for value in cells)])
    return rows


def _facts(figure: Figure) -> list[Any]:
    return [figure.value, figure.low, figure.high, figure.scored, figure.expected, figure.missing]


def single_json(table: SingleTable, *, published: bool = False) -> dict[str, Any]:
    """The JSON document, schema ``interbench.single/1`` (``docs/single.md``)."""
    return {
        "schema": SCHEMA,
        "columns": [asdict(column) for column in table.columns],
        "rows": [
            {
                "system": row.label,
                "row": row.kind,
                "clips": row.clips,
                "note": row.note,
                "figures": {key: asdict(figure) for key, figure in row.figures.items()},
            }
            for row in table.rows
        ],
        "differences": [asdict(one) for one in table.differences],
        "metrics": {name: dict(identity) for name, identity in table.identities.items()},
        "unavailable": [{"metric": one.name, "because": one.because} for one in table.unavailable],
        "quoted": [
            {"system": row.system, "from": row.source, "figures": dict(row.figures)}
            for row in (PUBLISHED_SINGLE if published else ())
        ],
        "notes": list(single_notes(table, published=published)),
    }

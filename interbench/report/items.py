"""The figures of single items as Markdown, CSV, LaTeX, JSON or for the terminal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from interbench.base.errors import UsageError
from interbench.report.grid import DASH, Cell, Grid, decimal, to_latex, to_markdown
from interbench.report.notes import counted, who_judged
from interbench.report.tables import FORMATS, Format, csv_text
from interbench.report.terminal import to_rich
from interbench.stats import JudgeLabel
from interbench.stats.items import FEWEST_SYSTEMS, TOP, Item, by_scenario

if TYPE_CHECKING:
    import rich.console

SCHEMA = "interbench.items/1"
_FIELDS = tuple(field.name for field in dataclasses.fields(Item))


def render_items(found: Sequence[Item], judge: JudgeLabel | None, format: Format, *, apart: bool = False) -> str:  # noqa: A002
    """As text that ends in a newline; ``csv`` and ``json`` hold every dimension, in full precision.

    Args:
        found: by scenario and dimension.
        judge: whose scores they are from.
        format: one of :data:`~interbench.report.tables.FORMATS`.
        apart: a row per dimension instead of one per scenario; in ``md`` and ``latex``.

    Raises:
        UsageError: the format is unknown.
    """
    match format:
        case "csv":
            return csv_text([_FIELDS, *(dataclasses.astuple(item) for item in found)])
        case "json":
            whole = {
                "schema": SCHEMA,
                "judge": judge.model_dump() if judge else None,
                "items": [dataclasses.asdict(item) for item in found],
            }
            return json.dumps(whole, indent=2, allow_nan=False) + "\n"
        case "md":
            return to_markdown(_grid(found, judge, apart=apart))
        case "latex":
            return to_latex(_grid(found, judge, apart=apart), "tab:interbench-items")
        case _:
            raise UsageError(f"{format!r} is not a format of tables; choose one of {', '.join(FORMATS)}.")


def render_items_rich(
    found: Sequence[Item], judge: JudgeLabel | None, *, apart: bool = False, width: int | None = None
) -> rich.console.RenderableType:
    """For a terminal of ``width`` columns."""
    return to_rich(_grid(found, judge, apart=apart), width)


def _grid(found: Sequence[Item], judge: JudgeLabel | None, *, apart: bool) -> Grid:
    """The items that part systems least come first: they are the ones to mend or to retire."""
    shown = list(found) if apart else list(by_scenario(found))
    shown.sort(key=lambda item: (item.discrimination is not None, item.discrimination or 0.0, item.spread or 0.0))
    rows = tuple(
        (
            Cell(item.scenario),
            *((Cell(item.dimension or DASH),) if apart else ()),
            Cell(_number(item.mean)),
            Cell(_number(item.spread)),
            Cell(_number(item.discrimination, "+")),
            Cell(DASH if item.ceiling is None else f"{100 * item.ceiling:.0f} %"),
            Cell(f"{item.systems}/{item.planned}"),
        )
        for item in shown
    )
    header = ("Scenario", *(("Dimension",) if apart else ()), "Mean", "Spread", "Discrimination", "Ceiling", "Systems")
    few = max((item.planned for item in found), default=0)
    notes = (
        f"Over {counted(few, 'system')}. Mean and spread (standard deviation) of raw scores; discrimination: "
        f"correlation over systems with the mean of the dimension's other scenarios; ceiling: share of systems at "
        f"{TOP:g}.",
        "" if apart else "Each figure is the mean over the dimensions in which it could be had.",
        f"Discrimination needs {FEWEST_SYSTEMS} systems; there are {few}." if few < FEWEST_SYSTEMS else "",
        who_judged(judge),
    )
    return Grid(header, (rows,), tuple(filter(None, notes)))


def _number(value: float | None, sign: str = "") -> str:
    return DASH if value is None else decimal(value, 2, sign)

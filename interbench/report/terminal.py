"""A grid of texts with marks on a terminal."""

from __future__ import annotations

from typing import Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from interbench.report.grid import Cell, Grid, Mark, visible

_GAP = 2
"""One column of padding and one of the box, which has an edge of one column besides."""
_STYLES = {Mark.BEST: "bold", Mark.SECOND: "underline", None: ""}


def to_rich(grid: Grid, width: int | None = None) -> RenderableType:
    """Best bold, second underlined, asides on a line of their own, the notes beneath.

    A grid that needs more than ``width`` columns is turned on its side and, where even that is too wide, cut into
    several.
    """
    grids = [grid] if width is None or _width(grid) <= width else _turned(grid, width)
    return Group(*map(_table, grids), *(Text(visible(note), style="dim") for note in grid.notes))


def _table(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, (name, least) in enumerate(zip(grid.header, _least_widths(grid), strict=True)):
        justify: Literal["left", "right"] = "right" if index else "left"
        table.add_column(Text(visible(name)), justify=justify, overflow="fold", min_width=least)
    for section in grid.sections:
        for row in section:
            table.add_row(*map(_text, row))
        table.add_section()
    return table


def _text(cell: Cell) -> Text:
    aside = [(f"\n{cell.aside}", "dim")] if cell.aside else []
    return Text.assemble((visible(cell.text), _STYLES[cell.mark]), *aside)


def _turned(grid: Grid, width: int) -> list[Grid]:
    """A column for every row of the grid, in as many grids as it takes to stay within ``width``."""
    corner, *labels = grid.header

    def turned(rows: list[tuple[Cell, ...]]) -> Grid:
        header = (corner, *(row[0].text for row in rows))
        return Grid(header, (tuple((Cell(name), *(row[i] for row in rows)) for i, name in enumerate(labels, start=1)),))

    done: list[Grid] = []
    taken: list[tuple[Cell, ...]] = []
    for row in (row for section in grid.sections for row in section):
        if taken and _width(turned([*taken, row])) > width:
            done.append(turned(taken))
            taken = []
        taken.append(row)
    return [*done, turned(taken)]


def _width(grid: Grid) -> int:
    return sum(least + _GAP for least in _least_widths(grid)) + 1


def _least_widths(grid: Grid) -> list[int]:
    """Of every column. Figures are never broken; a long name in the header or the first column folds."""
    rows = [row for section in grid.sections for row in section]
    widths = []
    for index, name in enumerate(grid.header):
        heading = max(map(len, visible(name).split()), default=0)
        content = max((len(text) for row in rows for text in (visible(row[index].text), row[index].aside)), default=0)
        widths.append(max(min(heading, 10), content) if index else min(max(heading, content), 16))
    return widths

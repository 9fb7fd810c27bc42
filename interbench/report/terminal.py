"""A grid of texts with marks on a terminal."""

from __future__ import annotations

from typing import Literal

from rich import box
from rich.cells import cell_len
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
    grids = [grid] if width is None or _needed(_least_widths(grid)) <= width else _turned(grid, width)
    return Group(*(_table(grid, width) for grid in grids), *(Text(visible(note), style="dim") for note in grid.notes))


def _table(grid: Grid, width: int | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    # Widths are fixed here: left to itself, rich takes columns from figures before it folds names.
    for index, (name, columns) in enumerate(zip(grid.header, _widths(grid, width), strict=True)):
        justify: Literal["left", "right"] = "right" if index else "left"
        table.add_column(Text(visible(name)), justify=justify, overflow="fold", width=columns)
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
        if taken and _needed(_least_widths(turned([*taken, row]))) > width:
            done.append(turned(taken))
            taken = []
        taken.append(row)
    return [*done, turned(taken)]


def _needed(widths: list[int]) -> int:
    return sum(width + _GAP for width in widths) + 1


def _widths(grid: Grid, width: int | None) -> list[int]:
    """What the columns get: their least width, and from the left what is spare until nothing folds."""
    widths = _least_widths(grid)
    spare = None if width is None else max(0, width - _needed(widths))
    for index, full in enumerate(_full_widths(grid)):
        more = full - widths[index] if spare is None else min(full - widths[index], spare)
        widths[index] += more
        spare = None if spare is None else spare - more
    return widths


def _least_widths(grid: Grid) -> list[int]:
    """Figures are never broken; a long name in the header or the first column folds."""
    full = _full_widths(grid)
    contents = _content_widths(grid)
    words = [max(map(cell_len, visible(name).split()), default=0) for name in grid.header]
    return [min(full[0], 16), *(max(min(word, 10), c) for word, c in zip(words[1:], contents[1:], strict=True))]


def _full_widths(grid: Grid) -> list[int]:
    return [max(cell_len(visible(name)), c) for name, c in zip(grid.header, _content_widths(grid), strict=True)]


def _content_widths(grid: Grid) -> list[int]:
    rows = [row for section in grid.sections for row in section]
    return [
        max((cell_len(text) for row in rows for text in (visible(row[index].text), row[index].aside)), default=0)
        for index in range(len(grid.header))
    ]

"""A grid of texts with marks, as Markdown and LaTeX. Names are data and are escaped here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

DASH = "–"
"""Stands for what is missing."""


class Mark(StrEnum):
    BEST = "best"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    mark: Mark | None = None
    aside: str = ""
    """Shown after the text, unmarked and as it is: an interval in figures."""


@dataclass(frozen=True)
class Grid:
    """The first column names the rows. ``sections`` are groups of rows with a rule between them."""

    header: tuple[str, ...]
    sections: tuple[tuple[tuple[Cell, ...], ...], ...]
    notes: tuple[str, ...] = ()


def rank_marks(values: Sequence[float | None], *, highest: bool = True) -> list[Mark | None]:
    """The best value and the second best.

    All that tie for best are best, and the next value after them is second. Missing values take no part, and a lone
    value is not marked. Values closer than 1e-9 of their magnitude tie: what parts them is rounding.
    """
    known = sorted({v for v in values if v is not None}, reverse=highest)
    marks: list[Mark | None] = [None] * len(values)
    if sum(v is not None for v in values) < 2:
        return marks
    second = next((v for v in known if not _tie(v, known[0])), None)
    for index, value in enumerate(values):
        if value is None:
            continue
        if _tie(value, known[0]):
            marks[index] = Mark.BEST
        elif second is not None and _tie(value, second):
            marks[index] = Mark.SECOND
    return marks


def to_markdown(grid: Grid) -> str:
    """A GitHub-flavoured table, padded so that it also reads as plain text; the notes as a list beneath."""

    def cell(cell: Cell) -> str:
        text = escape_markdown(cell.text)
        marked = {Mark.BEST: f"**{text}**", Mark.SECOND: f"<u>{text}</u>", None: text}[cell.mark]
        return f"{marked} {cell.aside}" if cell.aside else marked

    body = [[cell(c) for c in row] for section in grid.sections for row in section]
    header = [escape_markdown(text) for text in grid.header]
    widths = [max(3, *(len(row[i]) for row in [header, *body])) for i in range(len(header))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    lines = [line(row) for row in [header, rule, *body]]
    if grid.notes:
        lines += ["", *(f"- {escape_markdown(note)}" for note in grid.notes)]
    return "\n".join(lines) + "\n"


def to_latex(grid: Grid, label: str = "tab:interbench") -> str:
    """A ``table`` environment for the packages booktabs and graphicx, shrunk to the width of the text where needed; the
    notes become the caption."""

    def cell(cell: Cell) -> str:
        text = escape_latex(cell.text)
        marked = {Mark.BEST: rf"\textbf{{{text}}}", Mark.SECOND: rf"\underline{{{text}}}", None: text}[cell.mark]
        return rf"{marked} {{\scriptsize {cell.aside}}}" if cell.aside else marked

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    lines = [r"\begin{table}", r"\centering"]
    if grid.notes:
        lines.append(rf"\caption{{{escape_latex(' '.join(grid.notes))}}}")
    lines += [
        rf"\label{{{label}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}",
        r"\toprule",
        line([escape_latex(text) for text in grid.header]),
    ]
    for section in grid.sections:
        lines += [r"\midrule", *(line([cell(c) for c in row]) for row in section)]
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def visible(text: str) -> str:
    """Control, format and other unprintable characters as escapes such as ``\\n`` or ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def decimal(value: float, digits: int, sign: str = "") -> str:
    """As people write it: with a true minus, and without a negative nought. Nothing for CSV or JSON."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def escape_markdown(text: str) -> str:
    """Shown as it is in a Markdown table cell: no markup, no HTML, no column break."""
    return visible(text).translate(_MARKDOWN)


def escape_latex(text: str) -> str:
    """Shown as it is in LaTeX's text mode."""
    return re.sub("-(?=-)", "-{}", visible(text).translate(_LATEX))


_MARKDOWN = str.maketrans({c: "\\" + c for c in "\\`*_[]|~$#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})
_LATEX = str.maketrans(
    {c: "\\" + c for c in "_%&$#{}"}
    | {
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "`": r"\textasciigrave{}",
        DASH: r"\textendash{}",
        # Of headings; pdfLaTeX knows none of these as letters.
        "−": "$-$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "²": r"\textsuperscript{2}",
        # At the start of a row these two would be read as arguments of the line break before it.
        "[": "{[}",
        "*": "{*}",
    }
)


def _tie(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b))

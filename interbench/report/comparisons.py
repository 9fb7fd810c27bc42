"""A paired comparison of two systems as Markdown, CSV, LaTeX, JSON or for the terminal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from interbench.base.errors import UsageError
from interbench.report.grid import DASH, Cell, Grid, decimal, to_latex, to_markdown
from interbench.report.notes import counted, who_judged
from interbench.report.tables import FORMATS, PLAIN, Format, View, csv_text
from interbench.report.terminal import to_rich
from interbench.stats import LEVEL, Comparison

if TYPE_CHECKING:
    import rich.console

SCHEMA = "interbench.comparison/1"
SIGNIFICANT = 0.05


def render_comparison(comparison: Comparison, format: Format, view: View = PLAIN) -> str:  # noqa: A002
    """As text that ends in a newline; ``csv`` and ``json`` whole and in full precision.

    Raises :class:`~interbench.base.errors.UsageError` for an unknown format.
    """
    match format:
        case "csv":
            return comparisons_csv([comparison])
        case "json":
            return json.dumps(_json(comparison), indent=2, allow_nan=False) + "\n"
        case "md":
            return to_markdown(_grid(comparison, view))
        case "latex":
            return to_latex(_grid(comparison, view))
        case _:
            raise UsageError(f"{format!r} is not a format of tables; choose one of {', '.join(FORMATS)}.")


def render_comparison_rich(
    comparison: Comparison, view: View = PLAIN, *, width: int | None = None
) -> rich.console.RenderableType:
    """For a terminal of ``width`` columns."""
    return to_rich(_grid(comparison, view), width)


def power_note(comparison: Comparison) -> str:
    """Whether any difference could be significant here; empty if it could."""
    if comparison.smallest_p_holm < SIGNIFICANT:
        return ""
    compared = [row for row in comparison.dimensions if row.scenarios]
    if not compared:
        return "No scenario is scored for both."
    most = max(row.scenarios for row in compared)
    return (
        f"No difference can be significant here: the smallest p possible with {counted(most, 'scenario')} is "
        f"{comparison.smallest_p:.4g}, corrected for {counted(len(compared), 'dimension')} "
        f"{comparison.smallest_p_holm:.4g}."
    )


def lines_note(comparison: Comparison) -> str:
    """In how many turns the user said different things to the two; empty where nobody knows."""
    if comparison.common_turns is None:
        return ""
    return (
        f"Reacting to their answers, the user said different things to the two in {comparison.different_lines} of "
        f"{comparison.common_turns} turns."
    )


def _grid(comparison: Comparison, view: View) -> Grid:
    def number(value: float | None, sign: str = "") -> str:
        return DASH if value is None else decimal(value, view.precision, sign)

    def probability(value: float | None) -> str:
        return DASH if value is None else f"{value:.4f}" if value >= 0.0001 else "<0.0001"

    chosen = [d for d in comparison.dimensions if view.dimensions is None or d.dimension in view.dimensions]
    shown = [d for d in chosen if view.all_columns or view.dimensions is not None or d.scenarios]
    hidden = [d.dimension for d in chosen if d not in shown]
    rows = tuple(
        (
            Cell(d.dimension),
            Cell(number(d.mean_a)),
            Cell(number(d.mean_b)),
            Cell(number(d.difference, "+")),
            Cell(DASH if d.lo is None else f"{number(d.lo, '+')} to {number(d.hi, '+')}"),
            Cell(probability(d.p)),
            Cell(probability(d.p_holm)),
            Cell(str(d.scenarios)),
        )
        for d in shown
    )
    header = ("Dimension", comparison.a, comparison.b, "Difference", "95 % interval", "p", "p (Holm)", "Scenarios")
    notes = (
        f"Mean percentiles of {comparison.a} minus those of {comparison.b}, over the scenarios where both are scored; "
        f"pool: {', '.join(comparison.pool.systems)} on {counted(len(comparison.pool.scenarios), 'scenario')}.",
        f"Intervals: bootstrap over scenarios, {comparison.replicates} replicates. p: two-sided, "
        f"{exchanges(comparison)} of labels within scenarios; Holm-corrected over the dimensions. "
        f"Seed {comparison.seed}.",
        power_note(comparison),
        lines_note(comparison),
        f"Without a scenario scored for both and not shown: {', '.join(hidden)}." if hidden else "",
        who_judged(comparison.judge),
    )
    return Grid(header, (rows,), tuple(filter(None, notes)))


def exchanges(comparison: Comparison) -> str:
    """How many exchanges of labels p comes from, for people."""
    if comparison.exact:
        many = comparison.permutations
        return f"all {many} exchanges" if many > 1 else "the only exchange"
    return f"{comparison.permutations} random exchanges"


def _json(comparison: Comparison) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "a": comparison.a,
        "b": comparison.b,
        "judge": comparison.judge.model_dump() if comparison.judge else None,
        "pool": {"systems": list(comparison.pool.systems), "scenarios": list(comparison.pool.scenarios)},
        "level": LEVEL,
        "replicates": comparison.replicates,
        "permutations": comparison.permutations,
        "exact": comparison.exact,
        "seed": comparison.seed,
        "different_lines": comparison.different_lines,
        "common_turns": comparison.common_turns,
        "smallest_p": comparison.smallest_p,
        "smallest_p_holm": comparison.smallest_p_holm,
        "dimensions": {
            d.dimension: {key: value for key, value in dataclasses.asdict(d).items() if key != "dimension"}
            for d in comparison.dimensions
        },
    }


def comparisons_csv(comparisons: Iterable[Comparison]) -> str:
    """A row per pair and dimension."""
    fields = ("dimension", "mean_a", "mean_b", "difference", "lo", "hi", "p", "p_holm", "scenarios")
    rows = [
        [pair.a, pair.b, *(getattr(d, field) for field in fields), pair.different_lines, pair.common_turns]
        for pair in comparisons
        for d in pair.dimensions
    ]
    return csv_text([["a", "b", *fields, "different_lines", "common_turns"], *rows])

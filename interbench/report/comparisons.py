"""A paired comparison of two systems as Markdown, CSV, LaTeX, JSON or for the terminal."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

from interbench.base.errors import UsageError
from interbench.report.grid import DASH, Cell, Grid, to_latex, to_markdown
from interbench.report.sheet import SheetWriter
from interbench.report.tables import FORMATS, Format, who_judged
from interbench.report.terminal import to_rich
from interbench.stats import LEVEL, Comparison

if TYPE_CHECKING:
    import rich.console

SCHEMA = "interbench.comparison/1"


def render_comparison(comparison: Comparison, format: Format, *, precision: int = 2) -> str:  # noqa: A002
    """As text that ends in a newline; ``csv`` and ``json`` in full precision.

    Raises :class:`~interbench.base.errors.UsageError` for an unknown format or a precision outside 0 to 15.
    """
    match format:
        case "csv":
            return _csv(comparison)
        case "json":
            return json.dumps(_json(comparison), indent=2, allow_nan=False) + "\n"
        case "md":
            return to_markdown(_grid(comparison, precision))
        case "latex":
            return to_latex(_grid(comparison, precision))
        case _:
            raise UsageError(f"{format!r} is not a format of tables; choose one of {', '.join(FORMATS)}.")


def render_comparison_rich(
    comparison: Comparison, *, precision: int = 2, width: int | None = None
) -> rich.console.RenderableType:
    """For a terminal of ``width`` columns.

    Raises :class:`~interbench.base.errors.UsageError` for a precision outside 0 to 15.
    """
    return to_rich(_grid(comparison, precision), width)


def _grid(comparison: Comparison, precision: int) -> Grid:
    if not 0 <= precision <= 15:
        raise UsageError(f"A precision of {precision} digits can't be shown; choose 0 to 15.")

    def number(value: float | None, sign: str = "") -> str:
        return DASH if value is None else f"{value:{sign}.{precision}f}"

    def probability(value: float | None) -> str:
        return DASH if value is None else f"{value:.4f}" if value >= 0.0001 else "<0.0001"

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
        for d in comparison.dimensions
    )
    header = ("Dimension", comparison.a, comparison.b, "Difference", "95 % interval", "p", "p (Holm)", "Scenarios")
    kind = "all" if comparison.exact else "random"
    notes = (
        f"Mean percentiles of {comparison.a} less those of {comparison.b}, over the scenarios where both are scored; "
        f"pool: {', '.join(comparison.pool.systems)} on {len(comparison.pool.scenarios)} scenarios.",
        f"Intervals: bootstrap over scenarios, {comparison.replicates} replicates. p: two-sided, {kind} "
        f"{comparison.permutations} exchanges of labels within scenarios; Holm-corrected over the dimensions. Seed "
        f"{comparison.seed}.",
        who_judged(comparison.judge),
    )
    return Grid(header, (rows,), notes)


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
        "dimensions": {
            d.dimension: {key: value for key, value in dataclasses.asdict(d).items() if key != "dimension"}
            for d in comparison.dimensions
        },
    }


def _csv(comparison: Comparison) -> str:
    out = io.StringIO()
    writer = SheetWriter(out)
    fields = ("dimension", "mean_a", "mean_b", "difference", "lo", "hi", "p", "p_holm", "scenarios")
    writer.writerow(["a", "b", *fields])
    for d in comparison.dimensions:
        writer.writerow([comparison.a, comparison.b, *(getattr(d, field) for field in fields)])
    return out.getvalue()

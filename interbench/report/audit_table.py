"""What an audit says, in a few lines: for the terminal, and as the footnotes of tables of runs judged by the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interbench.audit.verdicts import Validity
from interbench.report.grid import visible

if TYPE_CHECKING:
    from interbench.audit.collect import Result


def summary_lines(result: Result) -> list[str]:
    """A line per dimension that is scored, and what stands out beside."""
    scored, asked = result.coverage
    lines = [
        f"{visible(result.judge_label)} on trial: {len(result.scenarios)} scenarios of {visible(result.base)}, "
        f"{scored} of {asked} verdicts with a score"
    ]
    unscored = [of.key for of in result.matrix.dimensions if of.validity is Validity.NOT_SCORED]
    lines += [
        f"  {of.key:<10} {of.validity:<10} {of.why}"
        for of in result.matrix.dimensions
        if of.validity is not Validity.NOT_SCORED
    ]
    if unscored:
        lines.append(f"  {', '.join(unscored)}: not scored by this judge")
    lines += [
        f"  {floor.key} is not steady: {floor.by} alone moves it by {floor.size:.2f}"
        for floor in result.matrix.floors
        if not floor.steady
    ]
    lines += [f"  {of.key}: at its {of.limit} ({of.mean:.1f})" for of in result.repeatability if of.limit and of.mean]
    return lines

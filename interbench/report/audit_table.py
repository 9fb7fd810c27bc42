"""What an audit says, in a few lines: for the terminal, and as the footnotes of tables of runs judged by the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interbench.audit.verdicts import Validity
from interbench.base.errors import UsageError
from interbench.report.grid import visible

if TYPE_CHECKING:
    from interbench.audit.collect import Result
    from interbench.stats import JudgeLabel


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
    for limit in ("ceiling", "floor"):
        if there := [of.key for of in result.repeatability if of.limit == limit]:
            lines.append(f"  at the {limit} of the scale without any defect: {', '.join(there)}")
    return lines


def footnotes(result: Result, judge: JudgeLabel | None, scored: Sequence[str]) -> tuple[str, ...]:
    """What an audit says of the columns ``scored`` of a table that ``judge`` has made.

    Raises:
        UsageError: the audit is of another judge.
    """
    if judge is None or judge.identity != result.judge_key[:12]:
        other = "the scores came without the name of their judge" if judge is None else f"{judge.name} {judge.identity}"
        raise UsageError(
            f"The audit {result.folder} is of another judge ({result.judge_label} {result.judge_key[:12]}; here "
            f"{other}), and says nothing of these figures. Audit this one, in these settings: interbench audit RUN."
        )
    told = {of.key: of for of in result.matrix.dimensions if of.key in scored}
    by_word = {word: [key for key in scored if key in told and told[key].validity is word] for word in Validity}
    lines = [
        f"Audit of the judge ({len(result.scenarios)} scenarios, catalogue "
        f"{result.audit['catalogue']['sha256'][:12]}): "
        + "; ".join(f"{word}: {', '.join(keys)}" for word, keys in by_word.items() if keys)
        + "."
    ]
    lines += [f"{key}: {told[key].why}" for key in by_word[Validity.FAIL]]
    lines += [
        f"{floor.key} is moved by {floor.size:.2f} raw points by {floor.by} alone, which must not matter."
        for floor in result.matrix.floors
        if floor.key in scored and not floor.steady
    ]
    return tuple(lines)


def unaudited(judge: JudgeLabel | None) -> tuple[str, ...]:
    """What is to be said of the table of a vision-language judge that was not put on trial."""
    if judge is None or not judge.comparable:
        return ()
    return (
        f"No audit of {judge.name} ({judge.identity}) was given: nothing here says which columns it can tell apart "
        f"(interbench audit, and --audit).",
    )

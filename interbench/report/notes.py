"""What a reader must know beside the figures of a table, a sentence or two each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from interbench.domain.dimensions import DIMENSION_KEYS, DIMENSIONS
from interbench.domain.published import SOURCE
from interbench.domain.records import REMEDIES
from interbench.report.columns import TOLD, Column
from interbench.stats import JudgeLabel, Repeats

if TYPE_CHECKING:
    from interbench.report.tables import Table

CONTENT = tuple(dimension.key for dimension in DIMENSIONS if dimension.group == "content")
FEW_SYSTEMS, FEW_SCENARIOS = 3, 10
"""Pools of fewer are called small."""


def who_judged(judge: JudgeLabel | None) -> str:
    """The sentence that goes with every figure of that judge."""
    if judge is None:
        return "The scores came without the name of their judge."
    text = f"Judge: {judge.name}" + (f" ({judge.identity})" if judge.identity else "")
    text += f", mode {judge.mode}." if judge.mode else "."
    if not judge.comparable:
        text += (
            f" {judge.name} works offline: its figures are not comparable with those of a vision-language model (VLM) "
            "judge."
        )
    return text


def notes(table: Table, hidden: Sequence[Column] = (), *, means: bool = False) -> tuple[str, ...]:
    """All that apply, where the columns ``hidden`` are left out and, with ``means``, raw figures are shown."""
    return tuple(
        note
        for note in (
            *table.caveats,
            _told_note(table),
            _pool_note(table),
            *small_pool_notes(table),
            _means_note() if means else "",
            _mean_note(table),
            _hidden_note(table, hidden),
            _judge_note(table),
            "" if means else _interval_note(table),
            _flat_note(table),
            _missing_note(table),
            _repeats_note(table),
            _runs_on_note(table),
            _unheard_note(table),
            _published_note(table),
            *table.footnotes,
        )
        if note
    )


def _told_note(table: Table) -> str:
    told: dict[str, list[str]] = {}
    for row in table.rows:
        if row.told:
            told.setdefault(row.told, []).append(row.system)
    if not told:
        return ""
    listed = "; ".join(f"{', '.join(systems)} by {source}" for source, systems in told.items())
    return (
        f"Marked{TOLD}: told what to say ({listed}), so that their columns of content ({', '.join(CONTENT)}) are the "
        f"words' and not the system's own understanding; they differ from one another in picture alone."
    )


def _pool_note(table: Table) -> str:
    systems, scenarios = table.pool.systems, len(table.pool.scenarios)
    if not systems:
        return "Nothing is scored, so there is no pool."
    named = ", ".join(systems[:12]) + (f" and {len(systems) - 12} more" if len(systems) > 12 else "")
    frozen = "Percentiles are relative to a frozen pool" if table.reference else "Percentiles are relative to the pool"
    return f"{frozen} of {counted(len(systems), 'system')} ({named}) on {counted(scenarios, 'scenario')}."


def small_pool_notes(table: Table) -> tuple[str, ...]:
    """What few systems or few scenarios mean for the figures."""
    systems, scenarios = len(table.pool.systems), len(table.pool.scenarios)
    found = []
    if 0 < systems < FEW_SYSTEMS:
        beside = "itself" if systems == 1 else "each other"
        found.append(
            f"Small pool: {counted(systems, 'system')} compared with {beside} only, so that percentiles look far apart "
            "whatever the difference; read the raw means (--means) with them."
        )
    if 0 < scenarios < FEW_SCENARIOS:
        found.append(
            f"Small pool: with {counted(scenarios, 'scenario')}, intervals are too narrow or missing, and a difference "
            "says little."
        )
    return tuple(found)


def _means_note() -> str:
    return "The figures are raw means on the judge's own scale, without intervals."


def _mean_note(table: Table) -> str:
    measured = table.measured
    if not any(row.mean.percentile is not None for row in table.rows):
        return ""
    text = f"Mean: plain average over {_listed(measured)}, no overall score."
    if any(row.rank is not None for row in table.rows):
        text += " Rank: systems tie unless the interval of one mean lies wholly above the other's."
    return text


def _hidden_note(table: Table, hidden: Sequence[Column]) -> str:
    empty = [column.heading for column in hidden if not column.measured((*table.rows, *table.beneath))]
    return f"Without a measured value and not shown: {', '.join(empty)}." if empty else ""


def _repeats_note(table: Table) -> str:
    if not table.repeats:
        return ""

    def line(key: str, of: Repeats) -> str:
        return f"{key} {of.sd:.2f}, {100 * of.agreement:.0f} %"

    return (
        "Repeated judgements, standard deviation about their conversation's mean and share that agree exactly: "
        + "; ".join(line(key, of) for key, of in table.repeats.items())
        + "."
    )


def _listed(keys: Sequence[str]) -> str:
    return f"all {len(keys)} dimensions" if keys == DIMENSION_KEYS else f"the measured dimensions ({', '.join(keys)})"


def _judge_note(table: Table) -> str:
    judge, frozen_by = table.judge, table.reference.judge if table.reference else table.judge
    text = who_judged(judge)
    if table.reference and (judge is None) != (frozen_by is None):
        other = f"was made by {frozen_by.name}" if frozen_by else "came without the name of its judge"
        text += f" The frozen pool {other}; that both are the same judge could not be checked."
    return text


def _interval_note(table: Table) -> str:
    if not table.resampling or not any(f.interval for row in table.rows for f in row.figures.values()):
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
        text += "".join(f" {remedy}" for reason, remedy in REMEDIES.items() if reasons[reason])
    if samples:
        text += f" {counted(samples, 'repeated judgement')} without a score left out of averages."
    return text.strip()


def _runs_on_note(table: Table) -> str:
    systems = [row.system for row in table.rows if row.speed.continuous]
    if not systems:
        return ""
    return (
        f"The picture of {', '.join(systems)} never stops, so that a first frame is always there and no latency to it "
        f"is given; what a user waits is the time to first speech."
    )


def _unheard_note(table: Table) -> str:
    reasons: Counter[str] = Counter()
    for row in table.rows:
        reasons.update(row.speed.unheard)
    if not reasons:
        return ""
    listed = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in reasons.most_common())
    return f"Turns without a time to first speech, left out of its median: {listed}."


def _published_note(table: Table) -> str:
    return quoted_note() if table.beneath else ""


def quoted_note() -> str:
    """What goes with every quoted row."""
    return (
        f"Rows marked (quoted) are the published ones of {SOURCE}, relative to the paper's own pool; they are neither "
        "reproduced nor pooled here."
    )


def why_apart(judge: JudgeLabel | None) -> str:
    """Why the published rows stand in a table of their own; empty if the published rubrics gave the scores."""
    if judge is not None and judge.mode == "published":
        return ""
    if judge is None or not (judge.mode or not judge.comparable):
        how = "nobody says by which reading of the rubrics the scores above were judged"
    elif not judge.comparable:
        how = f"what {judge.name} measures is none of the paper's dimensions"
    else:
        how = f"the verdicts above were given in the mode {judge.mode}"
    return (
        f"The published rows stand in a table of their own, because {how}. Figures of two readings are not comparable; "
        f"judge with --judge-mode published to set them in one table."
    )


def counted(number: int, noun: str) -> str:
    """``1 system``, ``2 systems``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

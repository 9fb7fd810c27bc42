"""The columns of the result table, each said once: Markdown, LaTeX, CSV, JSON, the terminal and the report loop over
them.

To add a column is to add an entry to :data:`COLUMNS`; what it shows must be in a :class:`~interbench.report.rows.Row`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from interbench.domain.dimensions import EVERY, Dimension
from interbench.report.grid import DASH, Mark, rank_marks
from interbench.report.rows import Row
from interbench.stats import Coverage

TOLD = " †"
"""Stands behind systems that were told their words, and behind their figures of content."""


def _nothing(row: Row) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One figure of every system."""

    key: str
    """Its name in CSV and JSON."""
    heading: str
    title: str
    """What the figure is, for whoever points at the heading."""
    group: str = ""
    """Neighbours of one group stand under its name in the report."""
    value: Callable[[Row], float | None]
    """The figure; None where it is missing, which every format shows as missing."""
    interval: Callable[[Row], tuple[float, float] | None] = lambda row: None
    """Its 95 % interval, if it has one."""
    better: Literal["higher", "lower"] | None = None
    """Which end is best and gets the marks; None for no marks."""
    format: Callable[[Row], str] | None = None
    """How a value is written where that is not a decimal number."""
    digits: int = 1
    """Of the figure in the report, where nobody can ask for a precision; an interval has none there."""
    why: Callable[[Row], str] = lambda row: ""
    """Why the figure is missing or not whole, for people; empty otherwise."""
    facts: Callable[[Row], Mapping[str, Any]] = _nothing
    """What else the JSON says with it: fields of their own, or fields of its object if it has a ``section``. Asked of
    measured rows only."""
    in_csv: tuple[str, ...] = ()
    """Which of these facts the CSV has too: right of the figure, or at the end as ``KEY_fact`` if it has a
    ``section``."""
    section: str = ""
    """The object of the JSON in which the figure stands as an object of its own; empty for a plain field."""
    unit: str = "value"
    """What the figure is called within that object."""
    raw: Callable[[Row], float | None] | None = None
    """The same figure on the judge's own scale, where it has one."""
    link: str = ""
    """Fragment of the viewer's address that shows what the figure was made from."""

    @property
    def on_judges_scale(self) -> Column:
        """The column with its raw figures, which have no intervals; itself where it has none."""
        if self.raw is None:
            return self
        return replace(self, value=self.raw, interval=lambda row: None, digits=2, raw=None)

    def measured(self, rows: Sequence[Row]) -> bool:
        """Whether any of the rows has a value in it."""
        return any(self.value(row) is not None for row in rows)

    def text(self, row: Row, number: Callable[[float], str]) -> str:
        """The figure as people read it, its decimal number written by ``number``."""
        value = self.value(row)
        if value is None:
            return DASH
        return number(value) if self.format is None else self.format(row)

    def shown(self, row: Row, number: Callable[[float], str]) -> str:
        """The figure as tables show it, with a mark where it says little of a system that was told its words."""
        text = self.text(row, number)
        return f"{text}{TOLD}" if self.group == "content" and row.told and text != DASH else text

    def marks(self, rows: Sequence[Row]) -> list[Mark | None]:
        """Who is best and second in it."""
        if self.better is None:
            return [None] * len(rows)
        return rank_marks([self.value(row) for row in rows], highest=self.better == "higher")


def why_missing(coverage: Coverage) -> str:
    """``2 of 6 missing: refused 2``; empty if nothing is missing."""
    lost = coverage.expected - coverage.scored
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in coverage.missing.items())
    return f"{lost} of {coverage.expected} missing: {reasons}" if lost else ""


def told_note(row: Row) -> str:
    """What to know of the content of somebody who was told what to say; empty for anybody else."""
    return f"told what to say by {row.told}: not its own understanding" if row.told else ""


def dimension_column(dimension: Dimension) -> Column:
    """Mean percentiles of one dimension, with their intervals."""
    key = dimension.key

    def facts(row: Row) -> dict[str, Any]:
        figure = row.figure(key)
        return {
            "lo": figure.lo,
            "hi": figure.hi,
            "mean": figure.mean,
            "scored": figure.coverage.scored,
            "expected": figure.coverage.expected,
            "missing": dict(figure.coverage.missing),
            "missing_samples": figure.coverage.samples_missing,
        }

    def why(row: Row) -> str:
        said = (why_missing(row.figure(key).coverage), told_note(row) if dimension.group == "content" else "")
        return "; ".join(filter(None, said))

    return Column(
        key=key,
        heading=key,
        title=f"{dimension.name}: {dimension.question}",
        group=dimension.group,
        value=lambda row: row.figure(key).percentile,
        interval=lambda row: row.figure(key).interval,
        better="higher",
        why=why,
        facts=facts,
        in_csv=("lo", "hi", "mean", "scored", "expected"),
        section="dimensions",
        unit="percentile",
        raw=lambda row: row.figure(key).mean,
        link=f"dimension={key}&order=systems",
    )


def _unheard(row: Row) -> str:
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in row.speed.unheard.items())
    return f"{sum(row.speed.unheard.values())} of {row.speed.n} turns without: {reasons}" if reasons else ""


def _runs_on(row: Row) -> str:
    count = row.speed.continuous
    return f"{count} of {row.speed.n} turns with a picture that never stops: read First speech" if count else ""


def _no_mean(row: Row) -> str:
    if row.mean.percentile is not None or row.quoted_from:
        return ""
    return "not scored in every measured dimension"


COLUMNS: tuple[Column, ...] = (
    Column(
        key="fps",
        heading="FPS",
        title="Throughput, frames per second",
        group="speed",
        value=lambda row: row.speed.fps,
        better="higher",
    ),
    Column(
        key="latency_s",
        heading="Latency s",
        title="Median time to first frame, seconds",
        group="speed",
        value=lambda row: row.speed.latency_s,
        better="lower",
        digits=2,
        why=_runs_on,
    ),
    Column(
        key="first_speech_s",
        heading="First speech s",
        title="Median time to first speech, seconds",
        group="speed",
        value=lambda row: row.speed.first_speech_s,
        better="lower",
        digits=2,
        why=_unheard,
        facts=lambda row: {
            "first_speech_turns": row.speed.first_speech_n,
            "first_speech_missing": dict(row.speed.unheard),
        },
    ),
    *(dimension_column(dimension) for dimension in EVERY),
    Column(
        key="mean_percentile",
        heading="Mean",
        title="Plain mean of the measured dimensions; no overall score",
        group="summary",
        value=lambda row: row.mean.percentile,
        interval=lambda row: row.mean.interval,
        better="higher",
        why=_no_mean,
        facts=lambda row: {
            "mean_percentile_lo": row.mean.lo,
            "mean_percentile_hi": row.mean.hi,
            "mean_raw": row.mean.mean,
        },
        in_csv=("mean_percentile_lo", "mean_percentile_hi", "mean_raw"),
        raw=lambda row: row.mean.mean,
    ),
    Column(
        key="rank",
        heading="Rank",
        title="By that mean: 1 + how many systems have an interval wholly above this one's, so that systems tie",
        group="summary",
        value=lambda row: row.rank,
        format=lambda row: str(row.rank),
        digits=0,
        why=lambda row: "" if row.rank is not None or row.quoted_from else "no interval of the mean to rank by",
    ),
    Column(
        key="scored",
        heading="Coverage",
        title="Verdicts with a score, of those expected",
        value=lambda row: None if row.quoted_from else row.scored,
        format=lambda row: f"{row.scored}/{row.expected}",
        facts=lambda row: {"expected": row.expected},
        in_csv=("expected",),
    ),
)
"""In the order of the table, after the name of the system."""


def columns_of(dimensions: Collection[str]) -> tuple[Column, ...]:
    """The columns of a table in which these dimensions are expected."""
    return tuple(column for column in COLUMNS if column.section != "dimensions" or column.key in dimensions)


def shown_columns(
    columns: Sequence[Column], rows: Sequence[Row], *, dimensions: Sequence[str] | None = None, everything: bool = False
) -> tuple[Column, ...]:
    """The columns worth showing to people: those with a value in any of the ``rows``, or all with ``everything``.

    With ``dimensions`` only these of the dimensions, measured or not. Coverage always stays.
    """

    def shown(column: Column) -> bool:
        if column.section == "dimensions" and dimensions is not None:
            return column.key in dimensions
        return everything or column.measured(rows)

    return tuple(column for column in columns if shown(column))

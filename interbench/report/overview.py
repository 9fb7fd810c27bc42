"""What the report's first page says: the figures of a :class:`ReportData`, in the order the template shows them."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interbench.domain.dimensions import Dimension, dimension
from interbench.domain.incidents import IncidentKind
from interbench.domain.records import Exchange
from interbench.report.breakdown import Breakdown
from interbench.report.columns import Column
from interbench.report.comparisons import SIGNIFICANT, exchanges, power_note
from interbench.report.grid import DASH, Mark, decimal
from interbench.report.incidents import LiveRow, live_rows
from interbench.report.model import ReportData, SystemFacts
from interbench.report.notes import notes, small_pool_notes
from interbench.report.payload import OUTCOMES, plain, real_time_factor
from interbench.report.plots import PERCENTILES, Radar, StripPlot, radar, strip_plot
from interbench.report.rows import Figure, Row
from interbench.report.tables import Table
from interbench.stats import Comparison, Correlations, PairedDifference, Repeats

FEWEST_SPOKES = 3
"""A radar needs as many dimensions; fewer make no outline."""


@dataclass(frozen=True, slots=True)
class ColumnHead:
    """A column of the result table, as the page heads it."""

    column: Column
    opens: bool
    """Whether it is the first of its group."""


@dataclass(frozen=True, slots=True)
class RawFigure:
    value: float | None
    text: str
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class ResultCell:
    head: ColumnHead
    value: float | None
    """To sort by."""
    text: str
    """A dash if it is missing."""
    ends: str
    """Of its interval; empty without one."""
    mark: Mark | None
    raw: RawFigure | None
    """The same on the judge's scale, where there is such a figure."""
    missing: bool
    why: str
    """Why the figure is missing or not whole, for people; empty otherwise."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    slot: int | None
    """None for a quoted row, which has no colour."""
    row: Row
    cells: Mapping[str, ResultCell]
    """By key of the column, in its order."""


@dataclass(frozen=True, slots=True)
class DotMark:
    slot: int
    y: float
    x: float
    lo: float | None
    hi: float | None
    says: str


@dataclass(frozen=True, slots=True)
class DotRow:
    """One dimension of the dot plot."""

    key: str
    name: str
    marks: tuple[DotMark, ...]


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    slot: int
    system: str
    turns: int
    counts: Mapping[str, int]
    """By outcome, in the order of ``OUTCOMES``; only those that occur."""

    @property
    def stretches(self) -> list[tuple[str, int, float, float]]:
        """(outcome, count, start, width) of the bar, in percent."""
        start, bar = 0.0, []
        for outcome, count in self.counts.items():
            width = 100 * count / self.turns
            bar.append((outcome, count, round(start, 3), round(width, 3)))
            start += width
        return bar


@dataclass(frozen=True, slots=True)
class DefectCheck:
    """Whether one controlled defect is seen by the judge in one dimension."""

    slot: int
    intact_slot: int
    system: str
    intact: str
    description: str
    dimension: str
    name: str
    defect_percentile: float | None
    intact_percentile: float | None

    @property
    def lowered(self) -> bool | None:
        if self.defect_percentile is None or self.intact_percentile is None:
            return None
        return self.defect_percentile < self.intact_percentile


@dataclass(frozen=True, slots=True)
class ComparedPair:
    """Cells in the order of the compared dimensions; ``winner`` is the slot whose colour a clear difference gets."""

    a: int
    b: int
    cells: tuple[tuple[PairedDifference, int | None], ...]


@dataclass(frozen=True, slots=True)
class CostRow:
    slot: int
    system: str
    clips: int
    video_s: float
    priced: int
    """Turns whose cost is known."""
    usd: float | None


@dataclass(frozen=True, slots=True)
class KindFigure:
    """One system on the scenarios of one kind; texts are dashes where nothing is scored."""

    percentile: str
    raw: str
    value: float | None
    raw_value: float | None


@dataclass(frozen=True, slots=True)
class KindRow:
    kind: str
    scenarios: int
    cells: tuple[tuple[int, str, Mapping[str, KindFigure]], ...]
    """(slot, system, figures by dimension and ``mean``)."""


@dataclass(frozen=True, slots=True)
class KindTable:
    """The figures apart by kind of scenario."""

    by: str
    keys: tuple[str, ...]
    """What can be shown: ``mean`` if there is one, and the measured dimensions."""
    rows: tuple[KindRow, ...]


@dataclass(frozen=True)
class Overview:
    slots: Mapping[str, int]
    extent: str
    systems: tuple[SystemFacts, ...]
    heads: tuple[ColumnHead, ...]
    groups: tuple[tuple[str, int], ...]
    """Of columns: name and width."""
    results: tuple[ResultRow, ...]
    quoted: tuple[ResultRow, ...]
    notes: tuple[str, ...]
    dots: Mapping[str, tuple[DotRow, ...]]
    """By group of dimensions."""
    radars: tuple[Radar, ...]
    radar_keys: tuple[str, ...]
    speeds: tuple[StripPlot, ...]
    outcomes: tuple[OutcomeRow, ...]
    outcome_names: tuple[str, ...]
    pairs: tuple[ComparedPair, ...]
    pair_note: str
    power: str
    """Whether any difference could be significant; empty if so."""
    measured: tuple[Dimension, ...]
    """In which anybody has a score."""
    unmeasured: tuple[Dimension, ...]
    kinds: tuple[KindTable, ...]
    repeats: tuple[tuple[Dimension, Repeats], ...]
    correlations: Correlations | None
    changed: tuple[ComparedPair, ...]
    """Systems of later runs with those of the first."""
    notices: tuple[str, ...]
    """What stands on top of the page."""
    defects: tuple[DefectCheck, ...]
    live: tuple[LiveRow, ...]
    incident_kinds: tuple[IncidentKind, ...]
    """That occur."""
    costs: tuple[CostRow, ...]
    usage: Mapping[str, Any]
    settings: Mapping[str, Any]


def make_overview(data: ReportData) -> Overview:
    """Work out everything the first page shows."""
    slots = {system.name: index for index, system in enumerate(data.systems)}
    exchanges = [exchange for conversation in data.conversations for exchange in conversation.exchanges]
    measured = data.table.measured
    shown = data.table.shown
    hidden = [column for column in data.table.columns if column not in shown]
    outcomes = _outcomes(data, slots)
    live = live_rows(exchanges)
    return Overview(
        slots=slots,
        extent=_extent(data),
        systems=data.systems,
        heads=_heads(data.table),
        groups=_groups(data.table),
        results=tuple(_result(data.table, row, slots[row.system], index) for index, row in enumerate(data.table.rows)),
        quoted=tuple(_result(data.table, row) for row in data.table.beneath),
        notes=notes(data.table, hidden),
        dots=_dots(data, slots, measured),
        radars=_radars(data, slots, measured) if len(measured) >= FEWEST_SPOKES else (),
        radar_keys=measured,
        speeds=_speeds(data, exchanges),
        outcomes=outcomes,
        outcome_names=tuple(name for name in OUTCOMES if any(name in row.counts for row in outcomes)),
        pairs=tuple(_pair(comparison, slots, measured) for comparison in data.comparisons),
        pair_note=_pair_note(data),
        power=_power(data),
        measured=tuple(d for d in data.table.dimensions if d.key in measured),
        unmeasured=tuple(d for d in data.table.dimensions if d.key not in measured),
        kinds=tuple(_kinds(breakdown, slots, measured) for breakdown in data.breakdowns),
        repeats=tuple((dimension(key), of) for key, of in data.table.repeats.items()),
        correlations=data.table.correlations,
        changed=tuple(_pair(pair, slots, measured) for pair in (data.changes.figures if data.changes else ())),
        notices=tuple(dict.fromkeys((*data.notes, *small_pool_notes(data.table)))),
        defects=_defects(data, slots),
        live=live,
        incident_kinds=tuple(kind for kind in IncidentKind if any(kind in row.counts for row in live)),
        costs=_costs(data, slots, exchanges),
        usage=plain({**data.judge.summary, **data.usage}),
        settings=plain(data.settings),
    )


def _extent(data: ReportData) -> str:
    turns = sum(len(entry.scenario.turns) for entry in data.scenarios)
    systems, scenarios = _count(len(data.systems), "system"), _count(len(data.scenarios), "scenario")
    return f"{systems} on {scenarios} with {_count(turns, 'turn')}"


def day(moment: str | None) -> str:
    """``31 January 2026, 14:05 UTC`` from ISO 8601; the text itself if it is something else."""
    try:
        when = dt.datetime.fromisoformat(moment or "")
    except ValueError:
        return moment or "–"
    zone = when.strftime(" %Z") if when.tzinfo else ""
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"


def span(low: float, high: float) -> str:
    """An interval in few letters: with a dash, or a word where that could be taken for a minus."""
    return f"{decimal(low, 1)}{'–' if low >= 0 else ' to '}{decimal(high, 1)}"


def _heads(table: Table) -> tuple[ColumnHead, ...]:
    groups = [None, *(column.group for column in table.shown)]
    return tuple(
        ColumnHead(column, column.group != before) for column, before in zip(table.shown, groups, strict=False)
    )


def _result(table: Table, row: Row, slot: int | None = None, index: int | None = None) -> ResultRow:
    """A row of the page; a measured one has a colour and, by its ``index`` in the table, marks."""

    def cell(head: ColumnHead) -> ResultCell:
        column = head.column
        ends = column.interval(row)

        def text(of: Column) -> str:
            return of.shown(row, lambda value: decimal(value, of.digits))

        def mark(of: Column) -> Mark | None:
            return None if index is None else of.marks(table.rows)[index]

        raw = column.on_judges_scale
        return ResultCell(
            head,
            column.value(row),
            text(column),
            "" if ends is None else span(*ends),
            mark(column),
            None if column.raw is None else RawFigure(raw.value(row), text(raw), mark(raw)),
            column.value(row) is None,
            column.why(row),
        )

    return ResultRow(slot, row, {head.column.key: cell(head) for head in _heads(table)})


def _groups(table: Table) -> tuple[tuple[str, int], ...]:
    """Name and width of every run of columns of one group."""
    return tuple((group, len(list(run))) for group, run in itertools.groupby(table.shown, lambda column: column.group))


def _dots(data: ReportData, slots: Mapping[str, int], measured: tuple[str, ...]) -> dict[str, tuple[DotRow, ...]]:
    def mark(index: int, row: Row, key: str) -> DotMark | None:
        figure = row.figure(key)
        if figure.percentile is None:
            return None
        lo, hi = (None if end is None else PERCENTILES.x(end) for end in (figure.lo, figure.hi))
        span = "" if figure.lo is None or figure.hi is None else f", 95 % interval {figure.lo:.1f} to {figure.hi:.1f}"
        says = f"{row.system}: {figure.percentile:.1f}{span}"
        return DotMark(slots[row.system], 9.0 + 13.0 * index, PERCENTILES.x(figure.percentile), lo, hi, says)

    grouped: dict[str, tuple[DotRow, ...]] = {}
    for d in data.table.dimensions:
        if d.key in measured:
            marks = tuple(m for i, row in enumerate(data.table.rows) if (m := mark(i, row, d.key)))
            grouped[d.group] = (*grouped.get(d.group, ()), DotRow(d.key, d.name, marks))
    return grouped


def _radars(data: ReportData, slots: Mapping[str, int], measured: tuple[str, ...]) -> tuple[Radar, ...]:
    return tuple(
        radar(slots[row.system], row.system, measured, [row.figure(key).percentile for key in measured])
        for row in data.table.rows
    )


def _speeds(data: ReportData, exchanges: list[Exchange]) -> tuple[StripPlot, ...]:
    first: dict[str, list[float]] = {system.name: [] for system in data.systems}
    heard: dict[str, list[float]] = {system.name: [] for system in data.systems}
    factor: dict[str, list[float]] = {system.name: [] for system in data.systems}
    resumed = 0
    for exchange in exchanges:
        if not exchange.completed or exchange.timings is None:
            continue
        if exchange.timings.resumed:
            resumed += 1
            continue
        if math.isfinite(exchange.timings.first_frame_s) and not exchange.timings.continuous:
            first[exchange.system].append(exchange.timings.first_frame_s)
        speech = exchange.timings.first_speech_s
        if speech is not None and math.isfinite(speech):
            heard[exchange.system].append(speech)
        value = real_time_factor(exchange.timings, exchange.facts)
        if value is not None and math.isfinite(value):
            factor[exchange.system].append(value)
    resolution = max((e.timings.resolution_s for e in exchanges if e.timings), default=0.0)
    note = "From the user's turn being complete to the first frame being available; a file counts from its arrival."
    if resolution:
        note += f" Polled systems may be late by up to {resolution:g} s."
    if resumed:
        note += f" {_count(resumed, 'turn')} taken up after an interruption left out."
    plots = (
        strip_plot("Time to first frame", "s", note, first),
        strip_plot(
            "Time to first speech",
            "s",
            "From the user's turn being complete to the first audible sample that could be played.",
            heard,
        ),
        strip_plot(
            "Real-time factor",
            "×",
            "Time to complete over playback duration; left of the line is faster than playback.",
            factor,
            reference=1.0,
        ),
    )
    return tuple(plot for plot in plots if plot is not None)


def _outcomes(data: ReportData, slots: Mapping[str, int]) -> tuple[OutcomeRow, ...]:
    turns = {entry.scenario.id: len(entry.scenario.turns) for entry in data.scenarios}
    seen: dict[str, Counter[str]] = {system.name: Counter() for system in data.systems}
    for conversation in data.conversations:
        outcomes = [exchange.outcome.value for exchange in conversation.exchanges]
        seen[conversation.system].update(outcomes)
        seen[conversation.system]["pending"] += turns[conversation.scenario] - len(outcomes)
    return tuple(
        OutcomeRow(slots[name], name, counts.total(), {key: counts[key] for key in OUTCOMES if counts[key]})
        for name, counts in seen.items()
        if counts.total()
    )


def _pair(comparison: Comparison, slots: Mapping[str, int], measured: tuple[str, ...]) -> ComparedPair:
    a, b = slots[comparison.a], slots[comparison.b]

    def winner(cell: PairedDifference) -> int | None:
        if cell.difference is None or cell.p_holm is None or cell.p_holm >= SIGNIFICANT:
            return None
        return a if cell.difference > 0 else b

    cells = tuple((cell, winner(cell)) for cell in comparison.dimensions if cell.dimension in measured)
    return ComparedPair(a, b, cells)


def _power(data: ReportData) -> str:
    """Said once, for the pair that could show most."""
    if not data.comparisons:
        return ""
    return power_note(min(data.comparisons, key=lambda comparison: comparison.smallest_p_holm))


def _kinds(breakdown: Breakdown, slots: Mapping[str, int], measured: tuple[str, ...]) -> KindTable:
    def figure(of: Figure) -> KindFigure:
        def text(value: float | None, digits: int) -> str:
            return DASH if value is None else decimal(value, digits)

        return KindFigure(text(of.percentile, 1), text(of.mean, 2), of.percentile, of.mean)

    def cells(part: Table) -> tuple[tuple[int, str, Mapping[str, KindFigure]], ...]:
        return tuple(
            (
                slots[row.system],
                row.system,
                {"mean": figure(row.mean), **{key: figure(row.figure(key)) for key in measured}},
            )
            for row in part.rows
        )

    rows = tuple(KindRow(kind, breakdown.scenarios[kind], cells(part)) for kind, part in breakdown.parts.items())
    return KindTable(breakdown.by, ("mean", *measured), rows)


def _pair_note(data: ReportData) -> str:
    if not data.comparisons:
        return ""
    first = data.comparisons[0]
    return (
        "Mean percentile of the first minus that of the second, over the scenarios where both are scored, with a 95 % "
        f"interval (bootstrap over scenarios, {first.replicates} replicates) and a two-sided p ({exchanges(first)} "
        f"of labels within scenarios), corrected for the dimensions after Holm. Coloured "
        f"where that p is below {SIGNIFICANT:g}, in the colour of the better system.{_different_lines(data)}"
    )


def _different_lines(data: ReportData) -> str:
    """Where a user who reacts said different things to the two of a pair; empty where nowhere."""
    pairs = [
        f"{pair.a} and {pair.b}: {pair.different_lines} of {pair.common_turns}"
        for pair in data.comparisons
        if pair.different_lines
    ]
    return f" Turns in which the user said different things to the two: {'; '.join(pairs)}." if pairs else ""


def _defects(data: ReportData, slots: Mapping[str, int]) -> tuple[DefectCheck, ...]:
    rows = {row.system: row for row in data.table.rows}
    return tuple(
        DefectCheck(
            slots[system.name],
            slots[system.intact],
            system.name,
            system.intact,
            system.description,
            d.key,
            d.name,
            rows[system.name].figure(d.key).percentile,
            rows[system.intact].figure(d.key).percentile,
        )
        for system in data.systems
        if system.intact in slots and system.intact in rows and system.name in rows
        for d in data.table.dimensions
        if d.key in system.lowers
    )


def _costs(data: ReportData, slots: Mapping[str, int], exchanges: list[Exchange]) -> tuple[CostRow, ...]:
    rows = []
    for system in data.systems:
        own = [exchange for exchange in exchanges if exchange.system == system.name]
        prices = [exchange.cost_usd for exchange in own if exchange.cost_usd is not None]
        lengths = [exchange.facts.duration_s for exchange in own if exchange.facts]
        usd = math.fsum(prices) if prices else None
        rows.append(CostRow(slots[system.name], system.name, len(lengths), math.fsum(lengths), len(prices), usd))
    return tuple(rows)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

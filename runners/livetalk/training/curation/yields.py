"""How many items each filter lets through: a table, and histograms of every measure with its limits drawn in."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from livetalk.training.curation.thresholds import Threshold

_BINS = 24
_WIDTH, _HEIGHT, _COLUMNS = 300, 170, 2


@dataclass(frozen=True, slots=True)
class FilterYield:
    """One filter over all items that were measured."""

    name: str
    limits: str
    low: int
    high: int
    missing: int
    """Items that it refuses because the measure is missing."""
    alone: int
    """Items that no other filter refuses."""
    left: int
    """Items left after this filter and those before it."""

    @property
    def refused(self) -> int:
        return self.low + self.high + self.missing


def yields(
    items: Sequence[Mapping[str, float]], thresholds: Sequence[Threshold], duplicates: Sequence[bool]
) -> list[FilterYield]:
    """What every filter refuses, in the order of the thresholds; duplicates last.

    Args:
        items: the figures of each item.
        thresholds: the filters.
        duplicates: for each item, whether it was found elsewhere.
    """
    faults = [
        [one.fault(values) for one in thresholds] + ["high" if twice else None]
        for values, twice in zip(items, duplicates, strict=True)
    ]
    names = [(one.measure, _limits(one)) for one in thresholds] + [("duplicate", "none")]
    found = []
    for at, (name, limits) in enumerate(names):
        mine = [row[at] for row in faults]
        found.append(
            FilterYield(
                name,
                limits,
                mine.count("low"),
                mine.count("high"),
                mine.count("missing"),
                sum(1 for row in faults if row[at] and not any(row[:at] + row[at + 1 :])),
                sum(1 for row in faults if not any(row[: at + 1])),
            )
        )
    return found


def as_markdown(table: Sequence[FilterYield], items: int, kept: int, unusable: int) -> str:
    """The table for people."""
    share = f" ({kept / items:.0%})" if items else ""
    lines = [
        f"{items} items measured, {kept} kept{share}; {unusable} clips could not be cut.",
        "",
        "| filter | keeps | too low | too high | missing | refused by it alone | left |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.name} | {row.limits} | {row.low} | {row.high} | {row.missing} | {row.alone} | {row.left} |"
        for row in table
    ]
    return "\n".join(lines) + "\n"


def as_csv(table: Sequence[FilterYield]) -> str:
    """The table for programs."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("filter", "keeps", "low", "high", "missing", "alone", "left"))
    for row in table:
        writer.writerow((row.name, row.limits, row.low, row.high, row.missing, row.alone, row.left))
    return file.getvalue()


def histograms(items: Sequence[Mapping[str, float]], thresholds: Sequence[Threshold]) -> str:
    """An SVG with a histogram of every measure that any item has; what a threshold refuses is drawn paler."""
    limits = {one.measure: one for one in thresholds}
    names = list(dict.fromkeys([*limits, *(name for values in items for name in values)]))
    names = [name for name in names if any(name in values for values in items)]
    rows = math.ceil(len(names) / _COLUMNS)
    width, height = _WIDTH * _COLUMNS, max(1, rows) * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="11" role="img" aria-label="Histograms of all measures">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for index, name in enumerate(names):
        values = np.array([item[name] for item in items if name in item])
        x, y = index % _COLUMNS * _WIDTH, index // _COLUMNS * _HEIGHT
        parts.append(f'<g transform="translate({x} {y})">{_panel(name, values, len(items), limits.get(name))}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(name: str, values: np.ndarray, of: int, limit: Threshold | None) -> str:
    left, top, wide, high = 18, 30, _WIDTH - 36, _HEIGHT - 62
    ends = [float(values.min()), float(values.max())]
    if limit is not None:
        ends += [end for end in (limit.least, limit.most) if math.isfinite(end)]
    low, top_value = min(ends), max(ends)
    if top_value <= low:
        low, top_value = low - 0.5, top_value + 0.5
    counts, edges = np.histogram(values, bins=_BINS, range=(low, top_value))
    tallest = max(1, int(counts.max()))

    def across(value: float) -> float:
        return left + (value - low) / (top_value - low) * wide

    absent = of - len(values)
    title = html.escape(name) + (f", {absent} missing" if absent else "")
    parts = [f'<text x="{left}" y="18" font-weight="600" fill="#1a2733">{title}</text>']
    for count, begin, end in zip(counts, edges[:-1], edges[1:], strict=True):
        if not count:
            continue
        middle = (begin + end) / 2
        kept = limit is None or limit.least <= middle <= limit.most
        tall = count / tallest * high
        parts.append(
            f'<rect x="{across(begin):.1f}" y="{top + high - tall:.1f}" width="{wide / _BINS - 1:.1f}" '
            f'height="{tall:.1f}" fill="{"#2f6f9f" if kept else "#c9d3da"}"><title>{begin:.4g} to {end:.4g}: {count}'
            "</title></rect>"
        )
    parts.append(f'<line x1="{left}" y1="{top + high}" x2="{left + wide}" y2="{top + high}" stroke="#56646f"/>')
    if limit is not None:
        parts += [
            f'<line x1="{across(end):.1f}" y1="{top - 4}" x2="{across(end):.1f}" y2="{top + high}" '
            'stroke="#b3402a" stroke-dasharray="3 2"/>'
            for end in (limit.least, limit.most)
            if math.isfinite(end)
        ]
    base = top + high + 14
    parts.append(f'<text x="{left}" y="{base}" fill="#3c4a55">{low:.4g}</text>')
    parts.append(f'<text x="{left + wide}" y="{base}" text-anchor="end" fill="#3c4a55">{top_value:.4g}</text>')
    return "".join(parts)


def _limits(one: Threshold) -> str:
    if math.isfinite(one.least) and math.isfinite(one.most):
        return f"{one.least:g} to {one.most:g}"
    if math.isfinite(one.least):
        return f"at least {one.least:g}"
    return f"at most {one.most:g}" if math.isfinite(one.most) else "all"

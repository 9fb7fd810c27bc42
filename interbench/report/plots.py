"""Geometry of the report's plots: where marks go. Drawing is left to the templates.

Horizontal positions are percentages of the plot's width, so that plots stretch with the page while their text does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_MOST_TICKS = 10
_LEAST = 1e-6
"""Smaller values are drawn as this: no clock read here tells them from nought."""


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From data to percent of the width."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float]) -> Axis:
        """Holds all ``values`` (finite, not negative): from 0, or logarithmic where they span more than 20 to 1."""
        low, high = max(min(values), _LEAST), max(*values, _LEAST)
        if min(values) > 0 and high / low > 20:
            return cls(_step_below(low), _step_above(high), log=True)
        return cls(0.0, high * 1.04)

    def x(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(100 * share, 3)

    def ticks(self) -> tuple[Tick, ...]:
        """Round numbers, a handful of them."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            finest = [step * 10.0**d for d in decades for step in (1, 2, 5)]
            marks = [v for v in finest if self.low * 0.9999 <= v <= self.high * 1.0001]
            if len(marks) > _MOST_TICKS:
                marks = [v for v in marks if v in {10.0**d for d in decades[:: 1 + len(decades) // _MOST_TICKS]}]
        else:
            step = _round_step((self.high - self.low) / 4)
            first = math.ceil(self.low / step)
            marks = [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return tuple(Tick(self.x(value), f"{value:.6g}") for value in marks)


PERCENTILES = Axis(0.0, 100.0)


@dataclass(frozen=True, slots=True)
class PlotArea:
    """Quartiles, and the range that holds nine tenths, as positions."""

    p5: float
    q1: float
    median: float
    q3: float
    p95: float


@dataclass(frozen=True, slots=True)
class Strip:
    """One system's values as single points with a box behind them."""

    slot: int
    system: str
    points: tuple[tuple[float, float], ...]
    """(x, offset from the middle line in -1..1)."""
    box: PlotArea | None
    """None for fewer than two values."""
    n: int
    median: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class StripPlot:
    title: str
    unit: str
    note: str
    axis: Axis
    strips: tuple[Strip, ...]
    reference: float | None = None
    """Position of a line to compare with."""


def strip_plot(
    title: str, unit: str, note: str, values: Mapping[str, Sequence[float]], *, reference: float | None = None
) -> StripPlot | None:
    """One strip per system, in the mapping's order; None if there is no value at all."""
    everything = [v for of_system in values.values() for v in of_system]
    if not everything:
        return None
    axis = Axis.around([*everything, *([] if reference is None else [reference])])
    strips = tuple(_strip(axis, slot, name, of_system) for slot, (name, of_system) in enumerate(values.items()))
    return StripPlot(title, unit, note, axis, strips, None if reference is None else axis.x(reference))


def _strip(axis: Axis, slot: int, system: str, values: Sequence[float]) -> Strip:
    if not values:
        return Strip(slot, system, (), None, 0, None, None)
    # Golden-ratio steps spread neighbours apart, evenly and always the same way.
    offsets = [((index + 1) * 0.6180339887) % 1.0 * 2 - 1 for index in range(len(values))]
    points = tuple((axis.x(v), round(offset, 2)) for v, offset in zip(sorted(values), offsets, strict=True))
    ends = [float(q) for q in np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])]
    box = PlotArea(*(axis.x(q) for q in ends)) if len(values) > 1 else None
    return Strip(slot, system, points, box, len(values), ends[2], ends[4])


@dataclass(frozen=True, slots=True)
class Spoke:
    """One axis of a radar; coordinates in -100..100, y downwards."""

    key: str
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Radar:
    """One system's percentiles around a circle."""

    slot: int
    system: str
    outline: str
    """SVG path through the neighbours that both have a value; closed only if all have one."""
    complete: bool
    points: tuple[tuple[float, float, str], ...]
    """(x, y, what it says)."""


def spokes(keys: Sequence[str]) -> tuple[Spoke, ...]:
    """Clockwise from the top."""

    def spoke(index: int, key: str) -> Spoke:
        x, y = _polar(index, len(keys), 100)
        label_x, label_y = _polar(index, len(keys), 116)
        anchor = "middle" if abs(x) < 20 else "start" if x > 0 else "end"
        return Spoke(key, x, y, label_x, label_y, anchor)

    return tuple(spoke(index, key) for index, key in enumerate(keys))


def ring(keys: Sequence[str], percentile: float) -> str:
    """SVG path of the polygon on which every spoke reads ``percentile``."""
    return "M" + "L".join("{},{}".format(*_polar(i, len(keys), percentile)) for i in range(len(keys))) + "Z"


def radar(slot: int, system: str, keys: Sequence[str], values: Sequence[float | None]) -> Radar:
    """``values`` are percentiles; where one is None the outline is broken, not drawn through zero."""
    at = [None if v is None else _polar(i, len(keys), v) for i, v in enumerate(values)]
    complete = all(point is not None for point in at)
    pieces: list[str] = []
    for index, point in enumerate(at):
        following = at[(index + 1) % len(at)]
        if point is not None and following is not None:
            start = "" if pieces and at[index - 1] is not None and index > 0 else f"M{point[0]},{point[1]}"
            pieces.append(f"{start}L{following[0]},{following[1]}")
    marks = tuple(
        (point[0], point[1], f"{key} {value:.1f}")
        for key, value, point in zip(keys, values, at, strict=True)
        if point is not None and value is not None
    )
    return Radar(slot, system, "".join(pieces) + ("Z" if complete else ""), complete, marks)


def _polar(index: int, count: int, radius: float) -> tuple[float, float]:
    angle = 2 * math.pi * index / count - math.pi / 2
    return round(radius * math.cos(angle), 2), round(radius * math.sin(angle), 2)


def _round_step(rough: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)


def _step_below(value: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(value))
    return max(m * magnitude for m in (1, 2, 5) if m * magnitude <= value * 1.0001)


def _step_above(value: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(value))
    return min(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= value * 0.9999)

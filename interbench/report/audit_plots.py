"""Dose curves: how a score answers to the strength of a defect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interbench.report.grid import decimal

if TYPE_CHECKING:
    from interbench.audit.further import Dose

WIDTH, HEIGHT = 260, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 10, 10, 26
_LOWEST = -9.0


@dataclass(frozen=True, slots=True)
class DosePoint:
    """One strength."""

    x: float
    y: float
    lo: float
    hi: float
    label: str
    detected: bool


@dataclass(frozen=True, slots=True)
class DosePlot:
    """A curve with the band of the floor."""

    entry: str
    key: str
    unit: str
    points: tuple[DosePoint, ...]
    line: str
    """Points of a polyline, from no defect on."""
    band: tuple[float, float]
    """Top and height of ±δ."""
    ticks: tuple[tuple[float, str], ...]
    start: tuple[float, float]
    words: str
    """What the curve says, for those who don't see it."""


def dose_plot(dose: Dose, margin: float, unit: str) -> DosePlot:
    """A plot of :data:`WIDTH` x :data:`HEIGHT`."""
    known = [value for ends in dose.ends for value in ends if value is not None] + [
        m for m in dose.means if m is not None
    ]
    least = max(_LOWEST, min([-2 * margin, *known]) - 0.4)
    most = max([2 * margin, *known]) + 0.2

    def y(value: float) -> float:
        share = (most - min(max(value, least), most)) / (most - least)
        return round(_TOP + share * (HEIGHT - _TOP - _BOTTOM), 2)

    step = (WIDTH - _LEFT - _RIGHT - 14) / max(1, len(dose.values))
    start = (_LEFT + 7.0, y(0.0))
    points = tuple(
        DosePoint(
            round(start[0] + (n + 1) * step, 2),
            y(mean),
            y(lo),
            y(hi),
            f"{value:g}" if len(set(dose.values)) > 1 else f"@{dose.strengths[n]}",
            dose.resolution is not None and dose.strengths[n] >= dose.resolution,
        )
        for n, (value, mean, (lo, hi)) in enumerate(zip(dose.values, dose.means, dose.ends, strict=True))
        if mean is not None and lo is not None and hi is not None
    )
    line = " ".join(f"{x},{at}" for x, at in [start, *((p.x, p.y) for p in points)])
    words = "; ".join(
        f"{value:g}: {decimal(mean, 2, '+')}"
        for value, mean in zip(dose.values, dose.means, strict=True)
        if mean is not None
    )
    ticks = tuple(
        (y(value), f"{value:g}".replace("-", "−")) for value in (-8, -6, -4, -2, 0, 2) if least < value < most
    )
    return DosePlot(
        dose.entry,
        dose.key,
        unit,
        points,
        line,
        (y(margin), round(y(-margin) - y(margin), 2)),
        ticks,
        start,
        f"{dose.key} under {dose.entry} by {unit or 'strength'}: {words}",
    )

"""The rows of the result table: what is known of one system, measured here or quoted.

What was not measured is an empty object (:data:`NO_SPEED`, :data:`NO_FIGURE`), so that nobody has to ask whether it is
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from interbench.domain.published import SOURCE, PublishedRow
from interbench.stats import Coverage


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a system's answers by its own clock, over turns: seconds after it had the user's turn."""

    name: str
    median_s: float
    p95_s: float
    n: int
    """Turns for which it was told."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What the clock says of one system; None where it was not measured."""

    latency_s: float | None = None
    """Median over turns, from the user's turn being complete to the first frame being available, in seconds."""
    fps: float | None = None
    """Throughput in frames per second."""
    n: int = 0
    """Turns these come from."""
    steps: tuple[Step, ...] = ()
    """What the system itself tells of the way to the first frame and on; in its order."""
    first_speech_s: float | None = None
    """Median over the turns in which something is heard, from the user's turn being complete to the first audible
    sample that the client could play, in seconds."""
    unheard: Mapping[str, int] = field(default_factory=dict)
    """Turns among ``n`` without such a time, by reason."""
    continuous: int = 0
    """Turns among ``n`` whose picture never stops, so that a first frame is always there and its time says nothing."""

    @property
    def first_speech_n(self) -> int:
        """Turns the time to first speech comes from."""
        return self.n - sum(self.unheard.values()) if self.first_speech_s is not None else 0


NO_SPEED = Speed()
_NOTHING_PLANNED = Coverage(0, 0, {})


@dataclass(frozen=True, slots=True)
class Figure:
    """One system in one dimension; what can't be had is None."""

    percentile: float | None = None
    """Mean over conversations, 0 to 100."""
    lo: float | None = None
    hi: float | None = None
    mean: float | None = None
    """Mean raw score."""
    coverage: Coverage = _NOTHING_PLANNED

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, of the percentile."""
        return None if self.lo is None or self.hi is None else (self.lo, self.hi)


NO_FIGURE = Figure()


@dataclass(frozen=True)
class Row:
    """One system."""

    system: str
    speed: Speed = NO_SPEED
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """By key of the dimension: all of them if the row was measured here."""
    mean: Figure = NO_FIGURE
    """Plain mean over the dimensions in which anybody is scored; empty if one of them is missing here."""
    rank: int | None = None
    """By that mean, see :func:`interbench.stats.ranks`."""
    told: str = ""
    """Where its words came from, if it was told them instead of making them up; empty if it did, or if it was never
    played."""
    quoted_from: str = ""
    """Where the figures were published; empty if they were measured here."""

    def figure(self, key: str) -> Figure:
        """Of the dimension called ``key``; empty if nobody tells."""
        return self.figures.get(key, NO_FIGURE)

    @property
    def scored(self) -> int:
        return sum(figure.coverage.scored for figure in self.figures.values())

    @property
    def expected(self) -> int:
        return sum(figure.coverage.expected for figure in self.figures.values())


def quoted(published: PublishedRow) -> Row:
    """A published method as a row of the table."""
    return Row(
        published.system,
        Speed(published.latency_s, published.fps),
        {key: Figure(percentile) for key, percentile in published.percentiles.items()},
        quoted_from=SOURCE,
    )

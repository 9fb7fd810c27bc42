"""The seam between the measuring and the metrics of clips: one of them in, a value or a reason for its missing out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from interbench.base.errors import InterbenchError
from interbench.domain.records import ClipFacts
from interbench.media.pool import MediaPool

Better = Literal["higher", "lower", "neither"]


class MetricError(InterbenchError):
    """A metric can't be set up; ``remedy`` is the command that mends it, if there is one."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".rstrip())
        self.remedy = remedy


class CheckpointError(InterbenchError):
    """A checkpoint can't be read, or is not of the network that it was named for."""


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of a metric."""

    key: str
    heading: str
    better: Better
    title: str
    """What it is, in a sentence without a full stop."""
    digits: int = 2


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of a set."""

    id: str
    """The same for a clip and its reference."""
    path: Path
    source: str
    """Of the video it was cut from, or its own id: clips of one source are no independent samples."""
    facts: ClipFacts | None
    problem: str = ""
    """Why it can't be measured; ``facts`` is then None."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a metric found in one clip: values, or why there is none."""

    values: Mapping[str, float] = field(default_factory=dict)
    """By name; finite. Empty for a metric that compares sets, and where something is missing."""
    missing: str = ""
    """Why there are no values, a short clause; empty if there are."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """How they came about, as JSON."""
    features: npt.NDArray[np.float32] | None = None
    """Rows [n, D] for comparisons of sets."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell of a table."""

    value: float | None
    scored: int
    """Clips that it is made of."""
    expected: int
    """Clips that should have been."""
    low: float | None = None
    high: float | None = None
    missing: str = ""
    """Why there is no value."""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """A clip with what a metric found in it."""

    clip: Clip
    measured: Measured


class Metric(ABC):
    """One way of measuring clips. Subclasses take their options as keyword arguments with defaults.

    It is asked for one clip at a time, and what it answers is kept by the clip's hash and the metric's identity: an
    answer must depend on nothing else.
    """

    columns: ClassVar[tuple[Column, ...]] = ()
    compares: ClassVar[bool] = False
    """Whether its figures are of a set against a set of references."""

    async def start(self) -> None:
        """Load what is needed.

        Raises:
            MetricError: something is missing; its columns are then dashes with this reason.
        """

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything that could change a value (weights, variant), as JSON. Asked after :meth:`start`."""

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader of the figures has to know, a sentence each."""
        return ()

    @abstractmethod
    async def measure(self, clip: Clip, media: MediaPool) -> Measured:
        """What is found in one clip; what can't be had is told by :attr:`Measured.missing`.

        A :class:`interbench.base.errors.MediaError` of ``media`` is let through: the caller counts the clip as missing
        and asks again another time.
        """

    @abstractmethod
    def figures(
        self, own: Sequence[Taken], references: Sequence[Taken] | None, *, seed: int = 0
    ) -> Mapping[str, Figure]:
        """The cells of one row, by key of the column.

        Args:
            own: every clip of the set that was expected, measured or not.
            references: for a metric that compares; None if there is no set to be compared with.
            seed: of what is drawn.
        """

    async def stop(self) -> None:
        """Release everything."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why a metric that was asked for could not be set up."""

    name: str
    columns: tuple[Column, ...]
    because: str

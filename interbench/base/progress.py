"""Progress on anything long: live bars on a terminal, one plain line per stage elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.text import Text


EVERY_S = 60.0
"""How often a log is told how things stand."""


class Progress(Protocol):
    """Where stages say how far they are."""

    def total(self, stage: str, count: int) -> None:
        """Announce that ``stage`` has ``count`` things to do (announcing again corrects the count)."""

    def advance(self, stage: str, note: str = "") -> None:
        """One thing is done."""

    def say(self, message: str) -> None:
        """Show a line that stays."""

    def stands(self, name: str, line: str) -> None:
        """Show how ``name`` stands: the line takes the place of the one before, and an empty one ends it."""


class PlainProgress:
    """For logs: a line when a stage has done everything, and once a minute how whatever has changed stands.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._totals: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._clock = clock
        self._stands: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._told_at = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def total(self, stage: str, count: int) -> None:
        self._totals[stage] = count

    def advance(self, stage: str, note: str = "") -> None:
        done = self._done[stage] = self._done.get(stage, 0) + 1
        if done == self._totals.get(stage):
            self.say(f"{stage}: {done} of {done}")

    def say(self, message: str) -> None:
        sys.stderr.write(message + "\n")

    def stands(self, name: str, line: str) -> None:
        if not line:
            self._stands.pop(name, None)
            return
        self._stands[name] = line
        if self._clock() >= self._told_at + EVERY_S:
            self._told_at = self._clock()
            for known, now in self._stands.items():
                if now != self._told.get(known):
                    self.say(now)
            self._told = dict(self._stands)


class LiveProgress:
    """For terminals: a bar per stage, and below them a line for each whose standing was told."""

    def __init__(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}", markup=True),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, int] = {}
        self._stands: dict[str, Text] = {}
        # The bars are shown by this one alone, which has the lines below them.
        self._live = Live(
            get_renderable=lambda: Group(self._bars, *list(self._stands.values())), console=self._bars.console
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def total(self, stage: str, count: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = int(self._bars.add_task(stage, total=count, note=""))
        else:
            self._bars.update(self._tasks[stage], total=count)  # type: ignore[arg-type]

    def advance(self, stage: str, note: str = "") -> None:
        from rich.markup import escape

        self._bars.update(self._tasks[stage], advance=1, note=escape(note[:60]))  # type: ignore[arg-type]

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False)

    def stands(self, name: str, line: str) -> None:
        from rich.text import Text

        shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)
        self._stands[name] = Text(shown, no_wrap=True, overflow="ellipsis")
        if not line:
            del self._stands[name]


def make_progress(*, quiet: bool = False) -> LiveProgress | PlainProgress:
    """Bars if standard error is a terminal, plain lines otherwise."""
    return LiveProgress() if sys.stderr.isatty() and not quiet else PlainProgress()

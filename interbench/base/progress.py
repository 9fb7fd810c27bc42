"""Progress on anything long: live bars on a terminal, one plain line per stage elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self


class Progress(Protocol):
    """Where stages say how far they are."""

    def total(self, stage: str, count: int) -> None:
        """Announce that ``stage`` has ``count`` things to do (announcing again corrects the count)."""

    def advance(self, stage: str, note: str = "") -> None:
        """One thing is done."""

    def say(self, message: str) -> None:
        """Show a line that stays."""


class PlainProgress:
    """For logs: a line when a stage has done everything."""

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._done: dict[str, int] = {}

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


class LiveProgress:
    """For terminals: a bar per stage."""

    def __init__(self) -> None:
        from rich.console import Console
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

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, trace)

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


def make_progress(*, quiet: bool = False) -> LiveProgress | PlainProgress:
    """Bars if standard error is a terminal, plain lines otherwise."""
    return LiveProgress() if sys.stderr.isatty() and not quiet else PlainProgress()

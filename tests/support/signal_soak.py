"""Tells a program to end at many random moments, and sums up how it did.

`SOAK_MOMENTS` is how many moments a test takes (each has a number of its own), `SOAK_SEED` chooses other ones.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ended_program import End, Program

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DISPOSITIONS: tuple[tuple[signal.Signals, ...], ...] = ((), (signal.SIGINT,))
"""What is ignored when a program starts: nothing, or what a shell makes of a job in the background."""
ENDS_WITHIN_S = 30.0
"""A program gives itself ten seconds; the rest is for a crowded machine."""


@dataclass
class Tally:
    """How the program ended."""

    ways: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        ways = ", ".join(f"{count} {way}" for way, count in sorted(self.ways.items()))
        return (
            f"{sum(self.ways.values())} moments: {ways}; from signal to end {statistics.median(self.took_s):.2f} s in "
            f"the median, {max(self.took_s):.2f} s at most"
        )


def soak(
    start: Callable[[Path, tuple[signal.Signals, ...]], Program],
    folder: Path,
    *,
    moments: int,
    lasts_s: float,
    lines: dict[str, int | None],
    complete: Callable[[End], bool] = lambda end: False,
    check: Callable[[Path], None] = lambda folder: None,
) -> Tally:
    """Start the program again and again and tell it to end, each time at another moment of its life.

    Args:
        start: starts it in a new folder, with signals to be ignored.
        folder: where these folders are.
        moments: how many.
        lasts_s: how long it is alive if it is left alone.
        lines: what it may say at its end, once, as the last line; and with which status, None for 128 and the signal.
        complete: whether it had done all its work before the signal came to it.
        check: whatever else must be true afterwards.
    """
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc, to see when a program heeds signals")
    moments = int(os.environ.get("SOAK_MOMENTS", moments))
    dice = random.Random(int(os.environ.get("SOAK_SEED", "11")))
    tally = Tally()
    for count in range(moments):
        place = folder / str(count)
        number, ignored = NUMBERS[count % 3], DISPOSITIONS[count // 3 % 2]
        program = start(place, ignored)
        moment = dice.uniform(0, lasts_s)
        what = f"{number.name} after {moment:.3f} s, ignored: {[one.name for one in ignored]}"
        try:
            while not program.heeds_signals() and program.process.poll() is None:
                time.sleep(0.001)
            time.sleep(moment)
            program.signal(number)
            if number in ignored:
                # It goes on as if nothing had been, and another one ends it.
                time.sleep(dice.uniform(0, 0.2))
                number = signal.SIGTERM
                program.signal(number)
            end = program.end()
            tally.ways[_way(end, number, lines, complete, what)] += 1
            tally.took_s.append(end.took_s)
            assert end.took_s < ENDS_WITHIN_S, f"{what}: took {end.took_s:.1f} s"
            assert program.leaves_nothing(10.0), f"{what}: left {program.left()}"
            check(place)
        finally:
            program.kill()
    return tally


def _way(
    end: End, number: signal.Signals, lines: dict[str, int | None], complete: Callable[[End], bool], what: str
) -> str:
    said = [
        line for line in end.errors.replace("\r", "\n").splitlines() if any(line.endswith(known) for known in lines)
    ]
    told = f"{what}: {end}"
    assert "Traceback" not in end.errors + end.output and "KeyboardInterrupt" not in end.errors, told
    assert "Exception ignored" not in end.errors and "never retrieved" not in end.errors, told
    if not said:
        # The interpreter itself, having done its work, takes its handlers back a moment before its end.
        assert end.status in (0, -number) and complete(end), told
        return "had come to their end before"
    assert len(said) == 1 and end.errors.endswith(f"{said[0]}\n"), told
    (known,) = [line for line in lines if said[0].endswith(line)]
    expected = lines[known]
    assert end.status == (128 + number if expected is None else expected), told
    return f"said {known!r}"


def say(name: str, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    """For whoever runs the soak: its figures."""
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {tally}\n")

"""Ctrl-C, SIGTERM and SIGHUP end `livetalk` in good order; for `livetalk serve` see server/test_lifecycle.py."""

from __future__ import annotations

import contextlib
import signal
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ended_program import Program

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start(*arguments: str, **options: Any) -> Program:
        programs.append(Program(["-m", "livetalk", *arguments], tmp_path / f"program-{len(programs)}", **options))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()


def assert_ended(program: Program, status: int) -> None:
    end = program.end()
    assert end.status == status, end.errors
    assert end.errors.splitlines().count("livetalk: interrupted.") == 1, end.errors
    # A progress bar may stand before it in its line.
    assert end.errors.endswith("livetalk: interrupted.\n"), end.errors
    assert "Traceback" not in end.errors + end.output and "KeyboardInterrupt" not in end.errors, end.errors
    assert program.leaves_nothing(), program.left()


SIGNALS = {
    "INT": (INT, (), 130),
    "TERM-INT-ignored": (TERM, (INT,), 143),
    "HUP": (HUP, (), 129),
}


@pytest.mark.parametrize(
    ("verb", "number", "ignored", "status"),
    [
        # Each verb, and each signal; with `make soak` each signal to each verb.
        pytest.param(verb, *sent, id=f"{verb}-{name}", marks=[] if (verb, name) in usual else pytest.mark.soak)
        for usual in [{("serve", "INT"), ("bench", "TERM-INT-ignored"), ("doctor", "HUP")}]
        for verb in ("serve", "bench", "doctor")
        for name, sent in SIGNALS.items()
    ],
)
def test_in_an_import(
    start: Callable[..., Program],
    tmp_path: Path,
    verb: str,
    number: signal.Signals,
    ignored: tuple[signal.Signals, ...],
    status: int,
) -> None:
    (tmp_path / "torch.py").write_text(
        f"import pathlib, time\npathlib.Path({str(tmp_path / 'importing')!r}).touch()\n"
        "try:\n    time.sleep(1000)\n"
        "except BaseException as error:\n    raise ImportError('made another error of it') from error\n"
    )
    program = start(verb, path=[tmp_path], ignored=ignored)
    program.wait_for((tmp_path / "importing").exists)
    program.signal(number)
    assert_ended(program, status)


@pytest.mark.parametrize(
    ("number", "ignored", "status"),
    [
        pytest.param(*SIGNALS["INT"], id="INT", marks=pytest.mark.soak),
        pytest.param(*SIGNALS["TERM-INT-ignored"], id="TERM-INT-ignored"),
    ],
)
def test_a_clip_that_is_being_written(
    start: Callable[..., Program],
    tmp_path: Path,
    portrait: Path,
    number: signal.Signals,
    ignored: tuple[signal.Signals, ...],
    status: int,
) -> None:
    sound = tmp_path / "minutes.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(0).integers(-3000, 3000, 16_000 * 60, np.int16).tobytes())
    place = tmp_path / "clips"
    place.mkdir()
    arguments = ["--image", str(portrait), "--audio", str(sound), "--output", str(place / "out.mp4")]
    program = start("generate", *arguments, "--size", "tiny", "--speech", "windows", ignored=ignored)

    def begun() -> bool:
        # Whether a file can be written there is tried first, with one that goes again.
        with contextlib.suppress(FileNotFoundError):
            return any(entry.stat().st_size for entry in place.glob(".out.mp4*"))
        return False

    program.wait_for(begun)
    program.signal(number)
    assert_ended(program, status)
    assert list(place.iterdir()) == []

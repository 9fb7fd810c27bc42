"""Ctrl-C, SIGTERM and SIGHUP end a program in good order: one line, the status that is documented, no traces."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness_kit
import pytest
from ended_program import End, Program

from interbench.store.run_folder import Run

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
SAID = "interbench: interrupted; the same command again goes on from here."
# What a shell gives to a job in the background, and what nohup does.
TOLD = [
    pytest.param(INT, (), 130, id="INT"),
    pytest.param(TERM, (), 143, id="TERM"),
    pytest.param(HUP, (), 129, id="HUP"),
    pytest.param(TERM, (INT,), 143, id="TERM-INT-ignored"),
    pytest.param(HUP, (INT,), 129, id="HUP-INT-ignored"),
]
SOME = [
    TOLD[0],
    *(pytest.param(*told.values, id=told.id, marks=pytest.mark.soak) for told in TOLD[1:3]),
    TOLD[3],
    pytest.param(*TOLD[4].values, id=TOLD[4].id, marks=pytest.mark.soak),
]
"""Where the verbs and the import of typer are told all of them, these are enough: one of each disposition."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start(*arguments: str, **options: Any) -> Program:
        options.setdefault("path", [Path(harness_kit.__file__).parent])
        programs.append(Program(arguments, tmp_path / f"program-{len(programs)}", **options))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()


def run(tmp_path: Path, system: str, **options: str) -> list[str]:
    """The command line of a run of 60 turns."""
    harness_kit.write_set(tmp_path / "set", count=20, turns=3)
    config = tmp_path / "config.toml"
    config.write_text("[system.it]\n" + "".join(f'{name} = "{value}"\n' for name, value in options.items()))
    return [
        "-m", "interbench", "run", "--out", str(tmp_path / "run"), "--scenarios", str(tmp_path / "set"),
        "--systems", f"it={system}", "--config", str(config), "--transcriber", "given", "--quiet",
    ]  # fmt: skip


def recorded(tmp_path: Path) -> int:
    if not (tmp_path / "run" / "manifest.json").exists():
        return 0
    with Run(tmp_path / "run", write=False) as ledger:
        return len(ledger.exchanges())


def assert_ended(program: Program, status: int, end: End | None = None) -> None:
    end = end or program.end()
    assert end.status == status, end.errors
    assert end.errors.splitlines().count(SAID) == 1 and end.errors.splitlines()[-1] == SAID, end.errors
    assert "Traceback" not in end.errors + end.output and "KeyboardInterrupt" not in end.errors, end.errors
    assert program.leaves_nothing(), program.left()


@pytest.mark.parametrize(("number", "ignored", "status"), SOME)
def test_a_run_in_the_middle_of_its_work(
    start: Callable[..., Program],
    tmp_path: Path,
    number: signal.Signals,
    ignored: tuple[signal.Signals, ...],
    status: int,
) -> None:
    program = start(*run(tmp_path, "harness_kit:Good", pause_s="0.1"), ignored=ignored)
    # Something is there that could be left behind.
    program.wait_for(lambda: recorded(tmp_path) > 1 and any(program.temporary.iterdir()))
    program.signal(number)
    assert_ended(program, status)
    assert 1 < recorded(tmp_path) < 60


@pytest.mark.parametrize("number", [INT, HUP], ids=["INT", "HUP"])
def test_what_was_ignored_stays_ignored(start: Callable[..., Program], tmp_path: Path, number: signal.Signals) -> None:
    program = start(*run(tmp_path, "harness_kit:Good", pause_s="0.05"), ignored=(number,))
    program.wait_for(lambda: recorded(tmp_path) > 0)
    program.signal(number)
    seen = recorded(tmp_path)
    program.wait_for(lambda: recorded(tmp_path) > seen + 1)
    program.signal(TERM)
    assert_ended(program, 143)


@pytest.mark.parametrize(
    ("module", "number", "ignored", "status"),
    [
        pytest.param(module, *told.values, id=f"{module}-{told.id}", marks=told.marks)
        for module, some in (("typer", TOLD), ("numpy", SOME))
        for told in some
    ],
)
def test_in_an_import(
    start: Callable[..., Program],
    tmp_path: Path,
    module: str,
    number: signal.Signals,
    ignored: tuple[signal.Signals, ...],
    status: int,
) -> None:
    (tmp_path / f"{module}.py").write_text(
        "import pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'importing')!r}).touch()\n"
        "try:\n    time.sleep(1000)\n"
        "except BaseException as error:\n    raise ImportError('made another error of it') from error\n"
    )
    program = start("-m", "interbench", "table", "scores.csv", ignored=ignored, path=[tmp_path])
    program.wait_for((tmp_path / "importing").exists)
    program.signal(number)
    assert_ended(program, status)


@pytest.mark.parametrize(("number", "ignored", "status"), TOLD)
def test_a_verb_without_an_event_loop(
    start: Callable[..., Program],
    tmp_path: Path,
    number: signal.Signals,
    ignored: tuple[signal.Signals, ...],
    status: int,
) -> None:
    """It waits for scores that nobody writes."""
    scores = tmp_path / "scores.csv"
    os.mkfifo(scores)
    program = start("-m", "interbench", "table", str(scores), ignored=ignored)
    with contextlib.ExitStack() as writers:
        program.wait_for(lambda: is_read(scores, writers))
        program.signal(number)
        assert_ended(program, status)


def is_read(fifo: Path, writers: contextlib.ExitStack) -> bool:
    """Whether somebody waits for what is written into a named pipe; its other end then stays open."""
    try:
        writers.callback(os.close, os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=["output", "error", "all"])
def test_without_standard_streams(start: Callable[..., Program], tmp_path: Path, closed: tuple[int, ...]) -> None:
    """What service managers and cron may leave out does not swallow the signal, nor is anything else written to."""
    scores = tmp_path / "scores.csv"
    os.mkfifo(scores)
    program = start(
        "-c",
        f"import os, sys\nfor number in {closed}: os.close(number)\n"
        f"os.execv(sys.executable, [sys.executable, '-m', 'interbench', 'table', {str(scores)!r}])",
    )
    with contextlib.ExitStack() as writers:
        program.wait_for(lambda: is_read(scores, writers))
        program.signal(TERM)
        end = program.end()
    assert (end.status, end.errors) == (143, "" if 2 in closed else SAID + "\n")
    assert program.leaves_nothing(), program.left()


STUCK = """
import pathlib, time
from interbench.systems.base import AvatarSystem, Conversation
class Conversation(Conversation):
    async def respond(self, turn):
        pathlib.Path({entered!r}).touch()
        time.sleep(1000)
        yield
class Stuck(AvatarSystem):
    async def open(self, persona):
        return Conversation()
"""


@pytest.fixture
def stuck(start: Callable[..., Program], tmp_path: Path) -> Program:
    """A run whose system blocks its thread and can't be stopped."""
    (tmp_path / "stuck.py").write_text(STUCK.format(entered=str(tmp_path / "entered")))
    program = start(*run(tmp_path, "stuck:Stuck"), path=[tmp_path])
    program.wait_for((tmp_path / "entered").exists)
    return program


def test_what_does_not_end_ends_when_it_is_told_again(stuck: Program) -> None:
    while stuck.process.poll() is None:
        stuck.signal(TERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            stuck.process.wait(0.5)
    assert_ended(stuck, 143)


@pytest.mark.soak
def test_what_does_not_end_ends_after_a_while(stuck: Program) -> None:
    stuck.signal(INT)
    assert_ended(stuck, 130)


def test_what_a_system_has_started_goes_with_it(start: Callable[..., Program], tmp_path: Path) -> None:
    script = (
        "import pathlib, subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        f"pathlib.Path({str(tmp_path / 'started')!r}).touch()\n"
        "time.sleep(1000)"
    )
    arguments = run(tmp_path, "command")
    (tmp_path / "config.toml").write_text(f"[system.it]\nargv = {[sys.executable, '-c', script]!r}\n")
    program = start(*arguments)
    program.wait_for((tmp_path / "started").exists)
    assert len(program.left()) > 2
    program.signal(TERM)
    assert_ended(program, 143)

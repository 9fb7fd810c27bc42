"""How a program ends that a signal tells to end, in both packages: each script below is such a program."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import livetalk.base.termination
import pytest
from ended_program import End, Program

import interbench.base.termination

There = Callable[[str], Callable[[], bool]]
TERM = signal.SIGTERM
TWINS = [interbench.base.termination, livetalk.base.termination]
HEAD = """
import asyncio, os, signal, subprocess, sys, time
from pathlib import Path
from {package}.base import termination
def until(name):
    while not Path(name).exists():
        time.sleep(0.005)
def mark(name):
    Path(name).touch()
termination.heed("it was ended.")
"""


@pytest.fixture(params=["interbench", "livetalk"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start(script: str, ignored: tuple[signal.Signals, ...] = ()) -> Program:
        script = f"import os\nos.chdir({str(tmp_path)!r})\n{HEAD.format(package=request.param)}\n{script}"
        programs.append(Program(["-c", script], tmp_path / f"program-{len(programs)}", ignored=ignored))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()


@pytest.fixture
def there(tmp_path: Path) -> There:
    """Whether the program has marked something."""
    return lambda name: (tmp_path / name).exists


def assert_ended(program: Program, status: int = 143, said: str = "it was ended.\n") -> End:
    end = program.end()
    assert (end.status, end.errors) == (status, said)
    assert program.leaves_nothing(), program.left()
    return end


def test_the_twins_are_the_same() -> None:
    """But for the line in which each names the other."""
    lines = [Path(str(module.__file__)).read_text().splitlines() for module in TWINS]
    different = [pair for pair in zip(*lines, strict=True) if pair[0] != pair[1]]
    assert len(different) == 1 and "Twin: ``livetalk" in different[0][0] and "Twin: ``interbench" in different[0][1]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["INT", "TERM", "HUP"],
)
def test_ends_on_the_spot(start: Callable[..., Program], there: There, number: signal.Signals, status: int) -> None:
    program = start("mark('here')\ntry:\n    time.sleep(1000)\nfinally:\n    mark('raised')")
    program.wait_for(there("here"))
    program.signal(number)
    assert_ended(program, status)
    assert not there("raised")()


def test_what_was_left_to_be_done_is_done(start: Callable[..., Program], there: There) -> None:
    program = start(
        "termination.at_end(lambda: mark('first'))\n"
        "termination.at_end(lambda: 1 / 0)\n"
        "taken_back = termination.at_end(lambda: mark('taken back'))\n"
        "taken_back()\n"
        "mark('here'); time.sleep(1000)"
    )
    program.wait_for(there("here"))
    program.signal(TERM)
    assert_ended(program)
    assert there("first")() and not there("taken back")()


def test_no_end_divides_what_is_not_to_be_divided(start: Callable[..., Program], there: There) -> None:
    program = start(
        "with termination.undivided():\n"
        "    with termination.undivided():\n"
        "        mark('within')\n"
        "        while not termination.told(): time.sleep(0.005)\n"
        "    mark('whole')\n"
        "mark('after')"
    )
    program.wait_for(there("within"))
    program.signal(TERM)
    assert_ended(program)
    assert there("whole")() and not there("after")()


def test_its_processes_go_with_it(start: Callable[..., Program], there: There) -> None:
    program = start(
        'leader = \'import subprocess, sys; subprocess.run([sys.executable, "-c", "import time; time.sleep(1000)"])\'\n'
        "subprocess.Popen([sys.executable, '-c', leader], start_new_session=True)\n"
        "mark('here')\n"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(1000)'])"
    )
    program.wait_for(lambda: there("here")() and len(program.left()) == 4)
    program.signal(TERM)
    assert_ended(program)


def test_a_loop_is_told_and_unwinds(start: Callable[..., Program], there: There) -> None:
    program = start(
        "async def main():\n"
        "    try:\n"
        "        mark('here'); await asyncio.sleep(1000)\n"
        "    finally:\n"
        "        await asyncio.sleep(0.1); mark('unwound')\n"
        "try:\n    termination.run(main())\n"
        "except termination.Terminated:\n    mark('terminated'); print('told', flush=False); termination.end()"
    )
    program.wait_for(there("here"))
    # As `timeout` does: to the process, and once more to its group.
    program.signal(TERM)
    program.signal(TERM)
    assert assert_ended(program).output == "told\n"
    assert there("unwound")() and there("terminated")()


def test_what_goes_wrong_while_a_loop_unwinds_is_not_the_news(start: Callable[..., Program], there: There) -> None:
    program = start(
        "async def part(): \n"
        "    try:\n        await asyncio.sleep(1000)\n"
        "    finally:\n        raise ValueError('a connection was lost')\n"
        "async def main():\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(part()); group.create_task(part())\n"
        "        await asyncio.sleep(0); mark('here')\n"
        "try:\n    termination.run(main())\n"
        "except termination.Terminated:\n    termination.end()"
    )
    program.wait_for(there("here"))
    program.signal(TERM)
    assert_ended(program)


def test_a_loop_that_is_being_closed_is_closed(start: Callable[..., Program], there: There) -> None:
    program = start(
        "async def straggler():\n"
        "    try:\n        await asyncio.sleep(1000)\n"
        "    finally:\n"
        "        mark('closing')\n"
        "        while not termination.told(): await asyncio.sleep(0.005)\n"
        "        await asyncio.sleep(0.1); mark('closed')\n"
        "async def main():\n"
        "    global task\n"
        "    task = asyncio.create_task(straggler())\n"
        "    await asyncio.sleep(0)\n"
        "try:\n    termination.run(main())\n"
        "except termination.Terminated:\n    termination.end()"
    )
    program.wait_for(there("closing"))
    program.signal(TERM)
    assert_ended(program)
    assert there("closed")()


def test_a_loop_that_does_not_unwind_is_told_again(start: Callable[..., Program], there: There) -> None:
    program = start(
        "async def main():\n"
        "    termination.at_end(lambda: mark('done'))\n"
        "    mark('here')\n"
        "    while True:\n"
        "        try:\n            await asyncio.sleep(1000)\n"
        "        except asyncio.CancelledError:\n            mark('swallowed')\n"
        "termination.run(main())"
    )
    program.wait_for(there("here"))
    program.signal(TERM)
    program.wait_for(there("swallowed"))
    while program.process.poll() is None:
        program.signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(0.3)
    assert_ended(program)  # with the status of the first signal
    assert there("done")()


def test_a_loop_that_does_not_unwind_in_time(start: Callable[..., Program], there: There) -> None:
    program = start(
        "async def main():\n    mark('here')\n    time.sleep(1000)\ntermination.run(main(), patience_s=0.2)"
    )
    program.wait_for(there("here"))
    program.signal(TERM)
    assert_ended(program)


def test_whoever_it_was_handed_over_to_is_told(start: Callable[..., Program], there: There) -> None:
    program = start(
        "told = []\n"
        "with termination.handed_over(lambda: told.append(1)):\n"
        "    mark('here')\n"
        "    while not told: time.sleep(0.005)\n"
        "termination.end(0, 'stopped.')"
    )
    program.wait_for(there("here"))
    program.signal(TERM)
    assert_ended(program, 0, "stopped.\n")


def test_an_ignored_signal_stays_ignored(start: Callable[..., Program], there: There, tmp_path: Path) -> None:
    program = start("mark('here'); until('go'); mark('on')", (signal.SIGINT, signal.SIGHUP))
    program.wait_for(there("here"))
    program.signal(signal.SIGINT)
    program.signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    end = program.end()
    assert (end.status, end.errors) == (0, "") and there("on")()


def test_a_forked_process_is_not_the_program(start: Callable[..., Program], there: There) -> None:
    program = start(
        "termination.at_end(lambda: mark('done'))\n"
        "child = os.fork()\n"
        "if not child:\n    mark('here'); time.sleep(1000)\n"
        "until('here')\n"
        "os.kill(child, signal.SIGTERM)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
        "print(Path('done').exists(), termination.told(), flush=True)\n"
        "time.sleep(1000)"
    )
    program.wait_for(lambda: program.output == "-15\nFalse False\n")
    program.signal(TERM)
    assert_ended(program)


def test_a_terminal_gets_its_cursor_back(tmp_path: Path) -> None:
    script = (
        HEAD.format(package="interbench")
        + "\nsys.stderr.write('\\x1b[?25l3 of 7'); sys.stderr.flush(); time.sleep(1000)"
    )
    terminal, its_end = pty.openpty()
    try:
        with subprocess.Popen([sys.executable, "-c", script], stderr=its_end, start_new_session=True) as process:
            os.close(its_end)
            said = b""
            while b"3 of 7" not in said:
                said += os.read(terminal, 1000)
            process.send_signal(TERM)
            with contextlib.suppress(OSError):  # how Linux says that nobody has the other end any more
                while more := os.read(terminal, 1000):
                    said += more
        assert process.returncode == 143
        assert said == b"\x1b[?25l3 of 7\r\x1b[K\x1b[?25hit was ended.\r\n"
    finally:
        os.close(terminal)


@pytest.mark.parametrize("module", TWINS, ids=["interbench", "livetalk"])
def test_children_are_found_with_and_without_proc(module: object) -> None:
    if not (Path("/bin/ps").exists() and Path("/proc/self").exists()):
        pytest.skip("needs /bin/ps and /proc, to compare what they say")
    waits = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(waits, stdin=subprocess.PIPE, start_new_session=True) as leader,
        subprocess.Popen(waits, stdin=subprocess.PIPE) as other,
    ):
        found = module._children()  # type: ignore[attr-defined]
        assert sorted(found) == sorted(module._children_by_ps())  # type: ignore[attr-defined]
        assert {(leader.pid, leader.pid), (other.pid, os.getpgrp())} <= set(found)

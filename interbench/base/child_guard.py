"""Runs a command that must not outlive whoever started it: ``python -m interbench.base.child_guard COMMAND ...``.

The keeper's standard input is a pipe that its parent holds open and never writes to. When the parent ends, however it
ends, the pipe closes; the keeper then ends the command and everything that the command has started, also what has left
its process group (torchrun gives each of its workers a session). Where the kernel knows them, orphans of the command
become children of the keeper, so that none is lost.

It runs with any environment of the command's: ``python -I PATH/child_guard.py`` leaves out ``PYTHONPATH`` and imports
nothing of ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

GRACE_S = 10.0
"""How long the command may take to end by itself."""
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 50
"""A process that is just being started is found in the next round."""


def guarded(command: list[str]) -> list[str]:
    """The command line that keeps ``command``; start it with a pipe as standard input, in a session of its own."""
    # -I: what the command's environment and folder say about Python is meant for the command alone.
    return [sys.executable, "-I", __file__, *command]


def descendants(pid: int) -> list[int]:
    """Every process that stems from ``pid``, as far as the system tells (``/proc``); without itself."""
    children: dict[int, list[int]] = {}
    for child, parent in _processes():
        children.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """Process and parent of everything that runs."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name stands in parentheses and may hold any of them; the parent is the second field after it.
            fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z":
            yield int(folder.name), int(fields[1])


def end_tree(pid: int) -> None:
    """Kill a keeper that is a child of this process, its command and all that stems from it; returns at once."""
    for _ in range(_ROUNDS):
        below = descendants(pid)
        if not below:
            break
        _signal(below, signal.SIGKILL)
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(pid, signal.SIGKILL)


def _signal(processes: list[int], number: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _adopt_orphans() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main() -> int:
    """Run the command of the command line; its exit status, as a shell gives it."""
    # A handler, not SIG_IGN, which the command would inherit: the group is signalled as a whole, and the keeper stays
    # until its command has ended.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    _adopt_orphans()
    try:
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]} can't be started: {error.strerror or error}\n")
        return 127
    orphaned = threading.Event()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        orphaned.set()
        apart = [child for child in descendants(os.getpid()) if _group(child) != os.getpgrp()]
        os.killpg(0, signal.SIGTERM)
        _signal(apart, signal.SIGTERM)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            _end_all()

    threading.Thread(target=watch, daemon=True).start()
    status = process.wait()
    if orphaned.is_set():
        _end_all()
    # What the command leaves behind goes with it.
    _end_below()
    return status if status >= 0 else 128 - status


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return os.getpgrp()


def _end_below() -> None:
    """Kill everything that stems from this process."""
    for _ in range(_ROUNDS):
        below = descendants(os.getpid())
        if not below:
            return
        _signal(below, signal.SIGKILL)


def _end_all() -> None:
    """The same, and then this process with its group."""
    _end_below()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    sys.exit(main())

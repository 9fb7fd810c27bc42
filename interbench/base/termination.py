"""Ending a program that a signal tells to end: from any moment, in good order, with one line and a status that say so.

SIGINT (Ctrl-C), SIGTERM and SIGHUP tell it. Python makes an exception of the first, raised wherever the program stands,
and that does harm in most places: an import makes another error of it, a destructor prints and drops it, an event loop
loses the task that it is just about to run and waits for ever. So nothing is raised here:

* While an event loop runs under :func:`run`, its main task is cancelled and everything is unwound.
* Anywhere else the program ends on the spot. What :func:`at_end` was told is done first, and the processes that the
  program has started are ended.
* On the spot ends, too, what is not unwound in time, or is told to end once more.

A signal that was ignored when the program started stays ignored: SIGHUP under ``nohup``, SIGINT in a background job of
a shell script. Twin: ``livetalk.base.termination``; the two packages do not import each other.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, NoReturn, TypeVar

_T = TypeVar("_T")

PATIENCE_S = 10.0
"""How long unwinding may take before the program ends on the spot."""

_HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ECHO_S = 1.0
"""One request may arrive twice, e.g. from ``timeout``, which signals a process and then its group."""
_TIDY_S = 5.0
"""How long whoever ends the program on the spot may take."""

_program: _Program | None = None
_undo: dict[object, Callable[[], object]] = {}
_lock = threading.RLock()
_depth = 0
"""How many blocks of :func:`undivided` the main thread is in."""


class Terminated(BaseException):
    """What ran under :func:`run` has been unwound because the program was told to end: :func:`end` it."""


class _Program:
    def __init__(self, words: str) -> None:
        self.words = words
        self.number: int | None = None
        """The signal that told the program to end, once the main thread knows of it."""
        self.deliver: Callable[[], None] | None = None
        """Who is told; None where the program ends on the spot."""
        self.patience_s = PATIENCE_S
        self.put_off = False
        """Whether it ends when :func:`undivided` is left."""
        self._caught: int | None = None
        """The same, as soon as the interpreter knows of it."""
        self._ending = threading.Lock()

    def heed(self) -> None:
        for number in _HEEDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._told)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reader,), name="termination", daemon=True).start()
        os.register_at_fork(after_in_child=self._disown)

    def _told(self, number: int, frame: FrameType | None) -> None:
        """Runs in the main thread, between any two of its steps. Repetitions are for :meth:`_watch` to judge."""
        if self.number is not None:
            return
        self.number = number
        if self.deliver is not None:
            self.deliver()
        elif _depth:
            self.put_off = True
        else:
            self.end()

    def _watch(self, reader: int) -> None:
        """Runs in a thread of its own, because the main one may be stuck in something that is not Python."""
        since: float | None = None
        while True:
            left = None if since is None else max(0.0, since + self.patience_s - time.monotonic())
            if not select.select([reader], [], [], left)[0]:
                break
            number = os.read(reader, 1)[0]
            if number not in _HEEDED:
                continue
            if since is None:
                since, self._caught = time.monotonic(), number
            elif time.monotonic() - since > _ECHO_S:
                break
        self.end()

    def _disown(self) -> None:
        """A forked process is not the program: its signals do to it what they would have done."""
        signal.set_wakeup_fd(-1)
        for number in _HEEDED:
            if signal.getsignal(number) == self._told:
                signal.signal(number, signal.SIG_DFL)

    def end(self, status: int | None = None, words: str | None = None) -> NoReturn:
        if status is None:
            status = 128 + (self.number or self._caught or signal.SIGTERM)
        if not self._ending.acquire(blocking=False):
            # Another thread is at it, and the process goes with it; unless it gets stuck.
            time.sleep(_TIDY_S)
            os._exit(status)
        # Held for ever: from here on nothing is made that would have to be removed.
        _lock.acquire(timeout=_TIDY_S)
        with contextlib.suppress(Exception):
            _end_children()
        for undo in reversed(list(_undo.values())):
            with contextlib.suppress(Exception):
                undo()
        line = (self.words if words is None else words).encode() + b"\n"
        with contextlib.suppress(OSError):
            if line == b"\n":
                os._exit(status)
            # Progress bars hide the cursor and leave half a line.
            os.write(2, b"\r\x1b[K\x1b[?25h" + line if os.isatty(2) else line)
        os._exit(status)


def heed(words: str) -> None:
    """Heed the signals from now on. A program does this first, before it imports anything that takes long.

    Args:
        words: the line that says on standard error that the program was ended, without its line feed.
    """
    global _program
    _program = _Program(words)
    _program.heed()


def heeding() -> bool:
    """Whether this process is a program that heeds the signals."""
    return _program is not None


def told() -> bool:
    """Whether the program was told to end."""
    return _program is not None and _program.number is not None


def end(status: int | None = None, words: str | None = None) -> NoReturn:
    """End a program that was told to end, when nothing is left to be unwound.

    Args:
        status: of the process; None for what shells make of the signal, 128 and its number.
        words: another line than that of :func:`heed`; empty for none.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if _program is None:
        raise RuntimeError("only a program that heeds signals can be ended by one")
    _program.end(status, words)


def leave(leaving: SystemExit) -> NoReturn:
    """Leave a program by the exit that it has come to.

    One that was told to end goes at once: while the interpreter takes itself apart nothing heeds signals, and one more
    would change the status.
    """
    if told():
        code = leaving.code
        end(code if isinstance(code, int) else int(code is not None), "")
    raise leaving


def run(main: Coroutine[Any, Any, _T], *, patience_s: float = PATIENCE_S) -> _T:
    """As ``asyncio.run``, but a signal cancels ``main``.

    Raises:
        Terminated: the program was told to end, whatever became of ``main``.
    """
    import asyncio  # takes its time, and whoever calls this has it already

    task: asyncio.Task[Any] | None = None

    def deliver() -> None:
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def whole() -> _T:
        nonlocal task
        task = asyncio.current_task()
        if told():
            deliver()
        try:
            return await main
        finally:
            # From here on the loop is being closed, and nothing is to disturb that.
            task = None

    with handed_over(deliver, patience_s):
        try:
            result = asyncio.run(whole())
        except BaseException:
            if told():
                raise Terminated from None
            raise
    if told():
        raise Terminated
    return result


@contextlib.contextmanager
def handed_over(deliver: Callable[[], None], patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Within, a signal does nothing but call ``deliver``, once, in the main thread and between any two steps of it.

    Afterwards :func:`told` says whether it has, and the program is to unwind what is left and to :func:`end`. All of
    that may take ``patience_s``.
    """
    program = _program
    if program is not None:
        program.patience_s = patience_s
        program.deliver = deliver
    try:
        yield
    finally:
        if program is not None:
            program.deliver = None
            if not told():
                program.patience_s = PATIENCE_S


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """No end on the spot falls between the steps within: all of them are done, or none is begun."""
    global _depth
    here = 1 if threading.current_thread() is threading.main_thread() else 0
    with _lock:
        _depth += here
        try:
            yield
        finally:
            _depth -= here
    if here and not _depth and _program is not None and _program.put_off:
        _program.end()


def at_end(undo: Callable[[], object]) -> Callable[[], object]:
    """Have ``undo()`` called if the program is ended by a signal; calling what is returned takes that back."""
    key = object()
    _undo[key] = undo
    return lambda: _undo.pop(key, None)


def _end_children() -> None:
    """End the processes that this one has started, each with its group if it leads one."""
    for _ in range(100):
        children = _children()
        for pid, group in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if group == pid:
                    os.killpg(pid, signal.SIGKILL)
                else:
                    os.kill(pid, signal.SIGKILL)
        if not children:
            return
        time.sleep(0.01)


def _children() -> list[tuple[int, int]]:
    """The children that are alive: process id and process group."""
    if not os.path.isdir("/proc/self"):  # noqa: PTH112 - pathlib may be what is just being imported
        return _children_by_ps()
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        with contextlib.suppress(OSError, ValueError):
            pid = int(name)
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
                # The name of the program comes before, in parentheses, and may hold anything.
                state, parent, group = file.read().rpartition(b")")[2].split()[:3]
            if int(parent) == os.getpid() and state not in (b"Z", b"X"):
                found.append((pid, int(group)))
    return found


def _children_by_ps() -> list[tuple[int, int]]:
    """Likewise, where there is no /proc, as on macOS."""
    import subprocess

    ps = subprocess.Popen(["/bin/ps", "-axo", "pid=,ppid=,pgid=,stat="], stdout=subprocess.PIPE, text=True)
    lines = [line.split() for line in ps.communicate()[0].splitlines()]
    return [
        (int(pid), int(group))
        for pid, parent, group, state in (line for line in lines if len(line) == 4)
        if int(parent) == os.getpid() and int(pid) != ps.pid and not state.startswith("Z")
    ]

"""A program that a test starts, tells to end by a signal, and looks for traces of.

SIGINT, SIGTERM and SIGHUP are to the program what the test says, whatever they are to the test itself: a shell that
starts the tests in the background hands SIGINT on as ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ENDS_S = 120.0
"""How long a program may take on a crowded machine before a test gives it up."""

_START = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN if number.name in sys.argv[1].split(",") else signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@dataclass(frozen=True, slots=True)
class End:
    """How a program ended."""

    status: int
    """As ``subprocess`` has it: negative if a signal killed the process."""
    output: str
    errors: str
    took_s: float
    """From the last signal to the end."""


class Program:
    """``python ARGUMENTS``, in a session of its own and with a folder of its own for temporary files.

    Args:
        arguments: of the interpreter.
        folder: for what the program writes; not yet there.
        ignored: signals that are ignored when it starts.
        environment: beside the test's.
        path: further places of modules, before all others.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        ignored: Iterable[signal.Signals] = (),
        environment: Mapping[str, str] | None = None,
        path: Sequence[Path] = (),
    ) -> None:
        folder.mkdir(parents=True)
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._mark = f"{folder}/{uuid.uuid4()}"
        inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        # Even processes that are given next to nothing of the environment are given where their modules lie.
        modules = [*map(str, path), *filter(None, inherited), self._mark]
        self._output, self._errors = folder / "output", folder / "errors"
        self._signalled = time.monotonic()
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", _START, ",".join(number.name for number in ignored), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={
                    **os.environ,
                    **(environment or {}),
                    "PYTHONPATH": os.pathsep.join(modules),
                    "TMPDIR": str(self.temporary),
                    # torch's compiler keeps its code beyond a program's end, and makes the folder when it is imported.
                    "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled"),
                },
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def errors(self) -> str:
        return self._errors.read_text(errors="replace")

    def wait_for(self, state: Callable[[], object], every_s: float = 0.005) -> None:
        """Until ``state()`` is true; fails if the program ends before, or does not come to it at all.

        ``every_s``: how often it is looked for; seldom where that takes work, of this process or the program.
        """
        deadline = time.monotonic() + ENDS_S
        while not state():
            assert time.monotonic() < deadline, f"does not come to the state: {self.output}\n{self.errors}"
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.output}\n{self.errors}"
            time.sleep(every_s)

    def heeds_signals(self) -> bool:
        """Whether it has a handler for SIGTERM yet (Linux)."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
        return False

    def signal(self, number: signal.Signals) -> None:
        self._signalled = time.monotonic()
        self.process.send_signal(number)

    def end(self, limit_s: float = ENDS_S) -> End:
        """Wait for its end."""
        self.process.wait(limit_s)
        return End(self.process.returncode, self.output, self.errors, time.monotonic() - self._signalled)

    def left(self) -> list[str]:
        """What is still there of it: processes it has started, directly or not, and temporary files."""
        return [*map(str, self._processes()), *sorted(map(str, self.temporary.rglob("*")))]

    def leaves_nothing(self, limit_s: float = ENDS_S) -> bool:
        """Whether nothing is left in the end: processes that have lost their parent take a moment to see it."""
        deadline = time.monotonic() + limit_s
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.left()

    def kill(self) -> None:
        """End whatever is left, when a test is over."""
        for pid in [self.process.pid, *self._processes()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def _processes(self) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

"""Processes of a checkout's own environment, under a keeper, so that all that stems from them ends with the run."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from interbench.base.child_guard import end_tree, guarded
from interbench.base.foreign import mended

_OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "PYTHONSTARTUP", "PYTHONWARNINGS", "VIRTUAL_ENV")
"""What our own environment says about Python is not meant for the interpreter of another."""
_LAST_WORDS = 4000


class Child:
    """One process and all that it starts.

    Args:
        argv: its command.
        cwd: where it runs.
        log: takes its output.
        env: variables set for it, over those of this process.
        gpu: the only GPU that it sees; None for all.
    """

    def __init__(
        self, argv: Sequence[str], *, cwd: Path, log: Path, env: Mapping[str, str], gpu: str | None = None
    ) -> None:
        self._argv, self._cwd, self._log = list(argv), cwd, log
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in _OURS and not name.startswith("INTERBENCH_")
        }
        chosen = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        self._env = {**kept, **chosen, **env}
        self._process: asyncio.subprocess.Process | None = None
        self.started = 0.0
        """Monotonic seconds."""

    async def start(self) -> None:
        """Start it; raises :class:`OSError` if not even its keeper can be started."""
        with self._log.open("ab") as sink:
            starting = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *guarded(self._argv),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=sink,
                    stderr=sink,
                    cwd=self._cwd,
                    env=self._env,
                    start_new_session=True,
                )
            )
            try:
                self._process = await asyncio.shield(starting)
            except asyncio.CancelledError:
                # A process that is half started would be nobody's.
                self._process = await starting
                await self.end()
                raise
        self.started = time.monotonic()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def status(self) -> int | None:
        """As a shell gives it; None while it runs."""
        return None if self._process is None else self._process.returncode

    async def wait(self) -> int:
        """Until it has ended; its status."""
        assert self._process is not None
        return await self._process.wait()

    async def end(self) -> None:
        """End it, and all that it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            await asyncio.to_thread(end_tree, process.pid)
        await process.wait()
        # Closing the pipe here rather than at garbage collection keeps the event loop free of stray transports.
        process._transport.close()  # type: ignore[attr-defined]

    def last_words(self) -> str:
        """The last line that it printed, for messages."""
        return last_line(self._log)


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_WORDS))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return mended(lines[-1].strip(), 400) if lines else "it printed nothing"


class Follower:
    """Reads what is added to a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._position, self._rest = path, 0, b""

    def lines(self) -> list[str]:
        """The whole lines that are new since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except OSError:
            return []
        self._position += len(data)
        *whole, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        return [line.decode(errors="replace") for line in whole]

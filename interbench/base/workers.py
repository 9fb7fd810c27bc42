"""Persistent worker processes that speak JSON lines over their standard input and output.

Work that can hang, crash or eat memory (decoding foreign media, rendering, other people's programs) happens in such a
process. A worker that exceeds its time is killed and replaced. Workers end by themselves when their standard input
closes, so that nothing outlives a harness that was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LINE_LIMIT = 64 * 2**20


class WorkerError(Exception):
    """The request failed; the worker is alive. ``code`` is the word the worker gave."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class WorkerTimeoutError(WorkerError):
    """The worker did not answer in time and was killed."""

    def __init__(self, message: str) -> None:
        super().__init__("timeout", message)


class WorkerDiedError(WorkerError):
    """The worker process ended in the middle of a request."""

    def __init__(self, message: str) -> None:
        super().__init__("worker_died", message)


@dataclass(frozen=True, slots=True)
class Cancel:
    """What a worker is told whose request has taken too long, before it is killed."""

    request: Mapping[str, Any]
    grace_s: float
    """If it answers the overdue request and this one within this time it lives on, with all that it has loaded."""


async def spawn(*argv: str, **options: Any) -> asyncio.subprocess.Process:
    """``asyncio.create_subprocess_exec`` of a process that leads a session of its own and that may start others.

    Whoever is cancelled meanwhile leaves nothing of it: asyncio alone would kill the process and not what that has
    started since.

    Raises:
        OSError: it can't be started.
    """
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*argv, start_new_session=True, **options))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            process = await starting
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        raise


class _Worker:
    """One process; at most one request at a time."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None, cancel: Cancel | None
    ) -> None:
        self._argv = argv
        self._env = env
        self._cwd = cwd
        self._cancel = cancel
        self._process: asyncio.subprocess.Process | None = None
        self._stderr = bytearray()
        self._drain: asyncio.Task[None] | None = None
        self._ending = asyncio.Lock()

    async def _start(self) -> asyncio.subprocess.Process:
        self._stderr.clear()
        starting = asyncio.ensure_future(self._spawn())
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A process that is half started would be nobody's.
            self._process = await starting
            await self.kill()
            raise
        self._drain = asyncio.create_task(self._read_stderr(process))
        self._process = process
        return process

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if self._env is None else dict(self._env),
            cwd=self._cwd,
            limit=_LINE_LIMIT,
            start_new_session=True,
        )

    async def _read_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(4096):
            self._stderr += chunk
            del self._stderr[:-4000]

    def _last_words(self) -> str:
        lines = self._stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    async def call(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:  # noqa: ASYNC109 - the worker is killed at the limit
        process = self._process
        if process is None or process.returncode is not None:
            process = await self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
        except TimeoutError:
            if not await self._cancelled(process):
                await self.kill()
            raise WorkerTimeoutError(f"no answer within {timeout:g} s") from None
        except (BrokenPipeError, ConnectionResetError, ValueError):
            line = b""
        except asyncio.CancelledError:
            # The answer to a cancelled request must not be taken for the answer to the next one.
            await asyncio.shield(self._drop(process))
            raise
        if not line.endswith(b"\n"):
            await self.kill()
            raise WorkerDiedError(f"the worker process ended ({self._last_words()})")
        try:
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise ValueError
        except ValueError:
            await self.kill()
            raise WorkerError("protocol", "the worker wrote a line that is not a JSON object") from None
        error = answer.get("error")
        if error is not None:
            if isinstance(error, dict):
                raise WorkerError(str(error.get("code", "error")), str(error.get("message", "")))
            raise WorkerError("error", str(error))
        return answer

    async def _drop(self, process: asyncio.subprocess.Process) -> None:
        if not await self._cancelled(process):
            await self.kill()

    async def _cancelled(self, process: asyncio.subprocess.Process) -> bool:
        """Tell the worker to leave its request, if it knows how; whether it has answered both and can go on."""
        if self._cancel is None or process.returncode is not None:
            return False
        assert process.stdin is not None and process.stdout is not None
        try:
            async with asyncio.timeout(self._cancel.grace_s):
                process.stdin.write(json.dumps(self._cancel.request).encode() + b"\n")
                await process.stdin.drain()
                lines = [await process.stdout.readline() for _ in range(2)]
                return all(line.endswith(b"\n") for line in lines)
        except (TimeoutError, OSError, ValueError):
            return False

    async def kill(self) -> None:
        # Whoever closes the pool waits for a worker that a cancelled call is just ending: the event loop may end next.
        async with self._ending:
            process, self._process = self._process, None
            if process is None:
                return
            if process.returncode is None:
                # The worker leads its own process group: what it started goes with it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
            await process.wait()
            if self._drain is not None:
                await self._drain
            # Closing the pipes here rather than at garbage collection keeps the event loop free of stray transports.
            process._transport.close()  # type: ignore[attr-defined]


class WorkerPool:
    """``size`` workers of one kind, started when first needed.

    Args:
        argv: command line of a worker.
        size: how many requests run at the same time.
        env: environment of the workers; None inherits.
        cwd: their working directory.
        cancel: what a worker is told before it is killed for taking too long; None kills it at once.
    """

    def __init__(
        self,
        argv: Sequence[str],
        size: int = 1,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        if size < 1:
            raise ValueError("a pool needs at least one worker")
        self._workers = [_Worker(argv, env, cwd, cancel) for _ in range(size)]
        self._free: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for worker in self._workers:
            self._free.put_nowait(worker)

    async def call(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:  # noqa: ASYNC109 - the worker is killed at the limit
        """The worker's answer to ``request``. Waiting for a free worker does not count against ``timeout`` (seconds).

        Raises:
            WorkerError: the worker answered with an error, died, or was too slow (subclasses tell which).
        """
        worker = await self._free.get()
        try:
            return await worker.call(request, timeout)
        finally:
            self._free.put_nowait(worker)

    async def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            await worker.kill()


def python_worker(module: str) -> list[str]:
    """Command line of a worker that is a module of this installation."""
    # -P: a file that happens to lie in the current folder must not stand in for a module of ours.
    return [sys.executable, "-P", "-m", module]

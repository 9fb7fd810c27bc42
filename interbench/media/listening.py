"""A live stream, decoded as it arrives in a process of its own (:mod:`interbench.media.listen`)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interbench.base.foreign import number, whole
from interbench.base.workers import python_worker
from interbench.media.pool import Limits, worker_environment

RATE = 16_000
"""Samples per second of what is given."""
_LINE_LIMIT = 2**20


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of sound or a picture."""

    t: float
    """When it plays, in seconds of the stream."""
    needed: int
    """Bytes of the stream that it takes."""
    samples: npt.NDArray[np.float32] | None = None
    """Mono in -1..1 at :data:`RATE`."""
    thumb: npt.NDArray[np.uint8] | None = None
    """Brightness at a grid of points."""


class StreamDecoder:
    """Decodes one stream.

    Args:
        take: called with each piece.
        ended: called with why it can't be decoded any further; empty if the stream has come to its end.
        limits: what the stream may ask for.
    """

    def __init__(
        self, take: Callable[[Piece], None], ended: Callable[[str], None], limits: Limits | None = None
    ) -> None:
        self._take, self._ended = take, ended
        self._limits = limits or Limits()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *python_worker("interbench.media.listen"),
            json.dumps(asdict(self._limits)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=worker_environment(),
            limit=_LINE_LIMIT,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process))

    async def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # told by ``ended``
            process.stdin.write(data)
            await process.stdin.drain()

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        await process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        process._transport.close()  # type: ignore[attr-defined]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        why = ""
        try:
            while line := await process.stdout.readline():
                told = json.loads(line)
                if "error" in told:
                    why = str(told["error"])[:300]
                    continue
                self._take(_piece(told))
        except (ValueError, KeyError, TypeError) as error:
            why = f"its decoder's answer can't be read ({error})"
        if self._process is not None:
            self._ended(why or ("" if await process.wait() == 0 else "its decoder ended"))


def _piece(told: dict[str, Any]) -> Piece:
    t, needed = number(told["t"], -1e9, 1e9), whole(told["bytes"])
    if t is None or needed is None:
        raise ValueError("no time or place")
    if "samples" in told:
        samples = np.frombuffer(base64.b64decode(told["samples"]), "<i2").astype(np.float32) / np.float32(32768)
        return Piece(t, needed, samples=samples)
    height, width = told["shape"]
    pixels = np.frombuffer(base64.b64decode(told["pixels"]), np.uint8).reshape(int(height), int(width))
    return Piece(t, needed, thumb=pixels)

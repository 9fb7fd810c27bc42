"""Decoding strangers' pictures and sound in processes of their own (``livetalk.server.media_worker``).

Such a process has bounded memory and processor time, may write no file, and inherits none of the server's environment,
where keys are. What hangs or dies is replaced. Pictures and sound have separate processes, so that a large picture
keeps nobody's turn waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from livetalk.base.errors import LiveTalkError
from livetalk.server.limits import Limits
from livetalk.server.problems import ProblemError
from livetalk.sound.files import Samples

_INHERITED = (
    *("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("LANG", "HOME", "TMPDIR"),
)
_SOUND_WORKERS = 2
_START_S = 120.0  # for importing what decodes, on a machine that is busy loading models
_BUSY = 6  # times as long as the processor time may pass, on a machine with this much else to do
_GRACE_S = 5.0  # beyond that, for handing things over


class DecoderError(LiveTalkError):
    """Media can't be decoded on this machine at all."""


class MediaDecoder:
    """All workers of one server; they start with ``start``, or when first needed.

    Args:
        limits: what a file may ask for.
        size: (height, width) that pictures are brought to.
        middle: share of a picture that is looked at, as ``livetalk.render.encoders.image.preprocess`` takes it.
    """

    def __init__(self, limits: Limits, size: tuple[int, int], *, middle: float = 1.0) -> None:
        self._limits = limits
        self._size, self._middle = size, middle
        self._pictures = _Pool("picture", 1, limits)
        self._sounds = _Pool("sound", _SOUND_WORKERS, limits)

    async def start(self) -> None:
        await asyncio.gather(self._pictures.start(), self._sounds.start())

    async def close(self) -> None:
        await asyncio.gather(self._pictures.close(), self._sounds.close())

    async def picture(self, content: bytes) -> Tensor:
        """As ``livetalk.render.encoders.image.preprocess``: float32 [1, 3, 1, H, W] in [-1, 1].

        Raises:
            ProblemError: ``picture_too_large``, ``bad_picture``.
        """
        height, width = self._size
        request = {
            "height": height,
            "width": width,
            "middle": self._middle,
            "pixels": self._limits.picture_pixels,
        }
        values = np.frombuffer(await self._pictures.call(request, content), np.float32)
        return torch.from_numpy(values.reshape(1, 3, 1, height, width).copy())

    async def sound(self, content: bytes) -> Samples:
        """As ``livetalk.sound.files.read_audio``: 16 kHz mono float32.

        Raises:
            ProblemError: ``audio_too_long``, ``bad_audio``.
        """
        answer = await self._sounds.call({"seconds": self._limits.turn_audio_s}, content)
        samples: Samples = np.frombuffer(answer, np.float32).copy()
        if not len(samples):
            raise ProblemError("bad_audio", "The audio file holds no sound.")
        return samples


class _Pool:
    def __init__(self, kind: str, size: int, limits: Limits) -> None:
        self._workers = [_Worker(kind, limits) for _ in range(size)]
        self._free: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for worker in self._workers:
            self._free.put_nowait(worker)

    async def start(self) -> None:
        await asyncio.gather(*(worker.start() for worker in self._workers))

    async def close(self) -> None:
        await asyncio.gather(*(worker.kill() for worker in self._workers))

    async def call(self, request: Mapping[str, Any], content: bytes) -> bytes:
        worker = await self._free.get()
        try:
            return await worker.call(request, content)
        finally:
            self._free.put_nowait(worker)


class _Worker:
    """One process; one request at a time."""

    def __init__(self, kind: str, limits: Limits) -> None:
        self._kind = kind
        self._limits = limits
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> asyncio.subprocess.Process:
        """
        Raises:
            DecoderError: it does not start.
        """
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return self._process
            environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
            environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                # -P: a file that happens to lie in the current folder must not stand in for a module of ours.
                *("-P", "-m", "livetalk.server.media_worker", self._kind, f"{self._limits.decode_s:g}"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
            assert process.stdout is not None
            try:
                async with asyncio.timeout(_START_S):
                    greeting = await process.stdout.readline()
            except TimeoutError:
                greeting = b""
            if greeting != b"ready\n":
                await self.kill()
                raise DecoderError(
                    f"The process that decodes strangers' {self._kind}s does not start on this machine; what it wrote "
                    "above says why."
                )
            return process

    async def call(self, request: Mapping[str, Any], content: bytes) -> bytes:
        process = await self.start()
        assert process.stdin is not None and process.stdout is not None
        try:
            async with asyncio.timeout(_BUSY * self._limits.decode_s + _GRACE_S):
                process.stdin.write(json.dumps({**request, "bytes": len(content)}).encode() + b"\n")
                process.stdin.write(content)
                await process.stdin.drain()
                answer = json.loads(await process.stdout.readline())
                if "error" in answer:
                    raise ProblemError(answer["error"]["code"], answer["error"]["message"])
                return await process.stdout.readexactly(answer["bytes"])
        except (TimeoutError, ConnectionError, ValueError, EOFError):
            await self.kill()
            raise ProblemError(
                f"bad_{'audio' if self._kind == 'sound' else 'picture'}",
                f"The {self._kind} can't be decoded within the time and memory that are granted for it. Export it "
                "again, in a common format.",
            ) from None
        except asyncio.CancelledError:
            # Its answer must not be taken for that to the next request.
            await asyncio.shield(self.kill())
            raise

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        # Closing the pipes here rather than at garbage collection keeps the event loop free of stray transports.
        process._transport.close()  # type: ignore[attr-defined]

"""A stand-in for Google's Live API with an avatar: one fragmented MP4 a connection, real H.264 and AAC, in slices of
any size that keep to no box, running on between answers, with the service's own marks and limits."""

from __future__ import annotations

import asyncio
import base64
import http
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
import talking_pattern
import websockets
from websockets.asyncio.server import Server, ServerConnection, serve

FPS, RATE = 24, 24_000
KEY = "test-key-that-must-not-leak"


@dataclass(slots=True)
class Manner:
    """How it behaves."""

    slices: tuple[int, ...] = (16_384,)
    """Bytes of the stream's slices, over and over."""
    answer_s: float = 1.6
    answers: bool = True
    full: int = 0
    """So many connections are refused because too many are open."""
    allows_portraits: bool = False
    leaves_after: int | None = None
    """After so many answers it announces that it will close the connection, and does once the next line begins."""
    drops_in_answer: int | None = None
    """The connection breaks during the answer to that line."""
    refuses: int | None = None
    """That line is refused."""
    resumes: bool = True
    picture: bool = True
    """Without, it sends sound of another kind, as a developer's key gets."""


class _Stream:
    """The avatar's picture and sound as one fragmented MP4, made as time goes by."""

    def __init__(self) -> None:
        self._out = bytearray()
        options = {"movflags": "empty_moov+default_base_moof+frag_keyframe", "frag_duration": "250000"}
        options["flush_packets"] = "1"
        self._container: Any = av.open(self, "w", format="mp4", options=options)
        self._video = self._container.add_stream("libx264", rate=FPS)
        self._video.width, self._video.height = talking_pattern.WIDTH, talking_pattern.HEIGHT
        self._video.pix_fmt = "yuv420p"
        self._video.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(FPS)}
        self._audio = self._container.add_stream("aac", rate=RATE, layout="mono")
        self._number = 0

    def write(self, data: bytes) -> int:
        self._out += data
        return len(data)

    def frame(self, into: float | None) -> bytes:
        """The next picture with its sound; gives what of the file is there by now."""
        picture = talking_pattern.frame(into, self._number)
        picture.pts, picture.time_base = self._number, Fraction(1, FPS)
        self._container.mux(self._video.encode(picture))
        size = RATE // FPS
        sound = talking_pattern.tone(into, size, RATE).astype(np.float32)[None] / 32768
        heard = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = RATE, self._number * size, Fraction(1, RATE)
        self._container.mux(self._audio.encode(heard))
        self._number += 1
        data = bytes(self._out)
        self._out.clear()
        return data


@dataclass
class GeminiServer:
    """The stand-in, on a thread of its own."""

    manner: Manner = field(default_factory=Manner)
    setups: list[dict[str, Any]] = field(default_factory=list)
    lines: list[tuple[float, float]] = field(default_factory=list)
    """(seconds of sound, seconds it took to come) of every line."""
    typed: list[str] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> GeminiServer:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._count = itertools.count(1)

        async def start() -> Server:
            server = await serve(self._session, "127.0.0.1", 0, process_request=self._admit, max_size=None)
            self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            ready.set()
            return server

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._server = self._loop.run_until_complete(start())
            self._loop.run_forever()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            await self._server.wait_closed()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _admit(self, connection: ServerConnection, request: Any) -> Any:
        if request.headers.get("x-goog-api-key") != KEY or not request.path.endswith("/BidiGenerateContent"):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, f"key {request.headers.get('x-goog-api-key')}\n")
        return None

    async def _session(self, socket: ServerConnection) -> None:
        manner = self.manner
        setup = json.loads(await socket.recv())["setup"]
        self.setups.append(setup)
        if manner.full > 0:
            manner.full -= 1
            await socket.close(
                1011, "RESOURCE_EXHAUSTED: Maximum concurrent sessions exceeded for Live Avatar use case."
            )
            return
        if "customized_avatar" in setup["avatar_config"] and not manner.allows_portraits:
            await socket.close(1007, "Current project is not allowlisted for customized avatar feature.")
            return
        await socket.send(json.dumps({"setupComplete": {"sessionId": "s"}}).encode())
        mind = _Mind(manner)
        streaming = asyncio.create_task(self._stream(socket, mind))
        try:
            await self._hear(socket, mind)
        except websockets.ConnectionClosed:
            pass
        finally:
            streaming.cancel()
            await asyncio.gather(streaming, return_exceptions=True)

    async def _hear(self, socket: ServerConnection, mind: _Mind) -> None:
        began, sent = 0.0, 0
        async for message in socket:
            told = json.loads(message)["realtime_input"]
            now = time.monotonic()
            if "activity_start" in told:
                began, sent = now, 0
                if mind.into(now) is not None:
                    mind.ends, mind.cut = now + 0.1, True
                if mind.leaving:
                    await socket.close(1001, "the session has reached its limit")
            elif "audio" in told:
                assert told["audio"]["mime_type"] == "audio/pcm;rate=16000"
                sent += len(base64.b64decode(told["audio"]["data"])) // 2
            elif "activity_end" in told:
                self.lines.append((sent / 16_000, now - began))
                mind.answer(now)
            elif "text" in told:
                self.typed.append(told["text"])
                mind.answer(now)

    async def _stream(self, socket: ServerConnection, mind: _Mind) -> None:
        stream, rest = _Stream(), bytearray()
        sizes = itertools.cycle(self.manner.slices)
        size = next(sizes)
        start = time.monotonic()
        said = False
        for number in itertools.count():
            at = start + number / FPS
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            into = mind.into(at)
            rest += stream.frame(into)
            parts = []
            # What lies there goes out with the next slice that is full, or every tenth of a second.
            while rest and (len(rest) >= size or number % 3 == 0):
                data = base64.b64encode(bytes(rest[:size])).decode()
                del rest[:size]
                size = next(sizes)
                kind = "video/mp4" if self.manner.picture else "audio/pcm;rate=24000"
                parts.append({"inlineData": {"mimeType": kind, "data": data}})
            for part in parts:
                await socket.send(json.dumps({"serverContent": {"modelTurn": {"parts": [part]}}}))
            if mind.refused:
                mind.refused = False
                told = {"turnComplete": True, "turnCompleteReason": "RESPONSE_REJECTED"}
                await socket.send(json.dumps({"serverContent": told}))
            if into is not None and not said:
                said = True
                await self._say(socket, "inputTranscription", "Question?")
                await self._say(socket, "outputTranscription", "The answer ")
                await self._say(socket, "outputTranscription", "is blue.")
                if self.manner.drops_in_answer == mind.answers:
                    socket.transport.abort()
                    return
            if said and into is None:
                said = False
                await self._over(socket, mind)

    async def _say(self, socket: ServerConnection, kind: str, text: str) -> None:
        await socket.send(json.dumps({"serverContent": {kind: {"text": text}}}))

    async def _over(self, socket: ServerConnection, mind: _Mind) -> None:
        if mind.cut:
            await socket.send(json.dumps({"serverContent": {"interrupted": True}}))
        else:
            await socket.send(json.dumps({"serverContent": {"generationComplete": True}}))
        mind.cut = False
        await socket.send(
            json.dumps({"serverContent": {"turnComplete": True}, "usageMetadata": {"totalTokenCount": 9}})
        )
        if self.manner.resumes:
            update = {"newHandle": f"handle-{next(self._count)}", "resumable": True}
            await socket.send(json.dumps({"sessionResumptionUpdate": update}))
        if self.manner.leaves_after is not None and mind.answers >= self.manner.leaves_after:
            mind.leaving = True
            await socket.send(json.dumps({"goAway": {"timeLeft": "50.5s"}}))


@dataclass(slots=True)
class _Mind:
    manner: Manner
    started: float | None = None
    ends: float = 0.0
    cut: bool = False
    answers: int = 0
    leaving: bool = False
    refused: bool = False

    def answer(self, now: float) -> None:
        self.answers += 1
        if self.manner.refuses == self.answers:
            self.refused = True
        elif self.manner.answers:
            self.started, self.ends = now + 0.2, now + 0.2 + self.manner.answer_s

    def into(self, now: float) -> float | None:
        return now - self.started if self.started is not None and self.started <= now < self.ends else None

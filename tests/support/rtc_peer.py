"""An avatar behind WebRTC: real tracks over loopback, with what goes wrong on the way where a test asks for it.

It listens (it answers once a line has been heard to its end), or is told text by LiveTalking's calls.
"""

from __future__ import annotations

import asyncio
import fractions
import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import aiortc
import av
import talking_pattern
from aiortc.mediastreams import MediaStreamTrack

RATE = 48_000
FPS = 25
_HEARD_S = 0.3


@dataclass(slots=True)
class Faults:
    """What goes wrong."""

    jitter_s: float = 0.0
    """Pictures leave up to so much late."""
    lost_start_s: float = 0.0
    """So much of the beginning of every answer's sound is never sent."""
    lost_at_s: float | None = None
    """A fifth of a second of sound is never sent, so long into the answer."""
    frozen: bool = False
    """The same picture again and again."""
    picture_stops_s: float | None = None
    """No picture leaves any more, so long into the answer."""
    mute: bool = False
    """Never answers."""
    talks_on: bool = False
    """Does not let itself be interrupted."""
    mute_after_interruption: bool = False
    size: tuple[int, int] | None = None
    """Of its pictures, which are empty then."""


@dataclass(slots=True)
class _Mind:
    """When it speaks, by the clock of its loop."""

    faults: Faults
    answer_s: float
    started: float | None = None
    ends: float = 0.0
    interrupted: bool = False

    def answer(self, now: float) -> None:
        if not self.faults.mute and not (self.interrupted and self.faults.mute_after_interruption):
            self.started, self.ends = now + 0.15, now + 0.15 + self.answer_s

    def stop(self, now: float) -> None:
        if self.speaking(now) and not self.faults.talks_on:
            self.ends, self.interrupted = now + 0.1, True

    def speaking(self, now: float) -> bool:
        return self.started is not None and now < self.ends

    def into(self, now: float) -> float | None:
        """Seconds into the answer; None while idle."""
        return now - self.started if self.started is not None and self.started <= now < self.ends else None


class _Sound(MediaStreamTrack):
    kind = "audio"

    def __init__(self, mind: _Mind, start: float) -> None:
        super().__init__()
        self._mind, self._start, self._number = mind, start, 0

    async def recv(self) -> Any:
        size = RATE // 50
        while True:
            at = self._start + self._number * 0.02
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            into = self._mind.into(at)
            number, self._number = self._number, self._number + 1
            faults = self._mind.faults
            hole = faults.lost_at_s is not None and into is not None and 0 <= into - faults.lost_at_s < 0.2
            if into is not None and (into < faults.lost_start_s or hole):
                continue
            frame = av.AudioFrame.from_ndarray(talking_pattern.tone(into, size, RATE)[None, :], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, number * size, fractions.Fraction(1, RATE)
            return frame


class _Picture(MediaStreamTrack):
    kind = "video"

    def __init__(self, mind: _Mind, start: float) -> None:
        super().__init__()
        self._mind, self._start, self._number = mind, start, 0
        self._random = random.Random(3)

    async def recv(self) -> Any:
        at = self._start + self._number / FPS
        faults = self._mind.faults
        late = self._random.random() * faults.jitter_s
        await asyncio.sleep(max(0.0, at + late - time.monotonic()))
        into = self._mind.into(at)
        if faults.picture_stops_s is not None and into is not None and into > faults.picture_stops_s:
            await asyncio.Event().wait()
        if faults.size is None:
            frame = talking_pattern.frame(into, self._number, moving=not faults.frozen)
        else:
            frame = av.VideoFrame(*faults.size, "yuv420p")
        frame.pts, frame.time_base = self._number * (90_000 // FPS), fractions.Fraction(1, 90_000)
        self._number += 1
        return frame


@dataclass
class RtcPeer:
    """The stand-in, on a thread of its own.

    Args:
        listens: whether it answers what it hears; otherwise the words that ``/human`` brings.
        answer_s: length of its answers.
    """

    listens: bool = True
    answer_s: float = 1.6
    faults: Faults = field(default_factory=Faults)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """Authorization headers that came."""
    refuse: str = ""
    heard: list[float] = field(default_factory=list)
    """Seconds of every line that was heard."""
    url: str = ""

    def __enter__(self) -> RtcPeer:
        self._loop = asyncio.new_event_loop()
        self._peers: list[tuple[Any, Any]] = []
        self._minds: dict[str, _Mind] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        ready = threading.Event()

        async def serve() -> None:
            self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
            ready.set()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(serve())
            self._loop.run_forever()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for peer, _ in self._peers:
                await peer.close()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        path = lines[0].split()[1]
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))))
        self.calls.append((path, body))
        self.tokens.append(headers.get("authorization", ""))
        answer = json.dumps(await self._answer(path, body)).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            + f"Content-Length: {len(answer)}\r\n\r\n".encode()
            + answer
        )
        await writer.drain()
        writer.close()

    async def _answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("/offer"):
            return {"code": -1, "msg": self.refuse} if self.refuse else await self._offer(body)
        mind = self._minds.get(str(body.get("sessionid")))
        if mind is None:
            return {"code": -1, "msg": "session not found"}
        if path == "/human":
            mind.answer(time.monotonic())
        elif path == "/interrupt_talk":
            mind.stop(time.monotonic())
        return {"code": 0, "msg": "ok"}

    async def _offer(self, body: dict[str, Any]) -> dict[str, Any]:
        peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        mind = _Mind(self.faults, self.answer_s)
        name = f"session-{len(self._peers) + 1}"
        self._peers.append((peer, mind))
        self._minds[name] = mind
        start = time.monotonic()
        channel: list[Any] = []
        peer.on("datachannel", lambda opened: channel.append(opened))

        @peer.on("track")
        def hear(track: Any) -> None:
            if track.kind == "audio" and self.listens:
                task = asyncio.get_running_loop().create_task(self._listen(track, mind, channel))
                self._tasks.add(task)

        await peer.setRemoteDescription(aiortc.RTCSessionDescription(body["sdp"], body["type"]))
        peer.addTrack(_Sound(mind, start))
        peer.addTrack(_Picture(mind, start))
        await peer.setLocalDescription(await peer.createAnswer())
        return {"sdp": peer.localDescription.sdp, "type": peer.localDescription.type, "sessionid": name}

    async def _listen(self, track: Any, mind: _Mind, channel: list[Any]) -> None:
        """Voice activity: a line begins with the first loud packet and ends with 0.3 s of quiet."""
        begun: float | None = None
        loud = 0.0
        try:
            while True:
                frame = await track.recv()
                now = time.monotonic()
                if frame.to_ndarray().std() > 300:
                    begun = now if begun is None else begun
                    loud = now
                    if now - begun > 0.1:
                        mind.stop(now)
                elif begun is not None and now - loud > _HEARD_S:
                    self.heard.append(loud - begun)
                    begun = None
                    mind.answer(now)
                    for opened in channel:
                        opened.send(json.dumps({"type": "chat", "role": "human", "message": "Question?"}))
                        opened.send(json.dumps({"type": "chat", "role": "avatar", "message": "The answer is blue."}))
        except aiortc.mediastreams.MediaStreamError:
            return

"""A stand-in for LiveKit's client library, at its seam: rooms, tracks, byte streams and calls, without a server.

A vendor's avatar joins a room when the vendor's call names it (:mod:`vendor_server`), plays the speech that it is sent
into real pictures and sounds, and makes the calls that LiveKit's agents know.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

import numpy as np
import talking_pattern

AVATAR = "lemonslice-avatar-agent"
FPS = 25


class ConnectError(Exception): ...


class RpcError(Exception): ...


class TrackKind(IntEnum):
    KIND_AUDIO = 1
    KIND_VIDEO = 2


class VideoBufferType(IntEnum):
    I420 = 5


@dataclass
class RoomOptions:
    auto_subscribe: bool = True


@dataclass(frozen=True)
class _Rpc:
    caller_identity: str
    payload: str


@dataclass(frozen=True)
class _Participant:
    identity: str


@dataclass(frozen=True)
class _Track:
    kind: TrackKind
    avatar: Avatar


@dataclass(frozen=True)
class _Sound:
    data: memoryview


@dataclass(frozen=True)
class _Picture:
    width: int
    height: int
    data: memoryview


@dataclass(frozen=True)
class _Event:
    frame: Any
    timestamp_us: int = 0


@dataclass
class Faults:
    """What the avatar does wrong."""

    lost_start_s: float = 0.0
    """So much of the beginning of every speech is never played."""
    deaf: bool = False
    """Never plays anything."""
    never_joins: bool = False
    leaves_after: int | None = None
    """So many speeches later it leaves the room."""
    size: tuple[int, int] | None = None
    """Of its pictures, which are empty then."""
    floods: Literal["pictures", "sound", ""] = ""
    """Sends without a pause."""


faults = Faults()
rooms: list[Room] = []
"""That were joined."""
heard: Callable[[], None] = lambda: None  # noqa: E731
"""Called when an avatar begins to play."""


class Avatar:
    """Joins a room, plays what it is sent."""

    def __init__(self, room: Room, identity: str) -> None:
        self.room, self.identity = room, identity
        self.speech: collections.deque[tuple[int, np.ndarray[Any, Any]]] = collections.deque()
        self.started: float | None = None
        self.ends = 0.0
        self.speeches = 0
        self.interrupted = False

    async def play(self, pcm: np.ndarray[Any, Any], rate: int) -> None:
        """Play 16-bit samples; tells when it begins and when it is done."""
        self.speeches += 1
        if faults.deaf:
            return
        self.interrupted = False
        now = time.monotonic()
        self.pcm, self.rate = pcm, rate
        self.started, self.ends = now + 0.15, now + 0.15 + len(pcm) / rate
        await asyncio.sleep(0.15)
        heard()
        await self.room.called("lk.playback_started", self.identity, "")
        while (left := self.ends - time.monotonic()) > 0:  # noqa: ASYNC110 - its end may come earlier
            await asyncio.sleep(min(left, 0.02))
        position = min(len(pcm) / rate, max(0.0, self.ends - self.started))
        told = {"playback_position": position, "interrupted": self.interrupted}
        await self.room.called("lk.playback_finished", self.identity, json.dumps(told))
        if faults.leaves_after == self.speeches:
            self.room.emit("participant_disconnected", _Participant(self.identity))

    def clear(self) -> None:
        now = time.monotonic()
        if self.started is not None and now < self.ends:
            self.ends, self.interrupted = now + 0.1, True

    def samples(self, at: float, count: int) -> np.ndarray[Any, Any]:
        """48 kHz, of the speech that is heard at that time."""
        if self.started is None or not self.started <= at < self.ends or at - self.started < faults.lost_start_s:
            return np.zeros(count, np.int16)
        places = ((at - self.started + np.arange(count) / 48_000) * self.rate).astype(int)
        return np.where(places < len(self.pcm), self.pcm[np.minimum(places, len(self.pcm) - 1)], 0).astype(np.int16)

    def is_loud(self, at: float) -> bool:
        """Whether the mouth is open: how loud the speech is in the 40 ms from then on."""
        return bool(np.abs(self.samples(at, 1920).astype(float)).mean() > 300)


class Room:
    def __init__(self) -> None:
        self._handlers: dict[str, list[Callable[..., None]]] = {}
        self.methods: dict[str, Callable[[Any], str]] = {}
        self.local_participant = LocalParticipant(self)
        self.avatar: Avatar | None = None
        self.token = ""
        self.tasks: set[asyncio.Task[None]] = set()
        self.connected = False

    def on(self, event: str, handler: Callable[..., None]) -> None:
        self._handlers.setdefault(event, []).append(handler)

    def emit(self, event: str, *facts: Any) -> None:
        for handler in self._handlers.get(event, ()):
            handler(*facts)

    async def connect(self, url: str, token: str, options: RoomOptions) -> None:
        if "refuses" in url:
            raise ConnectError(f"invalid token {token}")
        self.name = claims(token)["video"]["room"]
        self.token, self.connected = token, True
        self.loop = asyncio.get_running_loop()
        rooms.append(self)

    async def disconnect(self) -> None:
        self.connected = False
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def join(self, token: str) -> None:
        """The avatar comes, with the token that its vendor was given; from any thread."""
        told = claims(token)
        assert told["video"]["room"] == self.name and told["attributes"] == {"lk.publish_on_behalf": "interbench"}
        self.loop.call_soon_threadsafe(self._join, told["sub"])

    def _join(self, identity: str) -> None:
        if faults.never_joins:
            return
        self.avatar = Avatar(self, identity)
        for kind in TrackKind:
            self.emit("track_subscribed", _Track(kind, self.avatar), None, _Participant(identity))

    async def called(self, method: str, identity: str, payload: str) -> str:
        return self.methods[method](_Rpc(identity, payload))

    def spawn(self, task: Any) -> None:
        started = asyncio.get_running_loop().create_task(task)
        self.tasks.add(started)
        started.add_done_callback(self.tasks.discard)


class LocalParticipant:
    def __init__(self, room: Room) -> None:
        self._room = room

    def register_rpc_method(self, name: str, handler: Callable[[Any], str]) -> None:
        self._room.methods[name] = handler

    async def perform_rpc(
        self, *, destination_identity: str, method: str, payload: str, response_timeout: float | None = None
    ) -> str:
        avatar = self._room.avatar
        if avatar is None or destination_identity != avatar.identity or method != "lk.clear_buffer":
            raise RpcError(method)
        avatar.clear()
        return "ok"

    async def stream_bytes(
        self, *, name: str, topic: str, destination_identities: list[str], attributes: dict[str, str]
    ) -> Writer:
        avatar = self._room.avatar
        assert topic == "lk.audio_stream" and avatar is not None and destination_identities == [avatar.identity]
        return Writer(self._room, int(attributes["sample_rate"]))


@dataclass
class Writer:
    room: Room
    rate: int
    data: bytearray = field(default_factory=bytearray)

    async def write(self, piece: bytes) -> None:
        self.data += piece

    async def aclose(self) -> None:
        assert self.room.avatar is not None
        self.room.spawn(self.room.avatar.play(np.frombuffer(bytes(self.data), "<i2"), self.rate))


class AudioStream:
    def __init__(self, track: _Track, capacity: int, sample_rate: int, num_channels: int) -> None:
        assert (sample_rate, num_channels) == (48_000, 1) and capacity > 0
        self._avatar = track.avatar

    async def __aiter__(self) -> AsyncIterator[_Event]:
        start, number = time.monotonic(), 0
        while True:
            at = start + number * 0.01
            await asyncio.sleep(0.0 if faults.floods == "sound" else max(0.0, at - time.monotonic()))
            yield _Event(_Sound(memoryview(self._avatar.samples(at, 480).tobytes())))
            number += 1

    async def aclose(self) -> None: ...


class VideoStream:
    def __init__(self, track: _Track, capacity: int, format: VideoBufferType) -> None:  # noqa: A002 - the library's name
        assert format is VideoBufferType.I420 and capacity > 0
        self._avatar = track.avatar

    async def __aiter__(self) -> AsyncIterator[_Event]:
        start, number = time.monotonic(), 0
        while True:
            at = start + number / FPS
            await asyncio.sleep(0.0 if faults.floods == "pictures" else max(0.0, at - time.monotonic()))
            if faults.size is not None:
                wide, high = faults.size
                yield _Event(_Picture(wide, high, memoryview(bytes(wide * high * 3 // 2))), round(at * 1e6))
            plane = talking_pattern.picture(None, number)
            if self._avatar.is_loud(at):
                plane[24:64, 40:88] = 220
            colour = np.full(talking_pattern.WIDTH * talking_pattern.HEIGHT // 2, 128, np.uint8)
            data = memoryview(plane.tobytes() + colour.tobytes())
            picture = _Picture(talking_pattern.WIDTH, talking_pattern.HEIGHT, data)
            yield _Event(picture, round(at * 1e6))
            number += 1

    async def aclose(self) -> None: ...


def claims(token: str) -> dict[str, Any]:
    """What a token says; its signature is checked by the test that has its secret."""
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found

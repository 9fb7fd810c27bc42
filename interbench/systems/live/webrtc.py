"""Avatars behind WebRTC, offer and answer by HTTP: LiveTalking, OpenAvatarChat, and whatever speaks like one of them.

The user's line is a sound track (or text), the two tracks are recorded. Forms: LiveTalking ``server/routes.py``
and ``server/rtc_manager.py``, OpenAvatarChat ``rtc_stream.py`` over FastRTC, both as of 2026.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from interbench.base.errors import InterbenchError, SystemLoadError
from interbench.base.foreign import NotJsonError, mapped, mended, parsed_json
from interbench.base.remote import excerpt
from interbench.domain.persona import Persona
from interbench.media.raw import mono, piece
from interbench.systems.base import Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import JsonValue, Opening, TurnRequest
from interbench.systems.live import calls
from interbench.systems.live.system import LiveSystem
from interbench.systems.live.talk import CHUNK_S, USER_RATE, LiveConversation, Pcm
from interbench.systems.live.tracks import RATE, FeedError, TrackFeed

Form = Literal["livetalking", "openavatarchat", "plain"]
Send = Literal["audio", "text"]
_PATHS: Mapping[str, str] = {"livetalking": "/offer", "openavatarchat": "/webrtc/offer", "plain": "/offer"}
_PICTURE_HELD_S, _SOUND_HELD_S = 0.04, 0.08
"""aiortc hands a picture over when the next one begins to arrive, and sound four packets late."""
_MOST_TEXT = 100_000


class WebRtc(LiveSystem):
    """An avatar behind WebRTC, offer and answer by HTTP: LiveTalking, OpenAvatarChat.

    Args:
        url: address of the service.
        form: whose calls it understands: ``livetalking``, ``openavatarchat``, or ``plain`` (an offer alone).
        send: ``audio`` (the user is heard) or ``text``; LiveTalking takes text alone.
        offer_path: where the offer is posted, if not where the form says.
        offer: further fields of the offer, such as the avatar to load.
        ice_servers: STUN or TURN servers (``stun:host:port``); none are asked without.
        key_env: name of the environment variable with a bearer token, if the service wants one.
        options: those of :class:`~interbench.systems.live.system.LiveSystem`.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text", "audio"}),
        output="stream",
        state="session",
        continuous=True,
        barge_in=True,
        max_concurrency=1,
        price_usd_per_s=0.0,
        announces_cost=True,
        status="For servers of your own; never called against one here, only against a stand-in with real tracks.",
        evidence_url="https://github.com/lipku/LiveTalking",
    )
    extra = "webrtc"
    module = "aiortc"

    def __init__(
        self,
        url: str = "http://127.0.0.1:8010",
        *,
        form: Form = "livetalking",
        send: Send | None = None,
        offer_path: str | None = None,
        offer: Mapping[str, Any] | None = None,
        ice_servers: Sequence[str] = (),
        key_env: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if form not in get_args(Form):
            raise SystemLoadError(f"form = {form!r} is none of {', '.join(get_args(Form))}.")
        if send is not None and send not in get_args(Send):
            raise SystemLoadError(f"send = {send!r} is none of {', '.join(get_args(Send))}.")
        if form == "livetalking" and send == "audio":
            raise SystemLoadError(
                "LiveTalking does not listen to the track that is sent to it: its page recognizes the user's speech "
                "and posts the words. Leave send out, or set it to text."
            )
        if form == "plain" and send == "text":
            raise SystemLoadError("A plain offer has no way for text; leave send out, or set it to audio.")
        if isinstance(ice_servers, str):
            raise SystemLoadError('ice_servers is a list, e.g. ice_servers = ["stun:stun.example.org:3478"].')
        self.url = calls.address("url", url)
        self.form: Form = form
        self.send: Send = send or ("text" if form == "livetalking" else "audio")
        self.offer_path = offer_path or _PATHS[form]
        self.offer = dict(offer or {})
        self.ice_servers = list(ice_servers)
        self.key_env = key_env
        self.key = calls.secret(None)

    @property
    def version(self) -> str:
        return f"as served ({self.form})"

    def settings(self) -> Mapping[str, JsonValue]:
        mine: dict[str, JsonValue] = {"url": self.url, "form": self.form, "send": self.send, "offer": self.offer}
        return {**super().settings(), **mine, "offer_path": self.offer_path}

    async def start(self) -> None:
        self.key = calls.secret(self.key_env)
        await super().start()

    async def open(self, persona: Persona) -> Conversation:
        return _Conversation(self)

    async def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the service answers to a call; a ``code`` other than 0 is a refusal, as LiveTalking says it."""
        answer = await calls.post(self.url + path, body, headers=self.key.headers(), hidden=self.key)
        code = answer.get("code", 0)
        if code not in (0, None) or answer.get("status") == "failed":
            said = self.key.redact(excerpt([mended(str(answer.get("msg") or answer.get("meta") or answer))]))
            raise calls.CallError("refused", f"{self.url}{path} refuses: {said}")
        return answer


class WebRtcError(InterbenchError):
    """No session could be set up."""


class _Conversation(LiveConversation):
    def __init__(self, system: WebRtc) -> None:
        super().__init__(system.pace)
        self._system = system
        self.feed = self._feed = TrackFeed(
            picture_held_s=_PICTURE_HELD_S, sound_held_s=_SOUND_HELD_S, limits=system.limits, clock=system.clock
        )
        self._peer: Any = None
        self._microphone: Any = None
        self._channel: Any = None
        self._session = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._hanging_up: asyncio.Task[None] | None = None
        self._gone = ""
        self._texts = 0

    # -- the session ----------------------------------------------------------------------------------------------

    async def prepare(self, opening: Opening) -> None:
        try:
            async with asyncio.timeout(self._system.connect_s):
                await self._connect()
        except TimeoutError:
            raise WebRtcError(
                f"No picture came from {self._system.url} within {self._system.connect_s:g} s of the offer"
                f"{f' ({self._gone})' if self._gone else ''}. Where the two can't reach each other directly, name a "
                f"STUN or TURN server in ice_servers."
            ) from None

    async def _connect(self) -> None:
        import aiortc

        servers = [aiortc.RTCIceServer(urls=url) for url in self._system.ice_servers]
        peer = self._peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=servers))
        self._microphone = _microphone()
        if self._system.send == "audio":
            peer.addTrack(self._microphone)
        else:
            peer.addTransceiver("audio", direction="recvonly")
        peer.addTransceiver("video", direction="recvonly")
        if self._system.form == "openavatarchat":
            self._channel = peer.createDataChannel("text")
            self._channel.on("message", self._told)
        peer.on("track", self._track)
        peer.on("connectionstatechange", self._state)
        await peer.setLocalDescription(await peer.createOffer())
        name = uuid.uuid4().hex[:12]
        body = {**self._system.offer, "sdp": peer.localDescription.sdp, "type": peer.localDescription.type}
        if self._system.form == "openavatarchat":
            body["webrtc_id"] = name
        answer = await self._system.call(self._system.offer_path, body)
        if not isinstance(answer.get("sdp"), str) or answer.get("type") != "answer":
            raise WebRtcError(f"{self._system.url}{self._system.offer_path} answers the offer with no description.")
        self._session = str(answer.get("sessionid", name))
        try:
            await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer["sdp"], "answer"))
        except (ValueError, KeyError, IndexError, AssertionError, aiortc.InvalidStateError) as error:
            raise WebRtcError(f"The answer of {self._system.url} can't be used: {error}") from None
        while not self._feed.timeline.pictures and not self._gone:
            await self._feed.timeline.wait(0.1)
            await asyncio.sleep(0.01)
        if self._gone:
            raise WebRtcError(f"The connection to {self._system.url} was not made: {self._gone}.")

    def _state(self) -> None:
        if self._peer is not None and self._peer.connectionState in ("failed", "closed"):
            self._gone = self._gone or f"the connection has {self._peer.connectionState}"
            self._feed.timeline.touch()

    def _track(self, track: Any) -> None:
        self._spawn(self._receive(track))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _receive(self, track: Any) -> None:
        from aiortc.mediastreams import MediaStreamError

        try:
            while True:
                frame = await track.recv()
                at = self._system.clock()
                if frame.pts is None:
                    continue
                stamp = float(frame.pts * frame.time_base)
                if track.kind == "video":
                    self._feed.picture(frame, stamp, at)
                else:
                    self._feed.sound(mono(frame, RATE), stamp, at)
        except MediaStreamError:
            if track.kind == "audio":
                self._gone = self._gone or "the service has ended its sound"
            self._feed.timeline.touch()
        except FeedError as error:
            self._gone = self._gone or f"the service sends what is not taken: {error}"
            self._feed.timeline.touch()
            if self._hanging_up is None:
                self._hanging_up = self._spawn(
                    self._hang_up()
                )  # what nobody takes any more would pile up in the library

    async def _hang_up(self) -> None:
        """Close the connection, whatever state it is in."""
        peer, self._peer = self._peer, None
        if peer is not None:
            with contextlib.suppress(Exception):
                await peer.close()

    def _told(self, message: object) -> None:
        """A message of OpenAvatarChat's data channel."""
        try:
            told = mapped(parsed_json(message if isinstance(message, (str, bytes)) else ""))
        except NotJsonError:
            return
        text = told.get("message")
        if told.get("type") == "chat" and told.get("role") == "avatar" and isinstance(text, str):
            self._texts += len(text)
            if self._texts < _MOST_TEXT:
                self.answer.text.append(text)

    # -- hooks ----------------------------------------------------------------------------------------------------

    def clock(self) -> float:
        return self._system.clock()

    async def pcm(self, audio: Path) -> npt.NDArray[np.float32]:
        return await self._system.pcm(audio)

    @property
    def hears(self) -> bool:
        return self._system.send == "audio"

    def why_gone(self) -> str:
        return self._gone

    async def begin_line(self, text: str, spoken: bool) -> None:
        self._texts = 0
        if spoken:
            return
        match self._system.form:
            case "livetalking":
                body = {"sessionid": self._session, "text": text, "type": "chat", "interrupt": False}
                await self._system.call("/human", body)
            case "openavatarchat":
                self._channel.send(json.dumps({"type": "chat", "data": text}))
            case "plain":
                raise WebRtcError("This turn has no recording, and a plain offer has no way for text.")

    async def send_sound(self, chunk: Pcm) -> None:
        self._microphone.put(chunk)

    async def end_line(self, turn: TurnRequest | None) -> None:
        await self._microphone.drained()

    def usd(self, seconds: float) -> float | None:
        return self._system.estimate_usd(seconds)

    async def interrupt(self) -> None:
        if self._system.form == "livetalking":
            await self._system.call("/interrupt_talk", {"sessionid": self._session})
        elif self._system.form == "openavatarchat":
            self._channel.send(json.dumps({"type": "stop_chat"}))

    async def close(self) -> None:
        await super().close()
        for task in self._tasks - {self._hanging_up}:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._hang_up()


def _microphone() -> Any:
    """A track that sends what it is given, and silence in between, 20 ms at a time."""
    from aiortc.mediastreams import AudioStreamTrack

    class Microphone(AudioStreamTrack):
        def __init__(self) -> None:
            super().__init__()
            self._chunks: collections.deque[Pcm] = collections.deque()
            self._empty = asyncio.Event()
            self._empty.set()
            self._began: float | None = None
            self._sent = 0

        def put(self, chunk: Pcm) -> None:
            self._chunks.append(chunk)
            self._empty.clear()

        async def drained(self) -> None:
            if self._began is not None:  # before the first packet nobody takes any
                await self._empty.wait()

        async def recv(self) -> Any:
            loop = asyncio.get_running_loop()
            if self._began is None:
                self._began = loop.time()
            await asyncio.sleep(max(0.0, self._began + self._sent * CHUNK_S - loop.time()))
            size = round(CHUNK_S * USER_RATE)
            chunk = self._chunks.popleft() if self._chunks else np.zeros(size, np.int16)
            if not self._chunks:
                self._empty.set()
            sound = piece(chunk, USER_RATE, self._sent * size)
            self._sent += 1
            return sound

    return Microphone()

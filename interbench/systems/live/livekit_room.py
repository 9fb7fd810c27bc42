"""A LiveKit room that a vendor's avatar joins: the reply's speech goes in, the avatar's two tracks are recorded.

The wire is the one of LiveKit's agents: the speech as a byte stream ``lk.audio_stream``, and three calls,
``lk.clear_buffer``, ``lk.playback_started`` and ``lk.playback_finished``. The words and the voice come from the run
(``--words``, ``--speech``), the same for every vendor: what differs is the picture, and how soon it speaks.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import importlib
import json
import os
import time
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from interbench.base.errors import InterbenchError, SystemLoadError
from interbench.base.foreign import NotJsonError, mapped, number, parsed_json
from interbench.base.remote import Secret
from interbench.domain.incidents import Incident
from interbench.domain.persona import Persona
from interbench.media import continuity
from interbench.media.raw import from_i420
from interbench.media.speech import Speech, resample
from interbench.systems.base import Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import JsonValue, Opening, PastTurn, TurnRequest
from interbench.systems.live import calls
from interbench.systems.live.avatar_socket import AvatarSocket
from interbench.systems.live.system import LiveSystem
from interbench.systems.live.talk import USER_RATE, Answer, LiveConversation, Pcm
from interbench.systems.live.timeline import levels
from interbench.systems.live.tracks import RATE, FeedError, TrackFeed
from interbench.systems.live.troubles import lost_head
from interbench.systems.live.vendors import VENDORS, Joined, Place, Vendor

AUDIO_STREAM = "lk.audio_stream"
CLEAR_BUFFER, STARTED, FINISHED = "lk.clear_buffer", "lk.playback_started", "lk.playback_finished"
_TOKEN_S = 6 * 3600
_PIECE_S = 0.1
_RPC_S = 5.0
_QUEUED_PICTURES, _QUEUED_SOUNDS = 240, 3000
"""Of these, and of pieces of sound of 10 ms, the library keeps so many for who is late; of more it drops the oldest."""


class LiveKitError(InterbenchError):
    """The room, or the avatar in it, could not be had."""


class LiveKitRoom(LiveSystem):
    """A vendor's avatar in a LiveKit room: LemonSlice, Tavus, LiveAvatar. It is told its words, with the run's voice.

    Args:
        vendor: ``lemonslice``, ``tavus`` or ``liveavatar``.
        url: of the LiveKit server (``wss://...``); by default that in ``LIVEKIT_URL``.
        avatar: id of a face of the vendor's, or ids by persona id, gender or ``default``; LemonSlice takes the portrait
            without.
        call: further fields of the vendor's session call, as they are.
        api_url: another address of the vendor.
        key_env: environment variable with the vendor's key; by default the vendor's own name for it.
        livekit_key_env: environment variable with LiveKit's API key.
        livekit_secret_env: environment variable with LiveKit's API secret.
        options: those of :class:`~interbench.systems.live.system.LiveSystem`.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text", "image"}),
        output="stream",
        state="none",
        reports_text=True,
        continuous=True,
        barge_in=True,
        max_concurrency=1,
        announces_cost=True,
        status="vendors serve it; never called from here, only against a stand-in at the client library's seam. Set "
        "price_usd_per_s to hold a run to --max-usd.",
        evidence_url="https://github.com/livekit/agents/tree/main/livekit-plugins",
    )
    extra = "livekit"
    module = "livekit.rtc"
    library: ClassVar[str] = "livekit.rtc"
    """The client library: a module with its names."""

    def __init__(
        self,
        vendor: str = "lemonslice",
        *,
        url: str | None = None,
        avatar: str | Mapping[str, str] | None = None,
        call: Mapping[str, Any] | None = None,
        api_url: str | None = None,
        key_env: str | None = None,
        livekit_key_env: str = "LIVEKIT_API_KEY",
        livekit_secret_env: str = "LIVEKIT_API_SECRET",  # noqa: S107 - the name of a variable
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if vendor not in VENDORS:
            raise SystemLoadError(f"vendor = {vendor!r} is none of {', '.join(VENDORS)}.")
        self.vendor: Vendor = VENDORS[vendor](avatar, api_url, call or {})
        self.vendor_name = vendor
        self.url = "" if url is None else calls.address("url", url, "wss", "ws")
        self._variables = (key_env or self.vendor.key_variable, livekit_key_env, livekit_secret_env)
        self._keys: tuple[Secret, Secret, Secret] | None = None
        self._livekit_key_env, self._livekit_secret_env = livekit_key_env, livekit_secret_env
        self.rtc: Any = None

    @property
    def version(self) -> str:
        return f"{self.vendor_name}, as served"

    @property
    def takes_speech(self) -> bool:
        return True

    @property
    def caveats(self) -> tuple[str, ...]:
        if self.vendor.takes_portrait and self.vendor.avatar is None:
            return ()
        return (
            "it shows a face of its vendor's instead of the personas' own, and its identity is judged against the face "
            "that it showed first.",
        )

    def settings(self) -> Mapping[str, JsonValue]:
        mine = {"vendor": self.vendor_name, "avatar": self.vendor.avatar, "call": self.vendor.options}
        return {**super().settings(), **mine}

    async def start(self) -> None:
        if not self.url:
            given = os.environ.get("LIVEKIT_URL", "").strip()
            if not given:
                raise SystemLoadError(
                    "livekit-room needs a LiveKit server: set `url` in the system's options, or LIVEKIT_URL."
                )
            self.url = calls.address("LIVEKIT_URL", given, "wss", "ws")
        vendor, key, hidden = (calls.secret(variable) for variable in self._variables)
        self._keys = vendor, key, hidden
        await super().start()
        self.rtc = importlib.import_module(self.library)

    @property
    def key(self) -> Secret:
        """The vendor's."""
        assert self._keys is not None
        return self._keys[0]

    def redact(self, text: str) -> str:
        for secret in self._keys or ():
            text = secret.redact(text)
        return text

    def token(self, identity: str, room: str, *, behalf: str | None = None) -> str:
        """A token that lets ``identity`` into ``room``; the avatar's says on whose behalf it publishes.

        LiveKit's access tokens are JSON web tokens (RFC 7519), signed with HMAC-SHA256.
        """
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": os.environ[self._livekit_key_env].strip(),
            "sub": identity,
            "name": identity,
            "nbf": now - 10,
            "exp": now + _TOKEN_S,
            "video": {"roomJoin": True, "room": room, "canPublish": True, "canSubscribe": True, "canPublishData": True},
        }
        if behalf is not None:
            claims |= {"kind": "agent", "attributes": {"lk.publish_on_behalf": behalf}}
        secret = os.environ[self._livekit_secret_env].strip().encode()
        signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
        digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    async def open(self, persona: Persona) -> Conversation:
        return _Conversation(self, persona)


def _part(claims: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=").decode()


class _Conversation(LiveConversation):
    def __init__(self, system: LiveKitRoom, persona: Persona) -> None:
        super().__init__(system.pace)
        self._system = system
        self._persona = persona
        # The library keeps its two streams in step itself.
        self.feed = self._feed = TrackFeed(limits=system.limits, clock=system.clock)
        self._room: Any = None
        self._joined: Joined | None = None
        self._socket: AvatarSocket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: list[Any] = []
        self._gone = ""
        self._shown = False
        self._own_face = False
        self._since = 0.0
        """Up to when the session has been charged for."""
        self._given: npt.NDArray[np.float64] = np.zeros(0)
        self._given_s = 0.0
        self._position: float | None = None
        self._samples = 0
        self._started = asyncio.Event()

    # -- the session ----------------------------------------------------------------------------------------------

    async def prepare(self, opening: Opening) -> None:
        try:
            async with asyncio.timeout(self._system.connect_s):
                await self._connect(opening)
        except TimeoutError:
            raise LiveKitError(
                f"No picture of {self._system.vendor_name}'s avatar came into the room within "
                f"{self._system.connect_s:g} s{f' ({self._gone})' if self._gone else ''}."
            ) from None

    async def restore(self, history: Sequence[PastTurn], state: JsonValue) -> None:
        """What was said lives in the run: an avatar that joins anew goes on where the conversation stood."""

    async def _connect(self, opening: Opening) -> None:
        system, rtc = self._system, self._system.rtc
        name = f"interbench-{uuid.uuid4().hex[:12]}"
        me, avatar = "interbench", system.vendor.identity
        room = self._room = rtc.Room()
        room.on("track_subscribed", self._track)
        room.on("disconnected", self._left)
        room.on("participant_disconnected", self._somebody_left)
        try:
            await room.connect(system.url, system.token(me, name), rtc.RoomOptions(auto_subscribe=True))
        except rtc.ConnectError as error:
            raise LiveKitError(system.redact(f"The room at {system.url} can't be joined: {error}")) from None
        room.local_participant.register_rpc_method(STARTED, self._playback_started)
        room.local_participant.register_rpc_method(FINISHED, self._playback_finished)
        place = Place(system.url, name, system.token(avatar, name, behalf=me), system.pace.longest_s)
        self._own_face = system.vendor.shows_portrait(self._persona, opening.portrait)
        self._since = self.clock()
        self._joined = await system.vendor.join(place, self._persona, opening.portrait, system.key)
        if system.vendor.speech == "socket":
            self._socket = AvatarSocket(self._joined.socket, self._speaking_ended, self._lost_socket)
            await self._socket.open(system.connect_s)
        while not self._feed.timeline.pictures and not self._gone:
            await self._feed.timeline.wait(0.1)
            await asyncio.sleep(0.01)
        if self._gone:
            raise LiveKitError(f"The avatar did not stay in the room: {self._gone}.")

    def _left(self, reason: object) -> None:
        self._gone = self._gone or f"the room was left ({reason})"
        self._feed.timeline.touch()

    def _somebody_left(self, participant: Any) -> None:
        if participant.identity == self._system.vendor.identity:
            self._left("the avatar has gone")

    def _lost_socket(self, why: str) -> None:
        self._gone = self._gone or why
        self._feed.timeline.touch()

    def _track(self, track: Any, publication: Any, participant: Any) -> None:
        if participant.identity != self._system.vendor.identity:
            return
        video = track.kind == self._system.rtc.TrackKind.KIND_VIDEO
        self._spawn(self._receive(self._pictures(track) if video else self._sounds(track)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _receive(self, receiving: Coroutine[Any, Any, None]) -> None:
        try:
            await receiving
        except (FeedError, ValueError) as error:  # ValueError: planes that are not as large as they are said to be
            self._left(f"the avatar sends what is not taken: {error}")
            self._spawn(self._leave())  # what nobody takes any more would pile up in the library

    async def _leave(self) -> None:
        for stream in self._streams:
            with contextlib.suppress(Exception):
                await stream.aclose()
        if self._room is not None:
            with contextlib.suppress(Exception):
                await self._room.disconnect()

    async def _pictures(self, track: Any) -> None:
        rtc = self._system.rtc
        stream = rtc.VideoStream(track, capacity=_QUEUED_PICTURES, format=rtc.VideoBufferType.I420)
        self._streams.append(stream)
        async for event in stream:
            at = self.clock()
            stamp = event.timestamp_us / 1e6 if event.timestamp_us else at
            frame = event.frame
            self._feed.admit(frame.width, frame.height)
            self._feed.picture(from_i420(frame.width, frame.height, frame.data), stamp, at)

    async def _sounds(self, track: Any) -> None:
        stream = self._system.rtc.AudioStream(track, capacity=_QUEUED_SOUNDS, sample_rate=RATE, num_channels=1)
        self._streams.append(stream)
        async for event in stream:
            at = self.clock()
            samples = np.frombuffer(event.frame.data, np.int16).astype(np.float32) / np.float32(32768)
            # The library's jitter buffer gives an unbroken sound: its samples are its clock.
            self._feed.sound(samples, self._samples / RATE, at)
            self._samples += len(samples)

    # -- the calls ------------------------------------------------------------------------------------------------

    def _playback_started(self, data: Any) -> str:
        if data.caller_identity != self._system.vendor.identity:
            return "reject"
        self._started.set()
        return "ok"

    def _playback_finished(self, data: Any) -> str:
        if data.caller_identity != self._system.vendor.identity:
            return "reject"
        try:
            told = mapped(parsed_json(data.payload))
        except NotJsonError:
            told = {}
        self._speaking_ended(number(told.get("playback_position")), told.get("interrupted") is True)
        return "ok"

    def _speaking_ended(self, position: float | None, interrupted: bool) -> None:
        self._position = position
        if not interrupted:
            self.answer.over = True
        self._feed.timeline.touch()

    async def _speak(self, turn: TurnRequest) -> None:
        """Hand over the reply's speech: as fast as it is taken, as a synthesizer would."""
        if turn.speech is None:
            raise LiveKitError("The run handed over no speech for this turn.")
        system = self._system
        samples = await system.pcm(turn.speech)
        self._given, self._given_s = _from_first_sound(levels(samples, USER_RATE)), len(samples) / USER_RATE
        self._position = None
        rate = system.vendor.rate
        if rate != USER_RATE:
            samples = resample(Speech(samples, USER_RATE), rate).samples
        pcm = np.rint(samples * 32767.0).clip(-32768, 32767).astype("<i2")
        size = round(_PIECE_S * rate)
        pieces = [pcm[start : start + size].tobytes() for start in range(0, len(pcm), size)]
        if self._socket is not None:
            await self._socket.speak(pieces)
            return
        writer = await self._room.local_participant.stream_bytes(
            name=f"AUDIO_{uuid.uuid4().hex[:12]}",
            topic=AUDIO_STREAM,
            destination_identities=[system.vendor.identity],
            attributes={"sample_rate": str(rate), "num_channels": "1"},
        )
        for piece in pieces:
            await writer.write(piece)
        await writer.aclose()

    # -- hooks ----------------------------------------------------------------------------------------------------

    def clock(self) -> float:
        return self._system.clock()

    async def pcm(self, audio: Path) -> npt.NDArray[np.float32]:
        return await self._system.pcm(audio)

    @property
    def hears(self) -> bool:
        return False

    def why_gone(self) -> str:
        return self._gone

    async def begin_line(self, text: str, spoken: bool) -> None:
        """Nobody in the room is told the user's line."""

    async def send_sound(self, chunk: Pcm) -> None:
        raise AssertionError("the user is not heard here")

    async def end_line(self, turn: TurnRequest | None) -> None:
        if turn is not None:
            await self._speak(turn)

    async def after_interruption(self, turn: TurnRequest) -> None:
        await self._speak(turn)

    async def interrupt(self) -> None:
        if self._socket is not None:
            await self._socket.interrupt()
            return
        with contextlib.suppress(self._system.rtc.RpcError):  # whether it falls silent is seen
            await self._room.local_participant.perform_rpc(
                destination_identity=self._system.vendor.identity,
                method=CLEAR_BUFFER,
                payload="",
                response_timeout=_RPC_S,
            )

    def remembered(self, answer: Answer) -> str | None:
        return None if self._position is None else answer.detail.get("played", "")  # type: ignore[return-value]

    def final_text(self, turn: TurnRequest, answer: Answer, *, interrupted: bool) -> str:
        words = (turn.script or "").split()
        if interrupted and self._position is not None and self._given_s > 0:
            words = words[: round(len(words) * min(1.0, self._position / self._given_s))]
            answer.detail["played"] = " ".join(words)
        return " ".join(words)

    def check(self, turn: TurnRequest, first: float, last: float) -> list[Incident]:
        heard = [mark.db for mark in self._feed.timeline.sounds if first <= mark.t <= last]
        if self._into is not None:
            return []
        return lost_head(self._given, np.asarray(heard, np.float64))

    async def still(self, clip: Path, workdir: Path) -> Path | None:
        if self._shown or self._own_face:
            return None
        self._shown = True
        return await continuity.last_frame(clip, workdir / "face.png")

    def charged_s(self, answer_s: float) -> float:
        """The session runs, and is paid for, between answers too."""
        now = self.clock()
        seconds, self._since = now - self._since, now
        return seconds

    def usd(self, seconds: float) -> float | None:
        return self._system.estimate_usd(seconds)

    async def close(self) -> None:
        await super().close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()
        if self._joined is not None:
            with contextlib.suppress(calls.CallError):
                await self._system.vendor.leave(self._joined, self._system.key)
        await self._leave()


def _from_first_sound(given: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    loud = np.flatnonzero(given > -50.0)
    return given[loud[0] :] if len(loud) else given[:0]

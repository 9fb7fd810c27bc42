"""Gemini Live with a live avatar: one WebSocket, the user's speech in, one stream of picture and sound out.

The stream never stops: it shows the avatar idle between answers. An answer is cut out of it by what is heard and by the
service's own marks. The end of the user's line is told, so that no pause in it is taken for one. A connection lasts
some ten minutes; the next one takes the session up by its handle.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from interbench.base.errors import InterbenchError, ResumeUnsupportedError, SystemLoadError
from interbench.base.foreign import NotJsonError, mended
from interbench.base.http import Backoff
from interbench.base.remote import Secret, excerpt, is_loopback
from interbench.domain.persona import Persona
from interbench.media import continuity
from interbench.systems.base import Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import JsonValue, Opening, PastTurn, TurnRequest
from interbench.systems.google_auth import GoogleAuth
from interbench.systems.live import calls, gemini_wire
from interbench.systems.live.gemini_wire import Api, Told
from interbench.systems.live.stream import StreamFeed
from interbench.systems.live.system import LiveSystem, chosen
from interbench.systems.live.talk import Answer, LiveConversation, Pcm
from interbench.systems.prompting import template
from interbench.systems.reference_image import fitted_png

KEY_VARIABLES: Mapping[str, str] = {"vertex": "GOOGLE_API_KEY", "gemini": "GEMINI_API_KEY"}
FACES: Mapping[str, str] = {"female": "Kira", "male": "Paul", "default": "Vera"}
VOICES: Mapping[str, str] = {"female": "Kore", "male": "Charon", "default": "Puck"}
_PORTRAIT = (704, 1280)
_MOST_MESSAGE = 16 * 2**20
_MOST_TEXT = 100_000
"""Letters of an answer."""
_CHUNK = 5
"""Pieces of 20 ms that are sent at once: 0.1 s, as Google's own pages do."""
_HANDLE_S = 3600.0
"""How long after it was given a handle is tried; it is said to last two hours."""
_LEAVING_S = 30.0
_BUSY = ("resource_exhausted", "concurrent sessions", "quota", "overloaded", "unavailable")


class GeminiLiveError(InterbenchError):
    """No session could be opened; the service's own words say why."""

    code = "not_opened"


class GeminiLiveAvatar(LiveSystem):
    """Gemini Live with a live avatar: hears the user, thinks, speaks and shows a face over one WebSocket.

    Args:
        api: ``vertex`` (Google Cloud; what avatars are documented for) or ``gemini`` (a developer's key, which is said
            to give sound alone).
        model: name of the model.
        project: Google Cloud project; needed unless an API key is used.
        location: region of Vertex AI.
        face: ``prebuilt``, or ``portrait`` (the persona's own; for projects that Google allows it).
        avatar: name of a prebuilt face, or names by persona id, gender or ``default``.
        voice: likewise, of a prebuilt voice.
        bitrate: bits per second of the picture; None leaves it to the service.
        key_env: name of the environment variable with an API key; by default ``GOOGLE_API_KEY`` (vertex) if it is set,
            else Google Cloud's credentials, and ``GEMINI_API_KEY`` (gemini).
        base_url: another address (``wss://host``), e.g. of a stand-in.
        open_wait_s: how long a conversation waits while the service says that too many are open.
        options: those of :class:`~interbench.systems.live.system.LiveSystem`.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text", "audio"}),
        output="stream",
        state="session",
        reports_text=True,
        fps=24.0,
        sizes=(_PORTRAIT,),
        continuous=True,
        barge_in=True,
        max_concurrency=2,
        price_usd_per_s=0.37 / 60,
        announces_cost=True,
        status="served since 2026-09-24; never called from here, only against a stand-in; price from a third party",
        evidence_url="https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/live-api/"
        "configure-live-avatars",
        evidence_date=dt.date(2026, 11, 30),
    )
    extra = "gemini-live"
    module = "websockets"

    def __init__(
        self,
        *,
        api: Api = "vertex",
        model: str = "gemini-3.8-live",
        project: str | None = None,
        location: str = "us-central1",
        face: Literal["prebuilt", "portrait"] = "prebuilt",
        avatar: str | Mapping[str, str] | None = None,
        voice: str | Mapping[str, str] | None = None,
        bitrate: int | None = None,
        key_env: str | None = None,
        base_url: str | None = None,
        open_wait_s: float = 900.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if api not in get_args(Api):
            raise SystemLoadError(f"api = {api!r} is none of {', '.join(get_args(Api))}.")
        if face not in ("prebuilt", "portrait"):
            raise SystemLoadError(f"face = {face!r} is none of prebuilt, portrait.")
        if not location.replace("-", "").isalnum():
            raise SystemLoadError(f"location = {location!r} is no region; write e.g. us-central1.")
        self.api: Api = api
        self.model, self.project, self.location = model, project, location
        self.face = face
        self.avatar: str | Mapping[str, str] = FACES if avatar is None else avatar
        self.voice: str | Mapping[str, str] = VOICES if voice is None else voice
        self.bitrate = bitrate
        self.open_wait_s = open_wait_s
        host, path = gemini_wire.endpoint(api, location)
        self.url = (host if base_url is None else calls.address("base_url", base_url, "wss", "ws")) + path
        self._key_env = key_env
        self._key: Secret | None = None
        self._google: GoogleAuth | None = None

    @property
    def version(self) -> str:
        return self.model

    @property
    def caveats(self) -> tuple[str, ...]:
        if self.api == "gemini":
            return (
                "it was asked through Google's developer API, whose keys are said to give no avatar: sound without a "
                "picture, which fails every turn.",
            )
        if self.face == "prebuilt":
            return (
                "it shows prebuilt faces instead of the personas' own, and its identity is judged against the face "
                "that it showed first.",
            )
        return ()

    def settings(self) -> Mapping[str, JsonValue]:
        names = {"avatar": self.avatar if self.face == "prebuilt" else None, "voice": self.voice}
        mine = {"api": self.api, "model": self.model, "location": self.location, "face": self.face, **names}
        return {**super().settings(), **mine, "bitrate": self.bitrate, "url": self.url}

    async def start(self) -> None:
        import os

        variable = self._key_env or KEY_VARIABLES[self.api]
        if self._key_env or self.api == "gemini" or os.environ.get(variable, "").strip():
            self._key = calls.secret(variable)
        else:
            self._google = await asyncio.to_thread(GoogleAuth)
            self.project = self.project or self._google.project
            if self.project is None:
                raise SystemLoadError(
                    "Vertex AI needs a project: set `project` in the system's options, or give an API key of Google "
                    "Cloud in GOOGLE_API_KEY."
                )
        await super().start()

    async def headers(self) -> Mapping[str, str]:
        if self._key is not None:
            return self._key.headers("x-goog-api-key", "")
        assert self._google is not None
        return await self._google.headers()

    def redact(self, text: str) -> str:
        text = self._key.redact(text) if self._key is not None else text
        return text if self._google is None else self._google.redact(text)

    async def open(self, persona: Persona) -> Conversation:
        return _Conversation(self, persona)


class _Conversation(LiveConversation):
    marks_interruptions = True

    def __init__(self, system: GeminiLiveAvatar, persona: Persona) -> None:
        super().__init__(system.pace)
        self._system = system
        self._persona = persona
        self._portrait: Path | None = None
        self._socket: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._gone = ""
        self._handle: tuple[str, float] | None = None
        """How the session is taken up, and when (seconds since the epoch) that was told."""
        self._leaves_at: float | None = None
        self._chunks: list[Pcm] = []
        self._heard: list[str] = []
        self._interrupted = False
        self._connections = 0
        self._shown = False

    # -- the session ----------------------------------------------------------------------------------------------

    async def prepare(self, opening: Opening) -> None:
        self._portrait = opening.portrait
        if self._system.face == "portrait" and opening.portrait is None:
            raise GeminiLiveError("face = portrait needs a portrait, and this persona has none; set face = prebuilt.")

    async def restore(self, history: Sequence[PastTurn], state: JsonValue) -> None:
        handle, given = (state.get("handle"), state.get("at")) if isinstance(state, Mapping) else (None, None)
        if not (isinstance(handle, str) and isinstance(given, (int, float)) and time.time() - given < _HANDLE_S):
            raise ResumeUnsupportedError("the session's handle is not in the ledger, or too old to be taken up")
        self._handle = handle, float(given)
        try:
            await self._connect()
        except GeminiLiveError as error:
            raise ResumeUnsupportedError(f"the session can't be taken up: {error}") from None

    def state(self) -> JsonValue:
        return None if self._handle is None else {"handle": self._handle[0], "at": self._handle[1]}

    async def ready(self) -> None:
        """Connect: for the first turn, and before a connection ends that would not last for an answer."""
        leaving = self._leaves_at is not None and self._leaves_at - self.clock() < _LEAVING_S + self.pace.longest_s
        if self._into is not None:
            return  # the line is being spoken already
        if self._socket is None or self._gone or leaving:
            if self._connections and self._handle is None:
                raise GeminiLiveError(
                    f"The connection is gone ({self._gone or 'the service leaves it'}), and the service gave no handle "
                    f"by which the session could be taken up; --retry failed plays the conversation again."
                )
            await self._connect()

    async def _connect(self) -> None:
        """Open a connection, waiting while the service says that too many are open."""
        backoff = Backoff(heeded_s=60.0)
        deadline = self.clock() + self._system.open_wait_s
        told = False
        while True:
            await self._disconnect()
            try:
                async with asyncio.timeout(self._system.connect_s):
                    await self._open()
                return
            except TimeoutError:
                why, busy = f"no picture came within {self._system.connect_s:g} s", False
            except GeminiLiveError as error:
                why = str(error)
                busy = any(word in why.lower() for word in _BUSY)
            if not busy or self.clock() > deadline:
                await self._disconnect()
                raise GeminiLiveError(_advised(why))
            if not told:
                told = True
                self._system.tell(f"Gemini Live says that it is full ({excerpt([why], 120)}); waiting for a place")
            await asyncio.sleep(min(backoff.pause(None) or 1.0, max(0.0, deadline - self.clock()) + 0.1))

    async def _open(self) -> None:
        import websockets

        system = self._system
        feed = StreamFeed(system.media, system.clock)
        self.feed = self._feed = feed
        self._gone, self._leaves_at = "", None
        self._ready.clear()
        await feed.start()
        try:
            self._socket = await websockets.connect(
                system.url,
                additional_headers=dict(await system.headers()),
                max_size=_MOST_MESSAGE,
                open_timeout=system.connect_s,
                compression=None,
                proxy=None if is_loopback(system.url) else True,
            )
        except (OSError, websockets.WebSocketException, TimeoutError) as error:
            raise GeminiLiveError(system.redact(f"{_host(system.url)} can't be reached: {_words(error)}")) from None
        self._reading = asyncio.create_task(self._read(self._socket, feed))
        face = (
            gemini_wire.portrait(await asyncio.to_thread(fitted_png, self._portrait, _PORTRAIT))
            if system.face == "portrait" and self._portrait is not None
            else {"avatar_name": chosen("avatar", system.avatar, self._persona)}
        )
        await self._send(
            gemini_wire.setup(
                model=gemini_wire.model_name(system.api, system.model, system.project, system.location),
                instruction=template("livetalk.j2").render(persona=self._persona).strip(),
                voice=chosen("voice", system.voice, self._persona),
                face=face,
                bitrate=system.bitrate,
                handle=None if self._handle is None else self._handle[0],
            )
        )
        await self._ready.wait()
        while not self._gone and not feed.timeline.pictures:
            await feed.timeline.wait(0.1)
            await asyncio.sleep(0.01)
        if self._gone:
            raise GeminiLiveError(self._gone)
        self._connections += 1

    async def _read(self, socket: Any, feed: StreamFeed) -> None:
        import websockets

        system = self._system
        why = "the service closed the connection"
        try:
            async for message in socket:
                at = system.clock()
                try:
                    told = gemini_wire.read(message)
                except NotJsonError as error:
                    why = f"the service sent what is none of its messages: {error}"
                    break
                for data in told.slices:
                    await feed.feed(data, at)
                self._take(told)
        except websockets.ConnectionClosed:
            pass
        except Exception as error:
            why = f"receiving failed: {_words(error)}"
        reason = mended(getattr(socket, "close_reason", "") or "")
        code = getattr(socket, "close_code", None)
        words = f"{why}{f' ({code})' if code is not None else ''}{f': {reason}' if reason else ''}"
        self._gone = self._gone or system.redact(excerpt([words], 600))
        self._ready.set()
        feed.timeline.touch()

    def _take(self, told: Told) -> None:
        answer = self.answer
        if told.ready:
            self._ready.set()
        if told.handle is not None:
            self._handle = told.handle, time.time()
        if told.leaving_s is not None:
            self._leaves_at = self.clock() + told.leaving_s
        if told.said and (room := _MOST_TEXT - sum(map(len, answer.text))) > 0:
            answer.text.append(told.said[:room])
        if told.heard and sum(map(len, self._heard)) < _MOST_TEXT:
            self._heard.append(told.heard)
            answer.detail["heard"] = mended("".join(self._heard))[:4000]
        if told.tokens:
            answer.detail["tokens"] = dict(told.tokens)
        if told.other_media and not answer.notices:
            answer.notices.append(f"the service sent media of another kind: {mended(told.other_media)[:80]}")
        if told.refused:
            answer.blocked = told.refused
        if told.interrupted:
            self._interrupted = True
            if self._into is not None:
                self.answer = Answer()  # what comes now belongs to the line that interrupted
        # What an interruption ends is the answer before, not the one to come.
        if told.turn_complete and not self._interrupted:
            answer.over = True
        if told.turn_complete:
            self._interrupted = False
        self.feed.timeline.touch()

    async def _send(self, message: str) -> None:
        import websockets

        try:
            await self._socket.send(message)
        except websockets.ConnectionClosed:
            self._gone = self._gone or "the connection was closed while something was sent"

    async def _disconnect(self) -> None:
        socket, self._socket = self._socket, None
        reading, self._reading = self._reading, None
        if socket is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5.0):
                    await socket.close()
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        feed: StreamFeed | None = getattr(self, "_feed", None)
        if feed is not None:
            await feed.close()

    # -- hooks ----------------------------------------------------------------------------------------------------

    def clock(self) -> float:
        return self._system.clock()

    async def pcm(self, audio: Path) -> npt.NDArray[np.float32]:
        return await self._system.pcm(audio)

    def why_gone(self) -> str:
        return self._gone or self._feed.broken

    async def begin_line(self, text: str, spoken: bool) -> None:
        self._heard = []
        self._chunks = []
        await self._send(gemini_wire.line_begins() if spoken else gemini_wire.typed(text))
        self._spoken = spoken

    async def send_sound(self, chunk: Pcm) -> None:
        self._chunks.append(chunk)
        if len(self._chunks) >= _CHUNK:
            await self._flush()

    async def _flush(self) -> None:
        if self._chunks:
            await self._send(gemini_wire.sound(np.concatenate(self._chunks).astype("<i2").tobytes()))
            self._chunks = []

    async def end_line(self, turn: TurnRequest | None) -> None:
        await self._flush()
        if self._spoken:
            await self._send(gemini_wire.line_ends())

    def remembered(self, answer: Answer) -> str | None:
        # Google: what was sent of an answer before its interruption stays in the session's history.
        return mended("".join(answer.text)).strip() or None

    def usd(self, seconds: float) -> float | None:
        return self._system.estimate_usd(seconds)

    async def still(self, clip: Path, workdir: Path) -> Path | None:
        if self._shown or self._system.face == "portrait":
            return None
        self._shown = True
        return await continuity.last_frame(clip, workdir / "face.png")

    async def close(self) -> None:
        await super().close()
        await self._disconnect()


def _advised(why: str) -> str:
    low = why.lower()
    if "allowlist" in low:
        return f"{why} A face of one's own is for projects that Google allows it; leave `face` out for a prebuilt one."
    if "unsupported avatar name" in low:
        return f"{why} Set `avatar` to one of Google's prebuilt faces."
    if any(word in low for word in _BUSY):
        return f"{why} Too many sessions are open; lower `sessions` or --concurrency, or come back in ten minutes."
    if "401" in low or "403" in low or "unauthenticated" in low:
        return f"{why} Check the key or the credentials, and that the project may use the Live API."
    return why


def _host(url: str) -> str:
    return url.split("/")[2]


def _words(error: Exception) -> str:
    return excerpt([mended(str(error)), type(error).__name__], 300)

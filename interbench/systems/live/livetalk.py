"""livetalk, and any other service that speaks the conversation protocol: a live avatar that answers in streamed video.

The clock is the harness's: the first frame counts when its bytes have arrived here. What the service says of the steps
on the way (thinker, first window, first block, first fragment) is kept beside it, in ``parts_s``.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from interbench.base.errors import SystemLoadError, UsageError
from interbench.base.remote import Secret, base_url, is_loopback
from interbench.domain.persona import Persona
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Completed, Event, Failed, JsonValue, Media, Opening, ReplyText, TurnRequest
from interbench.systems.live.client import (
    ConversationClient,
    ConversationError,
    Health,
    NotTheProtocolError,
    RefusedError,
    ServedTurn,
    Upload,
)
from interbench.systems.live.outcome import AGAIN, final_event, sentence, turn_detail
from interbench.systems.live.own_server import (
    NEEDS_NO_GPU,
    SMALL,
    TOKEN,
    OwnServer,
    check_gpu,
    default_command,
    default_size,
    lacking_here,
)
from interbench.systems.live.service import ConversationService, identity
from interbench.systems.prompting import template

Send = Literal["audio", "text", "both"]
QWEN_VOICES = {"female": "Chelsie", "male": "Ethan"}
"""Of the published Qwen3-Omni."""
_SETTLE_S = 5.0
"""How long the end of an answer may precede its record at the service."""
_CLOSE_S = 5.0


class LiveTalk(AvatarSystem):
    """A live avatar behind the conversation protocol: the bundled livetalk, or any service that speaks it.

    Args:
        url: address of the service; without one, a server is started.
        size: model size of the server to start: ``1.3B`` where its checkpoints and a GPU are, else ``mini``, which
            comes with it.
        send: what of a turn is sent. The user of the published protocol speaks, so that by default only the speech is
            sent; a turn without a recording is sent as text.
        voice: name of a voice that the service knows, or a table from persona ids, genders or ``default`` to such
            names. Without one: the persona's own voice for the scripted thinker, one of the same gender for
            Qwen3-Omni, else the service's choice.
        serve: further options of ``livetalk serve``, as on its command line.
        command: the livetalk program, if it is not installed in this environment.
        token_env: environment variable with the token of the service at ``url``; by default ``LIVETALK_TOKEN``, if
            it is set.
        start_timeout_s: for loading the models.
        open_wait_s: how long a conversation waits for a place at a service that is full.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text", "audio", "image"}),
        output="stream",
        state="kv_cache",
        reports_text=True,
        fps=16.0,
        seedable=True,
        price_usd_per_s=0.0,
        status="Bundled: give it a url, or it starts a server; without a GPU, of a small model.",
    )

    def __init__(
        self,
        url: str | None = None,
        size: str | None = None,
        *,
        send: Send = "audio",
        voice: str | Mapping[str, str] | None = None,
        serve: Sequence[str] = (),
        command: Sequence[str] | None = None,
        token_env: str | None = None,
        start_timeout_s: float = 1800.0,
        open_wait_s: float = 300.0,
    ) -> None:
        if send not in get_args(Send):
            raise SystemLoadError(f"send = {send!r} is none of {', '.join(get_args(Send))}.")
        if isinstance(serve, str) or isinstance(command, str):
            raise SystemLoadError('serve and command are lists, e.g. serve = ["--thinker", "script"].')
        if url is not None and (size is not None or serve or command is not None):
            raise SystemLoadError(
                "livetalk was given an address (url) and something of a server to be started (size, "
                "serve, command): give one or the other."
            )
        self.send = send
        self._url = None if url is None else _address(url)
        self._token = Secret(None) if self._url is None else _token(token_env, self._url)
        self._voice = voice
        self._serve = [str(option) for option in serve]
        self._size = size or default_size(self._serve)
        self._command = command
        self._start_timeout_s = start_timeout_s
        self._open_wait_s = open_wait_s
        self._service: ConversationService | None = None
        self._server: OwnServer | None = None
        self._health: Health | None = None

    @property
    def works_here(self) -> bool:
        return self._url is None

    @property
    def gpus(self) -> float:
        return 0.0 if self._url is not None or self._size in NEEDS_NO_GPU or "--device" in self._serve else 1.0

    @classmethod
    def settled(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        if options.get("url") is not None or options.get("size"):
            return options
        return {**options, "size": default_size(options.get("serve") or ())}

    @classmethod
    def model_of(cls, options: Mapping[str, Any]) -> str:
        # What is behind an address will say what it is.
        return SMALL if options.get("url") is None and options.get("size") == SMALL else ""

    @classmethod
    def lacking(cls) -> str:
        return lacking_here()

    @property
    def server_log(self) -> Path | None:
        return None if self._server is None else self._server.log

    @property
    def version(self) -> str:
        return self._health.version if self._health else "unknown"

    def settings(self) -> Mapping[str, JsonValue]:
        known = {} if self._health is None else identity(self._health)
        known.pop("version", None)  # stands beside the settings
        return {**known, "send": self.send, "voice": self._voice, "serve": self._serve}

    @property
    def caveats(self) -> tuple[str, ...]:
        if self._health is None:
            return ()
        if self._health.size == SMALL and not self._health.random_weights:
            return (
                f"this is the small model of the bundled system (size {SMALL}; weights: {self._health.weights}), "
                f"trained on drawn people, and says nothing of the published 1.3B model.",
            )
        if not self._health.random_weights:
            return ()
        return (
            f"the weights of this model (size {self._health.size}) are RANDOM. Its pictures mean nothing, and so do "
            f"its scores, also as part of the pool; only outcomes and times can be read.",
        )

    @property
    def service(self) -> ConversationService:
        if self._service is None:
            raise RuntimeError("the system was not started")
        return self._service

    async def start(self) -> None:
        where: tuple[str, Secret] | OwnServer
        if self._url is not None:
            where = self._url, self._token
        else:
            command = default_command() if self._command is None else self._command
            if "--device" not in self._serve:
                check_gpu(self._size)
            where = self._server = OwnServer(command, self._size, self._serve)
        self._service = ConversationService(
            where, start_timeout_s=self._start_timeout_s, open_wait_s=self._open_wait_s, tell=self.tell
        )
        try:
            await self._service.start()
        except BaseException:
            await self.stop()
            raise
        health = self._health = self.service.health
        assert health.video is not None
        self.capabilities = replace(
            type(self).capabilities,
            fps=health.video.fps,
            sizes=((health.video.width, health.video.height),),
            max_concurrency=health.capacity,
        )

    async def stop(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.stop()

    async def open(self, persona: Persona) -> Conversation:
        return _Conversation(self, persona)

    @property
    def names_voices(self) -> bool:
        """Whether the options say whose voice is whose: a persona's own pitch and pace are then not asked for."""
        return self._voice is not None

    def voice_for(self, persona: Persona) -> str | None:
        """The name of the voice in which ``persona`` speaks; None leaves the choice to the service."""
        voice = self._voice
        if isinstance(voice, str):
            return voice
        if voice is not None:
            return next((voice[key] for key in (persona.id, persona.gender, "default") if key in voice), None)
        thinker = self.service.health.thinker.lower()
        if thinker == "script":
            return persona.voice.variant
        return QWEN_VOICES.get(persona.gender) if "qwen3-omni" in thinker else None


class _Conversation(Conversation):
    def __init__(self, system: LiveTalk, persona: Persona) -> None:
        self._system = system
        self._service = system.service
        self._persona = persona
        self._held: tuple[ConversationClient, str] | None = None
        self._gone = ""
        """Why the service no longer has it."""

    async def prepare(self, opening: Opening) -> None:
        await self._begin(opening.portrait, opening.seed)

    async def _begin(self, portrait: Path | None, seed: int) -> tuple[ConversationClient, str]:
        persona = self._persona
        fields = {
            "persona": template("livetalk.j2").render(persona=persona).strip(),
            "prompt": template("livetalk_scene.j2").render(persona=persona).strip(),
            "seed": str(seed),
        }
        voice = self._system.voice_for(persona)
        if voice is not None:
            fields["voice"] = voice
        if not self._system.names_voices:
            manner = {"pitch": str(persona.voice.pitch), "rate": str(persona.voice.rate)}
            known = self._service.health.voice_fields
            fields |= {name: value for name, value in manner.items() if name in known}
        self._held = await self._service.open(fields, None if portrait is None else _upload(portrait, "portrait"))
        return self._held

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        # A caller that prepared nothing pays for the opening in its first turn.
        client, conversation = self._held or await self._begin(turn.portrait, turn.seed)
        self._gone = self._gone or self._service.why_gone(client)
        if self._gone:
            yield Failed("conversation_lost", f"{self._gone} {AGAIN}", transient=True)
            return
        speech = None if turn.audio is None or self._system.send == "text" else _upload(turn.audio, "turn")
        text = turn.text if speech is None or self._system.send == "both" else None
        index: int | None = None
        broken: ConversationError | None = None
        try:
            async with client.turn(conversation, text, speech) as answer:
                index = answer.index
                async with contextlib.aclosing(answer.pieces()) as pieces:
                    async for piece in pieces:
                        yield Media(piece)
        except ConversationError as error:
            broken = error
        told = None if index is None else await _record(client, conversation, index)
        record = told if isinstance(told, ServedTurn) else None
        if record is not None and record.text:
            yield ReplyText(record.text)
        sent = "text" if speech is None else "audio" if text is None else "both"
        detail: dict[str, JsonValue] = {"sent": sent, **({} if record is None else turn_detail(record))}
        if record is None and not isinstance(broken, (RefusedError, NotTheProtocolError)):
            obituary = await self._service.obituary(client)
            if obituary:
                yield Failed("server_died", f"{obituary}\n{AGAIN}", transient=True, detail=detail)
                return
        if isinstance(broken, RefusedError) and broken.status == 404:
            self._gone = sentence(broken)
        if record is not None and record.index != index:
            detail["notices"] = [f"asked for turn {index}, the server tells of turn {record.index}"]
        final = final_event(broken, told, detail)
        if isinstance(final, Completed):
            self._service.note_completed()
        yield final

    async def close(self) -> None:
        held, self._held = self._held, None
        if held is not None and not self._gone and not self._service.why_gone(held[0]):
            client, conversation = held
            with contextlib.suppress(ConversationError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await client.close(conversation)


async def _record(client: ConversationClient, conversation: str, index: int) -> ServedTurn | ConversationError:
    """What the service says of a turn whose stream has ended, or why that can't be had."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        late = time.monotonic() > deadline
        try:
            record = await client.record(conversation, index)
        except ConversationError as error:
            # A page of something on the way may stand in for the record.
            if late or not isinstance(error, NotTheProtocolError):
                return error
        else:
            if late or record.outcome != "running":
                return record
        await asyncio.sleep(0.05)


def _upload(path: Path, name: str) -> Upload:
    """A file of the scenario set under a neutral name."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Upload(f"{name}{path.suffix}", path.read_bytes(), kind)


def _address(url: str) -> str:
    try:
        return base_url(url)
    except UsageError as error:
        raise SystemLoadError(str(error)) from None


def _token(variable: str | None, url: str) -> Secret:
    """The token in ``variable`` for ``url``; without a name, that in ``LIVETALK_TOKEN`` if there is one."""
    if variable is None and not os.environ.get(TOKEN, "").strip():
        return Secret(None)
    if url.startswith("http:") and not is_loopback(url):
        raise SystemLoadError(
            f"{url} is plain HTTP to another machine, over which the token in {variable or TOKEN} would travel in the "
            f"clear. Use https://, or forward the port to this machine (ssh -L) and use http://127.0.0.1."
        )
    try:
        return Secret(variable or TOKEN)
    except UsageError as error:
        raise SystemLoadError(str(error)) from None

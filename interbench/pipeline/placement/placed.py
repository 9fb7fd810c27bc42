"""A system whose conversations are held on another machine, behind the seam that every system has.

The driver, its host and the ledger know nothing of it but that a machine can be lost
(:class:`~interbench.base.errors.NodeLostError`), which is no outcome of a turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from interbench.base.errors import MediaError, NodeLostError, ResumeUnsupportedError, SystemLoadError
from interbench.domain.persona import Persona
from interbench.pipeline.placement.link import Link
from interbench.pipeline.placement.renderer import Held, Order
from interbench.pipeline.placement.transfer import CHUNK, take
from interbench.pipeline.placement.turn import WORKDIR, Ending, Still, Telling, digest
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.events import (
    Completed,
    Elsewhere,
    Event,
    JsonValue,
    Opening,
    PastTurn,
    Shows,
    TimedOut,
    TurnRequest,
)
from interbench.systems.host import RaisedElsewhereError

_TRANSPORT_S = 3600.0
"""The head's own deadline lies so far beyond the node's, which is the one that counts."""


class PlacedSystem(AvatarSystem):
    """One renderer's system, as the head sees it.

    Args:
        link: to the renderer.
        order: what it is to be.
        like: the same system, not started, for what follows from its options.
        start_s: how long it may take to start.
        open_s: how long a conversation may take to open.
    """

    transport_s = _TRANSPORT_S

    def __init__(self, link: Link, order: Order, like: AvatarSystem, start_s: float, open_s: float) -> None:
        self.link = link
        self.order = order
        self.open_s = open_s
        self._like = like
        self._start_s = start_s
        self._told: Mapping[str, Any] = {}
        self._carried: dict[tuple[str, int, int], Path] = {}
        self._carrying = asyncio.Lock()

    async def start(self) -> None:
        told = await self.link.ask("start", self.order, takes_s=self._start_s)
        try:
            self._told = self.answer(told)
        except (RaisedElsewhereError, TimeoutError) as error:
            raise SystemLoadError(
                f"The system {self.order.spec.label!r} can't be started on the node {self.link.where}: "
                f"{str(error) or 'it takes too long'}"
            ) from None
        self.capabilities = self._told["capabilities"]

    async def stop(self) -> None:
        with contextlib.suppress(NodeLostError):
            await self.link.ask("stop")

    def answer(self, told: Mapping[str, Any]) -> Any:
        """What a renderer answered, raised if it was an error."""
        if "ok" in told:
            return told["ok"]
        match told["error"]:
            case "timeout":
                raise TimeoutError
            case "resume":
                raise ResumeUnsupportedError(told["text"])
            case "no_room":
                raise NodeLostError(f"The disk of the node {self.link.where} that holds {told['text']} is full.")
            case "load":
                raise SystemLoadError(f"On the node {self.link.where}: {told['text']}")
            case "media":
                raise MediaError(told["code"], told["text"])
            case _:
                raise RaisedElsewhereError(told["text"], told["code"], told["traceback"], told["raised_at"])

    @property
    def facts(self) -> dict[str, Any]:
        """Its entry in the manifest, made on its node."""
        return dict(self._told["facts"])

    @property
    def lowers(self) -> tuple[str, ...]:
        return tuple(self._told["lowers"])

    @property
    def caveats(self) -> tuple[str, ...]:
        return tuple(self._told["caveats"])

    @property
    def takes_script(self) -> bool:
        return bool(self._told["takes_script"])

    @property
    def takes_speech(self) -> bool:
        return bool(self._told["takes_speech"])

    @property
    def reads_transcripts(self) -> bool:
        return bool(self._told["reads_transcripts"])

    @property
    def turn_video_s(self) -> float | None:
        longest: float | None = self._told["turn_video_s"]
        return longest

    @property
    def version(self) -> str:
        return str(self._told["version"])

    def settings(self) -> Mapping[str, JsonValue]:
        settings: Mapping[str, JsonValue] = self._told["settings"]
        return settings

    def turn_deadline_s(self, speech_s: float | None) -> float | None:
        return self._like.turn_deadline_s(speech_s)

    def estimate_gpu_s(self, video_seconds: float) -> float | None:
        return self._like.estimate_gpu_s(video_seconds)

    async def open(self, persona: Persona) -> Conversation:
        return PlacedConversation(self, persona)

    async def carried(self, path: Path | None) -> Path | None:
        """Where a file of the head's lies on the node; it is brought there once."""
        if path is None:
            return None
        key = await asyncio.to_thread(_as_it_is, path)
        async with self._carrying:
            if key not in self._carried:
                data = await asyncio.to_thread(path.read_bytes)
                name, there = digest(data), ""
                for offset in range(0, max(1, len(data)), CHUNK):
                    piece = data[offset : offset + CHUNK]
                    there = self.answer(await self.link.ask("store", name, path.name, offset, piece))
                self._carried[key] = Path(there)
            return self._carried[key]


def _as_it_is(path: Path) -> tuple[str, int, int]:
    """What tells a file from others, and from itself when it was changed."""
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def _shown(still: Still, workdir: Path) -> Shows:
    path = workdir / "shows.png"
    if still.data is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(still.data)
    return Shows(path)


class PlacedConversation(Conversation):
    """A conversation of a :class:`PlacedSystem`."""

    def __init__(self, system: PlacedSystem, persona: Persona) -> None:
        self._system = system
        self._persona = persona
        self._token = uuid.uuid4().hex
        self._state: JsonValue = None
        self._held: dict[int, Held] = {}
        """Turns whose clips the node still has."""

    async def _ask(self, method: str, *arguments: Any, takes_s: float = 0.0) -> Any:
        return self._system.answer(await self._system.link.ask(method, self._token, *arguments, takes_s=takes_s))

    async def prepare(self, opening: Opening) -> None:
        limit = self._system.open_s
        there = replace(opening, portrait=await self._system.carried(opening.portrait))
        await self._ask("open", self._persona, there, limit, takes_s=limit)

    async def ready(self) -> None:
        await self._ask("ready", self._system.open_s, takes_s=self._system.open_s)

    def state(self) -> JsonValue:
        return self._state

    async def restore(self, history: Sequence[PastTurn], state: JsonValue) -> None:
        there = [
            replace(
                past,
                user_audio=await self._system.carried(past.user_audio),
                clip=await self._system.carried(past.clip),
            )
            for past in history
        ]
        self._state = state
        await self._ask("restore", there, state, self._system.open_s, takes_s=self._system.open_s)

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        link = self._system.link
        await self._ask("begin", await self._there(turn), dict(self._held))
        final: Ending | None = None
        try:
            while final is None:
                pull_s = link.patience.pull_s
                told: Telling = await self._ask("pull", pull_s, takes_s=pull_s)
                # The driver deals with each before the next is asked for, and the node waits with what may cost money
                # until the next call.
                for event, after_s in told.events:
                    if isinstance(event, Still):
                        event = await asyncio.to_thread(_shown, event, turn.workdir)
                    yield Elsewhere(event, after_s)  # type: ignore[arg-type]
                final = told.final
        finally:
            if final is None:
                with contextlib.suppress(NodeLostError):
                    await link.ask("abort", self._token)
        if last := await self._last(final, turn):
            yield last

    async def _there(self, turn: TurnRequest) -> TurnRequest:
        """The request with files that lie on the node."""
        carried = self._system.carried
        history = [
            replace(
                past,
                user_audio=await carried(past.user_audio),
                clip=None if past.index in self._held else await carried(past.clip),
            )
            for past in turn.history
        ]
        barge_in = turn.barge_in
        return replace(
            turn,
            barge_in=None if barge_in is None else replace(barge_in, audio=await carried(barge_in.audio)),
            audio=await carried(turn.audio),
            portrait=await carried(turn.portrait),
            speech=await carried(turn.speech),
            history=tuple(history),
        )

    async def _last(self, final: Ending, turn: TurnRequest) -> Elsewhere | None:
        """The final event, its clip brought here; None if the system gave none."""
        link = self._system.link
        if final.no_room:
            raise NodeLostError(f"The disk of the node {link.where} that holds {final.no_room} is full.")
        if final.raised is not None:
            told = final.raised
            raise RaisedElsewhereError(told["text"], told["code"], told["traceback"], told["raised_at"])
        if final.timed_out:
            late = f"no complete answer within {turn.deadline_s:g} s"
            return Elsewhere(TimedOut(late, detail={"node": link.where}), final.after_s)
        event = final.event
        if event is None:
            return None
        detail = {**event.detail, "node": link.where}  # type: ignore[union-attr]
        if not isinstance(event, Completed):
            return Elsewhere(replace(event, detail=detail), final.after_s)  # type: ignore[arg-type]
        self._state = final.state
        event = replace(event, detail=detail)
        if final.refused is not None:
            code, why = final.refused
            return Elsewhere(event, final.after_s, refused=MediaError(code, why.replace(WORKDIR, str(turn.workdir))))
        assert final.clip is not None
        # Its name is data from outside; of its own it has but the suffix.
        suffix = PurePath(final.clip.name).suffix.lower()
        name = "stream.mp4" if final.streamed else f"reply{suffix if suffix.isascii() and len(suffix) < 8 else ''}"
        target = turn.workdir / name

        async def read(offset: int) -> bytes:
            piece: bytes = await link.ask("read", self._token, offset)
            return piece

        await take(self._system.order.way, final.clip, target, read, link.patience.visible_s)
        self._held[turn.index] = Held(turn.index)
        return Elsewhere(replace(event, path=None if final.streamed else target), final.after_s, final.facts)

    async def close(self) -> None:
        with contextlib.suppress(NodeLostError):
            await self._system.link.ask("close", self._token, takes_s=10.0)

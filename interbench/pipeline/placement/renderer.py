"""One system under test on a node: the actor that holds its conversations, reads its clock and inspects its clips.

Calls may overlap in any order, since an asynchronous actor is re-entrant: whatever a call leaves for a later one is
stored under a name that the head gave, and before the first ``await``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interbench.base.errors import InterbenchError, MediaError, ResumeUnsupportedError, SystemLoadError
from interbench.base.registry import IMPORT_FROM, import_from_here
from interbench.base.scratch import Scratch
from interbench.domain.persona import Persona
from interbench.drive.raised import code_of, describe, full_traceback, own_line
from interbench.media.pool import MediaPool
from interbench.pipeline.placement.server_log import LogTail
from interbench.pipeline.placement.transfer import CHUNK, Way
from interbench.pipeline.placement.turn import PlayedThere, Telling
from interbench.store.trouble import out_of_room
from interbench.systems.base import Conversation
from interbench.systems.events import JsonValue, Opening, PastTurn, TurnRequest
from interbench.systems.facts import system_facts
from interbench.systems.host import Host, StuckError
from interbench.systems.registry import SystemSpec

_LINES = 500
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Order:
    """What a renderer is to be. It travels in a call, so what is secret in the options is written nowhere."""

    spec: SystemSpec
    way: Way
    import_from: str = ""
    """Folders of modules of the user's own."""


@dataclass(frozen=True, slots=True)
class Held:
    """Stands for the clip of an earlier turn of the same conversation, which its node still has."""

    turn: int


@dataclass(slots=True)
class _Session:
    persona: Persona
    folder: Path
    generation: int
    conversation: Conversation | None = None
    clips: dict[int, Path | None] = None  # type: ignore[assignment]
    turn: PlayedThere | None = None


class Renderer:
    """The actor. Every answer is a mapping: ``ok``, or ``error`` with what is known of it."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._host: Host | None = None
        self._media = MediaPool(size=1)
        self._scratch = Scratch("renderer")
        self._files = self._scratch.path / "files"
        self._files.mkdir()
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._way = Way()
        self._tail = LogTail()

    async def start(self, order: Order) -> Mapping[str, Any]:
        """Make the system and start it; what the head has to know of it."""
        os.environ[IMPORT_FROM] = order.import_from
        import_from_here()
        self._way = order.way

        async def begin() -> Mapping[str, Any]:
            self._host = Host(order.spec.factory(), tell=self._lines.append)
            await self._host.start()
            return _description(self._host, order.spec)

        return await self._answer(begin())

    @property
    def _started(self) -> Host:
        if self._host is None:
            raise SystemLoadError("the system was not started")
        return self._host

    async def node(self) -> str:
        """Which node this is, by Ray's id."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    async def process(self) -> int:
        """Its process, for whoever looks after it."""
        return os.getpid()

    async def news(self) -> Mapping[str, Any]:
        """That it is well: what its system and server have said since the last call."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        system = None
        with contextlib.suppress(Exception):
            system = self._started.system
        log = await asyncio.to_thread(self._tail.read, None if system is None else system.server_log)
        return {
            "lines": lines,
            "log": log,
            "room": not out_of_room(self._scratch.path),
            "live": len(self._sessions),
        }

    async def store(self, name: str, own_name: str, offset: int, data: bytes) -> Mapping[str, Any]:
        """Take in a piece of a file of the head's; where it lies here."""
        folder = self._files / _NO_NAME.sub("-", name)
        path = folder / (_NO_NAME.sub("-", own_name) or "file")

        def write() -> str:
            folder.mkdir(exist_ok=True)
            with path.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(data)
            return str(path)

        return await self._answer(asyncio.to_thread(write))

    async def open(self, token: str, persona: Persona, opening: Opening, limit_s: float) -> Mapping[str, Any]:
        """Open a conversation and prepare it."""
        session = _Session(persona, self._scratch.path / token, self._generation(), clips={})
        self._sessions[token] = session
        host = self._started

        async def begin() -> Conversation:
            conversation = await host.system.open(persona)
            try:
                await conversation.prepare(opening)
            except BaseException:
                with contextlib.suppress(Exception):
                    await conversation.close()
                raise
            return conversation

        async def opened() -> None:
            session.folder.mkdir()
            session.conversation = await host.call(begin, limit_s)

        return await self._answer(opened())

    def _generation(self) -> int:
        return -1 if self._host is None else self._host.generation

    def _conversation(self, token: str) -> tuple[_Session, Conversation]:
        session = self._sessions.get(token)
        if session is None or session.conversation is None:
            raise RuntimeError("the conversation is not open on this node")
        if session.generation != self._generation():
            raise RuntimeError("the system stopped reacting and was restarted")
        return session, session.conversation

    async def restore(
        self, token: str, history: Sequence[PastTurn], state: JsonValue, limit_s: float
    ) -> Mapping[str, Any]:
        """Take up an earlier conversation."""

        async def take_up() -> None:
            _, conversation = self._conversation(token)
            host = self._started
            if host.system.capabilities.state in ("session", "kv_cache") and (
                type(conversation).restore is Conversation.restore
            ):
                raise ResumeUnsupportedError("its memory lives in the system alone")
            await host.call(lambda: conversation.restore(history, state), limit_s)

        return await self._answer(take_up())

    async def ready(self, token: str, limit_s: float) -> Mapping[str, Any]:
        """Wait until the next turn can be taken."""

        async def wait() -> None:
            _, conversation = self._conversation(token)
            await self._started.call(conversation.ready, limit_s)

        return await self._answer(wait())

    async def begin(self, token: str, request: TurnRequest, held: Mapping[int, Held]) -> Mapping[str, Any]:
        """Hand over a turn: its clock starts here."""

        async def hand_over() -> None:
            session, conversation = self._conversation(token)
            workdir = session.folder / str(request.index)
            shutil.rmtree(workdir, ignore_errors=True)
            workdir.mkdir()
            history = tuple(
                replace(past, clip=session.clips.get(past.index)) if past.index in held else past
                for past in request.history
            )
            own = replace(request, workdir=workdir.resolve(), history=history)
            session.turn = PlayedThere(self._started, conversation, own, self._media, self._way)

        return await self._answer(hand_over())

    async def pull(self, token: str, wait_s: float) -> Mapping[str, Any]:
        """What has happened in the turn; the turn goes on only after this call where an event holds it up."""

        async def happened() -> Telling:
            session = self._sessions.get(token)
            if session is None or session.turn is None:
                raise RuntimeError("no turn is being played in this conversation")
            telling = await session.turn.pull(wait_s)
            if telling.final is not None:
                session.clips[session.turn.index] = session.turn.clip
                if session.turn.stuck:
                    await self._restart()
            return telling

        return await self._answer(happened())

    async def read(self, token: str, offset: int) -> bytes:
        """A piece of the clip that the last turn ended with."""
        session = self._sessions.get(token)
        clip = None if session is None or session.turn is None else session.turn.clip
        if clip is None:
            return b""

        def piece() -> bytes:
            with clip.open("rb") as file:
                file.seek(offset)
                return file.read(CHUNK)

        return await asyncio.to_thread(piece)

    async def abort(self, token: str) -> None:
        """Give up the turn that is being played."""
        session = self._sessions.get(token)
        if session is not None and session.turn is not None:
            await session.turn.abort()

    async def close(self, token: str) -> None:
        """Close a conversation and remove what it left."""
        session = self._sessions.pop(token, None)
        if session is None:
            return
        if session.turn is not None:
            await session.turn.abort()
        if session.conversation is not None and session.generation == self._generation():
            with contextlib.suppress(Exception):
                await self._started.call(session.conversation.close, 10.0)
        await asyncio.to_thread(shutil.rmtree, session.folder, ignore_errors=True)

    async def forget(self) -> None:
        """Close every conversation: the head has lost touch and plays them elsewhere."""
        await asyncio.gather(*(self.close(token) for token in list(self._sessions)))

    async def stop(self) -> None:
        """Stop the system and all that it has started."""
        await self.forget()
        if self._host is not None:
            await self._host.stop()
        await self._media.close()
        await asyncio.to_thread(self._scratch.remove)

    async def _restart(self) -> None:
        with contextlib.suppress(Exception):
            await self._started.restart()

    async def _answer(self, work: Awaitable[Any]) -> Mapping[str, Any]:
        try:
            return {"ok": await work}
        except TimeoutError:
            return {"error": "timeout"}
        except StuckError:
            await self._restart()
            return raised(RuntimeError("the system does not react"), "the system does not react")
        except ResumeUnsupportedError as error:
            return {"error": "resume", "text": str(error)}
        except Exception as error:
            if out_of_room(self._scratch.path):
                return {"error": "no_room", "text": str(self._scratch.path)}
            return raised(error)


def raised(error: Exception, words: str | None = None) -> Mapping[str, Any]:
    """What the head is told of an exception."""
    ours = isinstance(error, InterbenchError)
    return {
        "error": "load"
        if isinstance(error, SystemLoadError)
        else "media"
        if isinstance(error, MediaError)
        else "raised",
        "text": describe(error) if words is None else words,
        "code": code_of(error),
        "traceback": "" if ours else full_traceback(error),
        "raised_at": "" if ours else own_line(error),
    }


def _description(host: Host, spec: SystemSpec) -> Mapping[str, Any]:
    system = host.system
    return {
        "facts": system_facts(system, spec),
        "capabilities": system.capabilities,
        "lowers": system.lowers,
        "caveats": system.caveats,
        "takes_script": system.takes_script,
        "takes_speech": system.takes_speech,
        "reads_transcripts": system.reads_transcripts,
        "turn_video_s": system.turn_video_s,
        "version": system.version,
        "settings": dict(system.settings()),
    }

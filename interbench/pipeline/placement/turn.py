"""One turn on its node: events with readings of the node's clock, up to the clip with its facts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from interbench.base.errors import MediaError
from interbench.base.foreign import kept_json
from interbench.domain.incidents import Incident
from interbench.domain.records import ClipFacts
from interbench.drive.accepting import clip_inside
from interbench.drive.listening import MAX_STREAM_BYTES, ProtocolError
from interbench.drive.raised import code_of, describe, full_traceback, own_line
from interbench.media.pool import MediaPool
from interbench.pipeline.placement.transfer import CHUNK, Handed, NoRoomError, Way, hand_over
from interbench.store.trouble import out_of_room
from interbench.systems.base import Conversation
from interbench.systems.events import (
    FINAL_EVENTS,
    Arrived,
    Completed,
    Event,
    FirstFrame,
    FirstSound,
    JsonValue,
    Media,
    ProgressReport,
    ReplyText,
    Shows,
    Submitted,
    Submitting,
    TurnRequest,
    UserTurnEnd,
)
from interbench.systems.host import Host, StuckError, Timed

_BATCH = 256
"""Events that are worth a call of their own."""
_BACKLOG = 20_000
"""With so many the system has to wait for the head."""
WORKDIR = "<workdir>"
"""Stands in messages for the folder of the turn."""
_MOST_STILL = 32 * 2**20
"""Bytes of a picture of whom a system shows."""
_KNOWN = (
    *(Submitting, Submitted, UserTurnEnd, ProgressReport, ReplyText, FirstFrame, FirstSound, Shows, Incident),
    *FINAL_EVENTS,
)


@dataclass(frozen=True, slots=True)
class Still:
    """Stands for :class:`~interbench.systems.events.Shows`: the picture itself, since its file lies on the node; None
    if it is no file in the turn's folder, or too large."""

    data: bytes | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a turn ended on its node; of the first four exactly one is set, or none where no final event came."""

    event: Event | None = None
    timed_out: bool = False
    no_room: str = ""
    raised: Mapping[str, Any] | None = None
    after_s: float = 0.0
    state: JsonValue = None
    clip: Handed | None = None
    facts: ClipFacts | None = None
    refused: tuple[str, str] | None = None
    """Code and message of why there is no clip, where the system says there is one."""
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Telling:
    """What a call learns of a turn."""

    events: list[tuple[Event | Still, float]]
    final: Ending | None


class PlayedThere:
    """A turn that is being played; its clock starts now.

    Args:
        host: the started system.
        conversation: the one it belongs to.
        request: with a working folder on this node.
        media: inspects the clip.
        way: how the clip travels.
    """

    def __init__(
        self, host: Host, conversation: Conversation, request: TurnRequest, media: MediaPool, way: Way
    ) -> None:
        self.index = request.index
        self.clip: Path | None = None
        """The answer's file, once it is known."""
        self.stuck = False
        self._host = host
        self._conversation = conversation
        self._request = request
        self._media = media
        self._way = way
        self._events: list[tuple[Event | Still, float]] = []
        self._ending: Ending | None = None
        self._held_s = 0.0
        """For how long the system was held up until the head had taken an event: nobody's latency."""
        self._news = asyncio.Event()
        self._taken = asyncio.Event()
        self._task = asyncio.create_task(self._play())

    async def pull(self, wait_s: float) -> Telling:
        """What has happened since the last call, as soon as it is worth telling."""
        self._taken.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), wait_s)
        self._news.clear()
        events, self._events = self._events, []
        return Telling(events, self._ending)

    async def abort(self) -> None:
        """Give it up; the system is told as it would be by a deadline."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _play(self) -> None:
        try:
            self._ending = await self._ended(*await self._listen())
        except Exception as error:
            self._ending = Ending(raised=_raised(error))
        self._news.set()

    async def _listen(self) -> tuple[Ending, bool]:
        """Listen to the system until its end; whether it sent its answer as a stream."""
        request, sink = self._request, None
        start = time.monotonic()

        def after(timed: Timed[Event]) -> float:
            return max(0.0, timed.at - start - self._held_s)

        with contextlib.ExitStack() as files:
            try:
                events: AsyncGenerator[Timed[Event], None] = self._host.events(
                    lambda: self._conversation.respond(request), request.deadline_s
                )
                async with contextlib.aclosing(events):
                    received = 0
                    async for timed in events:
                        event = timed.value
                        if isinstance(event, Media):
                            if sink is None:
                                sink = files.enter_context((request.workdir / "stream.mp4").open("wb"))
                            received = _kept(event, sink, received)
                            event = Arrived(len(event.data))
                        elif not isinstance(event, _KNOWN):
                            name = type(event).__name__
                            raise ProtocolError("not_an_event", f"the system yielded a {name}, not an event")
                        if isinstance(event, FINAL_EVENTS):
                            return Ending(event=_plain(event), after_s=after(timed)), sink is not None
                        told: Event | Still = event
                        if isinstance(event, Shows):
                            told = await asyncio.to_thread(_still, event, request.workdir)
                        await self._tell(_plain(told), after(timed))
            except TimeoutError:
                return Ending(timed_out=True, after_s=request.deadline_s), sink is not None
            except StuckError:
                self.stuck = True
                return Ending(timed_out=True, after_s=request.deadline_s), sink is not None
            except Exception as error:
                return Ending(raised=_raised(error), after_s=time.monotonic() - start), sink is not None
        return Ending(after_s=time.monotonic() - start), sink is not None

    async def _tell(self, event: Event | Still, after_s: float) -> None:
        """Keep an event for the head. One that money hangs on holds the system up until the head has taken it."""
        self._events.append((event, after_s))
        barrier = isinstance(event, (Submitting, Submitted))
        if barrier or len(self._events) >= _BATCH:
            self._news.set()
        if barrier or len(self._events) >= _BACKLOG:
            began = time.monotonic()
            self._taken.clear()
            await self._taken.wait()
            self._held_s += time.monotonic() - began

    async def _ended(self, ending: Ending, streamed: bool) -> Ending:
        """With what the head needs beside the system's last word."""
        workdir = self._request.workdir
        if not isinstance(ending.event, Completed):
            return replace(ending, no_room=str(workdir)) if out_of_room(workdir) else ending
        state: JsonValue = None
        if not self.stuck:
            with contextlib.suppress(Exception):
                state = kept_json(self._conversation.state())
        own_path = ending.event.path
        ending = replace(ending, event=replace(ending.event, path=None), state=state, streamed=streamed)
        stream = workdir / "stream.mp4" if streamed else None
        try:
            path = clip_inside(own_path, stream, workdir)
            ending = replace(ending, streamed=path == stream)
            facts = await self._media.inspect(path)
        except MediaError as error:
            if out_of_room(workdir):
                return replace(ending, no_room=str(workdir))
            # Whoever reads it looks in the run folder, where the turn has a folder of its own.
            return replace(ending, refused=(error.code, str(error).replace(str(workdir), WORKDIR)))
        self.clip = path
        handed = Handed(path.name, facts.bytes, facts.sha256)
        try:
            if self._way.kind != "chunks":
                handed = replace(handed, key=self._way.name(path.suffix))
                await asyncio.to_thread(hand_over, self._way, path, handed.key)
            elif facts.bytes <= CHUNK:
                handed = replace(handed, data=await _read(path))
        except NoRoomError as error:
            return replace(ending, no_room=str(error))
        except OSError as error:
            return replace(ending, no_room=f"{self._way.root} ({error})")
        return replace(ending, clip=handed, facts=facts)


def _still(shows: Shows, workdir: Path) -> Still:
    """The picture, held to what the head holds those of its own systems to."""
    try:
        path = clip_inside(shows.still, None, workdir)
        return Still(path.read_bytes() if path.stat().st_size <= _MOST_STILL else None)
    except (MediaError, OSError):
        return Still(None)


async def _read(path: Path) -> bytes:
    return await asyncio.to_thread(path.read_bytes)


def _kept(media: Media, sink: BinaryIO, received: int) -> int:
    received += len(media.data)
    if received > MAX_STREAM_BYTES:
        raise MediaError("too_large", f"the answer is longer than {MAX_STREAM_BYTES} bytes")
    sink.write(media.data)
    return received


def _plain(event: Any) -> Any:
    """An event whose data any process can read: an adapter may put anything into it."""
    detail = getattr(event, "detail", None)
    if detail is None:
        return event
    try:
        return replace(event, detail=kept_json(dict(detail)))
    except (ValueError, RecursionError, TypeError) as error:
        return replace(event, detail={"unreadable": f"the provider's data can't be kept: {error}"})


def _raised(error: Exception) -> Mapping[str, Any]:
    from interbench.base.errors import InterbenchError

    ours = isinstance(error, InterbenchError)
    return {
        "text": describe(error),
        "code": code_of(error),
        "traceback": "" if ours else full_traceback(error),
        "raised_at": "" if ours else own_line(error),
    }


def digest(data: bytes) -> str:
    """SHA-256 of a file of the head's."""
    return hashlib.sha256(data).hexdigest()

"""Systems that just write one file per turn: the shortest way to an adapter."""

from __future__ import annotations

import asyncio
import inspect
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path

from interbench.domain.persona import Persona
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.events import Completed, Event, ReplyText, TurnRequest


@dataclass(frozen=True, slots=True)
class Reply:
    """What :meth:`ClipSystem.render` may return beside writing its file."""

    text: str | None = None
    """What the avatar says in the clip, if the system knows."""
    path: Path | None = None
    """The clip, inside ``turn.workdir``; None if it was written to ``output``."""
    cost_usd: float | None = None


class ClipSystem(AvatarSystem):
    """Base class for systems that write a finished clip.

    Implement :meth:`render`, as a plain method (it then runs in a thread of its own) or as a coroutine.
    """

    @abstractmethod
    def render(
        self, persona: Persona, turn: TurnRequest, output: Path
    ) -> Reply | str | Awaitable[Reply | str | None] | None:
        """Write the answer to ``turn`` as a video file with sound to ``output`` (an MP4 path in ``turn.workdir``).

        Return what the avatar says (a string), a :class:`Reply`, or None. Raise anything if there is no answer: the
        turn is recorded as failed with the exception's message.
        """

    async def open(self, persona: Persona) -> Conversation:
        return _ClipConversation(self, persona)


class _ClipConversation(Conversation):
    def __init__(self, system: ClipSystem, persona: Persona) -> None:
        self._system = system
        self._persona = persona

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        output = turn.workdir / "reply.mp4"
        if inspect.iscoroutinefunction(self._system.render):
            result = await self._system.render(self._persona, turn, output)
        else:
            result = await _in_daemon_thread(self._system, self._persona, turn, output)
        reply = result if isinstance(result, Reply) else Reply(text=result)
        if reply.text is not None:
            yield ReplyText(reply.text)
        yield Completed(reply.path or output, cost_usd=reply.cost_usd)


async def _in_daemon_thread(
    system: ClipSystem, persona: Persona, turn: TurnRequest, output: Path
) -> Reply | str | None:
    """Run a plain ``render`` in a daemon thread: one that hangs is abandoned and never delays the end of the run."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Reply | str | None] = loop.create_future()

    def finish(result: Reply | str | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        try:
            result = system.render(persona, turn, output)
            if not (result is None or isinstance(result, (str, Reply))):
                raise TypeError(f"render returned a {type(result).__name__}; it has to return text, a Reply or None")
        except BaseException as error:
            outcome: tuple[Reply | str | None, BaseException | None] = (None, error)
        else:
            outcome = (result, None)
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, *outcome)

    threading.Thread(target=work, name="interbench-render", daemon=True).start()
    return await future

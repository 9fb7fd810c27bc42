"""Calls to actors, and what becomes of them when a machine is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from interbench.base.errors import NodeLostError


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the head waits for its nodes."""

    answer_s: float = 30.0
    """For the answer to any call, beyond what the call itself may take: then its node counts as lost."""
    pull_s: float = 5.0
    """A node says at least so often that a turn is still being answered."""
    health_s: float = 2.0
    """Between two looks at each renderer."""
    node_s: float = 600.0
    """For a node that was lost to come back, or another one to have room."""
    again_s: float = 0.5
    """Before a renderer is started again that could not be; it is doubled from time to time."""
    visible_s: float = 60.0
    """For a file that a node has written to a shared folder to be seen at the head."""
    start_s: float = 120.0
    """For an actor's process to start; loading models is not in it."""


class Link:
    """The head's end of the line to one actor.

    Args:
        actor: its handle.
        where: its node, for messages.
        patience: how long to wait.
        delay_s: by which every answer is held up, as on a slow network; for tests and benchmarks.
    """

    def __init__(self, actor: Any, where: str, patience: Patience, delay_s: float = 0.0) -> None:
        self.actor = actor
        self.where = where
        self.patience = patience
        self._delay_s = delay_s

    async def ask(self, method: str, *arguments: Any, takes_s: float = 0.0) -> Any:
        """The answer of a method of the actor, which may take ``takes_s`` for itself.

        Raises:
            NodeLostError: the actor, its node or the way to it is gone, or nothing is heard of it. Whether the call was
                carried out is then not known.
        """
        answer = await answered(
            lambda: getattr(self.actor, method).remote(*arguments), method, self.where, takes_s + self.patience.answer_s
        )
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        return answer

    async def end(self) -> None:
        """End the actor's process, whatever it is doing."""
        import ray

        def kill() -> None:
            try:
                ray.kill(self.actor, no_restart=True)
            except Exception:
                # It is gone, or Ray is: either way there is nothing to end.
                return

        await asyncio.to_thread(kill)


async def answered(call: Callable[[], Any], what: str, where: str, limit_s: float) -> Any:
    """What a call of Ray's gives.

    Args:
        call: makes it, and gives Ray's reference.
        what, where: for messages.

    Raises:
        NodeLostError: as in :meth:`Link.ask`.
    """
    from ray.exceptions import RayActorError, RayError, RayTaskError

    try:
        return await asyncio.wait_for(_awaited(call()), limit_s)
    except TimeoutError:
        raise NodeLostError(f"The node {where} has not answered for {limit_s:.0f} s.") from None
    except RayTaskError as error:
        # A defect of ours: adapters' exceptions come as answers.
        raise RuntimeError(f"{what} on the node {where}: {error}") from error
    except RayActorError as error:
        gone = "is gone" if type(error).__name__ == "ActorDiedError" else "can't be reached"
        raise NodeLostError(f"The process on the node {where} {gone}: {first_line(error)}.") from None
    except RayError as error:
        raise NodeLostError(f"The node {where} is lost: {first_line(error)}.") from None


async def _awaited(reference: Any) -> Any:
    return await reference


def first_line(error: BaseException) -> str:
    """What Ray says of an error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")

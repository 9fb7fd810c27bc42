"""Where a run's conversations are held: at a given address, or with a server of our own that is kept alive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from interbench.base.errors import SystemLoadError
from interbench.base.http import Backoff
from interbench.base.remote import Secret
from interbench.systems.live.client import PROTOCOL, ConversationClient, ConversationError, Health, RefusedError, Upload
from interbench.systems.live.outcome import sentence
from interbench.systems.live.own_server import OwnServer

_STARTS = 3
"""How often a server of our own is started without a turn completed in between."""
_TELL_S = 15.0
_LOOK_S = 0.1
_DYING_S = 15.0
"""How long a server that no longer answers may take to end."""


class ConversationService:
    """Where conversations are opened.

    Args:
        where: address and token of a service, or the server to start.
        start_timeout_s: for loading the models.
        open_wait_s: how long a conversation waits for a place where all are taken.
        tell: shows the user a line.
    """

    def __init__(
        self,
        where: tuple[str, Secret] | OwnServer,
        *,
        start_timeout_s: float,
        open_wait_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self._where = where
        self._server = where if isinstance(where, OwnServer) else None
        self._start_timeout_s = start_timeout_s
        self._open_wait_s = open_wait_s
        self._tell = tell
        self._clients: list[ConversationClient] = []
        """The last is the present one; conversations may still hold one of a server that has ended."""
        self._lock = asyncio.Lock()
        self._starts = 0
        self._health: Health | None = None

    @property
    def health(self) -> Health:
        """What the service said of itself when the run began."""
        if self._health is None:
            raise RuntimeError("the service was not started")
        return self._health

    async def start(self) -> None:
        """Find the service, or start it, and wait until it is ready.

        Raises:
            SystemLoadError: it is not there, does not become ready or does not let us in.
        """
        self._health = await self._connect()

    async def stop(self) -> None:
        while self._clients:
            await self._clients.pop().aclose()
        if self._server is not None:
            await self._server.stop()

    async def open(self, fields: Mapping[str, str], image: Upload | None) -> tuple[ConversationClient, str]:
        """Open a conversation, waiting for a place; who holds it, and its id.

        Raises:
            SystemLoadError: the service is gone, has become another one, or stays full.
            ConversationError: it does not want this conversation.
        """
        backoff = Backoff(0.5, 8.0, total_s=self._open_wait_s, heeded_s=60.0)
        while True:
            client = await self._present()
            try:
                return client, (await client.open(fields, image)).id
            except RefusedError as refused:
                if refused.status not in (429, 503):
                    raise
                pause = backoff.pause(refused.wait_s)
                if pause is None:
                    raise SystemLoadError(
                        f"The server at {client.url} had no place within {self._open_wait_s:g} s: {sentence(refused)} "
                        f"Do others use it? End them, or start it with room for more."
                    ) from None
            await asyncio.sleep(pause)

    def note_completed(self) -> None:
        """A turn was completed: the server works."""
        self._starts = min(self._starts, 1)

    def why_gone(self, client: ConversationClient) -> str:
        """Why a conversation that ``client`` holds is lost; empty if nothing is known of that."""
        if client not in self._clients[-1:]:
            return "The server ended and was started again."
        return "The server has ended." if self._server is not None and self._server.ended else ""

    async def obituary(self, client: ConversationClient) -> str:
        """What the server that ``client`` talks to said before it ended; empty if it has not, or is not ours."""
        deadline = time.monotonic() + _DYING_S
        while self._server is not None and time.monotonic() < deadline:
            if why := self.why_gone(client):
                return self._server.obituary() if self._server.ended else why
            try:
                await client.health()
            except ConversationError:
                # It has closed its doors; a moment later its process can be seen to have ended.
                await asyncio.sleep(_LOOK_S)
            else:
                return ""
        return ""

    async def _present(self) -> ConversationClient:
        """The client of a service that is there and still the same; a server of ours that has ended is replaced."""
        async with self._lock:
            if self._server is not None and self._server.ended:
                why = self._server.obituary()
                if self._starts >= _STARTS:
                    raise SystemLoadError(f"The server ended {self._starts} times before a turn was completed. {why}")
                self._tell(f"{why}\nStarting it again.")
                health = await self._connect()
            else:
                health = await self._clients[-1].health(again=True)
            client = self._clients[-1]
            found, known = identity(health), identity(self.health)
            if health.status == "ready" and found != known:
                changed = [
                    f"{key} was {known[key]!r} and is {found[key]!r}" for key in known if known[key] != found[key]
                ]
                raise SystemLoadError(
                    f"The server at {client.url} is no longer the one that this run began with: {'; '.join(changed)}. "
                    f"Its answers would not be comparable; give it a run folder of its own with --out."
                )
            return client

    async def _connect(self) -> Health:
        began = time.monotonic()
        if isinstance(self._where, OwnServer):
            self._starts += 1
            self._tell(f"starting `{self._where}`, output in {self._where.log}")
            url, token = await self._where.start(self._start_timeout_s), self._where.token
        else:
            url, token = self._where
        client = ConversationClient(url, token)
        self._clients.append(client)
        try:
            health = await self._ready(client, began)
            await client.check_token()
        except ConversationError as error:
            raise SystemLoadError(
                await self.obituary(client)
                or f"{sentence(error)} Is {url} the address of a running server of the conversation protocol?"
            ) from None
        told = {"size": health.size, "weights": health.weights, "thinker": health.thinker, "on": health.device}
        known = "".join(f"{name} {value}, " for name, value in told.items() if value)
        self._tell(
            f"ready after {time.monotonic() - began:.0f} s: {known}room for {health.capacity} "
            f"conversation{'s' * (health.capacity != 1)}"
        )
        return health

    async def _ready(self, client: ConversationClient, began: float) -> Health:
        told = 0.0
        while True:
            if self._server is not None:
                self._server.check()
            health = await client.health(again=True)
            if health.protocol != PROTOCOL:
                raise SystemLoadError(
                    f"The server at {client.url} speaks version {health.protocol} of the conversation protocol, this "
                    f"version of interbench speaks {PROTOCOL}."
                )
            waited = time.monotonic() - began
            if health.status == "ready" and health.video is not None and health.capacity > 0:
                return health
            if health.status == "ready":
                missing = "capacity for no conversation" if health.video is not None else "no `video`"
                raise SystemLoadError(
                    f"The server at {client.url} says in /health that it is ready, with {missing}. It has to say how "
                    f"many conversations it takes and what its clips are like."
                )
            if health.status != "loading" or waited > self._start_timeout_s:
                raise SystemLoadError(
                    f"The server at {client.url} can't be used: after {waited:.0f} s its status is {health.status!r}. "
                    + (self._server.last_words() if self._server is not None else "Its own log says why.")
                )
            if waited - told > _TELL_S:
                told = waited
                self._tell(f"loading the models ({waited:.0f} s)")
            await asyncio.sleep(min(1.0, _LOOK_S + waited / 10))


def identity(health: Health) -> dict[str, Any]:
    """What must not change in a run: other answers, or the same at another speed."""
    told = {"version", "size", "weights", "random_weights", "thinker", "device", "settings", "video"}
    return health.model_dump(include=told)

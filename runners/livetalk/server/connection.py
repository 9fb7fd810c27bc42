"""One TCP connection: limits that only the transport can keep.

uvicorn waits for ever for the head of a request and for a client that takes nothing of what it is sent, and goes on
reading a body that was already refused. Here each of these has an end.

Whoever reaches the port can open connections and say nothing. So a connection is a stranger's until a request over it
was let in (with the token, where the server has one), and strangers have places of their own: when these are full, the
one that has waited longest goes, of the address that holds the most. Who has the token is never locked out by those who
have not.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from livetalk.server.limits import MIB, Limits
from livetalk.server.problems import KINDS, body

LINGER_S = 2.0
"""A client that was answered before the end of its request may go on sending for so long, or so much, that it comes to
read the answer: closed with bytes unread, a connection would be reset, and the answer be lost on its way."""
LINGER_BYTES = 8 * MIB
_CROWDED_HEAD_S = 2.0  # until a request's head is there, while strangers take more than half of their places


class Connection(H11Protocol):
    """``scope["state"]["connection"]`` of every request that came over it."""

    limits: ClassVar[Limits]
    refused: ClassVar[staticmethod[[str], None]]
    strangers: ClassVar[dict[Connection, str]]
    """Oldest first, and the address that each comes from."""
    admitted: ClassVar[set[Connection]]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.app_state = {**self.app_state, "connection": self}
        self.access_log = False  # uvicorn's lines hold queries, where texts are
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._lingering_bytes = 0

    @classmethod
    def within(cls, limits: Limits, refused: Callable[[str], None]) -> type[Connection]:
        """The class for a server with these limits; ``refused`` is told the code of each refusal that no application
        sees."""
        return type(
            cls.__name__,
            (cls,),
            {"limits": limits, "refused": staticmethod(refused), "strangers": {}, "admitted": set()},
        )

    def admit(self) -> bool:
        """A request was let in, so that the connection is no stranger's any more; whether there is a place for it."""
        self.strangers.pop(self, None)
        self.admitted.add(self)
        return len(self.admitted) <= self.limits.connections

    def abort(self) -> None:
        """End the connection at once; what was not yet sent is lost."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        own: socket.socket | None = transport.get_extra_info("socket")
        if own is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.limits.send_buffer_bytes)
        peer = transport.get_extra_info("peername")
        self.strangers[self] = str(peer[0]) if isinstance(peer, tuple) else ""
        self._watch_head()
        if len(self.strangers) > self.limits.strangers:
            self._displace().abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.strangers.pop(self, None)
        self.admitted.discard(self)
        for timer in (self._head_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()
        if self._lingers:
            self._lingering_bytes += len(data)
            if self._lingering_bytes > LINGER_BYTES:
                self.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_head()
        if self._lingers:
            if self._linger_timer is not None:
                self._linger_timer.cancel()
            self._linger_timer = self.loop.call_later(LINGER_S, self._end_linger)
            self._lingering_bytes = 0

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # Closing waits until the client has taken everything, which may be never.
        self.loop.call_later(self.limits.stall_s, self.abort)

    def send_400_response(self, msg: str) -> None:
        self._refuse("malformed", f"{msg} Send HTTP/1.1.")

    def _displace(self) -> Connection:
        """The stranger that goes first: of the address that holds the most, the one that has waited longest; those that
        are being answered only where there is no other."""
        held = Counter(self.strangers.values())
        most = max(held.values())
        crowd = [connection for connection, address in self.strangers.items() if held[address] == most]
        return next((connection for connection in crowd if connection._idle), crowd[0])

    @property
    def _idle(self) -> bool:
        """No request over it is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def _watch_head(self) -> None:
        """While a request's head is awaited a timer runs, which further bytes of it do not put back. After a response
        it starts with the first of them: until then the connection is merely kept."""
        begun = self.cycle is None or bool(self.conn.trailing_data[0])
        waiting = begun and self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if not waiting and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        elif waiting and self._head_timer is None:
            crowded = len(self.strangers) > self.limits.strangers / 2
            seconds = min(self.limits.head_s, _CROWDED_HEAD_S) if crowded else self.limits.head_s
            self._head_timer = self.loop.call_later(seconds, self._end_head)

    def _end_head(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            limit = self.limits.head_s
            self._refuse("request_timeout", f"No complete request head came within {limit:g} seconds. Send it at once.")

    @property
    def _lingers(self) -> bool:
        """The latest request was answered and is still being sent."""
        return self.cycle is not None and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY

    def _end_linger(self) -> None:
        if self._lingers:
            self.abort()

    def _refuse(self, code: str, message: str) -> None:
        """Answer something that never became a request for the application."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.abort()
            return
        self.refused(code)
        content = json.dumps(body(code, message)).encode()
        status = KINDS[code].status
        head = f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        self.transport.write(f"{head}X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n".encode() + content)
        self.transport.close()

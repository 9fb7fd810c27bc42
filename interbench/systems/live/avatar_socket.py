"""LiveAvatar's own socket for the reply's speech, beside the room in which its avatar is seen."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from interbench.base.foreign import NotJsonError, mapped, parsed_json
from interbench.systems.live import calls

_KEEP_ALIVE_S = 60.0
_FIRST_PIECES, _PIECES = 6, 10
"""Of a tenth of a second, in one message: its maker sends 0.6 s first and 1 s from then on."""
_RATE_BYTES = 24_000 * 2


class AvatarSocket:
    """The connection.

    Args:
        url: as the vendor gave it.
        ended: called when the avatar has stopped speaking, with how much it played (seconds; None if unknown) and
            whether it was interrupted.
        lost: called with why, when the connection is gone.
    """

    def __init__(self, url: str, ended: Callable[[float | None, bool], None], lost: Callable[[str], None]) -> None:
        self._url = url
        self._ended, self._lost = ended, lost
        self._socket: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._sent_s = 0.0
        self._interrupted = False

    async def open(self, limit_s: float) -> None:
        """Connect and wait until the session says that it is.

        Raises:
            CallError: it can't be reached.
        """
        import websockets

        url = calls.address("ws_url", self._url, "wss", "ws")
        try:
            self._socket = await websockets.connect(url, open_timeout=limit_s, max_size=2**20)
        except (OSError, websockets.WebSocketException, TimeoutError) as error:
            raise calls.CallError("unreachable", f"the vendor's socket can't be reached: {error}") from None
        self._reading = asyncio.create_task(self._read())
        self._keeping = asyncio.create_task(self._keep_alive())
        await self._connected.wait()

    async def speak(self, pieces: Sequence[bytes]) -> None:
        """Say 16-bit PCM, 24 kHz, in pieces of a tenth of a second."""
        self._interrupted = False
        self._sent_s = sum(map(len, pieces)) / _RATE_BYTES
        at, count = 0, _FIRST_PIECES
        while at < len(pieces):
            data = base64.b64encode(b"".join(pieces[at : at + count])).decode()
            await self._send({"type": "agent.speak", "audio": data})
            at, count = at + count, _PIECES
        await self._send({"type": "agent.speak_end"})

    async def interrupt(self) -> None:
        await self._send({"type": "agent.interrupt"})

    async def _send(self, message: dict[str, Any]) -> None:
        import websockets

        try:
            await self._socket.send(json.dumps({**message, "event_id": uuid.uuid4().hex}))
        except websockets.ConnectionClosed:
            self._lost("the vendor closed the socket for the speech")

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_ALIVE_S)
            await self._send({"type": "session.keep_alive"})

    async def _read(self) -> None:
        import websockets

        try:
            async for message in self._socket:
                try:
                    told = mapped(parsed_json(message))
                except NotJsonError:
                    continue
                match told.get("type"):
                    case "session.state_updated" if told.get("state") == "connected":
                        self._connected.set()
                    case "agent.speak_interrupted":
                        self._interrupted = True
                        self._ended(None, True)
                    case "agent.speak_ended" if not self._interrupted:
                        self._ended(self._sent_s, False)
        except websockets.ConnectionClosed:
            pass
        self._connected.set()
        self._lost("the vendor closed the socket for the speech")

    async def close(self) -> None:
        for task in (self._keeping, self._reading):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

"""The adapter of LiveKit's rooms with the library's stand-in, and the vendors' services beside it on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import room_library
from websockets.sync.server import ServerConnection, serve

from interbench.systems.live.livekit_room import LiveKitRoom


class Vendors:
    """LemonSlice, Tavus and LiveAvatar: what they were asked, and an avatar that joins when they are."""

    def __init__(self, log: Path | None = None, refuses: int = 0) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        """(path, key, body)."""
        self.refuses = refuses
        self._log = log
        vendors = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                key = self.headers.get("X-API-Key") or self.headers.get("Authorization") or ""
                status, answer = vendors.answer(self.path, key, self.headers.get("Content-Type", ""), data)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._socket = serve(self._speech, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.socket_url = f"ws://127.0.0.1:{self._socket.socket.getsockname()[1]}"
        for server in (self._http, self._socket):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def note(self, what: str, body: Any = None) -> None:
        """Add a line to the log, if there is one."""
        if self._log is not None:
            with self._log.open("a") as log:
                log.write(json.dumps([what, body]) + "\n")

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._socket.shutdown()

    def answer(self, path: str, key: str, kind: str, data: bytes) -> tuple[int, Any]:
        image = kind.startswith("multipart/form-data")
        text = data.split(b'name="payload"')[1].split(b"\r\n\r\n", 1)[1].split(b"\r\n--")[0] if image else data
        body = json.loads(text or b"{}")
        self.asked.append((path, key, {**body, "image": b"\x89PNG" in data} if image else body))
        self.note(path, body)
        if self.refuses:
            return self.refuses, {"error": f"no credit for {key}"}
        room = room_library.rooms[-1]
        match path:
            case "/sessions":
                room.join(body["properties"]["livekit_token"])
                return 200, {"session_id": "lemon-1"}
            case "/conversations":
                room.join(body["properties"]["livekit_room_token"])
                return 200, {"conversation_id": "tavus-1"}
            case "/token":
                self._token = body["livekit_config"]["livekit_client_token"]
                return 200, {"code": 100, "data": {"session_id": "live-1", "session_token": "session-secret"}}
            case "/start":
                room.join(self._token)
                return 200, {"code": 100, "data": {"ws_url": self.socket_url}}
        return 200, {}

    def _speech(self, socket: ServerConnection) -> None:
        room = room_library.rooms[-1]
        socket.send(json.dumps({"type": "session.state_updated", "state": "connected"}))
        data = bytearray()

        async def play(pcm: bytes) -> None:
            avatar = room.avatar
            assert avatar is not None
            await avatar.play(np.frombuffer(pcm, "<i2"), 24_000)
            socket.send(json.dumps({"type": "agent.speak_interrupted" if avatar.interrupted else "agent.speak_ended"}))

        for message in socket:
            told = json.loads(message)
            match told["type"]:
                case "agent.speak":
                    data += base64.b64decode(told["audio"])
                case "agent.speak_end":
                    asyncio.run_coroutine_threadsafe(play(bytes(data)), room.loop)
                    data.clear()
                case "agent.interrupt":
                    assert room.avatar is not None
                    room.loop.call_soon_threadsafe(room.avatar.clear)


class StandInRoom(LiveKitRoom):
    """A vendor's avatar in a LiveKit room, both of them stand-ins."""

    library = "room_library"
    module = "room_library"

    def __init__(self, vendor: str = "lemonslice", *, log: str | None = None, refuses: int = 0, **options: Any) -> None:
        super().__init__(vendor, url="ws://127.0.0.1:7880", **options)
        room_library.heard = lambda: self.vendors.note("speech")
        self._log, self._refuses = log, refuses

    async def start(self) -> None:
        self.vendors = Vendors(None if self._log is None else Path(self._log), self._refuses)
        path = "/sessions" if self.vendor_name == "lemonslice" else ""
        self.vendor.url = self.vendors.url + path
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        await asyncio.to_thread(self.vendors.close)

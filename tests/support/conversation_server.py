"""A server of the conversation protocol, without any model: what a client of the protocol can be tested against.

It keeps to `docs/conversation-protocol.md` (`violations` must be empty at the end of a test), answers with real
fragmented MP4s, a fragment at a time, and does on request what a server does on a bad day: `plan(Cut(), Answer())` says
how the next turns go. As a program it takes the options of `livetalk serve` that matter here, and a few of its own::

    python conversation_server.py serve --host 127.0.0.1 --port 0 --announce FILE --size tiny
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import json
import os
import re
import secrets
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, FPS, SOUND_RATE, BLOCK = 64, 64, 16, 48_000, 12
MIME = 'video/mp4; codecs="avc1.42C01E, mp4a.40.2"'
_FIELDS = {
    "open": {"image", "prompt", "persona", "voice", "pitch", "rate", "seed"},
    "turn": {"text", "audio", "played_s"},
}
_FILES = {"image": "image/", "audio": "audio/"}


@functools.cache
def clip(blocks: int = 3, shade: int = 90) -> tuple[bytes, ...]:
    """An answer as it travels: the initialisation segment, then a fragment per block of pictures, with sound."""
    file = io.BytesIO()
    options = {"movflags": "frag_keyframe+delay_moov+default_base_moof"}
    with av.open(file, "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
        video.width, video.height, video.pix_fmt, video.gop_size = WIDTH, HEIGHT, "yuv420p", BLOCK
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        t = np.arange(blocks * BLOCK * SOUND_RATE // FPS) / SOUND_RATE
        tone = (0.3 * np.sin(2 * np.pi * 220 * t)).astype(np.float32)
        for number in range(blocks * BLOCK):
            picture = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
            picture[24:40, (3 * number) % WIDTH : (3 * number) % WIDTH + 6] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pict_type = av.video.frame.PictureType.I if number % BLOCK == 0 else av.video.frame.PictureType.NONE
            for packet in video.encode(frame):
                packet.duration = round(1 / FPS / packet.time_base)  # the muxer can't know a fragment's last one
                container.mux(packet)
            start = number * SOUND_RATE // FPS
            piece = av.AudioFrame.from_ndarray(tone[None, start : start + SOUND_RATE // FPS], "fltp", "mono")
            piece.sample_rate, piece.time_base, piece.pts = SOUND_RATE, Fraction(1, SOUND_RATE), start
            container.mux(sound.encode(piece))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    boxes = _boxes(file.getvalue())
    kept = [box for kind, box in boxes if kind != b"mfra"]
    kinds = [kind for kind, _ in boxes if kind != b"mfra"]
    starts = [0, *(index for index, kind in enumerate(kinds) if kind == b"moof"), len(kept)]
    return tuple(b"".join(kept[a:b]) for a, b in itertools.pairwise(starts))


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    boxes, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        boxes.append((data[at + 4 : at + 8], data[at : at + size]))
        at += size
    return boxes


@dataclass(frozen=True)
class Answer:
    """A turn that goes well, or ends the way the record then says."""

    text: str | None = None
    """None: what the scripted thinker of the stub says."""
    blocks: int = 3
    outcome: str = "completed"
    error: tuple[str, str] | None = None
    heard: str | None = None
    timings: Mapping[str, float | None] | None = None
    underruns: int = 0
    gate: threading.Event | None = None
    """The fragments wait for it; the initialisation segment does not."""
    headers: Mapping[str, str] = field(default_factory=dict)
    tells: Mapping[str, Any] = field(default_factory=dict)
    """What the record says instead."""


@dataclass(frozen=True)
class Refuse:
    """No answer but an error."""

    status: int
    code: str
    message: str = "This is why."
    retry_after: str | None = None


@dataclass(frozen=True)
class Cut:
    """The connection breaks after so many pieces; 0: before the response."""

    pieces: int = 2
    outcome: str = "failed"
    die: bool = False
    """The whole process ends."""


@dataclass(frozen=True)
class Hang:
    """After so many pieces nothing more comes; the turn ends when the client has gone."""

    pieces: int = 0


@dataclass(frozen=True)
class Garbage:
    """Something that is no MP4."""

    data: bytes = b"\0\0\0\x08free" * 50


Act = Answer | Refuse | Cut | Hang | Garbage


class ConversationServer:
    """The server's state, changed by requests and by tests.

    Args:
        token: what clients must show; None for nothing.
        capacity: conversations at once.
    """

    def __init__(self, *, token: str | None = None, capacity: int = 2) -> None:
        self.token = token
        self.url = ""
        self.health: dict[str, Any] = {
            "status": "ready",
            "protocol": 1,
            "version": "0.1.0",
            "size": "tiny",
            "weights": "random (seed 0)",
            "random_weights": True,
            "thinker": "script",
            "device": "cpu",
            "settings": {"window": 15, "float8": False},
            "capacity": capacity,
            "video": {"width": WIDTH, "height": HEIGHT, "fps": FPS, "mime": MIME, "sound_rate": SOUND_RATE},
        }
        self.loading = 0
        """So many of the next health requests find it loading."""
        self.busy = 0
        """So many of the next requests to open find it full."""
        self.opened: list[dict[str, Any]] = []
        """The fields of every conversation, in order."""
        self.turns: list[dict[str, Any]] = []
        """The fields of every turn, in order, with `conversation`."""
        self.closed: list[str] = []
        self.violations: list[str] = []
        self.most_open = 0
        self.disconnected = threading.Event()
        """Set when a client has left in the middle of an answer."""
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.records: deque[Refuse | Cut | bytes] = deque()
        """How the next requests for a turn's record are answered; a page's bytes, or a connection that breaks."""
        self._plan: deque[Act] = deque()
        self._conversations: dict[str, list[dict[str, Any]]] = {}
        self._expired: set[str] = set()

    def plan(self, *acts: Act) -> None:
        """How the next turns go; those that nothing is planned for go well."""
        self._plan.extend(acts)

    def forget(self) -> None:
        """Lose every conversation, as an expiry does."""
        with self.lock:
            self._expired.update(self._conversations)
            self._conversations.clear()

    @property
    def open_now(self) -> int:
        return len(self._conversations)

    def open(self, fields: dict[str, Any]) -> str | None:
        """Its id; None if there is no place."""
        with self.lock:
            if self.busy > 0 or len(self._conversations) >= self.health["capacity"]:
                self.busy = max(0, self.busy - 1)
                return None
            name = secrets.token_urlsafe(12)
            self._conversations[name] = []
            self.opened.append(fields)
            self.most_open = max(self.most_open, len(self._conversations))
            return name

    def find(self, name: str) -> list[dict[str, Any]] | Refuse:
        if name in self._conversations:
            return self._conversations[name]
        if name in self._expired:
            return Refuse(404, "expired", "The conversation has expired.")
        return Refuse(404, "unknown_conversation", "There is no such conversation.")

    def close(self, name: str) -> None:
        with self.lock:
            self._conversations.pop(name, None)
            self.closed.append(name)

    def take_turn(self, name: str, fields: dict[str, Any]) -> tuple[Act, dict[str, Any]]:
        """What to do with a turn, and its record, which is already part of the conversation."""
        with self.lock:
            act = self._plan.popleft() if self._plan else Answer()
            self.turns.append({"conversation": name, **fields})
            turns = self._conversations[name]
            words = fields.get("text")
            said = f"You said: {words}" if words else f"You spoke, and sent {len(fields['audio'])} bytes."
            record = {
                "index": len(turns) + 1,
                "outcome": "running",
                "user_text": words,
                "user_text_source": "typed" if words else None,
                "text": getattr(act, "text", None) or said,
                "heard_text": "",
                "timings": dict.fromkeys(
                    ("thinker_first_text_s", "thinker_first_sound_s", "first_window_s", "first_block_s",
                     "first_fragment_s", "finished_s")
                ),
                "frames": 0, "video_s": 0.0, "underruns": 0, "underrun_s": 0.0,
                "real_time_factor": None, "error": None,
            }  # fmt: skip
            if not isinstance(act, Refuse):
                turns.append(record)
            return act, record


def settle(record: dict[str, Any], outcome: str, error: tuple[str, str] | None = None, frames: int = 0) -> None:
    """End a turn."""
    record.update(outcome=outcome, frames=frames, video_s=frames / FPS, heard_text=record["text"])
    record["error"] = None if error is None else {"code": error[0], "message": error[1]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: ConversationServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        return

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        state = self.server_state
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            # Whoever asked is gone before all was said, which breaks no rule: a turn may be given up at any moment.
            self.close_connection = True
            return
        if self.path == "/health" and method == "GET":
            self._health(state)
            return
        if state.token is not None and self.headers.get("Authorization") != f"Bearer {state.token}":
            code = "token_refused" if self.headers.get("Authorization") else "token_required"
            self._refuse(Refuse(401, code, "Send this server's token."))
            return
        if state.token is None and self.headers.get("Authorization"):
            state.violations.append("a token was shown to a server that asks for none")
        match method, self.path.strip("/").split("/"):
            case "POST", ["v1", "conversations"]:
                self._open(state, body)
            case "GET", ["v1", "conversations", name]:
                turns = state.find(name)
                self._refuse(turns) if isinstance(turns, Refuse) else self._json(200, {"id": name, "turns": turns})
            case "DELETE", ["v1", "conversations", name]:
                found = state.find(name)
                state.close(name)
                self._refuse(found) if isinstance(found, Refuse) else self._respond(204, b"")
            case "POST", ["v1", "conversations", name, "turns"]:
                self._turn(state, name, body)
            case "GET", ["v1", "conversations", name, "turns", index]:
                turns = state.find(name)
                planned = state.records.popleft() if state.records else None
                if isinstance(planned, Refuse):
                    self._refuse(planned)
                elif isinstance(planned, bytes):
                    self._respond(200, planned, {"Content-Type": "text/html"})
                elif isinstance(planned, Cut):
                    self.close_connection = True
                elif isinstance(turns, Refuse):
                    self._refuse(turns)
                elif index.isdigit() and 0 < int(index) <= len(turns):
                    self._json(200, turns[int(index) - 1])
                else:
                    self._refuse(Refuse(404, "unknown_turn"))
            case _:
                state.violations.append(f"{method} {self.path} is no address of the protocol")
                self._refuse(Refuse(404, "not_found"))

    def _health(self, state: ConversationServer) -> None:
        if self.headers.get("Authorization"):
            state.violations.append("the token was sent to /health, which needs none")
        health = {**state.health, "sessions": state.open_now}
        if state.loading > 0:
            state.loading -= 1
            health.update(status="loading", weights=None, random_weights=None, video=None)
        self._json(200, health)

    def _open(self, state: ConversationServer, body: bytes) -> None:
        fields = self._fields("open", body)
        name = state.open(fields)
        if name is None:
            self._refuse(Refuse(429, "full", "All conversations are taken.", retry_after="0"))
            return
        limits = {"expires_s": 300.0, "max_turn_audio_s": 120.0, "max_text_chars": 4000}
        self._json(201, {"id": name, "video": state.health["video"], **limits})

    def _turn(self, state: ConversationServer, name: str, body: bytes) -> None:
        found = state.find(name)
        if isinstance(found, Refuse):
            self._refuse(found)
            return
        fields = self._fields("turn", body)
        if "text" not in fields and "audio" not in fields:
            state.violations.append("a turn with neither text nor audio")
        act, record = state.take_turn(name, fields)
        match act:
            case Refuse():
                self._refuse(act)
            case Garbage(data):
                settle(record, "completed")
                self._stream(record, [data])
            case Cut(pieces, outcome, die):
                if die and not pieces:
                    os._exit(3)
                settle(record, outcome)
                if pieces:
                    self._stream(record, clip()[:pieces], end=False)
                if die:
                    os._exit(3)
                self.close_connection = True
            case Hang(pieces):
                if pieces:
                    self._stream(record, clip()[:pieces], end=False)
                self._wait_until_alone()
                settle(record, "disconnected")
                state.disconnected.set()
                self.close_connection = True
            case Answer():
                self._answer(act, record)

    def _answer(self, act: Answer, record: dict[str, Any]) -> None:
        shown = {"thinker_first_text_s": 0.01, "thinker_first_sound_s": 0.02, "first_window_s": 0.03,
                 "first_block_s": 0.05, "first_fragment_s": 0.06, "finished_s": 0.5}  # fmt: skip
        record["timings"].update(shown if act.timings is None else act.timings)
        settle(record, act.outcome, act.error, act.blocks * BLOCK)
        record.update(underruns=act.underruns, underrun_s=0.25 * act.underruns, real_time_factor=0.4)
        if act.heard is not None:
            record["heard_text"] = act.heard
        index = record["index"]
        record.update(act.tells)
        init, *fragments = clip(act.blocks, 60 + 20 * index)
        headers = {"Livetalk-Turn": str(index), **(act.headers or {})}
        self._stream(record, [init], end=False, headers=headers)
        if act.gate is not None:
            act.gate.wait(30)
        self._stream(record, fragments, begin=False)

    def _stream(
        self,
        record: dict[str, Any],
        pieces: Any,
        *,
        begin: bool = True,
        end: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if begin:
            self.send_response(200)
            shown = {"Content-Type": "video/mp4", "Livetalk-Turn": str(record["index"]), **(headers or {})}
            for name, value in {**shown, "Transfer-Encoding": "chunked"}.items():
                self.send_header(name, value)
            self.end_headers()
        try:
            for piece in pieces:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
            if end:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            settle(record, "disconnected")
            self.server_state.disconnected.set()
            self.close_connection = True

    def _wait_until_alone(self) -> None:
        while not self.server_state.stopping.is_set():
            if select.select([self.connection], [], [], 0.05)[0]:
                return

    def _fields(self, kind: str, body: bytes) -> dict[str, Any]:
        """The parts of a form: texts as text, files as bytes."""
        violations = self.server_state.violations
        head = f"Content-Type: {self.headers.get('Content-Type', '')}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + body)
        if message.get_content_type() != "multipart/form-data":
            violations.append(f"a form of type {message.get_content_type()}")
            return {}
        fields: dict[str, Any] = {}
        for part in message.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            if name not in _FIELDS[kind] or name in fields:
                violations.append(f"the field {name!r} is unknown or sent twice")
            elif name in _FILES:
                if not part.get_filename() or not part.get_content_type().startswith(_FILES[name]):
                    violations.append(f"the file {name!r} has no name or is {part.get_content_type()}")
                fields[name] = content
            else:
                if part.get_filename():
                    violations.append(f"the text {name!r} was sent as a file")
                fields[name] = content.decode()
        if not re.fullmatch(r"\d{0,18}", fields.get("seed", "0")):
            violations.append(f"the seed {fields['seed']!r} is no number")
        if not re.fullmatch(r"[\w +.-]{0,64}", fields.get("voice", "")):
            violations.append(f"the voice {fields['voice']!r} is no name")
        return fields

    def _refuse(self, refusal: Refuse) -> None:
        headers = {} if refusal.retry_after is None else {"Retry-After": refusal.retry_after}
        error = {"error": {"code": refusal.code, "message": refusal.message}}
        self._json(refusal.status, error, headers)

    def _json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._respond(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _respond(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in mid-sentence are part of the tests."""


@contextmanager
def running(state: ConversationServer | None = None, port: int = 0) -> Iterator[ConversationServer]:
    """A server on loopback."""
    state = state or ConversationServer()
    server = _Http(("127.0.0.1", port), type("Bound", (_Handler,), {"server_state": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield state
    finally:
        state.stopping.set()
        server.shutdown()
        server.server_close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--announce", type=Path, required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--loading", type=int, default=0, help="health requests that find it loading")
    parser.add_argument("--fail", action="store_true", help="end at once, as when the models can't be had")
    parser.add_argument("--die-in-turn", type=int, default=0, help="end in the middle of that turn, once")
    parser.add_argument("--state", type=Path, help="where to remember that it has died, and its process ids")
    options = parser.parse_args()
    sys.stderr.write(f"the stub of a server, process {os.getpid()}\n")
    if options.fail:
        sys.stderr.write("livetalk: The thinker can't be reached at http://127.0.0.1:9.\n")
        sys.exit(1)
    state = ConversationServer(token=os.environ.get("LIVETALK_TOKEN"))
    state.health["size"] = options.size
    state.loading = options.loading
    if options.state is not None:
        with options.state.open("a") as file:
            file.write(f"{os.getpid()}\n")
        first = len(options.state.read_text().splitlines()) == 1
        if options.die_in_turn and first:
            state.plan(*[Answer()] * (options.die_in_turn - 1), Cut(die=True))
    with running(state, options.port):
        temporary = options.announce.with_suffix(".tmp")
        temporary.write_text(json.dumps({"url": state.url, "pid": os.getpid()}))
        temporary.replace(options.announce)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()

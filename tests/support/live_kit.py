"""A real server on loopback with tiny models, and what tests of its clients share."""

from __future__ import annotations

import asyncio
import io
import re
import socket
import ssl
import threading
import time
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import av
import httpx
import numpy as np
import numpy.typing as npt
from known import known
from livetalk.live.engine import LiveSettings
from livetalk.render.config import size
from livetalk.render.pipeline import Models, random_models
from livetalk.server.app import create_app
from livetalk.server.limits import Limits
from livetalk.server.process import Server, bind, url_of
from livetalk.server.service import ServerSettings, Service
from livetalk.thinkers.base import Delta, Question, SpeechDelta, TextDelta, Thinker, ThinkerError
from livetalk.thinkers.script import ScriptedThinker
from prometheus_client.parser import text_string_to_metric_families

READY_S = 180.0

PATIENCE_S = 120.0
"""Ends a hang, and never a test on a machine that is busy with others."""

RATE = 24_000

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of servers on loopback: reading certificates takes longer than most tests."""

#: A word of about half a second.
SHORT_ANSWER = "Right."


def tiny_models() -> Models:
    return random_models(size("tiny"))


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class ObedientThinker(ScriptedThinker):
    """Gives a short answer, unless the user's words begin with one of these:

    `hold` speaks a second and then nothing more until it is cancelled; `long` does so after a minute; `fail CODE` fails
    at once; `break CODE` fails after a second of speech; `mute` says words without a sound; `silent` says nothing;
    `ponder` begins no answer until it is cancelled.
    """

    def __init__(self) -> None:
        super().__init__((SHORT_ANSWER,))
        self.questions: list[Question] = []
        self.cancelled = threading.Semaphore(0)  # released for every answer that did not come to its end

    async def answer(self, question: Question) -> AsyncIterator[Delta]:
        self.questions.append(question)
        order, _, rest = (question.text or "").partition(" ")
        ended = False
        try:
            async for piece in self._answer(order, rest, question):
                yield piece
            ended = True
        finally:
            if not ended:
                self.cancelled.release()

    async def _answer(self, order: str, rest: str, question: Question) -> AsyncIterator[Delta]:
        if order == "fail":
            raise ThinkerError(rest, "It was told to fail.")
        if order == "silent":
            return
        if order == "ponder":
            await asyncio.Event().wait()
        if order == "mute":
            yield TextDelta("Words only.")
            return
        if order not in ("hold", "long", "break"):
            async for piece in super().answer(question):
                yield piece
            return
        yield TextDelta("One two three four. ")
        yield SpeechDelta(tone(60 if order == "long" else 1.25), RATE)
        if order == "break":
            raise ThinkerError(rest, "It was told to break off.")
        await asyncio.Event().wait()


class LiveServer:
    """Runs in a thread of this process; everything else is as `livetalk serve` has it."""

    def __init__(
        self,
        models: Models | Callable[[], Models],
        thinker: Thinker | None = None,
        *,
        limits: Limits | None = None,
        live: dict[str, Any] | None = None,
        token: str | None = None,
        hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost"}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        chosen = size("tiny")
        # 64 x 64 pixels: a quarter of the work.
        stream = replace(chosen.stream, position="bounded", latent_height=8, latent_width=8)
        settings = ServerSettings(
            size=chosen,
            device="cpu",
            live=LiveSettings(**{"stream": stream, **(live or {})}),
            limits=limits or Limits(),
            token=token,
            hosts=hosts,
            version="test",
        )
        self.thinker = thinker or ObedientThinker()
        self.token = token
        load = models if callable(models) else lambda: models
        # Several servers in one run of tests: most never decode a picture, and need no process for it.
        self.service = Service(settings, load, self.thinker, clock=clock, eager=False)
        self.app = create_app(self.service)
        self._listening = threading.Event()
        self._server = Server(self.service, self.app, listening=self._listening.set)
        self._socket = bind("127.0.0.1", 0)
        self.url = url_of(self._socket)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="live-server")
        self._thread.start()
        assert self._listening.wait(READY_S)

    @property
    def obedient(self) -> ObedientThinker:
        """Its thinker, where that is one that does what it is told."""
        assert isinstance(self.thinker, ObedientThinker)
        return self.thinker

    def wait_until_ready(self) -> LiveServer:
        with self.client() as client:
            assert until(lambda: client.get("/health").json()["status"] != "loading", READY_S)
            assert client.get("/health").json()["status"] == "ready"
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(READY_S)
        assert not self._thread.is_alive()

    def client(self, **options: Any) -> httpx.Client:
        """A client whose every response is checked against the server's own description of itself."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}
        return httpx.Client(
            **{
                "base_url": self.url,
                "headers": headers,
                "timeout": PATIENCE_S,
                "trust_env": False,
                "verify": NO_TLS,
                "event_hooks": {"response": [self.check_documented]},
                **options,
            }
        )

    def open(self, client: httpx.Client, **fields: Any) -> str:
        """The name of a new conversation."""
        response = client.post("/v1/conversations", data=fields)
        assert response.status_code == 201, response.text
        name: str = response.json()["id"]
        return name

    def metric(self, name: str, **labels: str) -> float:
        with self.client() as client:
            text = client.get("/metrics").text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items()):
                    return float(sample.value)
        raise AssertionError(f"there is no metric {name} {labels}")

    def check_documented(self, response: httpx.Response) -> None:
        """Status, media type, and the code of an error stand in /openapi.json."""
        document = self.app.openapi()
        status, kind = str(response.status_code), response.headers.get("content-type", "").partition(";")[0]
        operation = _operation(document, response.request)
        if operation is None:  # an address that there is not, or not for this method
            assert status in ("401", "403", "404", "405", "421"), response.request.url
            return
        assert status in operation["responses"], f"{response.request.method} {response.request.url}: {status}"
        content = operation["responses"][status].get("content", {})
        if not content:
            assert "content-type" not in response.headers
            return
        assert kind in content or "*/*" in content, f"{kind} is not documented for {response.request.url}"
        if response.status_code >= 400:
            response.read()
            error = response.json()["error"]
            assert set(error) == {"code", "message"}
            assert error["code"] in content[kind]["examples"], f"{error['code']} for {response.request.url}"


def _operation(document: dict[str, Any], request: httpx.Request) -> dict[str, Any] | None:
    for path, operations in document["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))
        if re.fullmatch(pattern, request.url.path) and request.method.lower() in operations:
            operation: dict[str, Any] = operations[request.method.lower()]
            return operation
    return None


def until(happened: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    """Whether it happens in time, looked for again and again."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def tone(seconds: float, hertz: float = 200.0, rate: int = RATE) -> npt.NDArray[np.float32]:
    """A humming voice: a tone that swells and fades four times a second."""
    time_s = np.arange(round(seconds * rate)) / rate
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time_s)
    return (0.4 * swell * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)


def wav(samples: npt.NDArray[np.float32], rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()


class Clip:
    """A clip, decoded completely.

    Raises:
        AssertionError: it is not one, or its tracks do not belong together.
    """

    def __init__(self, content: bytes) -> None:
        with av.open(io.BytesIO(content), "r") as container:
            assert [stream.type for stream in container.streams] == ["video", "audio"]
            self.note = str(container.metadata.get("comment", ""))
            self.times = [float(known(frame.time)) for frame in container.decode(video=0)]
        with av.open(io.BytesIO(content), "r") as container:
            blocks = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
            self.rate = int(container.streams.audio[0].rate)
        self.frames = len(self.times)
        self.seconds = self.frames / 16
        self.sound = np.concatenate(blocks)
        assert np.allclose(self.times, np.arange(self.frames) / 16, atol=1e-3), "frames are missing or out of place"
        assert abs(len(self.sound) / self.rate - self.seconds) < 0.1, "sound and picture are not equally long"

    @property
    def loudness(self) -> float:
        """RMS of the sound."""
        return float(np.sqrt(np.mean(np.square(self.sound))))


def raw_request(
    port: int, head: str, pieces: Iterator[bytes] | tuple[bytes, ...] = (), *, timeout: float = PATIENCE_S
) -> bytes:
    """Send bytes as they are and return all that comes back, also if the server stops listening in the middle."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        try:
            connection.sendall(head.encode())
            for piece in pieces:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        received = b""
        try:
            while piece := connection.recv(65_536):
                received += piece
        except ConnectionResetError:
            pass
    return received

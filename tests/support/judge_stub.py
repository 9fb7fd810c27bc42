"""A scripted OpenAI-compatible judge server over real HTTP, for what a real engine with random weights can't show.

It can pose as vLLM: it then answers ``/version`` and ``/tokenize``, expands videos into frame groups the way Qwen3-VL
does, and remembers videos by uuid. As a program (``python judge_stub.py``) it prints its address and serves until its
standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

VIDEO, START, END = 90_001, 90_002, 90_003
SPECIAL = {VIDEO: "<|video_pad|>", START: "<|vision_start|>", END: "<|vision_end|>"}


@dataclass(frozen=True)
class Reply:
    """What the stub does with one chat request."""

    text: str | None = "Because. \\boxed{7}"
    finish: str | None = "stop"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as it is instead of a completion."""
    do: str = "answer"
    """``answer``, ``hang`` (say nothing), ``cut`` (close in the middle), ``drop`` (close at once)."""
    refusal: str | None = None
    gate: asyncio.Event | None = None
    """A streamed answer stops after its first words until this is set."""
    before: asyncio.Event | None = None
    """Until this is set, nothing is said at all."""
    silence: asyncio.Event | None = None
    """Until this is set, a streamed answer has only named its speaker."""
    completion: Mapping[str, Any] | None = None
    """Sent as JSON instead of a completion."""
    cached: int | None = 0
    logprobs: Sequence[tuple[str, float]] = ()


Script = Callable[[dict[str, Any], int], Reply]
"""(request, number of the request from 0) → what to do."""


def error_reply(status: int, message: str, **headers: str) -> Reply:
    """An error in the form that OpenAI-compatible servers give it."""
    body = json.dumps({"error": {"message": message, "type": "Error", "code": status}}).encode()
    return Reply(status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


class StubJudge:
    """The server. Use as an async context manager; ``url`` is its address.

    Args:
        script: decides about each chat request.
        vllm: pose as vLLM.
        max_frames, fps: how the posed engine samples videos.
        token_pixels: most video tokens of a frame.
        reads_files: whether ``file://`` is allowed.
        context: the posed context length.
        model: the served name; ``root`` is the checkpoint behind it, ``weights`` which ones it holds (None: the server
            tells no log-probabilities of prompts).
        tokenize_status: of the page ``/tokenize`` of a server that is no vLLM.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        vllm: bool = True,
        max_frames: int = 32,
        fps: float = 30,
        token_pixels: int = 576,
        reads_files: bool = True,
        context: int = 262_144,
        model: str = "judge",
        root: str = "Qwen/Qwen3-VL-30B-A3B-Instruct",
        weights: int | None = 0,
        tokenize_status: int = 404,
    ) -> None:
        self.script: Script = script or (lambda request, number: Reply())
        self.vllm = vllm
        self.max_frames = max_frames
        self.fps = fps
        self.token_pixels = token_pixels
        self.reads_files = reads_files
        self.context = context
        self.model = model
        self.root = root
        self.weights = weights
        self.tokenize_status = tokenize_status
        self.models: tuple[int, Any] | None = None
        """Status and body of ``/v1/models``, instead of a list of the one model."""
        self.busy: list[Reply] = []
        """Answers, one each, to the next requests of any kind."""
        self.resets: dict[str, bytes] = {}
        """Answers to requests to empty a cache, by path: vLLM has them in its development mode alone."""
        self.takes_pictures = True
        self.pictures_shown = 0
        self.fingerprint: str | None = None
        self.rounding = 0.0
        """By how much log-probabilities vary from request to request, relative to their spread."""
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.remembered: dict[str, list[int]] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.shut()

    async def open(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._gone = asyncio.Event()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Stop listening and close every connection; what was remembered is forgotten, as by a killed engine."""
        assert self._server is not None
        self._gone.set()
        self._server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self.remembered.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        _, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.paths.append(target)
        self.headers.append(headers)
        if self.busy:
            reply = self.busy.pop(0)
            return await _send(writer, reply.status, reply.body, reply.headers)
        if target == "/tokenize" and not self.vllm:
            return await _send(writer, self.tokenize_status, {"detail": [{"msg": "Field required"}]})
        if target == "/v1/models" and self.models is not None:
            status, answer = self.models
            return await _send(writer, status, answer)
        if target == "/v1/models":
            entry: dict[str, Any] = {"id": self.model, "object": "model", "owned_by": "someone"}
            if self.vllm:
                entry |= {"owned_by": "vllm", "root": self.root, "max_model_len": self.context}
            return await _send(writer, 200, {"object": "list", "data": [entry]})
        if target == "/health" and self.vllm:
            return await _send(writer, 200, {})
        if target == "/version" and self.vllm:
            return await _send(writer, 200, {"version": "0.0.stub"})
        if target == "/tokenize" and self.vllm:
            return await self._tokenize(json.loads(body), writer)
        if target == "/v1/completions" and self.vllm and self.weights is not None:
            return await _send(writer, 200, self._predicted(json.loads(body)["prompt"]))
        if target in self.resets:
            return await _send(writer, 200, self.resets[target])
        if target == "/v1/chat/completions":
            return await self._chat(json.loads(body), writer)
        return await _send(writer, 404, {"detail": "Not Found"})

    async def _tokenize(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        ids = self._expand(request["messages"])
        if isinstance(ids, str):
            return await _send(writer, 400, {"error": {"message": ids}})
        texts = [SPECIAL.get(token) or chr(token) for token in ids]
        answer = {"tokens": ids, "count": len(ids), "max_model_len": self.context}
        return await _send(writer, 200, answer | ({"token_strs": texts} if request.get("return_token_strs") else {}))

    def _predicted(self, prompt: str) -> dict[str, Any]:
        """The log-probabilities that the posed weights give to a prompt, characters being tokens."""
        fixed, varying = random.Random(self.weights), random.Random(len(self.paths))
        values = [fixed.gauss(-3, 2) + self.rounding * varying.gauss(0, 2) for _ in prompt[1:]]
        told = [{str(ord(c)): {"logprob": value}} for c, value in zip(prompt[1:], values, strict=True)]
        return {"choices": [{"index": 0, "text": "", "prompt_logprobs": [None, *told]}]}

    async def _chat(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        number = len(self.requests)
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            reply = self.script(request, number)
            ids: list[int] | str = []
            if self.vllm and reply.status == 200:
                ids = self._expand(request["messages"])
                if len(ids) > self.context and not isinstance(ids, str):
                    ids = (
                        f"This model's maximum context length is {self.context} tokens. However, your prompt contains "
                        f"at least {self.context + 1} input tokens."
                    )
            if isinstance(ids, str):
                return await _send(writer, 400, {"error": {"message": ids, "code": 400}})
            return await self._answer(request, reply, list(ids), writer)
        finally:
            self.in_flight -= 1

    async def _answer(
        self, request: dict[str, Any], reply: Reply, ids: list[int], writer: asyncio.StreamWriter
    ) -> bool:
        if reply.before is not None:
            await reply.before.wait()
        if reply.do == "hang":
            await self._gone.wait()
            return False
        if reply.do == "drop":
            return False
        if reply.body is not None:
            return await _send(writer, reply.status, reply.body, reply.headers)
        if reply.completion is not None:
            return await _send(writer, reply.status, reply.completion, reply.headers)
        usage: dict[str, Any] = {
            "prompt_tokens": len(ids) or 100,
            "completion_tokens": 5,
            "total_tokens": (len(ids) or 100) + 5,
        }
        if reply.cached is not None:
            usage |= {"prompt_tokens_details": {"cached_tokens": reply.cached}}
        prompt = {"prompt_token_ids": ids} if request.get("return_token_ids") and self.vllm else {}
        if request.get("stream"):
            return await self._stream(reply, usage, prompt, writer)
        message = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": reply.finish}
        if request.get("logprobs"):
            tops = [{"token": token, "logprob": logprob} for token, logprob in reply.logprobs]
            choice["logprobs"] = {"content": [{"token": tops[0]["token"], "logprob": 0.0, "top_logprobs": tops}]}
        answer: dict[str, Any] = {"object": "chat.completion", "choices": [choice], "usage": usage, **prompt}
        answer["system_fingerprint"] = self.fingerprint
        if reply.do == "cut":
            data = json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data[: len(data) // 2]))
            await writer.drain()
            return False
        return await _send(writer, 200, answer, reply.headers)

    async def _stream(
        self, reply: Reply, usage: Mapping[str, Any], prompt: Mapping[str, Any], writer: asyncio.StreamWriter
    ) -> bool:
        def event(value: Any) -> bytes:
            data = f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()
            return b"%x\r\n%s\r\n" % (len(data), data)

        def piece(text: str, finish: str | None = None, **more: Any) -> bytes:
            delta = {"content": text, **({"refusal": reply.refusal} if reply.refusal else {})}
            return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})

        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(piece("", **prompt))
        await writer.drain()
        if reply.silence is not None:
            await reply.silence.wait()
        text = reply.text or ""
        half = len(text) // 2
        writer.write(piece(text[:half]))
        await writer.drain()
        if reply.gate is not None:
            await reply.gate.wait()
        if reply.do == "cut":
            return False
        writer.write(piece(text[half:], reply.finish))
        writer.write(event({"choices": [], "usage": dict(usage)}) + event("[DONE]") + b"0\r\n\r\n")
        await writer.drain()
        return True

    def _expand(self, messages: Sequence[Mapping[str, Any]]) -> list[int] | str:
        """The expanded prompt as token ids (characters are their own tokens), or why it can't be had."""
        ids: list[int] = []
        seen: dict[str, list[int]] = {}
        for message in messages:
            content = message["content"]
            parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
            for part in parts:
                if part["type"] == "text":
                    ids += map(ord, part["text"])
                    continue
                if part["type"] == "image_url":
                    self.pictures_shown += 1
                    if not self.takes_pictures:
                        return "At most 0 image(s) may be provided in one prompt."
                    ids += map(ord, " a picture ")
                    continue
                uuid = part.get("uuid")
                group: list[int] | str
                if part["video_url"] is None:
                    if uuid not in self.remembered:
                        return "Cache miss for video at index 0 but data is not provided."
                    group = self.remembered[uuid]
                else:
                    group = self._video(part["video_url"]["url"])
                    if isinstance(group, str):
                        return group
                    if uuid is not None:
                        seen[uuid] = group
                ids += group
        self.remembered |= seen
        return ids

    def _video(self, url: str) -> list[int] | str:
        import av
        import numpy as np

        if url.startswith("file:"):
            if not self.reads_files:
                return "Cannot load local files without `--allowed-local-media-path`."
            source: Any = str(Path(unquote(urlsplit(url).path)))
        else:
            source = io.BytesIO(base64.b64decode(url.partition("base64,")[2]))
        with av.open(source, "r") as container:
            stream = container.streams.video[0]
            total, rate = stream.frames, float(stream.average_rate or 0)
            width, height = stream.width, stream.height
        count = min(max(int(total / rate * self.fps), 4), self.max_frames, total)
        picked = np.linspace(0, total - 1, count).round().astype(int).tolist()
        if count % 2:
            picked.append(picked[-1])
        scale = min(1.0, (self.token_pixels * 1024 / (width * height)) ** 0.5)
        side = [max(1, int(edge * scale / 32 + (0.5 if scale == 1.0 else 1e-9))) for edge in (width, height)]
        ids = [START]
        for index in range(0, len(picked), 2):
            time = (picked[index] + picked[index + 1]) / 2 / rate
            ids += [*map(ord, f"<{time:.1f} seconds>"), START, *[VIDEO] * (side[0] * side[1]), END]
        return [*ids, END]


async def _send(writer: asyncio.StreamWriter, status: int, body: Any, headers: Mapping[str, str] | None = None) -> bool:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in fields.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode() + data)
    await writer.drain()
    return True


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true", help="do not pose as vLLM")
    parser.add_argument("--seconds", type=float, default=0.0, help="time an answer takes")
    arguments = parser.parse_args()

    class SlowJudge(StubJudge):
        async def _answer(self, *args: Any) -> bool:
            await asyncio.sleep(arguments.seconds)
            return await super()._answer(*args)

    stub = SlowJudge(vllm=not arguments.plain) if arguments.seconds else StubJudge(vllm=not arguments.plain)
    async with stub:
        print(stub.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())

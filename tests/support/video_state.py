"""What the fake video services know: jobs, plans, what was seen, and what every format is held to."""

from __future__ import annotations

import email
import email.policy
import functools
import io
import json
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from known import known
from PIL import Image

KEYS = {
    "openai": "sk-openai-secret-0123456789",
    "vertex": "ya29.vertex-secret-0123456789",
    "gemini": "AIza-gemini-secret-0123456789",
    "heygen": "hg-heygen-secret-0123456789",
    "hedra": "sk_hedra_secret_0123456789",
    "simple": "simple-secret-0123456789",
    "chat": "sk-chat-secret-0123456789",
}
GUIDELINES = (
    "Veo could not generate videos because the input image violates Vertex AI's usage guidelines. If you think this "
    "was an error, send feedback. Support codes: 15236754"
)
WIRE = Path(__file__).resolve().parents[1] / "interbench" / "systems" / "services" / "wire"


@dataclass(frozen=True)
class Status:
    """Answer with an error."""

    code: int
    retry_after: str | None = None
    body: Any = None


@dataclass(frozen=True)
class Raw:
    """Answer with these bytes and headers, whatever they are.

    ``endless``: the body is repeated until the client has had enough of it; ``taken`` is then how much went out.
    """

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    code: int = 200
    endless: bool = False


@dataclass(frozen=True)
class Cut:
    """Close the connection without an answer; ``after`` doing what was asked, or before."""

    after: bool = True


@dataclass(frozen=True)
class Redirect:
    to: str


@dataclass(frozen=True)
class Spoil:
    """Hand out something else than the clip.

    ``truncated`` (the connection ends early), ``short`` (half of it, as if it were all), ``html``, ``declared`` (an
    enormous Content-Length), ``endless`` (no length and no end) or ``stall`` (half of it, then nothing).
    Any request can be answered with ``hang``: not at all.
    """

    how: str


@dataclass
class Job:
    id: str
    service: str
    seconds: float
    size: tuple[int, int]
    outcome: str
    request: Any
    polls: int = 0
    cancelled: bool = False
    created: int = 1_758_941_485
    handed_out: int = 0


@dataclass
class Seen:
    at: float
    method: str
    path: str
    kind: str
    headers: dict[str, str]


@dataclass
class VideoServices:
    url: str = ""
    elsewhere: str = ""
    """Address of a host that is not the service's."""
    pending: int = 1
    """Polls before a job is finished."""
    poll_hint_ms: str | None = None
    retired: bool = False
    true_to_size: bool = False
    """Whether clips have as many pixels as was asked for, or an eighth each way where that is many: every one of them
    is decoded, and what is tested lies in none."""
    jobs: dict[str, Job] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    outcomes: deque[str] = field(default_factory=deque)
    assets: dict[str, Any] = field(default_factory=dict)
    chats: list[dict[str, Any]] = field(default_factory=list)
    chat_reply: str = "The tower stands in Paris, and you can climb it by stairs or by lift. It opened in 1889."
    stopping: threading.Event = field(default_factory=threading.Event)
    stalled: threading.Event = field(default_factory=threading.Event)
    created: threading.Event = field(default_factory=threading.Event)
    taken: int = 0
    """Bytes of the latest endless body that a client took."""
    _plans: dict[str, deque[Any]] = field(default_factory=lambda: defaultdict(deque))
    lock: threading.RLock = field(default_factory=threading.RLock)

    def plan(self, kind: str, *answers: Any) -> None:
        """How the next requests of a kind (submit, poll, download, upload, chat, cancel) are answered; None: well."""
        self._plans[kind].extend(answers)

    def next_plan(self, kind: str) -> Any:
        with self.lock:
            return self._plans[kind].popleft() if self._plans[kind] else None

    def count(self, kind: str) -> int:
        return sum(seen.kind == kind for seen in self.seen)

    def times(self, kind: str) -> list[float]:
        return [seen.at for seen in self.seen if seen.kind == kind]

    def billed_s(self, service: str | None = None) -> float:
        """Seconds of video that a service would charge for: jobs that are finished well, or will be.

        Hedra names no length: it charges for what it delivers.
        """
        return sum(
            stated_s(clip(job.seconds, job.size)) if job.service == "hedra" else job.seconds
            for job in self.jobs.values()
            if job.outcome == "completed" and not job.cancelled and service in (None, job.service)
        )

    def wrong(self, message: str) -> None:
        with self.lock:
            self.violations.append(message)

    def create(self, service: str, seconds: float, size: tuple[int, int], request: Any) -> Job:
        with self.lock:
            outcome = self.outcomes.popleft() if self.outcomes else "completed"
            if not self.true_to_size and min(size) >= 360:
                size = (round(size[0] / 16) * 2, round(size[1] / 16) * 2)
            job = Job(f"{service}_{len(self.jobs) + 1}", service, seconds, size, outcome, request)
            self.jobs[job.id] = job
        self.created.set()
        return job


@functools.lru_cache(maxsize=32)
def clip(seconds: float, size: tuple[int, int], shade: int = 90) -> bytes:
    """A playable MP4 with picture and sound, 24 fps."""
    sink = io.BytesIO()
    width, height = size
    rate, fps = 16_000, 24
    with av.open(sink, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "g": "24"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout="mono")
        picture = np.full((height * 3 // 2, width), 128, np.uint8)
        for number in range(round(seconds * fps)):
            picture[:height] = shade
            picture[:16, number * 3 % (width - 16) :][:, :16] = 255
            for packet in video.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")):
                container.mux(packet)
        container.mux(video.encode(None))
        t = np.arange(round(seconds * rate)) / rate
        frame = av.AudioFrame.from_ndarray(
            (0.3 * np.sin(2 * np.pi * 220 * t)).astype(np.float32)[None], format="fltp", layout="mono"
        )
        frame.sample_rate = rate
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return sink.getvalue()


def stated_s(data: bytes) -> float:
    """The duration that a file states."""
    with av.open(io.BytesIO(data), "r") as container:
        return known(container.duration) / av.time_base


class FormatError(Exception):
    """The request does not keep to the format."""


@functools.cache
def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((WIRE / "openai_videos.json").read_text())[name]
    return found


def check_fields(name: str, body: dict[str, Any]) -> None:
    """Hold a body to an object schema of the OpenAPI slice (the parts of it that are used there)."""
    rules = schema(name)
    for required in rules["required"]:
        if required not in body:
            raise FormatError(f"{name}: {required} is missing")
    for key, value in body.items():
        rule = rules["properties"].get(key)
        if rule is None:
            raise FormatError(f"{name}: unknown field {key}")
        kinds = {"string": str, "integer": int, "object": dict, "binary": bytes}
        if value is None and rule.get("nullable"):
            continue
        if not isinstance(value, kinds[rule["type"]]):
            raise FormatError(f"{name}: {key} is a {type(value).__name__}, not {rule['type']}")
        if isinstance(value, str) and not rule.get("minLength", 0) <= len(value) <= rule.get("maxLength", 10**9):
            raise FormatError(f"{name}: {key} has a wrong length")
        if "enum" in rule and value not in rule["enum"]:
            raise FormatError(f"{name}: {key} = {value!r} is not allowed")


def allow_only(what: str, body: Any, required: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if not isinstance(body, dict):
        raise FormatError(f"{what} is no object")
    if missing := required - set(body):
        raise FormatError(f"{what}: missing {sorted(missing)}")
    if unknown := set(body) - required - optional:
        raise FormatError(f"{what}: Extra inputs are not permitted: {sorted(unknown)}")


def png_size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        if image.format != "PNG":
            raise FormatError("the image is no PNG")
        return image.size


def multipart(headers: Any, body: bytes) -> dict[str, Any]:
    """Fields of a form: text as str, files as (name, bytes, type)."""
    kind = headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data"):
        raise FormatError(f"not multipart/form-data but {kind}")
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body, policy=email.policy.HTTP)
    fields: dict[str, Any] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes):
            raise FormatError(f"field {name} holds no data")
        if name in fields:
            raise FormatError(f"field {name} is doubled")
        filename = part.get_filename()
        fields[name] = data.decode() if filename is None else (filename, data, part.get_content_type())
    return fields

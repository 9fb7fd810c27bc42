"""The judge's requests: videos in chronological order, then the transcript, then the rubric.

Everything but the rubric is the same for all dimensions, byte for byte, so that a server with a prefix cache reads
it once. It is therefore encoded once per conversation; a request only puts the pieces together.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from interbench.base.errors import JudgeError
from interbench.domain.records import ClipFacts, PlayedConversation
from interbench.judge.vlm.frames import Sampling
from interbench.judge.vlm.rubrics import Prompts, QuotedTurn

Delivery = Literal["reference", "file", "data"]
"""How a video travels: by its uuid alone, as a ``file://`` URL, or inside the request as a ``data:`` URL."""

_MEDIA_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska", ".mov": "video/quicktime"}


@dataclass(frozen=True, slots=True)
class Video:
    """One answer of the conversation."""

    turn: int
    path: Path
    facts: ClipFacts
    uuid: str
    """Names the clip as sampled: a server that has seen it under this name need not be sent it again."""
    copy_of: str | None = None
    """SHA-256 of the clip that ``path`` is a plain copy of; None if it is the clip itself."""
    copied_because: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A conversation ready to be put before a judge."""

    name: str
    """``system/scenario``; for people and the ledger, never for the judge."""
    videos: tuple[Video, ...]
    preamble: str
    transcript: str
    quoted: tuple[str, ...]
    """Everything that was said, to recognise a judge's quotations."""

    def digest(self, rubric: str) -> str:
        """SHA-256 of the messages with this rubric: texts and the videos' names, however they travel."""
        texts = [self.preamble, *(video.uuid for video in self.videos), self.transcript, rubric]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def video_uuid(facts: ClipFacts, sampling: Sampling) -> str:
    """A hash of the clip's content and of the sampling: a server keeps what it made of the clip under this name."""
    settings = json.dumps([facts.sha256, sampling.frames, sampling.size])
    return hashlib.sha256(settings.encode()).hexdigest()[:32]


def make_case(conversation: PlayedConversation, prompts: Prompts, sampling: Sampling) -> Case:
    """Put a complete conversation into the judge's form.

    Raises:
        JudgeError: a turn has no clip, facts or transcript; the harness should not have handed it over.
    """
    videos: list[Video] = []
    turns: list[QuotedTurn] = []
    for number, turn in enumerate(conversation.turns, start=1):
        if turn.clip is None or turn.facts is None or turn.transcript is None:
            raise JudgeError(
                f"{conversation.system}/{conversation.scenario.id} can't be judged: {conversation.why_incomplete()}"
            )
        if turn.copy is None:
            videos.append(Video(turn.index, turn.clip, turn.facts, video_uuid(turn.facts, sampling)))
        else:
            copy = turn.copy
            name = video_uuid(copy.facts, sampling)
            videos.append(Video(turn.index, copy.path, copy.facts, name, turn.facts.sha256, copy.because))
        turns.append(QuotedTurn(turn.index, turn.user_text, number, turn.transcript.text.strip()))
    said = tuple(text for turn in turns for text in (turn.user, turn.avatar) if text)
    name = f"{conversation.system}/{conversation.scenario.id}"
    return Case(name, tuple(videos), prompts.preamble, f"\n\n{prompts.conversation(turns)}\n\n", said)


class Encoded:
    """The shared part of a case's requests as JSON bytes, per way of delivery."""

    def __init__(self, case: Case, *, uuids: bool) -> None:
        self._case = case
        self._uuids = uuids
        self._parts: dict[Delivery, bytes] = {}

    def prepare(self, delivery: Delivery) -> None:
        """Encode the shared part. Reads the clips' files if they travel as data: call it off the event loop."""
        if delivery in self._parts:
            return
        system = {"role": "system", "content": self._case.preamble}
        content: list[dict[str, Any]] = []
        for number, video in enumerate(self._case.videos, start=1):
            label = f"Video {number}:\n" if number == 1 else f"\nVideo {number}:\n"
            content.append({"type": "text", "text": label})
            content.append(video_part(video.path, delivery, video.uuid if self._uuids else None))
        content.append({"type": "text", "text": self._case.transcript})
        opening = json.dumps({"messages": [system, {"role": "user", "content": content}]}, separators=(",", ":"))
        self._parts[delivery] = opening.removesuffix("]}]}").encode()

    def body(
        self, delivery: Delivery, rubric: str, parameters: Mapping[str, Any], more: Sequence[Mapping[str, Any]] = ()
    ) -> bytes:
        """A whole request.

        Args:
            delivery: must have been prepared.
            rubric: the last part of the user's message.
            parameters: of the request, e.g. ``model`` and ``temperature``; at least one.
            more: messages that follow.
        """
        tail = json.dumps({"type": "text", "text": rubric}, separators=(",", ":"))
        further = "".join("," + json.dumps(message, separators=(",", ":")) for message in more)
        rest = json.dumps(parameters, separators=(",", ":"))[1:]
        return b"".join((self._parts[delivery], b",", tail.encode(), b"]}", further.encode(), b"],", rest.encode()))


def video_part(path: Path, delivery: Delivery, uuid: str | None) -> dict[str, Any]:
    """A video as a part of a message.

    Raises:
        JudgeError: the clip's file can't be read.
    """
    part: dict[str, Any] = {"type": "video_url"}
    if delivery == "reference":
        part["video_url"] = None
    elif delivery == "file":
        part["video_url"] = {"url": path.resolve().as_uri()}
    else:
        try:
            data = base64.b64encode(path.read_bytes()).decode("ascii")
        except OSError as error:
            raise JudgeError(f"The clip {path} can't be read to be sent to the judge ({error.strerror}).") from None
        media_type = _MEDIA_TYPES.get(path.suffix.lower(), "video/mp4")
        part["video_url"] = {"url": f"data:{media_type};base64,{data}"}
    if uuid is not None:
        part["uuid"] = uuid
    return part

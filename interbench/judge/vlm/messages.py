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
from interbench.domain.records import ClipFacts, Detail, PlayedConversation, PlayedTurn, Speaking, Timings
from interbench.domain.scenario import Turn
from interbench.judge.vlm.frames import Sampling, stills
from interbench.judge.vlm.rubrics import Mode, Prompts, QuotedTurn, SpokenFacts, Waited

Delivery = Literal["reference", "file", "data"]
"""How a video travels: by its uuid alone, as a ``file://`` URL, or inside the request as a ``data:`` URL."""

_SHOWN_PAUSES = 8
"""Pauses of an answer that are named, the longest."""
_IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
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
    detail: Detail | None = None
    """Where it is a part of an answer's video, shown once more."""
    label: str = ""
    """What stands before it."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """The person whom the system was asked to be."""

    introduction: str
    path: Path
    sha256: str


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
    portrait: Portrait | None = None

    def digest(self, rubric: str) -> str:
        """SHA-256 of the messages with this rubric: texts and the videos' names, however they travel."""
        person = [] if self.portrait is None else [self.portrait.introduction, self.portrait.sha256]
        shown = [name for video in self.videos for name in ([video.label] if video.detail else []) + [video.uuid]]
        texts = [self.preamble, *person, *shown, self.transcript, rubric]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def video_uuid(facts: ClipFacts, sampling: Sampling) -> str:
    """A hash of the clip's content and of the sampling: a server keeps what it made of the clip under this name."""
    settings = json.dumps([facts.sha256, sampling.frames, sampling.size])
    return hashlib.sha256(settings.encode()).hexdigest()[:32]


def make_case(
    conversation: PlayedConversation,
    prompts: Prompts,
    sampling: Sampling,
    *,
    seen: bool = True,
    word_budget: int | None = None,
) -> Case:
    """Put a complete conversation into the judge's form.

    Args:
        conversation: with whatever the prompts' mode shows (:attr:`interbench.judge.base.Judge.shown`).
        prompts: what is said around it.
        sampling: what is seen of each video.
        seen: whether that can be checked; if not, the judge is told no number of stills.
        word_budget: words of each answer that the judge is given; None: all.

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
        label = f"Video {number}:\n" if number == 1 else f"\nVideo {number}:\n"
        if turn.copy is None:
            shown = turn.facts
            videos.append(Video(turn.index, turn.clip, shown, video_uuid(shown, sampling), label=label))
        else:
            copy, shown = turn.copy, turn.copy.facts
            name = video_uuid(shown, sampling)
            videos.append(Video(turn.index, copy.path, shown, name, turn.facts.sha256, copy.because, label=label))
        videos += [_detail_video(turn.index, number, detail, sampling) for detail in turn.details]
        author = conversation.scenario.turns[number - 1]
        turns.append(_quoted(turn, number, author, prompts.mode, sampling if seen else None, shown, word_budget))
    said = tuple(text for turn in turns for text in (turn.user, turn.avatar) if text)
    name = f"{conversation.system}/{conversation.scenario.id}"
    transcript = f"\n\n{prompts.conversation(turns)}\n\n"
    return Case(name, tuple(videos), prompts.preamble, transcript, said, _portrait(conversation, prompts))


def _detail_video(turn: int, number: int, detail: Detail, sampling: Sampling) -> Video:
    parts = ", then ".join(f"{start:.1f} to {end:.1f} s" for start, end in detail.parts)
    label = f"\nDetails of video {number}, {detail.fps} stills per second: {parts}:\n"
    return Video(turn, detail.path, detail.facts, video_uuid(detail.facts, sampling), detail=detail, label=label)


def _portrait(conversation: PlayedConversation, prompts: Prompts) -> Portrait | None:
    path, persona = conversation.portrait, conversation.persona
    if path is None or not prompts.shows_portrait:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise JudgeError(
            f"The portrait {path} can't be read to be shown to the judge ({error.strerror}). Put the scenario set's "
            f"portraits back, or judge in the mode published, which shows none."
        ) from None
    described = "" if persona is None else f"{persona.appearance} {persona.background}"
    return Portrait(prompts.portrait(described) + "\n", path, hashlib.sha256(content).hexdigest())


def _quoted(
    turn: PlayedTurn,
    number: int,
    author: Turn,
    mode: Mode,
    sampling: Sampling | None,
    facts: ClipFacts,
    word_budget: int | None,
) -> QuotedTurn:
    assert turn.transcript is not None
    words = turn.transcript.text.strip().split()
    cut = word_budget if word_budget is not None and len(words) > word_budget else None
    avatar = turn.transcript.text.strip() if cut is None else " ".join(words[:cut])
    if mode == "published":
        return QuotedTurn(turn.index, turn.user_text, number, avatar)
    expected = mode == "observed+keypoints"
    return QuotedTurn(
        turn.index,
        turn.user_text,
        number,
        avatar,
        mood=turn.user_mood,
        seconds=facts.frames / facts.fps,
        stills=None if sampling is None else stills(sampling, facts.frames, facts.fps),
        details=bool(turn.details),
        speech=None if turn.speaking is None else _spoken(turn.speaking, len(words)),
        no_speech=_no_speech(turn),
        waited=_waited(turn.timings),
        cut_after=cut,
        visible=author.visible_act,
        points=tuple(point.text for point in author.key_points if expected and not point.must_not),
        must_not=tuple(point.text for point in author.key_points if expected and point.must_not),
    )


def _spoken(speaking: Speaking, words: int) -> SpokenFacts:
    seconds = speaking.end_s - speaking.start_s
    longest = sorted(speaking.pauses, key=lambda pause: pause[0] - pause[1])[:_SHOWN_PAUSES]
    return SpokenFacts(
        speaking.start_s,
        speaking.end_s,
        words / seconds if words and seconds > 0 else None,
        tuple(sorted(longest)),
        len(speaking.pauses) - len(longest),
    )


def _no_speech(turn: PlayedTurn) -> str:
    if turn.speaking is not None:
        return ""
    silent = turn.facts is not None and not turn.facts.audible
    return "nothing is heard in this video" if silent else "when speech is heard was not measured"


def _waited(timings: Timings | None) -> Waited | None:
    """None where the answer was taken up after an interruption: its times are no waiting of a user's."""
    if timings is None or timings.resumed:
        return None
    return Waited(timings.first_frame_s, timings.first_speech_s)


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
        if self._case.portrait is not None:
            content.append({"type": "text", "text": self._case.portrait.introduction})
            content.append(image_part(self._case.portrait.path))
        for video in self._case.videos:
            content.append({"type": "text", "text": video.label})
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


def image_part(path: Path) -> dict[str, Any]:
    """A picture as a part of a message; it is small, and always travels with it.

    Raises:
        JudgeError: the file can't be read.
    """
    try:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise JudgeError(f"The picture {path} can't be read to be sent to the judge ({error.strerror}).") from None
    media_type = _IMAGE_TYPES.get(path.suffix.lower(), "image/png")
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}


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

"""The offline judge: counts and compares what can be counted and compared, under names of its own.

Its measures (:data:`interbench.domain.dimensions.MEASURES`) are not the paper's dimensions. Formulas and limits are in
``docs/signals.md``. A measured share x in 0..1 becomes the score 1 + 9x.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from interbench.base.errors import MediaError, UsageError
from interbench.domain import keypoints
from interbench.domain.dimensions import MEASURE_KEYS, dimension
from interbench.domain.records import Missing, PlayedConversation, Verdict
from interbench.judge.base import Judge, JudgeTask
from interbench.judge.signals import appearance, content
from interbench.judge.signals.faces import SIDE as SEARCHED_SIDE
from interbench.judge.signals.faces import detector, largest_face
from interbench.media.pool import MediaPool

LOWEST, HIGHEST = 1.0, 10.0
VERSION = 3
"""2: frames as a player shows them. 3: names of its own, forbidden points, repetition, exposure and zoom, stills."""

_REMEMBERED, _PAIRS_REMEMBERED = 64, 1024
"""Clips of which is kept what was seen, and pairs of clips of which is kept how alike they are."""
K = TypeVar("K")
V = TypeVar("V")
_SEARCHED = (0, appearance.FRAMES // 2, appearance.FRAMES - 1)
"""Which of a clip's frames are searched for a face."""


class Signals(Judge):
    """Offline: counts key points said (kp-recall, kp-memory) and words shared (lexical), compares looks (look).

    Args:
        media: decodes the clips; without one the judge starts its own.
        word_budget: of each reply only so many words count, as if every system had to be as brief; None: all of them.
        faces: look for faces, where the detector is installed.
    """

    label = "signals"
    comparable = False
    dimensions = MEASURE_KEYS
    without_transcripts = frozenset({"look"})

    def __init__(self, media: MediaPool | None = None, word_budget: int | None = None, faces: bool = True) -> None:
        if word_budget is not None and word_budget < 1:
            raise UsageError(f"A budget of {word_budget} words leaves nothing to be counted; give at least 1.")
        self._given = media
        self._own: MediaPool | None = None
        self._budget = word_budget
        self._wants_faces = faces
        self._seen: OrderedDict[str, _Sight] = OrderedDict()
        self._looking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._alike: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._detector = detector() if faces else None

    def identity(self) -> Mapping[str, Any]:
        return {
            "judge": "signals",
            "version": VERSION,
            "scale": [LOWEST, HIGHEST],
            "appearance": {
                name.lower(): getattr(appearance, name)
                for name in (
                    "TAKEN", "SIDE", "FRAMES", "CELL", "EDGE_WEIGHT", "TOLERANCE", "MOST_MOTION", "SCALE", "OFFSET",
                    "KEPT", "BLANK", "FROZEN", "NOISE", "LASTING", "PURE", "BARS", "BAR_SHARE",
                )
            }
            | {"zooms": list(appearance.ZOOMS), "gain": list(appearance.GAIN)},
            "faces": self._detector,
            "content": {
                "chance_share": content.CHANCE_SHARE,
                "full_share": content.FULL_SHARE,
                "echo": content.ECHO,
            },
            "key_points": {"gap": keypoints.GAP, "content_share": keypoints.CONTENT_SHARE},
            **({} if self._budget is None else {"word_budget": self._budget}),
        }  # fmt: skip

    async def start(self) -> None:
        if self._given is None:
            self._own = MediaPool(self.max_conversations)

    async def stop(self) -> None:
        if self._own is not None:
            await self._own.close()
            self._own = None

    async def forget(self) -> bool:
        self._seen.clear()
        self._alike.clear()
        return True

    def summary(self) -> Mapping[str, Any]:
        if self._detector is not None or not self._wants_faces:
            return {}
        return {
            "remarks": [
                "No face detector is installed: `look` compares whole pictures and can't tell whether a person is in "
                "them (pip install 'interbench[faces]')."
            ]
        }

    async def judge(self, conversation: PlayedConversation, tasks: Sequence[JudgeTask]) -> AsyncIterator[Verdict]:
        measured: dict[str, dict[str, Any]] = {}
        # What needs no decoding first.
        for task in sorted(tasks, key=lambda task: task.dimension == "look"):
            if task.dimension not in measured:
                measured[task.dimension] = await self._measure(conversation, task.dimension)
            yield Verdict(
                conversation.system, conversation.scenario.id, task.dimension, task.sample, **measured[task.dimension]
            )

    async def _measure(self, conversation: PlayedConversation, key: str) -> dict[str, Any]:
        """A verdict's score or missing, reasons and evidence."""
        counts: Mapping[str, Callable[[PlayedConversation, Sequence[str]], dict[str, Any]]] = {
            "kp-recall": _recall,
            "kp-memory": _memory,
            "lexical": _overlap,
        }
        if key == "look":
            return await self._same_look(conversation)
        if key in counts:
            replies = [content.first_words(reply, self._budget) for reply in _replies(conversation)]
            return await asyncio.to_thread(counts[key], conversation, replies)
        return _missing(
            Missing.NOT_MEASURABLE,
            f"{dimension(key).name} takes eyes and an understanding of language; the offline judge does not score it. "
            "Use a vision-language judge.",
        )

    async def _same_look(self, conversation: PlayedConversation) -> dict[str, Any]:
        if len(conversation.turns) < 2:
            return _missing(Missing.NOT_APPLICABLE, "One clip alone has nothing to look like.")
        try:
            sights = [await self._sight(conversation, index) for index in range(len(conversation.turns))]
        except MediaError as error:
            return _missing(Missing.CLIP_UNREADABLE, f"A clip can't be read any more: {error}")
        return await asyncio.to_thread(_similarities, sights, self._detector, self._how_alike)

    async def _sight(self, conversation: PlayedConversation, index: int) -> _Sight:
        """What is seen of a turn's clip. Edited copies of a conversation share most of their clips: they are kept."""
        media = self._given or self._own
        clip, facts = conversation.turns[index].clip, conversation.turns[index].facts
        if media is None or clip is None:
            raise RuntimeError("the judge was not started, or was handed an incomplete conversation")
        digest = "" if facts is None else facts.sha256
        if not digest:
            return await self._look(media, clip, digest)
        # Conversations are judged side by side: whoever wants a clip that another is just looking at waits for that.
        async with self._looking.setdefault(digest, asyncio.Lock()):
            sight = self._seen.pop(digest, None) or await self._look(media, clip, digest)
            _remember(self._seen, digest, sight, _REMEMBERED)
        return sight

    async def _look(self, media: MediaPool, clip: Path, digest: str) -> _Sight:
        side = appearance.TAKEN if self._detector is None else SEARCHED_SIDE
        frames = await media.frames(clip, appearance.FRAMES, (side, side))
        return await asyncio.to_thread(_look_at, frames, self._detector, digest)

    def _how_alike(self, one: _Sight, other: _Sight) -> float:
        pair = (one.digest, other.digest)
        if all(pair) and (known := self._alike.get(pair)) is not None:
            return known
        whole = appearance.similarity(one.whole, other.whole)
        if one.person is not None and other.person is not None:
            whole = (whole + appearance.similarity(one.person, other.person)) / 2
        if all(pair):
            _remember(self._alike, pair, whole, _PAIRS_REMEMBERED)
        return whole


@dataclass(frozen=True, slots=True)
class _Sight:
    """What is seen of a clip."""

    digest: str
    """SHA-256 of its file; empty where it is not known."""
    whole: appearance.Look
    person: appearance.Look | None
    """Around the face, where one was looked for and found."""


def _remember(shelf: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    shelf[key] = value
    while len(shelf) > most:
        shelf.popitem(last=False)


def _look_at(frames: npt.NDArray[np.uint8], detector: str | None, digest: str) -> _Sight:
    """With a ``detector`` frames have twice the sides, and faces are looked for."""
    whole = appearance.look(frames if detector is None else _halved(frames))
    person = None
    if detector is not None and not whole.nothing and not whole.still:
        boxes = [box for n in _SEARCHED if (box := largest_face(frames[n])) is not None]
        person = appearance.look(appearance.crops(frames, boxes)) if boxes else None
    return _Sight(digest, whole, person)


def _similarities(
    sights: Sequence[_Sight], detector: str | None, how_alike: Callable[[_Sight, _Sight], float]
) -> dict[str, Any]:
    """How alike clips look."""
    empty = [f"turn {index}: {one.whole.nothing}" for index, one in enumerate(sights, start=1) if one.whole.nothing]
    if empty:
        return _missing(
            Missing.NO_PICTURE,
            f"Nothing is to be seen that could look the same ({'; '.join(empty)}). Such clips may well be alike, which "
            "is no coherence.",
        )
    still = [str(index) for index, one in enumerate(sights, start=1) if one.whole.still]
    if still:
        return _missing(
            Missing.FROZEN,
            f"Nothing moves in the clip of turn {', '.join(still)}: a still picture always looks like itself, which is "
            "no coherence.",
        )
    if detector is not None:
        faceless = [str(index) for index, one in enumerate(sights, start=1) if one.person is None]
        if faceless:
            return _missing(Missing.NO_FACE, f"No face is found in the clip of turn {', '.join(faceless)}.")

    def alike(one: int, other: int) -> float:
        return how_alike(sights[one], sights[other])

    pairs = [
        {
            "turn": index + 1,
            "to_first": round(alike(0, index), 4),
            "to_previous": round(alike(index - 1, index), 4),
        }
        for index in range(1, len(sights))
    ]
    kept = [min(pair["to_first"], pair["to_previous"]) for pair in pairs]
    worst = int(np.argmin(kept))
    what = (
        "Measured are colours and structure by place, half of it around the face that was found; not whose face it is."
        if detector is not None
        else "Measured are colours and structure by place; faces were not looked for (no detector, or not wanted)."
    )
    return _scored(
        float(np.mean(kept)),
        f"The look of the clips agrees to {np.mean(kept):.0%} on average; least in turn {pairs[worst]['turn']} "
        f"({kept[worst]:.0%}). {what}",
        {"similarities": pairs, "faces": detector},
    )


def _halved(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Frames at half their width and height, which is :data:`appearance.TAKEN`."""
    count, height, width, depth = frames.shape
    means = frames.reshape(count, height // 2, 2, width // 2, 2, depth).mean(axis=(2, 4))
    halved: npt.NDArray[np.uint8] = np.round(means).astype(np.uint8)
    return halved


def _replies(conversation: PlayedConversation) -> list[str]:
    return ["" if turn.transcript is None else turn.transcript.text for turn in conversation.turns]


def _lines(conversation: PlayedConversation) -> list[str]:
    return [turn.user_text for turn in conversation.turns]


def _mute(replies: Sequence[str]) -> str:
    """A sentence on turns in which nothing was said; empty if there are none."""
    mute = [str(index) for index, text in enumerate(replies, start=1) if not text.strip()]
    return f" Nothing is said in turn {', '.join(mute)}." if mute else ""


def _overlap(conversation: PlayedConversation, replies: Sequence[str]) -> dict[str, Any]:
    found = content.overlaps(conversation.scenario.turns, replies, _lines(conversation))
    mean = float(np.mean([reply.overlap for reply in found]))
    poor = [f"turn {reply.turn} ({reply.overlap:.0%})" for reply in found if reply.overlap < 0.5]
    return _scored(
        mean,
        f"The replies use the words of the reference and the key points to {mean:.0%}"
        + (f"; hardly in {', '.join(poor)}." if poor else ".")
        + _mute(replies),
        {"turns": [asdict(reply) for reply in found]},
    )


def _recall(conversation: PlayedConversation, replies: Sequence[str]) -> dict[str, Any]:
    return _share_said(conversation, replies, lambda point: True, "key points")


def _memory(conversation: PlayedConversation, replies: Sequence[str]) -> dict[str, Any]:
    return _share_said(conversation, replies, lambda point: bool(point.needs), "key points that need earlier turns")


def _share_said(
    conversation: PlayedConversation,
    replies: Sequence[str],
    counts: Callable[[content.PointHeard], bool],
    kind: str,
) -> dict[str, Any]:
    """The share of the points that count; none of a turn in which something is said that must not be said."""
    heard = content.points_heard(conversation.scenario.turns, replies, _lines(conversation))
    spoiled = {point.turn for point in heard if point.must_not and point.said}
    points = [point for point in heard if counts(point) and not point.must_not]
    if not points:
        return _missing(Missing.NO_KEY_POINTS, f"The scenario has no {kind}.")
    said = sum(point.said and point.turn not in spoiled for point in points)
    told = f"{said} of {len(points)} {kind} said"
    unsaid = [f"“{point.text}” (turn {point.turn})" for point in points if not point.said]
    wrong = [f"“{point.text}” (turn {point.turn})" for point in heard if point.must_not and point.said]
    repeated = [str(turn) for turn in sorted({point.turn for point in points if point.repeated})]
    return _scored(
        said / len(points),
        told
        + (f"; missing: {'; '.join(unsaid)}." if unsaid else ".")
        + (f" Said, and must not be, so that nothing of its turn counts: {'; '.join(wrong)}." if wrong else "")
        + (f" Only repeated from what was said before in turn {', '.join(repeated)}." if repeated else "")
        + _mute(replies),
        {"said": said, "of": len(points), "points": [asdict(point) for point in heard if counts(point)]},
    )


def _scored(share: float, reasons: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
    score = LOWEST + (HIGHEST - LOWEST) * share
    return {"score": score, "reasons": reasons, "evidence": {"share": round(share, 6), **evidence}}


def _missing(why: Missing, reasons: str) -> dict[str, Any]:
    return {"missing": why, "reasons": reasons}

"""The offline judge: scores what plain measurement can tell, and says of the rest that it can't.

Formulas and limits are in ``docs/signals.md``. A measured share x in 0..1 becomes the score 1 + 9x.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from interbench.base.errors import MediaError
from interbench.domain import keypoints
from interbench.domain.records import Missing, PlayedConversation, Verdict
from interbench.judge.base import Judge, JudgeTask
from interbench.judge.signals import appearance, content
from interbench.media.pool import MediaPool

LOWEST, HIGHEST = 1.0, 10.0

_UNMEASURED = {
    "EA": "Whether expression fits the content takes an eye for faces",
    "NI": "Eye contact, nods and signs of listening take an eye for faces",
    "CN": "Whether it feels like a dialogue is no matter of measurement",
    "LC": "Contradictions and errors of fact take an understanding of language",
    "OIE": "The experience as a whole is no matter of measurement",
}


class Signals(Judge):
    """Offline: measures Multi-Video Coherence, Semantic Relevance, Information Completeness and Context Understanding.

    Args:
        media: decodes the clips; without one the judge starts its own.
    """

    label = "signals"
    comparable = False
    without_transcripts = frozenset({"MVC", *_UNMEASURED})

    def __init__(self, media: MediaPool | None = None) -> None:
        self._given = media
        self._own: MediaPool | None = None

    def identity(self) -> Mapping[str, Any]:
        return {
            "judge": "signals",
            "version": 2,  # 2: frames as a player shows them
            "scale": [LOWEST, HIGHEST],
            "appearance": {
                "side": appearance.SIDE,
                "frames": appearance.FRAMES,
                "cell": appearance.CELL,
                "edge_weight": appearance.EDGE_WEIGHT,
                "tolerance": appearance.TOLERANCE,
                "most_motion": appearance.MOST_MOTION,
                "scale": appearance.SCALE,
                "blank": appearance.BLANK,
            },
            "content": {"chance_share": content.CHANCE_SHARE, "full_share": content.FULL_SHARE},
            "key_points": {"gap": keypoints.GAP, "content_share": keypoints.CONTENT_SHARE},
        }

    async def start(self) -> None:
        if self._given is None:
            self._own = MediaPool(self.max_conversations)

    async def stop(self) -> None:
        if self._own is not None:
            await self._own.close()
            self._own = None

    async def judge(self, conversation: PlayedConversation, tasks: Sequence[JudgeTask]) -> AsyncIterator[Verdict]:
        measured: dict[str, dict[str, Any]] = {}
        # What needs no decoding first.
        for task in sorted(tasks, key=lambda task: task.dimension == "MVC"):
            if task.dimension not in measured:
                measured[task.dimension] = await self._measure(conversation, task.dimension)
            yield Verdict(
                conversation.system, conversation.scenario.id, task.dimension, task.sample, **measured[task.dimension]
            )

    async def _measure(self, conversation: PlayedConversation, dimension: str) -> dict[str, Any]:
        """A verdict's score or missing, reasons and evidence."""
        match dimension:
            case "MVC":
                return await self._coherence(conversation)
            case "SR":
                return await asyncio.to_thread(_relevance, conversation)
            case "IC":
                return await asyncio.to_thread(_completeness, conversation)
            case "CU":
                return await asyncio.to_thread(_context, conversation)
        why = _UNMEASURED.get(dimension, "This is no matter of measurement")
        return _missing(
            Missing.NOT_MEASURABLE, f"{why}; the offline judge does not score it. Use a vision-language judge."
        )

    async def _coherence(self, conversation: PlayedConversation) -> dict[str, Any]:
        if len(conversation.turns) < 2:
            return _missing(Missing.NOT_APPLICABLE, "One clip alone has nothing to be coherent with.")
        try:
            frames = [await self._frames(conversation, index) for index in range(len(conversation.turns))]
        except MediaError as error:
            return _missing(Missing.CLIP_UNREADABLE, f"A clip can't be read any more: {error}")
        return await asyncio.to_thread(_similarities, frames)

    async def _frames(self, conversation: PlayedConversation, index: int) -> npt.NDArray[np.uint8]:
        media = self._given or self._own
        clip = conversation.turns[index].clip
        if media is None or clip is None:
            raise RuntimeError("the judge was not started, or was handed an incomplete conversation")
        return await media.frames(clip, appearance.FRAMES, (appearance.SIDE, appearance.SIDE))


def _similarities(clips: Sequence[npt.NDArray[np.uint8]]) -> dict[str, Any]:
    looks = [appearance.describe(frames) for frames in clips]
    blank = [str(index) for index, look in enumerate(looks, start=1) if look.blank]
    if blank:
        return _missing(
            Missing.NO_PICTURE,
            f"Nothing is to be seen in the clip of turn {', '.join(blank)}: its frames are of one colour. Blank clips "
            "look alike, which is not coherence.",
        )
    pairs = [
        {
            "turn": index + 1,
            "to_first": round(appearance.similarity(looks[0], looks[index]), 4),
            "to_previous": round(appearance.similarity(looks[index - 1], looks[index]), 4),
        }
        for index in range(1, len(looks))
    ]
    kept = [min(pair["to_first"], pair["to_previous"]) for pair in pairs]
    worst = int(np.argmin(kept))
    return _scored(
        float(np.mean(kept)),
        f"The look of the clips agrees to {np.mean(kept):.0%} on average; least in turn {pairs[worst]['turn']} "
        f"({kept[worst]:.0%}). Measured are colours and structure by place, not faces.",
        {"similarities": pairs},
    )


def _replies(conversation: PlayedConversation) -> list[str]:
    return ["" if turn.transcript is None else turn.transcript.text for turn in conversation.turns]


def _mute(conversation: PlayedConversation) -> str:
    """A sentence on turns in which nothing was said; empty if there are none."""
    mute = [str(index) for index, text in enumerate(_replies(conversation), start=1) if not text.strip()]
    return f" Nothing is said in turn {', '.join(mute)}." if mute else ""


def _relevance(conversation: PlayedConversation) -> dict[str, Any]:
    found = content.relevances(conversation.scenario.turns, _replies(conversation))
    mean = float(np.mean([reply.relevance for reply in found]))
    poor = [f"turn {reply.turn} ({reply.relevance:.0%})" for reply in found if reply.relevance < 0.5]
    return _scored(
        mean,
        f"The replies keep to what was asked to {mean:.0%}"
        + (f"; hardly {', '.join(poor)}." if poor else ".")
        + _mute(conversation),
        {"turns": [asdict(reply) for reply in found]},
    )


def _completeness(conversation: PlayedConversation) -> dict[str, Any]:
    heard = content.points_heard(conversation.scenario.turns, _replies(conversation))
    return _share_said(conversation, heard, "key points")


def _context(conversation: PlayedConversation) -> dict[str, Any]:
    heard = content.points_heard(conversation.scenario.turns, _replies(conversation))
    return _share_said(conversation, [point for point in heard if point.needs], "key points that need earlier turns")


def _share_said(conversation: PlayedConversation, points: Sequence[content.PointHeard], kind: str) -> dict[str, Any]:
    if not points:
        return _missing(Missing.NO_KEY_POINTS, f"The scenario has no {kind}.")
    said = sum(point.said for point in points)
    unsaid = "; ".join(f"“{point.text}” (turn {point.turn})" for point in points if not point.said)
    return _scored(
        said / len(points),
        f"{said} of {len(points)} {kind} said" + (f"; missing: {unsaid}." if unsaid else ".") + _mute(conversation),
        {"said": said, "of": len(points), "points": [asdict(point) for point in points]},
    )


def _scored(share: float, reasons: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
    score = LOWEST + (HIGHEST - LOWEST) * share
    return {"score": score, "reasons": reasons, "evidence": {"share": round(share, 6), **evidence}}


def _missing(why: Missing, reasons: str) -> dict[str, Any]:
    return {"missing": why, "reasons": reasons}

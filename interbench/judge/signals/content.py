"""What the signals judge reads off transcripts: key points said, and whether a reply keeps to its turn's matter.

Plain counting of words, without a model; ``docs/signals.md`` explains the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interbench.domain.keypoints import covered
from interbench.domain.scenario import KeyPoint, Turn
from interbench.domain.words import content_words

CHANCE_SHARE = 0.05
"""Share of a reply's words that belong to a turn's matter by chance: the 75th percentile over replies to other turns of
other scenarios of the bundled set."""
FULL_SHARE = 0.30
"""Share from which on a reply counts as wholly on topic: the 25th percentile over the bundled set's replies against the
key points alone, i.e. what a right answer in other words reaches."""


@dataclass(frozen=True, slots=True)
class PointHeard:
    """One key point and whether the reply of its turn says it."""

    turn: int
    text: str
    needs: tuple[int, ...]
    said: bool


@dataclass(frozen=True, slots=True)
class Relevance:
    """How far a reply addresses its turn, 0 to 1, and what that comes from."""

    turn: int
    relevance: float
    on_topic_share: float
    """Weighted share of the reply's own words that belong to the turn's matter."""
    on_topic_words: tuple[str, ...]
    points_said: int
    """Of the key points that need no earlier turn."""
    points: int


def points_heard(turns: Sequence[Turn], replies: Sequence[str]) -> list[PointHeard]:
    """Every key point of every turn, searched in that turn's reply."""
    return [
        PointHeard(index, point.text, point.needs, covered(point, reply))
        for index, (turn, reply) in enumerate(zip(turns, replies, strict=True), start=1)
        for point in turn.key_points
    ]


def relevances(turns: Sequence[Turn], replies: Sequence[str]) -> list[Relevance]:
    """How far each reply addresses its turn: ``1 - (1 - said) * (1 - on topic)``.

    ``said`` is the share of the turn's key points that need no earlier turn and were said (0 if there are none).
    ``on topic`` grows from 0 to 1 as the on-topic share grows from :data:`CHANCE_SHARE` to :data:`FULL_SHARE`. Either
    is enough: a terse reply says the points, one in other words shares the vocabulary.
    """
    matters = [_matter(turn) for turn in turns]
    questions = [content_words(turn.text) for turn in turns]
    results = []
    for index, (turn, reply) in enumerate(zip(turns, replies, strict=True)):
        # Words of the question prove nothing: repeating it is no answer.
        own = content_words(reply) - questions[index]
        shared = own & matters[index]
        # A word that several turns of the conversation are about tells little about which of them is addressed.
        weight = {
            word: 1 / max(1, sum(word in m or word in q for m, q in zip(matters, questions, strict=True)))
            for word in own
        }
        share = sum(weight[word] for word in shared) / sum(weight.values()) if own else 0.0
        on_topic = min(max((share - CHANCE_SHARE) / (FULL_SHARE - CHANCE_SHARE), 0.0), 1.0)
        free = [point for point in turn.key_points if not point.needs]
        said = sum(covered(point, reply) for point in free)
        relevance = 1 - (1 - (said / len(free) if free else 0.0)) * (1 - on_topic)
        results.append(Relevance(index + 1, relevance, share, tuple(sorted(shared)), said, len(free)))
    return results


def _matter(turn: Turn) -> frozenset[str]:
    """The words that a good answer to ``turn`` may be expected to use."""
    texts = [turn.reply, *(text for point in turn.key_points for text in _phrasings(point))]
    return frozenset().union(*(content_words(text) for text in texts))


def _phrasings(point: KeyPoint) -> tuple[str, ...]:
    return (point.text, *point.accept)

"""What the signals judge reads off transcripts: key points said, and whose words a reply uses.

Plain counting of words, without a model; ``docs/signals.md`` explains the formulas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from interbench.domain.keypoints import covered
from interbench.domain.phrases import affirms
from interbench.domain.scenario import KeyPoint, Turn
from interbench.domain.words import content_words

CHANCE_SHARE = 0.06
"""Share of a reply's words that belong to a turn's matter by chance: the 75th percentile over replies to other turns of
other scenarios, on the half of the bundled set that thresholds are fitted on (``benchmarks/signals_thresholds.py``)."""
FULL_SHARE = 0.41
"""Share from which on a reply counts as wholly on topic: on the same half the 25th percentile over replies against the
key points alone, i.e. what a right answer in other words reaches."""
ECHO = 7
"""So many words in a row that were said before, by the user or in an earlier answer, are a repetition and no recall:
the fewest with which no reference reply of that half loses a point."""

_PUT_ASIDE = " hm hm hm "
"""Takes the place of what was repeated: words without meaning, and more of them than a phrase may be interrupted by."""
_RAW = re.compile(r"\S+")
_NOT_SPOKEN = re.compile(r"[^\w]+")


@dataclass(frozen=True, slots=True)
class PointHeard:
    """One key point and whether the reply of its turn says it."""

    turn: int
    text: str
    needs: tuple[int, ...]
    said: bool
    must_not: bool = False
    """A good answer does not say it."""
    repeated: bool = False
    """It is said only in words that were said before, which is no recall; :attr:`said` is False then."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far a reply uses the words of its turn's matter, 0 to 1, and what that comes from."""

    turn: int
    overlap: float
    shared: float
    """Weighted share of the reply's own words that belong to the turn's matter."""
    shared_words: tuple[str, ...]


def said_before(turns: Sequence[Turn], lines: Sequence[str], replies: Sequence[str]) -> list[tuple[str, ...]]:
    """For every turn what a reply to it may repeat: the user's lines up to it, and the replies before it, those that
    were given and the author's."""
    references = [turn.reply for turn in turns]
    return [(*lines[: index + 1], *replies[:index], *references[:index]) for index in range(len(replies))]


def own_words(reply: str, before: Iterable[str]) -> str:
    """``reply`` without the runs of :data:`ECHO` words or more that stand in one of the texts ``before`` as well.

    A whole text before of four words or more counts as a run, so that repeating a short line is repeating, too.
    """
    places = [(found.start(), found.end(), _bare(found[0])) for found in _RAW.finditer(reply)]
    places = [place for place in places if place[2]]
    tokens = [token for _, _, token in places]
    repeated = [False] * len(tokens)
    for run in _runs(before):
        size = len(next(iter(run), ()))
        for start in range(len(tokens) - size + 1) if size else ():
            if tuple(tokens[start : start + size]) in run:
                repeated[start : start + size] = [True] * size
    kept = []
    for index, (start, end, _) in enumerate(places):
        if not repeated[index]:
            kept.append(reply[start:end])
        elif not index or not repeated[index - 1]:
            kept.append(_PUT_ASIDE.strip())
    return " ".join(kept)


def _runs(texts: Iterable[str]) -> Iterator[frozenset[tuple[str, ...]]]:
    for text in texts:
        tokens = [bare for raw in text.split() if (bare := _bare(raw))]
        size = min(ECHO, len(tokens))
        if size >= min(4, ECHO):
            yield frozenset(tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1))


def _bare(raw: str) -> str:
    return _NOT_SPOKEN.sub("", raw.casefold().replace("’", "'"))


def first_words(reply: str, budget: int | None) -> str:
    """The first ``budget`` words of a reply; all of it for None."""
    return reply if budget is None else " ".join(reply.split()[:budget])


def points_heard(turns: Sequence[Turn], replies: Sequence[str], lines: Sequence[str] | None = None) -> list[PointHeard]:
    """Every key point of every turn, searched in that turn's reply.

    Args:
        turns: of the scenario.
        replies: what was heard of the system, by turn.
        lines: what the user said, by turn; None: the turns' own lines.
    """
    before = said_before(turns, [turn.text for turn in turns] if lines is None else lines, replies)
    heard = []
    for index, (turn, reply) in enumerate(zip(turns, replies, strict=True)):
        own = own_words(reply, before[index])
        for point in turn.key_points:
            if point.must_not:
                said = any(affirms(phrase, reply) for phrase in point.accept)
                heard.append(PointHeard(index + 1, point.text, point.needs, said, must_not=True))
                continue
            said = covered(point, own)
            repeated = not said and covered(point, reply)
            heard.append(PointHeard(index + 1, point.text, point.needs, said, repeated=repeated))
    return heard


def overlaps(turns: Sequence[Turn], replies: Sequence[str], lines: Sequence[str] | None = None) -> list[Overlap]:
    """How far each reply uses the words of its turn's matter.

    The overlap grows from 0 to 1 as the shared share of the reply's own words grows from :data:`CHANCE_SHARE` to
    :data:`FULL_SHARE`. Arguments as for :func:`points_heard`.
    """
    asked = [turn.text for turn in turns] if lines is None else lines
    before = said_before(turns, asked, replies)
    matters = [matter(turn) for turn in turns]
    questions = [content_words(line) for line in asked]
    results = []
    for index, reply in enumerate(replies):
        # Words of the question prove nothing: repeating it is no answer.
        own = content_words(own_words(reply, before[index])) - questions[index]
        shared = own & matters[index]
        # A word that several turns of the conversation are about tells little about which of them is addressed.
        weight = {
            word: 1 / max(1, sum(word in m or word in q for m, q in zip(matters, questions, strict=True)))
            for word in own
        }
        share = sum(weight[word] for word in shared) / sum(weight.values()) if own else 0.0
        overlap = min(max((share - CHANCE_SHARE) / (FULL_SHARE - CHANCE_SHARE), 0.0), 1.0)
        results.append(Overlap(index + 1, overlap, share, tuple(sorted(shared))))
    return results


def matter(turn: Turn) -> frozenset[str]:
    """The words that a good answer to ``turn`` may be expected to use."""
    texts = [turn.reply, *(text for point in turn.key_points if not point.must_not for text in _phrasings(point))]
    return frozenset().union(*(content_words(text) for text in texts))


def _phrasings(point: KeyPoint) -> tuple[str, ...]:
    return (point.text, *point.accept)

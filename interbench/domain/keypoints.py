"""Whether a text says a fact: plain matching of words, without a model.

Used by the offline judge and by the checks of the scenario set. Both sides, the key point and the text, go through
:func:`interbench.domain.words.words`, so that spelling, case, punctuation, accents, contractions, inflection and the
way numbers are written don't matter: ``"Three hundred and thirty metres"`` and ``"330 meters"`` are the same words.

A key point is covered if one of its ``accept`` phrases is *said*: all its words occur in their order, with at most
:data:`GAP` other words between one and the next. Without ``accept`` phrases, at least :data:`CONTENT_SHARE` of the
content words of its ``text`` must occur, in any order.

Out of scope: negation and paraphrase. "It is not 330 metres tall" covers "330 metres"; a fact told in words that no
``accept`` phrase foresees isn't found. Whether a fact is *true* of the conversation is a question for a judge with a
language model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from interbench.domain.words import content_words, words

if TYPE_CHECKING:
    from interbench.domain.scenario import KeyPoint

GAP = 2
"""How many other words may stand between two neighbouring words of a phrase."""
CONTENT_SHARE = 0.6
"""Share of the content words of ``text`` that must occur where a key point has no ``accept`` phrases."""


def says(phrase: str, text: str) -> bool:
    """Whether the words of ``phrase`` occur in ``text`` in their order, at most :data:`GAP` others between neighbours.

    An empty phrase (nothing but punctuation or articles) is never said.
    """
    wanted, heard = words(phrase), words(text)
    if not wanted:
        return False
    # ends: where in `heard` the part of the phrase matched so far can end.
    ends = [index for index, word in enumerate(heard) if word == wanted[0]]
    for word in wanted[1:]:
        ends = sorted({j for i in ends for j in range(i + 1, min(i + 2 + GAP, len(heard))) if heard[j] == word})
    return bool(ends)


def containment(part: str, whole: str) -> float:
    """Share of the content words of ``part`` that occur in ``whole``: |P ∩ W| / |P|; 0 if ``part`` has none."""
    mine = content_words(part)
    return len(mine & content_words(whole)) / len(mine) if mine else 0.0


def jaccard(one: Iterable[object], other: Iterable[object]) -> float:
    """|A ∩ B| / |A ∪ B| of two collections taken as sets; 0 if both are empty."""
    a, b = set(one), set(other)
    return len(a & b) / len(a | b) if a or b else 0.0


def shingles(text: str, size: int = 3) -> frozenset[tuple[str, ...]]:
    """All runs of ``size`` consecutive normalised words of ``text``."""
    said = words(text)
    return frozenset(said[i : i + size] for i in range(len(said) - size + 1))


def covered(point: KeyPoint, text: str) -> bool:
    """Whether ``text`` says the fact ``point``."""
    if point.accept:
        return any(says(phrase, text) for phrase in point.accept)
    return containment(point.text, text) >= CONTENT_SHARE


def coverage(points: Sequence[KeyPoint], text: str) -> float | None:
    """Share of ``points`` that ``text`` covers, 0 to 1; None if there are no points, because nothing was asked for."""
    return sum(covered(point, text) for point in points) / len(points) if points else None

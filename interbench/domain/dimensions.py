"""What a conversation is given scores in: the nine dimensions of the published table, in its order, and the measures.

Source of the nine: arXiv 2512.23576, section 5.3 and appendix A. The questions are the paper's criteria in our words.
The measures are what the offline judge counts and compares; they are not the paper's, and have names of their own so
that nobody takes one for the other.

To add a dimension is to add an entry to :data:`DIMENSIONS`, after the published ones, and where a language model judges
it a rubric ``KEY.j2`` in each folder below ``prompts/judge``. To add a measure is to add an entry to :data:`MEASURES`.
Tables, reports, CSV files and judges follow.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from interbench.base.errors import UsageError


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension or measure: ``key`` names it in files and columns, ``question`` says what it asks."""

    key: str
    name: str
    group: Literal["visual", "content", "measured"]
    question: str


DIMENSIONS: tuple[Dimension, ...] = (
    Dimension(
        "EA",
        "Emotional Appropriateness",
        "visual",
        "Does the expression fit the content, in proportion, with natural transitions between answers, and respond to "
        "what the user seems to feel?",
    ),
    Dimension(
        "NI",
        "Nonverbal Interaction",
        "visual",
        "Do eye contact, nods, pauses and other micro-expressions, and signs of listening before speaking, make it "
        "feel two-way?",
    ),
    Dimension(
        "MVC",
        "Multi-Video Coherence",
        "visual",
        "Do face, hair, clothes, background, light, camera, emotion, posture, gesture and cadence stay consistent "
        "across the answers?",
    ),
    Dimension(
        "CN",
        "Conversational Naturalness",
        "visual",
        "Is it dialogue rather than broadcast: pauses, thinking moments, hesitations and other marks of spontaneity?",
    ),
    Dimension(
        "SR",
        "Semantic Relevance",
        "content",
        "Do the answers address what was asked, directly and accurately?",
    ),
    Dimension(
        "IC",
        "Information Completeness",
        "content",
        "Are the answers comprehensive, detailed enough and self-contained?",
    ),
    Dimension(
        "LC",
        "Logical Consistency",
        "content",
        "Are the answers free of contradictions, factual errors and inconsistencies, each in itself and together?",
    ),
    Dimension(
        "CU",
        "Context Understanding",
        "content",
        "Do the answers keep the conversation's state, resolve references and build on earlier turns?",
    ),
    Dimension(
        "OIE",
        "Overall Interaction Experience",
        "content",
        "How fluent, successful and satisfying is the interaction as a whole?",
    ),
)

MEASURES: tuple[Dimension, ...] = (
    Dimension(
        "kp-recall",
        "Key-point recall",
        "measured",
        "Which share of the scenario's key points is said, in words that are not only repeated?",
    ),
    Dimension(
        "kp-memory",
        "Memory recall",
        "measured",
        "Which share is said of those key points that only an earlier turn could have told?",
    ),
    Dimension(
        "lexical",
        "Lexical overlap",
        "measured",
        "How far does each reply use the words of its turn's reference reply and key points?",
    ),
    Dimension(
        "look",
        "Same look",
        "measured",
        "How alike are the clips in colours and structure by place, whatever the exposure and framing?",
    ),
)
"""What the offline judge measures: nothing of it is a dimension of the paper."""

DIMENSION_KEYS = tuple(dimension.key for dimension in DIMENSIONS)
"""Of the dimensions, without the measures."""
MEASURE_KEYS = tuple(measure.key for measure in MEASURES)
EVERY: tuple[Dimension, ...] = (*DIMENSIONS, *MEASURES)
"""Everything that a score can be of, in the order of a table's columns."""

_BY_KEY = {dimension.key: dimension for dimension in EVERY}


def families(keys: Collection[str]) -> tuple[str, ...]:
    """The dimensions, the measures, or both: whichever any of the ``keys`` is of; the dimensions where there is none.

    What is expected of a conversation for which only its scores are known: who scored one of a family was to score all.
    """
    found = tuple(
        key for family in (DIMENSION_KEYS, MEASURE_KEYS) if not set(family).isdisjoint(keys) for key in family
    )
    return found or DIMENSION_KEYS


def dimension(key: str) -> Dimension:
    """The dimension or measure called ``key``, e.g. ``MVC`` or ``look``.

    Raises :class:`~interbench.base.errors.UsageError` for any other text.
    """
    try:
        return _BY_KEY[key]
    except KeyError:
        raise UsageError(f"{no_such_dimension(key)}.") from None


def no_such_dimension(key: str, known: Collection[str] = tuple(_BY_KEY)) -> str:
    """What to say of a ``key`` that is none of those ``known``; without a full stop."""
    return f"{key!r} is not a dimension; there are {', '.join(known)}"

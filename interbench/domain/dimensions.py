"""The dimensions a conversation is judged on: the nine of the published table, in its order.

Source: arXiv 2512.23576, section 5.3 and appendix A. The questions are the paper's criteria in our words.

To add a dimension is to add an entry to :data:`DIMENSIONS`, after the published ones, and where a language model judges
it a rubric ``prompts/judge/KEY.j2``. Tables, reports, CSV files and judges follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from interbench.base.errors import UsageError


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension: ``key`` names it in files and columns, ``question`` says what it asks."""

    key: str
    name: str
    group: Literal["visual", "content"]
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

_BY_KEY = {dimension.key: dimension for dimension in DIMENSIONS}


def dimension(key: str) -> Dimension:
    """The dimension called ``key``, e.g. ``MVC``.

    Raises :class:`~interbench.base.errors.UsageError` for any other text.
    """
    try:
        return _BY_KEY[key]
    except KeyError:
        raise UsageError(f"{no_such_dimension(key)}.") from None


def no_such_dimension(key: str) -> str:
    """What to say of a ``key`` that is none; without a full stop."""
    return f"{key!r} is not a dimension; there are {', '.join(_BY_KEY)}"

"""When a user who reacts says which line: conditions on the words of the answer before, as data.

A turn may hold up to :data:`MOST_VARIANTS` variants of the user's line. The first whose guard holds is spoken; where
none does, or nobody knows what the answer before said, the turn's own line, which stands after any answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from interbench.domain import phrases

MOST_VARIANTS = 3
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
Source = Literal["reported", "transcribed", "none"]
"""Whose word the answer before was when a line was chosen: the system's, a transcriber's, nobody's."""


class Choice(BaseModel):
    """Which of two things an answer decides for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    one: tuple[Phrase, ...] = Field(min_length=1, description="Phrasings of what is taken.")
    other: tuple[Phrase, ...] = Field(min_length=1, description="Phrasings of what is not.")


class Guard(BaseModel):
    """A condition on an answer: every key that is given must hold; of a list of phrases, any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asks: bool | None = Field(None, description="Whether the answer asks a question.")
    asks_about: tuple[Phrase, ...] = Field((), description="One of its questions says one of these.")
    says: tuple[Phrase, ...] = Field((), description="It says one of these, not under a negation.")
    says_not: tuple[Phrase, ...] = Field((), description="It says none of these, or only under a negation.")
    denies: tuple[Phrase, ...] = Field((), description="It says one of these under a negation.")
    refuses: bool | None = Field(None, description="Whether it declines.")
    takes: Choice | None = Field(None, description="It decides for one of two things.")

    @model_validator(mode="after")
    def _not_empty(self) -> Guard:
        if all(value is None or value == () for value in dict(self).values()):
            raise ValueError("has no condition; a guard needs one of " + ", ".join(Guard.model_fields))
        return self

    def holds(self, answer: str) -> bool:
        """Whether every condition is true of the words of ``answer``."""
        checks = (
            self.asks is None or bool(phrases.questions(answer)) == self.asks,
            not self.asks_about
            or any(phrases.affirms(phrase, one) or phrases.denies(phrase, one)
                   for one in phrases.questions(answer) for phrase in self.asks_about),
            not self.says or any(phrases.affirms(phrase, answer) for phrase in self.says),
            not any(phrases.affirms(phrase, answer) for phrase in self.says_not),
            not self.denies or any(phrases.denies(phrase, answer) for phrase in self.denies),
            self.refuses is None or phrases.refuses(answer) == self.refuses,
            self.takes is None or phrases.takes(self.takes.one, self.takes.other, answer),
        )  # fmt: skip
        return all(checks)

    def in_words(self) -> str:
        """The condition as a clause for people, e.g. ``asks a question; says "left" or "port"``."""
        parts = []
        if self.asks is not None:
            parts.append("asks a question" if self.asks else "asks no question")
        for verb, said in (
            ("asks about", self.asks_about),
            ("says", self.says),
            ("does not say", self.says_not),
            ("denies", self.denies),
        ):
            if said:
                parts.append(f"{verb} " + " or ".join(f'"{phrase}"' for phrase in said))
        if self.refuses is not None:
            parts.append("refuses" if self.refuses else "does not refuse")
        if self.takes is not None:
            parts.append(f'takes "{self.takes.one[0]}" rather than "{self.takes.other[0]}"')
        return "; ".join(parts)


class Variant(BaseModel):
    """Another line of the user, for answers of which ``when`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: Guard
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)] = Field(
        description="What the user says."
    )
    mood: Phrase | None = Field(None, description="How the user feels; the turn's mood if not given.")
    audio: Annotated[str, StringConstraints(min_length=1, max_length=300)] | None = Field(
        None, description="The user's speech, as of a turn."
    )
    presumes: Guard | None = Field(None, description="What the line takes for granted, where it is not `when` itself.")


class Reacting(Protocol):
    """What :func:`choose` needs of a turn."""

    @property
    def variants(self) -> Sequence[Variant]: ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which line of a turn is spoken, and why."""

    variant: int = 0
    """1-based; 0 is the turn's own line."""
    guard: str = ""
    """The condition that held, in words; empty for the turn's own line."""
    source: Source = "none"
    """Whose word the answer before was; ``none`` also where the turn has no variants and nobody asked."""


def choose(turn: Reacting, answer: str | None, source: Source) -> Chosen:
    """The line of ``turn`` after ``answer``, what the avatar said in the turn before; None if nobody knows."""
    if not turn.variants or answer is None:
        return Chosen()
    for number, variant in enumerate(turn.variants, start=1):
        if variant.when.holds(answer):
            return Chosen(number, variant.when.in_words(), source)
    return Chosen(0, "", source)

"""Scenarios: multi-turn conversations that every system is led through.

A scenario set is a folder with ``scenarios.jsonl`` (one scenario per line), ``personas.jsonl`` and the audio and
portrait files that the two name by relative paths. The JSON Lines files load with ``datasets.load_dataset("json")``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from interbench.domain.dimensions import DIMENSIONS, no_such_dimension
from interbench.domain.persona import Slug, Text, Voice

_KEYS = frozenset(dimension.key for dimension in DIMENSIONS)
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


class KeyPoint(BaseModel):
    """A fact that a complete answer holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Phrase = Field(description="The fact, for people and judges.")
    accept: tuple[Phrase, ...] = Field(
        (),
        description="Short phrasings, any of which shows that the fact was said; empty: the content words of `text`.",
    )
    needs: tuple[int, ...] = Field((), description="1-based earlier turns without which the fact can't be known.")


class Lean(BaseModel):
    """What a turn takes over from an earlier one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    turn: int = Field(ge=1, description="1-based index of the earlier turn.")
    carry: Text = Field(description="What must be carried over from it.")


class Turn(BaseModel):
    """One turn of the user, and what a good answer to it would be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Text = Field(description="What the user says.")
    audio: Annotated[str, StringConstraints(min_length=1, max_length=300)] | None = Field(
        None, description="The user's speech, 16 kHz mono; a path relative to the scenario file."
    )
    mood: Phrase = Field(description="How the user feels.")
    reply: Text = Field(description="A reference reply.")
    reply_mood: Phrase = Field("neutral", description="How the reference reply is delivered.")
    key_points: tuple[KeyPoint, ...] = Field((), description="Facts a complete answer would hold.")
    leans_on: tuple[Lean, ...] = Field((), description="Which earlier turns this one builds on.")


class Scenario(BaseModel):
    """A conversation to be played: what the user says turn by turn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Slug
    category: Slug
    title: Text
    persona: Slug
    stresses: tuple[str, ...] = Field((), description="Keys of the dimensions this scenario gives most work to.")
    tags: tuple[Slug, ...] = ()
    language: str = Field(
        "en", pattern=r"^[a-z]{2,3}(-[a-z0-9]+)*$", description="What is spoken, as a language tag: en, de, pt-br."
    )
    user_voice: Voice | None = Field(
        None, description="How the user sounds when the core's synthesizer speaks the turns."
    )
    turns: tuple[Turn, ...] = Field(min_length=1, max_length=32)

    @field_validator("stresses")
    @classmethod
    def _known_dimensions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for key in value:
            if key not in _KEYS:
                raise ValueError(no_such_dimension(key))
        return value

    @model_validator(mode="after")
    def _point_backwards(self) -> Scenario:
        for index, turn in enumerate(self.turns, start=1):
            for lean in turn.leans_on:
                if lean.turn >= index:
                    raise ValueError(
                        f"turns.{index - 1}.leans_on: turn {index} can't lean on turn {lean.turn}; only on earlier ones"
                    )
            for point in turn.key_points:
                for needed in point.needs:
                    if not 1 <= needed < index:
                        raise ValueError(
                            f"turns.{index - 1}.key_points: turn {index} can only need earlier turns, not {needed}"
                        )
        return self

    def digest(self) -> str:
        """SHA-256 over the scenario's content, independent of key order and file layout."""
        content = self.model_dump(mode="json")
        if content["language"] == "en":
            # What there was before scenarios had a language stays the same scenario.
            del content["language"]
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

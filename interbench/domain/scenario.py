"""Scenarios: multi-turn conversations that every system is led through.

A scenario set is a folder with ``scenarios.jsonl`` (one scenario per line), ``personas.jsonl`` and the audio and
portrait files that the two name by relative paths. The JSON Lines files load with ``datasets.load_dataset("json")``.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from interbench.domain.constraints import Constraint
from interbench.domain.dimensions import DIMENSION_KEYS, no_such_dimension
from interbench.domain.guards import MOST_VARIANTS, Guard, Phrase, Variant
from interbench.domain.persona import Slug, Text, Voice


class KeyPoint(BaseModel):
    """A fact that a complete answer holds, or one that it must not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Phrase = Field(description="The fact, for people and judges.")
    accept: tuple[Phrase, ...] = Field(
        (),
        description="Short phrasings, any of which shows that the fact was said; empty: the content words of `text`.",
    )
    needs: tuple[int, ...] = Field((), description="1-based earlier turns without which the fact can't be known.")
    must_not: bool = Field(False, description="A complete answer does not say this.")
    act: bool = Field(False, description="An act, a feeling or a move in a game: no fact, so there is no source.")
    source: Phrase | None = Field(None, description="Where the fact is from.")
    verified_on: datetime.date | None = Field(None, description="When somebody last judged it true.")

    @model_validator(mode="after")
    def _findable(self) -> KeyPoint:
        if self.must_not and not self.accept:
            raise ValueError("what must not be said needs `accept` phrases by which it is found")
        return self


class Lean(BaseModel):
    """What a turn takes over from an earlier one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    turn: int = Field(ge=1, description="1-based index of the earlier turn.")
    carry: Text = Field(description="What must be carried over from it.")


class VisibleAct(BaseModel):
    """Something the user asks to see."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    act: Phrase = Field(description="What is to be done, e.g. `nods on yes`.")
    check: Text = Field(description="What a judge looks for, in words.")


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
    variants: tuple[Variant, ...] = Field(
        (),
        max_length=MOST_VARIANTS,
        description="Other lines, each with a condition on the answer before; where none holds, `text` is spoken.",
    )
    barge_in_s: float | None = Field(
        None,
        ge=0.2,
        le=60,
        description="The user begins this line so many seconds after the answer before is first heard, into it.",
    )
    presumes: Guard | None = Field(None, description="What `text` takes for granted of the answer before; an error.")
    asr_fragile: bool = Field(False, description="Its point is a word that a recognizer of the language can't spell.")
    visible_act: VisibleAct | None = Field(None, description="What the user asks to see.")
    constraints: tuple[Constraint, ...] = Field((), description="What of the reply can be computed anew.")

    def line(self, variant: int) -> str:
        """What the user says in variant ``variant`` (1-based; 0: the turn's own line)."""
        return self.variants[variant - 1].text if variant else self.text

    def line_mood(self, variant: int) -> str:
        """How the user feels in variant ``variant``."""
        return (self.variants[variant - 1].mood or self.mood) if variant else self.mood

    def line_audio(self, variant: int) -> str | None:
        """The recording of variant ``variant``, relative to the scenario file."""
        return self.variants[variant - 1].audio if variant else self.audio


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
    suits: tuple[Slug, ...] = Field((), description="Personas that the lines fit; all, if none is named.")
    tier: Literal[1, 2, 3] | None = Field(None, description="1: plain, 2: long with interference, 3: adversarial.")
    canary: Phrase | None = Field(None, description="The text by which a leak into training data is found.")
    turns: tuple[Turn, ...] = Field(min_length=1, max_length=32)

    @field_validator("stresses")
    @classmethod
    def _known_dimensions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for key in value:
            if key not in DIMENSION_KEYS:
                raise ValueError(no_such_dimension(key, DIMENSION_KEYS))
        return value

    @model_validator(mode="after")
    def _point_backwards(self) -> Scenario:
        if self.turns[0].variants:
            raise ValueError("turns.0.variants: there is no answer before the first turn; it has one line")
        if self.turns[0].barge_in_s is not None:
            raise ValueError("turns.0.barge_in_s: there is no answer before the first turn to speak into")
        for index, turn in enumerate(self.turns, start=1):
            if turn.barge_in_s is not None and turn.variants:
                raise ValueError(
                    f"turns.{index - 1}: a line spoken into the answer before can't depend on it; leave out either "
                    f"variants or barge_in_s"
                )
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
        # What is written in the format of before stays the same scenario: keys that came later don't count unless used.
        _drop_unused(content, {"language": "en", "tier": None, "suits": []})
        # It says nothing that is played or judged.
        del content["canary"]
        for turn in content["turns"]:
            _drop_unused(turn, _LATER_TURN_KEYS)
            for point in turn["key_points"]:
                _drop_unused(point, _LATER_POINT_KEYS)
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


_LATER_TURN_KEYS: dict[str, Any] = {
    "variants": [],
    "barge_in_s": None,
    "presumes": None,
    "asr_fragile": False,
    "visible_act": None,
    "constraints": [],
}
_LATER_POINT_KEYS: dict[str, Any] = {"must_not": False, "act": False, "source": None, "verified_on": None}


def _drop_unused(content: dict[str, Any], unused: dict[str, Any]) -> None:
    for key, value in unused.items():
        if content[key] == value:
            del content[key]

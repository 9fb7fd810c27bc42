"""What an author has written for the puppet, and for audits, to say instead of a reference reply: ``scenarios/audit``.

One file per scenario holds, for every turn, variants of its reply: with errors, evasive, vague, hostile (sentence by
sentence, so that any of them can be exchanged), recited, asking for what is known, broken off, and padded. A variant
belongs to the reply that it was written for, told by the reply's SHA-256.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from interbench.base.bundled import data_path
from interbench.base.errors import ScenarioError
from interbench.systems.events import ReferenceReply
from interbench.systems.puppet.rewrites import sentences, spread

Aligned = Literal["false-fact", "evasion", "vague", "hostile"]
"""Variants whose sentences stand in for those of the reply, one for one."""
Whole = Literal["recital", "asks-known", "abandon", "padding-1.5", "padding-2", "padding-3"]
Key = Aligned | Whole
ALIGNED: tuple[Aligned, ...] = get_args(Aligned)
WHOLE: tuple[Whole, ...] = get_args(Whole)
KEYS: tuple[Key, ...] = (*ALIGNED, *WHOLE)
_Said = Annotated[str, StringConstraints(min_length=1, max_length=4000, pattern=r"^\S(?s:.*\S)?$")]


class UnwrittenError(ScenarioError):
    """Nobody has written this variant of this reply."""


class AuthoredTurn(BaseModel):
    """The variants of one reply."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    turn: int = Field(ge=1)
    reply_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    false_fact: tuple[_Said, ...] = Field(alias="false-fact", min_length=1)
    evasion: tuple[_Said, ...] = Field(min_length=1)
    vague: tuple[_Said, ...] = Field(min_length=1)
    recital: _Said
    hostile: tuple[_Said, ...] = Field(min_length=1)
    asks_known: _Said = Field(alias="asks-known")
    abandon: _Said
    padding_1_5: _Said = Field(alias="padding-1.5")
    padding_2: _Said = Field(alias="padding-2")
    padding_3: _Said = Field(alias="padding-3")

    def sentences(self, key: Aligned) -> tuple[str, ...]:
        found: tuple[str, ...] = getattr(self, key.replace("-", "_"))
        return found

    def text(self, key: Key) -> str:
        """The variant as a whole."""
        if key in ALIGNED:
            return " ".join(getattr(self, key.replace("-", "_")))
        text: str = getattr(self, key.replace("-", "_").replace(".", "_"))
        return text


class AuthoredScenario(BaseModel):
    """The variants of one scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: str
    turns: tuple[AuthoredTurn, ...] = Field(min_length=1)


def folder() -> Path:
    """Where the files lie."""
    return data_path("scenarios") / "audit"


def written() -> tuple[str, ...]:
    """Ids of the scenarios that there are variants of."""
    return tuple(sorted(path.stem for path in folder().glob("*.json")))


@functools.lru_cache(maxsize=256)
def authored(scenario: str) -> AuthoredScenario | None:
    """The variants of a scenario; None if there are none.

    Raises:
        ScenarioError: its file can't be read.
    """
    # An id is a slug by the scenario's own check, and never a path.
    if scenario not in written():
        return None
    file = folder() / f"{scenario}.json"
    try:
        found = AuthoredScenario.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise ScenarioError(f"The variants {file} can't be read: {str(error).splitlines()[0]}.") from None
    if found.scenario != scenario or [turn.turn for turn in found.turns] != list(range(1, len(found.turns) + 1)):
        raise ScenarioError(f"The variants {file} are of another scenario, or their turns are not in order.")
    return found


def authored_turn(scenario: str, index: int, reply: str) -> AuthoredTurn:
    """The variants of ``reply``, turn ``index`` (1-based) of a scenario.

    Raises:
        UnwrittenError: there are none, or they were written for another reply.
    """
    found = authored(scenario)
    if found is None or index > len(found.turns):
        raise UnwrittenError(f"Nobody has written variants of the replies of {scenario}; see scenarios/audit.")
    turn = found.turns[index - 1]
    if turn.reply_sha256 != hashlib.sha256(reply.encode()).hexdigest():
        raise UnwrittenError(
            f"The variants of turn {index} of {scenario} were written for another reply than the scenario has now."
        )
    return turn


def spoken(scenario: str, index: int, reference: ReferenceReply, key: Key) -> str:
    """The variant of a reply as a whole."""
    return authored_turn(scenario, index, reference.reply).text(key)


def exchanged(scenario: str, index: int, reference: ReferenceReply, key: Aligned, share: float) -> str:
    """The reply with ``share`` of those sentences exchanged that differ in the variant, spread evenly."""
    own = sentences(reference.reply)
    others = authored_turn(scenario, index, reference.reply).sentences(key)
    different = [number for number, (one, other) in enumerate(zip(own, others, strict=True)) if one != other]
    return " ".join(others[n] if n in spread(different, share) else own[n] for n in range(len(own)))

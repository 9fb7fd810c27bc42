"""A set read with scripted answers: which line the user says after each, and whether it takes for granted what was not
said.

Three systems answer without any model: one speaks the reference replies, one always asks back, one is wrong in the
reference's words. A user's line may presume only what its guard has found in the answer before; where a line does
presume more, its author says so in ``presumes``, and that must hold whenever it is spoken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from interbench.domain.guards import choose
from interbench.domain.phrases import questions
from interbench.domain.scenario import Scenario, Turn

ASKS_BACK = "Hm, I want to get this right. Could you tell me a little more first? What matters most to you here?"
_AUXILIARY = re.compile(r"\b(is|are|was|were|can|could|will|would|should|must|has|have|does|do|did)\b(?! not\b)", re.I)
_SENTENCE = re.compile(r"[^.!?]+[.!?]*\s*")
_NUMBER = re.compile(r"\d+")
_ANSWERS = re.compile(r"^(?:yes|nope|yep|yup)\b(?!!)", re.I)
"""How a line begins that answers a question."""

Answerer = Callable[[Turn], str]


def wrong(turn: Turn) -> str:
    """The reference reply turned round: every sentence's first auxiliary denied, figures changed, nothing asked."""

    def turned(sentence: str) -> str:
        denied = _AUXILIARY.sub(lambda found: f"{found[0]} not", sentence, count=1)
        if denied == sentence:
            denied = f"It is not so that {sentence[:1].lower()}{sentence[1:]}"
        return _NUMBER.sub(lambda found: str(int(found[0]) + 3), denied).replace("?", ".")

    return "".join(turned(sentence) for sentence in _SENTENCE.findall(turn.reply))


SCRIPTED: Mapping[str, Answerer] = {
    "reference": lambda turn: turn.reply,
    "asks back": lambda turn: ASKS_BACK,
    "wrong": wrong,
}
"""The scripted systems by name."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One line of the user in a rehearsal."""

    scenario: str
    turn: int
    """1-based."""
    variant: int
    """1-based; 0 for the turn's own line."""
    text: str
    guard: str
    presumes: str
    """What the line takes for granted that the answer before did not say, as a clause; empty if nothing."""


def rehearse(scenario: Scenario, answer: Answerer) -> Iterator[Spoken]:
    """What the user says in every turn, where ``answer`` gives the answers."""
    before: str | None = None
    for index, turn in enumerate(scenario.turns, start=1):
        chosen = choose(turn, before, "reported")
        presumed = turn.variants[chosen.variant - 1].presumes if chosen.variant else turn.presumes
        text = turn.line(chosen.variant)
        unmet = ""
        if presumed is not None and (before is None or not presumed.holds(before)):
            unmet = f"takes for granted that the answer before {presumed.in_words()}"
        elif before is not None and _ANSWERS.match(text) and not questions(before):
            unmet = "answers a question, and none was asked"
        yield Spoken(scenario.id, index, chosen.variant, text, chosen.guard, unmet)
        before = answer(turn)

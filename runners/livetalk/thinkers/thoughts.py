"""Reasoning that a service leaves in front of an answer: it is neither told nor spoken.

Some services put it between ``<think>`` and ``</think>``, some into fields of its own, and some, where the model's
template itself opens the thought, send only the ``</think>`` that ends it. In this last form a thought can't be told
from an answer before it is over, so that whatever comes first has to be held back.
"""

from __future__ import annotations

import re
from typing import Literal

OPEN, CLOSE = "<think>", "</think>"

Thinking = Literal["auto", "inline", "separate"]
"""``inline``: thoughts stand in front of the answer, which is held back until they end. ``separate``: the service keeps
them apart, or the model has none, and nothing is held back. ``auto``: found out from the model's name and template, and
from its first answer."""

_FAMILIES = re.compile(r"(?:^|[/_.:-])(?:r1|qwq|thinking|reason(?:er|ing)?|magistral)(?:[/_.:-]|$)", re.IGNORECASE)


class ThoughtAloudError(Exception):
    """What was given out before turns out to have been a thought."""


def thinks_by_name(model: str) -> bool:
    """Whether a model's name says that it always thinks before it answers."""
    return _FAMILIES.search(model) is not None


class Thoughts:
    """Takes the thoughts out of one answer.

    Args:
        hold: hold everything back until a thought has ended, or :meth:``release`` is called.
    """

    def __init__(self, *, hold: bool = False) -> None:
        self._hold = hold
        self._held = ""
        self._pieces: list[str] = []
        self._inside = False
        self._over = False
        self._told = False
        self.found = False
        """Whether there was a thought of which only the end was marked."""

    @property
    def holding(self) -> bool:
        """Whether text is held back that may turn out to be a thought."""
        return self._hold and not self._over and not self._inside

    def without(self, text: str) -> str:
        """What of the next piece belongs to the answer; its very first white space does not.

        Raises:
            ThoughtAloudError: a thought ends that had been given out as the answer.
        """
        if self._over:
            return self._watched(text)
        if text and self._hold:
            self._pieces.append(text)
        self._held = (self._held + text).lstrip()
        if not self._inside and self._held.startswith(OPEN):
            # It says where it begins, so it will say where it ends.
            self._inside, self._hold, self._pieces = True, False, []
        if self._inside:
            _, closed, after = self._held.partition(CLOSE)
            self._held = after if closed else self._held[-len(CLOSE) :]
            if not closed:
                return ""
            self._inside = False
            return self.without("")
        if self._hold:
            _, closed, after = self._held.partition(CLOSE)
            if closed:
                self.found, self._hold, self._held = True, False, after
                return self.without("")
            return ""
        if OPEN.startswith(self._held):
            return ""
        return self._begin()

    def release(self) -> list[str]:
        """Hold nothing back any more; what was held back, in its pieces."""
        waited = self.holding
        self._hold = False
        if not waited or OPEN.startswith(self._held):
            return [self.without("")]
        pieces, self._pieces, self._held, self._over = self._pieces, [], "", True
        first = next((number for number, piece in enumerate(pieces) if piece.strip()), len(pieces))
        return [self._watched(piece if number else piece.lstrip()) for number, piece in enumerate(pieces[first:])]

    def rest(self) -> list[str]:
        """What is still held back when the answer has ended: all of it, if there was no thought in it."""
        pieces = self.release() if self.holding else []
        held, self._held = self._held, ""
        return pieces if self._inside else [*pieces, held]

    def _begin(self) -> str:
        self._over = True
        held, self._held = self._held, ""
        return self._watched(held)

    def _watched(self, text: str) -> str:
        """The answer, but for the letters at its end that may begin a mark."""
        text = self._held + text
        if CLOSE in text:
            if self._told or text.partition(CLOSE)[0].strip():
                self.found = True
                raise ThoughtAloudError
            text = text.partition(CLOSE)[2].lstrip()
        kept = next((size for size in range(len(CLOSE) - 1, 0, -1) if text.endswith(CLOSE[:size])), 0)
        self._held = text[len(text) - kept :]
        given = text[: len(text) - kept]
        self._told = self._told or bool(given)
        return given

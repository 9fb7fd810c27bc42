"""Asking a model for an answer, again with less of the conversation where it can't take in all of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

from livetalk.thinkers.base import Question
from livetalk.thinkers.messages import forgetting
from livetalk.thinkers.service import TooLongError

Piece = TypeVar("Piece")


async def until_it_fits(
    ask: Callable[[Question], AsyncGenerator[Piece, None]], question: Question
) -> AsyncGenerator[Piece, None]:
    """The pieces of an answer to the question, or to as much of it as the model can take in.

    A service says that a conversation is too long before it sends any piece, so that no answer begins twice.

    Args:
        ask: the answer to a question, piece by piece; closing it cancels the request.
        question: with the whole history.

    Raises:
        TooLongError: the question is too long without any history.
        ThinkerError: whatever else ``ask`` raises.
    """
    while True:
        try:
            async with contextlib.aclosing(ask(question)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        except TooLongError:
            if not question.history:
                raise
            question = forgetting(question)

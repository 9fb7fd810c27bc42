"""Telling a checkpoint from another behind the same name: how well it predicts a fixed text, token by token.

A server names its model, but a name and a path say nothing of the weights behind them. Log-probabilities do: those of
one checkpoint agree from request to request up to rounding, those of two checkpoints do not.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from interbench.base.errors import JudgeError
from interbench.judge.vlm.client import Server, UnavailableError, log_probability

TOLERANCE = 0.05
"""Mean difference of log-probabilities, relative to their spread over the text, that is taken for rounding. Measured
with random weights on vLLM 0.32 on a CPU: 0 from request to request, 0.004 between float32 and bfloat16, 1.2 between
two checkpoints. A GPU rounds differently from batch to batch, hence the margin.
"""
_ATTEMPTS = 3
_TEXT = (
    "On Tuesday, 14 May, two judges met at the harbour to compare what they had seen. The first had watched eleven "
    "short films of a woman who explained tides, trains and tomatoes; she spoke clearly, smiled twice and once forgot "
    'a name. The second kept a list: gaze, gesture, light, colour, tempo. "Would you call her answers complete?" he '
    'asked. "Nearly. She left out the price, 7.50, and why the ferry was late." They agreed on an eight, then on a '
    "six, and wrote down neither."
)


@dataclass(frozen=True, slots=True)
class Likeness:
    """What one checkpoint makes of the fixed text."""

    tokens: str
    """SHA-256 of the text's tokens."""
    logprobs: tuple[float, ...]
    """Natural log-probability of every token but the first, given those before it."""

    def record(self) -> dict[str, Any]:
        """For the manifest."""
        return {"tokens": self.tokens, "logprobs": " ".join(f"{value:.4f}" for value in self.logprobs)}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """From :meth:`record`."""
        return cls(record["tokens"], tuple(map(float, record["logprobs"].split())))

    def difference(self, other: Likeness) -> str:
        """Why the two can't be of one checkpoint, for people; empty if they can."""
        if self.tokens != other.tokens:
            return "it splits a fixed text into other tokens"
        off = statistics.fmean(abs(a - b) for a, b in zip(self.logprobs, other.logprobs, strict=True))
        spread = statistics.pstdev(other.logprobs)
        if off <= TOLERANCE * spread:
            return ""
        return (
            f"the log-probabilities it gives a fixed text differ by {off:.2g} on average, which is more than rounding"
        )


async def likeness(server: Server, model: str) -> Likeness | None:
    """Ask for it: one short request. None if the server does not tell log-probabilities of a prompt.

    Raises:
        UnavailableError: the server can't be reached or is overloaded.
    """
    request = {"model": model, "prompt": _TEXT, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
    try:
        answer = await server.post("/v1/completions", json.dumps(request).encode())
    except UnavailableError:
        raise
    except JudgeError:
        return None
    try:
        entries = (answer or {})["choices"][0]["prompt_logprobs"][1:]
        told = [next(iter(entry.items())) for entry in entries]
        tokens = hashlib.sha256(" ".join(token for token, _ in told).encode()).hexdigest()
        return Likeness(tokens, tuple(log_probability(value["logprob"]) for _, value in told)) if told else None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration):
        return None


async def unlike(server: Server, model: str, known: Likeness) -> str:
    """Why another checkpoint answers under this name than the ``known`` one; empty if none does.

    Asks again before it says so, because a busy server rounds differently.

    Raises:
        UnavailableError: as :func:`likeness`.
    """
    difference = ""
    for _ in range(_ATTEMPTS):
        seen = await likeness(server, model)
        difference = "it no longer tells log-probabilities" if seen is None else seen.difference(known)
        if not difference:
            break
    return difference

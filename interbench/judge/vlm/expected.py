r"""The expected score: the mean of the scale under the judge's own probabilities, after its own reasons.

The judge is made to continue its answer just after its last ``\boxed{``, restricted to the allowed scores with their
closing brace. A score is a path of tokens: ``10`` may be one token or two, and where ``1`` can still become ``10`` the
path branches, so that the next token is asked for as well. The probabilities are the model's at temperature 1,
renormalised over the allowed continuations at each branch.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

Continuation = Callable[[str, Sequence[str]], Awaitable[Sequence[tuple[str, float]]]]
"""(text so far, allowed continuations) → (next token, natural log-probability) pairs."""


async def score_probabilities(ask: Continuation, opening: str, scores: Sequence[int]) -> Mapping[int, float]:
    r"""Probability of each score as what comes after ``opening``, which ends with ``\boxed{``. Sums to 1.

    Raises:
        ValueError: the server's tokens lead to no allowed score.
    """
    found = dict.fromkeys(scores, 0.0)
    open_paths = [("", 1.0)]
    while open_paths:
        path, weight = open_paths.pop()
        rests = {score: f"{score}}}"[len(path) :] for score in scores if f"{score}}}".startswith(path)}
        tops = await ask(opening + path, tuple(rests.values()))
        steps: dict[str, float] = {}
        for token, logprob in tops:
            # A token may run past the brace ("}." or "}\n"); it then spells the same score.
            spelled = token if any(rest.startswith(token) for rest in rests.values()) else token[: token.find("}") + 1]
            # Nothing else than a probability: some servers give NaN for what their grammar forbids.
            if spelled and logprob < 1 and any(rest.startswith(spelled) for rest in rests.values()):
                steps[spelled] = steps.get(spelled, 0.0) + math.exp(logprob)
        total = sum(steps.values())
        if total <= 0:
            raise ValueError("no token of the answer leads to an allowed score")
        for spelled, probability in steps.items():
            share = weight * probability / total
            reached = [score for score, rest in rests.items() if rest.startswith(spelled)]
            if len(reached) == 1:
                found[reached[0]] += share
            elif share > 1e-6:
                open_paths.append((path + spelled, share))
    covered = sum(found.values())
    return {score: probability / covered for score, probability in found.items()}


def mean_score(probabilities: Mapping[int, float]) -> float:
    """The expectation over the scale."""
    return sum(score * probability for score, probability in probabilities.items())

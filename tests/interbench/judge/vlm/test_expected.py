"""The expected score from token paths of whole scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from interbench.judge.vlm.expected import mean_score, score_probabilities

OPENING = "Good. \\boxed{"


def model(table: dict[str, list[tuple[str, float]]], asked: list[str]) -> Any:
    """A model that continues each text with tokens of given probabilities."""

    async def ask(text: str, allowed: Sequence[str]) -> list[tuple[str, float]]:
        asked.append(text)
        assert allowed
        return [(token, math.log(p)) for token, p in table[text]]

    return ask


async def test_ten_is_not_its_first_digit() -> None:
    asked: list[str] = []
    ask = model(
        {
            OPENING: [("1", 0.6), ("9", 0.4)],
            OPENING + "1": [("0", 0.75), ("}", 0.25)],
        },
        asked,
    )
    found = await score_probabilities(ask, OPENING, range(1, 11))
    assert found[10] == pytest.approx(0.45)
    assert found[1] == pytest.approx(0.15)
    assert found[9] == pytest.approx(0.4)
    assert sum(found.values()) == pytest.approx(1)
    assert mean_score(found) == pytest.approx(0.45 * 10 + 0.15 + 0.4 * 9)
    assert asked == [OPENING, OPENING + "1"]


async def test_scores_may_be_single_tokens_with_their_brace() -> None:
    asked: list[str] = []
    ask = model({OPENING: [("10}", 0.5), ("7}", 0.2), ("7}.", 0.2), ("hello", 0.1)]}, asked)
    found = await score_probabilities(ask, OPENING, range(1, 11))
    assert found[10] == pytest.approx(5 / 9)
    assert found[7] == pytest.approx(4 / 9)
    assert asked == [OPENING]


async def test_an_unlikely_branch_is_not_asked_about() -> None:
    asked: list[str] = []
    ask = model({OPENING: [("1", 1e-9), ("5", 1 - 1e-9)]}, asked)
    found = await score_probabilities(ask, OPENING, range(1, 11))
    assert found[5] == pytest.approx(1)
    assert asked == [OPENING]


async def test_no_allowed_token_is_an_error_not_a_score() -> None:
    with pytest.raises(ValueError, match="no token"):
        await score_probabilities(model({OPENING: [("hello", 0.9)]}, []), OPENING, range(1, 11))


async def test_what_is_no_probability_does_not_count() -> None:
    async def ask(text: str, allowed: Sequence[str]) -> list[tuple[str, float]]:
        return [("7", math.log(0.5)), ("8", math.nan), ("9", 1e9), ("6", -math.inf), ("5", math.log(0.5))]

    found = await score_probabilities(ask, OPENING, range(1, 11))
    assert mean_score(found) == pytest.approx(6)

"""Word error rate and the check of a transcriber's hearing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interbench.asr.base import Transcriber, Utterance
from interbench.asr.ear_check import WordErrors, check_ear, normalised, word_errors
from interbench.domain.records import Transcript


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("Tell me about the Eiffel Tower.", "tell me about the eiffel tower", WordErrors(6)),
        ("a b c d", "a x c", WordErrors(4, substitutions=1, deletions=1)),
        ("a b c", "a b b c c", WordErrors(3, insertions=2)),
        ("hello there", "", WordErrors(2, deletions=2)),
        ("", "hello there", WordErrors(0, insertions=2)),
        ("", "", WordErrors(0)),
        ("I don’t know", "i don't know", WordErrors(4)),
        ("Crème brûlée!", "creme brulee", WordErrors(2)),
        ("It's 21 degrees", "it is twenty one degrees", WordErrors(5)),
        ("1,250 people", "one thousand two hundred fifty people", WordErrors(6)),
        (
            "I won't, they'll see, it's what we've got",
            "i will not they will see it is what we have got",
            WordErrors(12),
        ),
        ("You can't", "you cannot", WordErrors(3)),
        ("Anna's dog", "anna dog", WordErrors(2, substitutions=1)),
        ("since 1994", "since nineteen ninety four", WordErrors(4)),
        ("in 1905 or 1900", "in nineteen oh five or nineteen hundred", WordErrors(7)),
        ("the 21st, 3.5%", "the twenty first three point five percent", WordErrors(7)),
        ("$1,250.50 & more", "one thousand two hundred fifty point five zero dollars and more", WordErrors(11)),
        ("good morning", "доброе утро", WordErrors(2, substitutions=2)),
        ("kitten sitting", "sitting kitten", WordErrors(2, deletions=1, insertions=1)),
    ],
)
def test_word_errors(said: str, heard: str, errors: WordErrors) -> None:
    assert word_errors(said, heard) == errors


def test_rate_of_nothing_said_is_no_number() -> None:
    assert math.isnan(word_errors("", "hello").rate)
    assert word_errors("a b", "a").rate == 0.5


words = st.lists(st.sampled_from(["a", "b", "c"]), max_size=8).map(" ".join)


@given(words, words)
def test_edits_are_a_distance(one: str, other: str) -> None:
    there, back = word_errors(one, other), word_errors(other, one)
    assert there.edits == back.edits
    assert (there.edits == 0) == (one == other)
    assert there.deletions - there.insertions == len(one.split()) - len(other.split())
    assert abs(len(one.split()) - len(other.split())) <= there.edits <= max(len(one.split()), len(other.split()))


@given(st.integers(0, 999_999))
def test_numbers_are_spelled_out(number: int) -> None:
    spelled = normalised(f"{number}")
    assert spelled and all(word.isalpha() for word in spelled)
    if not 1100 <= number < 2000:  # said like years, unless they are written with a comma
        assert normalised(f"{number:,}") == spelled


class Scripted(Transcriber):
    label = "scripted"
    batch_size = 2

    def __init__(self, answers: Mapping[str, Transcript]) -> None:
        self.answers = answers
        self.batches: list[int] = []

    def identity(self) -> Mapping[str, Any]:
        return {}

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        self.batches.append(len(batch))
        return [self.answers[utterance.key] for utterance in batch]


def turn(key: str, said: str | None) -> Utterance:
    return Utterance(key, np.zeros(16000, np.float32), None, said)


async def test_a_good_ear() -> None:
    said = {f"s/{n}": f"this is turn number {word}" for n, word in enumerate(["one", "two", "three"])}
    scripted = Scripted({key: Transcript(text) for key, text in said.items()})
    check = await check_ear(scripted, [turn(key, text) for key, text in said.items()])
    assert (check.errors.rate, check.poor, check.heard, check.worst) == (0, False, 3, ())
    assert scripted.batches == [2, 1]
    assert "0.0 %" in check.line() and "WARNING" not in check.line()


async def test_a_poor_ear_is_warned_of_with_examples() -> None:
    turns = [turn("s/1", "please open the window"), turn("s/2", "good morning"), turn("s/3", "and now")]
    scripted = Scripted(
        {
            "s/1": Transcript("these hope and the widow"),
            "s/2": Transcript("good morning"),
            "s/3": Transcript("", error="the server broke"),
        }
    )
    check = await check_ear(scripted, turns)
    assert check.poor and check.failed == 1
    assert check.errors.words == 8
    assert check.worst[0] == ("s/1", "please open the window", "these hope and the widow")
    assert "WARNING" in check.line() and "1 of them without a transcript" in check.line()
    assert check.record()["word_error_rate"] == check.errors.rate


async def test_turns_without_known_words_or_sound_are_left_out() -> None:
    check = await check_ear(Scripted({}), [turn("s/1", None), Utterance("s/2", None, None, "hello")])
    assert check.poor and "unchecked" in check.line()
    assert check.record()["word_error_rate"] is None

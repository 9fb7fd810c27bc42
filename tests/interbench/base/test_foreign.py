"""What comes from outside is made fit to be kept: text, numbers, JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from interbench.base.foreign import NotJsonError, kept_json, mended, mended_json, number, parsed_json, whole


def test_text_can_be_stored_and_has_an_end() -> None:
    assert mended("plain ä \U0001f600") == "plain ä \U0001f600"
    assert mended("half \ud83d, NUL \0") == "half \ufffd, NUL \ufffd"
    assert mended("x" * 500, 100) == "x" * 99 + "…"
    assert mended("\ud83d" * 500, 3) == "\ufffd\ufffd…"
    for text in ("\ud83d", "\ude00\ud83d", "\0"):
        mended(text).encode()


def test_every_text_in_json_is_mended_names_too() -> None:
    told = parsed_json(b'{"a\\ud83d": ["\\ude00", {"b": "\\u0000"}], "c": "\\ud83d\\ude00", "d": 1e999}')
    assert told == {"a\ufffd": ["\ufffd", {"b": "\ufffd"}], "c": "\U0001f600", "d": math.inf}
    assert mended_json({"n": (1, "\ud83d")}) == {"n": [1, "\ufffd"]}


def test_pieces_keep_their_halves_until_they_are_joined() -> None:
    first, second = (parsed_json(data, piece=True) for data in ('["\\ud83d"]', '["\\ude00"]'))
    assert mended(first[0] + second[0]) == "\U0001f600"


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"{", b"[" * 5_000, b'{"a": ' * 300 + b"1" + b"}" * 300, b"1" * 5_000]
)
def test_what_is_no_json_is_told_in_one_way(data: bytes) -> None:
    with pytest.raises(NotJsonError):
        parsed_json(data)


def test_marks_and_bytes_that_are_no_text_do_no_harm() -> None:
    assert parsed_json(b'\xef\xbb\xbf{"a": "\xff"}') == {"a": "\ufffd"}
    assert parsed_json("\ufeff[1]") == [1]


def test_what_is_kept_is_json_that_any_reader_takes() -> None:
    kept = kept_json({"a": float("nan"), "b": [float("inf"), (1,)], "c": "\ud83d", "d": {3}, 5: None})
    expected = {"a": "nan", "b": ["inf", [1]], "c": "\ufffd", "d": "{3}", "5": None}
    assert json.loads(json.dumps(kept, allow_nan=False)) == expected


GOOD: dict[Any, float] = {5: 5.0, 2.5: 2.5, "5": 5.0, " 2.50 ": 2.5, ".5": 0.5, "1e3": 1000.0, 10**17: 1e17, "+3": 3.0}
BAD: list[Any] = [
    *(None, True, "", "abc", "nan", "inf", "-1", -1, -0.5, float("nan"), float("inf"), 10**400, "9" * 400, "1e999"),
    *("²", "٣", "0x10", "1_000", "5 s", "1,5", [], {}, b"5", 3 + 0j),
]


@pytest.mark.parametrize("value", GOOD, ids=repr)
def test_numbers_are_read(value: Any) -> None:
    assert number(value) == GOOD[value]


@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value)[:20])
def test_what_is_no_number_to_reckon_with_is_none(value: Any) -> None:
    assert number(value) is None


def test_numbers_keep_to_their_bounds_and_counts_are_whole() -> None:
    assert (number(5, 0, 4), number(-1, -2), number("0")) == (None, -1.0, 0.0)
    told = (36, "36", 36.0, 36.5, "36.5", -1)
    assert [whole(value) for value in told] == [36, 36, 36, None, None, None]

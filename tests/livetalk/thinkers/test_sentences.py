"""Cutting answers into sentences, and what of them is spoken."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livetalk.thinkers.sentences import Splitter, sentences, speakable


def cut(text: str) -> list[str]:
    """The pieces without the white space that ends them; joined they are the text."""
    pieces = sentences(text)
    assert "".join(pieces) == text
    return [piece.strip() for piece in pieces]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("It rains today. Take a coat!", ["It rains today.", "Take a coat!"]),
        ("Dr. Smith met Mr. Jones. They talked.", ["Dr. Smith met Mr. Jones.", "They talked."]),
        ("J. K. Rowling lives in the U.K. today. So do I. You too?", None),
        ("It costs $3.50 at 10:30 a.m. on most days. Nice, right?", None),
        ("See e.g. this one, i.e. mine. Then stop there.", ["See e.g. this one, i.e. mine.", "Then stop there."]),
        ("We opened at 5 p.m. Then it rained.", ["We opened at 5 p.m.", "Then it rained."]),
        ("I like No. 5 best of all. No. I do not like it.", ["I like No. 5 best of all.", "No. I do not like it."]),
        ('“Is it far?” she asked. “Not at all.” They left.', ["“Is it far?” she asked.", "“Not at all.” They left."]),
        ('"Do come in!" He opened the door.', ['"Do come in!"', "He opened the door."]),
        ("Wait… what was that noise? I see...", ["Wait… what was that noise?", "I see..."]),
        ("What?! That is impossible!!! Really so.", ["What?!", "That is impossible!!!", "Really so."]),
        ("¿Qué tal estás hoy? ¡Muy bien, gracias!", ["¿Qué tal estás hoy?", "¡Muy bien, gracias!"]),
        ("今天天气很好。我们去公园吧！“好的。”他说。", ["今天天气很好。", "我们去公园吧！", "“好的。”他说。"]),
        ("これは本です。「はい。」と言いました。", ["これは本です。", "「はい。」と言いました。"]),
        ("यह एक किताब है। वह लाल है।", ["यह एक किताब है।", "वह लाल है।"]),
        ("هل أنت بخير؟ نعم أنا بخير.", ["هل أنت بخير؟", "نعم أنا بخير."]),
        ("Two steps here.\n\n1. Open it.\n2. Look inside.", ["Two steps here.", "1. Open it.\n2. Look inside."]),
        ("A heading\nThen the text of it", ["A heading", "Then the text of it"]),
        ("**All good!** Next one, please.", ["**All good!**", "Next one, please."]),
        ("Great! 😀 Let us go there now.", ["Great!", "😀 Let us go there now."]),
        ("Well done!😀 Let us go there now.", ["Well done!😀", "Let us go there now."]),
        ("no capitals here. but it ends there. so it goes", ["no capitals here. but it ends there.", "so it goes"]),
        ("...", ["..."]),
        ("   \n ", [""]),
        ("", []),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_would_say(text: str, pieces: list[str] | None) -> None:
    found = cut(text)
    if pieces is not None:
        assert found == pieces
    else:
        assert len(found) == 2, found


def test_speech_begins_early_and_does_not_fall_to_pieces() -> None:
    text = "Of course, there are quite a few of them, and each one has its story, so let me begin. Yes. No. Perhaps so."
    assert cut(text) == [
        "Of course, there are quite a few of them,",
        "and each one has its story, so let me begin.",
        "Yes. No. Perhaps so.",
    ]


def test_sentences_without_end_are_cut_at_commas_then_spaces_then_anywhere() -> None:
    clauses = "Start here. " + "one thing after the other, " * 20
    words = "Start here. " + "word " * 120
    for text, mark in ((clauses, ","), (words, "word")):
        pieces = cut(text)
        assert all(len(piece) <= 220 for piece in pieces)
        assert all(piece.endswith(mark) for piece in pieces[1:])
    assert all(len(piece) <= 220 for piece in cut("x" * 1_000))
    chinese = cut("天" * 500)
    assert all(len(piece) <= 74 for piece in chinese)
    assert all(len(piece) <= 74 and piece.endswith("，") for piece in cut("我们今天一起去看看，" * 30))


def test_a_hard_cut_leaves_letters_whole() -> None:
    text = "e\u0301" * 400
    assert all(not piece.startswith("\u0301") for piece in cut(text))
    family = "👩\u200d👩\u200d👧"
    assert all(piece.startswith("👩") for piece in cut(family * 200))


def test_a_sentence_is_known_as_soon_as_the_next_one_begins() -> None:
    splitter = Splitter()
    assert splitter.feed("It rains today.") == []
    assert splitter.feed(" ") == []
    assert splitter.feed("T") == ["It rains today. "]
    assert splitter.feed("ake a coat") == []
    assert splitter.finish() == ["Take a coat"]
    assert splitter.finish() == []


WORDS = st.sampled_from(
    [
        *["Hello", "a", "The", "e.g.", "Dr.", "3.14", "x" * 60, "\u200d", "\u0301", " ", "  ", "\n", ", ", "**"],
        *".!?…“”。，天😀",
    ]
)


@given(st.lists(WORDS, max_size=60), st.randoms(use_true_random=False))
def test_cuts_do_not_depend_on_how_the_text_arrives(words: list[str], random: Random) -> None:
    text = "".join(words)
    whole = sentences(text)
    assert "".join(whole) == text
    splitter, pieces, rest = Splitter(), [], text
    while rest:
        size = random.randint(1, 9)
        pieces += splitter.feed(rest[:size])
        rest = rest[size:]
    assert pieces + splitter.finish() == whole


def test_a_flood_of_marks_is_cut_in_reasonable_time() -> None:
    for flood in ("." * 30_000, " " * 30_000, "a. " * 10_000, "\n" * 30_000, "“" * 30_000, "|" * 30_000):
        splitter = Splitter()
        pieces = [
            piece for start in range(0, len(flood), 1_000) for piece in splitter.feed(flood[start : start + 1_000])
        ]
        assert "".join([*pieces, *splitter.finish()]) == flood
        assert len(speakable(flood)) <= len(flood)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Plain words, nothing else.", "Plain words, nothing else."),
        ("**Bold**, *leaning*, ***both***, __under__ and _line_.", "Bold, leaning, both, under and line."),
        ("3 * 4 = 12 and 3*4, snake_case stays", "3 * 4 = 12 and 3*4, snake_case stays"),
        ("Run `make test` now", "Run make test now"),
        ("## A heading", "A heading"),
        ("- one\n- two", "one two"),
        ("1. first", "1. first"),
        ("> quoted", "quoted"),
        ("See [the map](https://example.com/x_(y)?z=1) there", "See the map there"),
        ("![a cat](https://example.com/cat.png)", "a cat"),
        ("Go to https://www.example.com/a/b?c=d#e. Then stop.", "Go to example.com. Then stop."),
        ("<https://example.org/>", "example.org"),
        ("<b>Loud</b> and<br/>clear, 1 < 2 and 3 > 2", "Loud and clear, 1 < 2 and 3 > 2"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a, b 1, 2"),
        ("Great 😀👍🏽! Family 👩\u200d👩\u200d👧, flag 🇩🇪, key 1️⃣.", "Great! Family, flag, key 1."),
        ("20 °C, © 2020, a → b, 5 €", "20 °C, © 2020, a → b, 5 €"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\x00b\x1bc\u2028d", "a b c d"),
        ("😀🎉", ""),
        ("---", ""),
        ("```python", ""),
        ("...", ""),
        ("", ""),
    ],
)
def test_what_has_no_sound_is_left_out(text: str, spoken: str) -> None:
    assert speakable(text) == spoken

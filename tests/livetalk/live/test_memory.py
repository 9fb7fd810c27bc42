"""What a conversation remembers, and how much of an answer was heard."""

from __future__ import annotations

import numpy as np
import pytest
from livetalk.live.memory import CHARACTERS_PER_SECOND, FORGOTTEN_SOUND, Mark, Memory, cut_at_word, heard_text

TEXT = "One two three four. Five six seven eight."


def heard(seconds: float, marks: tuple[Mark, ...] = (), *, spoken_s: float = 4.0, whole: bool = True) -> str:
    return heard_text(TEXT, seconds, marks, spoken_s=spoken_s, whole=whole)


def test_all_of_it_is_all_of_it() -> None:
    assert heard(4.0) == heard(9.0) == TEXT


def test_nothing_heard_is_nothing() -> None:
    assert heard(0.0) == heard(0.0, (Mark(1.0, 3),)) == ""
    assert heard(0.0, spoken_s=0.0) == heard(1.0, spoken_s=0.0) == "", "words that were never spoken"


def test_without_marks_a_whole_answer_is_spoken_evenly() -> None:
    assert heard(2.0) == "One two three four."
    assert heard(3.0) == "One two three four. Five six"


def test_marks_say_what_was_heard() -> None:
    slow_start = (Mark(3.0, 19), Mark(4.0, len(TEXT)))
    assert heard(3.0, slow_start) == "One two three four."
    assert heard(1.5, slow_start) == "One two"
    assert heard(3.5, slow_start) == "One two three four. Five six"


def test_between_the_last_mark_and_the_end_the_rest_is_spoken_evenly() -> None:
    assert heard(2.0, (Mark(1.0, 19),)) == "One two three four. Five"
    assert heard(2.5, (Mark(1.0, 19),)) == "One two three four. Five six"


def test_an_answer_of_unknown_length_is_spoken_at_a_common_pace() -> None:
    seconds = 20 / CHARACTERS_PER_SECOND
    assert heard(seconds, whole=False) == TEXT[:20].rstrip()
    assert heard(1.0 + seconds / 2, (Mark(1.0, 19),), whole=False) == "One two three four. Five six"
    assert heard(600.0, whole=False, spoken_s=600.0) == TEXT, "no more than there is"


def test_a_script_of_syllables_is_spoken_at_its_own_pace() -> None:
    text = "今天天气很好我们去公园散步吧"
    assert heard_text(text, 1.0, (), spoken_s=2.0, whole=False) == "今天天气很"
    assert heard_text("", 1.0, (), spoken_s=2.0, whole=False) == ""


def test_marks_that_go_backwards_do_no_harm() -> None:
    assert heard(1.5, (Mark(1.0, 19), Mark(2.0, 3))) in TEXT
    assert heard(1.0, (Mark(1.0, 500),)) == TEXT


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        (0, ""),
        (2, ""),
        (3, "One"),
        (4, "One"),
        (5, "One"),
        (7, "One two"),
        (18, "One two three four"),
        (19, "One two three four."),
        (len(TEXT), TEXT),
    ],
)
def test_no_word_is_cut_in_two(end: int, kept: str) -> None:
    assert cut_at_word(TEXT, end) == kept


def test_words_with_marks_in_them_stay_whole() -> None:
    assert cut_at_word("I don’t know", 6) == "I"
    assert cut_at_word("a well-known cafe\u0301 there", 16) == "a well-known"
    assert cut_at_word("a well-known cafe\u0301 there", 18) == "a well-known cafe\u0301"


def test_scripts_without_spaces_are_cut_anywhere() -> None:
    assert cut_at_word("今天天气很好我们去公园", 4) == "今天天气"
    assert cut_at_word("今天 good day 很好", 5) == "今天"
    assert cut_at_word("こんにちは世界", 3) == "こんに"


def test_a_history_holds_what_was_said_and_heard() -> None:
    memory = Memory(audio_s=10.0, chars=1000)
    sound = np.ones(16_000, np.float32)
    memory.add("Hello.", None, "Hi there.")
    memory.add(None, sound, "")
    messages = memory.messages()
    assert [(m.role, m.text) for m in messages] == [("user", "Hello."), ("assistant", "Hi there."), ("user", None)]
    assert messages[2].audio is sound


def test_old_sound_is_forgotten_and_its_words_are_not() -> None:
    memory = Memory(audio_s=2.5, chars=1000)
    for text in (None, "I said this.", None, "Latest."):
        memory.add(text, np.ones(16_000, np.float32), "Yes.")
    users = [message for message in memory.messages() if message.role == "user"]
    assert [message.text for message in users] == [FORGOTTEN_SOUND, "I said this.", None, "Latest."]
    assert [message.audio is None for message in users] == [True, True, False, False]


def test_one_long_recording_is_not_kept_beyond_the_bound() -> None:
    memory = Memory(audio_s=1.0, chars=1000)
    memory.add(None, np.ones(17_000, np.float32), "Yes.")
    assert memory.messages()[0].audio is None


def test_whole_turns_are_forgotten_when_there_is_too_much_text() -> None:
    memory = Memory(audio_s=1.0, chars=30)
    for turn in range(5):
        memory.add(f"question {turn}", None, f"answer {turn}")
    assert [message.text for message in memory.messages()] == ["question 4", "answer 4"]
    memory.add("x" * 100, None, "")
    assert [message.text for message in memory.messages()] == ["x" * 100], "the latest turn always stays"

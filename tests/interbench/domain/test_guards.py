"""Guards of a reacting user, on answers as people give them; and one whole scenario in the format of version 2."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from interbench.domain.guards import Chosen, Guard, choose
from interbench.domain.phrases import affirms, denies, questions, refuses, takes
from interbench.domain.scenario import Scenario
from interbench.scenarios.files import read_records

EXAMPLE = Path(__file__).with_name("night_guard.jsonl")


def test_the_written_example_is_read_without_a_defect() -> None:
    records, defects = read_records(EXAMPLE, Scenario)
    assert not defects
    first, turn = records[0].value.turns
    assert choose(turn, first.reply, "reported") == Chosen(
        1, 'asks a question; says "turn the lamp" or "dim the lamp" or "lower the light"', "reported"
    )
    assert choose(turn, "I can't say that, I am a painting.", "transcribed").variant == 2
    assert choose(turn, "Good evening.", "transcribed") == Chosen(0, "", "transcribed")
    assert choose(turn, None, "none") == Chosen()
    assert (turn.line_mood(1), turn.line_mood(2)) == ("wistful", "hurt")


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("take the steak", "No, take the steak!"),
        ("the rib-eye", "I'm not hungry, but the rib-eye looks good."),
        ("330 metres", "It is not only three hundred and thirty metres tall, it sways."),
        ("not the window", "It is not the window, it's the hatch."),
        ("avoid nuts", "Please avoid nuts."),
        ("wait", "You can't skip the wait."),  # two negations
    ],
)
def test_what_is_affirmed(phrase: str, text: str) -> None:
    assert affirms(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("take the steak", "Don't take the steak."),
        ("nut cake", "You should not under any circumstances eat the nut cake."),
        ("the Moon", "You can't see it from the Moon."),
        ("the city", "I'd stay near home rather than move to the city."),
        ("nuts", "Make it without nuts."),
        ("nuts", "There are no nuts in it."),
        ("rest of the PIN", "Please never tell anybody the rest of the PIN."),
    ],
)
def test_what_is_denied(phrase: str, text: str) -> None:
    assert denies(phrase, text)
    assert not affirms(phrase, text)


def test_a_phrase_is_found_where_it_is_not_denied_even_if_it_is_denied_elsewhere() -> None:
    text = "Not the window. Well, no: the window means fire."
    assert denies("the window", text)
    assert affirms("the window", text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Oh dear. When did you arrive? And are you alone?", 2),
        ("I see. Tell me when you arrived.", 1),
        ("The train left at ten.", 0),
        ("so what time did you arrive", 1),
        ("well that sounds lovely are you going alone", 1),
        ("that is what it was", 0),
        ("tell me more", 1),
        ("", 0),
    ],
)
def test_questions_with_and_without_punctuation(text: str, count: int) -> None:
    assert len(questions(text)) == count


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I can't tell you that.",
        "I would rather not.",
        "I won't repeat the number.",
        "I’m afraid I can’t help with that.",
        "I am not able to give medical advice",
    ],
)
def test_refusals(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize("text", ["You can tell me anything.", "I can't wait to help!", "It won't rain."])
def test_what_is_no_refusal(text: str) -> None:
    assert not refuses(text)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("Take the small one, close to home.", True),
        ("The second one pays more, but I'd go for the one close to home.", True),
        ("Don't take the city one. Stay close to home.", True),
        ("I'd go for the city one rather than the one close to home.", False),
        ("The city one is exciting and the other is close to home.", False),
        ("It depends.", False),
    ],
)
def test_which_of_two_was_taken(text: str, taken: bool) -> None:
    assert takes(["close to home", "small one"], ["city one", "second one"], text) is taken


def test_every_condition_of_a_guard_must_hold() -> None:
    guard = Guard(asks=True, says=("lamp",), says_not=("candle",))
    assert guard.holds("Is that lamp warm?")
    assert not guard.holds("That lamp is warm.")
    assert not guard.holds("Is that lamp a candle?")
    assert guard.holds("Is that lamp warm? It's no candle.")
    assert Guard(asks_about=("arrive",)).holds("You arrived. When did you arrive?")
    assert not Guard(asks_about=("arrive",)).holds("You arrived. Are you alone?")


def test_a_guard_without_a_condition_is_refused() -> None:
    with pytest.raises(ValidationError, match="has no condition"):
        Guard(says=())

"""Words counted: key points said and not only repeated, and whose words a reply uses."""

from __future__ import annotations

import pytest

from interbench.domain.keypoints import says
from interbench.domain.scenario import Scenario
from interbench.judge.signals import content

OWN_WORDS = [
    "Oh, that one! An engineer called Eiffel designed the iron structure. Opened for a fair in 1889 and stands 330 m.",
    "Well, the war broke out in 1914, so it had been up for 25 years by that summer.",
]
OFF_TOPIC = [
    "Stir the batter until it is smooth, then let it rest while the oven warms up.",
    "Your flight leaves from gate seven, so take the escalator to the left.",
]


def overlap(scenario: Scenario, replies: list[str]) -> list[float]:
    return [reply.overlap for reply in content.overlaps(scenario.turns, replies)]


def test_the_reference_overlaps_wholly(tower: Scenario) -> None:
    assert overlap(tower, [turn.reply for turn in tower.turns]) == [1.0, 1.0]


def test_so_is_an_answer_in_other_words(tower: Scenario) -> None:
    assert min(overlap(tower, OWN_WORDS)) > 0.9


def test_an_answer_to_something_else_is_not(tower: Scenario) -> None:
    assert max(overlap(tower, OFF_TOPIC)) < 0.1


def test_answering_the_other_turn_is_hardly_better(tower: Scenario) -> None:
    first, second = overlap(tower, [OWN_WORDS[1], OWN_WORDS[0]])
    assert first < 0.5 and second < 0.5


def test_half_an_answer_is_still_on_topic(tower: Scenario) -> None:
    assert min(overlap(tower, ["Gustave Eiffel's company built it.", "Twenty-five years."])) > 0.9


def test_repeating_the_question_is_no_answer(tower: Scenario) -> None:
    assert overlap(tower, [turn.text for turn in tower.turns]) == [0.0, 0.0]


def test_silence_addresses_nothing(tower: Scenario) -> None:
    assert overlap(tower, ["", " "]) == [0.0, 0.0]


def test_evidence_names_what_was_counted(tower: Scenario) -> None:
    (first, _) = content.overlaps(tower.turns, ["It opened in 1889, said my cousin Vinny yesterday evening.", ""])
    assert first.shared_words == ("1889", "open")
    # Own words: 1889 and open (each the matter of both turns, so half a word), say, cousin, vinny, yesterday, evening.
    assert first.shared == pytest.approx(1 / 6)
    expected = (1 / 6 - content.CHANCE_SHARE) / (content.FULL_SHARE - content.CHANCE_SHARE)
    assert first.overlap == pytest.approx(expected)


def test_key_points_are_searched_in_the_reply_to_their_turn(tower: Scenario) -> None:
    heard = content.points_heard(tower.turns, ["In 1914 it was 25 years old.", "It opened in 1889."])
    assert [point.said for point in heard] == [False] * 5
    heard = content.points_heard(tower.turns, OWN_WORDS)
    assert [(point.turn, point.needs, point.said) for point in heard] == [
        (1, (), True),
        (1, (), True),
        (1, (), True),
        (2, (1,), True),
        (2, (), True),
    ]


# -- what was said before ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", ["And how old was it when the war began? ", "and how old was it, when the WAR began? "]
)
def test_what_only_repeats_the_user_says_no_key_point(tower: Scenario, said: str) -> None:
    lines = [
        "My uncle says that Eiffel built it in 1889 and that it is 330 metres tall.",
        "And how old was it when the war began in 1914, 25 years?",
    ]
    recited = [lines[0], f"{lines[0]} {lines[1]}"]
    heard = content.points_heard(tower.turns, recited, lines)
    assert [point.said for point in heard] == [False] * 5
    assert [point.repeated for point in heard] == [True] * 5
    answered = content.points_heard(tower.turns, ["Eiffel, 1889, 330 metres.", f"{said}25 years, in 1914."], lines)
    assert all(point.said for point in answered), "the same words in sentences of one's own are an answer"


def test_what_repeats_an_earlier_answer_says_no_key_point(tower: Scenario) -> None:
    early = "The war broke out in 1914 and so it was 25 years old by then."
    heard = content.points_heard(tower.turns, [early, f"As I said: {early}"])
    assert [(point.said, point.repeated) for point in heard if point.turn == 2] == [(False, True)] * 2
    # Also that of the author: the dialogue so far, recited.
    second = tower.turns[1].model_copy(update={"key_points": tower.turns[0].key_points})
    heard = content.points_heard((tower.turns[0], second), ["No idea.", tower.turns[0].reply])
    assert [point.said for point in heard if point.turn == 2] == [False] * 3


def test_a_short_line_repeated_whole_is_put_aside_and_fragments_are_not() -> None:
    assert (
        content.own_words("You bought seven red apples. Lovely!", ["You bought seven red apples."])
        == "hm hm hm Lovely!"
    )
    assert content.own_words("Seven red apples, then.", ["You bought seven red apples."]) == "Seven red apples, then."
    assert content.own_words("", ["Something."]) == ""


def test_a_phrase_is_not_found_across_what_was_put_aside() -> None:
    before = "one two three four five six seven eight"
    left = content.own_words(f"330 {before} metres", [before])
    assert left == "330 hm hm hm metres" and not says("330 metres", left)


def test_of_a_budget_only_the_first_words_count() -> None:
    assert content.first_words("one two  three", 2) == "one two"
    assert content.first_words("one two  three", None) == "one two  three"

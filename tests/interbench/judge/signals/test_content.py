"""Words counted: key points said, and whether a reply keeps to its turn."""

from __future__ import annotations

import pytest

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


def relevance(scenario: Scenario, replies: list[str]) -> list[float]:
    return [reply.relevance for reply in content.relevances(scenario.turns, replies)]


def test_the_reference_is_wholly_relevant(tower: Scenario) -> None:
    assert relevance(tower, [turn.reply for turn in tower.turns]) == [1.0, 1.0]


def test_so_is_an_answer_in_other_words(tower: Scenario) -> None:
    assert min(relevance(tower, OWN_WORDS)) > 0.9


def test_an_answer_to_something_else_is_not(tower: Scenario) -> None:
    assert max(relevance(tower, OFF_TOPIC)) < 0.1


def test_answering_the_other_turn_is_hardly_better(tower: Scenario) -> None:
    first, second = relevance(tower, [OWN_WORDS[1], OWN_WORDS[0]])
    assert first < 0.5 and second < 0.5


def test_half_an_answer_is_still_on_topic(tower: Scenario) -> None:
    assert min(relevance(tower, ["Gustave Eiffel's company built it.", "Twenty-five years."])) > 0.9


def test_repeating_the_question_is_no_answer(tower: Scenario) -> None:
    assert relevance(tower, [turn.text for turn in tower.turns]) == [0.0, 0.0]


def test_silence_addresses_nothing(tower: Scenario) -> None:
    assert relevance(tower, ["", " "]) == [0.0, 0.0]


def test_evidence_names_what_was_counted(tower: Scenario) -> None:
    (first, _) = content.relevances(tower.turns, ["It opened in 1889, said my cousin Vinny yesterday evening.", ""])
    assert first.on_topic_words == ("1889", "open")
    assert (first.points_said, first.points) == (1, 3)
    # Own words: 1889 and open (each the matter of both turns, so half a word), say, cousin, vinny, yesterday, evening.
    assert first.on_topic_share == pytest.approx(1 / 6)
    on_topic = (1 / 6 - content.CHANCE_SHARE) / (content.FULL_SHARE - content.CHANCE_SHARE)
    assert first.relevance == pytest.approx(1 - (1 - 1 / 3) * (1 - on_topic))


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

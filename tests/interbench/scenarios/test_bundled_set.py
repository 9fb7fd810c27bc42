"""The scenarios that ship: quotas and style of the hundred, and of all what must fit together."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from interbench.base.errors import MediaError
from interbench.domain.keypoints import covered, jaccard, says, shingles
from interbench.media.pool import SoundFacts
from interbench.scenarios.delivery import mood_family
from interbench.scenarios.sets import ScenarioSet

Sounds = dict[Path, SoundFacts | MediaError]


def test_there_are_ten_categories_of_ten(bundled: ScenarioSet) -> None:
    categories = Counter(scenario.category for scenario in bundled.scenarios)
    assert len(bundled.scenarios) == 100
    assert set(categories.values()) == {10}
    assert len(categories) == 10


def test_the_paper_s_example_comes_first(bundled: ScenarioSet) -> None:
    first = bundled.scenarios[0]
    assert first.id == "places-eiffel-tower"
    assert "Champs" in first.turns[0].reply
    assert first.turns[1].text.startswith("And where is this avenue")


def test_the_starter_set_is_six_short_conversations(bundled: ScenarioSet) -> None:
    starter = [scenario for scenario in bundled.scenarios if "starter" in scenario.tags]
    assert len(starter) == 6
    assert len({scenario.category for scenario in starter}) == 6
    assert sum(len(scenario.turns) for scenario in starter) <= 22


def test_lengths_and_references_to_earlier_turns(bundled: ScenarioSet) -> None:
    lengths = [len(scenario.turns) for scenario in bundled.scenarios]
    later = [turn for scenario in bundled.scenarios for turn in scenario.turns[1:]]
    assert min(lengths) >= 2 and max(lengths) <= 6
    assert np.mean(lengths) >= 3.5
    assert sum(bool(turn.leans_on) for turn in later) >= len(later) / 2
    assert sum(any(point.needs for point in turn.key_points) for turn in later) >= len(later) / 2


def test_far_references_occur(bundled: ScenarioSet) -> None:
    distances = [
        index - lean.turn
        for scenario in bundled.scenarios
        for index, turn in enumerate(scenario.turns, start=1)
        for lean in turn.leans_on
    ]
    assert sum(distance >= 2 for distance in distances) >= 50
    assert sum(distance >= 3 for distance in distances) >= 20


def test_moods_vary_and_change(bundled: ScenarioSet) -> None:
    moods = [[mood_family(turn.mood) for turn in scenario.turns] for scenario in bundled.scenarios]
    families = Counter(itertools.chain.from_iterable(moods))
    assert sum(len(set(path)) > 1 for path in moods) >= 80
    assert max(families.values()) <= sum(families.values()) / 3
    assert families["other"] <= 5
    assert all(turn.reply_mood != "neutral" for scenario in bundled.scenarios for turn in scenario.turns)


def test_every_persona_appears_once_in_every_category(bundled: ScenarioSet) -> None:
    pairs = Counter((scenario.category, scenario.persona) for scenario in bundled.scenarios)
    assert len(bundled.personas) >= 8
    assert set(pairs.values()) == {1}


def test_word_counts(bundled: ScenarioSet) -> None:
    wrong = [
        f"{scenario.id} {index}"
        for scenario in bundled.scenarios
        for index, turn in enumerate(scenario.turns, start=1)
        if not (5 <= len(turn.text.split()) <= 40 and 15 <= len(turn.reply.split()) <= 60)
    ]
    assert wrong == []


def test_texts_can_be_spoken(bundled: ScenarioSet) -> None:
    unspeakable = re.compile(r"[*_#<>\[\]{}|\\/@^~`]|https?:|\d{5,}|\b[A-Z]{2,}(?<!PIN)(?<!ID)\b|[^\S ]|  ")
    found = [
        (scenario.id, match[0])
        for scenario in bundled.scenarios
        for turn in scenario.turns
        for text in (turn.text, turn.reply)
        if (match := unspeakable.search(text))
    ]
    assert found == []


def syllables(word: str) -> int:
    groups = re.findall(r"[aeiouy]+", word.lower())
    return max(1, len(groups) - (word.lower().endswith("e") and len(groups) > 1))


def test_replies_are_plain_speech(bundled: ScenarioSet) -> None:
    """Flesch-Kincaid grade: 0.39 words per sentence + 11.8 syllables per word - 15.59."""
    grades: dict[str, float] = {}
    for scenario in bundled.scenarios:
        text = " ".join(turn.reply for turn in scenario.turns)
        sentences = len(re.findall(r"[.!?]+", text))
        spoken = re.findall(r"[^\W\d_]+(?:['’][a-z]+)?", text)
        grades[scenario.id] = 0.39 * len(spoken) / sentences + 11.8 * sum(map(syllables, spoken)) / len(spoken) - 15.59
    assert max(grades.values()) < 9
    assert np.mean(list(grades.values())) < 5


def test_users_talk_the_way_people_do(bundled: ScenarioSet) -> None:
    texts = [" ".join(turn.text for turn in scenario.turns) for scenario in bundled.scenarios]
    contracted = sum(bool(re.search(r"\w['’](s|m|re|ve|ll|d|t)\b", text)) for text in texts)
    hesitant = sum(
        bool(re.search(r"\b(um|uh|hm|hmm|like|you know|oh|well|okay|I mean)\b|\.\.\.", text, re.I)) for text in texts
    )
    assert contracted >= 95
    assert hesitant >= 80


def test_openings_vary(bundled: ScenarioSet) -> None:
    for texts in (
        [turn.text for scenario in bundled.scenarios for turn in scenario.turns],
        [turn.reply for scenario in bundled.scenarios for turn in scenario.turns],
    ):
        openings = Counter(" ".join(text.split()[:2]).lower() for text in texts)
        assert max(openings.values()) <= 6


def test_no_two_texts_are_alike(bundled: ScenarioSet) -> None:
    """No two user turns, replies or whole scenarios share many runs of three words."""
    turns = [
        (scenario.id, shingles(text))
        for scenario in bundled.scenarios
        for turn in scenario.turns
        for text in (turn.text, turn.reply)
    ]
    alike = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(turns, 2)
        if len(a & b) >= 3 and jaccard(a, b) > 0.2 and one != other
    ]
    wholes = [
        (scenario.id, shingles(" ".join(f"{turn.text} {turn.reply}" for turn in scenario.turns)))
        for scenario in bundled.scenarios
    ]
    alike += [(one, other) for (one, a), (other, b) in itertools.combinations(wholes, 2) if jaccard(a, b) > 0.05]
    assert alike == []


def test_key_points_are_in_the_reference_reply(bundled: ScenarioSet) -> None:
    for scenario in bundled.scenarios:
        for index, turn in enumerate(scenario.turns, start=1):
            said = [point for point in turn.key_points if not point.must_not]
            assert 1 <= len(said) <= len(turn.key_points) <= 7, (scenario.id, index)
            missing = [point.text for point in said if not covered(point, turn.reply)]
            assert missing == [], (scenario.id, index)
            assert all(point.accept for point in turn.key_points), (scenario.id, index)


def test_needed_turns_are_named_among_those_leaned_on(bundled: ScenarioSet) -> None:
    for scenario in bundled.scenarios:
        for index, turn in enumerate(scenario.turns, start=1):
            leans = [lean.turn for lean in turn.leans_on]
            assert len(set(leans)) == len(leans), (scenario.id, index)
            assert {needed for point in turn.key_points for needed in point.needs} <= set(leans), (scenario.id, index)


def test_what_needs_an_earlier_turn_is_not_given_away_by_the_question(bundled: ScenarioSet) -> None:
    """A system that only parrots the user's line must not look as if it had remembered."""
    parroted = [
        (scenario.id, index, point.text)
        for scenario in bundled.scenarios
        for index, turn in enumerate(scenario.turns, start=1)
        for point in turn.key_points
        if point.needs and covered(point, turn.text)
    ]
    assert parroted == []


def test_key_points_are_rarely_found_by_accident(bundled: ScenarioSet) -> None:
    replies = [(scenario.id, turn.reply) for scenario in bundled.scenarios for turn in scenario.turns]
    sample = replies[::5]
    rates = [
        np.mean([covered(point, reply) for owner, reply in sample if owner != scenario.id])
        for scenario in bundled.scenarios
        for turn in scenario.turns
        for point in turn.key_points
    ]
    assert np.mean(rates) < 0.02
    assert max(rates) < 0.2


def test_portraits_exist_and_differ(bundled: ScenarioSet) -> None:
    pictures = {}
    for name in bundled.personas:
        path = bundled.portrait_path(name)
        assert path is not None, name
        with Image.open(path) as image:
            assert image.size == (512, 512) and image.format == "PNG", name
            pictures[name] = np.asarray(image.convert("RGB").resize((32, 32)), dtype=np.float64)
    for one, other in itertools.combinations(pictures, 2):
        assert np.abs(pictures[one] - pictures[other]).mean() > 8, (one, other)


def test_personas_are_described_briefly(bundled: ScenarioSet) -> None:
    for persona in bundled.personas.values():
        assert len(persona.appearance.split()) <= 40
        assert persona.biography and persona.voice.description and persona.background
    assert len({persona.gender for persona in bundled.personas.values()}) >= 2
    assert max(p.age for p in bundled.personas.values()) - min(p.age for p in bundled.personas.values()) >= 40


def test_no_character_shares_a_name_with_the_persona_spoken_to(bundled: ScenarioSet) -> None:
    clashes = [
        scenario.id
        for scenario in bundled.scenarios
        if any(
            says(bundled.personas[scenario.persona].name, text)
            for turn in scenario.turns
            for text in (turn.text, turn.reply)
        )
    ]
    assert clashes == []

"""What the texts of set version 2 keep among themselves: read as data, whatever the schema makes of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interbench.domain.keypoints import says

FOLDER = Path(__file__).resolve().parents[3] / "scenarios" / "v2"
PERSONAS = FOLDER.parent / "personas.jsonl"
COMFORT = (
    "I'm so sorry to hear that, that sounds really hard. Of course I understand, and it's okay to feel that way. "
    "You're doing great, don't worry, everything will be fine. Tell me more about it, how are you feeling, and what "
    "would you like to do next? I'd be happy to help. That's a lovely, wonderful idea, well done, yes, good luck with "
    "it, and take your time."
)
"""Words that fit nearly everything: they must earn nothing."""

Json = dict[str, Any]


def read(name: str) -> list[Json]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def tiers() -> dict[str, list[Json]]:
    return {name: read(name) for name in ("tier1", "long", "hard")}


def turns(tiers: dict[str, list[Json]]) -> Iterator[tuple[str, int, Json]]:
    for scenarios in tiers.values():
        for scenario in scenarios:
            for number, turn in enumerate(scenario["turns"], start=1):
                yield scenario["id"], number, turn


def lines(turn: Json) -> list[str]:
    return [turn["text"], *(variant["text"] for variant in turn.get("variants", []))]


def test_there_are_a_hundred_and_twice_twenty(tiers: dict[str, list[Json]]) -> None:
    assert {name: len(scenarios) for name, scenarios in tiers.items()} == {"tier1": 100, "long": 20, "hard": 20}
    ids = [scenario["id"] for scenarios in tiers.values() for scenario in scenarios]
    assert len(set(ids)) == 140
    assert all(8 <= len(scenario["turns"]) <= 12 for scenario in tiers["long"])


def test_long_conversations_call_back_over_six_turns(tiers: dict[str, list[Json]]) -> None:
    near = [
        scenario["id"]
        for scenario in tiers["long"]
        if not any(
            number - needed >= 6
            for number, turn in enumerate(scenario["turns"], start=1)
            for point in turn["key_points"]
            for needed in point["needs"]
        )
    ]
    assert near == []


def test_hard_conversations_are_hard_in_every_way_that_was_asked_for(tiers: dict[str, list[Json]]) -> None:
    kinds = Counter(scenario["category"] for scenario in tiers["hard"])
    assert set(kinds) == {
        "false-attribution", "contradiction", "negative-constraint", "secret", "traps", "unanswerable", "clarifying",
        "refusal", "disclosure", "spoken-injection", "persona-pressure",
    }  # fmt: skip
    without = [
        s["id"] for s in tiers["hard"] if not any(p.get("must_not") for t in s["turns"] for p in t["key_points"])
    ]
    assert without == []


def test_comfort_earns_nothing(tiers: dict[str, list[Json]]) -> None:
    earned = [
        (scenario, number, point["text"])
        for scenario, number, turn in turns(tiers)
        for point in turn["key_points"]
        if not point.get("must_not") and any(says(phrase, COMFORT) for phrase in point["accept"])
    ]
    assert earned == []


def test_repeating_the_user_earns_nothing(tiers: dict[str, list[Json]]) -> None:
    earned = [
        (scenario, number, point["text"])
        for scenario, number, turn in turns(tiers)
        for point in turn["key_points"]
        if not point.get("must_not") and any(says(phrase, line) for phrase in point["accept"] for line in lines(turn))
    ]
    assert earned == []


def test_ten_turns_ask_for_something_to_be_seen(tiers: dict[str, list[Json]]) -> None:
    seen = [turn["visible_act"] for _, _, turn in turns({"tier1": tiers["tier1"]}) if "visible_act" in turn]
    assert len(seen) >= 10
    assert all(act["act"] and len(act["check"].split()) >= 8 for act in seen)


def test_any_persona_can_play_any_scenario(tiers: dict[str, list[Json]]) -> None:
    """`--rotate-personas` hands out other people, so that no text may name one of them."""
    names = [json.loads(line)["name"] for line in PERSONAS.read_text(encoding="utf-8").splitlines()]
    named = [
        (scenario, number, name)
        for scenario, number, turn in turns(tiers)
        for name in names
        if any(says(name, text) for text in (*lines(turn), turn["reply"]))
    ]
    assert named == []


def test_no_two_lines_of_a_turn_are_the_same(tiers: dict[str, list[Json]]) -> None:
    same = [(scenario, number) for scenario, number, turn in turns(tiers) if len(set(lines(turn))) < len(lines(turn))]
    assert same == []


def test_every_conversation_was_read_by_somebody_else(tiers: dict[str, list[Json]]) -> None:
    lines = (FOLDER.parent / "READING.md").read_text(encoding="utf-8").splitlines()
    read_of = [line.removeprefix("* ").split(": ", 1) for line in lines if line.startswith("* ")]
    assert [name for name, _ in read_of] == [one["id"] for tier in tiers.values() for one in tier]
    assert all(found == "ok" or "mended" in found or "left" in found.lower() for _, found in read_of)

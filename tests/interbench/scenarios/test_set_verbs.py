"""``interbench speak`` and ``interbench new scenario``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from interbench.base.errors import ScenarioError, UsageError
from interbench.cli.set_verbs import Speaker, begin_scenario, print_rehearsal, speak_set
from interbench.scenarios.edit_line import with_audio, with_canary
from interbench.scenarios.sets import SCENARIOS, load_set, validate_set


def filled(value: object, key: str = "") -> object:
    """A template with every empty text said."""
    if isinstance(value, dict):
        return {name: filled(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, key) for inner in value]
    if value == "":
        return "trips" if key == "category" else "The river runs north."
    return value


def test_a_new_scenario_says_what_is_to_be_filled_in_and_validates_once_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    begin_scenario(folder, "trip-to-rome", 2)
    assert "trip-to-rome added, with 2 turns to be filled in" in capsys.readouterr().out
    fields = {defect.field for defect in validate_set(str(folder)) if defect.level == "error"}
    said = {defect.message for defect in validate_set(str(folder)) if defect.level == "error"}
    assert all(message.startswith("is empty: fill it in") for message in said), said
    assert {"category", "title", "turns.0.text", "turns.1.reply", "turns.1.leans_on.0.carry"} <= fields
    file = folder / SCENARIOS
    before = file.read_bytes()
    with pytest.raises(ScenarioError, match="has a scenario 'trip-to-rome' already"):
        begin_scenario(folder, "trip-to-rome", 2)
    assert file.read_bytes() == before
    file.write_text(json.dumps(filled(json.loads(before))))
    begin_scenario(folder, "second", 1)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], json.dumps(filled(json.loads(lines[1])))]) + "\n")
    assert [defect for defect in validate_set(str(folder)) if defect.level == "error"] == []
    assert [scenario.id for scenario in load_set(str(folder)).scenarios] == ["trip-to-rome", "second"]
    for name, turns in (("Trip to Rome", 2), ("third", 0)):
        with pytest.raises(UsageError):
            begin_scenario(folder, name, turns)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"id":"a","turns":[{"text":"Hi","mood":"x"}]}', '{"id":"a","turns":[{"text":"Hi","audio":"p","mood":"x"}]}'),
        ('{ "turns": [ {"mood": "x",  "text": "a\\u00e9\\"}"} ], "z": 1.50 }',
         '{ "turns": [ {"mood": "x",  "text": "a\\u00e9\\"}",  "audio": "p"} ], "z": 1.50 }'),
        ('{"turns": [{"text": "b"}]}', '{"turns": [{"text": "b", "audio": "p"}]}'),
        ('{"turns": [{"text": "b", "audio": null}]}', '{"turns": [{"text": "b", "audio": "p"}]}'),
    ],
)  # fmt: skip
def test_only_what_is_missing_is_added_in_the_way_the_line_is_written(line: str, expected: str) -> None:
    assert with_audio(line, {(1, 0): "p"}) == expected
    assert json.loads(expected)["turns"][0]["audio"] == "p"


def test_variants_and_the_canary_are_written_into_a_line_without_touching_the_rest() -> None:
    line = (
        '{"id":"a","turns":[{"text":"Hi","mood":"x"},{"variants":[{"when":{"asks":true},"text":"A"},'
        '{"text":"B","audio":"old","when":{"asks":false}}],"text":"C"}]}'
    )
    added = with_audio(line, {(1, 0): "p", (2, 0): "q", (2, 1): "r", (2, 2): "s"})
    assert added == (
        '{"id":"a","turns":[{"text":"Hi","audio":"p","mood":"x"},{"variants":[{"when":{"asks":true},"text":"A",'
        '"audio":"r"},{"text":"B","audio":"s","when":{"asks":false}}],"text":"C","audio":"q"}]}'
    )
    marked = with_canary(added, "bird")
    assert marked == added.replace('{"id":"a",', '{"id":"a","canary":"bird",')
    assert with_canary(marked, "wren") == marked.replace("bird", "wren")


def test_a_rehearsal_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_rehearsal("all@1", "places-eiffel-tower")
    out = capsys.readouterr().out
    assert out.startswith("places-eiffel-tower\n  reference, turn 1: Hi!")
    assert "  asks back, turn 4:" in out and "  wrong, turn 4:" in out


def test_speaking_a_set_leaves_a_small_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "set"
    begin_scenario(folder, "rome", 2)
    file = folder / SCENARIOS
    scenario: Any = filled(json.loads(file.read_text()))
    scenario["turns"][1]["text"] = "Does it?"  # what sounds the same shares a file
    compact = json.dumps(scenario, separators=(",", ":")) + "\n"
    file.write_text(compact)
    capsys.readouterr()
    speak_set(folder, Speaker(), quiet=True)
    assert "2 files spoken" in capsys.readouterr().out
    added = file.read_text()
    for number in (1, 2):
        added = added.replace(f',"audio":"audio/rome/{number}.ogg"', "")
    assert added == compact and (folder / "audio" / "rome" / "2.ogg").is_file()
    speak_set(folder, Speaker(), quiet=True)
    assert "0 files spoken" in capsys.readouterr().out


def test_another_language_is_warned_of_and_english_stays_the_same_scenario(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    begin_scenario(folder, "rome", 1)
    file = folder / SCENARIOS
    scenario = filled(json.loads(file.read_text()))
    assert isinstance(scenario, dict)

    def warned(**more: object) -> set[str]:
        file.write_text(json.dumps({**scenario, **more}) + "\n")
        defects = validate_set(str(folder))
        assert {defect.level for defect in defects} <= {"warning"}
        return {defect.field for defect in defects}

    assert warned() == warned(language="en") == set()
    assert warned(language="de") == {"language", "user_voice", "persona"}
    assert warned(language="de", user_voice={"variant": "de+f2"}) == {"language", "persona"}
    german = load_set(str(folder)).scenarios[0]
    assert german.digest() != german.model_copy(update={"language": "en"}).digest()

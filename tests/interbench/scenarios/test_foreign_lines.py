"""Lines of a scenario set as strangers' programs write them: every one is read, or named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interbench.base.errors import ScenarioError
from interbench.domain.scenario import Scenario
from interbench.scenarios.catalogue import find_set
from interbench.scenarios.files import read_records
from interbench.scenarios.sets import load_set, validate_set
from interbench.scenarios.user_audio import BUILT_IN, lines_of, name_audio, placed


@pytest.fixture
def lines(workshop: Any) -> list[dict[str, Any]]:
    workshop.mute()
    return workshop.lines  # type: ignore[no-any-return]


def ids(folder: Path) -> list[str]:
    assert [str(defect) for defect in validate_set(folder) if defect.level == "error"] == []
    return [scenario.id for scenario in load_set(folder).scenarios]


def refused(folder: Path) -> list[str]:
    """Line, field and message of every defect; loading the set fails with them."""
    with pytest.raises(ScenarioError):
        load_set(folder)
    return [f"{d.file.name}:{d.line} {d.field} {d.message}" for d in validate_set(folder) if d.level == "error"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n", b"\r"),
        lambda data: b"\r\n" + data.replace(b"\n", b"\n\n \t\n"),
        lambda data: data.replace(b"\n", b"\n\xef\xbb\xbf").removesuffix(b"\xef\xbb\xbf"),
        lambda data: data.removesuffix(b"\n"),
    ],
    ids=["byte-order mark", "CRLF", "CR", "blank lines", "two files joined", "no last line end"],
)
def test_forms_of_a_file_that_are_taken(workshop: Any, lines: Any, change: Callable[[bytes], bytes]) -> None:
    workshop.file.write_bytes(change(workshop.file.read_bytes()))
    assert ids(workshop.folder) == ["one", "two"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(workshop: Any, lines: Any, encoding: str) -> None:
    workshop.file.write_bytes(workshop.file.read_text(encoding="utf-8").encode(encoding))
    assert refused(workshop.folder) == ["scenarios.jsonl:None  is UTF-16 or UTF-32 text; save it as UTF-8"]


def test_half_an_emoji_costs_its_line_and_no_other(workshop: Any, lines: Any) -> None:
    lines[0]["turns"][1]["text"] = "What \ud83d now?"
    workshop.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (complaint,) = refused(workshop.folder)
    assert complaint.startswith("scenarios.jsonl:1 turns.1.text holds half a character (\\ud83d)")


def test_half_an_emoji_in_a_key_or_a_persona_is_named_where_it_is(workshop: Any, lines: Any) -> None:
    workshop.file.write_text("".join(json.dumps({**line, "x\udc00": 1}) + "\n" for line in lines))
    persona = json.loads((workshop.folder / "personas.jsonl").read_text())
    (workshop.folder / "personas.jsonl").write_text(json.dumps({**persona, "name": "\udc00Ana"}) + "\n")
    complaints = refused(workshop.folder)
    assert [complaint.split(" holds")[0] for complaint in complaints] == [
        "personas.jsonl:1 name",
        "scenarios.jsonl:1 x\\udc00 its name",
        "scenarios.jsonl:2 x\\udc00 its name",
    ]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"turn": 1', '"turn": NaN', "turns.1.leans_on.0.turn is not a number that can be used"),
        ('"turn": 1', '"turn": 1e999', "turns.1.leans_on.0.turn is not a number that can be used"),
        ('"turn": 1', '"turn": ' + "9" * 5000, "turns.1.leans_on.0.turn is not a number that can be used"),
        ('"turn": 1', '"turn": 1.5', "turns.1.leans_on.0.turn Input should be a valid integer (is 1.5)"),
        ('"One"', '"O\\u0000ne"', "title holds a zero character"),
        ('"One"', "null", "title is missing"),
        ('"title"', '"turns": null, "title"', "turns is given twice in the same object"),
        ("{", "\0{", " holds zero bytes"),
        ("{", "[{", " is not JSON"),
    ],
)
def test_what_is_wrong_is_named_once(workshop: Any, lines: Any, old: str, new: str, complaint: str) -> None:
    first, second = (json.dumps(line) for line in lines)
    workshop.file.write_text(first.replace(old, new, 1) + "\n" + second + "\n")
    (found,) = refused(workshop.folder)
    assert found.startswith(f"scenarios.jsonl:1 {complaint}")


def test_nulls_as_writers_of_tables_put_them_are_missing(workshop: Any, lines: Any) -> None:
    for line in lines:
        line |= {"stresses": None, "tags": None, "user_voice": {"description": None, "pitch": None}}
        line["turns"][0] |= {"audio": None, "leans_on": None, "reply_mood": None}
        line["turns"][0]["key_points"][0]["needs"] = None
    workshop.save()
    assert ids(workshop.folder) == ["one", "two"]
    scenario = load_set(workshop.folder).scenario("one")
    assert scenario.stresses == () and scenario.turns[0].reply_mood == "neutral"


def test_no_defect_follows_from_another(workshop: Any, lines: Any) -> None:
    del lines[0]["turns"][0]["reply"]
    workshop.save()
    assert refused(workshop.folder) == ["scenarios.jsonl:1 turns.0.reply is missing"]
    lines[0]["turns"] = []
    workshop.save()
    assert refused(workshop.folder) == ["scenarios.jsonl:1 turns has no turns; a scenario needs at least one"]


def test_whole_numbers_may_come_as_a_table_keeps_them(workshop: Any, lines: Any) -> None:
    persona = json.loads((workshop.folder / "personas.jsonl").read_text())
    (workshop.folder / "personas.jsonl").write_text(json.dumps({**persona, "age": 30.0}) + "\n")
    assert ids(workshop.folder) == ["one", "two"]
    assert load_set(workshop.folder).personas["ana"].age == 30


def test_naming_audio_keeps_every_line_as_it_is_written(workshop: Any, lines: Any) -> None:
    lines[1]["turns"][0]["mood"] = "calm\u2028and slow"
    lines[0]["turns"][0]["audio"], lines[0]["turns"][1]["audio"] = "audio/one-1.wav", "audio/one-2.wav"
    workshop.save()
    first, second = workshop.file.read_bytes().splitlines()
    workshop.file.write_bytes(b"\xef\xbb\xbf" + first + b"\r\n\r\n" + second + b"\r\n")
    place = find_set(workshop.folder)
    scenarios = [record.value for record in read_records(workshop.file, Scenario)[0]]
    assert name_audio(place, placed(lines_of(scenarios), BUILT_IN)) == 2
    assert workshop.file.read_bytes().startswith(b"\xef\xbb\xbf" + first + b"\r\n\r\n{")
    assert load_set_without_files(workshop.folder) == ["audio/two/1.ogg", "audio/two/2.ogg"]


def load_set_without_files(folder: Path) -> list[str]:
    line = (folder / "scenarios.jsonl").read_bytes().split(b"\r\n")[2]
    return [turn["audio"] for turn in json.loads(line)["turns"]]

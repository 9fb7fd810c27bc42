"""Loading, narrowing down, and naming every defect of a scenario set."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interbench.base.bundled import data_path
from interbench.base.errors import ScenarioError, UsageError
from interbench.scenarios.files import FileDefect
from interbench.scenarios.sets import load_set, validate_set


def found(defects: list[FileDefect], field: str) -> list[str]:
    return [defect.message for defect in defects if defect.field == field]


def test_a_valid_set_has_no_defects(workshop: Any) -> None:
    assert validate_set(workshop.folder) == []
    loaded = load_set(workshop.folder)
    assert [scenario.id for scenario in loaded.scenarios] == ["one", "two"]
    assert loaded.audio_path(loaded.scenarios[0], 2) == workshop.folder.resolve() / "audio/one-2.wav"
    assert loaded.portrait_path("ana") == workshop.folder.resolve() / "portraits/ana.png"


def test_a_file_can_be_given_instead_of_its_folder(workshop: Any) -> None:
    assert load_set(workshop.file).scenarios == load_set(str(workshop.folder)).scenarios


def test_starter_is_part_of_all() -> None:
    everything = {scenario.id for scenario in load_set("all").scenarios}
    starter = [scenario.id for scenario in load_set("starter").scenarios]
    assert len(starter) == 6 and set(starter) < everything


@pytest.mark.parametrize("source", ["nowhere", "no/such/folder/here", "missing.jsonl"])
def test_what_does_not_exist_is_named(source: str) -> None:
    with pytest.raises(ScenarioError, match="no scenario set"):
        load_set(source)


def test_a_folder_without_scenarios_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"has no scenarios\.jsonl"):
        load_set(tmp_path)


def test_a_hub_id_without_the_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ScenarioError, match=r"interbench\[hub\]"):
        load_set("some-org/some-set")


def test_a_hub_set_is_fetched_at_its_revision_and_checked(
    workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub's client is stood in for; what it would fetch is a real set."""
    asked: list[tuple[str, str, str | None]] = []

    class Client:
        @staticmethod
        def snapshot_download(repo: str, *, repo_type: str, revision: str | None, local_dir: Path) -> None:
            asked.append((repo, repo_type, revision))
            shutil.copytree(workshop.folder, local_dir, dirs_exist_ok=True)

    monkeypatch.setitem(sys.modules, "huggingface_hub", Client)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    loaded = load_set("some-org/some-set@v2")
    assert asked == [("some-org/some-set", "dataset", "v2")]
    assert len(loaded.scenarios) == 2
    assert loaded.root.is_relative_to(tmp_path / "cache")


def test_loading_imports_nothing_heavy() -> None:
    code = (
        "import sys; from interbench.scenarios.sets import load_set; load_set('all');"
        "print([m for m in ('numpy', 'av', 'PIL', 'pandas', 'scipy', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_selection_by_id_glob_category_and_limit() -> None:
    everything = load_set("all")
    assert [s.id for s in everything.select(["places-eiffel-tower"]).scenarios] == ["places-eiffel-tower"]
    assert len(everything.select(["memory-*", "places-*"]).scenarios) == 20
    assert {s.category for s in everything.select(categories=["science"]).scenarios} == {"science"}
    assert len(everything.select(["s*"], categories=["science", "service"], limit=7).scenarios) == 7
    assert everything.select(limit=3).scenarios == everything.scenarios[:3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patterns": ["places-eifel-tower"]}, "did you mean places-eiffel-tower"),
        ({"patterns": ["zzz*"]}, "No scenario"),
        ({"categories": ["cooking"]}, "its categories are"),
        ({"limit": 0}, "at least 1"),
        ({"patterns": ["memory-*"], "categories": ["science"]}, "is left"),
    ],
)
def test_a_selection_of_nothing_is_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_set("all").select(**arguments)


def test_the_digest_follows_content_and_files(workshop: Any, make_tone: Callable[..., None]) -> None:
    before = load_set(workshop.folder).digest
    assert load_set(workshop.file).digest == before
    assert load_set(workshop.folder).select(["one"]).digest != before
    make_tone(workshop.folder / "audio/two-1.wav", amplitude=0.2)
    louder = load_set(workshop.folder).digest
    assert louder != before
    workshop.edit(lambda s: s["turns"][0].update(text="Where might the oldest bridge of the city be?"))
    assert load_set(workshop.folder).digest not in (before, louder)


def damage_turn(turn: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda scenario: scenario["turns"][turn].update(changes)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        (lambda s: s.update(categry="places"), "categry", "unknown key; did you mean 'category'"),
        (damage_turn(1, leans=[]), "turns.1.leans", "unknown key"),
        (lambda s: s.pop("title"), "title", "is missing"),
        (lambda s: s["turns"][1].pop("reply"), "turns.1.reply", "is missing"),
        (lambda s: s.update(turns=[]), "turns", "has no turns"),
        (damage_turn(0, text=7), "turns.0.text", "valid string"),
        (damage_turn(0, text="  "), "turns.0.text", "at least 1 character"),
        (damage_turn(1, leans_on=[{"turn": "1", "carry": "x"}]), "turns.1.leans_on.0.turn", "valid integer"),
        (damage_turn(1, leans_on=[{"turn": 2, "carry": "x"}]), "turns.1.leans_on.0.turn", "only on earlier turns"),
        (damage_turn(0, key_points=[{"text": "x", "needs": [3]}]), "turns.0.key_points.0.needs", "only earlier turns"),
        (lambda s: s.update(id="Not A Slug"), "id", "pattern"),
        (lambda s: s.update(stresses=["XX"]), "stresses", "not a dimension"),
        (lambda s: s.update(persona="bob"), "persona", "there is no persona 'bob'; there are ana"),
        (lambda s: s.update(user_voice={"rate": 5000}), "user_voice.rate", "300"),
        (damage_turn(0, audio="audio/none.wav"), "turns.0.audio", "there is no file"),
        (damage_turn(0, audio="/etc/passwd"), "turns.0.audio", "not absolute"),
        (damage_turn(0, audio="../set/audio/one-1.wav"), "turns.0.audio", "without '..'"),
        (damage_turn(0, audio="audio\\one-1.wav"), "turns.0.audio", "forward slashes"),
        (damage_turn(0, audio="C:/sound.wav"), "turns.0.audio", "forward slashes"),
    ],
)
def test_each_defect_is_named_with_line_and_field(
    workshop: Any, change: Callable[[dict[str, Any]], None], field: str, message: str
) -> None:
    workshop.mute()
    workshop.edit(change, line=1)
    defects = validate_set(workshop.folder)
    assert [d.line for d in defects if d.field == field] == [2]
    assert message in found(defects, field)[0]
    assert {d.file for d in defects} == {workshop.file}
    with pytest.raises(ScenarioError, match=r"scenarios\.jsonl:2"):
        load_set(workshop.folder)


def test_all_defects_of_a_line_are_named_at_once(workshop: Any) -> None:
    workshop.mute()

    def change(scenario: dict[str, Any]) -> None:
        scenario["extra"] = 1
        del scenario["category"]
        scenario["turns"][0]["mood"] = 3
        scenario["turns"][1]["leans_on"] = [{"turn": 5, "carry": "x"}]

    workshop.edit(change)
    fields = {defect.field for defect in validate_set(workshop.folder)}
    assert fields == {"extra", "category", "turns.0.mood", "turns.1.leans_on.0.turn"}


def test_defects_of_all_lines_are_listed_up_to_twenty(workshop: Any) -> None:
    workshop.lines = [workshop.scenario(f"s{n}") | {"extra": 1} for n in range(25)]
    workshop.save()
    with pytest.raises(ScenarioError) as caught:
        load_set(workshop.folder)
    message = str(caught.value)
    assert "25 defects" in message
    assert message.count("unknown key") == 20
    assert "and 5 more" in message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "x", ', "is not JSON"),
        (b'{"id": "caf\xe9"}', "is not UTF-8: byte 0xe9"),
        (b"[1, 2]", "is a JSON list"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"id": "x", "id": "y"}', "given twice"),
    ],
)
def test_broken_lines_are_named_and_the_others_still_checked(workshop: Any, line: bytes, message: str) -> None:
    workshop.mute()
    workshop.edit(lambda s: s.update(extra=1), line=1)
    data = workshop.file.read_bytes().splitlines(keepends=True)
    workshop.file.write_bytes(data[0] + line + b"\n" + data[1])
    defects = validate_set(workshop.folder)
    assert any(d.line == 2 and message in d.message for d in defects), [str(d) for d in defects]
    assert [d.line for d in defects if d.field == "extra"] == [3]


def test_an_empty_file_and_a_double_id(workshop: Any) -> None:
    workshop.mute()
    good = workshop.file.read_bytes()
    workshop.file.write_bytes(b"\n \n")
    assert "is empty" in found(validate_set(workshop.folder), "")[0]
    workshop.file.write_bytes(good + good)
    assert found(validate_set(workshop.folder), "id") == [
        "'one' is already the id of line 1",
        "'two' is already the id of line 2",
    ]


def test_line_separators_inside_strings_do_not_shift_line_numbers(workshop: Any) -> None:
    workshop.mute()
    workshop.edit(damage_turn(0, mood="calm\u2028and\u0085slow"))
    workshop.edit(lambda s: s.update(extra=1), line=1)
    assert [d.line for d in validate_set(workshop.folder)] == [2]


def test_links_out_of_the_set_are_refused(workshop: Any, tmp_path: Path, make_tone: Callable[..., None]) -> None:
    make_tone(tmp_path / "outside.wav")
    (workshop.folder / "audio/link.wav").symlink_to(tmp_path / "outside.wav")
    workshop.edit(damage_turn(0, audio="audio/link.wav"))
    assert "leads out of the folder" in found(validate_set(workshop.folder), "turns.0.audio")[0]
    with pytest.raises(ScenarioError, match="leads out"):
        load_set(workshop.folder)


def test_a_link_put_in_place_after_loading_is_refused_too(workshop: Any, tmp_path: Path) -> None:
    loaded = load_set(workshop.folder)
    (tmp_path / "secret").write_bytes(b"secret")
    target = workshop.folder / "audio/one-1.wav"
    target.unlink()
    target.symlink_to(tmp_path / "secret")
    with pytest.raises(ScenarioError, match="leads out"):
        loaded.audio_path(loaded.scenarios[0], 1)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        ({"rate": 44_100}, "has 44100 samples per second; it must have 16000"),
        ({"amplitude": 0.0}, "is silent"),
        ({"amplitude": 1.0}, "clips"),
        ({"seconds": 60.0}, "absurdly long for 8 words"),
        ({"seconds": 0.2}, "too short for 8 words"),
    ],
)
def test_unfit_recordings_are_named(
    workshop: Any, make_tone: Callable[..., None], sound: dict[str, float], message: str
) -> None:
    make_tone(workshop.folder / "audio/one-1.wav", **sound)
    assert any(message in text for text in found(validate_set(workshop.folder), "turns.0.audio"))


def test_stereo_empty_and_undecodable_recordings_are_named(workshop: Any) -> None:
    import numpy as np
    from scipy.io import wavfile

    stereo = (0.2 * np.sin(np.arange(96_000) / 20) * 32767).astype(np.int16).reshape(-1, 2)
    wavfile.write(workshop.folder / "audio/one-1.wav", 16_000, stereo)
    (workshop.folder / "audio/one-2.wav").write_bytes(b"")
    (workshop.folder / "audio/two-1.wav").write_bytes(b"this is not sound" * 500)
    defects = validate_set(workshop.folder)
    assert found(defects, "turns.0.audio")[0].endswith("has 2 channels; it must be mono")
    assert [(d.line, d.field) for d in defects] == [(1, "turns.0.audio"), (1, "turns.1.audio"), (2, "turns.0.audio")]
    assert all("can't be used" in defect.message for defect in defects[1:])


def test_portraits_that_are_missing_or_no_image_are_named(workshop: Any) -> None:
    workshop.mute()
    portrait = workshop.folder / "portraits/ana.png"
    portrait.write_bytes(portrait.read_bytes()[:2000])
    assert "can't be decoded" in found(validate_set(workshop.folder), "portrait")[0]
    portrait.unlink()
    defects = validate_set(workshop.folder)
    assert found(defects, "portrait") == ["there is no file 'portraits/ana.png'"]
    assert defects[0].file == workshop.folder / "personas.jsonl"


def test_unreachable_key_points_are_warnings(workshop: Any) -> None:
    workshop.mute()
    workshop.edit(damage_turn(1, key_points=[{"text": "It has nine arches.", "accept": ["nine arches"]}]))
    workshop.edit(damage_turn(1, leans_on=[]), line=1)
    defects = validate_set(workshop.folder)
    assert [(d.line, d.level) for d in defects] == [(1, "warning"), (2, "warning")]
    assert "isn't found in the reference reply" in defects[0].message
    assert "leans_on" in defects[1].message
    assert len(load_set(workshop.folder).scenarios) == 2


def test_without_personas_of_its_own_a_set_uses_the_bundled_ones(workshop: Any) -> None:
    (workshop.folder / "personas.jsonl").unlink()
    for line in (0, 1):
        workshop.edit(lambda s: s.update(persona="maya"), line=line)
    loaded = load_set(workshop.folder)
    assert loaded.portrait_path("maya") == (data_path("scenarios") / "portraits/maya.png").resolve()


def test_photographs_replace_portraits(workshop: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(data_path("scenarios") / "portraits/walter.png", photos / "ana.png")
    loaded = load_set(workshop.folder, personas=photos)
    assert loaded.portrait_path("ana") == (photos / "ana.png").resolve()
    assert loaded.personas["ana"].name == "Ana"
    assert loaded.digest != load_set(workshop.folder).digest


def test_personas_can_be_replaced_whole(workshop: Any, tmp_path: Path) -> None:
    cast = tmp_path / "cast"
    cast.mkdir()
    persona = json.loads((workshop.folder / "personas.jsonl").read_text(encoding="utf-8"))
    persona |= {"name": "Another Ana", "portrait": "me.png"}
    (cast / "personas.jsonl").write_text(json.dumps(persona), encoding="utf-8")
    shutil.copy(data_path("scenarios") / "portraits/walter.png", cast / "me.png")
    loaded = load_set(workshop.folder, personas=cast)
    assert loaded.personas["ana"].name == "Another Ana"
    assert loaded.portrait_path("ana") == (cast / "me.png").resolve()


def test_photographs_of_nobody_are_named(workshop: Any, tmp_path: Path) -> None:
    workshop.mute()
    photos = tmp_path / "photos"
    photos.mkdir()
    with pytest.raises(ScenarioError, match="neither"):
        load_set(workshop.folder, personas=photos)
    shutil.copy(data_path("scenarios") / "portraits/walter.png", photos / "bob.png")
    assert "no persona is called 'bob'" in validate_set(workshop.folder, personas=photos)[0].message
    with pytest.raises(ScenarioError, match="not a folder"):
        load_set(workshop.folder, personas=tmp_path / "nowhere")

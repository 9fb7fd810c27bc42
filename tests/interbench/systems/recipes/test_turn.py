"""One turn of each recipe, held against the published commands, and values that would break them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkouts import BEYOND, SIX

from interbench.base.errors import SystemLoadError
from interbench.systems.recipes.model import Number, Recipe, load_recipe, read_recipe, recipe_names
from interbench.systems.recipes.turn import Places, UnfitValueError, prepare, read_facts

GOLDEN = Path(__file__).parent / "golden"
"""Commands, environments and files of one turn, as held against each repository's own parser and reader."""
KEYS = ("cwd", "links", "env", "argv", "files", "output")
TURN = {
    "scenario": "s-1",
    "turn": 2,
    "seed": 9,
    "prompt": "A man talks.",
    "speech": {"samples": 40_000, "rate": 16_000},
}


def shown(recipe: Recipe, **changes: Any) -> dict[str, Any]:
    return prepare(recipe, read_facts({**TURN, **changes}), Places.symbolic()).golden()


def test_every_published_turn_is_met_to_the_byte() -> None:
    systems = []
    for path in sorted(GOLDEN.glob("*.json")):
        golden = json.loads(path.read_text(encoding="utf-8"))
        found = prepare(load_recipe(golden["system"]), read_facts(golden), Places.symbolic()).golden()
        assert found == {key: golden[key] for key in KEYS}, path.name
        systems.append(golden["system"])
    assert sorted(systems) == sorted([*SIX, *BEYOND]) == sorted(recipe_names())


def test_another_turn_changes_what_is_its_own_and_nothing_else() -> None:
    (line,) = shown(load_recipe("hallo3"))["files"].values()
    assert line == "A man talks.@@@turn/s-1-2.png@@@turn/s-1-2.wav\n"
    first, second = shown(load_recipe("hallo3")), shown(load_recipe("hallo3"), seed=10, scenario="other", turn=3)
    assert second["output"]["glob"] == "@turn/out/other-3-other-3-seed_10/000000_with_audio.mp4"
    assert [a for a, b in zip(first["argv"], second["argv"], strict=True) if a != b] == ["9"]


@pytest.mark.parametrize(
    ("seconds", "duration"),
    [(0.4, 5), (5.0, 5), (5.001, 8), (8.0, 8), (18.458, 20), (20.0, 20), (20.01, 23), (61.0, 62)],
)
def test_speech_is_filled_up_to_a_length_that_the_published_script_takes(seconds: float, duration: int) -> None:
    recipe = load_recipe("livetalk-published")
    found = prepare(recipe, read_facts({**TURN, "speech": {"samples": round(seconds * 16_000)}}), Places.symbolic())
    assert found.padded_s == duration and f"\nvideo_duration: {duration}\n" in found.files["turn.yaml"]
    assert (16 * duration + 4) // 4 % 3 == 0


def test_numbers_follow_from_the_length_of_the_speech() -> None:
    frames = Number(per_second=25, multiple=4, plus=1)
    assert [frames.of(seconds) for seconds in (0.01, 0.04, 0.2, 1.0)] == [1, 1, 5, 25]
    assert Number(per_second=25, multiple=4, plus=1, most=81).of(60) == 81
    assert Number(per_second=25, more=13, multiple=1, least=3).of(1.0) == 38


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("hallo3", "two@@fields"),
        ("hallo3", "@ at an end"),
        ("omniavatar-14b", "a line\nand another"),
        ("omniavatar-1.3b", "a line\u2028and another"),
        ("livetalk-published", 'a "quote"'),
        ("livetalk-published", "a back\\slash"),
        ("livetalk-published", "an ${interpolation}"),
        ("fantasytalking", "--seed=1"),
        ("fantasytalking", "half \ud800 a character"),
        ("fantasytalking", "nothing \0 after"),
        ("hallo3", ""),
    ],
)
def test_a_value_that_would_break_the_input_is_refused(name: str, prompt: str) -> None:
    with pytest.raises(UnfitValueError, match=f"{name}"):
        shown(load_recipe(name), prompt=prompt)


def test_a_folder_whose_name_would_break_the_input_is_refused() -> None:
    places = Places("/home/me/hallo3", "/runs/a@@b", "/home/me/hallo3/.venv/bin/python")
    with pytest.raises(UnfitValueError, match="portrait"):
        prepare(load_recipe("hallo3"), read_facts(TURN), places)


@pytest.mark.parametrize("name", ["musetalk-1.5", "omniavatar-1.3b", "ditto"])
@pytest.mark.parametrize("folder", ["/runs/a b", "/runs/$(touch x)", "/runs/a;b", "/runs/a'b"])
def test_a_path_that_a_script_would_hand_to_a_shell_is_refused(name: str, folder: str) -> None:
    with pytest.raises(UnfitValueError, match="hand to a shell"):
        prepare(load_recipe(name), read_facts(TURN), Places("/data/it", folder, "/data/it/.venv/bin/python"))


def test_what_stands_in_a_prompt_is_never_a_template() -> None:
    (line,) = shown(load_recipe("hallo3"), prompt="{workdir} {seed} {home}")["files"].values()
    assert line.startswith("{workdir} {seed} {home}@@")


@pytest.mark.parametrize(
    "changes",
    [
        {"scenario": "../up"},
        {"scenario": "a/b"},
        {"scenario": "*"},
        {"turn": 0},
        {"seed": -1},
        {"seed": "7; rm"},
        {"speech": {"samples": 0}},
        {"speech": None},
    ],
)
def test_what_is_no_turn_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnfitValueError, match="That is no turn"):
        read_facts({**TURN, **changes})


RECIPE = """
name = "mine"
title = "Mine"
repository = "me/mine"
commit = "0123456789"
licence = "MIT"
install = "Python"
read = ["run.py"]
entry = "run.py"
needs = ["speech", "portrait"]
argv = ["{python}", "run.py", "{portrait}", "{speech}"]
output = { glob = "*.mp4" }
clip = { fps = 25 }
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{portrait}", "{potrrait}", r"argv uses \{potrrait\}, which is not known"),
        ('glob = "*.mp4"', 'glob = "../*.mp4"', "relative path without"),
        ('glob = "*.mp4"', 'glob = "/tmp/*.mp4"', "relative path without"),
        ('entry = "run.py"', 'entry = "../run.py"', "relative path without"),
        ("clip = { fps = 25 }", "clip = { fps = 0 }", "at clip.fps"),
        (
            "clip = { fps = 25 }",
            'clip = { fps = 25 }\nkeep = { kind = "fifo", file = "x", ready = "y" }',
            "none of the files",
        ),
        ("clip = { fps = 25 }", 'clip = { fps = 25 }\nkeep = { kind = "module" }', "keep.module is needed"),
        (
            "clip = { fps = 25 }",
            'clip = { fps = 25 }\nkeep = { kind = "server", file = "x", ready = "/health" }',
            "keep.path is needed",
        ),
        (
            "clip = { fps = 25 }",
            'clip = { fps = 25 }\nkeep = { kind = "server", file = "x", ready = "http://elsewhere", path = "/a" }',
            "keep.ready must be the path of an address",
        ),
        ('"{portrait}"', '"{port}"', r"\{port\} must stand in argv or env of a server"),
        ('needs = ["speech", "portrait"]', 'needs = ["sound"]', "at needs"),
        ("clip = { fps = 25 }", "clip = { fps = 25 }\ncolour = 3", "at colour"),
        ("clip = { fps = 25 }", "clip = ", "not valid TOML"),
        (
            "clip = { fps = 25 }",
            'clip = { fps = 25 }\n[files."../x"]\nformat = "json"\ntext = ""',
            "relative path without",
        ),
    ],
)
def test_a_recipe_that_is_wrong_is_refused_with_the_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    assert read_recipe(path).name == "mine"
    path.write_text(RECIPE.replace(old, new))
    with pytest.raises(SystemLoadError, match=words):
        read_recipe(path)


def test_every_bundled_recipe_can_be_read_and_says_what_a_reader_needs() -> None:
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name and recipe.read and recipe.checkpoints
    with pytest.raises(SystemLoadError, match="There is no recipe 'halo3'"):
        load_recipe("halo3")


def test_json_is_quoted_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = '[files."in.json"]\nformat = "json"\ntext = \'{"prompt": {prompt}, "n": {turn}}\'\n'
    path.write_text(RECIPE + text)
    hostile = 'a "quote", a \\ and {turn}'
    (written,) = prepare(read_recipe(path), read_facts({**TURN, "prompt": hostile}), Places.symbolic()).files.values()
    assert json.loads(written) == {"prompt": hostile, "n": 2}

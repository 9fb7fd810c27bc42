"""``interbench recipe``: what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkouts import make_checkout

from interbench.base.errors import SystemLoadError, UsageError
from interbench.cli.recipe_verb import run
from interbench.systems.recipes.model import recipe_names

TURN = {"scenario": "s-1", "turn": 3, "seed": 5, "prompt": "A man talks.", "speech": {"samples": 160_000}}


def test_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", None, None, None, ()) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(recipe_names())


def test_a_turn_is_shown_as_json_and_nothing_has_to_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "turn.json"
    for data in (TURN, {"turn": {**TURN, "portrait": "no/such.png"}, "system": "x"}):
        file.write_text(json.dumps(data))
        assert run("show", "hallo3", file, None, ()) == 0
        shown = json.loads(capsys.readouterr().out)
        assert sorted(shown) == ["argv", "cwd", "env", "files", "links", "output"]
        assert shown["files"] == {"input.txt": "A man talks.@@@turn/s-1-3.png@@@turn/s-1-3.wav\n"}


def test_what_is_shown_for_people_names_licence_weights_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "livetalk-published", None, None, ()) == 0
    said = capsys.readouterr().out
    for part in ("CC BY-NC-SA", "add_patch.sh", "pretrained_checkpoints/wav2vec2", "Unseeded", "53b2c22a"):
        assert part in said


def test_a_checkout_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = make_checkout(tmp_path / "checkout", "ditto")
    assert run("check", "ditto", None, None, [f"ditto.home={home}"]) == 0
    assert "ditto: ready." in capsys.readouterr().out
    (home / "inference.py").unlink()
    assert run("check", "ditto", None, None, [f"ditto.home={home}"]) == 1
    assert "has no inference.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("show", None, None), UsageError, "Name a recipe"),
        (("show", "halo3", None), SystemLoadError, "hallo3"),
        (("show", "puppet", None), UsageError, "has no recipe"),
        (("check", "hallo3", None), SystemLoadError, "hallo3.home="),
        (("list", None, Path("x")), UsageError, "--turn is for"),
        (("show", "hallo3", Path("no-such-file.json")), UsageError, "can't be read"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    arguments: tuple[str, str | None, Path | None], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(*arguments, None, ())


def test_a_recipe_of_ones_own_is_shown_by_its_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from interbench.systems.recipes.model import FOLDER

    own = tmp_path / "mine.toml"
    own.write_text((FOLDER / "ditto.toml").read_text().replace('name = "ditto"', 'name = "mine"'))
    assert run("show", "mine=recipe", None, None, [f"mine.recipe={own}"]) == 0
    assert capsys.readouterr().out.startswith("mine: ")

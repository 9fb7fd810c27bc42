"""docs/live.md says what is so: its commands, settings and metrics exist, its sums are right, its pictures exist."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from live_kit import LiveServer
from livetalk.cli.main import app as livetalk
from livetalk.cli.thinker import ThinkerOptions
from thinker_kit import asked, told

from interbench.cli.main import app as interbench
from interbench.pipeline.config import Settings

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "live.md").read_text(encoding="utf-8")
PROGRAMS = {"livetalk": livetalk, "interbench": interbench}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = re.sub(r"\\\n| > .*", " ", "\n".join(blocks("sh"))).splitlines()
    return [line for line in lines if line.split(" ", 1)[0] in PROGRAMS]


def find_command(words: list[str]) -> Any:
    """The verb that a command line calls."""
    group: Any = typer.main.get_command(PROGRAMS[words[0]])
    assert words[1] in group.commands, f"{words[0]} has no {words[1]}"
    return group.commands[words[1]]


def test_every_program_is_called() -> None:
    assert {tuple(shlex.split(line)[:2]) for line in commands()} >= {
        ("livetalk", "serve"),
        ("livetalk", "download"),
        ("livetalk", "doctor"),
        ("livetalk", "bench"),
        ("interbench", "run"),
        ("interbench", "drive"),
        ("interbench", "judge"),
    }


@pytest.mark.parametrize("line", commands())
def test_every_command_can_be_read(line: str) -> None:
    words = shlex.split(line, comments=True)
    options = words[2:]
    assert find_command(words).make_context(words[1], list(options)).params  # refuses what it does not know
    if "--thinker" in options and "my_thinker" not in line:  # that one is tried below
        given = list(pairwise(options))
        settings = tuple(value for option, value in given if option == "--set")
        assert ThinkerOptions(dict(given)["--thinker"], settings).make().name


def test_every_option_in_the_text_exists() -> None:
    known = {
        option
        for app in PROGRAMS.values()
        for command in typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`(--[a-z0-9-]+)", prose))
    assert len(named) > 20
    assert named - known == {"--help"}


def test_the_settings_file_is_one() -> None:
    _, block = blocks("toml")
    content = tomllib.loads(block)
    settings = Settings.model_validate(content)
    options = settings.system["livetalk"]["serve"]
    assert find_command(["livetalk", "serve"]).make_context("serve", [str(option) for option in options])


async def test_the_thinker_of_ones_own_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python")
    (tmp_path / "my_thinker.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    points, _ = blocks("toml")
    (name, target), *_ = tomllib.loads(points)["project"]["entry-points"]["livetalk.thinkers"].items()
    thinker = ThinkerOptions(target, ("thinker.pitch=660",)).make()
    answer = await told(thinker, asked(text="Well then."))
    assert thinker.name == name and answer.error is None and answer.text == "Well then. "
    assert len(answer.samples) == 2 * 0.2 * 24_000
    assert np.abs(np.fft.rfft(answer.samples[:4_800])).argmax() * 24_000 / 4_800 == 660
    del sys.modules["my_thinker"]


def test_every_metric_exists(server: LiveServer) -> None:
    with server.client() as client:
        offered = set(re.findall(r"^# (?:TYPE|HELP) (\w+)", client.get("/metrics").text, re.MULTILINE))
    named = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\blivetalk_\w+", PAGE)}
    assert len(named) > 6
    assert named - offered == set()


def test_the_memory_adds_up() -> None:
    model, each, text = 2.84 + 0.25 + 0.19, 2.83 + 1.24, 11.4
    assert f"| {model:.1f} |" in PAGE
    assert f"decoder 1.24 | {each:.1f} |" in PAGE
    assert f"takes {model + 3 * each:.0f} GB, {model + 3 * each + text:.0f} while" in PAGE


def test_what_it_points_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)", PAGE) + re.findall(r'src="([^"]+)"', PAGE)
    files = [target for target in targets if not target.startswith("http")]
    assert len(files) > 8
    assert [target for target in files if not (DOCS / target).exists()] == []

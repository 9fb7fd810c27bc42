"""docs/live.md says what is so: its commands, settings and metrics exist, its sums are right, its pictures exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from live_kit import LiveServer
from livetalk.cli.main import app as livetalk
from livetalk.thinkers.registry import make_thinker

from interbench.cli.main import app as interbench
from interbench.pipeline.config import Settings

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "live.md").read_text(encoding="utf-8")
PROGRAMS = {"livetalk": livetalk, "interbench": interbench}
THINKER_OPTIONS = {
    "--thinker-url": "url",
    "--thinker-model": "model",
    "--thinker-device": "device",
    "--speech-url": "speech_url",
    "--speech-model": "speech_model",
    "--transcribe-url": "transcribe_url",
    "--voice": "voice",
}


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
    if "--thinker" in options:
        given = dict(pairwise(options))
        taken = {name: given[option] for option, name in THINKER_OPTIONS.items() if option in given}
        assert make_thinker(given["--thinker"], **taken).name


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
    (block,) = blocks("toml")
    content = tomllib.loads(block)
    settings = Settings.model_validate(content)
    options = settings.system["livetalk"]["serve"]
    assert find_command(["livetalk", "serve"]).make_context("serve", [str(option) for option in options])


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

"""The way from an empty machine to the paper's table: every command on the page can be given as it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from livetalk.cli.main import app as livetalk_app
from typer.testing import CliRunner

from interbench.cli.main import app as interbench_app

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reproduce.md").read_text("utf-8")
PROGRAMS: dict[str, Any] = {
    name: typer.main.get_command(app) for name, app in (("interbench", interbench_app), ("livetalk", livetalk_app))
}
#: What is not ours, and only installs, fetches or starts something.
FOREIGN = {"python3", "pip", "export", "hf", "modelscope", "vllm", "cd", "."}


def commands() -> Iterator[list[str]]:
    """Every command of the page's blocks, split as a shell would."""
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while "&&" in words:
                yield words[: words.index("&&")]
                words = words[words.index("&&") + 1 :]
            if words:
                yield words


COMMANDS = list(commands())
OURS = [words for words in COMMANDS if Path(words[0]).name in PROGRAMS]


def test_every_command_is_known() -> None:
    assert {Path(words[0]).name or words[0] for words in COMMANDS} - set(PROGRAMS) <= FOREIGN
    verbs = {(Path(words[0]).name, words[1]) for words in OURS}
    assert {("livetalk", "bench"), ("livetalk", "serve"), ("interbench", "drive"), ("interbench", "judge")} <= verbs


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_every_command_of_ours_is_parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, values and ranges; what has a dry run is parsed with it."""
    monkeypatch.chdir(ROOT)
    program, verb, *rest = words
    command = PROGRAMS[Path(program).name].commands[verb]
    options = {name for parameter in command.params for name in parameter.opts}
    if "--dry-run" in options:
        rest.append("--dry-run")
    with command.make_context(verb, rest) as context:
        assert context.params


def test_the_run_would_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems, scenarios, options and settings are those that there are."""
    monkeypatch.chdir(tmp_path)
    ((_, *words),) = [words for words in OURS if words[1] == "drive"]
    # The speech model need not be on this machine.
    words += ["--transcriber", "given", "--dry-run"]
    outcome = CliRunner().invoke(interbench_app, words, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    assert "100" in outcome.output and "livetalk" in outcome.output
    assert not (tmp_path / "runs").exists()


def test_folders_that_are_named_are_there() -> None:
    named = [word for words in OURS for word in words if word.startswith("tests/")]
    assert named and all((ROOT / word).is_dir() for word in named)

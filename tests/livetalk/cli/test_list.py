"""`livetalk list`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from livetalk.cli.main import app
from typer.testing import CliRunner


def listed(*options: str) -> str:
    outcome = CliRunner().invoke(app, ["list", "thinkers", *options])
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def test_every_thinker_is_shown_with_its_options() -> None:
    said = listed()
    for part in ("script: Fixed answers", "thinker.voice (a text)", "thinker.url (a text; required)",
                 "thinker.silence_s (a number; default: 120.0)", "qwen-omni: "):  # fmt: skip
        assert part in said
    assert max(map(len, said.splitlines())) <= 120


def test_as_json_it_can_be_read_by_programs() -> None:
    found = {entry["name"]: entry for entry in json.loads(listed("--json"))}
    assert list(found) == ["script", "vllm-omni", "chat", "qwen-omni"]
    (url,) = (option for option in found["chat"]["options"] if option["name"] == "url")
    assert url["required"] and url["default"] is None and url["takes"] == "a text" and "API" in url["help"]


def test_a_broken_plug_in_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[livetalk.thinkers]\nbroken = no_such_module:Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = listed()
    assert "broken (broken): The module 'no_such_module' can't be imported" in said
    assert "script: Fixed answers" in said


def test_nothing_else_is_listed() -> None:
    outcome = CliRunner().invoke(app, ["list", "spoons"])
    assert outcome.exit_code == 2 and "spoons" in outcome.output

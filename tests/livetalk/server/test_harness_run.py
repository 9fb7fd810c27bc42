"""The harness benchmarks the live system through the real server: `interbench run --systems livetalk`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness_kit
import pytest
from live_kit import SHORT_ANSWER, LiveServer, ObedientThinker
from livetalk.render.options import BUNDLED

from interbench.asr.given import Given
from interbench.base.progress import PlainProgress
from interbench.domain.records import Exchange, Outcome
from interbench.judge.registry import make_judge
from interbench.pipeline.config import Settings
from interbench.pipeline.run import Summary, execute, make_plan
from interbench.store.run_folder import Run

STEPS = ["thinker_first_text", "thinker_first_sound", "first_window", "first_block", "first_fragment", "finished"]
TOKEN = "a-token-of-sixteen-and-more"


@pytest.fixture(autouse=True)
def _no_token_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVETALK_TOKEN", raising=False)


def drive(folder: Path, scenarios: str, **more: Any) -> Summary:
    chosen = Settings(**{"out": folder, "scenarios": scenarios, "systems": ("livetalk",), **more})
    judge = make_judge("signals", {}, 1)
    return asyncio.run(
        execute(make_plan(chosen), transcriber=Given(), judge=judge, progress=PlainProgress(), stages=("drive",))
    )


def exchanges_of(folder: Path) -> list[Exchange]:
    with Run(folder, write=False) as ledger:
        return ledger.exchanges()


def write_orders(folder: Path, *orders: str) -> str:
    """A set of one scenario whose user gives the obedient thinker orders."""
    harness_kit.write_set(folder, count=1, turns=len(orders))
    scenario = harness_kit.scenario(1, len(orders))
    for turn, order in zip(scenario["turns"], orders, strict=True):
        turn["text"] = order
    (folder / "scenarios.jsonl").write_text(json.dumps(scenario) + "\n")
    return str(folder)


def test_the_command_line_starts_a_server_and_completes_scenarios(tmp_path: Path) -> None:
    script = tmp_path / "script.txt"
    script.write_text("Good morning to you.\nYes, gladly.\n")
    config = tmp_path / "live.toml"
    config.write_text(f"[system.livetalk]\nserve = ['--set', 'thinker.script={script}', '--max-sessions', '1']\n")
    done = subprocess.run(
        [sys.executable, "-m", "interbench", "run", "--systems", "livetalk", "--set", "livetalk.size=tiny",
         "--limit", "2", "--config", str(config), "--transcriber", "given", "--out", str(tmp_path / "run"), "--quiet"],
        capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "livetalk: starting `livetalk serve --size tiny" in done.stderr and "RANDOM" in done.stdout
    exchanges = exchanges_of(tmp_path / "run")
    assert len(exchanges) >= 6 and {exchange.scenario for exchange in exchanges} != {exchanges[0].scenario}
    for exchange in exchanges:
        facts, timings = exchange.facts, exchange.timings
        assert exchange.completed and facts is not None and timings is not None
        assert (facts.width, facts.height, facts.fps, facts.video_codec) == (128, 128, 16.0, "h264")
        assert facts.audible and facts.frames == exchange.detail["server_frames"]
        assert exchange.reply_text == ("Good morning to you.", "Yes, gladly.")[(exchange.turn - 1) % 2]
        assert exchange.detail["sent"] == "audio" and exchange.detail["server_turn"] == exchange.turn
        assert list(exchange.parts_s) == STEPS
        assert list(exchange.parts_s.values()) == sorted(exchange.parts_s.values())
        # The client's clock begins before the server has the turn, and ends after the server has sent the fragment.
        assert exchange.parts_s["first_fragment"] < timings.first_frame_s < timings.complete_s
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())["systems"]["livetalk"]
    assert facts["settings"]["random_weights"] is True and facts["settings"]["thinker"] == "script"
    assert facts["settings"]["size"] == "tiny" and facts["capabilities"]["max_concurrency"] == 1
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "thinker first sound" in page and "RANDOM" in page


def test_without_a_gpu_it_is_the_small_model_and_named_so_in_every_table(tmp_path: Path) -> None:
    script = tmp_path / "script.txt"
    script.write_text("Good morning to you.\n")
    config = tmp_path / "live.toml"
    config.write_text(f"[system.livetalk]\nserve = ['--set', 'thinker.script={script}']\n")
    scenarios = str(harness_kit.write_set(tmp_path / "set", count=1, turns=2))

    def interbench(*arguments: str) -> str:
        command = [sys.executable, "-m", "interbench", *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "LIVETALK_CHECKPOINTS"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    given = ("--config", str(config), "--transcriber", "given", "--scenarios", scenarios, "--out", "run", "--quiet")
    shown = interbench("run", "--systems", "livetalk,still", *given)
    assert "livetalk (mini)" in shown and "small model of the bundled system" in shown
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())["systems"]["livetalk (mini)"]
    digest = hashlib.sha256((BUNDLED / "model.safetensors").read_bytes()).hexdigest()[:16]
    assert facts["settings"]["size"] == "mini" and digest in facts["settings"]["weights"]
    assert digest in facts["caveats"][0]
    played = [one for one in exchanges_of(tmp_path / "run") if one.system == "livetalk (mini)"]
    assert [one.completed for one in played] == [True, True]
    assert {(one.facts.width, one.facts.height) for one in played if one.facts is not None} == {(96, 96)}
    rows = [row["system"] for row in json.loads(interbench("table", "run", "--format", "json"))["systems"]]
    assert sorted(rows) == ["livetalk (mini)", "still"]
    again = interbench("run", "--systems", "livetalk,still", *given)
    assert "livetalk (mini)" in again, "the same command goes on where it was"


def test_it_stands_beside_the_puppet_at_an_address_with_a_token(
    tmp_path: Path, serve: Callable[..., LiveServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(token=TOKEN)
    monkeypatch.setenv("LIVETALK_TOKEN", TOKEN)
    scenarios = str(harness_kit.write_set(tmp_path / "set", count=1, turns=2))
    summary = drive(
        tmp_path / "run", scenarios, systems=("puppet", "livetalk"), system={"livetalk": {"url": server.url}}
    )
    assert summary.outcomes == {"completed": 4}
    assert TOKEN not in (tmp_path / "run" / "manifest.json").read_text()
    with server.client() as client:
        assert client.get("/health").json()["sessions"] == 0, "every conversation was closed"
    thinker = server.thinker
    assert isinstance(thinker, ObedientThinker)
    assert "You are Tess" in thinker.questions[0].persona
    assert [message.text for message in thinker.questions[1].history][1] == SHORT_ANSWER


def test_turns_that_go_wrong_at_the_real_server(tmp_path: Path, server: LiveServer) -> None:
    scenarios = write_orders(
        tmp_path / "set", "Hello.", "fail refused", "break broken", "hold on", "silent", "fail timed_out", "Goodbye."
    )
    drive(tmp_path / "run", scenarios, system={"livetalk": {"url": server.url}}, deadline_s=5.0)
    exchanges = exchanges_of(tmp_path / "run")
    assert [(exchange.outcome, exchange.code) for exchange in exchanges] == [
        (Outcome.COMPLETED, ""),
        (Outcome.BLOCKED, "refused"),
        (Outcome.FAILED, "broken"),
        (Outcome.TIMED_OUT, "timed_out"),
        (Outcome.FAILED, "no_answer"),
        (Outcome.TIMED_OUT, "timed_out"),
        (Outcome.COMPLETED, ""),
    ]
    thinker = server.thinker
    assert isinstance(thinker, ObedientThinker)
    assert exchanges[2].detail["server_outcome"] == "failed" and exchanges[2].reply_text is not None
    assert exchanges[-1].reply_text == SHORT_ANSWER, "the conversation goes on, on the same server, to its end"

"""A checkout that is a server: started once, asked until it has loaded, and handed its turns over HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import harness_kit
import pytest
from checkouts import read_log, write_checkout
from PIL import Image

from interbench.asr.given import Given
from interbench.base.errors import SystemLoadError
from interbench.base.progress import PlainProgress
from interbench.domain.records import Exchange
from interbench.judge.signals.judge import Signals
from interbench.pipeline.config import Settings
from interbench.pipeline.run import execute, make_plan
from interbench.store.run_folder import Run
from interbench.systems.recipes.system import RecipeSystem

SERVER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
args = parser.parse_args()
log(op="started")
if os.environ.get("STANDIN_BROKEN"):
    sys.exit("no such GPU")
asked = 0
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *said): pass
    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        global asked
        asked += 1
        self.answer(200 if asked > 2 and self.path == "/health" else 503, b"{}")
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        log(op="turn", request=request, path=self.path)
        if "refuse" in request["prompt"]:
            return self.answer(500, b'{"error": "out of memory"}')
        if "die" in request["prompt"]:
            os._exit(3)
        target = pathlib.Path(request["folder"]) / (request["name"] + ".mp4")
        write_talk(target, request["audio"])
        if "send" in request["prompt"]:
            body = target.read_bytes()
            target.unlink()
            return self.answer(200, body, "video/mp4")
        self.answer(200, b'{"state": "done"}')
HTTPServer(("127.0.0.1", args.port), Handler).serve_forever()
"""
RECIPE = """
name = "served"
title = "A server"
repository = "somebody/served"
commit = "0123456789abcdef0123456789abcdef01234567"
licence = "MIT"
install = "Python"
read = ["serve.py"]
entry = "serve.py"
needs = ["speech", "portrait", "prompt"]
argv = ["{python}", "serve.py", "--port", "{port}"]
output = { glob = "{stem}.mp4" }
clip = { fps = 10 }
keep = { kind = "server", file = "request.json", ready = "/health", path = "/v1/generate" }
[files."request.json"]
format = "json"
text = '''
{"image": {portrait}, "audio": {speech}, "prompt": {prompt}, "seed": {seed}, "folder": {workdir}, "name": {stem}}
'''
"""


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Any]:
    """Options of a system that is such a checkout."""
    home = write_checkout(tmp_path / "checkout", {"serve.py": SERVER})
    (tmp_path / "served.toml").write_text(RECIPE)
    return {"home": str(home), "recipe": str(tmp_path / "served.toml"), "env": {"STANDIN_LOG": str(tmp_path / "log")}}


def drive(tmp_path: Path, parts: dict[str, Any], appearance: str) -> list[Exchange]:
    folder = harness_kit.write_set(tmp_path / "set", count=1, turns=2)
    Image.new("RGB", (64, 64), (200, 160, 140)).save(folder / "tess.png")
    persona = {**harness_kit.PERSONA, "portrait": "tess.png", "appearance": appearance}
    (folder / "personas.jsonl").write_text(json.dumps(persona) + "\n")
    chosen = Settings(
        out=tmp_path / "run",
        scenarios=str(folder),
        systems=("served=recipe",),
        system={"served": parts},
        words_options={"words": 2},
    )
    plan = make_plan(chosen)
    asyncio.run(execute(plan, transcriber=Given(), judge=Signals(), progress=PlainProgress(), stages=("drive",)))
    with Run(chosen.out, write=False) as run:
        return run.exchanges()


@pytest.mark.parametrize("how", ["leaves a file", "will send the clip"])
def test_turns_are_posted_to_one_server(tmp_path: Path, parts: dict[str, Any], how: str) -> None:
    exchanges = drive(tmp_path, parts, f'A "person" who {how}.')
    assert [e.outcome.value for e in exchanges] == ["completed"] * 2, [e.message for e in exchanges]
    started, *turns = read_log(tmp_path / "log")
    assert started["op"] == "started" and [turn["op"] for turn in turns] == ["turn", "turn"]
    assert {turn["pid"] for turn in turns} == {started["pid"]}, "its weights are loaded once"
    assert turns[0]["path"] == "/v1/generate"
    for exchange, turn in zip(exchanges, turns, strict=True):
        assert turn["request"]["prompt"].startswith(f'A "person" who {how}.')
        assert exchange.facts is not None and exchange.facts.audible
        assert exchange.facts.duration_s == pytest.approx(exchange.detail["speech"]["seconds"], abs=0.2)
        assert exchange.parts_s["rendered"] > 0 and exchange.detail["recipe"]["load_s"] > 0
    assert turns[0]["request"]["audio"] != turns[1]["request"]["audio"]
    assert isinstance(turns[0]["request"]["seed"], int)
    assert not list((tmp_path / "checkout").rglob("*.mp4"))


def test_what_the_server_answers_is_told_and_one_that_dies_is_started_again(
    tmp_path: Path, parts: dict[str, Any]
) -> None:
    refused = drive(tmp_path / "a", parts, "They refuse.")
    assert refused[0].code == "status_500" and "out of memory" in refused[0].message
    assert len([entry for entry in read_log(tmp_path / "log") if entry["op"] == "started"]) == 1
    died = drive(tmp_path / "b", parts, "They die.")
    assert [exchange.code for exchange in died] == ["worker_died"] * 2, [e.message for e in died]
    assert len([entry for entry in read_log(tmp_path / "log") if entry["op"] == "started"]) == 3


async def test_a_server_that_does_not_start_and_one_that_may_not_be_kept(parts: dict[str, Any]) -> None:
    broken = RecipeSystem(**{**parts, "env": {**parts["env"], "STANDIN_BROKEN": "1"}})
    with pytest.raises(SystemLoadError, match="ended before it had loaded, with status 1: no such GPU"):
        await broken.start()
    await broken.stop()
    with pytest.raises(SystemLoadError, match="served is a server"):
        RecipeSystem(**parts, keep=False)

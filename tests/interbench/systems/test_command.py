"""Systems that are a command line: one process per turn, or a persistent worker."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import harness_kit
import pytest

from interbench.asr.given import Given
from interbench.base.errors import SystemLoadError
from interbench.base.progress import PlainProgress
from interbench.base.workers import WorkerDiedError, WorkerError, WorkerPool, WorkerTimeoutError
from interbench.domain.records import Exchange
from interbench.judge.signals.judge import Signals
from interbench.pipeline.config import Settings
from interbench.pipeline.run import execute, make_plan
from interbench.store.run_folder import Run
from interbench.systems.command import CommandSystem

KIT = str(Path(harness_kit.__file__).parent)


def play(tmp_path: Path, spec: str, options: dict[str, Any]) -> list[Exchange]:
    folder = tmp_path / "set"
    if not folder.exists():
        harness_kit.write_set(folder, count=1, turns=2)
    settings = Settings(
        out=tmp_path / "run", scenarios=str(folder), systems=(f"it={spec}",), system={"it": options}, deadline_s=60
    )
    plan = make_plan(settings)
    asyncio.run(execute(plan, transcriber=Given(), judge=Signals(), progress=PlainProgress(), stages=("drive",)))
    with Run(tmp_path / "run", write=False) as run:
        return run.exchanges()


def script(tmp_path: Path, code: str) -> str:
    path = tmp_path / "program.py"
    path.write_text(f"import sys\nsys.path.insert(0, {KIT!r})\n" + textwrap.dedent(code))
    return str(path)


def test_a_command_per_turn(tmp_path: Path) -> None:
    program = script(
        tmp_path,
        """
        import json, pathlib
        from harness_kit import write_clip
        text, output, history, persona, seed = sys.argv[1:]
        history = json.loads(pathlib.Path(history).read_text())
        name = json.loads(pathlib.Path(persona).read_text())["name"]
        write_clip(pathlib.Path(output))
        pathlib.Path("said.txt").write_text(f"{name} heard {text} after {len(history)}")
        """,
    )
    argv = [sys.executable, program, "{text}", "{output}", "{history}", "{persona}", "{seed}"]
    exchanges = play(tmp_path, "command", {"argv": argv, "reply_text": "said.txt"})
    assert [exchange.outcome.value for exchange in exchanges] == ["completed"] * 2, exchanges
    assert exchanges[1].reply_text == "Tess heard Question 2 of conversation 1, please? after 1"


def test_text_is_never_a_template_or_a_shell_command(tmp_path: Path) -> None:
    folder = harness_kit.write_set(tmp_path / "set", count=1, turns=1)
    record = json.loads((folder / "scenarios.jsonl").read_text())
    hostile = "{output} $(touch pwned) `touch pwned` ; touch pwned #"
    record["turns"][0]["text"] = hostile
    (folder / "scenarios.jsonl").write_text(json.dumps(record) + "\n")
    program = script(
        tmp_path,
        """
        import pathlib
        from harness_kit import write_clip
        write_clip(pathlib.Path(sys.argv[2]))
        pathlib.Path("said.txt").write_text(sys.argv[1])
        """,
    )
    argv = [sys.executable, program, "{text}", "{output}"]
    (exchange,) = play(tmp_path, "command", {"argv": argv, "reply_text": "said.txt"})
    assert exchange.completed and exchange.reply_text == hostile
    assert not list(tmp_path.rglob("pwned"))


def test_a_command_that_fails_hangs_or_is_missing(tmp_path: Path) -> None:
    failing = script(tmp_path, "print('loading', flush=True); raise SystemExit('no GPU found')")
    exchanges = play(tmp_path, "command", {"argv": [sys.executable, failing]})
    assert [(e.outcome.value, e.code) for e in exchanges] == [("failed", "exit_1")] * 2
    assert "no GPU found" in exchanges[0].message

    (tmp_path / "run").rename(tmp_path / "run-1")
    hanging = script(tmp_path, "import time, subprocess; subprocess.Popen(['sleep', '1000']); time.sleep(1000)")
    exchanges = play(tmp_path, "command", {"argv": [sys.executable, hanging], "timeout_s": 0.5})
    assert [(e.outcome.value, e.code) for e in exchanges] == [("failed", "command_timeout")] * 2

    (tmp_path / "run").rename(tmp_path / "run-2")
    exchanges = play(tmp_path, "command", {"argv": ["no-such-program-anywhere"]})
    assert [(e.outcome.value, e.code) for e in exchanges] == [("failed", "not_started")] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs its command as a list"),
        ({"argv": "render.py"}, "needs its command as a list"),
        ({"argv": ["render.py", "{txet}"]}, r"uses \{txet\}"),
        ({"argv": ["render.py"], "output": "../x.mp4"}, "plain file name"),
    ],
)
def test_a_wrong_template_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SystemLoadError, match=words):
        CommandSystem(**options)


def test_a_persistent_worker_loads_once(tmp_path: Path) -> None:
    program = script(
        tmp_path,
        """
        import json, pathlib
        from harness_kit import write_clip
        print("loading weights", file=sys.stderr)
        turns = 0
        for line in sys.stdin:
            request = json.loads(line)
            answer = {}
            if request["op"] == "start":
                answer = {"version": "7"}
            elif request["op"] == "respond":
                turns += 1
                write_clip(pathlib.Path(request["output"]))
                answer = {"text": f"turn {turns} of {request['persona']['name']}: {request['turn']['text']}"}
            print(json.dumps(answer), flush=True)
        """,
    )
    exchanges = play(tmp_path, "worker", {"argv": [sys.executable, program]})
    assert [exchange.reply_text for exchange in exchanges] == [
        f"turn {turn} of Tess: Question {turn} of conversation 1, please?" for turn in (1, 2)
    ]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["systems"]["it"]["version"] == "7"


WORKER = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    match request["do"]:
        case "pid": print(json.dumps({"pid": os.getpid()}), flush=True)
        case "sleep": time.sleep(1000)
        case "die": sys.stderr.write("out of memory\\n"); sys.exit(3)
        case "babble": print("not json", flush=True)
        case "error": print(json.dumps({"error": {"code": "bad", "message": "no"}}), flush=True)
        case "half": sys.stdout.write('{"pid": 1'); sys.exit(0)
"""


async def test_a_worker_that_misbehaves_is_replaced() -> None:
    pool = WorkerPool([sys.executable, "-c", WORKER])
    try:
        first = await pool.call({"do": "pid"}, 20)
        assert await pool.call({"do": "pid"}, 20) == first
        with pytest.raises(WorkerError, match="no") as refused:
            await pool.call({"do": "error"}, 20)
        assert refused.value.code == "bad" and await pool.call({"do": "pid"}, 20) == first
        with pytest.raises(WorkerTimeoutError):
            await pool.call({"do": "sleep"}, 0.2)
        second = await pool.call({"do": "pid"}, 20)
        assert second != first
        with pytest.raises(WorkerDiedError, match="out of memory"):
            await pool.call({"do": "die"}, 20)
        for broken in ("babble", "half"):
            with pytest.raises(WorkerError):
                await pool.call({"do": broken}, 20)
        assert (await pool.call({"do": "pid"}, 20))["pid"] not in (first["pid"], second["pid"])
    finally:
        await pool.close()


async def test_a_cancelled_request_does_not_leave_its_answer_to_the_next() -> None:
    pool = WorkerPool([sys.executable, "-c", WORKER])
    try:
        await pool.call({"do": "pid"}, 20)
        task = asyncio.create_task(pool.call({"do": "sleep"}, 20))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "pid" in await pool.call({"do": "pid"}, 20)
    finally:
        await pool.close()

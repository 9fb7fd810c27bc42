"""Systems that only make the picture are given the reply: its words, its sound, what the picture shows."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import harness_kit
import numpy as np
import pytest

from interbench.asr.given import Given
from interbench.base.errors import IncomparableError, UsageError
from interbench.base.progress import PlainProgress
from interbench.base.workers import WorkerTimeoutError
from interbench.domain.records import Exchange
from interbench.judge.signals.judge import Signals
from interbench.media.speech import read_wav, resample, synthesize
from interbench.pipeline.config import Settings
from interbench.pipeline.conformance import check_system
from interbench.pipeline.findings import likeness
from interbench.pipeline.run import ALL_STAGES, Stage, execute, make_plan
from interbench.report.collect import collect_table, read_records
from interbench.report.columns import COLUMNS
from interbench.report.rows import Figure
from interbench.report.tables import render, to_json
from interbench.store.run_folder import Run
from interbench.systems.command import CommandSystem, WorkerSystem
from interbench.systems.registry import SystemSpec

KIT = str(Path(harness_kit.__file__).parent)
FILM = """
import pathlib, shutil
from talk_film import write_talk
write_talk(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[1]))
"""


def program(tmp_path: Path, code: str) -> str:
    path = tmp_path / "program.py"
    path.write_text(f"import sys\nsys.path.insert(0, {KIT!r})\n" + textwrap.dedent(code))
    return str(path)


def drive(
    tmp_path: Path, systems: dict[str, dict[str, Any]], *, stages: tuple[Stage, ...] = ("drive",), **settings: Any
) -> list[Exchange]:
    folder = tmp_path / "set"
    if not folder.exists():
        harness_kit.write_set(folder, count=1, turns=2)
    plan = make_plan(
        Settings(out=tmp_path / "run", scenarios=str(folder), systems=tuple(systems), system=systems, **settings)
    )
    asyncio.run(execute(plan, transcriber=Given(), judge=Signals(), progress=PlainProgress(), stages=stages))
    with Run(tmp_path / "run", write=False) as run:
        return run.exchanges()


def test_a_command_is_given_the_reply_and_not_the_question(tmp_path: Path) -> None:
    code = """
    import json, pathlib, shutil
    from harness_kit import write_clip
    keys = ("script", "speech", "prompt", "deadline_s")
    values = dict(zip(keys, sys.argv[1:5]))
    shutil.copy(values["speech"], pathlib.Path(sys.argv[6]).parent / (sys.argv[5] + ".wav"))
    write_clip(pathlib.Path(sys.argv[7]))
    values["speech"] = pathlib.Path(values["speech"]).name
    with open(sys.argv[6], "a") as log:
        log.write(json.dumps(values) + "\\n")
    """
    log = tmp_path / "log.jsonl"
    argv = [sys.executable, program(tmp_path, code), "{script}", "{speech}", "{prompt}", "{deadline_s}"]
    argv += ["{turn}", str(log), "{output}"]
    exchanges = drive(tmp_path, {"it": {"spec": "command", "argv": argv}}, deadline_s=77.5)
    assert [e.outcome.value for e in exchanges] == ["completed"] * 2, exchanges
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    assert first["script"] == "The answer is blue number 1 and the river 1 runs north."
    assert [e.reply_text for e in exchanges] == [first["script"], second["script"]]
    assert first["deadline_s"] == "77.5"
    assert first["prompt"].startswith("A woman with short brown hair in a green jumper. A plain wall.")
    speech = read_wav(tmp_path / "1.wav")
    assert speech.rate == 16_000
    said = resample(synthesize(first["script"]), 16_000)
    assert likeness(speech.samples, said.samples) > 0.95
    assert exchanges[0].detail["speech"]["seconds"] == pytest.approx(speech.duration_s, abs=1e-3)


def test_every_system_of_a_run_is_given_the_same_file(tmp_path: Path) -> None:
    argv = [sys.executable, program(tmp_path, FILM), "{speech}", "{output}"]
    systems = {name: {"spec": "command", "argv": [*argv, name]} for name in ("a", "b")}
    exchanges = drive(tmp_path, systems)
    assert all(exchange.completed for exchange in exchanges)
    by_turn = {turn: {e.detail["speech"]["sha256"] for e in exchanges if e.turn == turn} for turn in (1, 2)}
    assert [len(digests) for digests in by_turn.values()] == [1, 1] and by_turn[1] != by_turn[2]
    assert len(list((tmp_path / "run" / "speech").rglob("*.wav"))) == 2
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["frozen"]["speech"] == {"speech": "espeak-ng", "rate": 16_000}
    assert manifest["frozen"]["words"] == {"from": "script", "writer": "scenario", "words": None}
    assert manifest["systems"]["a"]["told"]["words"]["from"] == "script"


def test_tables_mark_systems_that_were_told_their_words(tmp_path: Path) -> None:
    argv = [sys.executable, program(tmp_path, FILM), "{speech}", "{output}"]
    systems: dict[str, dict[str, Any]] = {
        "told": {"spec": "command", "argv": argv},
        "own": {"spec": "harness_kit:Good"},
    }
    drive(tmp_path, systems, stages=ALL_STAGES)
    table = collect_table([read_records(tmp_path / "run")])
    own, told = table.rows
    assert (told.told, own.told) == ("the script", "")
    assert {step.name for step in told.speed.steps} == {"words (before the clock)", "speech (before the clock)"}
    scored = dataclasses.replace(told, figures={key: Figure(50.0, mean=3.0) for key in ("EA", "SR")})
    shown = {c.key: c.shown(scored, "{:.0f}".format) for c in COLUMNS if c.key in ("EA", "SR", "CU")}
    assert shown == {"EA": "50", "SR": "50 †", "CU": "–"}
    markdown = render(table, "md")
    assert "| told † |" in markdown and "| own " in markdown and "told what to say (told by the script)" in markdown
    assert [row["told_words"] for row in to_json(table)["systems"]] == [None, "the script"]


def test_replies_that_were_spoken_are_not_spoken_again_and_others_are_refused(tmp_path: Path) -> None:
    argv = [sys.executable, program(tmp_path, FILM), "{speech}", "{output}"]
    drive(tmp_path, {"a": {"spec": "command", "argv": argv}})
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "speech").rglob("*.wav")}
    drive(tmp_path, {"b": {"spec": "command", "argv": argv}})
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "speech").rglob("*.wav")} == before
    with pytest.raises(IncomparableError, match="setting 'words'"):
        drive(tmp_path, {"c": {"spec": "command", "argv": argv}}, words_options={"words": 4})


def test_a_run_that_tells_nobody_anything_keeps_no_words_in_its_manifest(tmp_path: Path) -> None:
    drive(tmp_path, {"it": {"spec": "harness_kit:Good"}})
    assert not {"words", "speech"} & set(json.loads((tmp_path / "run" / "manifest.json").read_text())["frozen"])
    assert not (tmp_path / "run" / "speech").exists()


def test_another_synthesizer_and_a_budget_of_words(tmp_path: Path) -> None:
    tone = tmp_path / "tone.py"
    tone.write_text(
        "import sys, wave, array, math\n"
        "file = wave.open(sys.argv[2], 'wb'); file.setnchannels(1); file.setsampwidth(2); file.setframerate(8000)\n"
        "count = 4000 * len(sys.argv[1].split())\n"
        "file.writeframes(array.array('h', [int(9000 * math.sin(i / 5)) for i in range(count)]).tobytes())\n"
    )
    argv = [sys.executable, program(tmp_path, FILM), "{speech}", "{output}"]
    exchanges = drive(
        tmp_path,
        {"it": {"spec": "command", "argv": argv}},
        words_options={"words": 4},
        speech="command",
        speech_options={"command": f"{sys.executable} {tone} {{text}} {{out}}"},
    )
    assert [e.reply_text for e in exchanges] == ["The answer is blue"] * 2
    assert [e.detail["speech"]["seconds"] for e in exchanges] == [2.0, 2.0]
    assert exchanges[0].detail["script"]["words_cut"] == 8


def test_a_worker_is_given_what_it_needs_and_tells_its_parts(tmp_path: Path) -> None:
    code = """
    import json, pathlib
    from talk_film import write_talk
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"version": "3"}
        if request["op"] == "respond":
            turn = request["turn"]
            write_talk(pathlib.Path(request["output"]), pathlib.Path(turn["speech"]))
            assert turn["prompt"].endswith("Static camera.") and turn["deadline_s"] == 60
            answer = {"render_s": 1.25, "load_s": 0.5, "frames": 3}
        print(json.dumps(answer), flush=True)
    """
    options = {"spec": "worker", "argv": [sys.executable, program(tmp_path, code)], "needs": ["script", "speech"]}
    exchanges = drive(tmp_path, {"it": options}, deadline_s=60)
    assert [e.outcome.value for e in exchanges] == ["completed"] * 2, exchanges
    assert exchanges[0].reply_text == "The answer is blue number 1 and the river 1 runs north."
    assert exchanges[0].parts_s == {"loaded": 0.5, "rendered": 1.25}
    assert exchanges[0].detail["frames_sent"] == 3


WAITING = """
import json, queue, threading
lines = queue.Queue()
threading.Thread(target=lambda: [lines.put(json.loads(line)) for line in sys.stdin] + [sys.exit()], daemon=True).start()
print("loading", file=sys.stderr, flush=True)
import os
while True:
    request = lines.get()
    if request["op"] == "respond":
        assert lines.get()["op"] == "cancel"
        print(json.dumps({"error": {"code": "cancelled", "message": "told to"}}), flush=True)
        print(json.dumps({}), flush=True)
    else:
        print(json.dumps({"version": str(os.getpid())}), flush=True)
"""


async def test_a_worker_that_leaves_a_turn_when_told_keeps_its_weights(tmp_path: Path) -> None:
    system = WorkerSystem([sys.executable, program(tmp_path, WAITING)], grace_s=20.0)
    try:
        await system.start()
        loaded = system.version
        for _ in range(2):
            with pytest.raises(WorkerTimeoutError):
                await system.pool.call({"op": "respond"}, 0.05)
        await system.start()
        assert system.version == loaded
    finally:
        await system.stop()


def test_what_a_command_takes_is_read_off_its_placeholders() -> None:
    assert not CommandSystem(["film", "{audio}"]).takes_speech
    asked = CommandSystem(["film", "{speech}"])
    assert asked.takes_script and asked.takes_speech
    told = CommandSystem(["say", "{script}"])
    assert told.takes_script and not told.takes_speech


@pytest.mark.parametrize("choice", ["{audio}", "{speech}"])
def test_check_system_notices_an_avatar_that_repeats_the_question(tmp_path: Path, choice: str) -> None:
    """No words are reported and no transcriber listens: it is told from the sound alone."""
    options = {"argv": [sys.executable, program(tmp_path, FILM), choice, "{output}"]}
    spec = SystemSpec.parse("it=command", {"it": options})
    findings = asyncio.run(check_system(spec, deadline_s=60, keep=tmp_path / "clips"))
    told = [f.text for f in findings if f.level == "wrong" and "repeats the question" in f.text]
    assert bool(told) == (choice == "{audio}"), findings
    assert choice == "{speech}" or "the user's own recording" in told[0]


def test_sounds_are_alike_only_where_one_is_a_part_of_the_other() -> None:
    one, other = (resample(synthesize(text)).samples for text in ("Where is the bridge?", "It is by the old mill."))
    assert likeness(one, other) < 0.3
    assert likeness(np.pad(0.3 * one, 5000), one) > 0.95 and likeness(one[:8000], one) > 0.95
    assert likeness(np.zeros(0, np.float32), one) == 0.0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"words": "chat"}, "give script, chat:URL"),
        ({"speech": "siri"}, "give espeak, command, or the URL"),
        ({"words": "chat:http://127.0.0.1:1/v1"}, "needs the option 'model'"),
        ({"words": "thinker", "words_options": {"model": "m"}}, "needs the option 'url'"),
        ({"words": "thinker:http://127.0.0.1:1", "speech": "espeak"}, "speaks its replies itself"),
        ({"speech": "command"}, "needs the option 'command'"),
        ({"words_options": {"words": 0}}, None),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_played(
    tmp_path: Path, settings: dict[str, Any], words: str | None
) -> None:
    with pytest.raises(UsageError, match=words):
        drive(tmp_path, {"it": {"spec": "command", "argv": ["film", "{speech}"]}}, **settings)

"""Scripted replies: written once, the same for every system, within the budget of words."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from video_services import Raw, Status

from interbench.asr.base import Transcriber, Utterance
from interbench.base.errors import ScriptError, UsageError
from interbench.base.progress import make_progress
from interbench.domain.records import Transcript
from interbench.drive.script import ScriptWriter
from interbench.judge.registry import make_judge
from interbench.pipeline.config import Settings
from interbench.pipeline.run import execute, make_plan
from interbench.store.run_folder import Run


def write(run: Run, services: Any, **options: Any) -> ScriptWriter:
    given: dict[str, Any] = {"model": "m", "words": 9, "key_env": "TEST_CHAT_KEY"} | options
    return ScriptWriter(run, services.url + "/chat", **given)


async def test_every_system_is_given_the_same_words(adapters: Any, play: Any, services: Any, tmp_path: Path) -> None:
    sora = await play(adapters["sora"], protocol="scripted")
    hedra = await play(adapters["hedra"])
    # One ledger, one request per turn, whichever system asked first.
    assert hedra == []
    assert len(services.chats) == 2
    with Run(tmp_path / "out", write=True) as run:
        run.discard("it", "test-001")
    hedra = await play(adapters["hedra"])
    assert len(services.chats) == 2
    assert [exchange.reply_text for exchange in hedra] == [exchange.reply_text for exchange in sora]
    assert sora[0].reply_text == "Answer 1. The tower stands in Paris, and you"
    assert sora[0].detail["script"]["words_cut"] == 12
    assert sora[0].reply_text in sora[0].detail["prompt"]
    # Nine words and a second of silence take 4.9 s: the shortest length that holds them is 8 s.
    assert sora[0].detail["seconds"] == 8
    assert sora[0].cost_usd == pytest.approx(0.8)


async def test_the_model_is_asked_the_same_way_every_time(
    planned_scenarios: Any, services: Any, tmp_path: Path
) -> None:
    with Run(tmp_path / "run", write=True) as run:
        script = await write(run, services, seed=7).reply(planned_scenarios[0], 2)
    assert script.text.startswith("Answer 2.")
    first, second = services.chats
    assert (first["temperature"], first["seed"], first["model"]) == (0, 7, "m")
    roles = [message["role"] for message in second["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert second["messages"][2]["content"] == "Answer 1. The tower stands in Paris, and you"
    assert "at most 9 words" in first["messages"][0]["content"]
    assert "You are Tess, 30 years old" in first["messages"][0]["content"]


async def test_two_systems_that_ask_at_once_get_one_answer(
    planned_scenarios: Any, services: Any, tmp_path: Path
) -> None:
    with Run(tmp_path / "run", write=True) as run:
        writer = write(run, services)
        scripts = await asyncio.gather(*(writer.reply(planned_scenarios[0], 2) for _ in range(5)))
    assert len(set(scripts)) == 1
    assert len(services.chats) == 2


async def test_other_budgets_and_models_are_other_scripts(
    planned_scenarios: Any, services: Any, tmp_path: Path
) -> None:
    with Run(tmp_path / "run", write=True) as run:
        for options in ({}, {"words": 4}, {"model": "n"}, {"seed": 1}):
            await write(run, services, **options).reply(planned_scenarios[0], 1)
    assert len(services.chats) == 4


async def test_a_failing_model_is_asked_again_and_then_stops_the_run(
    planned_scenarios: Any, services: Any, tmp_path: Path
) -> None:
    services.plan("chat", Status(500), Status(429, "0"))
    with Run(tmp_path / "run", write=True) as run:
        assert (await write(run, services).reply(planned_scenarios[0], 1)).text
        services.plan("chat", Status(401, body={"error": {"message": "no"}}))
        with pytest.raises(ScriptError, match="answered 401"):
            await write(run, services).reply(planned_scenarios[0], 2)
        services.chat_reply = ""
        services.plan("chat", Status(200, body={"choices": [{"message": {"content": "  "}}]}))
        with pytest.raises(ScriptError, match="wrote no reply to turn 2"):
            await write(run, services).reply(planned_scenarios[0], 2)
        services.plan("chat", Status(200, body={"nonsense": 1}))
        with pytest.raises(ScriptError, match="does not answer like"):
            await write(run, services).reply(planned_scenarios[0], 2)


async def test_thoughts_are_no_part_of_a_script(planned_scenarios: Any, services: Any, tmp_path: Path) -> None:
    for number, said in enumerate(
        ("<think>Hm.</think>Well, the tower.", "So, be brief.\n</think>\n\nWell, the tower.")
    ):
        services.plan("chat", Status(200, body={"choices": [{"message": {"content": said}}]}))
        with Run(tmp_path / f"run{number}", write=True) as run:
            assert (await write(run, services).reply(planned_scenarios[0], 1)).text == "Well, the tower."


async def test_parameters_of_a_script_are_left_out_and_renamed(
    planned_scenarios: Any, services: Any, tmp_path: Path
) -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    services.plan("chat", Status(400, body={"error": {"message": said}}))
    with Run(tmp_path / "run", write=True) as run:
        plain = write(run, services)
        with pytest.raises(ScriptError, match=r"under \[script_options\].*max_completion_tokens"):
            await plain.reply(planned_scenarios[0], 1)
        changed = write(run, services, rename={"max_tokens": "max_completion_tokens"})
        assert (await changed.reply(planned_scenarios[0], 1)).text
        assert changed.identity["rename"] and "rename" not in plain.identity
        with pytest.raises(UsageError, match="every request needs 'model'"):
            write(run, services, omit=["model"])
    assert "max_tokens" not in services.chats[-1] and services.chats[-1]["max_completion_tokens"] == 136


async def test_a_script_without_end_is_not_read(planned_scenarios: Any, services: Any, tmp_path: Path) -> None:
    services.plan("chat", Raw(bytes(2**16), endless=True))
    with Run(tmp_path / "run", write=True) as run, pytest.raises(ScriptError, match="longer than"):
        await write(run, services).reply(planned_scenarios[0], 1)
    assert services.taken < 32 * 2**20


async def test_a_missing_key_is_said(services: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_CHAT_KEY")
    with Run(tmp_path / "run", write=True) as run, pytest.raises(UsageError, match="TEST_CHAT_KEY"):
        write(run, services)


async def test_words_beyond_the_longest_clip_are_cut_and_counted(adapters: Any, play: Any, services: Any) -> None:
    (exchange,) = await play(adapters["sora"], turns=1, protocol="scripted", durations=[4])
    # 4 s hold six words.
    assert exchange.reply_text == "Answer 1. The tower stands in"
    assert exchange.detail["words_cut"] == 3
    assert exchange.detail["script"]["words_cut"] == 12


async def test_systems_that_perform_words_need_a_writer(adapters: Any, services: Any, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    table = adapters["heygen"].table(services)
    lines = [f"{name} = {value!r}" for name, value in table.items()]
    config.write_text("\n".join(["systems = ['it']", "[system.it]", *lines]))
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "interbench", "drive", "--config", str(config), "--out", str(tmp_path / "o"), "-q"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--script URL" in done.stderr
    assert services.count("submit") == 0


async def test_a_model_that_answers_itself_is_told_what_it_said(
    adapters: Any, services: Any, scenario_set: Path, tmp_path: Path
) -> None:
    said: list[str] = []

    class Ear(Transcriber):
        label = "ear"
        needs_audio = True

        def identity(self) -> Mapping[str, Any]:
            return {"ear": 1}

        async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
            said.extend(utterance.key for utterance in batch)
            return [Transcript(f"I said number {utterance.key[-1]}.") for utterance in batch]

    settings = Settings.model_validate(
        {
            "out": tmp_path / "out",
            "scenarios": str(scenario_set),
            "limit": 1,
            "systems": ["it"],
            "system": {"it": adapters["sora"].table(services)},
        }
    )
    await execute(
        make_plan(settings),
        transcriber=Ear(),
        judge=make_judge("signals", {}),
        progress=make_progress(quiet=True),
        stages=("drive", "transcribe"),
    )
    first, second = (job.request["prompt"] for job in services.jobs.values())
    assert "conversation so far" not in first
    assert "Question 1 of conversation 1, please? Tess answered: I said number 1." in second
    assert said.count("it/test-001/1") == 1
    with Run(tmp_path / "out", write=False) as run:
        assert [exchange.detail["history"]["replies_known"] for exchange in run.exchanges()] == [0, 1]

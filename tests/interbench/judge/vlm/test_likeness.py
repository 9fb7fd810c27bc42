"""A server that turns into another judge, in mid-run or between two runs, under the same name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness_kit
import pytest
from judge_stub import Reply, StubJudge

from interbench.asr.given import Given
from interbench.base.errors import JudgeError
from interbench.base.progress import PlainProgress
from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.records import PlayedConversation, Verdict
from interbench.judge.base import JudgeTask
from interbench.judge.vlm.judge import VLMJudge
from interbench.judge.vlm.likeness import TOLERANCE, Likeness
from interbench.judge.vlm.settings import JudgeSettings
from interbench.pipeline.config import Settings
from interbench.pipeline.run import Summary, execute, make_plan

TASKS = [JudgeTask(dimension.key) for dimension in DIMENSIONS]
Played = Callable[..., PlayedConversation]
Change = Callable[[StubJudge], None]
FIRST, SECOND = 7, 2
"""Scores by which the first server's verdicts are told from those of the one in its place."""


def other_weights(stub: StubJudge) -> None:
    stub.weights = 1


def other_path(stub: StubJudge) -> None:
    stub.root = "/models/something-else"


def shorter_context(stub: StubJudge) -> None:
    stub.context = 200


def no_change(stub: StubJudge) -> None:
    stub.rounding = TOLERANCE / 3


CHANGES = [
    (other_weights, "still names Qwen/Qwen3-VL-30B-A3B-Instruct.* log-probabilities"),
    (other_path, "serves /models/something-else"),
    (shorter_context, "context 200"),
]


async def restart(stub: StubJudge, change: Change) -> None:
    """Another process behind the same address, with nothing of the first one's memory or connections."""
    await stub.shut()
    change(stub)
    stub.script = lambda request, number: Reply(f"\\boxed{{{SECOND}}}")
    await stub.open()


async def judged(
    stub: StubJudge, conversations: list[PlayedConversation], between: Callable[[], Any] | None = None
) -> tuple[list[Verdict], VLMJudge, JudgeError | None]:
    """All verdicts given before an error, if there was one."""

    async def sleep(seconds: float) -> None:
        if change_on_wait:
            await change_on_wait.pop()()
        await asyncio.sleep(0)

    change_on_wait = [between] if between is not None and len(conversations) == 1 else []
    judge = VLMJudge([stub.url], settings=JudgeSettings(concurrency=1), sleep=sleep)
    await judge.start()
    given: list[Verdict] = []
    try:
        for number, conversation in enumerate(conversations):
            if number and between is not None:
                await between()
            async for verdict in judge.judge(conversation, TASKS):
                given.append(verdict)  # noqa: PERF401 - what was given before an error counts
    except JudgeError as error:
        return given, judge, error
    finally:
        await judge.stop()
    return given, judge, None


def first(request: dict[str, Any], number: int) -> Reply:
    """Three verdicts, then a broken connection."""
    return Reply(do="drop") if number == 3 else Reply(f"\\boxed{{{FIRST}}}")


@pytest.mark.parametrize(("change", "said"), CHANGES)
async def test_another_checkpoint_after_a_restart_stops_the_run(played: Played, change: Change, said: str) -> None:
    """What the first one said is kept, and nothing of the second is accepted, be it an answer or a refusal."""
    async with StubJudge(first) as stub:
        given, _, error = await judged(stub, [played()], lambda: restart(stub, change))
    assert error is not None
    with pytest.raises(JudgeError, match=said):
        raise error
    assert "Serve the earlier checkpoint again" in str(error)
    assert [verdict.score for verdict in given] == [FIRST] * 3


async def test_the_same_checkpoint_after_a_restart_goes_on(played: Played) -> None:
    async with StubJudge(first) as stub:
        given, judge, error = await judged(stub, [played()], lambda: restart(stub, no_change))
    assert error is None
    assert sorted(verdict.score or 0 for verdict in given) == [SECOND] * (len(TASKS) - 3) + [FIRST] * 3
    assert judge.summary()["remarks"] == []


@pytest.mark.parametrize(("change", "said"), CHANGES[:2])
async def test_a_change_that_no_request_fell_victim_to_is_noticed(played: Played, change: Change, said: str) -> None:
    """Between two conversations, while nothing was under way."""
    async with StubJudge(lambda request, number: Reply(f"\\boxed{{{FIRST}}}")) as stub:
        both = [played(), played(scenario="another")]
        given, _, error = await judged(stub, both, lambda: restart(stub, change))
    assert error is not None and len(given) == len(TASKS)
    with pytest.raises(JudgeError, match=said):
        raise error


async def test_another_setup_told_by_the_fingerprint_is_looked_into(played: Played) -> None:
    """Behind a proxy connections outlive the server; what it says of itself does not."""

    def script(request: dict[str, Any], number: int) -> Reply:
        if number == 4:
            stub.fingerprint, stub.weights = "vllm-1-bbbb", 1
        return Reply()

    async with StubJudge(script) as stub:
        stub.fingerprint = "vllm-1-aaaa"
        given, _, error = await judged(stub, [played()])
    assert error is not None and "log-probabilities" in str(error)
    assert 3 <= len(given) <= 4


async def test_an_undisturbed_run_asks_for_it_once_per_connection(played: Played) -> None:
    async with StubJudge() as stub:
        given, _, error = await judged(stub, [played(), played(scenario="another")])
        asked = stub.paths.count("/v1/completions")
    assert error is None and len(given) == 2 * len(TASKS)
    assert 1 <= asked <= 3


async def test_a_server_that_tells_no_log_probabilities_is_marked(played: Played) -> None:
    async with StubJudge(weights=None) as stub:
        given, judge, error = await judged(stub, [played()])
    assert error is None and len(given) == len(TASKS)
    assert any("only by its model's name" in remark for remark in judge.summary()["remarks"])


async def test_servers_of_the_same_name_and_other_weights_are_not_mixed() -> None:
    async with StubJudge() as one, StubJudge(weights=1) as other:
        with pytest.raises(JudgeError, match="not the same weights"):
            await VLMJudge([one.url, other.url]).start()


def test_likeness_survives_the_manifest_and_rounding() -> None:
    known = Likeness("0" * 64, (-1.0, -5.5, -0.25, -9.0))
    assert Likeness.read(json.loads(json.dumps(known.record()))).difference(known) == ""
    noisy = Likeness("0" * 64, (-1.05, -5.4, -0.3, -9.1))
    assert noisy.difference(known) == ""
    assert "log-probabilities" in Likeness("0" * 64, (-1.5, -5.0, -0.75, -8.5)).difference(known)
    assert "other tokens" in Likeness("1" * 64, known.logprobs).difference(known)


async def run(folder: Path, stub: StubJudge) -> Summary:
    scenarios = folder / "set"
    if not scenarios.exists():
        harness_kit.write_set(scenarios, count=1, turns=1)
    plan = make_plan(Settings(out=folder / "run", scenarios=str(scenarios), systems=("it=harness_kit:Good",)))
    judge = VLMJudge([stub.url], settings=JudgeSettings())
    return await execute(plan, transcriber=Given(), judge=judge, progress=PlainProgress())


async def test_a_later_run_does_not_add_to_the_verdicts_of_other_weights(tmp_path: Path) -> None:
    async with StubJudge() as stub:
        assert (await run(tmp_path, stub)).verdicts == len(TASKS)
        manifest = (tmp_path / "run" / "manifest.json").read_bytes()
        stub.rounding = TOLERANCE / 3
        assert not (await run(tmp_path, stub)).did_something
        assert (tmp_path / "run" / "manifest.json").read_bytes() == manifest
        stub.weights = 1
        with pytest.raises(JudgeError, match="that gave this run's verdicts"):
            await run(tmp_path, stub)
        stub.root = "/models/tuned"
        assert (await run(tmp_path, stub)).verdicts == len(TASKS)

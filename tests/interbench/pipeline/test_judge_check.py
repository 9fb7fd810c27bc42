"""``check-judge``, the counters in words, and judging a part of a run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import harness_kit
import pytest
from judge_stub import StubJudge, error_reply

from interbench.base.errors import UsageError
from interbench.cli.judge_words import judge_lines, spoken_rate
from interbench.domain.records import PlayedConversation, Verdict
from interbench.judge.base import Judge, JudgeTask
from interbench.judge.vlm.judge import VLMJudge
from interbench.judge.vlm.settings import JudgeSettings
from interbench.pipeline.config import Settings
from interbench.pipeline.judge_check import check_judge
from interbench.pipeline.plan import make_plan


@pytest.fixture
def quick(tmp_path: Path) -> dict[str, str]:
    """Who plays, and what: quicker than the puppet."""
    return {
        "system": "harness_kit:Good",
        "scenarios": str(harness_kit.write_set(tmp_path / "few", count=1, turns=2)),
    }


async def test_a_good_judge_gives_a_verdict_on_a_real_conversation(quick: dict[str, str]) -> None:
    priced = JudgeSettings(prompt_price=1.0, completion_price=2.0)
    async with StubJudge() as stub:
        judge = VLMJudge([stub.url], settings=priced)
        findings = await check_judge(judge, "MVC", **quick)
        (request,) = stub.requests
    assert {finding.level for finding in findings} == {"ok"}, [str(finding) for finding in findings]
    told = "\n".join(map(str, findings))
    assert "Qwen3-VL-30B-A3B-Instruct answers" in told and "shows videos as the settings say" in told
    assert "(test-001): MVC 7 after" in told
    assert "1 call:" in told and "USD" in told and "of the context of 262,144 tokens" in told
    assert sum(part["type"] == "video_url" for part in request["messages"][1]["content"]) > 1


async def test_a_judge_that_is_not_there_is_told_at_once() -> None:
    (finding,) = await check_judge(VLMJudge(["http://127.0.0.1:9"]), "MVC")
    assert finding.level == "wrong" and "http://127.0.0.1:9 can't be reached" in finding.text
    with pytest.raises(UsageError, match="XYZ"):
        await check_judge(VLMJudge(["http://127.0.0.1:9"]), "XYZ")


class Evasive(Judge):
    """Gives another verdict than the one that was asked for."""

    label = "evasive"

    def identity(self) -> Mapping[str, Any]:
        return {"judge": "evasive"}

    async def judge(self, conversation: PlayedConversation, tasks: Sequence[JudgeTask]) -> AsyncIterator[Verdict]:
        yield Verdict(conversation.system, conversation.scenario.id, "CU", score=5.0)


async def test_a_judge_of_ones_own_is_held_to_the_seam(quick: dict[str, str]) -> None:
    *_, last = await check_judge(Evasive(), "MVC", **quick)
    assert last.level == "wrong" and "asked for MVC it gave CU" in last.text


async def test_waiting_is_said_once_in_the_servers_own_words() -> None:
    lines: list[str] = []

    async def no_wait(seconds: float) -> None:
        return

    async with StubJudge() as stub:
        stub.busy = [error_reply(503, "loading the weights", **{"retry-after": "40"})] * 2
        judge = VLMJudge([stub.url], sleep=no_wait)
        judge.tell = lines.append
        await judge.start()
        await judge.stop()
    (line,) = lines
    assert line.startswith(f"judge: {stub.url}: it answered 503 to /v1/models: ") and "loading the weights" in line
    assert line.endswith("; trying again for up to 300 s")


def test_counters_are_told_in_words_and_only_if_there_is_something_to_tell() -> None:
    counted = {
        "calls": 18, "prompt_tokens": 120400, "prompt_tokens_reused": 99000, "prompt_tokens_computed": 21400,
        "completion_tokens": 3400, "asked_again": 1, "videos_resent": 0, "retries": 2, "most_in_flight": 8,
        "usd": None, "remarks": ["The server can't say."], "own_figure": 3,
    }  # fmt: skip
    assert judge_lines(counted) == [
        "judge: 18 calls, at most 8 at once; 120,400 tokens read (99,000 of them from the server's cache), 3,400 "
        "written",
        "judge: 1 answer without a boxed score, asked for again",
        "judge: 2 requests tried again, because the server was busy, down or failing",
        "judge: The server can't say.",
        "judge: own figure 3",
    ]
    assert judge_lines({}) == []
    assert spoken_rate(30, 200.0) == "time: 3 min 20 s, 9.0 verdicts per minute"
    assert spoken_rate(9, 2.5).startswith("time: 2.5 s, ")


def test_a_part_of_a_run_is_chosen_the_same_way_every_time(tmp_path: Path) -> None:
    scenarios = str(harness_kit.write_set(tmp_path / "set", count=6, turns=1))
    plan = make_plan(Settings(out=tmp_path / "run", scenarios=scenarios, systems=("it=harness_kit:Good",)))

    def ids(**chosen: Any) -> list[str]:
        return [planned.scenario.id for planned in plan.narrowed(**chosen).planned_scenarios]

    assert ids() == [f"test-{n:03d}" for n in range(1, 7)]
    assert ids(only=["test-00[13]", "test-006"], limit=2) == ["test-001", "test-003"]
    drawn = ids(sample=3)
    assert len(drawn) == 3 and drawn == ids(sample=3) == sorted(drawn) and drawn != ids(sample=3, seed=2)
    assert ids(sample=99) == ids()
    with pytest.raises(UsageError, match="no scenario 'memory'; it has test-001, test-002"):
        ids(only=["memory"])
    with pytest.raises(UsageError, match="The sample is 0"):
        ids(sample=0)

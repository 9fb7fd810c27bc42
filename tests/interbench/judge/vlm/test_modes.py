"""The readings of the rubrics: what each shows a judge, and that their verdicts are never taken for one another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from judge_kit import clip_facts, write_clip
from judge_stub import StubJudge

from interbench.base.bundled import data_path
from interbench.base.errors import JudgeError, UsageError
from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.records import Detail, PlayedConversation, Speaking, Timings, Verdict
from interbench.domain.scenario import KeyPoint, VisibleAct
from interbench.judge.base import JudgeTask
from interbench.judge.stage import conversation_digest
from interbench.judge.vlm.judge import VLMJudge
from interbench.judge.vlm.rubrics import MODES, Mode
from interbench.judge.vlm.settings import JudgeSettings
from interbench.report.collect import judging_mode
from interbench.scenarios.sets import load_set

TASKS = [JudgeTask(dimension.key) for dimension in DIMENSIONS]
Played = Callable[..., PlayedConversation]


async def ask(
    stub: StubJudge, conversation: PlayedConversation, tasks: list[JudgeTask] = TASKS, **settings: Any
) -> tuple[list[Verdict], VLMJudge]:
    judge = VLMJudge([stub.url], settings=JudgeSettings(**settings))
    await judge.start()
    try:
        return [verdict async for verdict in judge.judge(conversation, tasks)], judge
    finally:
        await judge.stop()


def kinds(request: dict[str, Any]) -> list[str]:
    return [part["type"] for part in request["messages"][1]["content"]]


def said(request: dict[str, Any]) -> str:
    return "\n".join(part["text"] for part in request["messages"][1]["content"] if part["type"] == "text")


@pytest.fixture
def measured(played: Played) -> PlayedConversation:
    """Two turns with everything that can be known of them."""
    whole = load_set("all@1")
    conversation = played()
    points = (KeyPoint(text="There is a garden"), KeyPoint(text="There is a lion", accept=("lion",), must_not=True))
    acting = VisibleAct(act="nods on yes", check="The head moves down and up.")
    author = conversation.scenario.turns[0].model_copy(update={"key_points": points, "visible_act": acting})
    first, second = conversation.turns
    first = replace(
        first,
        timings=Timings(3.0, 1.25, first_speech_s=1.5),
        speaking=Speaking(0.25, 1.75, ((0.5, 1.0),)),
    )
    second = replace(second, timings=Timings(9.0, 8.0, first_speech_s=8.5, resumed=True))
    return replace(
        conversation,
        scenario=conversation.scenario.model_copy(update={"turns": (author, conversation.scenario.turns[1])}),
        turns=(first, second),
        persona=whole.personas["maya"],
        portrait=data_path("scenarios") / "portraits" / "maya.png",
    )


async def test_what_each_mode_shows(measured: PlayedConversation) -> None:
    shown: dict[str, str] = {}
    for mode in MODES:
        async with StubJudge() as stub:
            verdicts, judge = await ask(stub, measured, TASKS[:1], mode=mode)
            (request,) = stub.requests
        shown[mode] = said(request)
        assert ("image_url" in kinds(request)) == (mode != "published")
        assert verdicts[0].evidence["rubric"]["mode"] == mode
        assert judge.shown == (frozenset() if mode == "published" else {"timings", "speaking"})
    facts = (
        "32 stills of it, from 0.0 to 2.0 s, 0.06 s apart",
        "speech from 0.2 to 1.8 s, 4.0 words per second; pauses of more than 0.3 s: 0.5 to 1.0 s.",
        "the user waited 1.2 s for the first picture and 1.5 s for the first sound",
        'User, meant to be "curious"',
        '"nods on yes". To check: "The head moves down and up."',
    )
    for fact in facts:
        assert fact in shown["observed"] and fact in shown["observed+keypoints"] and fact not in shown["published"]
    assert shown["observed"].count("the user waited") == 1, "a turn taken up after an interruption has no waiting"
    assert "There is a garden" not in shown["observed"] + shown["published"]
    assert 'in whatever words: "There is a garden"' in shown["observed+keypoints"]
    assert 'does not say: "There is a lion"' in shown["observed+keypoints"]


async def test_portrait_and_facts_stand_in_the_prefix_that_all_questions_share(measured: PlayedConversation) -> None:
    async with StubJudge() as stub:
        verdicts, _ = await ask(stub, measured)
        requests = stub.requests
    assert len(verdicts) == len(TASKS) and all(verdict.score == 7 for verdict in verdicts)
    for request in requests:
        assert kinds(request) == ["text", "image_url", "text", "video_url", "text", "video_url", "text", "text"]
    content = [request["messages"][1]["content"] for request in requests]
    shared = [
        json.dumps([request["messages"][0], [{**p, "video_url": None} for p in parts[:-1]]])
        for request, parts in zip(requests, content, strict=True)
    ]
    assert len(set(shared)) == 1 and len({parts[-1]["text"] for parts in content}) == len(TASKS)
    assert "described as" in content[0][0]["text"] and content[0][0]["text"].count("Portrait:") == 1
    assert {len(verdict.evidence["portrait"]["sha256"]) for verdict in verdicts} == {64}


async def test_details_are_shown_after_their_video_and_checked_like_it(
    measured: PlayedConversation, tmp_path: Path
) -> None:
    path = tmp_path / "detail.mp4"
    facts = write_clip(path, 24, 8, 128, 128)
    detail = Detail(path, facts, ((0.0, 2.0), (2.5, 3.5)), 8)
    first = replace(measured.turns[0], details=(detail,))
    conversation = replace(measured, turns=(first, measured.turns[1]))
    async with StubJudge() as stub:
        verdicts, judge = await ask(stub, conversation, TASKS[:2], sampling="dense")
        request = stub.requests[0]
    assert judge.shown == {"timings", "speaking", "details"} and judge.summary()["remarks"] == []
    assert kinds(request).count("video_url") == 3
    assert "Details of video 1, 8 stills per second: 0.0 to 2.0 s, then 2.5 to 3.5 s:" in said(request)
    assert "parts of it are shown once more in detail" in said(request)
    videos = verdicts[0].evidence["videos"]
    assert [(v["turn"], v["frames"], v.get("details")) for v in videos] == [
        (1, 32, None),
        (1, 24, {"parts_s": [[0.0, 2.0], [2.5, 3.5]], "fps": 8}),
        (2, 20, None),
    ]
    assert videos[1]["first_and_last_s"] == [pytest.approx(0.06, abs=0.05), pytest.approx(2.81, abs=0.05)]


async def test_a_server_that_shows_details_otherwise_stops_the_run(
    measured: PlayedConversation, tmp_path: Path
) -> None:
    path = tmp_path / "detail.mp4"
    write_clip(path, 24, 8, 128, 128)
    wrong = Detail(path, clip_facts(path, 8, 8, 128, 128), ((0.0, 1.0),), 8)
    conversation = replace(measured, turns=(replace(measured.turns[0], details=(wrong,)), measured.turns[1]))
    async with StubJudge() as stub:
        with pytest.raises(JudgeError, match="24 frames instead of 8"):
            await ask(stub, conversation, TASKS[:1], sampling="dense")


async def test_each_mode_is_another_judge_and_the_published_one_is_who_it_was(played: Played) -> None:
    identities = {}
    async with StubJudge() as stub:
        every: list[dict[str, Any]] = [*({"mode": mode} for mode in MODES), {"sampling": "dense"}, {"word_budget": 20}]
        for settings in every:
            judge = VLMJudge([stub.url], settings=JudgeSettings(**settings))
            await judge.start()
            identities[json.dumps(settings)] = judge.identity()
            await judge.stop()
    assert len({json.dumps(identity, sort_keys=True) for identity in identities.values()}) == 5
    published = identities['{"mode": "published"}']
    assert not {"mode", "sampling", "word_budget", "shown"} & set(published), "as before there were modes"
    assert [judging_mode(identities[json.dumps({"mode": mode})]) for mode in MODES] == list(MODES)
    assert get_args(Mode) == MODES
    other = {**published, "rubrics": {**published["rubrics"], "EA": "0" * 64}}
    assert judging_mode(other) == "published with other prompts"
    assert judging_mode({"judge": "signals"}) == ""


def test_what_a_mode_is_shown_is_part_of_what_it_judged(measured: PlayedConversation) -> None:
    slower = replace(
        measured, turns=(replace(measured.turns[0], timings=Timings(9.0, 7.0, first_speech_s=7.5)), measured.turns[1])
    )
    assert conversation_digest(slower) == conversation_digest(measured), "a judge that sees no clock"
    assert conversation_digest(slower, {"timings"}) != conversation_digest(measured, {"timings"})


async def test_a_server_that_takes_no_pictures_is_told_before_the_run(played: Played) -> None:
    async with StubJudge() as stub:
        stub.takes_pictures = False
        with pytest.raises(
            JudgeError, match=r"takes no pictures.*--limit-mm-per-prompt .*image.*--judge-mode published"
        ):
            await ask(stub, played(), TASKS[:1])
        verdicts, _ = await ask(stub, played(), TASKS[:1], mode="published")
    assert verdicts[0].score == 7 and stub.pictures_shown == 1


async def test_a_server_that_can_t_be_checked_is_told_no_number_of_stills(measured: PlayedConversation) -> None:
    async with StubJudge(vllm=False) as stub:
        await ask(stub, measured, TASKS[:1])
        told = said(stub.requests[0])
    assert told.count("you see some stills of it, spread over its length") == 2 and "32 stills" not in told


async def test_a_portrait_that_is_gone_stops_with_what_to_do(measured: PlayedConversation, tmp_path: Path) -> None:
    gone = replace(measured, portrait=tmp_path / "gone.png")
    async with StubJudge() as stub:
        with pytest.raises(JudgeError, match=r"gone\.png can't be read.*mode published"):
            await ask(stub, gone, TASKS[:1])
        assert len((await ask(stub, gone, TASKS[:1], mode="published"))[0]) == 1


async def test_of_a_budget_only_so_many_words_are_given(measured: PlayedConversation) -> None:
    async with StubJudge() as stub:
        await ask(stub, measured, TASKS[:1], word_budget=3)
        told = said(stub.requests[0])
    assert 'in video 1: "Behind door 1"' in told and "only the first 3 words are given" in told


@pytest.mark.parametrize(
    "settings",
    [{"mode": "published", "sampling": "dense"}, {"mode": "published", "word_budget": 9}, {"word_budget": 0}],
)
def test_what_the_published_reading_knows_nothing_of_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"observed|at least 1"):
        JudgeSettings(**settings)

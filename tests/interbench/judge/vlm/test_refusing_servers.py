"""Servers that take no request as it is sent, or list their models in their own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from judge_stub import Reply, StubJudge, error_reply

from interbench.base.errors import JudgeError, UsageError
from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.records import Missing, PlayedConversation, Verdict
from interbench.judge.base import JudgeTask
from interbench.judge.registry import make_judge
from interbench.judge.vlm.client import Patience
from interbench.judge.vlm.judge import VLMJudge
from interbench.judge.vlm.settings import JudgeSettings

Played = Callable[..., PlayedConversation]
NEWER = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def knows(**names: str) -> Callable[[dict[str, Any], int], Reply]:
    """A server that rejects requests with any of these parameters, with these words."""

    def script(request: dict[str, Any], number: int) -> Reply:
        unknown = next((said for name, said in names.items() if name in request), None)
        return Reply() if unknown is None else error_reply(400, f"{unknown} (request {number})")

    return script


async def judged(
    stub: StubJudge,
    *conversations: PlayedConversation,
    model: str | None = None,
    asked: int = len(DIMENSIONS),
    **settings: Any,
) -> list[Verdict]:
    patience = Patience(attempts=2, first_wait_s=0.01)
    judge = VLMJudge([stub.url], model, settings=JudgeSettings(patience=patience, **settings))
    await judge.start()
    tasks = [JudgeTask(dimension.key, 0) for dimension in DIMENSIONS[:asked]]
    try:
        return [verdict for one in conversations async for verdict in judge.judge(one, tasks)]
    finally:
        await judge.stop()


@pytest.mark.parametrize(
    ("script", "advice"),
    [
        (knows(max_tokens=NEWER), 'rename = { max_tokens = "max_completion_tokens" }'),
        (knows(top_p="`temperature` and `top_p` cannot both be set."), 'omit = ["temperature", "top_p"]'),
        (knows(messages="Invalid content part: video_url."), "(`video_url`)"),
        (lambda request, number: error_reply(402, "Pay your bill."), "Pay your bill."),
        (lambda request, number: error_reply(422, "No."), 'omit = ["PARAMETER"]'),
    ],
    ids=range(5),
)
@pytest.mark.parametrize("vllm", [True, False])
async def test_a_server_that_rejects_everything_is_asked_a_few_times_and_told_of(
    played: Played, script: Any, advice: str, vllm: bool
) -> None:
    async with StubJudge(script, vllm=vllm) as stub:
        conversations = [played(scenario=f"visit-{number}") for number in range(3)]
        with pytest.raises(JudgeError, match="rejects every request") as caught:
            await judged(stub, *conversations)
        # Those of one conversation at most, twice where files are tried first, and one about the bundled clip.
        assert len(stub.requests) <= 2 * len(DIMENSIONS) + 1
    assert advice in str(caught.value)


async def test_parameters_are_left_out_and_renamed(played: Played) -> None:
    async with StubJudge(knows(max_tokens=NEWER, top_p="no", stream_options="no")) as stub:
        verdicts = await judged(
            stub,
            played(),
            omit=("top_p", "stream_options", "temperature"),
            rename={"max_tokens": "max_completion_tokens"},
        )
        assert {request["max_completion_tokens"] for request in stub.requests} == {2048}
        assert not any({"temperature", "top_p", "stream_options"} & set(request) for request in stub.requests)
    assert [verdict.score for verdict in verdicts] == [7.0] * len(DIMENSIONS)


async def test_a_rejection_that_is_meant_for_one_conversation_stops_nothing(played: Played) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        return error_reply(400, "The video is broken.") if "door 1" in str(request["messages"]) else Reply()

    async with StubJudge(script, vllm=False) as stub:
        bad = played()
        good = played([("Hello?", "Hello."), ("Really?", "Yes.")], scenario="other")
        verdicts = await judged(stub, bad, good)
    assert [verdict.missing for verdict in verdicts] == [Missing.REQUEST_REJECTED] * len(DIMENSIONS) + [None] * len(
        DIMENSIONS
    )


async def test_what_is_sent_as_ever_keeps_its_identity(played: Played) -> None:
    async with StubJudge() as stub:
        identities = []
        changes: list[dict[str, Any]] = [{}, {"omit": ("top_p",)}, {"rename": {"seed": "random_seed"}}]
        for settings in (JudgeSettings(**change) for change in changes):
            judge = VLMJudge([stub.url], settings=settings)
            await judge.start()
            identities.append(dict(judge.identity()))
            await judge.stop()
    assert not {"omit", "rename"} & set(identities[0])
    assert (identities[1]["omit"], identities[2]["rename"]) == (("top_p",), {"seed": "random_seed"})


OPTIONS: list[dict[str, Any]] = [
    {"omit": ["model"]},
    {"rename": {"messages": "input"}},
    {"omit": ["seed"], "rename": {"seed": "x"}},
    {"omit": "seed"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_options_that_make_no_request_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"omit|rename|every request|left out"):
        make_judge("http://127.0.0.1:1", options, 1)


SHAPES: list[Any] = [
    (200, [{"id": "judge"}, {"id": "other"}]),
    (200, {"models": [{"name": "judge"}]}),
    (200, {"data": ["judge"]}),
    (200, {"data": [{"id": "other"}], "has_more": True}),
    (200, {"data": None}),
    (200, []),
    (200, "judge"),
    (404, {"detail": "Not Found"}),
    (403, {"error": {"message": "Missing scopes: api.model.read"}}),
    (400, {"error": {"message": "No list here."}}),
]


@pytest.mark.parametrize("answer", SHAPES, ids=repr)
async def test_a_model_that_is_named_needs_no_list(answer: tuple[int, Any], played: Played) -> None:
    async with StubJudge(vllm=False) as stub:
        stub.models = answer
        verdicts = await judged(stub, played(), model="judge", asked=1)
        assert {request["model"] for request in stub.requests} == {"judge"}
    assert [verdict.score for verdict in verdicts] == [7.0]


async def test_without_a_name_the_list_says_what_to_do() -> None:
    async with StubJudge(vllm=False) as stub:
        stub.models = (200, [{"id": "judge"}, {"id": "other"}])
        with pytest.raises(JudgeError, match=r"serves judge, other.*INTERBENCH_JUDGE_MODEL"):
            await judged(stub)
        with pytest.raises(JudgeError, match="does not serve 'third'"):
            await judged(stub, model="third")
        stub.models = (401, {})
        with pytest.raises(JudgeError, match="refused access"):
            await judged(stub, model="judge")
        stub.models = (200, [{"id": "judge"}])
        await judged(stub)


async def test_a_redirect_is_named(played: Played) -> None:
    async with StubJudge() as stub:
        stub.busy = [Reply(status=308, body=b"", headers={"location": "https://elsewhere.example/v1/models"})]
        with pytest.raises(JudgeError, match=r"redirects to https://elsewhere\.example/v1/models"):
            await judged(stub, model="judge")


async def test_no_page_is_read_without_end() -> None:
    async with StubJudge() as stub:
        stub.busy = [Reply(body=b"[" + b" " * (33 * 2**20))]
        with pytest.raises(JudgeError, match="longer than 33554432 bytes"):
            await judged(stub)


async def test_half_characters_and_odd_figures_in_an_answer_are_mended(played: Played) -> None:
    message = {"content": "Because \ud83d. \\boxed{7}", "refusal": None}
    usage = {"prompt_tokens": -5, "completion_tokens": 1e300, "prompt_tokens_details": {"cached_tokens": "x"}}
    completion = {"choices": [{"message": message, "finish_reason": "\ud83d"}], "usage": usage}
    async with StubJudge(lambda request, number: Reply(completion=completion), vllm=False) as stub:
        verdicts = await judged(stub, played(), asked=1)
    assert {verdict.reasons for verdict in verdicts} == {"Because \ufffd. \\boxed{7}"}
    assert verdicts[0].evidence["tokens"] == {"prompt": None, "cached": None, "completion": None}

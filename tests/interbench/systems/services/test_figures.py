"""What services say of costs, lengths and states is data from outside: no figure of theirs undoes a cap or a run."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from video_services import Raw, Redirect, Status, clip

from interbench.base.errors import CapReachedError
from interbench.domain.records import Charge
from interbench.drive.spending import Budget, Caps, SpendingError, totals
from interbench.store.run_folder import Key, Run
from interbench.systems.events import Blocked, Completed, Failed, ProgressReport
from interbench.systems.services.download import take_inline

ODD = [
    -1,
    -1e5,
    0,
    "0.001",
    "-1",
    1e308,
    1e9,
    float("inf"),
    float("nan"),
    "Infinity",
    "abc",
    [],
    {},
    True,
    "٨",
    "9" * 400,
]
"""Seconds that a clip of some seconds can't have."""
WORST_S = 4 * (9 / 2.3 + 1)
"""What is set aside for nine words where no length is asked for: four times 2.3 words a second and a second."""


def spent(tmp_path: Path, out: str = "out") -> list[Any]:
    with Run(tmp_path / out, write=False) as run:
        return [(spend.charge.value, spend.usd, spend.video_s) for spend in run.spending()]


def notices(final: Any) -> list[str]:
    """What was odd about an answer."""
    return list(final.detail.get("notices", ()))


def completed(figure: Any) -> Status:
    """A finished job of the OpenAI Videos format that was so many seconds long."""
    return Status(200, body={"id": "openai_1", "status": "completed", "seconds": figure})


# -- money ------------------------------------------------------------------------------------------------------------


async def test_a_length_that_cannot_be_is_charged_as_asked_for_and_noticed(
    adapters: Any, ask: Any, services: Any
) -> None:
    for figure in ODD:
        services.plan("poll", completed(figure))
        final, _ = await ask(adapters["sora"])
        assert isinstance(final, Completed), figure
        assert final.cost_usd == pytest.approx(0.4) and final.video_s == 4.0, figure
        (notice,) = notices(final)
        assert "the service says" in notice and "4 s set aside are charged" in notice


async def test_a_length_that_can_be_is_charged(adapters: Any, ask: Any, services: Any) -> None:
    for figure, usd in (("4", 0.4), (8, 0.8), ("2.5", 0.25), (None, 0.4)):
        services.plan("poll", completed(figure))
        final, _ = await ask(adapters["sora"])
        assert final.cost_usd == pytest.approx(usd) and not notices(final)


async def test_where_no_length_is_asked_for_the_worst_case_bounds_what_is_believed(
    adapters: Any, ask: Any, services: Any
) -> None:
    services.pending = 0
    odd = [1e9, float("inf"), -3, 0, "long"]
    for number, (figure, seconds) in enumerate([*((figure, WORST_S) for figure in odd), (14.7, 14.7), (None, 3.0)], 1):
        url = f"{services.elsewhere}/cdn/heygen_{number}.mp4"
        services.plan("poll", Status(200, body={"data": {"status": "completed", "duration": figure, "video_url": url}}))
        final, (submitting, *_) = await ask(adapters["heygen"])
        assert submitting.video_s == pytest.approx(WORST_S)
        assert final.video_s == pytest.approx(seconds, abs=0.1), figure
        assert final.cost_usd == pytest.approx(0.05 * final.video_s)
        assert bool(notices(final)) == (figure in odd)


async def test_tokens_that_cannot_be_are_not_reckoned_with(adapters: Any, ask: Any, services: Any) -> None:
    services.pending = 0
    for number, tokens in enumerate(("abc", -5, 1e300, 10**12, 0, None, [1]), start=1):
        video = {"type": "video", "uri": f"{services.elsewhere}/cdn/gemini_{number}.mp4"}
        usage = {"output_tokens_by_modality": [{"modality": "video", "tokens": tokens}, 5]}
        steps = [{"type": "model_output", "content": [video]}]
        services.plan("poll", Status(200, body={"status": "completed", "steps": steps, "usage": usage}))
        final, _ = await ask(adapters["omni"])
        assert final.cost_usd == pytest.approx(0.3), tokens


def test_no_ledger_takes_an_amount_that_is_none(tmp_path: Path) -> None:
    key = Key("s", "a", 1)
    with Run(tmp_path / "run", write=True) as run:
        budget = Budget(run, Caps(usd=5))
        for video_s, price in ((-1, 1.0), (float("nan"), 1.0), (8, -1.0), (8, float("inf")), (1e12, 1.0)):
            with pytest.raises(SpendingError, match="no amounts"):
                budget.reserve(key, video_s, price)
        budget.reserve(key, 8, 0.8)
        for usd in (-0.1, float("inf"), float("nan")):
            with pytest.raises(SpendingError):
                budget.settle(key, Charge.SPENT, usd)
            with pytest.raises(ValueError, match="no amounts"):
                run.settle(key, Charge.SPENT, usd)
            settled = budget.charge(key, usd)
            assert (settled.usd, bool(settled.notice)) == (0.8, True)
        assert totals(run.spending()).spent_usd == 0.8
        assert budget.charge(key, 3.0).usd == 3.0, "within four times what was set aside"
        assert budget.charge(key, 13.0).usd == 3.0
        assert budget.charge(key, 0.0).usd == 0.0, "a system may know that it was free"


async def test_a_clip_dearer_than_what_was_set_aside_stops_its_system(
    adapters: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    services.plan("poll", completed("12"))
    with pytest.raises(CapReachedError, match=r"came to 1\.20 USD, more than the 0\.40 USD set aside.*--max-usd"):
        await play(adapters["sora"], caps=Caps(usd=100), turns=2)
    assert services.count("submit") == 1
    ((charge, usd, seconds),) = spent(tmp_path)
    assert usd == pytest.approx(1.2) and (charge, seconds) == ("spent", 12.0)
    # The same command goes on; the cap in seconds is held likewise.
    services.plan("poll", completed("-1"))
    (exchange,) = await play(adapters["sora"], caps=Caps(usd=100, video_s=100), turns=2)
    assert exchange.completed and "4 s set aside" in exchange.notices[0]
    charge, usd, seconds = spent(tmp_path)[1]
    assert usd == pytest.approx(0.4) and (charge, seconds) == ("spent", 4.0)


def test_a_cap_in_seconds_is_held_as_well(tmp_path: Path) -> None:
    with Run(tmp_path / "run", write=True) as run:
        budget = Budget(run, Caps(video_s=1000))
        budget.reserve(Key("s", "a", 1), 8, None)
        budget.reserve(Key("other", "a", 1), 8, None)
        budget.charge(Key("s", "a", 1), None, 9.0)
        with pytest.raises(CapReachedError, match=r"came to 9\.00 s, more than the 8\.00 s .*--max-video-seconds"):
            budget.reserve(Key("s", "a", 2), 8, None)
        budget.reserve(Key("other", "a", 2), 8, None)


# -- states and contradictions ----------------------------------------------------------------------------------------


async def test_a_state_that_nobody_knows_is_waited_out(adapters: Any, ask: Any, services: Any) -> None:
    odd = ("post_processing", "UPSCALING", "", None, 7, {"state": "x"})
    for name in ("sora", "hedra", "omni", "heygen"):
        bodies: list[dict[str, Any]] = [{"status": status} for status in odd]
        services.plan("poll", *(Status(200, body={"data": body} if name == "heygen" else body) for body in bodies))
        final, events = await ask(adapters[name])
        assert isinstance(final, Completed), name
        notes = [event.note for event in events if isinstance(event, ProgressReport)]
        assert sum("does not know" in note for note in notes) == len(odd), name


async def test_other_words_for_the_usual_states_are_known(adapters: Any, ask: Any, services: Any) -> None:
    for status in ("succeeded", "SUCCESS", "done"):
        services.plan("poll", Status(200, body={"status": status, "error": {"message": "minor"}}))
        final, _ = await ask(adapters["sora"])
        assert isinstance(final, Completed)
        assert "has an error" in notices(final)[0], "what contradicts itself is noticed"


async def test_a_page_in_place_of_a_state_is_asked_for_again(adapter: Any, ask: Any, services: Any) -> None:
    bodies = (b"<html>Log in</html>", b"", b"[1, 2]", b'"done"', b"[" * 200_000, b"\xff\xfe", b'{"a": ' * 300)
    for some in (bodies[:4], bodies[4:]):
        services.plan("poll", *map(Raw, some))
        final, _ = await ask(adapter)
        assert isinstance(final, Completed), some
    assert services.count("submit") == 2


async def test_a_job_that_is_not_known_yet_is_asked_for_again(adapter: Any, ask: Any, services: Any) -> None:
    services.plan("poll", Status(404), Status(409))
    assert isinstance((await ask(adapter))[0], Completed)


NO_VIDEO = Failed, "no_video", None
DONE: list[tuple[dict[str, Any], tuple[type, str, bool | None]]] = [
    ({}, NO_VIDEO),
    ({"response": {}}, NO_VIDEO),
    ({"response": 7}, NO_VIDEO),
    ({"response": {"videos": [], "raiMediaFilteredCount": 0}}, NO_VIDEO),
    ({"response": {"videos": "none", "raiMediaFilteredReasons": 7}}, NO_VIDEO),
    ({"error": "Internal error."}, (Failed, "operation_error", None)),
    ({"error": {"message": "no code"}}, (Failed, "operation_error", None)),
    ({"error": ["a", "b"]}, (Failed, "operation_error", None)),
    ({"response": {"raiMediaFilteredCount": 1}}, (Blocked, "rai_filtered", False)),
    ({"response": {"raiMediaFilteredReasons": ["Unsafe."]}}, (Blocked, "rai_filtered", False)),
    ({"response": {"raiMediaFilteredReasons": "Unsafe."}}, (Blocked, "rai_filtered", False)),
    ({"error": {"code": 13, "message": "Internal."}}, (Failed, "operation_13", False)),
    ({"error": {"code": 3, "message": "Unsafe."}}, (Blocked, "3", False)),
    ({"response": {"videos": [{"gcsUri": "gs://b/x.mp4"}]}}, (Failed, "no_video", True)),
    ({"response": {"videos": [{"mimeType": "video/mp4"}]}}, (Failed, "no_video", True)),
]


async def test_done_without_a_video_is_refused_only_where_it_says_so(adapters: Any, ask: Any, services: Any) -> None:
    for told, outcome in DONE:
        services.plan("poll", Status(200, body={"done": True, **told}))
        final, _ = await ask(adapters["veo"])
        assert (type(final), final.code, final.charged) == outcome, told
        if isinstance(told.get("error"), str):
            assert told["error"] in final.message
        assert ("Cloud Storage" in final.message) == ("gcsUri" in json.dumps(told))


async def test_a_video_counts_more_than_an_error_beside_it(adapters: Any, ask: Any, services: Any) -> None:
    data = base64.b64encode(clip(4, (96, 160))).decode()
    operation = {"done": True, "error": {"code": 13}, "response": {"videos": [{"bytesBase64Encoded": data}]}}
    services.plan("poll", Status(200, body=operation))
    final, _ = await ask(adapters["veo"])
    assert isinstance(final, Completed) and "and an error" in notices(final)[0]


async def test_an_answer_with_neither_video_nor_words_is_no_refusal(adapters: Any, ask: Any, services: Any) -> None:
    for steps in ([], 5, "none", [{"type": "model_output", "content": 5}, 7]):
        services.plan("poll", Status(200, body={"status": "completed", "steps": steps}))
        final, _ = await ask(adapters["omni"])
        assert (type(final), final.code, final.charged) == NO_VIDEO, steps


async def test_an_error_object_inside_a_good_answer_is_told(adapters: Any, ask: Any, services: Any) -> None:
    error = {"error": {"message": "The model is on holiday.", "code": "holiday"}}
    for name in ("sora", "heygen", "hedra", "omni", "veo"):
        services.plan("submit", Status(200, body=error))
        final, _ = await ask(adapters[name])
        assert (type(final), final.code, final.charged) == (Failed, "unknown_submission", None)
        assert "The model is on holiday." in final.message
    for name in ("sora", "heygen", "hedra", "omni"):
        services.plan("poll", Status(200, body=error))
        final, _ = await ask(adapters[name])
        assert isinstance(final, Failed) and "The model is on holiday." in final.message, name


# -- headers and bodies -----------------------------------------------------------------------------------------------


async def test_headers_that_are_no_numbers_do_no_harm(adapters: Any, ask: Any, services: Any) -> None:
    odd = ["²", "٣", "9" * 400, "-5", "nan", "inf", "", "1e999", "soon", "Mon, 01 Jan 0001 00:00:00 GMT"]
    for name in ("retry-after-ms", "retry-after"):
        for value in odd:
            told = value.encode().decode("latin-1")
            busy = Raw(b'{"error": {"message": "busy"}}', {name: told}, 429)
            services.plan("submit", busy)
            services.plan("poll", busy, Raw(b'{"status": "in_progress"}', {"openai-poll-after-ms": told}))
            assert isinstance((await ask(adapters["sora"]))[0], Completed), (name, value)
    assert services.count("submit") == 2 * 2 * len(odd)


async def test_progress_that_is_none_is_passed_over(adapters: Any, ask: Any, services: Any) -> None:
    odd = (10**400, -5, 250, "half", float("nan"), True, [1])
    for name in ("sora", "hedra"):
        for progress in odd:
            services.plan("poll", Raw(json.dumps({"status": "processing", "progress": progress}).encode()))
        services.pending = 0
        final, events = await ask(adapters[name])
        assert isinstance(final, Completed)
        (told,) = (event for event in events if isinstance(event, ProgressReport) and event.note == "processing")
        assert told.fraction is None


async def test_delays_in_error_details_are_read_with_care(adapters: Any, ask: Any, services: Any) -> None:
    delays = ["9" * 400 + "s", "-1s", "٣s", ["1s"], 5]
    for details in (5, "x", [7], *([{"retryDelay": delay}] for delay in delays)):
        services.plan("submit", Status(429, body={"error": {"message": "busy", "details": details}}))
        assert isinstance((await ask(adapters["veo"]))[0], Completed), details


async def test_bodies_that_are_not_what_their_headers_say_are_asked_for_again(
    adapters: Any, ask: Any, services: Any
) -> None:
    good = json.dumps({"status": "in_progress"}).encode()
    gzip = zlib.compressobj(wbits=31)
    packed = gzip.compress(good) + gzip.flush()
    services.plan(
        "poll",
        Raw(good, {"Content-Encoding": "gzip"}),
        Raw(good, {"Content-Encoding": "br"}),
        Raw(packed[:-6], {"Content-Encoding": "gzip"}),
        Raw(packed, {"Content-Encoding": "gzip"}),
        Raw(zlib.compress(good), {"Content-Encoding": "deflate"}),
        Raw(zlib.compress(good)[2:-4], {"Content-Encoding": "deflate"}),
    )
    final, _ = await ask(adapters["sora"])
    assert final.detail["polls"] == 3 + 2, "three could not be read, three could"


async def test_no_body_is_read_beyond_its_limit(adapters: Any, ask: Any, services: Any) -> None:
    filler = bytes(2**16)
    bomb = zlib.compress(bytes(2**24), 9)
    for kind, plan, code in (
        ("poll", Raw(filler, endless=True), "answer_too_large"),
        ("submit", Raw(filler, endless=True), "unknown_submission"),
        ("download", Raw(filler, code=503, endless=True), ""),
        ("poll", Raw(bomb, {"Content-Encoding": "deflate"}), "answer_too_large"),
    ):
        services.plan(kind, plan)
        final, _ = await ask(adapters["sora"])
        assert getattr(final, "code", "") == code, final
        assert services.taken < 32 * 2**20
        assert getattr(final, "job_open", False) == (code == "answer_too_large"), (
            "a job that may be finished stays open"
        )


# -- clips that can't be had ------------------------------------------------------------------------------------------


async def test_a_clip_that_cannot_be_had_keeps_its_job_open(adapters: Any, ask: Any, services: Any) -> None:
    for plan in (
        *map(Redirect, ("http://example.com/clip.mp4", "https://[/clip.mp4", "https://host:99999/clip.mp4")),
        *map(Status, (401, 403, 410)),
        Raw(b"<html>Log in</html>", {"Content-Type": "text/html"}),
        Raw(b""),
    ):
        services.plan("download", plan)
        final, _ = await ask(adapters["sora"])
        assert isinstance(final, Failed) and final.code.startswith("download_"), (plan, final)
        assert final.job_open and final.charged


async def test_a_clip_that_is_not_there_yet_is_waited_for(adapters: Any, ask: Any, services: Any) -> None:
    services.plan("download", Status(404), Status(409), Status(404))
    assert isinstance((await ask(adapters["sora"]))[0], Completed)


async def test_a_finished_job_without_an_address_keeps_its_job_open(adapters: Any, ask: Any, services: Any) -> None:
    for name, body in (
        ("heygen", {"data": {"status": "completed", "video_url": 5}}),
        ("hedra", {"status": "complete"}),
    ):
        services.plan("poll", Status(200, body=body))
        final, _ = await ask(adapters[name])
        assert final.code == "no_video" and final.job_open


async def test_a_clip_that_cannot_be_played_stays_to_be_fetched(
    adapters: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    data = bytearray(clip(4, (96, 160)))
    # All boxes stand, and nothing in them is a picture.
    start = data.index(b"mdat") + 4
    data[start : start + 20_000] = bytes(min(20_000, len(data) - start))
    services.plan("download", Raw(bytes(data), {"Content-Type": "video/mp4"}))
    (exchange,) = await play(adapters["sora"], turns=1)
    assert exchange.code.startswith("media_"), exchange
    with Run(tmp_path / "out", write=True) as run:
        assert len(run.open_jobs()) == 1
        run.discard("it", "test-001")
    (exchange,) = await play(adapters["sora"], turns=1)
    assert exchange.completed and services.count("submit") == 1
    assert [charge for charge, *_ in spent(tmp_path)] == ["spent"]


@pytest.mark.parametrize("spelt", ["url-safe", "in lines", "without padding", "as a data URL"])
async def test_an_inline_clip_may_be_spelt_in_every_legal_way(spelt: str, tmp_path: Path) -> None:
    data = clip(3, (96, 160))
    plain = base64.b64encode(data).decode()
    spelling = {
        "url-safe": base64.urlsafe_b64encode(data).decode(),
        "in lines": base64.encodebytes(data).decode().replace("\n", "\r\n"),
        "without padding": plain.rstrip("="),
        "as a data URL": f"data:video/mp4;base64,{plain}",
    }[spelt]
    output = tmp_path / "a.mp4"
    await take_inline(spelling, output)
    assert output.read_bytes() == data

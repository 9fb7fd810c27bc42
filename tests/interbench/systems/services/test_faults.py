"""Every way in which a paid service can fail, through the real driver: the outcome told apart, the money right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from known import known
from video_services import Cut, Status

from interbench.domain.records import Charge
from interbench.drive.spending import totals
from interbench.store.run_folder import Run


def ledger(tmp_path: Path) -> list[tuple[str, float | None]]:
    """What became of each request, and its dollars."""
    with Run(tmp_path / "out", write=False) as run:
        return [(spend.charge.value, spend.usd) for spend in run.spending()]


async def test_completed_turns_are_charged_exactly(adapter: Any, play: Any, services: Any, tmp_path: Path) -> None:
    services.pending = 3
    exchanges = await play(adapter, count=2)
    assert [exchange.outcome.value for exchange in exchanges] == ["completed"] * 4, exchanges
    with Run(tmp_path / "out", write=False) as run:
        now = totals(run.spending())
        assert not run.open_jobs()
    charged = services.billed_s() * adapter.price
    assert now.spent_usd == pytest.approx(charged)
    assert now.possible_usd == now.reserved_usd == 0
    assert sum(exchange.cost_usd for exchange in exchanges) == pytest.approx(charged)
    assert services.count("submit") == 4
    for exchange in exchanges:
        assert exchange.facts.audible
        assert exchange.detail["prompt"]
        assert exchange.detail["polls"] == 4
        assert exchange.timings.resolution_s == 0.02
        assert 0 < exchange.timings.sent_s < exchange.timings.accepted_s < exchange.timings.complete_s
        assert exchange.timings.from_acceptance_s < exchange.timings.from_sending_s < exchange.timings.complete_s


async def test_a_busy_service_is_asked_again_when_it_says_so(adapter: Any, play: Any, services: Any) -> None:
    services.plan("submit", Status(429, "1"), Status(408, "0"), Status(429, "0"))
    services.plan("poll", Status(429, "0"))
    (exchange,) = await play(adapter, turns=1)
    assert exchange.completed, exchange
    assert services.count("submit") == 4
    assert len(services.jobs) == 1
    first, second, *_ = services.times("submit")
    assert second - first >= 1.0


async def test_a_service_that_stays_busy_costs_nothing(adapter: Any, play: Any, services: Any, tmp_path: Path) -> None:
    services.plan("submit", *[Status(429, "3600")] * 3)
    (exchange,) = await play(adapter, turns=1)
    assert (exchange.outcome.value, exchange.code) == ("failed", "rate_limited")
    assert services.count("submit") == 1
    assert [charge for charge, _ in ledger(tmp_path)] == [Charge.FREE.value]


async def test_quota_that_is_used_up_is_not_waited_for(adapter: Any, play: Any, services: Any) -> None:
    body = {"error": {"message": "You exceeded your current quota, check your billing.", "code": "insufficient_quota"}}
    services.plan("submit", Status(429, "1", body))
    (exchange,) = await play(adapter, turns=1)
    assert (exchange.outcome.value, exchange.code) == ("failed", "insufficient_quota")
    assert services.count("submit") == 1


@pytest.mark.parametrize("answer", [Status(500), Status(503, "0"), Cut(after=False), Cut(after=True)], ids=repr)
async def test_a_request_that_may_have_been_taken_is_never_sent_again(
    answer: Any, adapter: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    services.plan("submit", answer)
    (exchange,) = await play(adapter, turns=1)
    assert (exchange.outcome.value, exchange.code) == ("failed", "unknown_submission"), exchange
    assert services.count("submit") == 1
    ((charge, usd),) = ledger(tmp_path)
    assert charge == Charge.POSSIBLE.value
    assert known(usd) > 0
    assert exchange.cost_usd is None
    # The same command again leaves it alone.
    assert await play(adapter, turns=1) == []
    assert services.count("submit") == 1


async def test_polls_are_repeated_after_errors_and_broken_connections(adapter: Any, play: Any, services: Any) -> None:
    services.plan("poll", Status(500), Cut(after=False), Status(503, "0"), Cut(after=True))
    (exchange,) = await play(adapter, turns=1)
    assert exchange.completed, exchange
    assert len(services.jobs) == 1


async def test_a_service_that_stops_answering_keeps_its_job(
    adapter: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    services.plan("poll", *[Status(500)] * 8)
    (exchange,) = await play(adapter, turns=1)
    assert (exchange.outcome.value, exchange.code) == ("failed", "unanswered")
    with Run(tmp_path / "out", write=True) as run:
        assert [job.key.turn for job in run.open_jobs()] == [1]
        assert [spend.charge for spend in run.spending()] == [Charge.POSSIBLE]
        run.discard("it", "test-001")
    # A retry takes the job up: it is paid for once.
    (again,) = await play(adapter, turns=1)
    assert again.completed
    assert again.timings.resumed
    assert services.count("submit") == 1
    ((charge, usd),) = ledger(tmp_path)
    assert charge == "spent" and usd == pytest.approx(services.billed_s() * adapter.price)


MODERATED = {
    "sora": ("moderation", "moderation_blocked", "moderation system"),
    "veo": ("error_3", "3", "usage guidelines"),
    "veo-gemini": ("error_3", "3", "usage guidelines"),
    "omni": ("text_only", "text_only", "can't make a video of this person"),
    "heygen": ("moderation", "CONTENT_MODERATION", "Blocked by content moderation."),
    "hedra": ("moderation", "moderation", "flagged"),
}


async def test_moderation_is_blocked_with_the_services_words(
    adapter: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    outcome, code, words = MODERATED[adapter.name]
    services.outcomes.append(outcome)
    exchanges = await play(adapter)
    # Blocked turns stay, and later ones are played.
    assert [exchange.outcome.value for exchange in exchanges] == ["blocked", "completed"]
    assert exchanges[0].code == code
    assert words in exchanges[0].message
    assert exchanges[0].detail["prompt"]
    assert services.count("submit") == 2, "nothing is prompted again silently"
    charge, _ = ledger(tmp_path)[0]
    known_free = adapter.service in ("vertex", "gemini")
    assert charge == (Charge.FREE.value if known_free else Charge.POSSIBLE.value)


async def test_a_refused_request_costs_nothing(adapter: Any, play: Any, services: Any, tmp_path: Path) -> None:
    services.plan("submit", Status(400, body={"error": {"message": "Blocked.", "code": "moderation_blocked"}}))
    services.plan(
        "submit", Status(400, body=[{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}])
    )
    blocked, invalid = await play(adapter)
    assert (blocked.outcome.value, blocked.code) == ("blocked", "moderation_blocked")
    assert (invalid.outcome.value, invalid.code, invalid.message) == ("failed", "INVALID_ARGUMENT", "bad")
    assert [charge for charge, _ in ledger(tmp_path)] == [Charge.FREE.value] * 2


@pytest.mark.parametrize("name", ["veo", "veo-gemini"])
async def test_silent_under_delivery_is_blocked(name: str, adapters: Any, play: Any, services: Any) -> None:
    services.outcomes.append("under_delivery")
    (exchange,) = await play(adapters[name], turns=1)
    assert (exchange.outcome.value, exchange.code) == ("blocked", "rai_filtered")
    assert exchange.detail["support_codes"] == {"42237218": "video safety"}
    assert exchange.detail["filtered"] == 1


@pytest.mark.parametrize("name", ["veo", "veo-gemini"])
@pytest.mark.parametrize("code", [8, 13])
async def test_operation_errors_are_failures_for_now(
    code: int, name: str, adapters: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    services.outcomes.append(f"error_{code}")
    (exchange,) = await play(adapters[name], turns=1)
    assert (exchange.outcome.value, exchange.code) == ("failed", f"operation_{code}")
    assert [charge for charge, _ in ledger(tmp_path)] == [Charge.FREE.value]


async def test_a_job_that_fails_is_failed(adapters: Any, play: Any, services: Any, tmp_path: Path) -> None:
    codes = {}
    for name in ("sora", "omni", "heygen", "hedra"):
        services.outcomes.append("failed")
        (exchange,) = await play(adapters[name], turns=1, out=name)
        assert exchange.outcome.value == "failed"
        codes[name] = exchange.code
    assert codes == {
        "sora": "processing_error",
        "omni": "failed",
        "heygen": "internal_error",
        "hedra": "generation_error",
    }


async def test_a_retired_service_is_told_from_a_failing_one(
    adapter: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    services.retired = True
    exchanges = await play(adapter)
    assert [exchange.outcome.value for exchange in exchanges] == ["retired", "not_played"]
    assert "no longer available" in exchanges[0].message or "discontinued" in exchanges[0].message
    assert services.count("submit") == 1
    assert [charge for charge, _ in ledger(tmp_path)] == [Charge.FREE.value]


async def test_a_job_that_outlives_the_deadline_is_kept_and_taken_up_by_a_retry(
    adapter: Any, play: Any, services: Any, tmp_path: Path
) -> None:
    services.pending = 10**6
    (exchange,) = await play(adapter, turns=1, deadline_s=3.0)
    assert exchange.outcome.value == "timed_out"
    assert exchange.detail["prompt"]
    assert [charge for charge, _ in ledger(tmp_path)] == [Charge.POSSIBLE.value]
    services.pending = 0
    with Run(tmp_path / "out", write=True) as run:
        assert len(run.open_jobs()) == 1
        run.discard("it", "test-001")
    (again,) = await play(adapter, turns=1)
    assert again.completed
    assert services.count("submit") == 1
    assert [charge for charge, _ in ledger(tmp_path)] == [Charge.SPENT.value]


async def test_a_finished_job_without_a_clip_is_no_success(adapters: Any, play: Any, services: Any) -> None:
    services.pending = 0
    services.plan("poll", Status(200, body={"data": {"status": "completed", "video_url": None}}))
    services.plan("poll", Status(200, body={"status": "complete"}))
    for name in ("heygen", "hedra"):
        (exchange,) = await play(adapters[name], turns=1, out=name)
        assert (exchange.outcome.value, exchange.code) == ("failed", "no_video")


async def test_an_unreachable_service_costs_nothing(adapter: Any, play: Any, tmp_path: Path) -> None:
    (exchange,) = await play(adapter, turns=1, base_url="http://127.0.0.1:9/v1")
    assert (exchange.outcome.value, exchange.code) == ("failed", "unreachable")
    assert [charge for charge, _ in ledger(tmp_path)] in ([], [Charge.FREE.value])


async def test_a_key_that_is_echoed_is_taken_out(
    adapter: Any, play: Any, services: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"TEST_{adapter.service.upper()}_KEY"
    monkeypatch.setenv(variable, "sk-not-the-right-one-1234567890")
    (exchange,) = await play(adapter, turns=1)
    assert (exchange.outcome.value, exchange.code) == ("failed", "invalid_api_key")
    assert "[key]" in exchange.message
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert b"sk-not-the-right-one" not in path.read_bytes(), path

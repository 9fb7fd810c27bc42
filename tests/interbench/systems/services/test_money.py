"""Caps, prices, dry runs, jobs in flight: through the real command line, with several adapters in one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from video_services import KEYS, Cut, Spoil, Status

from interbench.base.errors import CapReachedError
from interbench.domain.records import Charge
from interbench.drive.spending import Budget, Caps, spoken_totals, totals
from interbench.store.manifest import read_manifest
from interbench.store.run_folder import Key, Run


def spending(tmp_path: Path, out: str = "out") -> Any:
    with Run(tmp_path / out, write=False) as run:
        return run.spending()


def test_the_purse(tmp_path: Path) -> None:
    keys = [Key("s", "a", turn) for turn in range(1, 6)]
    with Run(tmp_path / "run", write=True) as run:
        budget = Budget(run, Caps(usd=1.0, video_s=100))
        for key in keys[:4]:
            budget.reserve(key, 8, 0.25)
        with pytest.raises(CapReachedError, match=r"0\.00 USD spent, 1\.00 USD set aside"):
            budget.reserve(keys[4], 8, 0.01)
        assert budget.settle(keys[0], Charge.SPENT, 0.2) == 0.2
        assert budget.settle(keys[1], Charge.SPENT) == 0.25
        budget.settle(keys[2], Charge.POSSIBLE)
        budget.settle(keys[3], Charge.FREE)
        assert [budget.unsettled(key) for key in keys] == [False] * 5
        now = totals(run.spending())
        assert now.spent_usd == pytest.approx(0.45) and (now.possible_usd, now.reserved_usd) == (0.25, 0)
        # What may have been charged counts; what was not does not.
        budget.reserve(keys[4], 8, 0.3)
        assert budget.unsettled(keys[4])
        with pytest.raises(CapReachedError):
            budget.reserve(keys[3], 8, 0.01)
        assert spoken_totals(run.spending()) == (
            "0.45 USD spent, 0.25 USD possibly spent, 0.30 USD set aside for clips in the making, "
            "for 32 s of video asked for"
        )


def test_what_has_no_price_can_only_be_capped_by_length(tmp_path: Path) -> None:
    with Run(tmp_path / "run", write=True) as run:
        with pytest.raises(CapReachedError, match="price_usd_per_s"):
            Budget(run, Caps(usd=5)).reserve(Key("s", "a", 1), 8, None)
        budget = Budget(run, Caps(video_s=16))
        budget.reserve(Key("s", "a", 1), 8, None)
        budget.reserve(Key("s", "a", 2), 8, None)
        with pytest.raises(CapReachedError, match="--max-video-seconds 16 is reached"):
            budget.reserve(Key("s", "a", 3), 1, None)


@pytest.mark.parametrize(("flag", "cap"), [("--max-usd", "1.0"), ("--max-video-seconds", "10")])
def test_a_cap_reached_in_mid_run(
    flag: str, cap: str, adapters: Any, services: Any, run_interbench: Any, tmp_path: Path
) -> None:
    systems = {"it": adapters["sora"].table(services)}
    status, _, errors = run_interbench("drive", "--quiet", flag, cap, systems=systems)
    assert status == 3
    assert f"{flag} {float(cap):g} is reached" in errors
    assert "goes on from here" in errors
    # Two clips of 4 s at 0.10 USD fit; a third does not, and nothing is recorded as failed for that.
    assert [spend.charge for spend in spending(tmp_path)] == [Charge.SPENT] * 2
    with Run(tmp_path / "out", write=False) as run:
        assert [exchange.outcome.value for exchange in run.exchanges()] == ["completed"] * 2
    assert services.count("submit") == 2
    status, _, errors = run_interbench("drive", "--quiet", flag, "100", systems=systems)
    assert status == 0, errors
    assert services.count("submit") == 4
    assert "cost: 1.60 USD spent, for 16 s of video" in errors


def test_a_run_over_several_scenarios_with_every_adapter(
    adapters: Any, services: Any, run_interbench: Any, tmp_path: Path
) -> None:
    systems = {name: adapter.table(services) for name, adapter in adapters.items()}
    services.plan("submit", Status(429, "0"), None, Status(500), None, Cut(after=True))
    services.plan("poll", Status(500), Status(429, "0"))
    services.plan("download", Spoil("truncated"))
    services.outcomes.extend(["completed", "completed", "completed"])
    status, output, errors = run_interbench("run", "--quiet", "--judge", "signals", systems=systems)
    assert status == 0, errors
    spent = totals(spending(tmp_path))
    by_service = {
        name: sum(spend.usd for spend in spending(tmp_path) if spend.system == name and spend.charge is Charge.SPENT)
        for name in adapters
    }
    lost = [spend for spend in spending(tmp_path) if spend.charge is Charge.POSSIBLE]
    assert len(lost) == 2
    assert spent.possible_usd == pytest.approx(sum(spend.usd for spend in lost))
    assert spent.reserved_usd == 0
    assert f"cost: {spent.spent_usd:.2f} USD spent, {spent.possible_usd:.2f} USD possibly spent" in errors
    # Every clip that was delivered was charged, and the one whose connection broke after it had been taken may be.
    delivered = [job for job in services.jobs.values() if job.handed_out or (job.service == "vertex" and job.polls > 1)]
    assert services.count("submit") == 24 + 1
    assert len(services.jobs) == 24 - 1
    assert len(delivered) == 22
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert f"{spent.possible_usd:.2f} USD possibly spent" in page
    for name, usd in by_service.items():
        assert name in page
        assert f"{usd:.2f} USD" in page
    assert "6 systems" in output or all(name in output for name in adapters)
    # The keys are nowhere: not in the run folder, not in what was printed.
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [key for key in KEYS.values() if key.encode() in data], path
    assert not [key for key in KEYS.values() if key in output + errors]


def test_the_manifest_says_what_was_tested(adapters: Any, services: Any, run_interbench: Any, tmp_path: Path) -> None:
    status, _, errors = run_interbench("drive", "--quiet", systems={"it": adapters["hedra"].table(services)})
    assert status == 0, errors
    manifest = read_manifest(tmp_path / "out" / "manifest.json")
    assert manifest is not None
    assert manifest["frozen"]["script"]["model"] == "writer"
    facts = manifest["systems"]["it"]
    assert facts["settings"]["protocol"] == "scripted"
    assert facts["capabilities"]["price_usd_per_s"] == 0.07
    assert facts["capabilities"]["poll_period_s"] == 0.02


def test_a_dry_run_says_what_it_would_cost_and_sends_nothing(adapters: Any, services: Any, run_interbench: Any) -> None:
    systems = {
        "cheap": adapters["sora"].table(services),
        "dear": adapters["veo"].table(services),
        "own": {**adapters["sora"].table(services), "price_usd_per_s": 0},
        "unknown": {name: value for name, value in adapters["sora"].table(services).items() if "price" not in name},
    }
    status, output, errors = run_interbench("run", "--dry-run", "--max-usd", "20", systems=systems)
    assert status == 0, errors
    assert "cheap: 4 clips of up to 4 s at 0.1 USD/s, up to 1.60 USD" in output
    assert "dear: 4 clips of up to 4 s at 0.4 USD/s, up to 6.40 USD" in output
    assert "unknown: 4 clips of up to 4 s, price not known (set price_usd_per_s)" in output
    assert " own:" not in output
    assert "up to 8.00 USD and what has no known price" in output
    assert "caps         20 USD" in output
    assert services.seen == []


def test_a_dry_run_of_a_run_in_progress(adapters: Any, services: Any, run_interbench: Any) -> None:
    systems = {"it": adapters["sora"].table(services)}
    run_interbench("drive", "--quiet", "--max-usd", "0.8", systems=systems)
    _, output, _ = run_interbench("run", "--dry-run", systems=systems)
    assert "it: 2 clips of up to 4 s at 0.1 USD/s, up to 0.80 USD" in output
    assert "cost so far  0.80 USD spent, for 8 s of video asked for" in output


def in_flight(adapter: Any, services: Any, run_interbench: Any) -> None:
    services.pending = 10**6
    table = adapter.table(services)
    status, _, errors = run_interbench("drive", "--quiet", "--deadline", "3", "--limit", "1", systems={"it": table})
    assert status == 4, errors  # no turn was completed


@pytest.mark.parametrize("name", ["sora", "omni"])
def test_jobs_in_flight_are_listed_and_cancelled(
    name: str, adapters: Any, services: Any, run_interbench: Any, tmp_path: Path
) -> None:
    in_flight(adapters[name], services, run_interbench)
    status, output, _ = run_interbench("jobs", str(tmp_path / "out"))
    assert status == 0
    assert "it/test-001/1" in output
    assert "it/test-001/2" in output
    assert "2 in flight" in output
    status, output, errors = run_interbench("jobs", str(tmp_path / "out"), "--cancel")
    assert status == 0, errors
    assert output.count("cancelled") == 2
    assert all(job.cancelled for job in services.jobs.values())
    _, output, _ = run_interbench("jobs", str(tmp_path / "out"))
    assert "No job" in output
    # Cancelling is no promise of a refund.
    assert {spend.charge for spend in spending(tmp_path)} == {Charge.POSSIBLE}


def test_a_job_that_cannot_be_cancelled_can_be_given_up(
    adapters: Any, services: Any, run_interbench: Any, tmp_path: Path
) -> None:
    in_flight(adapters["veo"], services, run_interbench)
    _, output, _ = run_interbench("jobs", str(tmp_path / "out"), "--cancel")
    assert output.count("not cancelled: the service does not stop it") == 2
    status, output, _ = run_interbench("jobs", str(tmp_path / "out"), "--forget")
    assert status == 0
    assert output.count("given up") == 2
    services.pending = 0
    table = adapters["veo"].table(services)
    status, _, errors = run_interbench(
        "drive", "--quiet", "--deadline", "3", "--limit", "1", "--retry", "timed_out", systems={"it": table}
    )
    assert status == 0, errors
    assert services.count("submit") == 4
    assert [spend.charge.value for spend in spending(tmp_path)] == ["possibly_spent"] * 2 + ["spent"] * 2


def test_a_retry_takes_the_job_up_instead_of_paying_again(
    adapters: Any, services: Any, run_interbench: Any, tmp_path: Path
) -> None:
    in_flight(adapters["sora"], services, run_interbench)
    services.pending = 0
    table = adapters["sora"].table(services)
    status, _, errors = run_interbench(
        "drive", "--quiet", "--deadline", "3", "--limit", "1", "--retry", "timed_out", systems={"it": table}
    )
    assert status == 0, errors
    # The first turn's job is taken up; the second turn's belonged to a conversation whose first answer was missing.
    assert services.count("submit") == 3
    assert [spend.charge.value for spend in spending(tmp_path)] == ["spent", "possibly_spent", "spent"]


def test_a_missing_key_is_said_before_anything_is_sent(
    adapters: Any, services: Any, run_interbench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_OPENAI_KEY")
    systems = {"it": adapters["sora"].table(services)}
    status, _, errors = run_interbench("drive", "--quiet", systems=systems)
    assert status == 2
    assert "TEST_OPENAI_KEY" in errors
    assert "Traceback" not in errors
    assert services.seen == []


def test_openai_itself_is_known_to_be_gone(run_interbench: Any, tmp_path: Path, services: Any) -> None:
    status, _, errors = run_interbench("drive", "--quiet", systems={"sora": {}})
    assert status == 4, errors  # no turn was completed
    with Run(tmp_path / "out", write=False) as run:
        exchanges = run.exchanges()
        assert run.spending() == []
    assert {exchange.outcome.value for exchange in exchanges} == {"retired", "not_played"}
    assert "2026-09-24" in exchanges[0].message


def test_every_system_is_listed_with_price_status_and_date(run_interbench: Any) -> None:
    status, output, _ = run_interbench("list", "systems", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(output)}
    for name in ("sora", "veo", "gemini-omni", "heygen", "hedra"):
        facts = rows[name]["capabilities"]
        assert rows[name]["price_usd_per_s"] > 0
        assert "as of 2026-11-21" in rows[name]["status"]
        assert facts["evidence_url"].startswith("https://")
        assert facts["resumes_jobs"]
        assert rows[name]["description"]
    assert rows["sora"]["capabilities"]["retired_on"] == "2026-09-24"
    assert rows["gemini-omni"]["state"] == "session"


def test_check_system_passes(adapter: Any, services: Any, run_interbench: Any) -> None:
    services.true_to_size = True
    status, output, errors = run_interbench(
        "check-system", "it", "--transcriber", "harness_kit:Listener", systems={"it": adapter.table(services)}
    )
    assert status == 0, output + errors
    assert "ready to be benchmarked" in output


def test_what_is_taken_back_may_still_have_cost_money(tmp_path: Path) -> None:
    with Run(tmp_path / "run", write=True) as run:
        budget = Budget(run)
        for turn in (1, 2):
            key = Key("s", "a", turn)
            budget.reserve(key, 8, 0.25)
            run.submitted(key, f"job-{turn}", {})
        run.discard("s", "a")
        # The first turn's job is still the first turn's; the second's belonged to a conversation that is gone.
        assert [job.job_id for job in run.open_jobs()] == ["job-1"]
        assert [spend.charge for spend in run.spending()] == [Charge.RESERVED, Charge.POSSIBLE]
        assert not budget.unsettled(Key("s", "a", 2))
        run.close_job(Key("s", "a", 1), "job-1")
        assert [spend.charge for spend in run.spending()] == [Charge.POSSIBLE] * 2


def test_systems_that_do_not_announce_their_requests_are_held_to_the_cap(
    run_interbench: Any, tmp_path: Path, services: Any
) -> None:
    log = tmp_path / "jobs.log"
    systems = {"it": {"spec": "harness_kit:Jobs", "log": str(log)}}
    status, _, errors = run_interbench("drive", "--quiet", "--max-usd", "1", systems=systems)
    assert status == 3
    assert "What a clip of it may cost is not known" in errors
    assert not log.exists()
    status, _, errors = run_interbench("drive", "--quiet", systems=systems)
    assert status == 0, errors
    assert [spend.charge for spend in spending(tmp_path)] == [Charge.SPENT] * 4
    assert "cost: 0.24 USD spent" in errors

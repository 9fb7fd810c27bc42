"""`kill -9` while money is under way: the same command again goes on, and nothing is paid for twice."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from video_services import Spoil

from interbench.domain.records import Charge
from interbench.drive.spending import totals
from interbench.store.run_folder import Run

ONE_BY_ONE = [pytest.param("sora"), *(pytest.param(name, marks=pytest.mark.soak) for name in ("veo", "heygen"))]
"""Beside ``omni``, whose jobs build on one another. What is killed is the same with all of them."""
SYSTEMS = [*ONE_BY_ONE, "omni"]


def kill_when(process: Any, happened: Any) -> None:
    """Kill the command as soon as the service has seen what is waited for."""
    assert happened.wait(60), process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def finish(run_interbench: Any, table: Any, tmp_path: Path) -> Any:
    status, _, errors = run_interbench("drive", "--quiet", "--limit", "1", systems={"it": table})
    assert status == 0, errors
    with Run(tmp_path / "out", write=False) as run:
        return run.exchanges(), run.spending(), run.open_jobs()


@pytest.mark.parametrize("name", SYSTEMS)
def test_killed_between_submitting_and_the_first_poll(
    name: str, adapters: Any, services: Any, interbench: Any, run_interbench: Any, tmp_path: Path
) -> None:
    # The first poll is never answered, so the kill falls between the two.
    services.plan("poll", Spoil("hang"))
    table = adapters[name].table(services)
    with interbench("drive", "--quiet", "--limit", "1", systems={"it": table}) as process:
        kill_when(process, services.stalled)
    with Run(tmp_path / "out", write=False) as run:
        assert len(run.open_jobs()) == 1
        assert [spend.charge for spend in run.spending()] == [Charge.RESERVED]
    exchanges, spending, jobs = finish(run_interbench, table, tmp_path)
    assert [exchange.outcome.value for exchange in exchanges] == ["completed"] * 2, exchanges
    assert [exchange.timings.resumed for exchange in exchanges] == [True, False]
    assert exchanges[0].detail["prompt"], "what was asked for is kept with the job"
    assert services.count("submit") == 2
    assert not jobs
    assert totals(spending).spent_usd == pytest.approx(services.billed_s() * adapters[name].price)
    if name == "omni":
        assert list(services.jobs.values())[1].request["previous_interaction_id"] == next(iter(services.jobs))


@pytest.mark.parametrize("name", ["sora", *(pytest.param(name, marks=pytest.mark.soak) for name in ("omni", "heygen"))])
def test_killed_during_the_download(
    name: str, adapters: Any, services: Any, interbench: Any, run_interbench: Any, tmp_path: Path
) -> None:
    services.plan("download", Spoil("stall"))
    table = adapters[name].table(services)
    with interbench("drive", "--quiet", "--limit", "1", systems={"it": table}) as process:
        kill_when(process, services.stalled)
    assert not list((tmp_path / "out" / "media").rglob("*.mp4"))
    exchanges, spending, _ = finish(run_interbench, table, tmp_path)
    assert [exchange.outcome.value for exchange in exchanges] == ["completed"] * 2, exchanges
    assert services.count("submit") == 2
    assert totals(spending).spent_usd == pytest.approx(services.billed_s() * adapters[name].price)
    assert not list((tmp_path / "out").rglob("*.part"))


@pytest.mark.parametrize("name", SYSTEMS)
def test_killed_while_submitting(
    name: str, adapters: Any, services: Any, interbench: Any, run_interbench: Any, tmp_path: Path
) -> None:
    # The service has taken the request, and its answer never arrives: nobody can know, so it is not sent again.
    services.plan("submit", Spoil("hang"))
    table = adapters[name].table(services)
    with interbench("drive", "--quiet", "--limit", "1", systems={"it": table}) as process:
        kill_when(process, services.stalled)
    exchanges, spending, _ = finish(run_interbench, table, tmp_path)
    assert [exchange.outcome.value for exchange in exchanges] == ["failed", "completed"]
    assert exchanges[0].code == "unknown_submission"
    assert "may exist" in exchanges[0].message
    assert services.count("submit") == 2
    assert [spend.charge for spend in spending] == [Charge.POSSIBLE, Charge.SPENT]
    # Asked for explicitly, it is sent again.
    status, _, errors = run_interbench("drive", "--quiet", "--limit", "1", "--retry", "failed", systems={"it": table})
    assert status == 0, errors
    with Run(tmp_path / "out", write=False) as run:
        assert [exchange.outcome.value for exchange in run.exchanges()] == ["completed"] * 2
        assert [spend.charge.value for spend in run.spending()] == ["possibly_spent", "spent", "spent", "spent"]


def test_killed_again_while_a_job_is_taken_up(
    adapters: Any, services: Any, interbench: Any, run_interbench: Any, tmp_path: Path
) -> None:
    table = adapters["sora"].table(services)
    for kind in ("poll", "poll", "download"):
        services.stalled.clear()
        services.plan(kind, Spoil("hang" if kind == "poll" else "stall"))
        with interbench("drive", "--quiet", "--limit", "1", systems={"it": table}) as process:
            kill_when(process, services.stalled)
    exchanges, spending, _ = finish(run_interbench, table, tmp_path)
    assert [exchange.outcome.value for exchange in exchanges] == ["completed"] * 2
    assert services.count("submit") == 2
    assert [spend.charge for spend in spending] == [Charge.SPENT] * 2
    assert totals(spending).spent_usd == pytest.approx(0.8)


def test_a_killed_run_keeps_to_its_cap(
    adapters: Any, services: Any, interbench: Any, run_interbench: Any, tmp_path: Path
) -> None:
    services.plan("submit", Spoil("hang"))
    table = adapters["sora"].table(services)
    with interbench("drive", "--quiet", "--max-usd", "0.5", systems={"it": table}) as process:
        kill_when(process, services.stalled)
    status, _, errors = run_interbench("drive", "--quiet", "--max-usd", "0.5", systems={"it": table})
    assert status == 3
    assert "0.40 USD possibly spent" in errors or "0.40 USD set aside" in errors
    assert services.count("submit") == 2 or services.count("submit") == 1

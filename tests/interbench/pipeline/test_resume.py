"""`kill -9` at any moment, and the same command again goes on: nothing is rendered twice, nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import harness_kit
import pytest
import warm

from interbench.report.collect import collect_table, read_records
from interbench.report.tables import to_json
from interbench.store.run_folder import Run


def command(tmp_path: Path, out: str, system: str, **options: str) -> list[str]:
    config = tmp_path / f"{out}.toml"
    lines = "".join(f'{name} = "{value}"\n' for name, value in options.items())
    config.write_text(f"[system.it]\n{lines}")
    return [
        sys.executable, "-m", "interbench", "run", "--out", str(tmp_path / out), "--scenarios", str(tmp_path / "set"),
        "--systems", f"it=harness_kit:{system}", "--config", str(config), "--transcriber", "given", "--quiet",
    ]  # fmt: skip


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(harness_kit.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """A run that nobody disturbs."""
    return warm.interbench(*argv[argv.index("interbench") + 1 :], env=environment())


def run_and_kill(argv: list[str], after_s: float) -> bool:
    """Whether the command was still running when it was killed."""
    with subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return True
    return False


def results(folder: Path) -> dict[str, Any]:
    """All of a run that must not depend on interruptions: everything but times."""
    records = read_records(folder)
    table = to_json(collect_table([records], replicates=50))
    for row in table["systems"]:
        for name in ("fps", "latency_s", "first_speech_s"):
            del row[name]
    return {
        "exchanges": [
            (e.system, e.scenario, e.turn, e.outcome, e.reply_text, e.facts.sha256 if e.facts else None)
            for e in records.exchanges
        ],
        "transcripts": {str(key): value for key, value in records.transcripts.items()},
        "verdicts": [(v.scenario, v.dimension, v.sample, v.score, v.missing, v.reasons) for v in records.verdicts],
        "table": table,
    }


@pytest.mark.parametrize("wanted", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_random_points_and_continued(tmp_path: Path, wanted: int) -> None:
    harness_kit.write_set(tmp_path / "set", count=4, turns=3)
    began = time.monotonic()
    argv = command(tmp_path, "whole", "Good", log=str(tmp_path / "whole.log"), pause_s="0.05")
    # Started as those are that are killed: its length says when.
    whole = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=300)
    length = time.monotonic() - began
    assert whole.returncode == 0, whole.stderr

    argv = command(tmp_path, "killed", "Good", log=str(tmp_path / "killed.log"), pause_s="0.05")
    dice = random.Random(2512)
    kills = restarts = 0
    out = tmp_path / "killed"
    while kills < wanted:
        if not run_and_kill(argv, dice.uniform(0.2, 0.8) * length):
            # It got to its end: begin anew, so that kills fall into every phase of a run.
            restarts += 1
            assert results(out) == results(tmp_path / "whole")
            out.rename(tmp_path / f"done-{restarts}")
            (tmp_path / "killed.log").rename(tmp_path / f"done-{restarts}.log")
        else:
            kills += 1
    finished = run(argv)
    assert finished.returncode == 0, finished.stderr
    assert results(out) == results(tmp_path / "whole")
    renders = (tmp_path / "killed.log").read_text().split()
    with Run(out, write=False) as ledger:
        recorded = len(ledger.exchanges())
    # A clip whose rendering was cut off by a kill is rendered again; one that was finished never is.
    assert recorded == 12
    assert len(renders) - len(set(renders)) <= kills


def test_a_job_that_was_submitted_is_taken_up_and_never_paid_twice(tmp_path: Path) -> None:
    harness_kit.write_set(tmp_path / "set", count=1, turns=3)
    log = tmp_path / "jobs.log"
    killed = run(command(tmp_path, "out", "Jobs", log=str(log), die_after_submit="yes"))
    assert killed.returncode == -signal.SIGKILL
    config = tmp_path / "out.toml"
    config.write_text(config.read_text().replace('die_after_submit = "yes"\n', ""))
    argv = command(tmp_path, "out", "Jobs", log=str(log))
    again = run(argv)
    # Status 4: it reports no text and nobody listens, so nothing could be judged.
    assert again.returncode == 4, again.stderr
    assert log.read_text().splitlines() == [
        "submit job-test-001-1",
        "submit job-test-001-2",
        "resume job-test-001-2",
        "submit job-test-001-3",
    ]
    with Run(tmp_path / "out", write=False) as ledger:
        exchanges = ledger.exchanges()
        assert not ledger.open_jobs()
    assert [exchange.outcome.value for exchange in exchanges] == ["completed"] * 3
    assert [exchange.timings.resumed for exchange in exchanges if exchange.timings] == [False, True, False]
    # The session's memory went through the ledger, so the resumed conversation knows its first turn.
    assert exchanges[2].detail["memory"] == [1, 2, 3]
    assert sum(exchange.cost_usd or 0 for exchange in exchanges) == pytest.approx(0.18)


def test_a_conversation_that_cannot_be_restored_is_played_again_whole(tmp_path: Path) -> None:
    harness_kit.write_set(tmp_path / "set", count=1, turns=3)
    log = tmp_path / "renders.log"
    argv = command(tmp_path, "out", "Forgetful", log=str(log), pause_s="0.5")
    for _ in range(40):
        log.unlink(missing_ok=True)
        process = subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while process.poll() is None and (not log.exists() or len(log.read_text().split()) < 2):
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        with Run(tmp_path / "out", write=False) as ledger:
            if 0 < len(ledger.exchanges()) < 3:
                break
    else:
        pytest.fail("the run could not be interrupted in the middle of its conversation")
    log.unlink()
    assert run(argv).returncode == 0
    assert [line.split("/")[1] for line in log.read_text().split()] == ["1", "2", "3"]
    with Run(tmp_path / "out", write=False) as ledger:
        assert [exchange.outcome.value for exchange in ledger.exchanges()] == ["completed"] * 3
    assert list((tmp_path / "out" / "media").rglob("superseded/*.mp4"))

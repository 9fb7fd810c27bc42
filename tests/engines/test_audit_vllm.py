"""An audit of a tiny random Qwen3-VL on a real vLLM: the whole way, with a kill in the middle. It must not pass."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from audit_kit import played_run
from judge_kit import write_clip

from interbench.audit.collect import collect
from interbench.audit.verdicts import Validity
from interbench.domain.catalogue import bundled
from interbench.domain.dimensions import DIMENSION_KEYS

pytestmark = pytest.mark.vllm


def rows(ledger: Path) -> dict[tuple[Any, ...], str]:
    """Verdicts in the ledger, by what they are of."""
    if not ledger.exists():
        return {}
    with sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=30) as db:
        try:
            found = db.execute("SELECT system, scenario, dimension, sample, record FROM verdicts").fetchall()
        except sqlite3.OperationalError:
            return {}
    return {row[:4]: row[4] for row in found}


@pytest.mark.parametrize("scenarios", [1, pytest.param(6, marks=pytest.mark.soak)])
def test_a_random_judge_does_not_pass_and_a_kill_costs_nothing(
    dense: str, media: Path, tmp_path: Path, scenarios: int
) -> None:
    clips = [media / f"audit{number}.mp4" for number in range(2)]
    for number, clip in enumerate(clips):
        write_clip(clip, 20, 10, 128, 128, shade=60 + 90 * number)
    ids = ("science-blue-sky", "places-eiffel-tower", "howto-bike-puncture", "memory-dinner-guests",
           "memory-twenty-questions", "service-hotel-lost-booking")[:scenarios]  # fmt: skip
    run, out = media / f"run{scenarios}", media / f"audit{scenarios}"
    asyncio.run(played_run(run, clips, scenarios=ids, systems=("puppet",)))
    command = [sys.executable, "-m", "interbench", "audit", str(run), "--judge", dense, "--out", str(out), "--quick"]
    command += ["--scenarios", str(scenarios), "--only", "IC", "--system", "puppet", "-q"]
    command += ["--set", "judge.max_tokens=16", "--set", "judge.force_box=true", "--set", "judge.media=file"]

    ledger = out / "ledger.sqlite"
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while len(rows(ledger)) < 20 and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    _, said = first.communicate()
    assert first.returncode == -signal.SIGKILL, said.decode()[-2000:]
    before = rows(ledger)
    assert len(before) >= 20

    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    after = rows(ledger)
    assert all(after[key] == record for key, record in before.items()), "nothing is judged twice"
    assert len(after) > len(before)

    result = collect(out, bundled())
    assert result.coverage[1] == len(after)
    assert {of.key for of in result.matrix.dimensions} == set(DIMENSION_KEYS)
    assert Validity.PASS not in {of.validity for of in result.matrix.dimensions}
    # The judge is told the same of a conversation whatever its system is called.
    assert result.blinding.by == "messages" and result.blinding.compared > 0 and result.blinding.different == 0
    assert json.loads((out / "audit.json").read_text())["judge"]["label"] == "tiny-qwen3vl"
    assert "qwen" in result.family.judge and "not testable with one judge" in result.family.says
    required = subprocess.run([*command[:4], str(out), "--report", "--require", "IC"], capture_output=True, text=True)
    assert required.returncode == 3 and "IC" in required.stderr

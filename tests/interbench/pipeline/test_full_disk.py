"""A disk that fills up in the middle of a run: a clear message, nothing lost, and the same command goes on."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import harness_kit
import pytest

from interbench.asr.given import Given
from interbench.base.errors import StoreError
from interbench.base.progress import PlainProgress
from interbench.judge.signals.judge import Signals
from interbench.pipeline.config import Settings
from interbench.pipeline.run import Summary, execute, make_plan
from interbench.store.run_folder import Run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a small disk can't be mounted here ({mounted.stderr.strip()})")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_stops_the_run_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    scenarios = harness_kit.write_set(tmp_path / "set", count=2, turns=3)

    def run(limit: int) -> Summary:
        settings = Settings(
            out=small_disk / "run", scenarios=str(scenarios), systems=("it=harness_kit:Good",), limit=limit
        )
        plan = make_plan(settings)
        return asyncio.run(
            execute(plan, transcriber=Given(), judge=Signals(), progress=PlainProgress(), stages=("drive",))
        )

    assert run(limit=1).outcomes == {"completed": 3}
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with pytest.raises(StoreError, match=r"disk .* is full.*same command again"):
        run(limit=2)
    ballast.unlink()
    with Run(small_disk / "run", write=False) as ledger:
        before = ledger.exchanges()
    assert len(before) == 3 and all(exchange.completed for exchange in before)
    assert run(limit=2).outcomes == {"completed": 3}
    with Run(small_disk / "run", write=False) as ledger:
        after = ledger.exchanges()
    assert [exchange.outcome.value for exchange in after] == ["completed"] * 6
    assert after[:3] == before

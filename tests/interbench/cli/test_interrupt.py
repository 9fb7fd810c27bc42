"""Ctrl-C and SIGTERM end a run in good order: the exit status says so, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import harness_kit
import pytest


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, status: int) -> None:
    harness_kit.write_set(tmp_path / "set", count=20, turns=3)
    place = tmp_path / "temporary"
    place.mkdir()
    config = tmp_path / "config.toml"
    config.write_text('[system.it]\npause_s = "0.2"\n')
    path = os.pathsep.join([str(Path(harness_kit.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    argv = [
        sys.executable, "-m", "interbench", "run", "--out", str(tmp_path / "run"), "--scenarios", str(tmp_path / "set"),
        "--systems", "it=harness_kit:Good", "--config", str(config), "--transcriber", "given", "--quiet",
    ]  # fmt: skip
    with subprocess.Popen(
        argv, env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(place)}, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not any(place.glob("interbench-media-*")):
            time.sleep(0.01)
        process.send_signal(number)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == status, said
    assert said.splitlines()[-1] == "interbench: interrupted; the same command again goes on from here."
    assert list(place.iterdir()) == []

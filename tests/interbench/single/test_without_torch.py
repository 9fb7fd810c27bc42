"""The core has no torch: everything but the networks works without it, and what needs it says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import warm


def interbench(*words: str) -> subprocess.CompletedProcess[str]:
    return warm.interbench(*words, without=["torch"])


def test_metrics_are_listed() -> None:
    done = interbench("list", "metrics", "--json")
    assert done.returncode == 0, done.stderr
    assert not [row for row in json.loads(done.stdout) if "can't be loaded" in row["description"]]


def test_a_metric_that_needs_torch_is_a_dash_with_the_reason(clips: Path, tmp_path: Path) -> None:
    done = interbench(
        "single", "--clips", str(clips / "systems"), "--metrics", "fid,sync", "--out", str(tmp_path), "-q", "-f", "json"
    )
    assert done.returncode == 0, done.stderr
    for one in json.loads(done.stdout)["unavailable"]:
        assert "needs torch, which is not installed" in one["because"]
        assert "interbench[metrics]" in one["because"]


def test_the_report_reads_what_was_measured_without_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['torch'] = None; import interbench.report.collect"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

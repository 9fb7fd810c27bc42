"""A run folder of the first layout, as commit 807c834 wrote it, still tables and reports with the same figures.

``run_of_0_1`` holds its manifest, its ledger as SQL, and what ``interbench table`` printed of it then. Its three
systems are those of ``harness_kit``: ``good`` hands over files, ``streams`` sends its clips in pieces, and ``refuses``
is blocked in its second turns. Its clips are not kept.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interbench.report.collect import collect_report, collect_table, read_records
from interbench.report.html import write_report
from interbench.report.tables import render

OLD = Path(__file__).parent / "run_of_0_1"


@pytest.fixture
def run(tmp_path: Path, old_run: Callable[[Path], Path]) -> Path:
    return old_run(tmp_path / "run")


def test_its_table_holds_every_figure_it_held(run: Path) -> None:
    table = collect_table([read_records(run)])
    then = json.loads((OLD / "table.json").read_text(encoding="utf-8"))
    now = json.loads(render(table, "json"))
    assert now["judge"] == then["judge"] and now["pool"] == then["pool"] and now["intervals"] == then["intervals"]
    assert set(then["notes"]) <= set(now["notes"])
    for before, after in zip(then["systems"], now["systems"], strict=True):
        assert {key: after[key] for key in before} == before
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    for was, row in zip(csv.DictReader(io.StringIO((OLD / "table.csv").read_text())), rows, strict=True):
        assert {key: row[key] for key in was} == was


def test_its_report_is_written(run: Path) -> None:
    records = read_records(run)
    index = write_report(collect_report(records, collect_table([records])), run / "report", media_root=run)
    page = index.read_text(encoding="utf-8")
    assert "3 systems on 2 scenarios with 4 turns" in page
    assert "138.7" in page, "the first system's frames per second"


def test_reading_a_run_needs_nothing_that_fills_one() -> None:
    """Whoever prints a table loads neither the driver nor the host of systems, nor the pipeline of a run."""
    code = (
        "import sys, interbench.report.collect, interbench.report.html\n"
        "print(*(name for name in sys.modules if name.startswith('interbench.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "interbench.store.played" in loaded
    stages = ("interbench.pipeline", "interbench.drive.driver", "interbench.systems.host", "interbench.media.pool")
    assert not [name for name in loaded if name.startswith(stages)]

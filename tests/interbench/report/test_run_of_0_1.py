"""A run folder of the first layout, as commit 807c834 wrote it, still tables and reports with the same figures.

``run_of_0_1`` holds its manifest, its ledger as SQL, and what ``interbench table`` printed of it then. Its three
systems are those of ``harness_kit``: ``good`` hands over files, ``streams`` sends its clips in pieces, and ``refuses``
is blocked in its second turns. Its clips are not kept. Its offline judge still called what it measured by the names of
four of the paper's dimensions; it is read under the names of the measures.
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

from interbench.domain.dimensions import DIMENSION_KEYS, MEASURE_KEYS
from interbench.report.collect import RENAMED, collect_report, collect_table, read_records, same_family
from interbench.report.html import write_report
from interbench.report.tables import render
from interbench.stats import JudgeLabel

OLD = Path(__file__).parent / "run_of_0_1"
NAMES = {"IC": "kp-recall", "CU": "kp-memory", "SR": "lexical", "MVC": "look"}
"""What the offline judge of that time called its measures, and what they are called."""


@pytest.fixture
def run(tmp_path: Path, old_run: Callable[[Path], Path]) -> Path:
    return old_run(tmp_path / "run")


def test_its_table_holds_every_figure_it_held(run: Path) -> None:
    table = collect_table([read_records(run)])
    then = json.loads((OLD / "table.json").read_text(encoding="utf-8"))
    now = json.loads(render(table, "json"))
    assert now["judge"] == {**then["judge"], "mode": ""} and now["intervals"] == then["intervals"]
    assert now["pool"]["dimensions"] == {NAMES[key]: of for key, of in then["pool"]["dimensions"].items()}
    told = [note for note in then["notes"] if not note.startswith(("Without", "Mean:", "Missing", "Without spread"))]
    assert set(told) <= set(now["notes"]) and RENAMED in now["notes"]
    for before, after in zip(then["systems"], now["systems"], strict=True):
        assert after.pop("expected") == 2 * len(MEASURE_KEYS) and before.pop("expected") == 2 * len(DIMENSION_KEYS)
        was = before.pop("dimensions")
        assert set(after["dimensions"]) == set(MEASURE_KEYS)
        assert {NAMES[key]: figure for key, figure in was.items() if key in NAMES} == after["dimensions"]
        assert {key: after[key] for key in before} == before
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    for was, row in zip(csv.DictReader(io.StringIO((OLD / "table.csv").read_text())), rows, strict=True):
        kept = {key: value for key, value in was.items() if key.split("_")[0] not in DIMENSION_KEYS}
        del kept["expected"]
        assert {key: row[key] for key in kept} == kept
        assert not set(DIMENSION_KEYS) & set(row), "nothing of it stands under a name of the paper"
        for key, name in NAMES.items():
            assert (row[name], row[f"{name}_mean"]) == (was[key], was[f"{key}_mean"])


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


def test_a_judge_and_a_system_of_one_family_are_named() -> None:
    systems = {
        "live": {"settings": {"thinker": "vllm-omni (Qwen/Qwen3-Omni-30B-A3B-Instruct)"}},
        "other": {"settings": {"thinker": "script"}},
    }
    judge = JudgeLabel(name="Qwen3-VL-30B-A3B-Instruct", mode="observed")
    (said,) = same_family(judge, systems)
    assert said.startswith("live works with a model of the judge's own family (Qwen3-VL-30B-A3B-Instruct, Qwen")
    assert same_family(JudgeLabel(name="signals", comparable=False), systems) == same_family(None, systems) == []
    assert same_family(JudgeLabel(name="4o"), systems) == []

"""A run that was killed between the plan of its manifest and the scenarios in its ledger."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from interbench.domain.dimensions import MEASURE_KEYS
from interbench.rating.material import read_material
from interbench.report.collect import RunRecords, collect_report, collect_table, read_records
from interbench.report.frames import UNFINISHED, read_run
from interbench.report.html import write_report
from interbench.report.tables import render

LATER = "test-002"


@pytest.fixture
def folder(tmp_path: Path, old_run: Callable[[Path], Path]) -> Path:
    """Its second scenario was being added: the manifest has it, the ledger nothing of it."""
    folder = old_run(tmp_path / "run")
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger, ledger:
        for table in ("parts", "exchanges", "transcripts", "verdicts", "conversations"):
            ledger.execute(f"DELETE FROM {table} WHERE scenario = ?", (LATER,))
    return folder


@pytest.fixture
def records(folder: Path) -> RunRecords:
    return read_records(folder)


def test_the_table_counts_it_as_not_played(records: RunRecords) -> None:
    table = collect_table([records])
    assert records.unkept == (LATER,)
    assert {row.expected for row in table.rows} == {2 * len(MEASURE_KEYS)}
    assert all(row.figure("lexical").coverage.expected == 2 for row in table.rows)
    assert "1 scenario of its plan was not begun" in render(table, "md") and LATER in render(table, "md")


def test_reports_are_written(folder: Path, records: RunRecords) -> None:
    index = write_report(collect_report(records, collect_table([records])), folder / "report", media_root=folder)
    page = index.read_text(encoding="utf-8")
    assert "3 systems on 1 scenario with 2 turns" in page and "was not begun" in page


def test_scores_and_frames_say_unfinished(folder: Path) -> None:
    scores = read_run(folder).scores
    assert set(scores[scores.scenario == LATER].outcome) == {UNFINISHED}
    assert scores[scores.scenario == LATER].score.isna().all()


def test_people_are_shown_what_is_there(folder: Path) -> None:
    material = read_material(folder)
    assert {why for (_, scenario), why in material.left_out.items() if scenario == LATER} == {"not played to its end"}
    assert LATER in material.scenarios

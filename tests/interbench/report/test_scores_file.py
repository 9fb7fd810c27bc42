"""Raw scores out of run folders, and back into the same table."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from interbench.base.errors import UsageError
from interbench.cli.results import print_table, write_scores
from interbench.domain.dimensions import MEASURES
from interbench.report.scores_file import SCORES_COLUMNS
from interbench.stats.coverage import NO_RECORD

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path, old_run: Callable[[Path], Path]) -> Path:
    return old_run(tmp_path / "run")


def change_verdicts(run: Path, change: str) -> None:
    with contextlib.closing(sqlite3.connect(run / "ledger.sqlite")) as ledger, ledger:
        assert ledger.execute(change).rowcount


def written(sources: Sequence[object], out: Path) -> list[dict[str, str]]:
    write_scores([str(source) for source in sources], out, None)
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def figures(sources: Sequence[object], printed: Printed) -> tuple[dict[str, Any], Any, Any]:
    """By system what the table has of its dimensions; the pool; the resampling."""
    print_table([str(source) for source in sources], form="json")
    table = json.loads(printed.readouterr().out)
    return {row["system"]: row["dimensions"] for row in table["systems"]}, table["pool"], table["intervals"]


def expect_the_same_table(sources: Sequence[object], out: Path, printed: Printed) -> list[dict[str, str]]:
    rows = written(sources, out)
    assert printed.readouterr().out == f"{out}: {len(rows)} row{'' if len(rows) == 1 else 's'} of scores.\n"
    of_runs = figures(sources, printed)
    assert figures([out], printed) == of_runs
    assert any(figure["percentile"] is not None for row in of_runs[0].values() for figure in row.values())
    return rows


def test_the_scores_of_a_run_give_its_table_to_the_last_digit(run: Path, tmp_path: Path, capsys: Printed) -> None:
    rows = expect_the_same_table([run], tmp_path / "scores.csv", capsys)
    assert tuple(rows[0]) == SCORES_COLUMNS
    assert len(rows) == 3 * 2 * len(MEASURES) and {row["judge"] for row in rows} == {"signals"}
    assert all(bool(row["score"]) != bool(row["reason"]) for row in rows)
    assert {row["outcome"] for row in rows if row["system"] == "refuses"} == {"blocked"}
    write_scores([str(run)], None, None)
    assert capsys.readouterr().out == (tmp_path / "scores.csv").read_text(), "the same again, and to standard output"


def test_what_is_not_judged_yet_stays_in_the_plan(run: Path, tmp_path: Path, capsys: Printed) -> None:
    change_verdicts(run, "DELETE FROM verdicts WHERE scenario = (SELECT min(scenario) FROM verdicts)")
    change_verdicts(run, "DELETE FROM verdicts WHERE system = 'streams'")
    rows = expect_the_same_table([run], tmp_path / "scores.csv", capsys)
    awaited = [row for row in rows if row["reason"] == NO_RECORD]
    assert len(awaited) == 4 * len(MEASURES) and not any(row["score"] for row in awaited)


def test_repeated_judgements_stay_apart(run: Path, tmp_path: Path, capsys: Printed) -> None:
    """Some conversations judged twice, one of them without a score the second time."""
    change_verdicts(
        run,
        "INSERT INTO verdicts (system, scenario, dimension, sample, judge, conversation, score, missing, record) "
        "SELECT system, scenario, dimension, 1, judge, conversation, 3.1, NULL, json_set(record, '$.sample', 1, "
        "'$.score', 3.1) FROM verdicts WHERE dimension = 'MVC' AND system = 'good'",
    )
    change_verdicts(
        run,
        "UPDATE verdicts SET record = json_set(record, '$.score', NULL, '$.missing', 'refused') "
        "WHERE sample = 1 AND scenario = (SELECT min(scenario) FROM verdicts)",
    )
    rows = expect_the_same_table([run], tmp_path / "scores.csv", capsys)
    assert [row["reason"] for row in rows if row["sample"] == "1"] == ["refused", ""]


def test_labels_tell_runs_apart_and_no_spreadsheet_calculates_them(
    run: Path, tmp_path: Path, old_run: Callable[[Path], Path], capsys: Printed
) -> None:
    other = old_run(tmp_path / "other")
    change_verdicts(other, "DELETE FROM verdicts WHERE scenario = (SELECT min(scenario) FROM verdicts)")
    sources = [f"+1={run}", f"after={other}"]
    rows = expect_the_same_table(sources, tmp_path / "scores.csv", capsys)
    assert {row["system"].partition("/")[0] for row in rows} == {"'+1", "after"}
    with pytest.raises(UsageError, match="Give the folders labels"):
        write_scores([str(run), str(other)], None, None)


def test_a_place_that_cannot_be_written_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere/scores\.csv can't be written"):
        write_scores([str(run)], tmp_path / "nowhere" / "scores.csv", None)

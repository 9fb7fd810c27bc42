"""A column is one entry, and so is a dimension: every format and the report follow."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness_kit
import pytest
from rich.console import Console

from interbench.domain.records import Exchange, NoSpeech, Outcome, Timings
from interbench.report.collect import speeds
from interbench.report.columns import COLUMNS, Column
from interbench.report.grid import decimal
from interbench.report.html import write_report
from interbench.report.overview import make_overview
from interbench.report.rows import NO_SPEED, Row, Speed
from interbench.report.tables import Table, View, render, render_rich

ROOT = Path(__file__).resolve().parents[3]


def terminal(table: Table, view: View) -> str:
    console = Console(width=400, file=io.StringIO())
    console.print(render_rich(table, view))
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return written


def test_figures_have_a_true_minus_and_no_negative_nought() -> None:
    assert [decimal(value, 1) for value in (-40.04, -0.04, 0.0, 2.25)] == ["−40.0", "0.0", "0.0", "2.2"]
    assert decimal(-0.004, 2, "+") == "+0.00" and decimal(-1.5, 2, "+") == "−1.50"


def test_an_entry_shows_in_every_format(factory: Any) -> None:
    loudness = Column(
        key="loudness_db",
        heading="Loudness dB",
        title="How loud it speaks",
        group="sound",
        value=lambda row: {"puppet": -23.456, "puppet:drift": -18.0}.get(row.system),
        interval=lambda row: (-24.25, -22.5) if row.system == "puppet" else None,
        better="higher",
        why=lambda row: "nobody listened" if row.system == "puppet:amnesiac" else "",
        facts=lambda row: {"loudness_turns": 6, "loudness_by": "ear"},
        in_csv=("loudness_turns",),
    )
    data = factory()
    table = replace(data.table, columns=(*COLUMNS, loudness))

    for text in (render(table, "md", View(intervals=True)), terminal(table, View(intervals=True))):
        assert all(shown in text for shown in ("Loudness dB", "−23.46", "[−24.25, −22.50]", "−18.00"))
    assert "**−18.00**" in render(table, "md") and "<u>−23.46</u>" in render(table, "md")
    latex = render(table, "latex")
    assert r"\textbf{$-$18.00}" in latex and "& Loudness dB" in latex
    row, amnesiac, _ = csv.DictReader(io.StringIO(render(table, "csv")))
    assert (row["loudness_db"], row["loudness_turns"], amnesiac["loudness_db"]) == ("-23.456", "6", "")
    document = json.loads(render(table, "json"))
    assert document["columns"][-1] == {
        "key": "loudness_db", "heading": "Loudness dB", "title": "How loud it speaks", "group": "sound",
        "better": "higher", "in": None,
    }  # fmt: skip
    assert [row["loudness_db"] for row in document["systems"]] == [-23.456, None, -18.0]
    assert document["systems"][0]["loudness_by"] == "ear"
    page = write_report(replace(data, table=table), factory.run / "report", media_root=factory.run).read_text("utf-8")
    assert '<abbr title="How loud it speaks">Loudness dB</abbr>' in page
    assert '<th class="group first-of-group">Sound</th>' in page
    assert "−23.5" in page and "−24.2 to −22.5" in page
    assert 'title="nobody listened"' in page


def test_names_of_columns_are_theirs_alone() -> None:
    names = [column.key for column in COLUMNS]
    names += [name for column in COLUMNS if not column.section for name in column.facts(Row("it"))]
    assert len(set(names)) == len(names)


def test_a_row_of_which_nothing_is_known_is_all_dashes() -> None:
    row = Row("it", quoted_from="a paper")
    assert {column.text(row, str) for column in COLUMNS} == {"–"}
    assert {column.why(row) for column in COLUMNS} == {""}
    assert row.speed is NO_SPEED and row.speed == Speed()


# -- time to first speech ---------------------------------------------------------------------------------------------


def answered(turn: int, first_speech_s: float | None, no_speech: NoSpeech | None = None, **more: Any) -> Exchange:
    timings = Timings(2.0, 1.0, first_speech_s=first_speech_s, no_speech=no_speech, **more)
    return Exchange("it", "s", turn, Outcome.COMPLETED, timings=timings)


def test_first_speech_is_the_median_of_the_turns_in_which_something_is_heard() -> None:
    turns = [
        answered(1, 1.5), answered(2, 4.0), answered(3, 1.25), answered(4, 99.0, resumed=True),
        answered(5, None, NoSpeech.SILENT), answered(6, None, NoSpeech.NO_SOUND_TRACK), answered(7, None),
    ]  # fmt: skip
    speed = speeds(turns)["it"]
    assert (speed.first_speech_s, speed.first_speech_n, speed.n) == (1.5, 3, 6)
    assert speed.unheard == {"silent": 1, "no_sound_track": 1, "not_measured": 1}


def test_a_system_that_is_never_heard_has_no_time_to_first_speech() -> None:
    speed = speeds([answered(1, None, NoSpeech.SILENT)])["it"]
    assert (speed.first_speech_s, speed.first_speech_n, speed.latency_s) == (None, 0, 1.0)
    (column,) = [column for column in COLUMNS if column.key == "first_speech_s"]
    assert column.why(Row("it", speed)) == "1 of 1 turns without: silent 1"


def test_the_report_shows_it(factory: Any) -> None:
    data = factory()
    result = make_overview(data).results[0]
    assert result.cells["first_speech_s"].text == "0.50"
    page = write_report(data, factory.run / "report", media_root=factory.run).read_text("utf-8")
    assert "First speech s</abbr>" in page and "Time to first speech" in page


# -- a tenth dimension ------------------------------------------------------------------------------------------------

ENTRY = '    Dimension("HU", "Humour", "content", "Does it get a joke, and make one where one is welcome?"),\n'
RUBRIC = (
    "---\nkey: HU\nname: Humour\ngroup: content\nscale: 1-10\nversion: 1\n---\nRUBRIC: {{ name }}\n\\boxed{score}\n"
)


OWN_JUDGE = """
from interbench.judge import Judge, Missing, Verdict

class Own(Judge):
    label = "own"

    def identity(self):
        return {"judge": "own"}

    async def judge(self, conversation, tasks):
        for task in tasks:
            told = {"score": 5.0} if task.dimension == "EA" else {"missing": Missing.NOT_MEASURABLE}
            yield Verdict(conversation.system, conversation.scenario.id, task.dimension, task.sample, **told)
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program in which a dimension was added: one entry, and nothing else."""
    copy = tmp_path_factory.mktemp("grown") / "house"
    # With its bytecode, which stays that of the files that stay: else every program would compile all of it.
    shutil.copytree(ROOT / "interbench", copy / "interbench")
    shutil.copytree(ROOT / "prompts", copy / "prompts")
    path = copy / "interbench" / "domain" / "dimensions.py"
    before, after = path.read_text(encoding="utf-8").split("\n)\n\nMEASURES", 1)
    path.write_text(f"{before}\n{ENTRY})\n\nMEASURES{after}", encoding="utf-8")
    return copy


def python(house: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(house), str(Path(harness_kit.__file__).parent)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd or house.parent,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_dimension_is_one_entry_for_runs_tables_and_reports(house: Path, tmp_path: Path) -> None:
    harness_kit.write_set(tmp_path / "set", count=2, turns=2)
    (tmp_path / "own_judge.py").write_text(OWN_JUDGE)
    run = ["run", "--out", "run", "--scenarios", "set", "--systems", "it=harness_kit:Good", "--transcriber", "given"]
    done = python(house, "-m", "interbench", *run, "--judge", "own_judge:Own", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Humour (HU)" in page, "nobody measures it, which is said"
    everything = python(house, "-m", "interbench", "table", "run", "--format", "md", "--all-columns", cwd=tmp_path)
    assert re.search(r"\| +HU \|", everything.stdout)

    shown = python(house, "-m", "interbench", "table", "run", "--format", "json", "--with-published", cwd=tmp_path)
    document = json.loads(shown.stdout)
    (row,) = document["systems"]
    assert row["dimensions"]["HU"]["missing"] == {"not_measurable_offline": 2}
    assert row["expected"] == 2 * 10
    assert document["published"][0]["dimensions"]["HU"] == {"percentile": None}, "the paper did not publish it"


def test_a_dimension_is_one_entry_for_csv(house: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("system,scenario,dimension,score\na,s1,HU,3\na,s2,HU,5\nb,s1,HU,7\nb,s2,HU,9\n")
    shown = python(house, "-m", "interbench", "table", "scores.csv", "--format", "csv", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    a, b = csv.DictReader(io.StringIO(shown.stdout))
    assert float(a["HU"]) < 50 < float(b["HU"]) and (a["HU_mean"], b["HU_mean"]) == ("4.0", "8.0")


def test_a_dimension_needs_a_rubric_where_a_language_model_judges_it(house: Path, tmp_path: Path) -> None:
    house = shutil.copytree(house, tmp_path / "house")
    code = "from interbench.judge.vlm.rubrics import Prompts; print(Prompts().rubrics['HU'].name)"
    without = python(house, "-c", code)
    assert without.returncode != 0 and "HU.j2" in without.stderr and "can't be used" in without.stderr
    for reading in ("published", "observed"):
        (house / "prompts" / "judge" / reading / "HU.j2").write_text(RUBRIC)
    assert python(house, "-c", code).stdout == "Humour\n"

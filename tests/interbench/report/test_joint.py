"""Several runs: their labels, what changed between them, and their scenarios told apart."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interbench.base.errors import UsageError
from interbench.cli.results import make_report, print_table
from interbench.report.changes import find_changes
from interbench.report.collect import collect_scores, collect_table, read_records
from interbench.report.html import write_report
from interbench.report.joint import collect_joint_report
from interbench.report.sources import Source, parse_source, parse_sources, read_runs

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def runs(tmp_path: Path, old_run: Callable[[Path], Path]) -> Path:
    """A folder with two runs of the same systems on the same scenarios, ``one`` and ``two``."""
    for name in ("one", "two"):
        old_run(tmp_path / name)
    return tmp_path


def change(run: Path, how: Change) -> None:
    path = run / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    how(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def sources(runs: Path) -> list[Source]:
    return [Source(runs / "one", "before"), Source(runs / "two", "after")]


def test_a_label_stands_before_an_equals_sign(tmp_path: Path) -> None:
    assert parse_source("a=runs/one") == Source(Path("runs/one"), "a")
    assert parse_source("runs/one") == Source(Path("runs/one"))
    odd = tmp_path / "x=y"
    odd.mkdir()
    assert parse_source(str(odd)) == Source(odd), "a folder that is there is no label"
    for wrong in ("=runs/one", "a="):
        with pytest.raises(UsageError, match="label=FOLDER"):
            parse_source(wrong)
    with pytest.raises(UsageError, match="'a' is given to two folders"):
        parse_sources(["a=one", "a=two"])


def test_runs_of_the_same_systems_are_tabled_under_labels(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=f"labels, which go before .* a={runs / 'one'} b={runs / 'two'}"):
        collect_table([read_records(runs / "one"), read_records(runs / "two")])
    print_table([f"before={runs / 'one'}", f"after={runs / 'two'}"], form="csv")
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["system"] for row in rows] == [
        f"{label}/{system}" for label in ("before", "after") for system in ("good", "refuses", "streams")
    ]
    print_table([str(runs / "one")], form="json")
    alone = json.loads(capsys.readouterr().out)["systems"][0]
    figure = next(iter(f for f in alone["dimensions"].values() if f["percentile"] is not None))
    assert figure["scored"] == 2


def test_the_same_scenarios_are_one_and_changed_ones_are_two(runs: Path) -> None:
    assert {planned.scenario.id for run in read_runs(sources(runs)) for planned in run.planned_scenarios} == {
        "test-001",
        "test-002",
    }
    change(runs / "two", lambda manifest: manifest["scenarios"].update({"test-002": "f" * 64}))
    one, two = read_runs(sources(runs))
    assert [planned.scenario.id for planned in one.planned_scenarios] == ["test-001", "test-002"]
    kept, other = (planned.scenario.id for planned in two.planned_scenarios)
    assert kept == "test-001" and other.startswith("test-002@")
    assert {key.scenario for key in two.transcripts} == {e.scenario for e in two.exchanges} == {kept, other}
    table = collect_table([one, two])
    assert any("Not the same in these runs" in caveat and "test-002" in caveat for caveat in table.caveats)
    assert len(table.pool.scenarios) == 3


def test_another_persona_makes_another_scenario(runs: Path) -> None:
    change(runs / "two", lambda manifest: manifest["personas"].update({"tess": "f" * 64}))
    _, two = read_runs(sources(runs))
    assert all("@" in planned.scenario.id for planned in two.planned_scenarios)
    scores, _, judge = collect_scores(read_runs(sources(runs)))
    pairs = find_changes(read_runs(sources(runs)), scores, judge).figures
    assert all(row.scenarios == 0 for pair in pairs for row in pair.dimensions), "nothing in common, nothing compared"


def test_what_changed_is_told_and_what_did_not_is_not(runs: Path) -> None:
    def newer(manifest: dict[str, Any]) -> None:
        manifest["systems"]["good"]["version"] = "2"
        manifest["systems"]["good"]["settings"] = {"steps": 4}
        manifest["invocations"][-1]["versions"]["interbench"] = "0.2.0"
        manifest["settings"]["seed"] = 7

    change(runs / "two", newer)
    joint = read_runs(sources(runs))
    scores, _, judge = collect_scores(joint)
    changes = find_changes(joint, scores, judge)
    told = {fact.what: fact.values for fact in changes.facts if fact.differs}
    assert told == {
        "good: version": ("1", "2"),
        "good: steps": ("–", "4"),
        "interbench": ("0.1.0", "0.2.0"),
        "setting: seed": ("0", "7"),
    }
    same = {fact.what for fact in changes.facts} - set(told)
    assert {"Judge", "Transcriber", "Scenario set", "Scenarios", "Judge's prompts"} <= same
    assert [(pair.a, pair.b) for pair in changes.figures] == [
        (f"after/{name}", f"before/{name}") for name in ("good", "refuses", "streams")
    ]
    compared = [row for row in changes.figures[0].dimensions if row.scenarios]
    assert compared and all((row.difference, row.lo, row.hi) == (0, 0, 0) for row in compared), "the same records"


def test_a_report_of_two_runs(runs: Path) -> None:
    change(runs / "two", lambda manifest: manifest["systems"]["good"].update(version="2"))
    joint = read_runs(sources(runs))
    data = collect_joint_report(joint, collect_table(joint))
    assert [system.media_root for system in data.systems] == [runs / "one"] * 3 + [runs / "two"] * 3
    page = write_report(data, runs / "both", media_root=runs / "one").read_text(encoding="utf-8")
    assert "before and after" in page and "What changed" in page and "good: version" in page
    assert "6 systems on 2 scenarios" in page
    facts = list(csv.reader((runs / "both" / "changes.csv").read_text(encoding="utf-8").splitlines()))
    assert facts[0] == ["what", "before", "after"] and ["good: version", "1", "2"] in facts
    assert (runs / "both" / "changed-figures.csv").exists()


def test_clips_of_each_run_come_from_its_own_folder(runs: Path) -> None:
    clips = [exchange.clip for exchange in read_records(runs / "one").exchanges if exchange.clip]
    for name in ("one", "two"):
        for clip in clips:
            path = runs / name / clip
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
    joint = read_runs(sources(runs))
    data = collect_joint_report(joint, collect_table(joint))
    write_report(data, runs / "linked", media_root=runs / "one")
    shards = "".join(path.read_text() for path in (runs / "linked" / "data").iterdir())
    assert f"../one/{clips[0]}" in shards and f"../two/{clips[0]}" in shards
    write_report(data, runs / "copied", media_root=runs / "one", portable=True)
    held = sorted(path.read_text() for path in (runs / "copied" / "media").rglob("*.mp4"))
    assert held == ["one"] * len(clips) + ["two"] * len(clips)


def test_the_verb_wants_a_place_for_several_and_writes_one_file_on_request(runs: Path) -> None:
    names = [f"a={runs / 'one'}", f"b={runs / 'two'}"]
    with pytest.raises(UsageError, match="--out"):
        make_report(names, None)
    page = make_report(names, runs / "both.html", single_page=True, title="Before & after")
    assert '<h1><bdi dir="auto">Before &amp; after</bdi></h1>' in page.read_text(encoding="utf-8")
    archive = make_report(runs / "one", None, zipped=True)
    assert archive == runs / "one" / "report.zip"
    with pytest.raises(UsageError, match="ask for one"):
        make_report(names, None, zipped=True, single_page=True)


def test_labels_are_for_run_folders(runs: Path) -> None:
    with pytest.raises(UsageError, match="gone is no run folder"):
        print_table([f"a={runs / 'gone'}"], form="md")
    with pytest.raises(UsageError, match=r"There is no .*gone"):
        print_table([runs / "one", runs / "gone"], form="md")


def test_apart_by_category_and_persona(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for by in ("category", "persona"):
        print_table([runs / "one"], form="csv", by=by)
        rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
        assert list(rows[0])[:2] == [by, "system"]
        assert {row[by] for row in rows} == ({"category-0", "category-1"} if by == "category" else {"tess"})
        assert all(float(row["latency_s"]) > 0 for row in rows), "speeds are apart too"
    with pytest.raises(UsageError, match="run folders"):
        (runs / "s.csv").write_text("system,scenario,dimension,score\na,s,EA,1\nb,s,EA,2\n")
        print_table([str(runs / "s.csv")], form="md", by="persona")


def test_unchecked_frames_are_said_beside_the_figures(runs: Path) -> None:
    from dataclasses import replace

    from interbench.report.collect import UNCHECKED, collect_report
    from interbench.report.tables import render

    run = read_records(runs / "one")
    blind = replace(run, judge_identity={**run.judge_identity, "frames_checked": False})
    table = collect_table([blind])
    assert UNCHECKED in table.caveats and "Unchecked" in render(table, "md") and "Unchecked" in render(table, "latex")
    page = write_report(collect_report(blind, table), runs / "out", media_root=run.path).read_text(encoding="utf-8")
    assert page.index("Unchecked") < page.index('id="results"')
    assert UNCHECKED not in collect_table([run]).caveats

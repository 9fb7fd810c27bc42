"""What tables and reports say of a user who reacts, of the set's version, and of a set that is private."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import harness_kit
import pytest
from harness_kit import ASKED, OWN

from interbench.asr.given import Given
from interbench.base.progress import PlainProgress
from interbench.cli.results import make_report, print_items, print_table
from interbench.judge.registry import make_judge
from interbench.pipeline.config import Settings
from interbench.pipeline.run import execute, make_plan

WORDS = {"asks": "How did you come to the blue house?", "tells": "It is blue and the river runs north."}


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Two systems through a set whose user reacts, judged offline; gives the run folder."""

    def run(**facts: object) -> Path:
        folder = tmp_path_factory.mktemp("reacting")
        film = harness_kit.write_clip(folder / "film.mp4")
        harness_kit.write_reacting_set(folder / "set", **facts)
        for label, words in WORDS.items():
            # In a file, because a report shows the settings of its systems.
            (folder / f"{label}.txt").write_text(words)
        settings = Settings(
            out=folder / "run",
            scenarios=str(folder / "set"),
            systems=tuple(f"{label}=harness_kit:Says" for label in WORDS),
            system={label: {"film": str(film), "words": f"@{folder / label}.txt"} for label in WORDS},
            deadline_s=120.0,
        )
        judge = make_judge("signals", {}, 1)
        plan = make_plan(settings)
        asyncio.run(execute(plan, transcriber=Given(), judge=judge, progress=PlainProgress()))
        return folder / "run"

    return run


@pytest.fixture(scope="module")
def run(play: Callable[..., Path]) -> Path:
    return play(version="7")


def test_a_table_says_how_often_the_user_did_not_react_and_from_which_set(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_table([run], form="md", intervals=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "Scenario set set@7, digest " in said
    assert (
        "Of the turns with variants the user said the line that stands after any answer to: asks in 0 of 2 (0 %; the "
        "words of the answer before were the system's own in 2); tells in 2 of 2 (100 %; " in said
    )
    assert said.count("the line that stands after any answer") == 1, "once, however many systems there are"


def test_a_comparison_says_in_how_many_turns_the_lines_differed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_table([run], form="md", compare=["asks", "tells"])
    assert "said different things to the two in 2 of 3 turns" in " ".join(capsys.readouterr().out.split())
    print_table([run], form="json", compare=["asks", "tells"])
    assert '"different_lines": 2' in capsys.readouterr().out


def test_a_table_apart_by_stressed_dimension(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_table([run], form="csv", by="stressed")
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("stressed,")
    assert [row.split(",")[0] for row in rows[1:]] == ["SR", "SR", "CU", "CU"]


def test_items_over_the_systems_of_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_items([run], form="md")
    out = capsys.readouterr().out
    assert "test-001" in out and "Discrimination needs 3 systems; there are 2." in out
    print_items([run], form="csv", apart=True)
    assert capsys.readouterr().out.startswith("scenario,dimension,systems,planned,mean,spread,discrimination,ceiling")


def test_a_report_shows_what_was_said_to_each(run: Path) -> None:
    index = make_report(run, run / "shown")
    written = "".join(path.read_text("utf-8") for path in index.parent.rglob("*.js"))
    assert ASKED in written and OWN in written and "asks a question" in written
    page = " ".join(index.read_text("utf-8").split())
    assert "Turns in which the user said different things to the two: asks and tells: 2 of 3." in page
    assert "tells in 2 of 2 (100 %" in page
    assert (index.parent / "comparisons.csv").read_text().splitlines()[1].endswith(",2,3")


def test_nothing_of_a_private_set_is_printed(play: Callable[..., Path]) -> None:
    """Neither what was asked nor what was answered, nor a recording of it; figures are there all the same."""
    folder = play(version="7", private=True)
    for index in (make_report(folder, folder / "shown"), make_report(folder, folder / "one.html", single_page=True)):
        files = [path for path in index.parent.rglob("*") if path.is_file()] if index.name == "index.html" else [index]
        written = b"".join(path.read_bytes() for path in files).decode("utf-8", "replace")
        for text in (ASKED, OWN, *WORDS.values(), "Question 1 of conversation", "The answer is blue", "Scenario 1"):
            assert text not in written, text
        assert "scenarios are private" in written
    assert not [path for path in (folder / "shown").rglob("*") if path.suffix in (".ogg", ".mp4", ".wav")]

"""Signals at random moments of `interbench run`, `table` and `report`, imports included, SIGINT ignored or not."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import harness_kit
import pytest
from ended_program import End, Program
from signal_soak import say, soak

from interbench.store.run_folder import Run

pytestmark = pytest.mark.soak

LINES: dict[str, int | None] = {"interbench: interrupted; the same command again goes on from here.": None}


def start(place: Path, ignored: tuple[signal.Signals, ...], *arguments: str) -> Program:
    return Program(["-m", "interbench", *arguments], place / "program", ignored=ignored)


def lasts_s(program: Program) -> float:
    """From where it heeds signals to where it ends by itself."""
    program.wait_for(program.heeds_signals)
    began = time.monotonic()
    end = program.end(600)
    assert end.status == 0, end.errors
    return time.monotonic() - began


def play(out: Path, scenarios: str, *systems: str) -> list[str]:
    chosen = ["--scenarios", scenarios, "--limit", "2", "--systems", *(systems or ("puppet",))]
    return ["run", "--out", str(out), *chosen, "--transcriber", "given", "--quiet"]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two scenarios of one turn."""
    return str(harness_kit.write_set(tmp_path_factory.mktemp("scenarios") / "set", count=2, turns=1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, short: str) -> tuple[Path, float]:
    """A run that was left alone, and how long it took."""
    folder = tmp_path_factory.mktemp("whole")
    return folder / "run", lasts_s(start(folder, (), *play(folder / "run", short)))


LIVETALK = ("livetalk", "--livetalk-size", "tiny")


@pytest.mark.parametrize(
    ("scenarios", "systems", "moments"),
    [
        pytest.param("", (), 150, id="short"),
        pytest.param("starter", (), 30, id="starter"),
        pytest.param("", LIVETALK, 30, id="livetalk"),
    ],
)
def test_run(
    scenarios: str,
    systems: tuple[str, ...],
    moments: int,
    short: str,
    whole: tuple[Path, float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenarios = scenarios or short
    alone = whole[1]  # of the starter set, this is the beginning
    if systems:
        pytest.importorskip("torch", reason="livetalk needs it")
        alone = lasts_s(start(tmp_path / "alone", (), *play(tmp_path / "alone" / "run", scenarios, *systems)))

    def check(place: Path) -> None:
        run = place / "run"
        assert not [*run.glob("*.tmp"), *run.glob(".report.*")]
        if (run / "manifest.json").exists() and (run / "ledger.sqlite").exists():
            with Run(run, write=False) as ledger:
                ledger.exchanges()
        for older in tmp_path.iterdir():
            if older != place:
                shutil.rmtree(older)

    tally = soak(
        lambda place, ignored: start(place, ignored, *play(place / "run", scenarios, *systems)),
        tmp_path,
        moments=moments,
        lasts_s=alone,
        lines=LINES,
        complete=lambda end: "Report: " in end.output,
        check=check,
    )
    say(f"interbench run, {' '.join(systems) or 'puppet'}, {Path(scenarios).name}", tally, capsys)
    # The last of them goes on from where it was.
    (place,) = tmp_path.iterdir()
    assert lasts_s(start(place / "again", (), *play(place / "run", scenarios, *systems))) > 0
    with Run(place / "run", write=False) as ledger:
        assert all(exchange.completed for exchange in ledger.exchanges()) and len(ledger.exchanges()) >= 2


@pytest.mark.parametrize("verb", ["table", "report"])
def test_verbs_without_a_loop(
    verb: str, whole: tuple[Path, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = whole[0]
    report = tmp_path / "reports" / "report"

    def arguments() -> list[str]:
        return ["table", str(run), "--format", "md"] if verb == "table" else ["report", str(run), "--out", str(report)]

    def complete(end: End) -> bool:
        return ("| puppet" in end.output) if verb == "table" else (str(report / "index.html") in end.output)

    def check(place: Path) -> None:
        assert [entry.name for entry in report.parent.glob("*") if entry != report] == []
        assert not report.exists() or (report / "index.html").exists()
        assert sorted(entry.name for entry in run.iterdir()) == before

    report.parent.mkdir()
    alone = lasts_s(start(tmp_path / "alone", (), *arguments()))
    before = sorted(entry.name for entry in run.iterdir())
    tally = soak(
        lambda place, ignored: start(place, ignored, *arguments()),
        tmp_path / "soak",
        moments=75,
        lasts_s=alone,
        lines=LINES,
        complete=complete,
        check=check,
    )
    say(f"interbench {verb}", tally, capsys)

"""`interbench.run` and `interbench.read_run`, as docs/python.md has them."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path

import harness_kit
import pytest

import interbench
from interbench.asr.given import Given
from interbench.base.errors import UsageError
from interbench.base.progress import PlainProgress
from interbench.domain.dimensions import DIMENSIONS, MEASURES
from interbench.judge.signals.judge import Signals
from interbench.pipeline.config import Settings
from interbench.pipeline.plan import make_plan
from interbench.pipeline.run import execute
from interbench.report.frames import EXCHANGES, SCORES, TRANSCRIPTS
from interbench.stats.coverage import NO_RECORD

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a system that answers and one that never does."""
    root = tmp_path_factory.mktemp("api")
    scenarios = str(harness_kit.write_set(root / "set", count=2, turns=2))
    result = interbench.run(
        ["it=harness_kit:Good", "hot=harness_kit:Raises"],
        out=root / "run",
        scenarios=scenarios,
        transcriber="given",
        system={"it": {"log": str(root / "log")}},
    )
    assert result.status == 0 and result.folder == root / "run" and result.report.is_file()
    assert {row.system for row in result.table.rows} == {"it", "hot"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.status = 1  # type: ignore[misc]
    return root / "run"


def test_it_goes_on_where_it_was_also_in_a_notebook(folder: Path) -> None:
    before = (folder.parent / "log").read_text()

    async def cell() -> int:
        return interbench.run(
            "it=harness_kit:Good, hot=harness_kit:Raises",
            out=folder,
            scenarios=str(folder.parent / "set"),
            transcriber="given",
            system={"it": {"log": str(folder.parent / "log")}},
        ).status

    assert asyncio.run(cell()) == 0
    assert (folder.parent / "log").read_text() == before, "nothing was rendered twice"


def test_settings_are_checked_as_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'sede' in the command line is unknown"):
        interbench.run("puppet", out=tmp_path / "run", sede=1)
    file = tmp_path / "run.toml"
    file.write_text('judge = "sginals"\nscenarios = "starter"\nlimit = 1\n')
    with pytest.raises(UsageError, match="Did you mean 'signals'"):
        interbench.run("puppet", config=str(file), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_as_frames(folder: Path) -> None:
    run = interbench.read_run(folder)
    assert tuple(run.exchanges) == EXCHANGES
    assert tuple(run.transcripts) == TRANSCRIPTS
    assert tuple(run.scores) == SCORES
    good, hot = (run.exchanges[run.exchanges.system == system] for system in ("it", "hot"))
    assert list(good.outcome) == ["completed"] * 4 and (good.first_frame_s > 0).all() and (good.frames > 0).all()
    failed = hot[hot.outcome == "failed"]
    assert len(hot) == 4 and len(failed) >= 2, "what failed is not left out"
    assert failed.first_frame_s.isna().all() and failed.clip_path.isna().all() and failed.message.str.len().min() > 0
    assert all(Path(clip).is_file() for clip in good.clip_path)
    assert len(run.transcripts) == len(run.exchanges) - len(failed) and run.transcripts.text.str.len().min() > 0
    assert len(run.scores) == 2 * 2 * len(MEASURES), "the denominator is the plan's"
    assert set(run.scores.judge) == {"signals"}
    of_hot = run.scores[run.scores.system == "hot"]
    assert of_hot.score.isna().all() and set(of_hot.reason) == {"incomplete_conversation"}
    assert set(of_hot.outcome) == {"failed"}
    of_it = run.scores[run.scores.system == "it"]
    assert set(of_it.outcome) == {"completed"} and of_it.score.notna().any()
    assert (of_it.score.isna() == of_it.reason.notna()).all() and (of_it.explanation.str.len() > 0).all()


def test_scores_that_nobody_has_given_yet_are_rows(tmp_path: Path) -> None:
    chosen = Settings(
        out=tmp_path / "run", scenarios=str(harness_kit.write_set(tmp_path / "set", 1, 1)), repeats=2,
        systems=("it=harness_kit:Good",),
    )  # fmt: skip
    work = execute(make_plan(chosen), transcriber=Given(), judge=Signals(), progress=PlainProgress(), stages=("drive",))
    asyncio.run(work)
    scores = interbench.read_run(tmp_path / "run").scores
    assert len(scores) == 2 * len(DIMENSIONS) and set(scores["sample"]) == {0, 1}
    assert scores.score.isna().all() and set(scores.reason) == {NO_RECORD} and set(scores.outcome) == {"completed"}


def test_the_page_names_every_column() -> None:
    rows = dict(re.findall(r"^\| `(exchanges|transcripts|scores)` \|[^|]*\| (.*) \|$", PAGE, re.MULTILINE))
    for name, columns in (("exchanges", EXCHANGES), ("transcripts", TRANSCRIPTS), ("scores", SCORES)):
        assert tuple(re.findall(r"`(\w+)`", rows[name])) == columns
    assert f"`{NO_RECORD}`" in PAGE

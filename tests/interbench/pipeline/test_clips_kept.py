"""Clips that were changed after a run, and what the verbs make of them; exit statuses of runs that came to nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import harness_kit
import pytest

from interbench.asr.base import Transcriber, Utterance
from interbench.base.errors import FruitlessError, StoreError
from interbench.cli.commands import execute_and_report, print_plan
from interbench.cli.results import print_table
from interbench.domain.records import Transcript
from interbench.pipeline.config import load_settings
from interbench.pipeline.plan import Plan, make_plan, resume_plan
from interbench.pipeline.summary import Summary
from interbench.store.run_folder import Run


class Ear(Transcriber):
    """Hears one word in every sound."""

    label = "ear"

    def identity(self) -> dict[str, str]:
        return {"transcriber": "ear"}

    async def transcribe(self, batch: list[Utterance]) -> list[Transcript]:  # type: ignore[override]
        return [Transcript("blue" if utterance.samples is not None else "") for utterance in batch]


def plan(folder: Path, system: str = "it=harness_kit:Good") -> Plan:
    settings = {"scenarios": str(folder / "set"), "systems": [system], "transcriber": "given", "out": folder / "run"}
    return make_plan(load_settings(settings))


def judge_again(run: Path) -> None:
    execute_and_report(resume_plan(run, None, {"repeats": 2}), ("transcribe", "judge"), quiet=True)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one scenario by a good system."""
    folder = tmp_path_factory.mktemp("runs")
    harness_kit.write_set(folder / "set", count=1)
    execute_and_report(plan(folder), ("drive", "transcribe", "judge"), quiet=True)
    return folder


@pytest.fixture
def ran(original: Path, tmp_path: Path) -> Path:
    """The run, to be damaged."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


def test_a_replaced_clip_is_noticed_by_every_verb(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = ran / "media/it/test-001/2.mp4"
    good = clip.read_bytes()
    shutil.copy(ran / "media/it/test-001/1.mp4", clip)
    with pytest.raises(FruitlessError, match="clips are no longer those that were recorded") as ended:
        judge_again(ran)
    said = capsys.readouterr()
    assert ended.value.exit_code == 4 and "missing: 4 clip changed" in said.err
    assert "1 clips are not the ones that were recorded" in " ".join(said.out.split())
    print_table([ran], form="md")
    assert "clips are not the ones that were recorded (first: it/test-001/2)" in capsys.readouterr().out
    assert "are not the ones that were recorded" in (ran / "report/index.html").read_text()
    shard = next((ran / "report/data").glob("*[0-9]*.js")).read_text()
    assert "is not the one that was recorded" in shard
    clip.write_bytes(good)
    judge_again(ran)
    assert "clip changed" not in capsys.readouterr().err


async def test_a_replaced_clip_is_not_heard(ran: Path) -> None:
    from interbench.asr.stage import TranscriptionStage
    from interbench.media.pool import MediaPool
    from interbench.store.run_folder import Run

    shutil.copy(ran / "media/it/test-001/1.mp4", ran / "media/it/test-001/2.mp4")
    (ran / "media/it/test-001/3.mp4").unlink()
    with Run(ran, write=True) as run:
        async with MediaPool() as media, TranscriptionStage(Ear(), run, media) as stage:
            heard = [await stage.submit(exchange) for exchange in run.exchanges()]
    assert [transcript.text for transcript in heard] == ["blue", "", ""]
    assert [transcript.flags for transcript in heard[1:]] == [("failed", "clip_changed"), ("failed", "clip_missing")]
    assert "Restore it" in str(heard[1].error)


@pytest.mark.parametrize("how", ["replaced", "gone"])
def test_a_conversation_is_not_gone_on_with_from_another_clip(original: Path, tmp_path: Path, how: str) -> None:
    """The turn stays to be played: the same command plays it once the clip is restored."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    with Run(tmp_path / "run", write=True) as run:
        run.discard("it", "test-001", from_turn=3)
    clip = tmp_path / "run" / "media" / "it" / "test-001" / "1.mp4"
    kept = clip.read_bytes()
    if how == "gone":
        clip.unlink()
    else:
        clip.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(FruitlessError, match=r"1 conversation was not gone on with: The clip .*test-001/1\.mp4"):
        execute_and_report(plan(tmp_path), ("drive",), quiet=True)
    with Run(tmp_path / "run", write=False) as run:
        assert [exchange.turn for exchange in run.exchanges()] == [1, 2]
    clip.write_bytes(kept)
    execute_and_report(plan(tmp_path), ("drive",), quiet=True)
    with Run(tmp_path / "run", write=False) as run:
        assert [exchange.turn for exchange in run.exchanges() if exchange.completed] == [1, 2, 3]


def test_a_run_in_which_nothing_was_completed_says_so_by_its_status(tmp_path: Path) -> None:
    harness_kit.write_set(tmp_path / "set", count=1)
    with pytest.raises(FruitlessError, match="None of the 3 turns that were played was completed"):
        execute_and_report(plan(tmp_path, "away=harness_kit:CantOpen"), ("drive",), quiet=True)


def test_what_is_fruitless_and_what_is_a_result() -> None:
    assert Summary().fruitless == ""
    assert Summary(outcomes=Counter(completed=1, failed=9), verdicts=9, missing=Counter(refused=8)).fruitless == ""
    assert "None of 9 verdicts" in Summary(verdicts=9, missing=Counter(request_rejected=9)).fruitless
    heard = Summary(transcripts=2, untranscribed=Counter({"no text": 2}), verdicts=9, missing=Counter({"x": 9}))
    assert "None of 2 clips could be transcribed: no text" in heard.fruitless


def test_what_an_earlier_invocation_brought_counts() -> None:
    turns = Summary(outcomes=Counter(failed=2), held=Counter(completed=1))
    heard = Summary(transcripts=2, untranscribed=Counter({"no text": 2}), held=Counter(transcribed=1))
    judged = Summary(verdicts=4, missing=Counter(no_face=4), held=Counter(scored=1))
    assert [turns.fruitless, heard.fruitless, judged.fruitless] == ["", "", ""]
    # One kind of result is no excuse for another.
    assert "None of 4 verdicts" in Summary(verdicts=4, missing=Counter(no_face=4), held=Counter(completed=9)).fruitless


def test_a_run_gone_on_with_ends_as_it_would_have_ended(ran: Path) -> None:
    """All that was left to judge may be what can't be judged in any clip; the run holds scores all the same."""
    with Run(ran, write=True) as run:
        missing = [v for key in run.identities("judge") for _, v in run.verdicts(key) if v.missing]
        run.db.executemany(
            "DELETE FROM verdicts WHERE system = ? AND scenario = ? AND dimension = ?",
            [(v.system, v.scenario, v.dimension) for v in missing],
        )
        run.db.commit()
    assert missing
    execute_and_report(plan(ran.parent), ("drive", "transcribe", "judge"), quiet=True)
    with Run(ran, write=False) as run:
        given = [v for key in run.identities("judge") for _, v in run.verdicts(key)]
    assert sum(v.missing is not None for v in given) == len(missing) and any(v.score is not None for v in given)


def test_a_run_without_its_ledger_is_not_played_again(ran: Path) -> None:
    (ran / "ledger.sqlite").unlink()
    clips = {clip: clip.stat().st_mtime_ns for clip in ran.rglob("*.mp4")}
    with pytest.raises(StoreError, match=r"ledger of .* is missing"):
        execute_and_report(plan(ran.parent), ("drive",), quiet=True)
    with pytest.raises(StoreError, match=r"ledger of .* is missing"):
        print_plan(plan(ran.parent))
    assert {clip: clip.stat().st_mtime_ns for clip in ran.rglob("*.mp4")} == clips


def test_the_table_and_the_report_of_a_terminal_that_knows_few_characters(ran: Path) -> None:
    shutil.rmtree(ran / "report")
    done = subprocess.run(
        [sys.executable, "-m", "interbench", "judge", str(ran), "--quiet"],
        capture_output=True,
        timeout=300,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "INTERBENCH_TRANSCRIBER": "given"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and b"Coverage" in done.stdout and (ran / "report/index.html").is_file()

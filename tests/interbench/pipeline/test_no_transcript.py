"""Complete conversations of which nobody knows what is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import harness_kit
import pytest

from interbench.asr.given import Given
from interbench.base.progress import PlainProgress
from interbench.cli.commands import closing_lines
from interbench.domain.records import REMEDIES, Missing
from interbench.judge.base import Judge
from interbench.judge.signals.judge import Signals
from interbench.pipeline.config import Settings
from interbench.pipeline.plan import make_plan
from interbench.pipeline.run import execute
from interbench.pipeline.summary import Summary
from interbench.report.collect import collect_table, read_records
from interbench.report.notes import notes


class ReadsWords(Signals):
    """As a judge that needs the words for everything."""

    label = "reads-words"
    without_transcripts = Judge.without_transcripts


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    return harness_kit.write_set(tmp_path / "set", count=1, turns=2)


def run(folder: Path, scenarios: Path, system: str, judge: Judge) -> Summary:
    settings = Settings(out=folder, scenarios=str(scenarios), systems=(f"it=harness_kit:{system}",))
    work = execute(make_plan(settings), transcriber=Given(), judge=judge, progress=PlainProgress())
    return asyncio.run(work)


def test_what_needs_words_is_missing_for_want_of_words_and_the_rest_is_judged(tmp_path: Path, scenarios: Path) -> None:
    summary = run(tmp_path / "run", scenarios, "SaysNothingOfIt", Signals(faces=False))
    assert summary.missing == {"no_transcript": 3} and summary.verdicts == 4
    records = read_records(tmp_path / "run")
    by_key = {verdict.dimension: verdict for verdict in records.verdicts}
    assert by_key["look"].score is not None and by_key["look"].score > 1
    for key in ("kp-recall", "kp-memory", "lexical"):
        assert by_key[key].missing is Missing.NO_TRANSCRIPT
        assert "turn 1 has no transcript: the system does not report its text" in by_key[key].reasons
    lines = closing_lines(summary)
    at = lines.index("verdicts: 1 scored; missing: 3 no transcript")
    assert lines[at + 1] == REMEDIES["no_transcript"] and "--transcriber funasr" in lines[at + 1]
    (note,) = (note for note in notes(collect_table([records])) if "Missing verdicts" in note)
    assert "no transcript 3" in note and note.endswith(REMEDIES["no_transcript"])


def test_a_judge_that_needs_words_is_not_asked(tmp_path: Path, scenarios: Path) -> None:
    assert run(tmp_path / "run", scenarios, "SaysNothingOfIt", ReadsWords()).missing == {"no_transcript": 4}


def test_a_turn_without_a_clip_is_another_matter(tmp_path: Path, scenarios: Path) -> None:
    summary = run(tmp_path / "run", scenarios, "Raises", Signals())
    assert summary.missing == {"incomplete_conversation": 4}
    assert not set(REMEDIES.values()) & set(closing_lines(summary))

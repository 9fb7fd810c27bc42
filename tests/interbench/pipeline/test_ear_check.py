"""A run with a transcriber that listens checks how well it does, on the users' own speech."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness_kit
import numpy as np
import pytest

from interbench.asr.base import Transcriber, Utterance
from interbench.base.progress import PlainProgress
from interbench.cli.commands import closing_lines
from interbench.domain.dimensions import MEASURES
from interbench.domain.records import Transcript
from interbench.judge.signals.judge import Signals
from interbench.media.pool import encode_audio
from interbench.pipeline.config import Settings
from interbench.pipeline.run import Summary, execute, make_plan
from interbench.report.collect import collect_report, collect_table, read_records


class Deaf(Transcriber):
    """Mishears every word but the first ``good`` ones of a user's turn."""

    label = "deaf"

    def __init__(self, good: int) -> None:
        self.good = good
        self.heard: list[str] = []

    def identity(self) -> Mapping[str, Any]:
        return {"deaf": self.good}

    def notes(self) -> Sequence[str]:
        return ["the model is not of the pinned revision"]

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        assert all(utterance.samples is not None for utterance in batch)
        self.heard += [utterance.key for utterance in batch]
        words = [(utterance.reported_text or "").split() for utterance in batch]
        return [Transcript(" ".join(w[: self.good] + ["mumble"] * (len(w) - self.good))) for w in words]


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    folder = harness_kit.write_set(tmp_path / "set", count=1, turns=2)
    record = json.loads((folder / "scenarios.jsonl").read_text())
    for index, turn in enumerate(record["turns"], start=1):
        samples = (0.3 * np.sin(np.arange(16_000) / 10)).astype(np.float32)
        encode_audio(samples, 16_000, folder / f"{index}.wav")
        turn["audio"] = f"{index}.wav"
    (folder / "scenarios.jsonl").write_text(json.dumps(record) + "\n")
    return folder


def run(tmp_path: Path, scenarios: Path, ear: Deaf) -> Summary:
    settings = Settings(out=tmp_path / "run", scenarios=str(scenarios), systems=("it=harness_kit:Good",))
    return asyncio.run(execute(make_plan(settings), transcriber=ear, judge=Signals(), progress=PlainProgress()))


def test_a_poor_ear_is_printed_stored_and_warned_of(tmp_path: Path, scenarios: Path) -> None:
    ear = Deaf(good=3)
    summary = run(tmp_path, scenarios, ear)
    # "Question 1 of conversation 1, please?": three of six words are right, in both turns.
    assert "50.0 % word errors on 2 user turns" in summary.ear and "WARNING" in summary.ear
    assert summary.ear in closing_lines(summary)
    stored = json.loads((tmp_path / "run" / "manifest.json").read_text())["ear_check"]
    assert stored["word_error_rate"] == 0.5 and stored["poor"] is True
    records = read_records(tmp_path / "run")
    report = collect_report(records, collect_table([records]))
    assert summary.ear in report.notes
    assert "transcriber: the model is not of the pinned revision" in closing_lines(summary)
    assert "Transcriber: the model is not of the pinned revision." in report.notes


def test_a_good_ear_is_checked_once(tmp_path: Path, scenarios: Path) -> None:
    ear = Deaf(good=100)
    assert "0.0 % word errors" in run(tmp_path, scenarios, ear).ear
    assert sum(key.startswith("user/") for key in ear.heard) == 2
    again = Deaf(good=100)
    assert "0.0 % word errors" in run(tmp_path, scenarios, again).ear
    assert again.heard == []


class Broken(Deaf):
    """Fails on what its ``broken`` names; as one that hears it."""

    def __init__(self, broken: str) -> None:
        super().__init__(good=100)
        self.broken = broken

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        if any(utterance.key.startswith(self.broken) for utterance in batch):
            raise RuntimeError("out of memory")
        return await super().transcribe(batch)


def failures(tmp_path: Path) -> list[str]:
    """Of the run's transcripts, by turn."""
    return [transcript.error or "" for transcript in read_records(tmp_path / "run").transcripts.values()]


def test_a_transcriber_that_breaks_leaves_gaps_that_the_next_run_fills(tmp_path: Path, scenarios: Path) -> None:
    first = run(tmp_path, scenarios, Broken("it/"))
    assert ["out of memory" in error for error in failures(tmp_path)] == [True, True]
    assert first.missing["no_transcript"] == 3 and not first.missing["incomplete_conversation"]
    second = run(tmp_path, scenarios, Broken("nothing"))
    assert failures(tmp_path) == ["", ""]
    assert second.verdicts == len(MEASURES) and not second.missing["no_transcript"]


def test_a_clip_that_can_not_be_heard_any_more_does_not_end_the_run(tmp_path: Path, scenarios: Path) -> None:
    run(tmp_path, scenarios, Broken("it/"))
    clip = next((tmp_path / "run").rglob("1.mp4"))
    whole = clip.read_bytes()
    clip.write_bytes(whole[:1000])
    run(tmp_path, scenarios, Broken("nothing"))
    assert ["is not the one that was recorded" in error for error in failures(tmp_path)] == [True, False]
    clip.write_bytes(whole)
    run(tmp_path, scenarios, Broken("nothing"))
    assert failures(tmp_path) == ["", ""]


def test_an_ear_that_failed_is_checked_again(tmp_path: Path, scenarios: Path) -> None:
    class Failing(Deaf):
        async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
            return [
                Transcript("", error="no server") if one.key == "user/test-001/2" else one_heard
                for one, one_heard in zip(batch, await super().transcribe(batch), strict=True)
            ]

    assert "1 of them without a transcript" in run(tmp_path, scenarios, Failing(good=100)).ear
    assert "0.0 % word errors" in run(tmp_path, scenarios, Deaf(good=100)).ear


def test_other_turns_are_checked_anew(tmp_path: Path, scenarios: Path) -> None:
    run(tmp_path, scenarios, Deaf(good=100))
    record = json.loads((scenarios / "scenarios.jsonl").read_text())
    (scenarios / "scenarios.jsonl").write_text(json.dumps({**record, "id": "test-999"}) + "\n")
    again = Deaf(good=100)
    run(tmp_path, scenarios, again)
    assert sum(key.startswith("user/test-999/") for key in again.heard) == 2

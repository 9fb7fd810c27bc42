"""A user who reacts: what is said after which answer, whose word it rests on, and that it is never chosen twice."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness_kit
import pytest
from harness_kit import ASKED, OWN

from interbench.asr.base import Transcriber, Utterance
from interbench.asr.given import Given
from interbench.base.progress import PlainProgress
from interbench.domain.guards import Chosen
from interbench.domain.records import Exchange, Transcript
from interbench.judge.base import Judge
from interbench.pipeline.config import Settings
from interbench.pipeline.run import Stage, execute, make_plan
from interbench.report.lines import different_lines, line_use
from interbench.store.played import played
from interbench.store.run_folder import Key, Run


class NoJudge(Judge):
    label = "none"

    def identity(self) -> dict[str, Any]:
        return {}

    def judge(self, conversation: Any, tasks: Any) -> Any:
        raise AssertionError("nothing is judged here")


class Ear(Transcriber):
    """Hears the same words in every clip."""

    label = "ear"

    def __init__(self, words: str) -> None:
        self._words = words

    def identity(self) -> Mapping[str, Any]:
        return {"ear": self._words}

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        return [Transcript(self._words) for _ in batch]


@pytest.fixture
def reacting(tmp_path: Path) -> Path:
    return harness_kit.write_reacting_set(tmp_path / "set")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return harness_kit.write_clip(tmp_path / "film.mp4")


def drive(
    tmp_path: Path,
    film: Path,
    systems: Mapping[str, Mapping[str, Any]],
    *,
    transcriber: Transcriber | None = None,
    kind: str = "Says",
) -> dict[str, list[Exchange]]:
    """Drive systems of the kit; gives their exchanges by label."""
    stages: tuple[Stage, ...] = ("drive",) if transcriber is None else ("drive", "transcribe")
    settings = Settings(
        out=tmp_path / "run",
        scenarios=str(tmp_path / "set"),
        systems=tuple(f"{label}=harness_kit:{kind}" for label in systems),
        system={
            label: options if kind != "Says" else {"film": str(film), **options} for label, options in systems.items()
        },
        deadline_s=120.0,
    )
    asyncio.run(
        execute(
            make_plan(settings),
            transcriber=transcriber or Given(),
            judge=NoJudge(),
            progress=PlainProgress(),
            stages=stages,
        )
    )
    with Run(tmp_path / "run", write=False) as run:
        return {label: run.exchanges(label) for label in systems}


def chosen(exchanges: Sequence[Exchange]) -> list[Chosen]:
    return [Chosen(e.variant, e.guard, e.line_source) for e in exchanges]


def heard(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_the_line_follows_from_what_the_system_reports(reacting: Path, film: Path, tmp_path: Path) -> None:
    answers = {"asks": "How did you come here?", "refuses": "I'd rather not say.", "tells": "It runs north."}
    logs = {label: tmp_path / f"{label}.log" for label in answers}
    found = drive(
        tmp_path, film, {label: {"words": words, "log": str(logs[label])} for label, words in answers.items()}
    )
    assert chosen(found["asks"]) == [Chosen(), *[Chosen(1, "asks a question", "reported")] * 2]
    assert chosen(found["refuses"]) == [Chosen(), *[Chosen(2, "refuses", "reported")] * 2]
    assert chosen(found["tells"]) == [Chosen(), *[Chosen(0, "", "reported")] * 2]
    turns = heard(logs["asks"])
    assert [turn["text"] for turn in turns[1:]] == [ASKED, ASKED]
    assert [turn["mood"] for turn in turns] == ["curious", "eager", "eager"]
    assert turns[2]["history"] == [turns[0]["text"], ASKED]
    assert [turn["text"] for turn in heard(logs["tells"])[1:]] == [OWN, OWN]
    # What is kept as Opus is handed over as WAV, each line as itself; nothing of it is left behind.
    assert {turn["audio"][:4] for log in logs.values() for turn in heard(log)} == {"RIFF"}
    assert len({Path(turn["path"]).name for log in logs.values() for turn in heard(log)}) == 3
    assert not list((tmp_path / "run").rglob("*.wav"))
    with Run(tmp_path / "run", write=False) as run:
        (planned,) = run.planned_scenarios()
        conversation = played(run, planned.scenario, "asks", "nobody", "nobody")
        exchanges = run.exchanges()
        assert conversation is not None
        assert [turn.user_text for turn in conversation.turns[1:]] == [ASKED, ASKED]
        assert conversation.turns[1].user_mood == "eager"
    assert {name: (use.turns, use.fallbacks) for name, use in line_use([planned], exchanges).items()} == {
        "asks": (2, 0),
        "refuses": (2, 0),
        "tells": (2, 2),
    }
    assert different_lines([planned], exchanges, "asks", "tells") == (2, 3)
    assert different_lines([planned], exchanges, "tells", "tells") == (0, 0)


def test_what_is_not_reported_is_transcribed_and_what_nobody_knows_is_not_guessed(
    reacting: Path, film: Path, tmp_path: Path
) -> None:
    silent = {"it": {"words": "How did you come here?", "reports": False}}
    unknown = drive(tmp_path, film, silent)["it"]
    assert chosen(unknown) == [Chosen()] * 3
    with Run(tmp_path / "run", write=True) as run:
        run.discard("it", "test-001")
    known = drive(tmp_path, film, silent, transcriber=Ear("so how did you come here"))["it"]
    assert chosen(known) == [Chosen(), *[Chosen(1, "asks a question", "transcribed")] * 2]


def test_a_line_that_was_said_stays_said(reacting: Path, film: Path, tmp_path: Path) -> None:
    """Whoever goes on after an interruption tells the system what the user did say, not what they would say now."""
    log = tmp_path / "it.log"
    options = {"it": {"words": "How did you come here?", "log": str(log)}}
    first, second, _ = drive(tmp_path, film, options)["it"]
    with Run(tmp_path / "run", write=True) as run:
        run.discard("it", "test-001", from_turn=3)
        run.record(dataclasses.replace(first, reply_text="It runs north."))
        run.record(second)
    log.write_text("")
    again = drive(tmp_path, film, options)["it"]
    assert [exchange.variant for exchange in again] == [0, 1, 1]
    (turn,) = heard(log)
    assert turn["history"][1] == ASKED


def test_a_job_that_is_taken_up_keeps_its_line(reacting: Path, film: Path, tmp_path: Path) -> None:
    options = {"it": {"log": str(tmp_path / "jobs.log")}}
    drive(tmp_path, film, options, kind="Jobs")
    line = Chosen(2, "refuses", "transcribed")
    with Run(tmp_path / "run", write=True) as run:
        run.discard("it", "test-001", from_turn=2)
        run.submitted(Key("it", "test-001", 2), "job-1", {"line": dataclasses.asdict(line)})
    found = drive(tmp_path, film, options, kind="Jobs")["it"]
    assert chosen(found) == [Chosen(), line, Chosen()]
    assert found[1].timings is not None and found[1].timings.resumed
    assert "resume job-1" in (tmp_path / "jobs.log").read_text()

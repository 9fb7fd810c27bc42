"""Turns of systems that listen and speak in real time: whose clock starts where, what is counted, who interrupts."""

from __future__ import annotations

import asyncio
import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import realtime_kit
from pydantic import ValidationError

from interbench.asr.given import Given
from interbench.base.progress import PlainProgress
from interbench.domain.incidents import Incident, IncidentKind, kept_incidents
from interbench.domain.records import Exchange, Outcome
from interbench.domain.scenario import Scenario
from interbench.drive.live import MOST_INCIDENTS, keep_incident
from interbench.judge.signals.judge import Signals
from interbench.pipeline.config import Settings
from interbench.pipeline.run import execute, make_plan
from interbench.report.collect import collect_report, collect_table
from interbench.report.html import write_report
from interbench.report.incidents import live_notes, live_rows
from interbench.report.run_records import read_records

KIT = "realtime_kit"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both systems over the conversation in which turn 2 interrupts the first answer, judged."""
    folder = tmp_path_factory.mktemp("live")
    chosen = Settings(
        out=folder / "run",
        scenarios=str(realtime_kit.write_interrupted_set(folder / "set")),
        systems=(f"attentive={KIT}:Attentive", f"unstoppable={KIT}:Unstoppable"),
    )
    asyncio.run(execute(make_plan(chosen), transcriber=Given(), judge=Signals(), progress=PlainProgress()))
    return folder / "run"


@pytest.fixture(scope="module")
def exchanges(run: Path) -> Mapping[tuple[str, int], Exchange]:
    return {(exchange.system, exchange.turn): exchange for exchange in read_records(run).exchanges}


def test_the_clock_starts_at_the_end_of_the_users_line(exchanges: Mapping[tuple[str, int], Exchange]) -> None:
    first = exchanges["attentive", 1]
    assert first.timings is not None and first.facts is not None
    kinds = [kind for _, kind, _ in first.events]
    assert kinds.index("progress") < kinds.index("user_turn_end") < kinds.index("first_sound")
    at = {kind: seconds for seconds, kind, _ in first.events}
    assert at["progress"] <= 0 == at["user_turn_end"]
    assert first.timings.first_speech_s == pytest.approx(at["first_sound"], abs=1e-5)
    assert first.timings.continuous
    assert first.facts.speech_start_s == pytest.approx(0.2, abs=0.1)
    assert first.timings.first_speech_s is not None
    assert first.timings.complete_s >= first.timings.first_speech_s
    second = exchanges["attentive", 2]
    assert second.timings is not None and second.facts is not None and second.facts.speech_start_s is not None
    # That line was over a quarter of a second before the harness was told.
    heard = next(seconds for seconds, kind, _ in second.events if kind == "first_sound")
    assert heard >= 0.25 and second.timings.first_speech_s == pytest.approx(heard, abs=1e-5)
    assert second.timings.first_frame_s == pytest.approx(max(0.0, heard - second.facts.speech_start_s), abs=1e-5)


def test_incidents_and_interruptions_are_kept(exchanges: Mapping[tuple[str, int], Exchange]) -> None:
    first, second, third = (exchanges["attentive", turn] for turn in (1, 2, 3))
    assert first.incidents == (
        Incident(IncidentKind.FREEZE, 0.3, 0.5),
        Incident(IncidentKind.FREEZE, 1.3, 0.7, "until the end"),
    )
    assert first.barge_in == {} and second.barge_in["time_to_silence_s"] == 0.3
    assert third.outcome is Outcome.TIMED_OUT and [i.kind for i in third.incidents] == [IncidentKind.NO_ANSWER]
    refused = exchanges["unstoppable", 2].barge_in
    assert refused["done"] is False and "can't be interrupted" in refused["why"]


def test_the_report_counts_them(run: Path, exchanges: Mapping[tuple[str, int], Exchange], tmp_path: Path) -> None:
    rows = {row.system: row for row in live_rows(exchanges.values())}
    row = rows["attentive"]
    freezes = row.counts[IncidentKind.FREEZE]
    assert (row.turns, row.troubled) == (3, 3)
    assert (freezes.turns, freezes.times) == (2, 4) and freezes.seconds == pytest.approx(2.4)
    assert (row.interruptions.wanted, row.interruptions.done, row.interruptions.time_to_silence_s) == (1, 1, 0.3)
    assert (rows["unstoppable"].interruptions.wanted, rows["unstoppable"].interruptions.done) == (1, 0)
    said = " ".join(live_notes(exchanges.values()))
    assert "attentive: 3 of 3 turns with incidents" in said and "0 of 1 interruptions took place" in said

    records = read_records(run)
    table = collect_table([records])
    data = collect_report(records, table)
    page = write_report(data, tmp_path / "report", media_root=run).read_text()
    assert "Interruptions planned" in page and "Silence after interruption" not in page
    with (tmp_path / "report/incidents.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert sum(line["kind"] == "freeze" for line in lines) == 8
    assert {line["note"] for line in lines if line["kind"] == "interruption"} == {"The answer"}
    speed = next(of.speed for of in table.rows if of.system == "attentive")
    assert speed.latency_s is None and speed.continuous == 2 and speed.first_speech_s is not None
    assert any("never stops" in note for note in [*data.notes, *page.split("\n")])


def test_a_line_that_interrupts_has_to_be_a_later_one_and_the_only_one() -> None:
    turn: dict[str, Any] = {"text": "And?", "mood": "calm", "reply": "Yes."}
    facts = {"id": "a", "category": "b", "title": "c", "persona": "d"}
    plain = Scenario(**facts, turns=[turn, turn])
    assert Scenario(**facts, turns=[turn, {**turn, "barge_in_s": 1}]).digest() != plain.digest()
    assert Scenario(**facts, turns=[turn, {**turn, "barge_in_s": None}]).digest() == plain.digest()
    with pytest.raises(ValidationError, match="no answer before the first turn to speak into"):
        Scenario(**facts, turns=[{**turn, "barge_in_s": 1}, turn])
    reacting = {**turn, "barge_in_s": 1, "variants": [{"when": {"asks": True}, "text": "Me?"}]}
    with pytest.raises(ValidationError, match="can't depend on it"):
        Scenario(**facts, turns=[turn, reacting])


def test_incidents_without_end_stay_few() -> None:
    kept: list[Incident] = []
    for _ in range(MOST_INCIDENTS + 40):
        keep_incident(kept, Incident(IncidentKind.FREEZE, 1.0))
    assert len(kept) == MOST_INCIDENTS and kept[-1].note == "40 more like it"


def test_what_no_version_has_written_is_no_incident() -> None:
    odd = [{"kind": "alien"}, "freeze", None, {"kind": "freeze", "at_s": math.nan, "seconds": -1}]
    assert kept_incidents({"incidents": odd}) == (Incident(IncidentKind.FREEZE),)
    assert kept_incidents({"incidents": "freeze"}) == kept_incidents({}) == ()
    assert kept_incidents(json.loads(json.dumps({"incidents": [Incident(IncidentKind.FREEZE, 2).kept()]})))[0].at_s == 2

"""The verb from end to end: a small run of the drawn person, the offline judge, and everything that may go wrong."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import warm
from audit_kit import Quiet, judged_by, played_run
from foreign_clips import write_pattern
from known import known
from typer.testing import CliRunner

from interbench.audit import conduct
from interbench.audit.base import read_base
from interbench.audit.build import Builder
from interbench.audit.collect import collect
from interbench.audit.conditions import make_conditions
from interbench.audit.families import favours, read_opinions
from interbench.audit.plan import Options
from interbench.audit.takes import Material
from interbench.audit.verdicts import State, Validity
from interbench.base.errors import IncomparableError, StoreError, UsageError
from interbench.cli.main import app
from interbench.domain import catalogue as domain_catalogue
from interbench.domain.catalogue import bundled, read_catalogue
from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.judge.registry import make_judge
from interbench.media.pool import MediaPool
from interbench.pipeline.config import Settings
from interbench.store.run_folder import Run

SIX = 6


def options(**more: Any) -> Options:
    asked = {"scenarios": SIX, "repeats": None, "only": (), "quick": True, "seed": 0, "system": None, **more}
    return Options.make(**asked)


def hold(run: Path, out: Path, catalogue: Any = None, **more: Any) -> Any:
    settings = Settings(out=out, transcriber="given", judge="signals")
    judge = make_judge("signals", {})
    trial = conduct.conduct(run, out, catalogue or bundled(), judge, options(**more), settings, Quiet())
    return asyncio.run(trial)


def interbench(*argv: Any) -> Any:
    return CliRunner().invoke(app, ["audit", *map(str, argv)])


@pytest.fixture(scope="module")
def held(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An audit of the small run by the offline judge."""
    out = tmp_path_factory.mktemp("audit") / "audit"
    trial = hold(small_run, out)
    return out, trial


def test_the_offline_judge_notices_what_it_is_made_for(held: tuple[Path, Any]) -> None:
    result = collect(held[0], bundled())
    assert {of.key: of.validity for of in result.matrix.dimensions if of.key in DIMENSION_KEYS} == dict.fromkeys(
        DIMENSION_KEYS, Validity.NOT_SCORED
    )
    aimed = {(c.condition, c.key): c.state for c in result.matrix.cells if c.aimed}
    for condition, key in (
        ("identity-swap@3", "look"),
        ("grade-shift@3", "look"),
        ("partial@3", "kp-recall"),
        ("vague@3", "kp-recall"),
        ("evasion@3", "lexical"),
        ("answer-another@3", "lexical"),
    ):
        assert aimed[condition, key] is State.DETECTED, (condition, key)
    assert {c.state for c in result.matrix.cells if c.condition == "evasion@3" and c.key == "look"} == {State.CLEAN}
    assert result.blinding.compared > 0 and result.blinding.different == 0
    assert {v.key: v.verdict for v in result.verbosity} == dict.fromkeys(("kp-recall", "lexical"), Validity.PASS)
    assert "not testable with one judge" in result.family.says


def test_an_audit_is_a_run(held: tuple[Path, Any], small_run: Path) -> None:
    out, trial = held
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["audit"]["catalogue"]["sha256"] == bundled().sha256
    assert manifest["audit"]["measured"]["grade-shift@3"]["mean"] == pytest.approx(20, rel=0.2)
    with Run(out, write=False) as run, Run(small_run, write=False) as source:
        base = {(e.scenario, e.turn): e for e in source.exchanges("puppet")}
        linked = run.exchanges("puppet~evasion@3")
        assert linked and all(e.facts == base[e.scenario, e.turn].facts for e in linked)
        assert any(e.detail["edit"]["lips_follow_words"] is False for e in linked)
        one = linked[0]
        assert (run.path / known(one.clip)).stat().st_nlink > 1, "a hard link, that keeps its bytes and its digest"
        shammed = {known(e.facts).sha256 for e in run.exchanges("puppet~sham")}
        swapped = {known(e.facts).sha256 in shammed for e in run.exchanges("puppet~identity-swap@3")}
        assert swapped == {True, False}, "what is not touched is the control's file"
        assert not run.clip_problems(run.exchanges())
    assert trial.built.encoded > 0 and trial.built.unfit.keys() <= {c.name for c in trial.conditions}
    table = CliRunner().invoke(app, ["table", str(out), "--format", "csv"])
    assert table.exit_code == 0 and "puppet~partial@3" in table.stdout


def test_the_verb_writes_what_it_found_and_requires(held: tuple[Path, Any]) -> None:
    out, _ = held
    told = interbench(out, "--report")
    assert told.exit_code == 0, told.output
    assert "look" in told.stdout and "not scored by this judge" in told.stdout
    result = json.loads((out / "audit.json").read_text())
    assert result["schema"] == "interbench.audit/1" and len(result["cells"]) > 20
    assert {f["key"] for f in result["floor"]} == {"kp-recall", "kp-memory", "lexical", "look"}
    rows = list(csv.DictReader((out / "matrix.csv").read_text().splitlines()))
    assert {row["state"] for row in rows} >= {"detected", "clean"}
    page = (out / "audit.html").read_text()
    assert "Content-Security-Policy" in page and "identity-swap@3" in page and 'src="http' not in page
    # A second reading of the same ledger says the same.
    first = (out / "audit.json").read_bytes()
    assert interbench(out, "--report", "--require", "kp-recall").exit_code == 0
    assert (out / "audit.json").read_bytes() == first
    failed = interbench(out, "--report", "--require", "EA")
    assert failed.exit_code == 1 and "EA (not scored)" in str(failed.exception)
    assert failed.exception.exit_code == 3


def test_nothing_is_done_twice(held: tuple[Path, Any], small_run: Path) -> None:
    out, _ = held
    before = sqlite3.connect(out / "ledger.sqlite").execute("SELECT count(*) FROM verdicts").fetchone()
    again = hold(small_run, out)
    assert again.built.encoded == 0
    assert sqlite3.connect(out / "ledger.sqlite").execute("SELECT count(*) FROM verdicts").fetchone() == before


def exchanges(ledger: Path) -> int:
    try:
        with sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=30) as db:
            return int(db.execute("SELECT count(*) FROM exchanges").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_killed_among_the_edits_it_goes_on(small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    command = [sys.executable, "-m", "interbench", "audit", str(small_run), "--quick", "--scenarios", "2", "-q"]
    command += ["--only", "look", "--out", str(out)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while exchanges(out / "ledger.sqlite") < 20 and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert first.returncode == -signal.SIGKILL
    before = exchanges(out / "ledger.sqlite")
    done = warm.interbench(*command[3:])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "look" in done.stdout
    with Run(out, write=False) as run:
        every = run.exchanges()
        assert len(every) > before >= 20
        assert not run.clip_problems(every)
    assert not list((out / "work").iterdir())


def test_a_plan_counts_and_does_nothing(small_run: Path, tmp_path: Path) -> None:
    told = interbench(small_run, "--plan", "--quick", "--scenarios", "6", "--out", tmp_path / "x")
    assert told.exit_code == 0 and told.stdout.startswith("With 6 scenarios")
    assert "verdicts" in told.stdout and "x judgements" in told.stdout
    assert not (tmp_path / "x").exists()


def test_a_changed_catalogue_is_refused_by_name(held: tuple[Path, Any], small_run: Path, tmp_path: Path) -> None:
    told = json.loads((Path(domain_catalogue.__file__).with_name("catalogue.json")).read_text())
    next(e for e in told["entries"] if e["name"] == "evasion")["strengths"] = [0.2, 0.5, 1.0]
    (tmp_path / "c.json").write_text(json.dumps(told))
    with pytest.raises(IncomparableError, match=r"\(evasion\)"):
        hold(small_run, held[0], read_catalogue(tmp_path / "c.json"))
    with pytest.raises(IncomparableError, match="seed"):
        hold(small_run, held[0], seed=3)


def test_an_edit_that_misses_its_aim_stops(small_run: Path, tmp_path: Path) -> None:
    told = json.loads((Path(domain_catalogue.__file__).with_name("catalogue.json")).read_text())
    entry = next(e for e in told["entries"] if e["name"] == "grade-shift")
    # More than sRGB reaches: the colours end at its edge, and the result is less than it says.
    entry["strengths"] = [5, 10, 90]
    (tmp_path / "c.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match="the catalogue lies"):
        hold(small_run, tmp_path / "audit", read_catalogue(tmp_path / "c.json"), only=("look",), scenarios=2)


def test_what_a_clip_leaves_no_room_for_is_refused_and_named(people: tuple[Path, ...], tmp_path: Path) -> None:
    """One person stands still: what is done to motion is refused in that conversation, and made in the others."""
    even = [n / 10 for n in range(20)]
    still = write_pattern(tmp_path / "still.mp4", "smptebars=size=256x256:rate=10", even, sound="")
    run, out = tmp_path / "run", tmp_path / "audit"
    two = ("science-blue-sky", "correction-pancakes", "talk-pottery-hobby")
    asyncio.run(played_run(run, (people[0], still), scenarios=two, systems=("puppet",)))
    with Run(run, write=False) as source:
        stood = {e.scenario for e in source.exchanges("puppet") if not known(e.facts).has_audio}
    assert stood and len(stood) < len(two)
    material = Material(read_base(run).conversations, {}, 8.0, 256)
    catalogue = bundled()
    conditions = [
        c
        for c in make_conditions(catalogue, DIMENSION_KEYS, quick=True, played=False)
        if c.name in ("base", "sham", "freeze@3", "grade-shift@3")
    ]

    async def build() -> None:
        async with MediaPool(2) as media:
            with Run(out, write=True) as target:
                built = await Builder(target, "puppet", catalogue, material, media).build(conditions, Quiet())
                assert {line.split(":")[0] for line in built.refused["freeze@3"]} == stood
                assert "nothing moves" in built.refused["freeze@3"][0]
                assert set(built.planned["freeze@3"]) == set(two) - stood
                frozen = {e.scenario for e in target.exchanges("puppet~freeze@3")}
                assert frozen == set(two) - stood, "whole, or not there"
                again = await Builder(target, "puppet", catalogue, material, media).build(conditions, Quiet())
                assert again.refused == built.refused and not again.encoded

    asyncio.run(build())


def test_bad_input_is_named(small_run: Path, people: tuple[Path, ...], tmp_path: Path) -> None:
    def refused(*argv: Any) -> str:
        told = interbench(*argv, "--out", tmp_path / "out")
        assert told.exit_code != 0 and told.exception is not None
        return str(told.exception)

    assert "is not a run folder" in refused(tmp_path / "nowhere")
    assert "has no system 'sora'" in refused(small_run, "--system", "sora")
    assert "No defect aims at anything" in refused(small_run, "--only", "EA", "--quick")
    assert "'XX' is not a dimension" in refused(small_run, "--only", "XX")
    assert "1 scenario or more" in refused(small_run, "--scenarios", "0")
    broken = tmp_path / "broken"
    shutil.copytree(small_run, broken)
    clip = next((broken / "media" / "puppet").glob("*/1.mp4"))
    clip.write_bytes(b"other")
    assert "is not the one that was recorded" in refused(broken, "--quick")
    clip.unlink()
    assert "no longer there" in refused(broken, "--quick")
    unheard = tmp_path / "unheard"
    shutil.copytree(small_run, unheard)
    with sqlite3.connect(unheard / "ledger.sqlite") as ledger:
        ledger.execute("DELETE FROM transcripts")
    assert "interbench transcribe" in refused(unheard, "--quick")
    spoilt = tmp_path / "spoilt"
    asyncio.run(played_run(spoilt, people, scenarios=("science-blue-sky",), systems=("puppet:blank",)))
    assert "shows no further defect" in refused(spoilt, "--quick")
    assert "holds a run that is no audit" in str(interbench(small_run, "--quick", "--out", spoilt).exception)
    assert "is no audit" in str(interbench(small_run, "--report").exception)
    assert "folder of its own" in str(interbench(small_run, "--out", small_run).exception)


def test_a_full_disk_is_told_before_anything_is_encoded(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(StoreError, match="GB are free"):
        hold(small_run, tmp_path / "audit", only=("look",))
    assert not list((tmp_path / "audit" / "media").glob("*/*"))


def test_what_the_base_has_not_played_is_named_where_it_can_not_be_played(small_run: Path, tmp_path: Path) -> None:
    """Another system than the puppet is not asked to play more: its audit has what there is, and says so first."""
    other = tmp_path / "other"
    shutil.copytree(small_run, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["systems"]["puppet"]["spec"] = "my_system:Mine"
    (other / "manifest.json").write_text(json.dumps(manifest))
    told = interbench(other, "--plan", "--quick", "--system", "puppet", "--out", tmp_path / "x")
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith("With 6 scenarios") and "scenarios   6\n" in told.stdout


def test_a_run_that_two_judges_have_judged(small_run: Path, tmp_path: Path) -> None:
    run = judged_by(
        small_run,
        tmp_path / "run",
        families={"puppet": "qwen2.5-omni", "puppet:blank": "gpt-realtime"},
        scores={"Qwen3-VL-30B": {"puppet": 8, "puppet:blank": 6}, "gpt-4o": {"puppet": 7, "puppet:blank": 7}},
    )
    told = known(read_opinions(run))
    assert set(told.judges) == set(told.systems) == {"qwen", "gpt"}
    of = {found.key: found for found in favours(told)}
    assert of["EA"].points == pytest.approx(2) and of["EA"].says == "favoured" and of["EA"].scenarios == 6
    assert read_opinions(tmp_path / "nowhere") is None and read_opinions(small_run) is None


@pytest.mark.soak
def test_every_condition_of_the_catalogue_can_be_made(small_run: Path, tmp_path: Path) -> None:
    """A whole audit's conditions of two conversations, with those that the puppet plays itself."""
    trial = hold(small_run, tmp_path / "audit", quick=False, scenarios=2)
    made = {name for name, of in trial.built.planned.items() if of}
    # Moods that are opposite to one another are not in every conversation, and the clips are short.
    unfit = {f"{name}@{n}" for name in ("mood-cut", "mood-transplant", "loop") for n in (1, 2, 3)}
    assert {c.name for c in trial.conditions} - made <= unfit
    assert {name for name in made if name.startswith(("stare", "gaze", "drift", "stranger", "flat", "wrong"))}
    result = collect(tmp_path / "audit", bundled())
    assert Validity.PASS not in {of.validity for of in result.matrix.dimensions}
    assert {c.state for c in result.matrix.cells} <= {State.NOT_TESTED}
    # Repeated, and once more with nothing remembered: the offline judge says the same.
    assert {of.judgements for of in result.repeatability} == {5}
    assert {of.difference for of in result.cold if of.scenarios} == {0.0}

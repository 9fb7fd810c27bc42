"""Shards of a plan, played apart and merged, are the run that was not divided: figure by figure, or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import harness_kit
import pytest
from typer.testing import CliRunner

from interbench.asr.base import Transcriber, Utterance
from interbench.base.errors import IncomparableError, RunLockedError, StoreError, UsageError
from interbench.base.progress import PlainProgress
from interbench.cli.main import app
from interbench.domain.records import Transcript
from interbench.judge.signals.judge import Signals
from interbench.pipeline.config import Settings
from interbench.pipeline.merge import merge_runs
from interbench.pipeline.run import Summary, execute, make_plan, resume_plan
from interbench.pipeline.shards import divide, parse_shard
from interbench.report.collect import collect_report, collect_table, read_records, speeds
from interbench.report.scores_file import scores_csv
from interbench.report.tables import Table, to_json
from interbench.store.run_folder import Run

SHARDS = 3


class Ear(Transcriber):
    """Hears what was said, but for the last word of what users say in conversations of an even number."""

    label = "ear"

    def identity(self) -> Mapping[str, Any]:
        return {"ear": 1}

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        found = []
        for utterance in batch:
            words = (utterance.reported_text or "").split()
            even = utterance.key.startswith("user/") and int(utterance.key.split("/")[1][-1]) % 2 == 0
            found.append(Transcript(" ".join(words[:-1] if even else words)))
        return found


def write_set(folder: Path) -> Path:
    """Three short conversations, the second of two turns, whose users speak."""
    harness_kit.write_set(folder, count=SHARDS, turns=2)
    told = [json.loads(line) for line in (folder / "scenarios.jsonl").read_text().splitlines()]
    harness_kit.write_tone(folder / "user.wav")
    for index, scenario in enumerate(told, start=1):
        scenario["turns"] = scenario["turns"][: 2 if index == 2 else 1]
        for number, turn in enumerate(scenario["turns"], start=1):
            turn["reply"] = ["Blue.", "Blue, north.", "North it is."][(index + number) % 3]
            turn["audio"] = "user.wav"
    (folder / "scenarios.jsonl").write_text("".join(json.dumps(scenario) + "\n" for scenario in told))
    return folder


def play(tree: Path, out: str, shard: str | None, **changes: Any) -> Summary:
    told = {
        "out": tree / out,
        "scenarios": str(tree / "set"),
        "systems": ("puppet", "it=harness_kit:Good", "paid=harness_kit:Jobs"),
        "system": {"puppet": {"workers": 1}, "paid": {"log": str(tree / f"{out}.log")}},
        "shard": shard,
        "concurrency": 1,
        **changes,
    }
    plan = make_plan(Settings.model_validate(told))
    return asyncio.run(execute(plan, transcriber=Ear(), judge=Signals(), progress=PlainProgress()))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plan played whole, and in shards; every test that changes one of them takes a copy."""
    tree = tmp_path_factory.mktemp("shards")
    write_set(tree / "set")
    play(tree, "whole", None)
    for number in range(1, SHARDS + 1):
        play(tree, f"shard-{number}", f"{number}/{SHARDS}")
    return tree


@pytest.fixture
def shards(tree: Path) -> list[Path]:
    return [tree / f"shard-{number}" for number in range(1, SHARDS + 1)]


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def figures(folder: Path) -> dict[str, Any]:
    """All of a run that does not depend on when and where it was played."""
    records = read_records(folder)
    table = collect_table([records], replicates=50)
    report = collect_report(records, table)
    told = manifest(folder)
    return {
        "table": timeless(table),
        "scores": scores_csv([records]),
        "report": [
            getattr(report, name)
            for name in ("comparisons", "usage", "notes", "judge", "transcriber", "scenario_set", "scenario_digest")
        ],
        "scenarios": [(played.scenario, played.persona) for played in report.scenarios],
        "breakdowns": [
            (one.by, dict(one.scenarios), {kind: timeless(part) for kind, part in one.parts.items()})
            for one in report.breakdowns
        ],
        "systems": [dataclasses.replace(system, media_root=None) for system in report.systems],
        "conversations": [
            (
                one.system,
                one.scenario,
                one.verdicts,
                one.transcripts,
                [(e.turn, e.outcome, e.clip, e.facts and e.facts.sha256, e.reply_text) for e in one.exchanges],
            )
            for one in report.conversations
        ],
        "spending": sorted(map(str, records.spending)),
        "manifest": {
            name: told[name]
            for name in (
                *("frozen", "scenarios", "personas", "plan", "systems", "prompts", "scenario_sets"),
                *("judge", "transcriber", "ear_check"),
            )
        },
    }


def timeless(table: Table) -> dict[str, Any]:
    """A table but for what the clock said."""
    shown = to_json(table)
    for row in shown["systems"]:
        for name in ("fps", "latency_s", "first_speech_s"):
            del row[name]
    return shown


def tree_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("turns", [[3], [1, 2, 3, 4], [2, 6, 4, 4, 2, 5, 3] * 9, [4] * 100])
def test_shards_are_disjoint_complete_and_balanced(turns: list[int]) -> None:
    for count in range(1, min(len(turns), 17) + 1):
        shards = divide(turns, count)
        assert set(shards) == set(range(1, count + 1)) and len(shards) == len(turns)
        load = [sum(t for t, shard in zip(turns, shards, strict=True) if shard == number) for number in set(shards)]
        assert max(load) - min(load) <= max(turns)
        assert divide(turns, count) == shards


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "1/3/5", "-1/3", "", "٣/٣"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="from 1/8 to 8/8"):
        parse_shard(text)


def test_more_shards_than_scenarios_are_refused_before_anything_is_played(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There are 6 shards and 3 scenarios.*at most 3"):
        play(tree, "none", "1/6")
    assert not (tree / "none").exists()


def test_every_shard_says_what_it_is_of(tree: Path, shards: list[Path]) -> None:
    told = [manifest(shard) for shard in shards]
    plans = [one["plan"]["puppet"] for one in told]
    assert sorted(scenario for plan in plans for scenario in plan) == sorted(manifest(tree / "whole")["plan"]["puppet"])
    assert [one["shard"]["numbers"] for one in told] == [[1], [2], [3]]
    assert {tuple(one["shard"]["scenarios"]) for one in told} == {tuple(manifest(tree / "whole")["plan"]["puppet"])}
    assert plans == [["test-002"], ["test-001"], ["test-003"]], "the longest first"


def test_a_shard_stays_the_shard_that_it_is(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree / "set", tmp_path / "set")
    shutil.copytree(tree / "shard-1", tmp_path / "out")
    for other in ("2/3", "1/2", None):
        with pytest.raises(IncomparableError, match="setting 'shard' was"):
            play(tmp_path, "out", other)
    # Later stages take its folder, and need not be told.
    before = manifest(tmp_path / "out")
    plan = resume_plan(tmp_path / "out", None, {"repeats": 2})
    judged = execute(plan, transcriber=Ear(), judge=Signals(), progress=PlainProgress(), stages=("transcribe", "judge"))
    assert asyncio.run(judged).verdicts > 0
    assert {name: manifest(tmp_path / "out")[name] for name in ("shard", "frozen", "plan")} == {
        name: before[name] for name in ("shard", "frozen", "plan")
    }


def test_merged_shards_are_the_run_that_was_not_divided(tree: Path, shards: list[Path], tmp_path: Path) -> None:
    made = merge_runs(shards, tmp_path / "merged")
    assert (made.sharding.numbers, made.unfinished) == ((1, 2, 3), ())
    assert figures(tmp_path / "merged") == figures(tree / "whole")
    records = [read_records(folder) for folder in (tmp_path / "merged", *shards)]
    assert speeds(records[0].exchanges) == speeds([e for one in records[1:] for e in one.exchanges])
    assert sum(spend.usd or 0 for spend in records[0].spending) == pytest.approx(
        sum(spend.usd or 0 for one in records[1:] for spend in one.spending)
    )
    assert [planned.scenario.id for planned in records[0].planned_scenarios] == ["test-001", "test-002", "test-003"]
    # No byte of a clip is there twice.
    clip = next(exchange.clip for exchange in records[0].exchanges if exchange.clip)
    assert (tmp_path / "merged" / clip).stat().st_nlink == 2
    # In whatever order they are named, and once however often.
    merge_runs([*reversed(shards), shards[1]], tmp_path / "again")
    assert figures(tmp_path / "again") == figures(tmp_path / "merged")
    assert tree_of(tmp_path / "again") == tree_of(tmp_path / "merged")
    one, other = manifest(tmp_path / "merged"), manifest(tmp_path / "again")
    assert one.pop("run_id") != other.pop("run_id")
    assert one == other


def test_a_merged_run_is_gone_on_with_and_has_nothing_left_to_do(
    tree: Path, shards: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(tree / "set", tmp_path / "set")
    merge_runs(shards, tmp_path / "out")
    before = figures(tmp_path / "out")
    assert not play(tmp_path, "out", None).did_something
    assert figures(tmp_path / "out") == before
    assert not (tmp_path / "out.log").exists(), "a paid service was asked again"


def test_the_same_merge_again_changes_nothing(shards: list[Path], tmp_path: Path) -> None:
    merge_runs(shards, tmp_path / "out")
    held = (tmp_path / "out" / "manifest.json").read_bytes()
    assert merge_runs(shards, tmp_path / "out").before
    assert (tmp_path / "out" / "manifest.json").read_bytes() == held
    # The whole of it with a part of it is the whole of it.
    merge_runs([shards[2], tmp_path / "out"], tmp_path / "more")
    assert figures(tmp_path / "more") == figures(tmp_path / "out")
    with pytest.raises(StoreError, match="is there and not empty"):
        merge_runs(shards[:1], tmp_path / "out", partial=True)
    # What was merged in part is no answer to who asks for all of it.
    merge_runs(shards[:1], tmp_path / "part", partial=True)
    assert merge_runs(shards[:1], tmp_path / "part", partial=True).before
    with pytest.raises(StoreError, match="not whole"):
        merge_runs(shards[:1], tmp_path / "part")


def test_a_shard_that_was_killed_before_it_began_is_merged_as_missing(shards: list[Path], tmp_path: Path) -> None:
    begun = shutil.copytree(shards[2], tmp_path / "begun")
    shutil.rmtree(begun / "media")
    tables = ("parts", "exchanges", "conversations", "jobs", "spending", "transcripts", "verdicts")
    in_ledger(*(f"DELETE FROM {table}" for table in tables))(begun)
    told = manifest(begun)
    left = {name: told[name] for name in told if name not in ("transcriber", "judge", "ear_check", "finished")}
    (begun / "manifest.json").write_text(json.dumps({**left, "systems": {}}))
    with pytest.raises(StoreError, match=r"3 conversations of .*begun are not played.*begun is not judged"):
        merge_runs([*shards[:2], begun], tmp_path / "out")
    merge_runs([*shards[:2], begun], tmp_path / "out", partial=True)
    assert "ear_check" not in manifest(tmp_path / "out"), "a check of two shards is none of the run"
    shown = CliRunner().invoke(app, ["table", str(tmp_path / "out")]).output
    assert shown.startswith("out: NOT WHOLE: Merged from shards 1, 2, 3 of 3: 1 of the plan's 3 scenarios are missing.")


def test_missing_shards_are_refused_or_said_above_the_table(tree: Path, shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"not whole: shard 2 of 3 is not among the folders.*--partial"):
        merge_runs([shards[0], shards[2]], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    told = CliRunner().invoke(
        app, ["merge", str(shards[2]), str(shards[0]), "--out", str(tmp_path / "out"), "--partial"]
    )
    assert told.exit_code == 0, told.output
    assert "2 shards of 3" in told.output and "missing: shard 2 of 3" in told.output
    for form in ("terminal", "md"):
        shown = CliRunner().invoke(app, ["table", str(tmp_path / "out"), "--format", form])
        assert shown.output.startswith("out: NOT WHOLE: Merged from shards 1, 3 of 3: 1 of the plan's 3 scenarios")
    merge_runs([tmp_path / "out", shards[1]], tmp_path / "whole")
    assert figures(tmp_path / "whole") == figures(tree / "whole")


def test_an_unfinished_shard_is_named_and_its_work_is_kept(tree: Path, shards: list[Path], tmp_path: Path) -> None:
    """Killed with a clip that is complete and not yet recorded: it is not lost with the merge, nor made again."""
    shutil.copytree(tree / "set", tmp_path / "set")
    cut = shutil.copytree(shards[0], tmp_path / "cut")
    with sqlite3.connect(cut / "ledger.sqlite") as ledger:
        (system, scenario, turn, record) = ledger.execute(
            "SELECT system, scenario, turn, record FROM exchanges WHERE system = 'it'"
        ).fetchone()
        for table in ("exchanges", "transcripts"):
            ledger.execute(f"DELETE FROM {table} WHERE system = 'it' AND scenario = ?", (scenario,))
        clip, place = cut / json.loads(record)["clip"], cut / "work" / system / scenario / str(turn) / "a.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        clip.replace(place)
        ledger.execute(
            "INSERT INTO staged VALUES (?, ?, ?, ?, ?, 'null')",
            (system, scenario, turn, place.relative_to(cut).as_posix(), record),
        )
    ledger.close()
    with pytest.raises(StoreError, match=r"1 conversations of .*cut are not played to their end"):
        merge_runs([cut, *shards[1:]], tmp_path / "out")
    merge_runs([cut, *shards[1:]], tmp_path / "out", partial=True)
    table = CliRunner().invoke(app, ["table", str(tmp_path / "out")]).output
    assert "turns of shards that were merged had not been played" in table.splitlines()[0]
    made = (tmp_path / "out" / place.relative_to(cut)).stat().st_ino
    play(tmp_path, "out", None)
    with Run(tmp_path / "out", write=False) as run:
        assert not run.staged(system, scenario)
    assert (tmp_path / "out" / json.loads(record)["clip"]).stat().st_ino == made, "it was rendered anew"
    assert "NOT WHOLE" not in CliRunner().invoke(app, ["table", str(tmp_path / "out")]).output


def test_caps_and_counts_add_up_and_other_machines_are_said(shards: list[Path], tmp_path: Path) -> None:
    counts = [
        {"calls": 3, "most_in_flight": 4, "usd": 0.5, "remarks": ["b"]},
        {"calls": 2, "most_in_flight": 9, "usd": None, "remarks": ["a", "b"]},
        {"calls": 1, "most_in_flight": 1, "usd": 0.5, "remarks": []},
    ]
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in shards]
    for folder, count in zip(folders, counts, strict=True):
        retold(functools.partial(dict.update, judge_summary=count))(folder)
        retold(lambda m: m["settings"].update(max_usd=10.0, max_video_seconds=60.0))(folder)
    retold(lambda m: m["settings"].update(max_video_seconds=None))(folders[0])
    retold(lambda m: m["invocations"][-1]["host"].update(processor="another"))(folders[1])
    merge_runs(folders, tmp_path / "out")
    told = manifest(tmp_path / "out")
    assert told["judge_summary"] == {"calls": 6, "most_in_flight": 9, "usd": None, "remarks": ["a", "b"]}
    assert (told["settings"]["max_usd"], told["settings"]["max_video_seconds"]) == (30.0, None)
    table = CliRunner().invoke(app, ["table", str(tmp_path / "out")]).output
    assert table.startswith("out: Its shards were played on 2 different machines")


def retold(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        told = manifest(folder)
        change(told)
        (folder / "manifest.json").write_text(json.dumps(told))

    return spoil


def in_ledger(*statements: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        with sqlite3.connect(folder / "ledger.sqlite") as ledger:
            for statement in statements:
                ledger.execute(statement)
        ledger.close()

    return spoil


def other_clip(folder: Path) -> None:
    clip = next((folder / "media").glob("puppet/*/1.*"))
    data = clip.read_bytes()
    clip.unlink()
    clip.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def other_judge(folder: Path) -> None:
    in_ledger(
        "INSERT INTO identities SELECT 'f' || key, kind, label, json_set(identity, '$.version', 'other') "
        "FROM identities WHERE kind = 'judge'",
        "UPDATE verdicts SET judge = 'f' || judge",
    )(folder)
    retold(lambda told: told.update(judge="f" + told["judge"]))(folder)


REFUSED: list[tuple[str, Callable[[Path], None], str]] = [
    ("seed", retold(lambda m: m["frozen"].update(seed=7)), r"setting 'seed' is .*7"),
    ("plan", retold(lambda m: m["shard"].update(digest="0" * 64)), "plans hold other scenarios"),
    ("count", retold(lambda m: m["shard"].update(of=2)), "one is of .* shards and the other of"),
    ("set", retold(lambda m: m["scenario_sets"][0].update(digest="0" * 64)), "scenario sets differ"),
    ("repeats", retold(lambda m: m["settings"].update(repeats=3)), "setting 'repeats' is"),
    ("system", retold(lambda m: m["systems"]["it"].update(version="2")), "system it: 'version' is"),
    ("versions", retold(lambda m: m["invocations"][-1]["versions"].update(av="1")), "version of 'av' is"),
    ("judge", other_judge, "judge: 'version' is"),
    ("other label", retold(lambda m: m["plan"].update(more=[])), "systems 'named' is"),
    ("likeness", retold(lambda m: m.update(judge_likeness={m["judge"]: {"it": "other"}})), "call themselves alike"),
    ("nothing of it", retold(lambda m: m.update(shard=None)), "is no shard: it was played without --shard"),
    ("shard", retold(lambda m: m["shard"].update(numbers=[9])), "does not say rightly which shard"),
    ("clip", other_clip, "not the one that was recorded"),
    ("no clip", lambda folder: shutil.rmtree(folder / "media" / "puppet"), "no longer there"),
    ("rated", lambda folder: (folder / "ratings.sqlite").touch(), "has been rated by people"),
    ("unjudged", in_ledger("DELETE FROM verdicts"), "are not judged"),
    ("job", in_ledger("UPDATE jobs SET open = 1"), "jobs of .* are in flight"),
    (
        "path",
        in_ledger("UPDATE exchanges SET record = json_set(record, '$.clip', '../../etc/passwd')"),
        "where none does",
    ),
    ("ledger", in_ledger("UPDATE spending SET scenario = '../elsewhere'"), "is damaged"),
]


@pytest.mark.parametrize(("spoil", "said"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_what_does_not_belong_together_is_refused_and_nothing_is_left(
    shards: list[Path], tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoilt = shutil.copytree(shards[1], tmp_path / "spoilt")
    spoil(spoilt)
    others = [shards[0], shards[2]]
    if "alike" in said:
        others = [shutil.copytree(folder, tmp_path / folder.name) for folder in others]
        retold(lambda told: told.update(judge_likeness={told["judge"]: {"it": "one"}}))(others[0])
    with pytest.raises((StoreError, UsageError), match=said):
        merge_runs([others[0], spoilt, others[1]], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_one_conversation_held_differently_is_refused(shards: list[Path], tmp_path: Path) -> None:
    other = shutil.copytree(shards[0], tmp_path / "other")
    merge_runs([*shards, other], tmp_path / "same")
    in_ledger("UPDATE spending SET usd = usd + 1")(other)
    with pytest.raises(IncomparableError, match=r"both hold the conversation paid/.*their spending differ"):
        merge_runs([*shards, other], tmp_path / "out")


def test_a_shard_that_is_being_played_is_left_alone(shards: list[Path], tmp_path: Path) -> None:
    busy = shutil.copytree(shards[0], tmp_path / "busy")
    with Run(busy, write=True), pytest.raises(RunLockedError, match="A process is working on"):
        merge_runs([busy, *shards[1:]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


_KILLED = """
import os, signal, sys
from pathlib import Path
from interbench.pipeline.merge import merge_runs
parent, folders = Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]]
for event, nth in (("os.link", 7), ("os.rename", 1)):
    child = os.fork()
    if child == 0:
        left = nth
        def watch(what, args):
            global left
            if what == event and (what != "os.rename" or ".merging" in str(args[0])):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)
        merge_runs(folders, parent / event)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Merges, killed at the seventh clip and when all was done but the new folder's name."""


def test_a_killed_merge_leaves_nothing_half_made_and_can_be_repeated(
    tree: Path, shards: list[Path], tmp_path: Path
) -> None:
    argv = [sys.executable, "-c", _KILLED, str(tmp_path), *map(str, shards)]
    killed = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert killed.stdout.split() == [str(-signal.SIGKILL)] * 2, killed.stderr
    for name in ("os.link", "os.rename"):
        assert not (tmp_path / name).exists()
        assert (tmp_path / f".{name}.merging" / "ledger.sqlite").is_file(), "it was killed before it had begun"
        merge_runs(shards, tmp_path / name)
        assert figures(tmp_path / name) == figures(tree / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["os.link", "os.rename"]

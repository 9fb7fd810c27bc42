"""The run folder: locked by one, readable by many, honest about damage."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from interbench.base.errors import IncomparableError, RunLockedError, StoreError
from interbench.domain.records import Exchange, Missing, Outcome, Timings, Transcript, Verdict, Word
from interbench.store.manifest import merge, read_manifest, write_manifest
from interbench.store.run_folder import Key, Run, identity_key, slug


def exchange(turn: int = 1, outcome: Outcome = Outcome.COMPLETED) -> Exchange:
    return Exchange(
        "a:b", "s", turn, outcome, timings=Timings(1.5, 0.5), reply_text="é\u2028", events=((0.1, "x", ""),)
    )


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    transcript = Transcript("hi", (Word("hi", 0.0, 0.4),), ("reported",))
    verdicts = [
        Verdict("a:b", "s", "SR", score=7.25, evidence={"hits": [1, 2], "deep": {"x": None}}, expected_score=7.1),
        Verdict("a:b", "s", "NI", missing=Missing.NOT_MEASURABLE, reasons="not measurable offline"),
    ]
    with Run(tmp_path / "run", write=True) as run:
        run.record(exchange(), state={"memory": [1]})
        key = run.identify("judge", "signals", {"v": 1})
        run.record_transcript(Key("a:b", "s", 1), "t", transcript)
        for verdict in verdicts:
            run.record_verdict(verdict, key, "digest")
    with Run(tmp_path / "run", write=False) as run:
        assert run.exchanges() == [exchange()]
        assert run.conversation_state("a:b", "s") == {"memory": [1]}
        assert run.transcripts("t") == {Key("a:b", "s", 1): transcript}
        assert [verdict for _, verdict in run.verdicts(key)] == sorted(verdicts, key=lambda v: v.dimension)
        assert run.identities("judge") == {key: ("signals", {"v": 1})}
        assert run.verdicts("another judge") == []


def test_a_second_process_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    path = tmp_path / "run"
    code = (
        "import pathlib\nfrom interbench.store.run_folder import Run\n"
        f"with Run(pathlib.Path({str(path)!r}), write=True): pass"
    )
    with Run(path, write=True) as run:
        run.record(exchange())
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "RunLockedError" in second.stderr and f"pid {os.getpid()}" in second.stderr
        with pytest.raises(RunLockedError, match=r"folder of its own with --out"), Run(path, write=True):
            pass
        with Run(path, write=False) as reader:
            assert len(reader.exchanges()) == 1
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_the_lock_ends_with_its_process_even_if_killed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    code = (
        "import os, pathlib\nfrom interbench.store.run_folder import Run\n"
        f"with Run(pathlib.Path({str(path)!r}), write=True): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with Run(path, write=True), (path / "lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to be read as a header" * 4, b""])
def test_an_unreadable_ledger_says_what_to_do(tmp_path: Path, damage: bytes) -> None:
    with Run(tmp_path, write=True) as run:
        run.record(exchange())
    for leftover in tmp_path.glob("ledger.sqlite-*"):
        leftover.unlink()
    (tmp_path / "ledger.sqlite").write_bytes(damage)
    with (
        pytest.raises(StoreError, match=r"(can't be read or written|ledger .* is empty)"),
        Run(tmp_path, write=False) as run,
    ):
        run.exchanges()


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is not a run folder"), Run(tmp_path, write=False):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can't be used"), Run(tmp_path / "file", write=True):
        pass


def test_a_full_disk_loses_nothing_and_says_so(tmp_path: Path) -> None:
    with Run(tmp_path, write=True) as run:
        run.record(exchange(1))
        (pages,) = run.db.execute("PRAGMA page_count").fetchone()
        run.db.execute(f"PRAGMA max_page_count = {pages}")
        big = Exchange("a:b", "s", 2, Outcome.FAILED, message="x" * 100_000)
        with pytest.raises(StoreError, match=r"disk .* is full.*same command again"):
            run.record(big)
        assert run.exchanges() == [exchange(1)]
    with Run(tmp_path, write=True) as run:
        run.record(big)
        assert len(run.exchanges()) == 2


def test_a_staged_clip_is_known_until_it_is_recorded(tmp_path: Path) -> None:
    with Run(tmp_path, write=True) as run:
        key = Key("a:b", "s", 1)
        clip = run.workdir(key) / "reply.mp4"
        clip.write_bytes(b"clip")
        run.stage(exchange(), clip, {"n": 1})
    with Run(tmp_path, write=True) as run:
        (staged,) = run.staged("a:b", "s")
        assert staged.path == clip and staged.state == {"n": 1} and staged.exchange == exchange()
        final = run.adopt(key, staged.path)
        assert final.read_bytes() == b"clip" and not clip.exists()
        assert run.adopt(key, final) == final
        run.record(staged.exchange, staged.state)
        assert run.staged("a:b", "s") == []


def test_slugs_are_safe_and_never_shared() -> None:
    labels = ["puppet", "puppet:drift", "puppet-drift", "../../etc", "ÄÖ", "äö", "a" * 200, "a" * 201, "CON", "."]
    slugs = [slug(label) for label in labels]
    assert len(set(slugs)) == len(labels)
    assert slugs[0] == "puppet"
    for name in slugs:
        assert "/" not in name and name not in ("", ".", "..") and len(name) <= 80 and name.isascii()


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    with Run(tmp_path, write=True):
        pass
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match=r"schema 99"), Run(tmp_path, write=True):
        pass


def facts(**changes: object) -> dict[str, object]:
    return {
        "settings": {},
        "frozen": {"seed": 0, "deadline_s": 600.0},
        "scenarios": {"one": "a" * 64},
        "personas": {"tess": "b" * 64},
        "plan": {"puppet": ["one"]},
        "systems": {"puppet": {"spec": "puppet", "version": "1", "settings": {"fps": 25}}},
        "prompts": "c" * 64,
        **changes,
    }


def test_a_run_may_grow_but_not_change(tmp_path: Path) -> None:
    first = merge(None, **facts())  # type: ignore[arg-type]
    write_manifest(tmp_path / "manifest.json", first)
    old = read_manifest(tmp_path / "manifest.json")
    grown = merge(
        old,
        **facts(  # type: ignore[arg-type]
            scenarios={"two": "d" * 64},
            plan={"puppet": ["two"], "mine": ["one", "two"]},
            systems={"mine": {"spec": "m"}},
        ),
    )
    assert grown["plan"] == {"puppet": ["one", "two"], "mine": ["one", "two"]}
    assert set(grown["scenarios"]) == {"one", "two"} and set(grown["systems"]) == {"puppet", "mine"}
    assert grown["created"] == first["created"] and len(grown["invocations"]) == 1
    later = merge(grown, **facts(settings={"concurrency": 4}))  # type: ignore[arg-type]
    assert [one["settings"] for one in later["invocations"]] == [{}, {"concurrency": 4}]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frozen": {"seed": 1, "deadline_s": 600.0}}, "setting 'seed' was 0 and is now 1"),
        ({"scenarios": {"one": "e" * 64}}, "scenario 'one' has changed its content"),
        ({"personas": {"tess": "e" * 64}}, "persona 'tess' has changed its content"),
        ({"systems": {"puppet": {"spec": "puppet", "version": "2", "settings": {"fps": 25}}}}, "'version' was"),
        ({"systems": {"puppet": {"spec": "puppet", "version": "1", "settings": {"fps": 30}}}}, "'settings' was"),
    ],
)
def test_what_would_be_incomparable_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    old = merge(None, **facts())  # type: ignore[arg-type]
    with pytest.raises(IncomparableError) as caught:
        merge(old, **facts(**changes))  # type: ignore[arg-type]
    assert named in str(caught.value) and "--out" in str(caught.value)


def test_identity_keys_ignore_order_and_see_every_change() -> None:
    assert identity_key({"a": 1, "b": [1, 2]}) == identity_key({"b": [1, 2], "a": 1})
    assert identity_key({"a": 1}) != identity_key({"a": 2})

"""Parts of a run folder that are missing, empty, of another run, or older than the others."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from interbench.base.errors import StoreError
from interbench.domain.records import Charge, ClipFacts, Exchange, Outcome, Timings
from interbench.store.clips import clip_problem
from interbench.store.manifest import read_manifest
from interbench.store.run_folder import Key, Run

FACTS = ClipFacts("0" * 64, 4, 1.0, 25, 25.0, 64, 64, "h264", True, True, 1.0, 0.0)


def play(run: Run, turn: int = 1, scenario: str = "one") -> Path:
    """Record a turn as the driver does; gives its clip."""
    key = Key("sys", scenario, turn)
    clip = run.workdir(key) / "reply.mp4"
    clip.write_bytes(b"clip")
    exchange = Exchange("sys", scenario, turn, Outcome.COMPLETED, timings=Timings(1.5, 0.5), facts=FACTS)
    run.stage(exchange, clip, None)
    final = run.adopt(key, clip)
    run.reserve(key, 8.0, 0.8)
    run.settle(key, Charge.SPENT)
    run.record(dataclasses.replace(exchange, clip=run.relative(final)))
    return final


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that was played once."""
    path = tmp_path / "run"
    with Run(path, write=True) as run:
        run.keep_manifest({"schema": 1, "plan": {"sys": ["one"]}})
        play(run)
        run.keep_manifest({**(read_manifest(run.manifest_path) or {}), "finished": "now"})
    return path


def refused(path: Path) -> str:
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "lock"}
    with pytest.raises(StoreError) as caught, Run(path, write=True):
        pass
    clips = {file: data for file, data in before.items() if file.suffix == ".mp4"}
    assert {file: file.read_bytes() for file in clips} == clips, "nothing was overwritten"
    return str(caught.value)


def test_a_run_goes_on_where_it_was(folder: Path) -> None:
    with Run(folder, write=True) as run:
        assert len(run.exchanges()) == 1
        manifest = read_manifest(run.manifest_path)
    assert manifest is not None and manifest["revision"] == 2
    assert (folder / "media" / ".run-id").read_text().strip() == manifest["run_id"]


def _empty(ledger: Path) -> None:
    ledger.write_bytes(b"")


def _without_tables(ledger: Path) -> None:
    ledger.unlink()
    sqlite3.connect(ledger).execute("PRAGMA journal_mode=WAL").connection.close()


@pytest.mark.parametrize("damage", [Path.unlink, _empty, _without_tables])
def test_a_missing_or_empty_ledger_pays_for_nothing_again(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / "ledger.sqlite")
    assert "manifest.json and clips under media/ are there" in refused(folder)
    (folder / "manifest.json").unlink()
    assert "clips under media/ are there" in refused(folder)


def test_a_missing_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    assert "manifest of" in refused(folder) and "is missing" in refused(folder)
    with pytest.raises(StoreError, match=r"manifest .* is missing"), Run(folder, write=False):
        pass


def test_missing_clips(folder: Path) -> None:
    shutil.rmtree(folder / "media")
    assert "the ledger knows 1 and there is no folder media/" in refused(folder)
    with Run(folder, write=False) as run:  # a table needs no clips
        assert len(run.exchanges()) == 1


@pytest.mark.parametrize("part", ["manifest.json", "media"])
def test_a_part_of_another_run(folder: Path, tmp_path: Path, part: str) -> None:
    other = tmp_path / "other"
    with Run(other, write=True) as run:
        run.keep_manifest({"schema": 1})
        play(run)
    if part == "media":
        shutil.rmtree(folder / part)
        shutil.copytree(other / part, folder / part)
        assert "belong to another run than the ledger" in refused(folder)
    else:
        shutil.copy(other / part, folder / part)
        assert "belong to different runs" in refused(folder)
    with pytest.raises(StoreError, match="belong to"), Run(folder, write=False):
        pass


def test_an_older_ledger(folder: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite"
    shutil.copy(folder / "ledger.sqlite", backup)
    with Run(folder, write=True) as run:
        play(run, 2)
        manifest = read_manifest(run.manifest_path)
        assert manifest is not None
    shutil.copy(backup, folder / "ledger.sqlite")
    # The manifest does not tell, because the run was killed; the clip does.
    assert "does not know clips that lie under media/: media/sys/one/2.mp4" in refused(folder)
    with Run(tmp_path / "apart", write=True):
        pass
    (folder / "manifest.json").write_text(json.dumps({**manifest, "revision": manifest["revision"] + 1}))
    assert "ledger" in refused(folder) and "is older than the manifest" in refused(folder)


def test_an_older_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "revision": 0}))
    assert "manifest" in refused(folder) and "is older than the ledger" in refused(folder)


def test_a_kill_between_ledger_and_manifest_is_none_of_these(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "revision": manifest["revision"] - 1}))
    with Run(folder, write=True) as run:
        run.keep_manifest(manifest)


def test_a_clip_that_was_adopted_before_a_kill_is_known(folder: Path) -> None:
    with Run(folder, write=True) as run:
        clip = run.workdir(Key("sys", "one", 2)) / "reply.webm"
        clip.write_bytes(b"clip")
        exchange = Exchange("sys", "one", 2, Outcome.COMPLETED, timings=Timings(1.5, 0.5))
        run.stage(exchange, clip, None)
        run.adopt(Key("sys", "one", 2), clip)
    with Run(folder, write=True) as run:
        assert len(run.staged("sys", "one")) == 1


def test_a_kill_while_turns_are_taken_back_leaves_no_stray_clip(folder: Path) -> None:
    with Run(folder, write=True) as run:
        run.discard("sys", "one")
        (moved,) = (folder / "media/sys/one/superseded").iterdir()
        # As if killed before the clip was moved.
        moved.rename(folder / "media/sys/one/1.mp4")
        run.db.execute("INSERT INTO belonging VALUES (?, '1')", ('aside ["sys", "one"]',))
    with Run(folder, write=True) as run:
        assert [file.name for file in (folder / "media/sys/one/superseded").iterdir()] == ["1-1.mp4"]
        assert run.exchanges() == []


def test_a_folder_of_an_earlier_version_is_taken_as_it_is(folder: Path) -> None:
    db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    db.execute("DROP TABLE belonging")
    db.execute("DROP TABLE copies")
    db.close()
    (folder / "media/.run-id").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["run_id"], manifest["revision"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with Run(folder, write=False) as run:
        assert len(run.exchanges()) == 1
    with Run(folder, write=True) as run:
        run.keep_manifest(manifest)
        assert run.copies(1) == {}
    assert json.loads((folder / "manifest.json").read_text())["run_id"]


@pytest.mark.parametrize("name", ["x" * 250, "/".join(["y" * 100] * 6)])
def test_a_path_that_is_too_long_says_so(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / ("z" * 250)
    with pytest.raises(StoreError, match=r"too long.*shorter path") as caught, Run(path, write=True):
        pass
    assert "backup" not in str(caught.value)


def test_a_clip_is_compared_with_what_was_recorded(tmp_path: Path) -> None:
    clip = tmp_path / "1.mp4"
    clip.write_bytes(b"clip")
    recorded = dataclasses.replace(FACTS, sha256="ae8b7d1c5e3b5a5b" + "0" * 48)
    problem = clip_problem(clip, recorded)
    assert problem is not None and (problem.code, "another SHA-256" in problem.message) == ("clip_changed", True)
    right = dataclasses.replace(FACTS, sha256=hashlib.sha256(b"clip").hexdigest())
    assert clip_problem(clip, right) is None
    clip.write_bytes(b"longer")
    problem = clip_problem(clip, right)
    assert problem is not None and "had 4 bytes and has 6" in problem.message
    clip.write_bytes(b"cool")
    problem = clip_problem(clip, right)
    assert problem is not None and problem.code == "clip_changed"
    clip.unlink()
    problem = clip_problem(clip, right)
    assert problem is not None and problem.code == "clip_missing"
    (tmp_path / "other").write_bytes(b"clip")
    clip.symlink_to(tmp_path / "other")
    problem = clip_problem(clip, right)
    assert problem is not None and problem.code == "clip_changed"

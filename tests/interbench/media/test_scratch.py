"""Folders for temporary files: who removes them, and when."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from interbench.base.scratch import Scratch

MAKE = """
import sys
from interbench.base.scratch import Scratch
scratch = Scratch("test")
(scratch.path / "file").write_text("content")
print(scratch.path, flush=True)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's place for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def left(place: Path) -> list[str]:
    return sorted(entry.name for entry in place.iterdir())


def test_removed_with_all_that_is_in_it(place: Path) -> None:
    scratch = Scratch("test")
    assert scratch.path.parent == place and scratch.path.stat().st_mode & 0o777 == 0o700
    (scratch.path / "folder").mkdir()
    scratch.remove()
    scratch.remove()
    assert left(place) == []


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_goes_with_its_process(place: Path, end: str) -> None:
    subprocess.run([sys.executable, "-c", MAKE + end], capture_output=True)
    assert left(place) == []


def test_one_whose_owner_was_killed_goes_with_the_next(place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"{MAKE}\nsys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        Scratch("test").remove()
        assert (folder / "file").read_text() == "content"
        owner.send_signal(signal.SIGKILL)
    Scratch("another-test").remove()
    assert folder.exists()
    Scratch("test").remove()
    assert left(place) == []


def test_only_what_is_surely_stale_is_removed(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / ".owned").touch()
    (place / "interbench-test-link").symlink_to(elsewhere)
    (place / "interbench-test-unmarked").mkdir()
    (place / "interbench-test-file").touch()
    kept = Scratch("test")
    kept.keep()
    kept.remove()
    before = left(place)
    Scratch("test").remove()
    assert left(place) == before and kept.path.exists() and (elsewhere / ".owned").exists()

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from interbench.report.links import Links


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / "media").mkdir(parents=True)
    (tmp_path / "run" / "media" / "a.mp4").write_bytes(b"clip")
    return tmp_path / "run"


def links(run: Path, out: Path | None = None, *, portable: bool = False) -> Links:
    return Links(run, out or run / "report", run / "staging", portable=portable)


def test_a_clip_of_the_run_is_linked_where_it_is(run: Path) -> None:
    link = links(run).clip("media/a.mp4", "x")
    assert (link.href, link.problem) == ("../media/a.mp4", "")
    assert not (run / "staging").exists()


@pytest.mark.parametrize("name", ["räk #1?%41.mp4", "a b'\"<c>.mp4", "javascript:alert(1).mp4", "..mp4"])
def test_addresses_are_percent_encoded_and_lead_back_to_the_file(run: Path, name: str) -> None:
    (run / "media" / name).write_bytes(b"clip")
    href = links(run).clip(f"media/{name}", "x").href
    assert href is not None
    assert not set(href) & set("<>\"'?#: ")
    assert (run / "report" / unquote(href)).resolve().read_bytes() == b"clip"


def test_no_folder_name_becomes_a_scheme(tmp_path: Path) -> None:
    run = tmp_path / "javascript:alert(1)"
    run.mkdir()
    (run / "a.mp4").write_bytes(b"clip")
    assert links(run, tmp_path).clip("a.mp4", "x").href == "./javascript%3Aalert%281%29/a.mp4"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret", "media/../../secret", "media/gone.mp4", "media", "a\0b", ""]
)
def test_nothing_but_files_of_the_run_is_linked(run: Path, name: str) -> None:
    (run.parent / "secret").write_bytes(b"secret")
    for portable in (False, True):
        link = links(run, portable=portable).clip(name, "x")
        assert link.href is None
        assert link.problem.endswith(".")
    assert not (run / "staging").exists()


def test_a_symlink_out_of_the_run_is_not_followed(run: Path) -> None:
    (run.parent / "secret").write_bytes(b"secret")
    (run / "media" / "b.mp4").symlink_to(run.parent / "secret")
    link = links(run, portable=True).clip("media/b.mp4", "x")
    assert link.href is None
    assert "leaves the run folder" in link.problem


def test_portable_reports_hold_their_media(run: Path) -> None:
    made = links(run, portable=True)
    assert made.clip("media/a.mp4", "scenario-0001/1-puppet-1").href == "./media/scenario-0001/1-puppet-1.mp4"
    assert (run / "staging" / "media" / "scenario-0001" / "1-puppet-1.mp4").read_bytes() == b"clip"


def test_files_from_elsewhere_are_copied_once(run: Path, tmp_path: Path) -> None:
    voice = tmp_path / "voice.wav"
    voice.write_bytes(b"sound")
    made = links(run)
    assert made.file(voice, "s/user-1").href == made.file(voice, "s/user-2").href == "./media/s/user-1.wav"
    assert [path.name for path in (run / "staging" / "media" / "s").iterdir()] == ["user-1.wav"]


def test_a_missing_file_of_the_set_is_named(run: Path, tmp_path: Path) -> None:
    link = links(run).file(tmp_path / "gone.wav", "x")
    assert link.href is None
    assert "gone.wav" in link.problem

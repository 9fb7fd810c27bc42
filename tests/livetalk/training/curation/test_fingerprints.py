"""Duplicates against a test split: the same recording is found however it was encoded and cut; another is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from curation_kit import babble, person, write_clip
from livetalk.cli.main import app
from livetalk.training.curation.fingerprints import (
    SAME_SOUND,
    picture_hash,
    picture_hashes,
    sound_bits,
    sound_distance,
)
from typer.testing import CliRunner


def test_sound_is_recognised_through_noise_level_and_cutting() -> None:
    whole = babble(12, 1)
    noise = np.random.default_rng(0).normal(0, 0.01, len(whole)).astype(np.float32)
    part = (0.3 * whole + noise)[50_123 : 50_123 + 81_000].astype(np.float32)
    others = [sound_bits(babble(12, seed)) for seed in range(2, 12)]
    mine = sound_bits(part)
    assert sound_distance(mine, sound_bits(whole)) < 0.2
    assert min(sound_distance(mine, other) for other in others) > SAME_SOUND + 0.05


def test_silence_resembles_nothing() -> None:
    silence = sound_bits(np.zeros(81_000, np.float32))
    assert sound_distance(silence, silence) == 1
    assert sound_distance(sound_bits(babble(3, 1)), sound_bits(np.zeros(8, np.float32))) == 1


def test_a_blank_picture_has_no_hash() -> None:
    assert picture_hash(np.full((64, 64, 3), 7, np.uint8)) is None
    assert picture_hashes(np.full((64, 64, 3), 7, np.uint8), None) == ()
    assert picture_hash(person()) is not None


def test_what_the_test_split_holds_is_not_kept(tmp_path: Path) -> None:
    clips, split, out = tmp_path / "clips", tmp_path / "split", tmp_path / "out"
    rng = np.random.default_rng(3)
    scenes = [np.kron(rng.integers(0, 255, (6, 6, 3)), np.ones((24, 24, 1))).astype(np.uint8) for _ in range(4)]
    long = babble(9, 20)
    write_clip(clips / "heard.mp4", scenes[0], long[30_000:115_000])
    write_clip(clips / "seen.mp4", scenes[1], babble(5.2, 21))
    write_clip(clips / "new.mp4", scenes[2], babble(5.2, 22))
    # Other pictures over the same sound; and the same picture, smaller, with other sound.
    write_clip(split / "x" / "1.mp4", scenes[3], long, rate=16_000)
    write_clip(split / "2.mkv", np.ascontiguousarray(scenes[1][::2, ::2]), babble(4, 23))
    own = tmp_path / "own.toml"
    own.write_text("[seconds]\nleast = 1\n")
    words = ["train", "curate", str(clips), "--out", str(out), "--faces", "none", "--thresholds", str(own)]
    result = CliRunner().invoke(app, [*words, "--against", str(split)])
    assert result.exit_code == 0, result.output
    found = {row["clip"]: row["because"] for row in map(json.loads, (out / "refused.jsonl").read_text().splitlines())}
    assert set(found) == {"heard.mp4", "seen.mp4"}
    assert found["heard.mp4"]["duplicate"].startswith("x/1.mp4 by sound")
    assert found["seen.mp4"]["duplicate"].startswith("2.mkv by picture")
    assert len(list((out / "against").iterdir())) == 2

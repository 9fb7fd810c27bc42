"""The same pictures and sound are the same bytes: in whatever memory, beside whatever else."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from livetalk.video.h264 import macroblock_tree

SIZES = ((16, 16), (18, 34), (32, 32), (50, 30), (80, 48), (114, 66), (128, 64), (130, 96), (832, 480), (512, 512))
"""Widths and heights, of whole macroblocks (16) and not, of whole eights of them (128) and not."""

CODE = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from livetalk.video.fragments import FragmentWriter
from livetalk.video.mux import SOUND_RATE, VideoWriter

def scene(width, height, frames):
    # A wall of squares that the camera wanders over, and grain: the encoder predicts from picture to picture.
    random = np.random.default_rng(width * height)
    wall = random.integers(0, 256, (height // 4 + frames + 8, width // 4 + frames + 8, 3), np.uint8)
    wall = wall.repeat(4, 0).repeat(4, 1).astype(np.int16)
    for number in range(frames):
        x, y = int(3 * number * np.cos(number / 5) % 20), int(2 * number * np.sin(number / 3) % 20)
        grain = random.integers(-20, 21, (height, width, 3))
        yield (wall[y : y + height, x : x + width] + grain).clip(0, 255).astype(np.uint8)

def file(frames, sound):
    path = Path(sys.argv[2])
    with VideoWriter(path, frames.shape[2], frames.shape[1], sound=sound) as writer:
        writer.write(frames)
    return path.read_bytes()

def stream(frames, sound):
    writer = FragmentWriter(frames.shape[2], frames.shape[1], encoder="libx264")
    blocks = writer.write(frames[:9], sound[: 9 * 3000]), writer.write(frames[9:], sound[9 * 3000 :])
    return b"".join((writer.init_segment, *blocks, writer.finish()))

hashes = {}
for width, height in json.loads(sys.argv[1]):
    frames = np.stack(list(scene(width, height, 18)))
    sound = np.random.default_rng(0).normal(0, 0.1, len(frames) * SOUND_RATE // 16).astype(np.float32)
    for name, code in (("file", file), ("stream", stream)):
        hashes[f"{name} {width} x {height}"] = hashlib.sha256(code(frames, sound)).hexdigest()
print(json.dumps(hashes))
"""


def coded(sizes: Sequence[tuple[int, int]], folder: Path, fill: int) -> dict[str, str]:
    """Hashes of what a process of its own makes, in which memory is first full of one value (glibc)."""
    process = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(sizes), str(folder / f"{fill}.mp4")],
        env={**os.environ, "MALLOC_PERTURB_": str(fill)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not process.returncode, process.stderr
    hashes: dict[str, str] = json.loads(process.stdout)
    return hashes


def same(sizes: Sequence[tuple[int, int]], folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(functools.partial(coded, sizes, folder), (0, 85, 170, 254)))
    assert len(runs[0]) == 2 * len(sizes)
    for what in runs[0]:
        assert len({run[what] for run in runs}) == 1, what


def test_four_processes_at_once_make_the_same(tmp_path: Path) -> None:
    same(SIZES, tmp_path)


@pytest.mark.soak
def test_four_processes_at_once_make_the_same_of_any_size(tmp_path: Path) -> None:
    same([(width, height) for width in (*range(16, 161, 6), 480, 640, 720) for height in (16, 34, 66, 360)], tmp_path)


@pytest.mark.parametrize(("widths", "tree"), [((128, 114, 512, 1280), "1"), ((16, 32, 130, 480, 832), "0")])
def test_only_rows_of_whole_eights_of_macroblocks_are_planned(widths: Sequence[int], tree: str) -> None:
    assert [macroblock_tree(width) for width in widths] == [{"mbtree": tree}] * len(widths)

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

import av
import numpy as np
import pytest

from interbench.media.continuity import keep_end

SIZES = ((16, 16), (18, 34), (32, 32), (50, 30), (80, 48), (128, 64), (130, 96), (270, 480))
"""Widths and heights, of whole macroblocks (16) and not, of whole eights of them (128) and not."""

CODE = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from PIL import Image
from interbench.media.pool import encoded_audio
from interbench.media.film import AUDIO_RATE, write_film
from interbench.media.continuity import write_end

def scene(width, height, frames):
    # A wall of squares that the camera wanders over, and grain: the encoder predicts from picture to picture.
    random = np.random.default_rng(width * height)
    wall = random.integers(0, 256, (height // 4 + frames + 8, width // 4 + frames + 8, 3), np.uint8)
    wall = wall.repeat(4, 0).repeat(4, 1).astype(np.int16)
    for number in range(frames):
        x, y = int(3 * number * np.cos(number / 5) % 20), int(2 * number * np.sin(number / 3) % 20)
        grain = random.integers(-20, 21, (height, width, 3))
        yield Image.fromarray((wall[y : y + height, x : x + width] + grain).clip(0, 255).astype(np.uint8))

folder = Path(sys.argv[2])
folder.mkdir()
film, end = folder / "film.mp4", folder / "end.mp4"
sound = np.random.default_rng(0).normal(0, 0.1, 2 * AUDIO_RATE).astype(np.float32)
made = {f"sound {kind}": encoded_audio(sound, AUDIO_RATE, kind) for kind in ("wav", "flac", "mp3")}
for width, height in json.loads(sys.argv[1]):
    write_film(film, scene(width, height, 30), sound, fps=20)
    write_end(film, end, 0.8)
    made[f"film {width} x {height}"], made[f"end {width} x {height}"] = film.read_bytes(), end.read_bytes()
print(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in made.items()}))
"""


def coded(sizes: Sequence[tuple[int, int]], folder: Path, fill: int) -> dict[str, str]:
    """Hashes of what a process of its own makes, in which memory is first full of one value (glibc)."""
    process = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(sizes), str(folder / str(fill))],
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
    assert len(runs[0]) == 3 + 2 * len(sizes)
    for what in runs[0]:
        assert len({run[what] for run in runs}) == 1, what


def test_four_processes_at_once_make_the_same(tmp_path: Path) -> None:
    same(SIZES, tmp_path)


@pytest.mark.soak
def test_four_processes_at_once_make_the_same_of_any_size(tmp_path: Path) -> None:
    same([(width, height) for width in (*range(16, 161, 6), 480, 720) for height in (16, 34, 66, 360)], tmp_path)


async def test_the_end_of_a_picture_of_odd_size_is_kept_without_its_odd_row(tmp_path: Path) -> None:
    clip = tmp_path / "odd.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 63, 47, "bgr0"
        for level in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((47, 63, 3), level * 10, np.uint8), format="rgb24")
            frame.pts = level
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    await keep_end(clip, 1.0)
    with av.open(str(clip)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [picture.shape for picture in pictures] == [(46, 62, 3)] * 10
    assert [picture.mean() for picture in pictures] == pytest.approx([10 * level for level in range(10, 20)], abs=3)

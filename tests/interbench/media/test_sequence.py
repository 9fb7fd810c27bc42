"""All frames of a clip in order, at its own rate or another, in one stretch or several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from interbench.media.pool import Limits, MediaPool
from interbench.single.timing import held

pytestmark = pytest.mark.asyncio(loop_scope="module")


def numbers(pixels: np.ndarray) -> list[int]:
    """Which frames these are: the left half of each tells its number in steps of eight."""
    return [round(float(frame[:, :40].mean()) / 8) for frame in pixels]


@pytest.fixture(scope="module")
def clip(make_clip: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(
        tmp_path_factory.mktemp("clips") / "a.mp4", frames=24, fps=16, codec_options={"crf": "1", "g": "8"}
    )


async def frames_of(media: MediaPool, path: Path, rate: float | None = None) -> tuple[list[int], list[int]]:
    found: list[int] = []
    starts = []
    async for stretch in media.sequence(path, rate=rate):
        assert stretch.first == len(found)
        starts.append(stretch.first)
        found += numbers(stretch.pixels)
        assert stretch.total >= len(found)
    return found, starts


async def test_every_frame_once(pool: MediaPool, clip: Path) -> None:
    found, starts = await frames_of(pool, clip)
    assert (found, starts) == (list(range(24)), [0])


@pytest.mark.parametrize("rate", [25.0, 8.0, 16.0, 30.0])
async def test_another_rate_holds_what_is_on_screen(pool: MediaPool, clip: Path, rate: float) -> None:
    found, _ = await frames_of(pool, clip, rate)
    assert found == held(24, 16, rate)


@pytest.mark.parametrize("rate", [None, 25.0])
async def test_stretches_join_without_a_gap(clip: Path, rate: float | None) -> None:
    async with MediaPool(limits=Limits(output_bytes=7 * 96 * 64 * 3)) as media:
        found, starts = await frames_of(media, clip, rate)
    assert found == (list(range(24)) if rate is None else held(24, 16, rate))
    assert starts == list(range(0, len(found), 7))


async def test_the_size_is_that_of_the_clip_or_what_is_asked_for(pool: MediaPool, clip: Path) -> None:
    shapes = []
    for size in (None, (32, 16)):
        async for stretch in pool.sequence(clip, size=size):
            shapes.append(stretch.pixels.shape[1:3])
            assert stretch.fps == pytest.approx(16)
    assert shapes == [(64, 96), (16, 32)]


async def test_how_late_the_picture_comes_is_told(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path = make_clip(tmp_path / "late.mkv", times=range(5, 30), sound=tone(1.2), container_options={})
    async for stretch in pool.sequence(path):
        assert stretch.late_s == pytest.approx(0.2, abs=0.03)

"""What a service is sent of the clip before: its last frame, or the end of a clip that was extended, as it is shown."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_clips import encoded, flag, remux
from PIL import Image

from interbench.media.continuity import keep_end, last_frame
from interbench.media.pool import MediaPool

pytestmark = pytest.mark.asyncio(loop_scope="module")


def turned(degrees: int, **options: Any) -> Callable[[Path, Path], Path]:
    def make(upright: Path, target: Path) -> Path:
        return remux(upright, target, setup=lambda streams: streams[0].set_display_rotation(degrees, **options))

    return make


def oblong(upright: Path, target: Path) -> Path:
    return encoded(target, aspect=Fraction(2), options={"crf": "10"})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (turned(90), np.rot90(flag(96, 64), 1)),
        (turned(180), np.rot90(flag(96, 64), 2)),
        (turned(0, hflip=True), flag(96, 64)[:, ::-1]),
        (oblong, flag(192, 64)),
    ],
    ids=["turned by 90", "upside down", "mirrored", "oblong pixels"],
)
async def test_both_are_as_a_player_shows_them(pool: MediaPool, tmp_path: Path, make: Any, expected: Any) -> None:
    upright = encoded(tmp_path / "upright.mp4", options={"crf": "10"})
    clip = make(upright, tmp_path / "clip.mp4")
    facts = await pool.inspect(clip)
    picture = np.asarray(Image.open(await last_frame(clip, tmp_path / "last.png")))
    assert picture.shape == (facts.height, facts.width, 3) == expected.shape
    assert np.abs(picture.astype(int) - expected).mean() < 8
    await keep_end(clip, 0.5)
    kept = await pool.inspect(clip)
    assert (kept.width, kept.height, kept.rotation, kept.mirrored) == (facts.width, facts.height, 0, False)
    frames = await pool.frames(clip, 2, (kept.width, kept.height))
    assert np.abs(frames[-1].astype(int) - expected).mean() < 10

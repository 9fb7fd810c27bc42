"""Frames are what a player shows, and every loader can be given a copy that shows the same."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from odd_clips import encoded, flag, remux, shifted

from interbench.base.errors import MediaError
from interbench.media.pool import MediaPool

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoded(tmp_path_factory.mktemp("clips") / "upright.mp4", options={"crf": "10"})


def close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and float(np.abs(one.astype(int) - other).mean()) < 8


async def shown(pool: MediaPool, path: Path) -> np.ndarray:
    facts = await pool.inspect(path)
    frames: np.ndarray = await pool.frames(path, 3, (facts.width, facts.height))
    picture: np.ndarray = frames[1]
    return picture


async def assert_copied(pool: MediaPool, path: Path, target: Path) -> None:
    """A plain copy shows the same, and needs no copy itself."""
    facts = await pool.inspect(path)
    assert facts.not_plain
    copy = await pool.plain_copy(path, target)
    assert (copy.not_plain, copy.video_codec, copy.has_audio, copy.rotation) == ("", "h264", False, 0)
    assert (copy.width, copy.height) == (facts.width, facts.height)
    assert copy.duration_s == pytest.approx(facts.frames / facts.fps, abs=0.06)
    assert close(await shown(pool, target), await shown(pool, path))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
async def test_turned_as_the_file_says(pool: MediaPool, upright: Path, tmp_path: Path, degrees: int, name: str) -> None:
    """FFmpeg counts counterclockwise, so turned by 90 it is shown as 270 degrees clockwise."""
    path = remux(upright, tmp_path / name, setup=lambda streams: streams[0].set_display_rotation(degrees))
    facts = await pool.inspect(path)
    frame = await shown(pool, path)
    # The muxers of MP4 and Matroska take the angle in opposite senses; what counts is that picture and facts agree.
    assert facts.rotation in {90: (90, 270), 180: (180,), 270: (90, 270)}[degrees] and not facts.mirrored
    assert (facts.width, facts.height) == ((64, 96) if degrees != 180 else (96, 64))
    assert close(frame, np.rot90(flag(96, 64), -facts.rotation // 90))
    await assert_copied(pool, path, tmp_path / "copy.mp4")


async def test_a_phone_held_upright_and_its_twin_look_alike(pool: MediaPool, upright: Path, tmp_path: Path) -> None:
    """The matrix of a phone: x' = -y, y' = x, which is a turn by 90 degrees clockwise."""
    one = 65536
    matrix = [0, one, 0, -one, 0, 0, 64 * one, 0, 1 << 30]
    phone = remux(upright, tmp_path / "a.mp4", setup=lambda streams: streams[0].set_display_matrix(matrix))
    turned = np.rot90(flag(96, 64), -1)
    twin = encoded(tmp_path / "b.mp4", size=(64, 96), picture=lambda index: turned, options={"crf": "10"})
    facts, upright_facts = await pool.inspect(phone), await pool.inspect(twin)
    assert (facts.rotation, facts.width, facts.height) == (90, upright_facts.width, upright_facts.height)
    assert close(await shown(pool, phone), await shown(pool, twin))


async def test_mirrored(pool: MediaPool, upright: Path, tmp_path: Path) -> None:
    path = remux(upright, tmp_path / "a.mp4", setup=lambda streams: streams[0].set_display_rotation(0, hflip=True))
    facts = await pool.inspect(path)
    assert (facts.mirrored, facts.rotation) == (True, 0)
    assert close(await shown(pool, path), flag(96, 64)[:, ::-1])
    await assert_copied(pool, path, tmp_path / "copy.mp4")


async def test_askew_is_shown_as_it_is_stored(pool: MediaPool, upright: Path, tmp_path: Path) -> None:
    path = remux(upright, tmp_path / "a.mp4", setup=lambda streams: streams[0].set_display_rotation(45))
    facts = await pool.inspect(path)
    assert (facts.rotation, facts.mirrored, facts.width, facts.height) == (0, False, 96, 64)


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2), (192, 64)), (Fraction(1, 2), (96, 128))])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
async def test_pixels_that_are_not_square(pool: MediaPool, tmp_path: Path, aspect: Any, size: Any, name: str) -> None:
    path = encoded(tmp_path / name, aspect=aspect)
    facts = await pool.inspect(path)
    assert (facts.width, facts.height) == size
    assert close(await shown(pool, path), flag(*size))
    await assert_copied(pool, path, tmp_path / "copy.mp4")


async def test_turned_and_with_oblong_pixels(pool: MediaPool, tmp_path: Path) -> None:
    oblong = encoded(tmp_path / "s.mp4", aspect=Fraction(2))
    path = remux(oblong, tmp_path / "a.mp4", setup=lambda streams: streams[0].set_display_rotation(90))
    facts = await pool.inspect(path)
    assert (facts.width, facts.height) == (64, 192)


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
async def test_av1_is_copied_for_the_judge(pool: MediaPool, tmp_path: Path, name: str) -> None:
    codec = "libsvtav1" if "libsvtav1" in av.codecs_available else "libaom-av1"
    path = encoded(tmp_path / name, codec=codec, options={"preset": "12", "svtav1-params": "lp=1"})
    facts = await pool.inspect(path)
    assert facts.video_codec == "av1" and "av1" in str(facts.not_plain)
    await assert_copied(pool, path, tmp_path / "copy.mp4")


async def test_a_browser_recording_is_copied_for_the_judge(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path = make_clip(
        tmp_path / "a.webm",
        sound=tone(1.0),
        video_codec="libvpx",
        audio_codec="libopus",
        container_options={"live": "1"},
    )
    assert "neither how long it is" in str((await pool.inspect(path)).not_plain)
    await assert_copied(pool, path, tmp_path / "copy.mp4")


async def test_a_header_that_counts_frames_wrongly(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    """A sound that goes on makes loaders that divide a file's duration see frames that are not there."""
    path = make_clip(tmp_path / "a.mkv", frames=25, sound=tone(4.0))
    facts = await pool.inspect(path)
    assert "frames and 25 are there" in str(facts.not_plain)
    assert (await pool.plain_copy(path, tmp_path / "copy.mp4")).frames == 25


async def test_frames_at_uneven_times_are_copied_at_a_constant_rate(
    pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=8, times=[0, 1, 2, 10, 11, 30, 31, 49])
    assert "don't come at" in str((await pool.inspect(path)).not_plain)
    copy = await pool.plain_copy(path, tmp_path / "copy.mp4")
    assert copy.fps == pytest.approx(25) and (copy.frames, copy.not_plain) == (50, "")
    original, copied = [
        (await pool.frames(clip, 8, (96, 64)))[:, 8:56, 8:40].reshape(8, -1).mean(axis=1)
        for clip in (path, tmp_path / "copy.mp4")
    ]
    assert copied == pytest.approx(original, abs=4)


async def test_ordinary_clips_are_judged_as_they_are(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    for name, codec in (("a.mp4", "libx264"), ("b.mp4", "libx265"), ("c.mov", "mpeg4"), ("d.ts", "libx264")):
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        path = make_clip(tmp_path / name, sound=tone(1.0), video_codec=codec, codec_options=options)
        assert (await pool.inspect(path)).not_plain == "", name
    assert (await pool.inspect(remux(tmp_path / "a.mp4", tmp_path / "e.mp4", shifted(5.0)))).not_plain == ""


async def test_interlaced_frames_are_copied(pool: MediaPool, tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mp4", options={"x264-params": "interlaced=1:log-level=none"})
    assert "interlaced" in str((await pool.inspect(path)).not_plain)
    await assert_copied(pool, path, tmp_path / "copy.mp4")


@pytest.mark.parametrize(
    ("transfer", "primaries", "level"), [("smpte2084", "bt2020", 0.58), ("arib-std-b67", "bt2020", 0.75)]
)
async def test_the_white_of_a_high_dynamic_range_is_nearly_white(
    pool: MediaPool, tmp_path: Path, transfer: Any, primaries: Any, level: Any
) -> None:
    """ITU-R BT.2408: white is 58 % of PQ and 75 % of HLG; taken for an ordinary level it would be a dull grey."""
    options = {"x265-params": f"log-level=none:colorprim={primaries}:transfer={transfer}:colormatrix=bt2020nc"}
    grey = np.full((64, 96, 3), round(255 * level), np.uint8)
    path = encoded(
        tmp_path / "a.mp4", codec="libx265", pixel_format="yuv420p10le", options=options, picture=lambda index: grey
    )
    assert "high dynamic range" in str((await pool.inspect(path)).not_plain)
    frame = await shown(pool, path)
    assert 200 < frame.mean() < 245 and np.ptp(frame) <= 8
    await assert_copied(pool, path, tmp_path / "copy.mp4")


async def test_ten_bits_of_an_ordinary_range_stay_as_they_are(pool: MediaPool, tmp_path: Path) -> None:
    path = encoded(
        tmp_path / "a.mp4", codec="libx265", pixel_format="yuv420p10le", options={"x265-params": "log-level=none"}
    )
    assert (await pool.inspect(path)).not_plain == ""
    assert close(await shown(pool, path), flag(96, 64))


async def test_a_copy_that_can_not_be_written_is_no_clip(pool: MediaPool, upright: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        await pool.plain_copy(upright, tmp_path / "nowhere" / "copy.mp4")

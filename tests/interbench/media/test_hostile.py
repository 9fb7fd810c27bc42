"""Files that are damaged, mislabelled or built to do harm."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from known import known
from PIL import Image

from interbench.base.errors import MediaError
from interbench.media.pool import Limits, MediaPool

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAYLISTS = {
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "ffconcat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "dash": b'<?xml version="1.0"?><MPD><Period><BaseURL>file:///etc/passwd</BaseURL></Period></MPD>',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


async def refusal(pool: MediaPool, path: Path) -> MediaError:
    with pytest.raises(MediaError) as refused:
        await pool.inspect(path)
    assert str(path) in str(refused.value), "the message names the file"
    return refused.value


async def assert_alive(pool: MediaPool, path: Path) -> None:
    assert (await pool.inspect(path)).frames == 25


@pytest.fixture(scope="module")
def clip(
    make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return make_clip(
        tmp_path_factory.mktemp("clips") / "clip.mp4", sound=tone(1.0), container_options={"movflags": "faststart"}
    )


@pytest.fixture(scope="module")
def fragmented(
    make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return make_clip(
        tmp_path_factory.mktemp("clips") / "clip.mp4",
        sound=tone(1.0),
        container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
        codec_options={"g": "10"},
    )


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"\0", "not_media"),
        (b"not a clip\n" * 100, "not_media"),
        (b"\xff" * 9, "not_media"),
    ],
    ids=["empty", "one byte", "text", "ones"],
)
async def test_not_media_at_all(pool: MediaPool, tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert (await refusal(pool, path)).code == code


async def test_a_picture_is_no_clip(pool: MediaPool, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "png")
    path = tmp_path / "clip.mp4"
    path.write_bytes(buffer.getvalue())
    assert (await refusal(pool, path)).code == "not_media"


@pytest.mark.parametrize("kind", PLAYLISTS)
async def test_a_file_that_names_other_files(pool: MediaPool, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(PLAYLISTS[kind])
    assert (await refusal(pool, path)).code == "not_media"


async def test_an_mp4_that_keeps_its_media_in_another_file(pool: MediaPool, clip: Path, tmp_path: Path) -> None:
    # The data reference says "url" with a location instead of "in this file".
    data = bytearray(clip.read_bytes())
    at = data.find(b"url \0\0\0\1")
    data[at + 4 : at + 8] = bytes(4)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    try:
        facts = await pool.inspect(path)
    except MediaError as error:
        assert error.code in ("undecodable", "truncated")
    else:
        assert facts.frames == 25, "decoded from this very file"


async def test_names_that_are_no_files(pool: MediaPool, clip: Path, tmp_path: Path) -> None:
    folder, link, pipe = tmp_path / "folder", tmp_path / "link.mp4", tmp_path / "pipe.mp4"
    folder.mkdir()
    link.symlink_to(clip)
    os.mkfifo(pipe)
    assert (await refusal(pool, folder)).code == "not_a_file"
    assert (await refusal(pool, link)).code == "symlink"
    assert (await refusal(pool, pipe)).code == "not_a_file"
    assert (await refusal(pool, tmp_path / "nothing.mp4")).code == "missing"


async def test_a_dangling_link(pool: MediaPool, tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nothing")
    assert (await refusal(pool, tmp_path / "link.mp4")).code == "symlink"


@pytest.mark.parametrize("kind", ["clip", "fragmented"])
async def test_a_file_cut_short_anywhere_is_refused(
    pool: MediaPool, request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    data = request.getfixturevalue(kind).read_bytes()
    codes = set()
    for size in [*range(1, 64, 7), *np.linspace(64, len(data) - 1, 40, dtype=int)]:
        if kind == "fragmented" and data[size + 4 : size + 8] == b"moof":
            continue
        path = tmp_path / "cut.mp4"
        path.write_bytes(data[:size])
        codes.add((await refusal(pool, path)).code)
    assert codes <= {"truncated", "not_media"}


@pytest.mark.parametrize(("name", "video", "audio"), [("a.webm", "libvpx", "libopus"), ("a.ts", "libx264", "aac")])
async def test_other_containers_cut_short(
    pool: MediaPool,
    make_clip: Callable[..., Path],
    tone: Callable[..., np.ndarray],
    tmp_path: Path,
    name: str,
    video: str,
    audio: str,
) -> None:
    data = make_clip(tmp_path / name, sound=tone(1.0), video_codec=video, audio_codec=audio).read_bytes()
    path = tmp_path / f"cut-{name}"
    for share in (0.2, 0.5, 0.9, 0.999):
        path.write_bytes(data[: int(len(data) * share) | 1])
        assert (await refusal(pool, path)).code == "truncated"


async def test_a_tail_overwritten_with_zeros_is_refused(pool: MediaPool, clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    path = tmp_path / "clip.mp4"
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert (await refusal(pool, path)).code in ("undecodable", "truncated")


async def test_sound_alone_is_no_clip(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=0, sound=tone(1.0))
    assert (await refusal(pool, path)).code == "no_video"
    assert len(known(await pool.audio(path))) == pytest.approx(16_000, abs=700)


async def test_more_pixels_than_accepted(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=2, size=(640, 480))
    async with MediaPool(limits=Limits(pixels=640 * 479)) as strict:
        error = await refusal(strict, path)
    assert error.code == "too_large" and "640x480" in str(error)


async def test_a_sample_description_of_giant_frames_does_not_decide(
    pool: MediaPool, clip: Path, tmp_path: Path
) -> None:
    data = bytearray(clip.read_bytes())
    at = data.find(b"avc1")
    data[at + 28 : at + 32] = struct.pack(">HH", 65535, 65535)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    facts = await pool.inspect(path)
    assert (facts.width, facts.height) == (96, 64), "as decoded, not as claimed"


async def test_absurd_timestamps(pool: MediaPool, clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    at = data.find(b"stts")
    data[at + 16 : at + 20] = struct.pack(">I", 2**31 - 1)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    assert (await refusal(pool, path)).code == "too_long"


@pytest.mark.parametrize(("field", "offset"), [(b"stsz", 12), (b"stsz", 8), (b"stsc", 12), (b"ctts", 8)])
async def test_absurd_tables(pool: MediaPool, clip: Path, tmp_path: Path, field: bytes, offset: int) -> None:
    data = bytearray(clip.read_bytes())
    at = data.find(field)
    data[at + offset : at + offset + 4] = struct.pack(">I", 2**31 - 1)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    assert (await refusal(pool, path)).code in ("undecodable", "truncated", "memory")
    await assert_alive(pool, clip)


async def test_many_streams(pool: MediaPool, clip: Path, tmp_path: Path) -> None:
    for count in (17, 400):
        path = tmp_path / f"{count}.mkv"
        with av.open(str(path), "w", format="matroska") as container:
            streams = [container.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(count)]
            for stream in streams:
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 160), np.int16), "s16", "mono")
                frame.sample_rate = 8000
                container.mux(stream.encode(frame))
        assert (await refusal(pool, path)).code == "too_many_streams"
    await assert_alive(pool, clip)


async def test_random_damage_never_hangs_or_escapes(
    pool: MediaPool, clip: Path, fragmented: Path, tmp_path: Path
) -> None:
    known = {"undecodable", "truncated", "memory", "too_long", "too_large", "not_media", "no_video", "too_many_streams"}
    path = tmp_path / "clip.mp4"
    for seed in range(60):
        random = np.random.default_rng(seed)
        data = bytearray((clip if seed % 2 else fragmented).read_bytes())
        for position in random.integers(0, 3000 if seed % 3 else len(data), random.integers(1, 16)):
            data[position] = random.choice([0, 127, 128, 255])
        path.write_bytes(data)
        for task in (pool.inspect(path), pool.audio(path), pool.frames(path, 2, (16, 16))):
            try:
                await task
            except MediaError as error:
                assert error.code in known, str(error)
    await assert_alive(pool, clip)


def write_grey(path: Path, *, frames: int, side: int, **options: str) -> Path:
    """A clip of one grey frame over and over, made as YUV at once: turning it from RGB is most of what it costs."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = side, side, "yuv420p"
        video.codec_context.options = {"preset": "ultrafast", "g": "999", **options}
        frame = av.VideoFrame.from_ndarray(np.full((side * 3 // 2, side), 128, np.uint8), format="yuv420p")
        for index in range(frames):
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


async def test_a_small_file_of_huge_frames_is_stopped_by_the_clock(clip: Path, tmp_path: Path) -> None:
    bomb = write_grey(tmp_path / "a.mp4", frames=60, side=2048)
    assert bomb.stat().st_size < 300_000
    async with MediaPool(limits=Limits(timeout_s=0.01)) as strict:
        assert (await refusal(strict, bomb)).code == "timeout"
        strict.limits = Limits()
        await assert_alive(strict, clip)


async def test_memory_is_bounded_and_the_next_clip_is_served(clip: Path, tmp_path: Path) -> None:
    # Sixteen reference frames of 24 MiB each.
    large = write_grey(tmp_path / "a.mp4", frames=20, side=4096, refs="16")
    async with MediaPool(limits=Limits(memory_bytes=400 * 2**20)) as strict:
        await assert_alive(strict, clip)
        assert (await refusal(strict, large)).code in ("memory", "undecodable", "crashed")
        await assert_alive(strict, clip)


async def test_a_file_larger_than_accepted(clip: Path) -> None:
    async with MediaPool(limits=Limits(file_bytes=1000)) as strict:
        assert (await refusal(strict, clip)).code == "too_large"


async def test_what_is_handed_over_is_bounded(clip: Path) -> None:
    async with MediaPool(limits=Limits(output_bytes=10_000)) as strict:
        with pytest.raises(MediaError) as refused:
            await strict.audio(clip)
        assert refused.value.code == "no_space"
        with pytest.raises(MediaError) as refused:
            await strict.frames(clip, 100, (100, 100))
        assert refused.value.code == "too_large"
        await assert_alive(strict, clip)


async def test_a_worker_that_cannot_live_is_reported_as_crashed(clip: Path) -> None:
    async with MediaPool(limits=Limits(memory_bytes=48 * 2**20)) as starved:
        assert (await refusal(starved, clip)).code in ("crashed", "memory")


def _children() -> list[Path]:
    """Media workers of this process, as their folders in /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and b"interbench.media.worker" in (folder / "cmdline").read_bytes():
                found.append(folder)
    return found


@needs_proc
async def test_a_worker_that_is_killed_is_replaced(clip: Path) -> None:
    async with MediaPool() as own:
        known = set(_children())
        await assert_alive(own, clip)
        (worker,) = set(_children()) - known
        call = asyncio.create_task(own.inspect(clip))
        await asyncio.sleep(0)  # the request is written before the loop turns
        os.kill(int(worker.name), 9)
        with pytest.raises(MediaError) as refused:
            await call
        assert refused.value.code == "crashed"
        await assert_alive(own, clip)


@needs_proc
async def test_workers_see_no_secrets(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hush")
    async with MediaPool() as own:
        known = set(_children())
        await assert_alive(own, clip)
        (worker,) = set(_children()) - known
        assert b"hush" not in (worker / "environ").read_bytes()


async def test_a_worker_starts_without_scipy() -> None:
    """There are many of them, and SciPy's import takes longer than most of what they are asked."""
    code = "import interbench.media.worker, sys; sys.exit('scipy' in sys.modules)"
    started = await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", code)
    assert await started.wait() == 0

"""What decoding a sound clip tells."""

from __future__ import annotations

import contextlib
import hashlib
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from known import known

from interbench.base.errors import MediaError
from interbench.domain.records import NoSpeech
from interbench.media.pool import Limits, MediaPool, first_frame_time, first_speech_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
FAST_START = {"movflags": "faststart"}


async def test_tells_the_facts_of_a_clip(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=50, sound=tone(2.0))
    facts = await pool.inspect(path)
    assert (facts.width, facts.height, facts.frames, facts.video_codec) == (96, 64, 50, "h264")
    assert facts.fps == pytest.approx(25)
    assert facts.duration_s == pytest.approx(2.0, abs=0.03)
    assert facts.audio_s == pytest.approx(2.0, abs=0.03)
    assert facts.has_audio and facts.audible
    assert facts.speech_start_s == pytest.approx(0.0, abs=0.021)
    assert facts.bytes == path.stat().st_size
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_clip_without_an_audio_track_is_not_audible(
    pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    facts = await pool.inspect(make_clip(tmp_path / "a.mp4"))
    assert (facts.has_audio, facts.audible, facts.audio_s, facts.speech_start_s) == (False, False, 0.0, None)
    assert await pool.audio(tmp_path / "a.mp4") is None


@pytest.mark.parametrize(("level", "audible"), [(-48.0, True), (-52.0, False), (-120.0, False)])
async def test_audible_means_louder_than_50_below_full_scale(
    pool: MediaPool,
    make_clip: Callable[..., Path],
    tone: Callable[..., np.ndarray],
    tmp_path: Path,
    level: float,
    audible: bool,
) -> None:
    path = make_clip(tmp_path / "a.mkv", sound=tone(1.0, level), audio_codec="flac")
    facts = await pool.inspect(path)
    assert facts.has_audio and facts.audible is audible


async def test_a_constant_offset_is_no_sound(pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", sound=np.full(48_000, 0.2, np.float32), audio_codec="flac")
    assert not (await pool.inspect(path)).audible


async def test_speech_starts_where_the_track_gets_loud(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    silence = np.zeros(24_000, np.float32)
    path = make_clip(tmp_path / "a.mp4", frames=40, sound=np.concatenate([silence, tone(1.0)]))
    assert (await pool.inspect(path)).speech_start_s == pytest.approx(0.5, abs=0.045)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
async def test_sound_that_sets_in_later_stays_on_the_clock_of_the_clip(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path, name: str
) -> None:
    path = make_clip(tmp_path / name, frames=50, sound=tone(1.0), sound_offset_s=0.8)
    facts = await pool.inspect(path)
    assert facts.speech_start_s == pytest.approx(0.8, abs=0.045)
    assert facts.duration_s == pytest.approx(2.0, abs=0.06)
    samples = known(await pool.audio(path))
    assert np.abs(samples[: int(0.75 * 16_000)]).max() < 0.01 < np.abs(samples[int(0.9 * 16_000) :]).max()


async def test_the_longer_of_picture_and_sound_is_the_duration(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    assert (await pool.inspect(make_clip(tmp_path / "a.mp4", frames=10, sound=tone(2.0)))).duration_s == pytest.approx(
        2.0, abs=0.05
    )
    assert (await pool.inspect(make_clip(tmp_path / "b.mp4", frames=50, sound=tone(0.5)))).duration_s == pytest.approx(
        2.0, abs=0.05
    )


async def test_frames_at_uneven_times(pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path) -> None:
    times = [0, 1, 2, 10, 11, 30, 31, 49]
    facts = await pool.inspect(make_clip(tmp_path / "a.mp4", frames=8, times=times))
    assert facts.frames == 8
    assert facts.duration_s == pytest.approx(2.0, abs=0.06)
    assert facts.fps == pytest.approx(8 / facts.duration_s, rel=1e-4)


async def test_a_single_frame(pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path) -> None:
    facts = await pool.inspect(make_clip(tmp_path / "a.mp4", frames=1))
    assert facts.frames == 1 and 0 < facts.duration_s <= 0.1


async def test_odd_sizes(pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", size=(127, 95), pixel_format="yuv444p")
    facts = await pool.inspect(path)
    assert (facts.width, facts.height) == (127, 95)
    assert (await pool.frames(path, 3, (33, 17))).shape == (3, 17, 33, 3)


@pytest.mark.parametrize(
    ("name", "video", "audio", "codec"),
    [("a.webm", "libvpx", "libopus", "vp8"), ("a.ts", "libx264", "aac", "h264"), ("a.mov", "mpeg4", "aac", "mpeg4")],
)
async def test_other_containers_and_codecs(
    pool: MediaPool,
    make_clip: Callable[..., Path],
    tone: Callable[..., np.ndarray],
    tmp_path: Path,
    name: str,
    video: str,
    audio: str,
    codec: str,
) -> None:
    path = make_clip(tmp_path / name, frames=50, sound=tone(2.0), video_codec=video, audio_codec=audio)
    facts = await pool.inspect(path)
    assert (facts.frames, facts.video_codec, facts.audible) == (50, codec, True)
    assert facts.duration_s == pytest.approx(2.0, abs=0.1)


async def test_ten_minutes(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    sound = np.concatenate([np.zeros(8_000 * 590, np.float32), tone(10.0, rate=8_000)])
    path = make_clip(tmp_path / "a.mp4", frames=600, size=(32, 32), fps=1, sound=sound, rate=8_000)
    facts = await pool.inspect(path)
    assert facts.duration_s == pytest.approx(600, abs=1)
    assert facts.speech_start_s == pytest.approx(590, abs=0.3)
    samples = known(await pool.audio(path))
    assert samples.dtype == np.float32 and len(samples) == pytest.approx(600 * 16_000, rel=1e-3)
    async with MediaPool(limits=Limits(duration_s=599)) as strict:
        with pytest.raises(MediaError) as refused:
            await strict.inspect(path)
    assert refused.value.code == "too_long"


@pytest.mark.parametrize(
    ("name", "options"), [("a.mp4", FAST_START), ("b.mp4", FRAGMENTED), ("c.webm", {}), ("d.ts", {})]
)
async def test_tells_how_much_of_a_stream_shows_the_first_frame(
    pool: MediaPool,
    make_clip: Callable[..., Path],
    tone: Callable[..., np.ndarray],
    tmp_path: Path,
    name: str,
    options: dict[str, str],
) -> None:
    webm = name.endswith("webm")
    path = make_clip(
        tmp_path / name,
        frames=50,
        sound=tone(2.0),
        container_options=options,
        video_codec="libvpx" if webm else "libx264",
        audio_codec="libopus" if webm else "aac",
    )
    needed = (await pool.inspect(path)).first_frame_bytes
    assert needed is not None and needed < path.stat().st_size / 2
    # A player that has that much shows the first frame of the clip.
    whole = await pool.frames(path, 50, (48, 32))
    beginning = tmp_path / f"beginning{path.suffix}"
    beginning.write_bytes(path.read_bytes()[:needed])
    kind = {".webm": "matroska", ".ts": "mpegts"}.get(path.suffix, "mp4")
    with av.open(str(beginning), "r", format=kind) as container:
        shown = next(container.decode(video=0)).reformat(48, 32, "rgb24").to_ndarray()
    assert np.abs(shown.astype(int) - whole[0]).mean() < 2


async def test_a_file_with_its_index_at_the_end_must_be_there_whole(
    pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_clip(tmp_path / "a.mp4")
    facts = await pool.inspect(path)
    assert facts.first_frame_bytes is None
    assert first_frame_time([(10, 1.0), (facts.bytes, 2.5)], facts) == 2.5


async def test_the_first_frame_comes_with_the_piece_that_completes_it(
    pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    facts = await pool.inspect(make_clip(tmp_path / "a.mp4", container_options=FRAGMENTED))
    needed = known(facts.first_frame_bytes)
    assert first_frame_time([(needed - 1, 1.0), (needed, 1.5), (facts.bytes, 3.0)], facts) == 1.5
    with pytest.raises(ValueError, match="never arrived"):
        first_frame_time([], facts)


@pytest.mark.parametrize(
    ("name", "options"), [("a.mp4", FAST_START), ("b.mp4", FRAGMENTED), ("c.webm", {}), ("d.ts", {})]
)
async def test_tells_how_much_of_a_stream_holds_the_first_sound(
    pool: MediaPool,
    make_clip: Callable[..., Path],
    tone: Callable[..., np.ndarray],
    tmp_path: Path,
    name: str,
    options: dict[str, str],
) -> None:
    webm = name.endswith("webm")
    path = make_clip(
        tmp_path / name,
        frames=100,
        sound=np.concatenate([np.zeros(48_000, np.float32), tone(3.0)]),
        container_options=options,
        codec_options={} if webm else {"g": "10"},
        video_codec="libvpx" if webm else "libx264",
        audio_codec="libopus" if webm else "aac",
    )
    facts = await pool.inspect(path)
    needed = known(facts.speech_start_bytes)
    assert facts.speech_start_s == pytest.approx(1.0, abs=0.1)
    assert known(facts.first_frame_bytes) < needed < facts.bytes * 0.6
    # A player that has that much hears it, and one that has a sixteenth of a second less does not.
    kind = {".webm": "matroska", ".ts": "mpegts"}.get(path.suffix, "mp4")

    def loudest(size: int) -> float:
        beginning = tmp_path / f"beginning{path.suffix}"
        beginning.write_bytes(path.read_bytes()[:size])
        level = 0.0
        with av.open(str(beginning), "r", format=kind) as container, contextlib.suppress(av.FFmpegError):
            for frame in container.decode(audio=0):
                level = max(level, float(np.abs(frame.to_ndarray()).max()))
        return level

    assert loudest(needed) > 0.01 > loudest(_end_of_sound_before(path, kind, known(facts.speech_start_s) - 1 / 16))


def _end_of_sound_before(path: Path, kind: str, time: float) -> int:
    """Where in the file the sound packets end that are over at ``time``."""
    with av.open(str(path), "r", format=kind) as container:
        origin = min(float(known(stream.start_time) * known(stream.time_base)) for stream in container.streams)
        return max(
            known(packet.pos) + packet.size
            for packet in container.demux(audio=0)
            if packet.pts is not None
            and float((packet.pts + known(packet.duration)) * packet.time_base) - origin < time
        )


async def test_nothing_heard_needs_no_bytes(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    mute = await pool.inspect(make_clip(tmp_path / "a.mp4"))
    silent = await pool.inspect(make_clip(tmp_path / "b.mp4", sound=tone(1.0, -80)))
    assert (mute.no_speech, silent.no_speech) == (NoSpeech.NO_SOUND_TRACK, NoSpeech.SILENT)
    assert mute.speech_start_bytes is silent.speech_start_bytes is None
    assert first_speech_time([(10, 1.0)], mute, 1.0) is first_speech_time([], silent, 1.0) is None


async def test_the_first_sound_is_played_in_its_place_or_when_it_arrives(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    sound = np.concatenate([np.zeros(48_000, np.float32), tone(1.0)])
    facts = await pool.inspect(
        make_clip(tmp_path / "a.mp4", frames=50, sound=sound, container_options=FRAGMENTED, codec_options={"g": "10"})
    )
    offset, needed = known(facts.speech_start_s), known(facts.speech_start_bytes)
    first = known(facts.first_frame_bytes)
    assert first_speech_time([], facts, 2.0) == 2.0 + offset, "handed over whole"
    fast = [(first, 0.5), (needed, 0.75), (facts.bytes, 5.0)]
    assert first_speech_time(fast, facts, 0.5) == 0.5 + offset
    slow = [(first, 0.5), (needed - 1, 2.0), (needed, 3.0), (facts.bytes, 5.0)]
    assert first_speech_time(slow, facts, 0.5) == 3.0


async def test_frames_are_evenly_spaced_by_time_not_by_count(
    pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    # Frame 0 stays for 24 of 32 ticks, then eight quick ones: three quarters of the wanted frames show frame 0.
    path = make_clip(tmp_path / "a.mp4", frames=9, times=[0, *range(24, 32)], codec_options={"crf": "8"})
    frames = await pool.frames(path, 8, (96, 64))
    levels = frames[:, 8:56, 8:40].reshape(8, -1).mean(axis=1)
    assert levels[:6] == pytest.approx([0] * 6, abs=4)
    assert levels[6] == pytest.approx(3 * 8, abs=4) and levels[7] == pytest.approx(7 * 8, abs=4)


async def test_more_frames_than_there_are_repeat(
    pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    frames = await pool.frames(make_clip(tmp_path / "a.mp4", frames=2), 6, (16, 16))
    assert (frames[0] == frames[2]).all() and (frames[3] == frames[5]).all() and (frames[0] != frames[5]).any()


async def test_sound_comes_as_16_khz_mono(
    pool: MediaPool, make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    samples = known(await pool.audio(make_clip(tmp_path / "a.mp4", frames=50, sound=tone(2.0, -20))))
    assert len(samples) == pytest.approx(32_000, abs=700)
    spectrum = np.abs(np.fft.rfft(samples[8_000:24_000]))
    assert spectrum.argmax() == 440
    assert 20 * np.log10(np.sqrt(np.square(samples[8_000:24_000]).mean())) == pytest.approx(-20, abs=0.5)


async def test_loud_stereo_is_not_distorted(pool: MediaPool, tone: Callable[..., np.ndarray], tmp_path: Path) -> None:
    """Both channels carry the same, close to full scale: their mix is louder than that."""
    path, loud = tmp_path / "a.wav", tone(1.0, -4.0, 16_000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.repeat((loud * 32767).astype("<i2"), 2).tobytes())
    heard = known(await pool.audio(path))
    assert np.abs(heard).max() <= 1
    assert np.abs(heard / np.abs(heard).max() - loud / np.abs(loud).max()).max() < 1e-3


async def test_nothing_handed_over_stays_behind(
    make_clip: Callable[..., Path], tone: Callable[..., np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = make_clip(tmp_path / "a.mp4", sound=tone(1.0))
    async with MediaPool() as own:
        assert await own.audio(path) is not None
        (folder,) = scratch.iterdir()
        assert [file.name for file in folder.iterdir()] == [".owned"]
    assert not list(scratch.iterdir())


def _relative(path: Path) -> Path:
    return Path(path.name)


async def test_relative_paths(
    pool: MediaPool, make_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)
    assert (await pool.inspect(_relative(path))).frames == 25

"""The stream of a talking clip: whole at every cut, each block complete at once, sound and picture in step."""

from __future__ import annotations

import io
import struct
import tracemalloc
from itertools import accumulate

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from flash_clip import RATE, FlashClip, heard, seen, sound_of
from hypothesis import given, settings
from hypothesis import strategies as st
from known import known
from livetalk.base.errors import EncoderError
from livetalk.video import h264
from livetalk.video.fragments import FragmentWriter

# Half of the 40 ms within which sound and picture must stay, and one frame of AAC.
STEP = 1024 / RATE
BLOCKS = (9, 12, 12, 12)


def coded(clip: FlashClip, sizes: tuple[int, ...] | list[int], *, finish: bool = True) -> list[bytes]:
    """What a client receives: the init segment and each fragment."""
    writer = FragmentWriter(clip.width, clip.height, fps=clip.fps)
    parts = [writer.init_segment, *(writer.write(*block) for block in clip.blocks(sizes))]
    return [*parts, writer.finish()] if finish else parts


def pictures(file: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(file), "r") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def boxes(data: bytes) -> list[tuple[str, int, int]]:
    """Kind, start and end of the boxes that lie side by side in `data`."""
    found, place = [], 0
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        found.append((kind.decode("latin1"), place, place + size))
        place += size
    assert place == len(data)
    return found


def murmur(seconds: float) -> np.ndarray:
    """Sound without any repetition, below about 2 kHz."""
    white = np.random.default_rng(0).normal(0, 0.5, round(seconds * RATE) + 47)
    return np.convolve(white, np.hanning(48) / 12, "valid").astype(np.float32).clip(-0.9, 0.9)


def test_each_call_returns_all_frames_of_its_block() -> None:
    writer = FragmentWriter(64, 48)
    received = writer.init_segment
    assert [kind for kind, *_ in boxes(received)] == ["ftyp", "moov"]
    levels = np.arange(sum(BLOCKS)) * 5 + 10
    for size, end in zip(BLOCKS, accumulate(BLOCKS), strict=True):
        frames = np.broadcast_to(levels[end - size : end, None, None, None], (size, 48, 64, 3)).astype(np.uint8)
        part = writer.write(frames, np.zeros(size * 3000, np.float32))
        assert [kind for kind, *_ in boxes(part)] == ["moof", "mdat"]
        received += part
        brightness = [picture.mean() for picture in pictures(received)]
        assert brightness == pytest.approx(levels[:end], abs=3)
    assert writer.frames == sum(BLOCKS)


def test_sound_and_picture_stay_in_step_for_ten_minutes() -> None:
    sizes = [9] + [12] * 799
    clip = FlashClip(range(0, sum(sizes), 37), width=32, height=32)
    file = b"".join(coded(clip, sizes))
    expected = [time for time in clip.times() if time < 600]
    assert len(expected) > 250
    assert seen(file) == expected
    assert np.abs(np.subtract(heard(file), expected)).max() < 0.001


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 17), min_size=1, max_size=9), fps=st.sampled_from([16, 25, 30]))
def test_any_blocks_keep_every_frame_and_every_sample(sizes: list[int], fps: int) -> None:
    total = sum(sizes)
    sound = murmur(total / fps)
    writer = FragmentWriter(32, 32, fps=fps)
    file = writer.init_segment
    frames = np.full((total, 32, 32, 3), 90, np.uint8)
    frames[::3] = 200
    for size, end in zip(sizes, accumulate(sizes), strict=True):
        file += writer.write(frames[end - size : end], sound[(end - size) * RATE // fps : end * RATE // fps])
    file += writer.finish()
    shown = pictures(file)
    assert len(shown) == total
    assert [picture.mean() > 150 for picture in shown] == [n % 3 == 0 for n in range(total)]
    played, start = sound_of(file)
    assert start == 0
    assert len(sound) <= len(played) < len(sound) + 1024
    error = played[: len(sound)] - sound
    for part in (slice(None), slice(0, 500), slice(-500, None)):
        assert np.abs(error[part]).mean() < 0.3 * np.abs(sound[part]).mean()
    overlap = np.correlate(played[40:2_000], sound[80:1_900], "valid")
    assert np.argmax(overlap) == 40, "the sound is shifted"


@pytest.mark.parametrize("kept", range(1, len(BLOCKS) + 1))
def test_plays_when_cut_after_any_fragment(kept: int) -> None:
    clip = FlashClip({0, 8, 9, 20, 21, 32, 44})
    parts = coded(clip, BLOCKS)
    file = b"".join(parts[: 1 + kept])
    end = sum(BLOCKS[:kept])
    shown = [number / 16 for number in sorted(clip.flashes) if number < end]
    assert seen(file) == shown
    assert len(pictures(file)) == end
    samples, start = sound_of(file)
    # The coder looks ahead: what it still holds is less than a tenth of what a client has in hand.
    assert 0 < end / 16 - (start + len(samples) / RATE) <= 3 * STEP
    with av.open(io.BytesIO(file), "r") as container:
        assert known(container.duration) / 1e6 == pytest.approx(end / 16, abs=STEP)
    # Neighbouring flashes sound as one tone.
    audible = [time for time in shown if time - 1 / 16 not in shown and time < start + len(samples) / RATE]
    assert np.abs(np.subtract(heard(file), audible)).max() < 0.001


@pytest.mark.parametrize("kept", range(1, len(BLOCKS) + 1))
def test_ends_early_after_any_block_with_all_its_sound(kept: int) -> None:
    clip = FlashClip({0, 8, 20, 32, 44})
    parts = coded(clip, BLOCKS[:kept])
    assert [kind for kind, *_ in boxes(parts[-1])] == ["moof", "mdat"]
    file = b"".join(parts)
    end = sum(BLOCKS[:kept])
    shown = [number / 16 for number in sorted(clip.flashes) if number < end]
    assert seen(file) == shown
    assert np.abs(np.subtract(heard(file), shown)).max() < 0.001
    samples, _ = sound_of(file)
    assert 0 <= len(samples) - end * 3000 < 1024


def test_can_be_joined_at_any_fragment() -> None:
    clip = FlashClip({2, 10, 23, 40})
    head, *fragments = coded(clip, BLOCKS, finish=False)
    for place, (size, end) in enumerate(zip(BLOCKS, accumulate(BLOCKS), strict=True)):
        joined = head + fragments[place]
        assert len(pictures(joined)) == size
        assert seen(joined) == [number / 16 for number in sorted(clip.flashes) if end - size <= number < end]


def test_seeks_to_the_start_of_every_block() -> None:
    clip = FlashClip({9, 21, 33})
    file = b"".join(coded(clip, BLOCKS))
    with av.open(io.BytesIO(file), "r") as container:
        video = container.streams.video[0]
        for number in (33, 9, 21):
            container.seek(number * 1000 + 500, stream=video)
            frame = next(container.decode(video))
            assert (frame.pts, frame.key_frame) == (number * 1000, True)
            assert memoryview(frame.planes[0])[0] > 128


def test_codes_without_delay_and_names_its_codecs() -> None:
    writer = FragmentWriter(64, 48)
    file = b"".join([writer.init_segment, *(writer.write(*block) for block in FlashClip(set()).blocks(BLOCKS))])
    with av.open(io.BytesIO(file), "r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [packet.pts for packet in packets] == [packet.dts for packet in packets]
        assert [n for n, packet in enumerate(packets) if packet.is_keyframe] == [0, 9, 21, 33]
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == (
            "h264",
            "yuv420p",
        ) and video.average_rate == 16
        assert (sound.codec_context.name, sound.rate, sound.codec_context.layout.name) == ("aac", RATE, "mono")
        profile, compatible, level = known(video.codec_context.extradata)[1:4]
    assert writer.mime == f'video/mp4; codecs="avc1.{profile:02X}{compatible:02X}{level:02X}, mp4a.40.2"'


def test_colours_come_back_and_are_said_to_be_bt709() -> None:
    colours = np.array([(200, 30, 30), (30, 180, 40), (40, 50, 200), (226, 182, 150)], np.uint8)
    frame = np.repeat(np.repeat(colours.reshape(2, 2, 3), 32, axis=0), 32, axis=1)
    writer = FragmentWriter(64, 64)
    file = writer.init_segment + writer.write(frame[None], np.zeros(3000, np.float32))
    with av.open(io.BytesIO(file), "r") as container:
        decoded = next(container.decode(video=0))
    bt709 = (Colorspace.ITU709, ColorPrimaries.BT709, ColorTrc.BT709, ColorRange.MPEG)
    assert (decoded.colorspace, decoded.color_primaries, decoded.color_trc, decoded.color_range) == bt709
    y, u, v = (plane.astype(float) for plane in planes(decoded))
    # ITU-R BT.709, limited range, written out: what any player does with such a file.
    luma, blue, red = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    rgb = 255 * np.stack([luma + 1.5748 * red, luma - 0.187324 * blue - 0.468124 * red, luma + 1.8556 * blue], axis=-1)
    assert np.abs(rgb - colours).max() < 6


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Luma and chroma in the middle of each quarter of the picture."""
    found = []
    for plane in frame.planes:
        picture = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        rows, columns = (np.array([1, 3]) * side // 4 for side in picture.shape)
        found.append(picture[np.ix_(rows, columns)].reshape(-1))
    return found


def test_a_note_travels_in_the_init_segment() -> None:
    note = {"comment": "random weights: “no face” can be expected", "title": "räksmörgås"}
    writer = FragmentWriter(64, 48, metadata=note)
    file = writer.init_segment + writer.write(*FlashClip({0}).block(0, 3))
    with av.open(io.BytesIO(file), "r") as container:
        assert note.items() <= container.metadata.items()
    with pytest.raises(ValueError, match="metadata mood can't be written"):
        FragmentWriter(64, 48, metadata={"mood": "good"})


@pytest.mark.parametrize(("width", "height"), [(34, 50), (66, 18), (400, 720)])
def test_sizes_that_are_no_multiple_of_a_block(width: int, height: int) -> None:
    frames = np.zeros((3, height, width, 3), np.uint8)
    frames[:, : height // 2, : width // 2] = 200
    writer = FragmentWriter(width, height)
    file = writer.init_segment + writer.write(frames, np.zeros(9000, np.float32))
    for picture, frame in zip(pictures(file), frames, strict=True):
        assert picture.shape == frame.shape
        assert np.abs(picture.astype(int) - frame).mean() < 3


def test_detail_of_a_face_survives() -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:128, 0:128] / 128 - 0.5
    skin = 150 + 60 * np.exp(-(x**2 + y**2) * 8) + rng.normal(0, 2, x.shape)
    skin[(np.abs(np.abs(x) - 0.12) < 0.05) & (np.abs(y + 0.1) < 0.03)] = 40
    frames = np.stack([np.roll(skin, n // 2, axis=1) for n in range(21)])[..., None].repeat(3, -1).astype(np.uint8)
    writer = FragmentWriter(128, 128)
    silence = np.zeros(21 * 3000, np.float32)
    file = writer.init_segment + writer.write(frames[:9], silence[:27_000]) + writer.write(frames[9:], silence[27_000:])
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(pictures(file), frames, strict=True)]
    assert 10 * np.log10(255**2 / max(errors)) > 36


def test_digital_silence_stays_silent_and_shouting_is_clipped() -> None:
    writer = FragmentWriter(64, 48)
    black = np.zeros((8, 48, 64, 3), np.uint8)
    loud = (4 * np.sin(np.arange(24_000) / 20)).astype(np.float32)
    file = writer.init_segment + writer.write(black, np.zeros(24_000, np.float32)) + writer.write(black, loud)
    played, _ = sound_of(file + writer.finish())
    assert np.abs(played[:20_000]).max() < 1e-4
    assert 0.9 < np.abs(played[30_000:44_000]).max() < 1.3


@pytest.mark.parametrize(
    ("frames", "sound", "message"),
    [
        (np.zeros((3, 48, 64, 3), np.float32), np.zeros(9000, np.float32), "expected uint8 frames .* got float32"),
        (np.zeros((3, 64, 48, 3), np.uint8), np.zeros(9000, np.float32), "expected uint8 frames"),
        (np.zeros((48, 64, 3), np.uint8), np.zeros(9000, np.float32), "expected uint8 frames"),
        (np.zeros((0, 48, 64, 3), np.uint8), np.zeros(0, np.float32), "expected uint8 frames"),
        (np.zeros((3, 48, 64, 3), np.uint8), np.zeros(8999, np.float32), "9000 samples .* for 3 frames"),
        (np.zeros((3, 48, 64, 3), np.uint8), np.zeros(9000), "got float64"),
        (np.zeros((3, 48, 64, 3), np.uint8), np.full(9000, np.nan, np.float32), "not numbers"),
    ],
)
def test_refuses_what_is_no_block_and_goes_on(frames: np.ndarray, sound: np.ndarray, message: str) -> None:
    writer = FragmentWriter(64, 48)
    with pytest.raises(ValueError, match=message):
        writer.write(frames, sound)
    file = writer.init_segment + writer.write(*FlashClip({1}).block(0, 3)) + writer.finish()
    assert (seen(file), writer.frames) == ([1 / 16], 3)


def test_nothing_follows_the_end() -> None:
    writer = FragmentWriter(64, 48)
    assert FragmentWriter(64, 48).finish() == b""
    block = FlashClip(set()).block(0, 3)
    writer.write(*block)
    assert writer.finish()
    assert writer.finish() == b""
    with pytest.raises(ValueError, match="finished"):
        writer.write(*block)


def test_refuses_sizes_and_rates_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="even size"):
        FragmentWriter(63, 48)
    with pytest.raises(ValueError, match="24 frames a second do not divide 44100"):
        FragmentWriter(64, 48, fps=24, sound_rate=44_100)
    with pytest.raises(EncoderError, match="no video encoder 'mpeg1'"):
        FragmentWriter(64, 48, encoder="mpeg1")


def test_falls_back_where_there_is_no_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    # An encoder that FFmpeg has, for a device that no machine for tests has.
    monkeypatch.setattr(h264, "HARDWARE", ("h264_absent",))
    monkeypatch.setitem(h264._SETTINGS, "h264_absent", {})
    writer = FragmentWriter(64, 48)
    assert writer.encoder == "libx264"
    with pytest.raises(EncoderError, match="h264_absent can't be used on this machine"):
        FragmentWriter(64, 48, encoder="h264_absent")


def test_an_encoder_that_holds_pictures_back_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(h264._SETTINGS, "libx264", {"preset": "medium"})
    h264.works.cache_clear()
    assert not h264.works("libx264", 64, 48)
    with pytest.raises(EncoderError, match="did not hand back"):
        FragmentWriter(64, 48, encoder="libx264").write(*FlashClip(set()).block(0, 3))
    h264.works.cache_clear()


def test_fragments_are_numbered_and_dated() -> None:
    parts = coded(FlashClip(set()), BLOCKS)
    for number, part in enumerate(parts[1:], 1):
        moof = part[8 : boxes(part)[0][2]]
        inside = {kind: moof[start + 8 : end] for kind, start, end in boxes(moof)}
        assert struct.unpack(">II", inside["mfhd"]) == (0, number)
    first_traf = parts[3][8 + 16 + 8 :]
    times = {kind: first_traf[start + 8 : end] for kind, start, end in boxes(first_traf[: 16 + 20])}
    assert struct.unpack(">IQ", times["tfdt"]) == (1 << 24, (9 + 12) * 1000)


def test_memory_does_not_grow_with_the_clip() -> None:
    writer = FragmentWriter(64, 48)
    frames, sound = FlashClip({3, 7}).block(0, 12)
    for _ in range(5):
        writer.write(frames, sound)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            writer.write(frames, sound)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000

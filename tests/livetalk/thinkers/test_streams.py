"""Events and sound as services stream them, cut anywhere."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from livetalk.thinkers.base import ThinkerError
from livetalk.thinkers.sound import SoundReader, to_wav
from livetalk.thinkers.sse import EventReader

STREAM = (
    "\ufeffdata: first\n\n"
    ": a comment\r\n"
    "event: message\r\ndata: two\r\ndata:lines\r\n\r\n"
    "data: {\"text\": \"“é天😀”\"}\r\r"
    "id: 7\n\n"
    "data\n\n"
    "data:  spaced \n\n"
    "data: never finished\n"
).encode()  # fmt: skip
EVENTS = ["first", "two\nlines", '{"text": "“é天😀”"}', "", " spaced "]


def read(pieces: list[bytes], **limits: int) -> list[str]:
    reader = EventReader(**{"longest": 1_000, "total": 10_000, **limits})
    return [event for piece in pieces for event in reader.feed(piece)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_events_are_the_same_however_the_stream_is_cut(size: int) -> None:
    assert read([STREAM[start : start + size] for start in range(0, len(STREAM), size)]) == EVENTS


def test_events_of_a_stream_that_ends_early_are_the_first_ones() -> None:
    for end in range(len(STREAM)):
        found = read([STREAM[:end]])
        assert found == EVENTS[: len(found)]


def test_a_carriage_return_waits_for_its_line_feed() -> None:
    reader = EventReader(longest=100, total=100)
    assert reader.feed(b"data: a\r") == []
    assert reader.feed(b"\n\r") == []
    assert reader.feed(b"\ndata: b\r\r") == ["a"]
    assert reader.feed(b"x") == ["b"]


@pytest.mark.parametrize(
    ("pieces", "limits", "says"),
    [
        ([b"data: " + b"x" * 200], {"longest": 100}, "longer than 100"),
        ([b"x" * 50] * 5, {"longest": 100}, "longer than 100"),
        ([b"data: " + b"x" * 50 + b"\n"] * 5, {"longest": 100}, "longer than 100"),
        ([b"data: x\n\n"] * 20, {"total": 100}, "longer than 100"),
        ([b"data: \xff\n\n"], {}, "UTF-8"),
    ],
)
def test_streams_are_bounded(pieces: list[bytes], limits: dict[str, int], says: str) -> None:
    with pytest.raises(ThinkerError, match=says) as caught:
        read(pieces, **limits)
    assert caught.value.code == "broken"


RAMP = (np.arange(-500, 500) / 600).astype(np.float32)


def wav(
    samples: npt.NDArray[np.float32] = RAMP,
    *,
    rate: int = 22_050,
    kind: str = "<i2",
    channels: int = 1,
    length: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
    extensible: bool = False,
) -> bytes:
    """A WAV file made by hand, so that it can be wrong."""
    scale = {"u1": 127, "<i2": 32767, "<i4": 2**31 - 200, "<f4": 1}[kind]
    data = np.repeat(samples * scale + (128 if kind == "u1" else 0), channels).astype(kind).tobytes()
    bits = np.dtype(kind).itemsize * 8
    code = 3 if kind == "<f4" else 1
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else code, channels, rate, rate * block, block, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, 0, code) + b"\0" * 14
    head = b"WAVEfmt " + struct.pack("<I", len(form)) + form + before
    body = head + b"data" + struct.pack("<I", len(data) if length is None else length) + data + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def heard(pieces: list[bytes]) -> tuple[npt.NDArray[np.float32], int]:
    reader = SoundReader()
    found = [reader.feed(piece) for piece in pieces]
    reader.finish()
    return np.concatenate(found), reader.rate


@pytest.mark.parametrize("size", [1, 2, 3, 5, 45, 5_000])
def test_raw_sound_of_any_division(size: int) -> None:
    raw = (RAMP * 32767).round().astype("<i2").tobytes()
    samples, rate = heard([raw[start : start + size] for start in range(0, len(raw), size)])
    np.testing.assert_allclose(samples, RAMP, atol=1e-4)
    assert rate == 24_000
    assert samples.dtype == np.float32


NOTE = b"LIST" + struct.pack("<I", 5) + b"notes\0"


@pytest.mark.parametrize("size", [1, 3, 11, 44, 5_000])
@pytest.mark.parametrize(
    "file",
    [
        wav(),
        wav(kind="u1"),
        wav(kind="<i4"),
        wav(kind="<f4"),
        wav(channels=2),
        wav(extensible=True),
        wav(before=NOTE),
        wav(after=NOTE),
        wav(length=0xFFFFFFFF),
        wav(length=0),
        wav(length=0x7FFFFFFF),
    ],
    ids=["16", "8", "32", "float", "stereo", "extensible", "notes before", "notes after", "endless", "zero", "signed"],
)
def test_wav_files_of_any_division(file: bytes, size: int) -> None:
    samples, rate = heard([file[start : start + size] for start in range(0, len(file), size)])
    np.testing.assert_allclose(samples, RAMP, atol=0.02)
    assert rate == 22_050


def test_24_bit_samples_keep_their_sign() -> None:
    values = np.array([-(2**23), -1, 0, 1, 2**23 - 1])
    data = b"".join(int(value).to_bytes(3, "little", signed=True) for value in values)
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 48_000, 3, 24)
    file = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", 15) + data
    np.testing.assert_allclose(heard([file])[0], values / 2**23, atol=1e-7)


def test_numbers_that_are_none_become_silence() -> None:
    samples, _ = heard([wav(np.array([np.nan, np.inf, -np.inf, 0.5], np.float32), kind="<f4")])
    np.testing.assert_array_equal(samples, np.array([0, 1, -1, 0.5], np.float32))


def test_every_cut_of_a_wav_file_is_noticed_and_what_came_before_stands() -> None:
    file = wav(RAMP[:20])
    whole, _ = heard([file])
    for end in range(1, len(file)):
        reader = SoundReader()
        samples = reader.feed(file[:end])
        np.testing.assert_array_equal(samples, whole[: len(samples)])
        assert len(samples) == max(0, end - 44) // 2
        with pytest.raises(ThinkerError, match="before it is complete"):
            reader.finish()


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (wav(rate=0), "0 samples per second"),
        (wav(rate=2_000_000_000), "2000000000 samples"),
        (wav(RAMP[:0], channels=9), "9 channels"),
        (wav()[:20] + struct.pack("<HHIIHH", 85, 1, 8_000, 1_000, 1, 0) + wav()[36:], "code 0x55"),
        (wav()[:32] + struct.pack("<H", 3) + wav()[34:], "contradicts itself"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd", "format before"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcd", "cut short"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f", "longer than any"),
        (b"RIFF\0\0\0\0WAVE" + (b"junk" + struct.pack("<I", 60_000) + b"x" * 60_000) * 280, "longer than any"),
    ],
)
def test_wav_files_that_make_no_sense_are_refused(file: bytes, says: str) -> None:
    with pytest.raises(ThinkerError, match=says) as caught:
        heard([file])
    assert caught.value.code == "broken"


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_do_worse_than_an_error(data: bytes, as_wav: bool) -> None:
    reader = SoundReader()
    try:
        samples = reader.feed(b"RIFF\0\0\0\0WAVE" + data if as_wav else data)
        assert np.abs(samples).max(initial=0) <= 1
        reader.finish()
    except ThinkerError as error:
        assert error.code == "broken"


def test_what_is_written_can_be_read() -> None:
    file = to_wav(RAMP, 16_000)
    with wave.open(io.BytesIO(file)) as read_back:
        assert (read_back.getnchannels(), read_back.getframerate(), read_back.getnframes()) == (1, 16_000, len(RAMP))
    np.testing.assert_allclose(heard([file])[0], np.clip(RAMP, -1, 1), atol=1e-4)
    assert np.abs(heard([to_wav(np.array([3.0, -3.0], np.float32), 16_000)])[0]).min() > 0.99

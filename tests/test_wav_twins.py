"""The two readers of WAV, interbench's and livetalk's, make the same of the same bytes, and the right thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from livetalk.sound import wav as of_livetalk
from odd_sounds import CUT, EMPTY, PIPED, RAMP, SENSELESS, TAKEN, riff

from interbench.media import wav as of_interbench

Twin = Any
TWINS = [pytest.param(of_interbench, id="interbench"), pytest.param(of_livetalk, id="livetalk")]


def read(twin: Twin, data: bytes, pieces: int) -> np.ndarray:
    """What the reader makes of the file in pieces of that many bytes."""
    reader = twin.WavReader()
    parts = [reader.feed(data[at : at + pieces]) for at in range(0, len(data), pieces)]
    parts.append(reader.finish())
    return np.concatenate([part for part in parts if len(part)] or [parts[0]])


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("name", TAKEN)
def test_the_sound_that_is_there_counts(twin: Twin, name: str) -> None:
    data = TAKEN[name]
    for pieces in (len(data), 7, 1001) if len(data) < 10_000 else (len(data), 1001):
        samples = read(twin, data, pieces)
        expected = np.repeat((RAMP / 32768).astype(np.float32)[:, None], samples.shape[1], axis=1)
        np.testing.assert_array_equal(samples, expected)
    _, reader = twin.decode_wav(data)
    assert reader.rate == 16_000


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("name", EMPTY)
def test_no_sound_is_no_sound(twin: Twin, name: str) -> None:
    assert len(twin.decode_wav(EMPTY[name])[0]) == 0


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("name", CUT)
def test_what_is_cut_is_said_to_be(twin: Twin, name: str) -> None:
    with pytest.raises(twin.WavCutError):
        twin.decode_wav(CUT[name])


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("name", SENSELESS)
def test_headers_without_sense(twin: Twin, name: str) -> None:
    with pytest.raises(twin.WavError) as caught:
        twin.decode_wav(SENSELESS[name])
    assert not isinstance(caught.value, twin.WavCutError)


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize(("code", "codec"), [(6, "pcm_alaw"), (7, "pcm_mulaw")])
def test_telephone_sound_is_decoded_as_libavcodec_does(twin: Twin, code: int, codec: str) -> None:
    import av

    context: Any = av.CodecContext.create(codec, "r")
    context.sample_rate, context.layout = 8000, "mono"
    (frame,) = context.decode(av.Packet(bytes(range(256))))
    samples, reader = twin.decode_wav(riff(bytes(range(256)), code=code, bits=8, rate=8000))
    assert reader.codec == codec
    np.testing.assert_array_equal(samples[:, 0], frame.to_ndarray()[0] / 32768)


@pytest.mark.parametrize("twin", TWINS)
def test_compressed_sound_is_left_to_others(twin: Twin) -> None:
    with pytest.raises(twin.WavCodedError):
        twin.decode_wav(riff(code=0x55, bits=0))


def outcome(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        samples, reader = decode(data)
    except Exception as error:
        return type(error).__name__, str(error)
    return samples.tobytes(), samples.shape, reader.rate, reader.channels, reader.codec


@given(st.sampled_from([*TAKEN.values(), *CUT.values()]), st.data())
def test_the_twins_agree_about_damage(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data[:6000])
    for _ in range(draw.draw(st.integers(1, 4))):
        damaged[draw.draw(st.integers(0, min(120, len(damaged) - 1)))] = draw.draw(st.integers(0, 255))
    ours, theirs = (outcome(twin.decode_wav, bytes(damaged)) for twin in (of_interbench, of_livetalk))
    assert ours == theirs
    assert ours[0] in ("WavError", "WavCutError", "WavCodedError") or isinstance(ours[0], bytes)


def test_lengths_that_pipes_leave_are_told_from_ones_that_were_meant() -> None:
    sizes = {int.from_bytes(data[data.index(b"data") + 4 :][:4], "little") for data in PIPED.values()}
    assert min(sizes - {0}) > of_interbench.UNTRUSTED_BYTES > 2**28

"""Reading speech: any file PyAV decodes, as mono float32 at the rate asked for."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
import soxr

from livetalk.base.errors import AudioError, AudioTooLongError
from livetalk.base.rates import AUDIO_RATE
from livetalk.sound.wav import WavCodedError, WavCutError, WavError, WavReader, is_wav

Samples = npt.NDArray[np.float32]


# Containers that hold their sound themselves. Playlists and other formats that name further files or addresses stay
# out, so that decoding a stranger's file opens nothing else.
_BLOCK = 2**18
_FORMATS = "wav,w64,aiff,au,caf,flac,mp3,aac,ogg,mov,matroska"


def read_audio(source: Path | str | bytes, rate: int = AUDIO_RATE, *, max_seconds: float | None = None) -> Samples:
    """Decode a file's first audio stream: channels averaged, resampled with soxr's high quality, in [-1, 1].

    A file that holds an audio stream without samples gives an empty array.

    Args:
        source: the path of a file, or its bytes.
        rate: samples per second wanted.
        max_seconds: refuse longer audio while decoding it, before it fills the memory.

    Raises:
        AudioError: unreadable, not audio, or without an audio stream.
        AudioTooLongError: longer than ``max_seconds``.
    """
    named = "The audio" if isinstance(source, bytes) else f"The audio file {str(source)!r}"
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            samples, native = _decoded(file, named, max_seconds)
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(
            f"{named} can't be decoded ({reason}). WAV, FLAC, MP3, M4A, Ogg and WebM are what can."
        ) from error
    except OSError as error:
        raise AudioError(f"{named} can't be read: {error.strerror}.") from error
    if not np.isfinite(samples).all():
        raise AudioError(f"{named} holds values that are not numbers; export it again.")
    if native != rate and len(samples):
        samples = soxr.resample(samples, native, rate, quality="HQ")
    return np.ascontiguousarray(samples, dtype=np.float32)


def _decoded(file: BinaryIO, named: str, max_seconds: float | None) -> tuple[Samples, int]:
    head = file.read(40)
    file.seek(0)
    if is_wav(head):
        try:
            return _from_wav(file, named, max_seconds)
        except WavCodedError:
            file.seek(0)
        except WavError as error:
            raise AudioError(f"{named} can't be decoded ({error}). Export it again.") from error
    blocks, length = [np.zeros(0, np.float32)], 0
    with av.open(file, "r", options={"format_whitelist": _FORMATS}) as container:
        if not container.streams.audio:
            raise AudioError(f"{named} has no audio stream.")
        stream = container.streams.audio[0]
        native = int(stream.rate)
        for frame in container.decode(stream):
            blocks.append(_mono(frame))
            length += len(blocks[-1])
            if max_seconds is not None and length > max_seconds * native:
                raise AudioTooLongError(f"{named} is longer than {max_seconds:g} seconds.")
    return np.concatenate(blocks), native


def _from_wav(file: BinaryIO, named: str, max_seconds: float | None) -> tuple[Samples, int]:
    reader, blocks, length = WavReader(), [np.zeros(0, np.float32)], 0
    while block := file.read(_BLOCK):
        blocks.append(reader.feed(block).mean(axis=1))
        length += len(blocks[-1])
        if max_seconds is not None and length > max_seconds * max(1, reader.rate):
            raise AudioTooLongError(f"{named} is longer than {max_seconds:g} seconds.")
    try:
        blocks.append(reader.finish().mean(axis=1))
    except WavCutError:
        if not reader.begun:
            raise
    return np.concatenate(blocks), reader.rate


def padded(samples: Samples, length: int) -> Samples:
    """Exactly ``length`` samples: cut, or completed with silence."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def frames_covering(samples: int, fps: int, rate: int = AUDIO_RATE) -> int:
    """Video frames that a clip of so many samples fills, the last one perhaps in part."""
    return math.ceil(samples * fps / rate)


def _mono(frame: av.AudioFrame) -> Samples:
    values: npt.NDArray[Any] = frame.to_ndarray()
    if np.issubdtype(values.dtype, np.integer):
        bits = np.iinfo(values.dtype)
        # Unsigned 8-bit audio is silent at 128; the signed types at 0.
        offset = 128.0 if bits.min == 0 else 0.0
        scale = 128.0 if bits.min == 0 else -float(bits.min)
        values = (values.astype(np.float64) - offset) / scale
    channels = len(frame.layout.channels)
    if not frame.format.is_planar:
        values = values.reshape(-1, channels).T
    mono: Samples = values.mean(axis=0).astype(np.float32)
    return mono

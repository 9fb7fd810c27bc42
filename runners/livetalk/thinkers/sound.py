"""The sound that services send: raw 16-bit PCM or WAV, in pieces cut anywhere."""

from __future__ import annotations

import io
import struct
import wave
from typing import Any

import numpy as np
import numpy.typing as npt

from livetalk.thinkers.base import Samples, ThinkerError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_KINDS = {(_PCM, 8): "u1", (_PCM, 16): "<i2", (_PCM, 24): "i3", (_PCM, 32): "<i4", (_FLOAT, 32): "<f4"}
_BYTES = {"u1": 1, "<i2": 2, "i3": 3, "<i4": 4, "<f4": 4}
_LONGEST_HEADER = 65_536
# A writer that does not know the length yet leaves one of these, or something close to the largest there is.
_UNKNOWN_LENGTHS = (0, 0x7FFFFFFF)
_LARGEST_LENGTH = 0xFFFF0000


class SoundReader:
    """Takes the bytes of one piece of sound as they come and gives its samples.

    Args:
        rate: samples per second of raw PCM; a WAV file's header says its own.
        channels: of raw PCM.
    """

    def __init__(self, rate: int = 24_000, channels: int = 1) -> None:
        self.rate = _checked_rate(rate)
        self._channels = _checked_channels(channels)
        self._kind = "<i2"
        self._rest = b""
        self._in_header = True
        self._left: int | None = None  # bytes of sound still to come, where a WAV file says how many

    def feed(self, data: bytes) -> Samples:
        """Take more bytes.

        Returns:
            The samples that are now complete: mono float32 in [-1, 1]; ``rate`` holds from the first of them on.

        Raises:
            ThinkerError: ``broken``; the header of a WAV file makes no sense or its format is not one that is read
                here.
        """
        data = self._rest + data
        self._rest = b""
        if self._in_header:
            if data[:4] in (b"OggS", b"fLaC") or data[:3] == b"ID3":
                raise _broken("it is compressed")
            if b"RIFF".startswith(data[:4]) and len(data) < 12:
                self._rest = data
                return np.zeros(0, np.float32)
            if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
                start = self._read_header(data)
                if start is None:
                    self._rest = data
                    return np.zeros(0, np.float32)
                data = data[start:]
            self._in_header = False
        ended = self._left is not None and len(data) >= self._left
        if self._left is not None:
            data = data[: self._left]  # what follows the sound are notes and tags
        whole = len(data) - len(data) % (_BYTES[self._kind] * self._channels)
        if self._left is not None:
            self._left -= whole
        if ended and whole != len(data):
            raise _broken("its last sample is not whole")
        self._rest = data[whole:]
        return _samples(data[:whole], self._kind, self._channels)

    @property
    def complete(self) -> bool:
        """A WAV file said how long it is, and all of that has come."""
        return self._left == 0

    def finish(self) -> None:
        """Say that no more bytes come.

        Raises:
            ThinkerError: ``broken``; the sound is cut off: in a header, in a sample, or before the length it announced.
        """
        if self._rest or self._left:
            raise _broken("it ends before it is complete")

    def _read_header(self, data: bytes) -> int | None:
        """Where the sound begins; None if the header is not complete yet. (Multimedia Programming Interface and Data
        Specifications 1.0, WAVE; extensible formats as in Microsoft's WAVEFORMATEXTENSIBLE.)"""
        place, format_read = 12, False
        while True:
            if len(data) < place + 8:
                break
            name, length = data[place : place + 4], struct.unpack_from("<I", data, place + 4)[0]
            place += 8
            if name == b"data":
                if not format_read:
                    raise _broken("it does not say its format before the sound")
                unknown = length in _UNKNOWN_LENGTHS or length >= _LARGEST_LENGTH
                self._left = None if unknown else length
                return place
            if length > _LONGEST_HEADER:
                raise _broken("its header is longer than any real one")
            if name == b"fmt ":
                if len(data) < place + length:
                    break
                self._read_format(data[place : place + length])
                format_read = True
            place += length + length % 2
        if len(data) > _LONGEST_HEADER:
            raise _broken("its header is longer than any real one")
        return None

    def _read_format(self, chunk: bytes) -> None:
        if len(chunk) < 16:
            raise _broken("its format is cut short")
        code, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
        if code == _EXTENSIBLE and len(chunk) >= 26:
            (code,) = struct.unpack_from("<H", chunk, 24)
        kind = _KINDS.get((code, bits))
        if kind is None:
            raise _broken(f"its samples have a format (code {code}, {bits} bits) that is neither PCM nor 32-bit floats")
        if block != channels * bits // 8:
            raise _broken("its header contradicts itself")
        self.rate, self._channels, self._kind = _checked_rate(rate), _checked_channels(channels), kind


def to_wav(samples: Samples, rate: int) -> bytes:
    """A WAV file of mono 16-bit PCM; samples beyond [-1, 1] are clipped."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(np.nan_to_num(samples), -1, 1) * 32767).round().astype("<i2").tobytes())
    return buffer.getvalue()


def _samples(data: bytes, kind: str, channels: int) -> Samples:
    values: npt.NDArray[Any]
    if kind == "i3":
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
        values = (parts[:, 0] << 8 | parts[:, 1] << 16 | parts[:, 2] << 24) / 2.0**31
    elif kind == "u1":
        values = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    elif kind == "<f4":
        values = np.clip(np.nan_to_num(np.frombuffer(data, "<f4"), posinf=1, neginf=-1), -1, 1)
    else:
        whole = np.frombuffer(data, kind)
        values = whole / -float(np.iinfo(whole.dtype).min)
    mono: Samples = values.reshape(-1, channels).mean(axis=1).astype(np.float32)
    return mono


def _checked_rate(rate: int) -> int:
    if not 8_000 <= rate <= 192_000:
        raise _broken(f"it claims {rate} samples per second")
    return rate


def _checked_channels(channels: int) -> int:
    if not 1 <= channels <= 8:
        raise _broken(f"it claims {channels} channels")
    return channels


def _broken(why: str) -> ThinkerError:
    return ThinkerError(
        "broken",
        f"The service's sound can't be read: {why}. It should be 16-bit PCM or a WAV file; check the service.",
    )

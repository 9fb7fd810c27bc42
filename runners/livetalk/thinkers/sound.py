"""The sound that services send: raw 16-bit PCM or WAV, in pieces cut anywhere."""

from __future__ import annotations

import io
import logging
import wave
from typing import Any

import numpy as np
import numpy.typing as npt

from livetalk.sound.wav import WAV_MARKS, WavError, WavReader, is_wav
from livetalk.thinkers.base import Samples, ThinkerError

RAW_KINDS = ("<i2", ">i2", "<f4", ">f4")
"""16-bit samples and 32-bit floats, low byte first or high."""
_SHORTEST = 4  # bytes: less, and not whole, is no sound at all
_log = logging.getLogger("livetalk.thinkers")


class SoundReader:
    """Takes the bytes of one piece of sound as they come and gives its samples.

    Args:
        rate: samples per second of raw PCM; a WAV file's header says its own.
        channels: of raw PCM.
        kind: of its samples, one of ``RAW_KINDS``.
    """

    def __init__(self, rate: int = 24_000, channels: int = 1, kind: str = "<i2") -> None:
        self.rate = _checked_rate(rate)
        self._channels = _checked_channels(channels)
        self._dtype = np.dtype(kind)
        self._seen = 0
        self._rest = b""
        self._begun = False
        self._wav: WavReader | None = None

    def feed(self, data: bytes) -> Samples:
        """Take more bytes.

        Returns:
            The samples that are now complete: mono float32 in [-1, 1]; ``rate`` holds from the first of them on.

        Raises:
            ThinkerError: ``broken``; the header of a WAV file makes no sense or its format is not one that is read
                here.
        """
        if self._wav is not None:
            return self._of_file(self._wav, data)
        self._seen += len(data)
        data, self._rest = self._rest + data, b""
        if not self._begun:
            if data[:4] in (b"OggS", b"fLaC") or data[:3] == b"ID3":
                raise _broken("it is compressed")
            needed = 40 if data[:4] == b"riff" else 12
            if len(data) < needed and any(mark.startswith(data[:4]) for mark in WAV_MARKS):
                self._rest = data
                return np.zeros(0, np.float32)
            self._begun = True
            if is_wav(data):
                self._wav = WavReader()
                return self._of_file(self._wav, data)
        whole = len(data) - len(data) % (self._dtype.itemsize * self._channels)
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], self._dtype).astype(np.float32)
        return _mono((samples / 32768 if self._dtype.kind == "i" else samples).reshape(-1, self._channels))

    @property
    def complete(self) -> bool:
        """A WAV file said how long it is, and all of that has come."""
        return self._wav is not None and self._wav.complete

    def finish(self) -> Samples:
        """Say that no more bytes come.

        Returns:
            The last samples, where a file's header left open until now whether any follow it.

        Raises:
            ThinkerError: ``broken``; the sound is cut off in a header, or before the length it announced.
        """
        if self._rest and (not self._begun or self._seen < _SHORTEST):
            raise _broken("it ends before it is complete")
        if self._rest:
            _log.warning(
                "A service's sound ends in the middle of a sample; its last %d byte(s) are left out.", len(self._rest)
            )
            self._rest = b""
        if self._wav is None:
            return np.zeros(0, np.float32)
        try:
            return _mono(self._wav.finish())
        except WavError as error:
            raise _broken(f"it ends before it is complete: {error}" if error.cut else str(error)) from None

    def _of_file(self, wav: WavReader, data: bytes) -> Samples:
        try:
            samples = wav.feed(data)
        except WavError as error:
            raise _broken(str(error)) from None
        if wav.rate:
            self.rate = _checked_rate(wav.rate)
        return _mono(samples)


def to_wav(samples: Samples, rate: int) -> bytes:
    """A WAV file of mono 16-bit PCM; samples beyond [-1, 1] are clipped."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(np.nan_to_num(samples), -1, 1) * 32767).round().astype("<i2").tobytes())
    return buffer.getvalue()


def _mono(samples: npt.NDArray[Any]) -> Samples:
    mono: Samples = np.nan_to_num(samples.mean(axis=1), posinf=1, neginf=-1).clip(-1, 1).astype(np.float32)
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

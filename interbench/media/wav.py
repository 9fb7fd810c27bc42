"""The WAV reader of interbench: bytes in pieces cut anywhere in, samples out.

Programs that write to a pipe can't go back to fill in how long the sound is: they leave 0, the largest number there is,
or something near it. Then the sound that is there counts. Sources: Multimedia Programming Interface and Data
Specifications 1.0 (RIFF), Microsoft's WAVEFORMATEXTENSIBLE, EBU Tech 3285 (BWF) and 3306 (RF64), ITU-R BS.2088 (BW64),
Sony's Wave64, ITU-T G.711.

livetalk reads WAV by a twin of this module, ``livetalk.sound.wav``, because the two packages share no code; a test
holds both to the same files.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_MOST_FORMAT = 4096
UNTRUSTED_BYTES = 500_000_000
"""A length of this and more that is not there was never meant; it is what writers to a pipe leave."""
_LONGEST_HEADER = 16 * 2**20
"""Bytes before the sound; there are cover pictures and peaks in some, and nothing larger in any."""
_AFTER_SOUND = frozenset({b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"fact", b"iXML", b"PEAK", b"smpl", b"JUNK"})
_RIFF = (b"RIFF", b"RF64", b"BW64")
WAV_MARKS = (*_RIFF, b"riff")
"""The first four bytes of the kinds that are read here."""
_W64_RIFF = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
_W64_WAVE = b"wave" + bytes.fromhex("f3acd3118cd100c04f8edb8a")


class WavError(Exception):
    """The bytes are no WAV file that can be read: a clause that says why."""

    cut = False


class WavCutError(WavError):
    """The file ends before the length that it announces, or before its sound."""

    cut = True


class WavCodedError(WavError):
    """The sound is coded in a way that is not read here."""


def is_wav(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (at least 40 bytes of it, or all) is WAV, RF64, BW64 or Wave64."""
    return (head[:4] in _RIFF and head[8:12] == b"WAVE") or (head[:16] == _W64_RIFF and head[24:40] == _W64_WAVE)


class WavReader:
    """Reads one file.

    :attr:`rate` (samples per second), :attr:`channels` and :attr:`codec` (libavcodec's name) are known with the first
    samples.
    """

    _KINDS: ClassVar[dict[tuple[int, int], tuple[str, str]]] = {
        (_PCM, 1): ("u1", "pcm_u8"),
        (_PCM, 2): ("<i2", "pcm_s16le"),
        (_PCM, 3): ("i3", "pcm_s24le"),
        (_PCM, 4): ("<i4", "pcm_s32le"),
        (_FLOAT, 4): ("<f4", "pcm_f32le"),
        (_FLOAT, 8): ("<f8", "pcm_f64le"),
        (_ALAW, 1): ("alaw", "pcm_alaw"),
        (_MULAW, 1): ("mulaw", "pcm_mulaw"),
    }

    def __init__(self) -> None:
        self.rate = 0
        self.channels = 0
        self.codec = ""
        self._kind = ""
        self._block = 0
        self._data = b""
        self._wide = False  # Wave64
        self._begun = False  # the file's own header has been read
        self._skip = 0  # bytes of a chunk that nobody needs
        self._pad = False  # a chunk of odd length was skipped
        self._long_size = 0  # of the sound, from a ds64 chunk
        self._in_sound = False
        self._declared: int | None = None  # bytes of sound; None if the writer did not know
        self._taken = 0
        self._fed = 0  # bytes of the file so far
        self._whole = 0  # bytes that the file's own header says it has

    def feed(self, data: bytes) -> Samples:
        """Take more bytes; gives the samples that are now complete, ``[n, channels]``; 1 is full scale.

        Raises:
            WavError: the header makes no sense.
            WavCodedError: the sound is compressed.
        """
        self._data += data
        self._fed += len(data)
        if not self._in_sound and not self._read_header():
            return np.zeros((0, max(1, self.channels)), np.float32)
        return self._samples()

    def finish(self) -> Samples:
        """Say that no more bytes come. What is left of a sample that is not whole is dropped.

        Returns:
            The last samples; there are some only if the file ends right behind an unknown length.

        Raises:
            WavCutError: the file ends before its sound, or before a length that was meant.
        """
        if not self._in_sound and self._data[:4] == b"data" and self.rate and len(self._data) >= self._head:
            self._enter(self._size_of_chunk())
        if not self._in_sound:
            raise WavCutError("it has no 'data' chunk")
        rest = self._samples()
        if self._declared is not None and self._declared < UNTRUSTED_BYTES and not self.complete:
            there = self._taken + len(self._data)
            # Some writers count their header, or a part of it, as sound; the length of the file then tells.
            if there < self._declared and self._fed != self._whole:
                raise WavCutError(f"its sound should take {self._declared} bytes and {there} are there")
        return rest

    @property
    def begun(self) -> bool:
        """Whether the header is over."""
        return self._in_sound

    @property
    def complete(self) -> bool:
        """The file said how long its sound is, and all of that has come."""
        return self._in_sound and self._declared is not None and self._declared - self._taken < max(1, self._block)

    @property
    def _head(self) -> int:
        return 24 if self._wide else 8

    def _size_of_chunk(self) -> int:
        if self._wide:
            return max(0, int.from_bytes(self._data[16:24], "little") - self._head)
        return int.from_bytes(self._data[4:8], "little")

    def _read_header(self) -> bool:
        """Whether the sound has been reached."""
        if not self._begun:
            if not self._read_magic():
                return False
            self._begun = True
        while self._next_chunk():
            size = self._size_of_chunk()
            name = self._data[:4]
            if name == b"data":
                # A sound of no length may be the sign of a writer to a pipe, or a file that holds notes alone.
                if size == 0 and not self._long_size and len(self._data) < self._head + 4:
                    return False
                self._enter(size)
                return True
            if name in (b"fmt ", b"ds64"):
                if size > _MOST_FORMAT:
                    raise WavError("its header is longer than any real one")
                if len(self._data) < self._head + size:
                    return False
                content = self._data[self._head : self._head + size]
                if name == b"fmt ":
                    self._read_format(content)
                elif len(content) >= 16:
                    self._long_size = int.from_bytes(content[8:16], "little")
            if self._fed - len(self._data) + size > _LONGEST_HEADER:
                raise WavError("its header is longer than any real one")
            self._data = self._data[self._head :]
            self._skip = size + (-size % 8 if self._wide else 0)
            self._pad = not self._wide and bool(size % 2)
        return False

    def _read_magic(self) -> bool:
        if self._data[:4] == b"riff":
            if len(self._data) < 40:
                return False
            self._wide = True
        elif len(self._data) < 12:
            return False
        if not is_wav(self._data):
            raise WavError("it does not begin as one")
        self._whole = int.from_bytes(self._data[16:24] if self._wide else self._data[4:8], "little")
        self._whole += 0 if self._wide else 8
        self._data = self._data[40 if self._wide else 12 :]
        return True

    def _next_chunk(self) -> bool:
        """Pass over what is to be skipped; whether the head of a chunk lies at the beginning now."""
        passed = min(self._skip, len(self._data))
        self._data, self._skip = self._data[passed:], self._skip - passed
        if self._skip or not self._data:
            return False
        if self._pad:
            # Not every writer fills chunks up to an even length.
            self._data = self._data[1:] if self._data[:1] == b"\0" else self._data
            self._pad = False
        return len(self._data) >= self._head

    def _read_format(self, content: bytes) -> None:
        if len(content) < 16:
            raise WavError("its format is cut short")
        code, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", content)
        if code == _EXTENSIBLE and len(content) >= 26:
            (code,) = struct.unpack_from("<H", content, 24)
        if not 1 <= channels <= 8:
            raise WavError(f"it claims {channels} channels")
        if not 1_000 <= rate <= 768_000:
            raise WavError(f"it claims {rate} samples per second")
        kind = self._KINDS.get((code, -(-bits // 8)))
        if kind is None:
            raise WavCodedError(f"its sound is coded in a way (code {code:#x}, {bits} bits) that is not read here")
        if block != channels * -(-bits // 8):
            raise WavError("its header contradicts itself")
        self.rate, self.channels, self._block = rate, channels, block
        self._kind, self.codec = kind

    def _enter(self, size: int) -> None:
        if not self.rate:
            raise WavError("it does not say its format before the sound")
        follows = self._data[self._head : self._head + 4]
        if self._long_size and size in (0, 0xFFFFFFFF):
            size = self._long_size
        known = size != 0 or follows in _AFTER_SOUND
        self._declared = size if known else None
        self._data = self._data[self._head :]
        self._in_sound = True

    def _samples(self) -> Samples:
        data = self._data
        if self._declared is not None:
            data = data[: self._declared - self._taken]  # what follows the sound are notes and tags
        whole = len(data) - len(data) % self._block
        self._taken += whole
        self._data = self._data[whole:]
        if self.complete:
            self._data = b""
        return _decoded(data[:whole], self._kind).reshape(-1, self.channels)


def decode_wav(data: bytes) -> tuple[Samples, WavReader]:
    """All samples of a file, ``[n, channels]``, and what its header says.

    Raises:
        WavError: see :class:`WavReader`.
    """
    reader = WavReader()
    pieces = [reader.feed(data), reader.finish()]
    return np.concatenate([piece for piece in pieces if len(piece)] or [pieces[0]]), reader


def _decoded(data: bytes, kind: str) -> Samples:
    values: npt.NDArray[Any]
    if kind == "i3":
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
        values = (parts[:, 0] << 8 | parts[:, 1] << 16 | parts[:, 2] << 24) / 2.0**31
    elif kind == "u1":
        values = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    elif kind in ("alaw", "mulaw"):
        table = _ALAW_TABLE if kind == "alaw" else _MULAW_TABLE
        values = table[np.frombuffer(data, np.uint8)]
    elif kind in ("<f4", "<f8"):
        values = np.frombuffer(data, kind)
    else:
        whole = np.frombuffer(data, kind)
        values = whole / -float(np.iinfo(whole.dtype).min)
    return values.astype(np.float32)


def _mulaw_table() -> Samples:
    """G.711 table 2a: all bits inverted, sign, three bits of exponent, four of mantissa."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int32)
    magnitude = ((mantissa * 2 + 33) << exponent.astype(np.int32)) - 33
    return (np.where(code & 128, -magnitude, magnitude) * 4 / 32768).astype(np.float32)


def _alaw_table() -> Samples:
    """G.711 table 1a: even bits inverted."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = np.where(exponent == 0, 2 * mantissa + 1, (2 * mantissa + 33) << np.maximum(exponent - 1, 0))
    return (np.where(code & 128, magnitude, -magnitude) * 8 / 32768).astype(np.float32)


_MULAW_TABLE, _ALAW_TABLE = _mulaw_table(), _alaw_table()

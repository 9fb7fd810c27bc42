"""Speech as services send it: raw samples, WAV, or a compressed file, told by its beginning."""

from __future__ import annotations

import numpy as np

from livetalk.base.errors import AudioError
from livetalk.base.rates import AUDIO_RATE
from livetalk.thinkers.base import Samples, ThinkerError
from livetalk.thinkers.sound import SoundReader

_COMPRESSED = (b"OggS", b"fLaC", b"ID3\2", b"ID3\3", b"ID3\4")


class SpeechFileReader:
    """Takes the bytes of one sentence in pieces cut anywhere and gives its samples, as ``SoundReader`` does.

    Ogg, FLAC and tagged MP3 can't be heard while they are made: such a sentence is decoded when all of it has come.

    Args:
        plain: reads what is not compressed.
    """

    def __init__(self, plain: SoundReader) -> None:
        self._plain = plain
        self._data = bytearray()
        self._compressed: bool | None = None

    @property
    def rate(self) -> int:
        return AUDIO_RATE if self._compressed else self._plain.rate

    def feed(self, data: bytes) -> Samples:
        """Take more bytes; gives the samples that are now complete.

        Raises:
            ThinkerError: as ``SoundReader.feed``.
        """
        if self._compressed is False:
            return self._plain.feed(data)
        self._data += data
        if self._compressed is None and len(self._data) >= 4:
            self._compressed = self._data.startswith(_COMPRESSED)
            if not self._compressed:
                return self._plain.feed(bytes(self._data))
        return np.zeros(0, np.float32)

    def finish(self) -> Samples:
        """Say that no more bytes come; gives the last samples, of a compressed file all of them.

        Raises:
            ThinkerError: as ``SoundReader.finish``; or ``broken``, the file can't be decoded.
        """
        if not self._compressed:
            first = self._plain.feed(bytes(self._data)) if self._compressed is None else np.zeros(0, np.float32)
            return np.concatenate([first, self._plain.finish()])
        from livetalk.sound.files import read_audio  # its decoders are libraries that few need

        try:
            return np.clip(read_audio(bytes(self._data), AUDIO_RATE), -1, 1)
        except AudioError as error:
            raise ThinkerError("broken", f"The speech service's sound can't be read. {error}") from None

"""MP3 as it comes, for speech services that make nothing else."""

from __future__ import annotations

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from livetalk.thinkers.base import Samples, ThinkerError


class Mp3Reader:
    """Takes the bytes of one MP3 file in pieces cut anywhere and gives its samples, as ``SoundReader`` does.

    What is no frame of MP3 is passed over, as tags are. The encoder's padding stays: some 50 ms of silence.
    """

    def __init__(self) -> None:
        codec = av.CodecContext.create("mp3float", "r")
        assert isinstance(codec, AudioCodecContext)
        self._codec = codec
        self.rate = 0  # known with the first samples

    def feed(self, data: bytes) -> Samples:
        """Take more bytes.

        Returns:
            The samples that are now complete: mono float32 in [-1, 1].

        Raises:
            ThinkerError: ``broken``; the file changes its sampling rate.
        """
        return self._decoded(data) if data else _NOTHING

    def finish(self) -> Samples:
        """Say that no more bytes come.

        Returns:
            The last samples.

        Raises:
            ThinkerError: as ``feed``.
        """
        return self._decoded(None)

    def _decoded(self, data: bytes | None) -> Samples:
        found = [_NOTHING]
        for packet in self._codec.parse(data):
            try:
                frames = self._codec.decode(packet)
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                if self.rate not in (0, frame.sample_rate):
                    raise ThinkerError(
                        "broken", "The speech service's MP3 changes its sampling rate; check the service."
                    )
                self.rate = frame.sample_rate
                found.append(np.clip(np.nan_to_num(frame.to_ndarray().mean(axis=0)), -1, 1).astype(np.float32))
        return np.concatenate(found)


_NOTHING: Samples = np.zeros(0, np.float32)

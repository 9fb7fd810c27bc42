"""A talking clip as a stream: fragmented MP4 of which each block of frames can be played as soon as it is coded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags

from livetalk.base.rates import VIDEO_FPS
from livetalk.video.h264 import Frames, open_encoder
from livetalk.video.mp4_boxes import (
    SOUND_TRACK,
    VIDEO_TRACK,
    Run,
    Sample,
    SoundTrack,
    VideoTrack,
    codecs,
    fragment,
    init_segment,
)
from livetalk.video.mux import SOUND_RATE, Sound

_SOUND_BITRATE = 96_000
_TICKS_PER_FRAME = 1_000


class FragmentWriter:
    """Codes a clip block by block into H.264 and AAC; no call waits for a later block.

    ``init_segment``, then what each ``write`` returns, then what ``finish`` returns, make up a whole MP4; so do any
    first few of them. Each fragment begins with an IDR picture and holds its block's frames; the AAC coder looks ahead,
    so the last 43 to 64 ms of a block's sound come with the next fragment, at the very end with ``finish``. Calls must
    not overlap, but may come from different threads.

    Opening an encoder takes some milliseconds, on hardware much longer: make the writer before its first block is due.

    Args:
        width: of the frames, even. ``height`` likewise.
        fps: frames per second; must divide the sound's rate.
        sound_rate: one that AAC knows, such as 48 kHz.
        encoder: ``auto``, or one of FFmpeg's that ``livetalk.video.h264`` knows.
        metadata: ``title`` and ``comment``.

    Raises:
        EncoderError: the encoder can't be used on this machine.
        ValueError: a size or rate that can't be coded, or other metadata.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        fps: int = VIDEO_FPS,
        sound_rate: int = SOUND_RATE,
        encoder: str = "auto",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        if sound_rate % fps:
            raise ValueError(f"{fps} frames a second do not divide {sound_rate} samples a second")
        self._shape = (height, width, 3)
        self._samples_per_frame = sound_rate // fps
        self._video = open_encoder(width, height, fps, encoder)
        self._sound = _AacEncoder(sound_rate)
        track = VideoTrack(width, height, fps * _TICKS_PER_FRAME, self._video.sps, self._video.pps)
        self._init_segment = init_segment(track, self._sound.track, metadata)
        self._mime = f'video/mp4; codecs="{codecs(track)}"'
        self._frames = 0
        self._fragments = 0
        self._finished = False

    @property
    def init_segment(self) -> bytes:
        """What a client must have before the first fragment (``ftyp`` and ``moov``)."""
        return self._init_segment

    @property
    def mime(self) -> str:
        """The media type with the codecs parameter of RFC 6381, as ``MediaSource`` wants it."""
        return self._mime

    @property
    def encoder(self) -> str:
        """The video encoder in use, by FFmpeg's name."""
        return self._video.name

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._frames

    def write(self, frames: Frames, sound: Sound) -> bytes:
        """Code one block and return its fragment (``moof`` and ``mdat``).

        Args:
            frames: uint8 RGB [T, H, W, 3], T at least 1.
            sound: the mono float32 samples [T · sound_rate / fps] of just these frames; beyond ±1 it is clipped.

        Raises:
            ValueError: another shape or type, sound that is not finite, or the clip is finished.
        """
        if self._finished:
            raise ValueError("the clip is finished: make a new writer for the next one")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != self._shape or not len(frames):
            raise ValueError(f"expected uint8 frames [T, {', '.join(map(str, self._shape))}], got {_kind(frames)}")
        if sound.dtype != np.float32 or sound.shape != (len(frames) * self._samples_per_frame,):
            raise ValueError(
                f"expected {len(frames) * self._samples_per_frame} samples of float32 sound for {len(frames)} frames, "
                f"got {_kind(sound)}"
            )
        if not np.isfinite(sound).all():
            raise ValueError("the sound holds values that are not numbers")
        start = self._frames * _TICKS_PER_FRAME
        coded = self._video.encode(frames)
        pictures = [Sample(data, _TICKS_PER_FRAME, sync=place == 0) for place, data in enumerate(coded)]
        self._frames += len(frames)
        return self._fragment(Run(VIDEO_TRACK, start, pictures), self._sound.encode(np.clip(sound, -1, 1)))

    def finish(self) -> bytes:
        """End the clip after any block: a fragment with the rest of the sound; empty if there is none, or repeated."""
        if self._finished:
            return b""
        self._finished = True
        return self._fragment(self._sound.finish()) if self._frames else b""

    def _fragment(self, *runs: Run) -> bytes:
        filled = [run for run in runs if run.samples]
        if not filled:
            return b""
        self._fragments += 1
        return fragment(self._fragments, filled)


class _AacEncoder:
    """Mono AAC. Its frames do not end where blocks do: each call returns those that are complete by then."""

    def __init__(self, rate: int) -> None:
        codec = self._codec = av.CodecContext.create("aac", "w")
        codec.sample_rate, codec.layout, codec.format = rate, "mono", "fltp"
        codec.bit_rate, codec.time_base = _SOUND_BITRATE, Fraction(1, rate)
        codec.flags |= Flags.global_header
        # A third of the time of the default search, and on speech closer to the original at 64 to 128 kbit/s.
        codec.options = {"aac_coder": "fast"}
        codec.open()
        # FFmpeg's coder puts one frame before the sound, from which the decoder overlaps into the first real one.
        self._frame = codec.frame_size
        self.track = SoundTrack(rate, codec.extradata or b"", _SOUND_BITRATE, priming=self._frame)
        self._taken = 0
        self._coded = 0

    def encode(self, sound: Sound) -> Run:
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self.track.rate, self._taken, Fraction(1, self.track.rate)
        self._taken += len(sound)
        return self._run(map(bytes, self._codec.encode(frame)))

    def finish(self) -> Run:
        """What is left; its last frame is said to end where the sound does."""
        return self._run(map(bytes, self._codec.encode(None)))

    def _run(self, coded: Iterable[bytes]) -> Run:
        start, end = self._coded, self.track.priming + self._taken
        samples = []
        for data in coded:
            duration = min(self._frame, end - self._coded)
            samples.append(Sample(data, duration))
            self._coded += duration
        return Run(SOUND_TRACK, start, samples)


def _kind(values: npt.NDArray[np.generic]) -> str:
    return f"{values.dtype} {list(values.shape)}"

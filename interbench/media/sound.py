"""Decoding the sound of foreign files: what the media worker does with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

from interbench.media.files import FileView, MediaFaultError, truncated
from interbench.media.limits import AUDIO_RATE, SoundFacts
from interbench.media.task import Reach, Task, moving, refuse_corrupt
from interbench.media.wav import WavCodedError, WavError, WavReader

_GAP_S = 0.04
"""Shorter gaps between sound packets are rounding of timestamps."""
_MOST_GAIN = 8.0
"""What channels of full scale can add up to in a mix to mono; whatever is louder than that is damage."""
_BLOCK = 2**18
_LAYOUTS = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")
"""By number of channels, as libavutil takes them to be where a file does not say."""


class Sound:
    """Gathers an audio track as 16 kHz mono, with silence where its timestamps leave gaps."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[str, str, int] | None = None
        self._pieces: list[npt.NDArray[np.float32]] = []
        self._written = 0
        self._heard_s = 0.0
        self.start: float | None = None

    def frame(self, frame: av.AudioFrame) -> None:
        if not frame.sample_rate:
            raise MediaFaultError("undecodable", "its sound has no sample rate. Write 48 kHz AAC.")
        if self.start is None:
            self.start = frame.time or 0.0
        if frame.time is not None:
            gap = frame.time - self.start - self._heard_s
            self._task.check_time(frame.time - self.start)
            if gap > _GAP_S:
                self._flush()
                self._put(np.zeros(round(gap * AUDIO_RATE), np.float32))
                self._heard_s += gap
        self._heard_s += frame.samples / frame.sample_rate
        self._task.check_time(self._heard_s)
        layout = (frame.format.name, frame.layout.name, frame.sample_rate)
        if layout != self._format:
            self._flush()
            self._format = layout
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE)
        frame.pts = None  # gaps are filled here
        self._take(self._resampler.resample(frame))

    def samples(self, origin: float) -> npt.NDArray[np.float32]:
        """All of it, on a clock that starts at ``origin``."""
        self._flush()
        lead = 0.0 if self.start is None else max(self.start - origin, 0.0)
        self._task.check_time(lead)
        silence = np.zeros(round(lead * AUDIO_RATE), np.float32)
        samples: npt.NDArray[np.float32] = np.nan_to_num(np.concatenate([silence, *self._pieces]))
        # Channels that carry the same add up to more than full scale, which clipping would distort.
        samples = samples.clip(-_MOST_GAIN, _MOST_GAIN)
        return samples / max(1.0, float(np.abs(samples).max(initial=0.0)))

    def seconds(self) -> float:
        self._flush()
        return self._written / AUDIO_RATE

    def _flush(self) -> None:
        if self._resampler is not None:
            self._take(self._resampler.resample(None))
            self._resampler = None

    def _take(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            self._put(frame.to_ndarray()[0])

    def _put(self, samples: npt.NDArray[np.float32]) -> None:
        self._pieces.append(samples)
        self._written += len(samples)


def audio(task: Task, out: Path) -> dict[str, Any]:
    """Write a file's sound to ``out`` as raw float32; answer with the number of samples, None without a track."""
    sound = Sound(task)
    origin = None
    if (wav := _wav(task)) is not None:
        for frame in wav.frames():
            sound.frame(frame)
    else:
        with task.open() as container:
            stream = task.sound(container)
            if stream is None:
                return {"samples": None}
            for frame in _frames(container.demux(stream), stream):
                sound.frame(frame)
            picture = moving(container)
            if picture is not None and picture.start_time is not None and picture.time_base is not None:
                origin = float(picture.start_time * picture.time_base)
    start = sound.start or 0.0
    samples = sound.samples(start if origin is None else min(origin, start))
    out.write_bytes(samples.tobytes())
    return {"samples": len(samples)}


def probe_audio(task: Task) -> dict[str, Any]:
    """Answer with the :class:`SoundFacts` of a file."""
    if (wav := _wav(task)) is not None:
        return {"facts": asdict(_measure(task, wav.frames(), task.kind, wav.reader.codec))}
    reach = Reach(task)
    with task.open() as container:
        stream = task.sound(container)
        if stream is None:
            raise MediaFaultError("no_audio", "it has no sound track.")
        packets = (packet for packet in reach.packets(container) if packet.stream is stream)
        codec = stream.codec_context.codec.canonical_name
        facts = _measure(task, _frames(packets, stream), task.kind, codec, stream.rate, stream.channels)
        reach.require(container, [stream])
        declared = None if container.duration is None else container.duration / av.time_base
    # Streams of other kinds declare no length: libavformat's figure for them is a guess.
    if task.kind == "flac" and declared is not None and facts.duration_s < declared * 0.98 - 0.5:
        raise truncated(f"it says it plays {declared:.2f} s and {facts.duration_s:.2f} s of it are there")
    return {"facts": asdict(facts)}


def _frames(packets: Any, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    for packet in packets:
        refuse_corrupt(packet)
        yield from stream.decode(packet)


def _measure(
    task: Task, frames: Iterator[av.AudioFrame], container: str, codec: str, rate: int = 0, channels: int = 0
) -> SoundFacts:
    """``rate`` and ``channels`` are those of the first frame where they are not given."""
    loudness = _Loudness()
    planar = av.AudioResampler(format="fltp")
    for frame in frames:
        rate = rate or frame.sample_rate
        channels = channels or len(frame.layout.channels)
        for piece in planar.resample(frame):
            loudness.take(_planes(piece))
            task.check_time(loudness.samples / rate)
    loudness.settle()
    return SoundFacts(
        container=container,
        codec=codec,
        rate=rate,
        channels=channels,
        duration_s=loudness.samples / rate if rate else 0.0,
        peak=loudness.peak,
        rms=(loudness.power / loudness.samples) ** 0.5 if loudness.samples else 0.0,
    )


def _planes(frame: av.AudioFrame) -> npt.NDArray[np.float32]:
    """The samples of a planar float frame ``[channels, samples]``; of one channel a view into the frame."""
    # They offer their bytes as buffers, which PyAV's stubs don't say.
    planes = [np.frombuffer(cast("memoryview[int]", plane), np.float32, frame.samples) for plane in frame.planes]
    return planes[0][None] if len(planes) == 1 else np.stack(planes)


class _Loudness:
    """Peak and power of a sound that comes in pieces, which are short: figures are worked out over many at once."""

    def __init__(self) -> None:
        self.samples = 0
        self.peak = 0.0
        self.power = 0.0
        """Sum over samples of the mean square over channels."""
        self._held: list[npt.NDArray[np.float32]] = []
        self._size = 0

    def take(self, piece: npt.NDArray[np.float32]) -> None:
        """``piece``: shape (channels, n)."""
        if self._held and self._held[0].shape[0] != piece.shape[0]:
            self.settle()
        self._held.append(piece)
        self._size += piece.shape[1]
        self.samples += piece.shape[1]
        if self._size >= _BLOCK:
            self.settle()

    def settle(self) -> None:
        """Work out what is held; to be called once more at the end."""
        if not self._held:
            return
        values = np.nan_to_num(np.concatenate(self._held, axis=1))
        self.peak = max(self.peak, float(np.abs(values).max(initial=0.0)))
        squares = np.square(values, dtype=np.float64)
        self.power += float((squares[0] if len(squares) == 1 else squares.mean(axis=0)).sum())
        self._held, self._size = [], 0


class _Wav:
    """A WAV file in blocks."""

    def __init__(self, file: FileView) -> None:
        self.reader = WavReader()
        self._file = FileView(file.descriptor, file.size)
        # The header tells whether the sound is coded in a way that is read here.
        self._first = self.reader.feed(self._file.read(_BLOCK))

    def frames(self) -> Iterator[av.AudioFrame]:
        """
        Raises:
            MediaFaultError: ``truncated``, ``undecodable``.
        """
        try:
            yield from self._shaped(self._first)
            while block := self._file.read(_BLOCK):
                yield from self._shaped(self.reader.feed(block))
            yield from self._shaped(self.reader.finish())
        except WavError as error:
            raise _fault(error) from None

    def _shaped(self, samples: npt.NDArray[np.float32]) -> Iterator[av.AudioFrame]:
        if len(samples):
            planes = np.ascontiguousarray(samples.T)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=_LAYOUTS[self.reader.channels - 1])
            frame.sample_rate = self.reader.rate
            yield frame


def _wav(task: Task) -> _Wav | None:
    """The file in the reader for WAV; None if it is another kind, or holds compressed sound."""
    if task.kind != "wav":
        return None
    try:
        return _Wav(task.file)
    except WavCodedError:
        return None
    except WavError as error:
        raise _fault(error) from None


def _fault(error: WavError) -> MediaFaultError:
    if error.cut:
        return truncated(str(error))
    return MediaFaultError(
        "undecodable", f"it is no WAV file that can be read: {error}. Write it with another program."
    )

"""Decoding foreign media: what the media worker does with a file once it is open.

Nothing here opens a file by name: the demuxer gets a file object, a fixed format and fixed decoders, so that nothing in
a file can make FFmpeg open another one.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import CodecContext
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import Interpolation

from interbench.domain.records import ClipFacts
from interbench.media.container import FileView, MediaFaultError, require_complete, truncated
from interbench.media.pool import AUDIO_RATE, Limits, SoundFacts

_VIDEO_DECODERS = frozenset({"h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mjpeg"})
_AUDIO_DECODERS = frozenset(
    {"aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac", "alac", "ac3", "eac3"}
    | {
        f"pcm_{kind}"
        for kind in ("u8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le")
    }
    | {"pcm_alaw", "pcm_mulaw"}
)
_AUDIO_ONLY = frozenset({"wav", "mp3", "flac"})
_WINDOW = AUDIO_RATE // 50
_AUDIBLE_RMS = 10 ** (-50 / 20)
_GAP_S = 0.04
"""Shorter gaps between sound packets are rounding of timestamps."""
_FIRST_FRAME_GUESSES = 24
_SPEECH_START_GUESSES = 8
_MOST_GAIN = 8.0
"""What channels of full scale can add up to in a mix to mono; whatever is louder than that is damage."""


class Task:
    """An open file of a known kind, and the limits it is held to."""

    def __init__(self, limits: Limits, file: FileView, kind: str) -> None:
        self.limits = limits
        self.file = file
        self.kind = kind

    def open(self, size: int | None = None) -> InputContainer:
        """The file, or its first ``size`` bytes, in its demuxer."""
        view = FileView(self.file.descriptor, self.file.size if size is None else size)
        options = {
            "protocol_whitelist": "none",
            "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,wav,mp3,flac,ogg",
            "codec_whitelist": ",".join(sorted(_VIDEO_DECODERS | _AUDIO_DECODERS)),
            "max_streams": str(4 * self.limits.streams),
        }
        container = av.open(view, "r", format=self.kind, options=options)
        if (streams := len(container.streams)) > self.limits.streams:
            container.close()
            raise MediaFaultError(
                "too_many_streams",
                f"it has {streams} streams and {self.limits.streams} are accepted. Write one picture "
                "and one sound track.",
            )
        return container

    def picture(self, container: InputContainer) -> av.VideoStream:
        # Cover art is a picture that doesn't move.
        moving = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
        stream = next(moving, None)
        if stream is None or self.kind in _AUDIO_ONLY:
            raise MediaFaultError("no_video", "it has no picture track. A clip must show the avatar.")
        codec = stream.codec_context
        _require_decoder(codec, _VIDEO_DECODERS, "picture", "H.264 (or VP9, AV1)")
        self.check_picture(codec.width, codec.height)
        codec.thread_count = 1
        codec.options = {"max_pixels": str(self.limits.pixels)}
        return stream

    def sound(self, container: InputContainer) -> av.AudioStream | None:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        _require_decoder(stream.codec_context, _AUDIO_DECODERS, "sound", "AAC")
        stream.codec_context.thread_count = 1
        return stream

    def check_picture(self, width: int, height: int) -> None:
        if width * height > self.limits.pixels:
            raise MediaFaultError(
                "too_large",
                f"its frames of {width}x{height} have more than {self.limits.pixels} pixels. Deliver smaller frames.",
            )

    def check_time(self, seconds: float) -> None:
        if not -self.limits.duration_s <= seconds <= self.limits.duration_s:
            raise MediaFaultError(
                "too_long",
                f"its timestamps span {abs(seconds):.4g} s and clips may play {self.limits.duration_s:g} s. Deliver a "
                "shorter clip, and check the timestamps if it is meant to be short.",
            )


@dataclass(slots=True)
class _Showing:
    """When frames are shown. Seconds on the file's own timestamps."""

    task: Task
    times: list[float] = field(default_factory=list)
    start: float = 0.0
    last: float = 0.0
    stay: float = 0.0
    """How long the first packet says its frame stays."""

    def add(self, time: float) -> None:
        self.start, self.last = (min(self.start, time), max(self.last, time)) if self.times else (time, time)
        self.times.append(time)
        self.task.check_time(self.last - self.start)

    def add_stay(self, packet: av.Packet[Any]) -> None:
        if not self.stay and packet.duration and packet.time_base is not None:
            self.stay = float(packet.duration * packet.time_base)

    def end(self) -> float:
        """End of the last frame's stay, taken to be as long as that of frames usually is.

        Packets with reordered frames carry durations in the order of decoding, which don't belong to their frames.
        """
        if len(self.times) > 1:
            return self.last + float(np.median(np.diff(np.sort(self.times))))
        self.task.check_time(self.stay)
        return self.last + (self.stay or 0.04)


@dataclass(slots=True)
class _Picture:
    """What decoding the picture track shows."""

    showing: _Showing
    width: int = 0
    height: int = 0
    first: av.VideoFrame | None = None
    packet_ends: list[int] = field(default_factory=list)

    def frame(self, frame: av.VideoFrame, fallback_fps: float) -> None:
        if self.first is None:
            self.first, self.width, self.height = frame, frame.width, frame.height
        self.showing.task.check_picture(frame.width, frame.height)
        untimed = self.showing.start + len(self.showing.times) / fallback_fps
        self.showing.add(untimed if frame.time is None else frame.time)


class _Sound:
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


def _require_decoder(codec: CodecContext | None, accepted: frozenset[str], what: str, better: str) -> None:
    name = "something unknown" if codec is None else codec.name
    if name not in accepted:
        raise MediaFaultError("undecodable", f"its {what} is coded as {name}, which is not accepted. Use {better}.")


def _decode_clip(task: Task) -> tuple[_Picture, _Sound | None, str]:
    """Decode all of a clip, picture and sound."""
    require_complete(task.file, task.kind)
    with task.open() as container:
        video, audio = task.picture(container), task.sound(container)
        codec = video.codec_context.codec.canonical_name
        fallback_fps = float(video.average_rate or 25) or 25.0
        picture, sound = _Picture(_Showing(task)), None if audio is None else _Sound(task)
        declared = None if container.duration is None else container.duration / av.time_base
        for packet in container.demux(*(stream for stream in (video, audio) if stream is not None)):
            _refuse_corrupt(packet)
            if packet.pos is not None and len(picture.packet_ends) < _FIRST_FRAME_GUESSES:
                picture.packet_ends.append(packet.pos + packet.size)
            if packet.stream is video:
                picture.showing.add_stay(packet)
                for image in video.decode(packet):
                    picture.frame(image, fallback_fps)
            elif audio is not None and sound is not None:
                for piece in audio.decode(packet):
                    sound.frame(piece)
    if picture.first is None:
        raise truncated("its picture track holds no frame that can be decoded")
    origin, end = _span(picture, sound)
    _require_length(declared, end - origin, task.kind)
    return picture, sound, codec


def _span(picture: _Picture, sound: _Sound | None) -> tuple[float, float]:
    """First and last moment of a clip in seconds on the file's own timestamps."""
    start, end = picture.showing.start, picture.showing.end()
    if sound is None or sound.start is None:
        return start, end
    return min(start, sound.start), max(end, sound.start + sound.seconds())


def _refuse_corrupt(packet: av.Packet[Any]) -> None:
    if packet.is_corrupt:
        raise truncated("a packet is damaged or not all there")


def _require_length(declared: float | None, found: float, kind: str) -> None:
    # Transport streams and bare MP3 declare no length: the demuxer's figure for them is a guess.
    if kind in ("mp4", "matroska", "flac") and declared is not None and found < declared * 0.98 - 0.5:
        raise truncated(f"it says it plays {declared:.2f} s and {found:.2f} s of it are there")


def inspect(task: Task) -> dict[str, Any]:
    """Answer with the :class:`ClipFacts` of a clip."""
    picture, sound, codec = _decode_clip(task)
    origin, end = _span(picture, sound)
    if end <= origin:
        raise MediaFaultError("undecodable", "its playback duration is zero. Write proper timestamps.")
    frames, picture_s = len(picture.showing.times), picture.showing.end() - picture.showing.start
    start_s = None if sound is None else _first_audible(sound.samples(origin))
    facts = ClipFacts(
        sha256=_sha256(task.file),
        bytes=task.file.size,
        duration_s=round(end - origin, 6),
        frames=frames,
        fps=round(frames / picture_s, 6) if picture_s > 0 else 0.0,
        width=picture.width,
        height=picture.height,
        video_codec=codec,
        has_audio=sound is not None,
        audible=start_s is not None,
        audio_s=0.0 if sound is None else round(sound.seconds(), 6),
        speech_start_s=start_s,
        first_frame_bytes=_first_frame_bytes(task, picture),
        speech_start_bytes=None if start_s is None else _speech_start_bytes(task, origin, start_s),
    )
    return {"facts": asdict(facts)}


def _first_audible(samples: npt.NDArray[np.float32]) -> float | None:
    """Start in seconds of the first 20 ms window above -50 dBFS; full scale is a root mean square of 1.

    A constant offset is no sound: the level is that of the deviation from the window's mean.
    """
    windows = np.pad(samples, (0, -len(samples) % _WINDOW)).reshape(-1, _WINDOW)
    loud = np.flatnonzero(windows.std(axis=1) > _AUDIBLE_RMS)
    return None if len(loud) == 0 else round(float(loud[0]) * _WINDOW / AUDIO_RATE, 6)


def _first_frame_bytes(task: Task, picture: _Picture) -> int | None:
    """The shortest tried beginning of the file from which the very same first frame can be decoded; None if none does.

    Tried are the ends of the first packets, as the demuxer reports them; some report a few bytes short (WebM) or
    only the payload (transport streams), hence the next ends and the verification.
    """
    ends = sorted(picture.packet_ends)
    for end in [*ends[:1], *(end + 64 for end in ends[:1]), *ends[1:]]:
        size = min(end, task.file.size)
        with contextlib.suppress(av.FFmpegError, MediaFaultError), task.open(size) as container:
            frame = next(container.decode(task.picture(container)), None)
            if frame is not None and picture.first is not None and _same_picture(frame, picture.first):
                return size
    return None


def _speech_start_bytes(task: Task, origin: float, start_s: float) -> int | None:
    """The shortest tried beginning of the file in which sound is heard no later than at ``start_s``; None if none.

    Tried are the ends of the sound packets from the one that plays then; see :func:`_first_frame_bytes` for the rest.
    """
    ends: list[int] = []
    with task.open() as container:
        for packet in container.demux(container.streams.audio[0]):
            if packet.pos is None or packet.pts is None or packet.time_base is None:
                continue
            if float((packet.pts + (packet.duration or 0)) * packet.time_base) - origin > start_s:
                ends.append(packet.pos + packet.size)
            if len(ends) == _SPEECH_START_GUESSES:
                break
    for end in [*ends[:1], *(end + 64 for end in ends[:1]), *ends[1:]]:
        size = min(end, task.file.size)
        heard = _heard_from(task, size, origin)
        if heard is not None and heard <= start_s:
            return size
    return None


def _heard_from(task: Task, size: int, origin: float) -> float | None:
    """When the first ``size`` bytes of the file, decoded as far as they go, first get audible."""
    sound = _Sound(task)
    with contextlib.suppress(av.FFmpegError, MediaFaultError), task.open(size) as container:
        if (stream := task.sound(container)) is None:
            return None
        for packet in container.demux(stream):
            _refuse_corrupt(packet)
            for frame in stream.decode(packet):
                sound.frame(frame)
    return _first_audible(sound.samples(origin))


def _same_picture(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    return (one.width, one.height, one.format.name) == (other.width, other.height, other.format.name) and all(
        bytes(a) == bytes(b) for a, b in zip(one.planes, other.planes, strict=True)
    )


def _sha256(file: FileView) -> str:
    digest = hashlib.sha256()
    view = FileView(file.descriptor, file.size)
    while block := view.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def audio(task: Task, out: Path) -> dict[str, Any]:
    """Write a file's sound to ``out`` as raw float32; answer with the number of samples, None without a track."""
    require_complete(task.file, task.kind)
    with task.open() as container:
        stream = task.sound(container)
        if stream is None:
            return {"samples": None}
        sound = _Sound(task)
        for packet in container.demux(stream):
            _refuse_corrupt(packet)
            for frame in stream.decode(packet):
                sound.frame(frame)
        pictures = [
            float(video.start_time * video.time_base)
            for video in container.streams.video
            if video.start_time is not None and video.time_base is not None
        ]
    samples = sound.samples(min([*pictures, sound.start or 0.0]))
    out.write_bytes(samples.tobytes())
    return {"samples": len(samples)}


def frames(task: Task, count: int, width: int, height: int, out: Path) -> dict[str, Any]:
    """Write ``count`` frames evenly spaced by time to ``out`` as raw RGB ``[count, height, width, 3]``."""
    if count * width * height * 3 > task.limits.output_bytes:
        raise MediaFaultError(
            "too_large", f"{count} frames of {width}x{height} are more than may be handed over at once."
        )
    require_complete(task.file, task.kind)
    start, end = _picture_span(task)
    wanted = [start + (k + 0.5) / count * (end - start) for k in range(count)]
    converted, pixels = None, b""
    with out.open("wb") as target:
        for frame in _on_screen(task, wanted):
            if frame is not converted:
                converted, pixels = frame, _rgb(frame, width, height)
            target.write(pixels)
    return {}


def _picture_span(task: Task) -> tuple[float, float]:
    """First and last moment of the picture in seconds, from the packets' timestamps."""
    showing = _Showing(task)
    with task.open() as container:
        for packet in container.demux(task.picture(container)):
            if packet.pts is not None and packet.time_base is not None and not packet.is_discard:
                showing.add_stay(packet)
                showing.add(float(packet.pts * packet.time_base))
    return showing.start, showing.end()


def _on_screen(task: Task, wanted: list[float]) -> Iterator[av.VideoFrame]:
    """For each of the ascending times ``wanted`` the frame shown then: the last one that is not later."""
    shown: av.VideoFrame | None = None
    given = 0
    with task.open() as container:
        for frame in container.decode(task.picture(container)):
            task.check_picture(frame.width, frame.height)
            while shown is not None and given < len(wanted) and frame.time is not None and wanted[given] < frame.time:
                yield shown
                given += 1
            if given == len(wanted):
                return
            shown = frame
    if shown is None:
        raise truncated("its picture track holds no frame that can be decoded")
    for _ in wanted[given:]:
        yield shown


def _rgb(frame: av.VideoFrame, width: int, height: int) -> bytes:
    scaled = frame.reformat(width=width, height=height, format="rgb24", interpolation=Interpolation.AREA)
    return scaled.to_ndarray().tobytes()


def probe_audio(task: Task) -> dict[str, Any]:
    """Answer with the :class:`SoundFacts` of a file."""
    require_complete(task.file, task.kind)
    samples, total, peak = 0, 0.0, 0.0
    with task.open() as container:
        stream = task.sound(container)
        if stream is None:
            raise MediaFaultError("no_audio", "it has no sound track.")
        declared = None if container.duration is None else container.duration / av.time_base
        planar = av.AudioResampler(format="fltp")
        for packet in container.demux(stream):
            _refuse_corrupt(packet)
            for frame in stream.decode(packet):
                for piece in planar.resample(frame):
                    values = np.nan_to_num(piece.to_ndarray())
                    peak = max(peak, float(np.abs(values).max(initial=0.0)))
                    total += float(np.square(values, dtype=np.float64).mean(axis=0).sum())
                    samples += values.shape[1]
                    task.check_time(samples / stream.rate)
        facts = SoundFacts(
            container=task.kind,
            codec=stream.codec_context.codec.canonical_name,
            rate=stream.rate,
            channels=stream.channels,
            duration_s=samples / stream.rate,
            peak=peak,
            rms=(total / samples) ** 0.5 if samples else 0.0,
        )
    _require_length(declared, facts.duration_s, task.kind)
    return {"facts": asdict(facts)}

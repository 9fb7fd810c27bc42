"""An open foreign file, the limits it is held to, and which of its tracks are its picture and its sound.

Nothing here opens a file by name: the demuxer gets a file object, a fixed format and fixed decoders, so that nothing in
a file can make FFmpeg open another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.stream import Disposition

from interbench.media.container import outline
from interbench.media.files import FileView, MediaFaultError, truncated
from interbench.media.limits import Limits

VIDEO_DECODERS = frozenset({"h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mjpeg"})
AUDIO_DECODERS = frozenset(
    {"aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac", "alac", "ac3", "eac3"}
    | {
        f"pcm_{kind}"
        for kind in ("u8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le")
    }
    | {"pcm_alaw", "pcm_mulaw"}
)
_AUDIO_ONLY = frozenset({"wav", "mp3", "flac"})
_STILL = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_Track = TypeVar("_Track", av.VideoStream, av.AudioStream)


class Task:
    """An open file of a known kind, and the limits it is held to.

    Raises:
        MediaFaultError: its outer structure says that not all of it is there.
    """

    def __init__(self, limits: Limits, file: FileView, kind: str) -> None:
        self.limits = limits
        self.file = file
        self.kind = kind
        self.outline = outline(file, kind)

    def open(self, size: int | None = None) -> InputContainer:
        """The file, or its first ``size`` bytes, in its demuxer."""
        view = FileView(self.file.descriptor, self.file.size if size is None else size)
        options = {
            "protocol_whitelist": "none",
            "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,wav,mp3,flac,ogg",
            "codec_whitelist": ",".join(sorted(VIDEO_DECODERS | AUDIO_DECODERS)),
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
        """The track that a player shows."""
        stream = moving(container)
        if stream is None or self.kind in _AUDIO_ONLY:
            raise MediaFaultError("no_video", "it has no picture track. A clip must show the avatar.")
        codec = stream.codec_context
        _require_decoder(codec, VIDEO_DECODERS, "picture", "H.264 (or HEVC, VP9, AV1)")
        self.check_picture(codec.width, codec.height)
        codec.thread_count = 1
        codec.options = {"max_pixels": str(self.limits.pixels)}
        return stream

    def sound(self, container: InputContainer) -> av.AudioStream | None:
        """The track that a player plays; None if there is none."""
        if not container.streams.audio:
            return None
        stream = _preferred(container.streams.audio)
        _require_decoder(stream.codec_context, AUDIO_DECODERS, "sound", "AAC (or Opus, FLAC, PCM)")
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


class Reach:
    """How far the packets of a file go, over all of its tracks, against what it declares."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._start: float | None = None
        self._end = 0.0
        self._counts: dict[int, int] = {}

    def packets(self, container: InputContainer) -> Iterator[av.Packet[Any]]:
        """Every packet of the file, with those that end a track."""
        for packet in container.demux():
            if packet.size:
                self._add(packet)
            yield packet

    def _add(self, packet: av.Packet[Any]) -> None:
        index = packet.stream.index
        self._counts[index] = self._counts.get(index, 0) + 1
        base = packet.time_base
        if packet.pts is None or base is None:
            return
        # Integers divided, not fractions multiplied, which is the same number at a tenth of the price: short packets of
        # sound are many, and this was a third of what reading a file of speech took.
        start = packet.pts * base.numerator / base.denominator
        end = start + (packet.duration or 0) * base.numerator / base.denominator
        self._start = start if self._start is None else min(self._start, start)
        self._end = max(self._end, end)

    def require(self, container: InputContainer, used: list[av.VideoStream | av.AudioStream]) -> None:
        """Refuse a file of which not all is there.

        What counts is the longest of all tracks, because that is what a declared length speaks of. Some writers declare
        the length, some the time at which a clock that did not begin at zero stands at the end.

        Raises:
            MediaFaultError: ``truncated``.
        """
        if self._task.kind == "mp4":
            for stream in used:
                named, there = len(stream.index_entries), self._counts.get(stream.index, 0)
                if there < named:
                    raise truncated(f"the index of its {stream.type} names {named} samples and {there} are there")
        declared = self._task.outline.seconds
        if declared is None:
            return
        start = self._start or 0.0
        length = declared - start if 0 < start < declared else declared
        found = max(self._end, self._end - start)
        if found < declared - 0.02 * length - 0.5:
            raise truncated(f"it says it plays {length:.2f} s and {max(0.0, self._end - start):.2f} s of it are there")


def moving(container: InputContainer) -> av.VideoStream | None:
    """The picture track that a player shows; cover art and thumbnails don't move."""
    tracks = [stream for stream in container.streams.video if not stream.disposition & _STILL]
    return _preferred(tracks) if tracks else None


def refuse_corrupt(packet: av.Packet[Any]) -> None:
    if packet.is_corrupt:
        raise truncated("a packet is damaged or not all there")


def _preferred(tracks: tuple[_Track, ...] | list[_Track]) -> _Track:
    """The first track that is marked as the default, else the first."""
    return next((track for track in tracks if track.disposition & Disposition.default), tracks[0])


def _require_decoder(codec: CodecContext | None, accepted: frozenset[str], what: str, better: str) -> None:
    name = "something unknown" if codec is None else codec.name
    if name not in accepted:
        raise MediaFaultError("undecodable", f"its {what} is coded as {name}, which is not accepted. Use {better}.")

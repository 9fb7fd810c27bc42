"""Decoding foreign clips: what the media worker does with a file once it is open."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av

from interbench.domain.clips import ClipFacts
from interbench.media.beginning import FIRST_FRAME_GUESSES, first_audible, first_frame_bytes, speech_start_bytes
from interbench.media.files import FileView, MediaFaultError, truncated
from interbench.media.picture import Showing, on_screen, picture_times
from interbench.media.plain import why_not_plain
from interbench.media.shown import Pose, pose
from interbench.media.sound import Sound
from interbench.media.task import Reach, Task, refuse_corrupt


@dataclass(slots=True)
class _Picture:
    """What decoding the picture track shows."""

    showing: Showing
    first: av.VideoFrame | None = None
    pose: Pose = field(default_factory=Pose)
    resized: bool = False
    packet_ends: list[int] = field(default_factory=list)

    def frame(self, stream: av.VideoStream, frame: av.VideoFrame, fallback_fps: float) -> None:
        if self.first is None:
            self.first, self.pose = frame, pose(stream, frame)
            self.showing.task.check_picture(*self.pose.size(frame.width, frame.height))
        self.showing.task.check_picture(frame.width, frame.height)
        self.resized = self.resized or (frame.width, frame.height) != (self.first.width, self.first.height)
        untimed = self.showing.start + len(self.showing.times) / fallback_fps
        self.showing.add(untimed if frame.time is None else frame.time)


@dataclass(frozen=True, slots=True)
class _Decoded:
    picture: _Picture
    sound: Sound | None
    codec: str
    not_plain: str


def _decode_clip(task: Task) -> _Decoded:
    """Decode all of a clip, picture and sound."""
    reach = Reach(task)
    with task.open() as container:
        video, audio = task.picture(container), task.sound(container)
        fallback_fps = float(video.average_rate or 25) or 25.0
        picture, sound = _Picture(Showing(task)), None if audio is None else Sound(task)
        for packet in reach.packets(container):
            if packet.stream is video:
                refuse_corrupt(packet)
                _note_end(picture, packet)
                picture.showing.add_stay(packet)
                for image in video.decode(packet):
                    picture.frame(video, image, fallback_fps)
            elif audio is not None and sound is not None and packet.stream is audio:
                refuse_corrupt(packet)
                _note_end(picture, packet)
                for piece in audio.decode(packet):
                    sound.frame(piece)
        if picture.first is None:
            raise truncated("its picture track holds no frame that can be decoded")
        reach.require(container, [video] if audio is None else [video, audio])
        times = picture.showing.times
        not_plain = why_not_plain(container, video, times, picture.first, resized=picture.resized)
        return _Decoded(picture, sound, video.codec_context.codec.canonical_name, not_plain)


def _note_end(picture: _Picture, packet: av.Packet[Any]) -> None:
    if packet.pos is not None and len(picture.packet_ends) < FIRST_FRAME_GUESSES:
        picture.packet_ends.append(packet.pos + packet.size)


def _span(picture: _Picture, sound: Sound | None) -> tuple[float, float]:
    """First and last moment of a clip in seconds on the file's own timestamps."""
    start, end = picture.showing.start, picture.showing.end()
    if sound is None or sound.start is None:
        return start, end
    return min(start, sound.start), max(end, sound.start + sound.seconds())


def inspect(task: Task) -> dict[str, Any]:
    """Answer with the :class:`ClipFacts` of a clip."""
    decoded = _decode_clip(task)
    picture, sound = decoded.picture, decoded.sound
    origin, end = _span(picture, sound)
    if end <= origin:
        raise MediaFaultError("undecodable", "its playback duration is zero. Write proper timestamps.")
    frames, picture_s = len(picture.showing.times), picture.showing.end() - picture.showing.start
    start_s = None if sound is None else first_audible(sound.samples(origin))
    assert picture.first is not None
    width, height = picture.pose.size(picture.first.width, picture.first.height)
    facts = ClipFacts(
        sha256=_sha256(task.file),
        bytes=task.file.size,
        duration_s=round(end - origin, 6),
        frames=frames,
        fps=round(frames / picture_s, 6) if picture_s > 0 else 0.0,
        width=width,
        height=height,
        video_codec=decoded.codec,
        has_audio=sound is not None,
        audible=start_s is not None,
        audio_s=0.0 if sound is None else round(sound.seconds(), 6),
        speech_start_s=start_s,
        first_frame_bytes=first_frame_bytes(task, picture.first, picture.packet_ends),
        speech_start_bytes=None if start_s is None else speech_start_bytes(task, origin, start_s),
        rotation=picture.pose.rotation,
        mirrored=picture.pose.mirrored,
        length_known=task.outline.length_known,
        not_plain=decoded.not_plain,
    )
    return {"facts": asdict(facts)}


def _sha256(file: FileView) -> str:
    digest = hashlib.sha256()
    view = FileView(file.descriptor, file.size)
    while block := view.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def frames(task: Task, count: int, width: int, height: int, out: Path) -> dict[str, Any]:
    """Write ``count`` frames, as shown, evenly spaced by time to ``out`` as raw RGB ``[count, height, width, 3]``."""
    if count * width * height * 3 > task.limits.output_bytes:
        raise MediaFaultError(
            "too_large", f"{count} frames of {width}x{height} are more than may be handed over at once."
        )
    times = picture_times(task)
    start, end = times.start, times.end()
    wanted = [start + (k + 0.5) / count * (end - start) for k in range(count)]
    converted, pixels = None, b""
    with out.open("wb") as target, task.open() as container:
        stream = task.picture(container)
        shown: Pose | None = None
        for frame in on_screen(task, container, stream, wanted):
            shown = shown or pose(stream, frame)
            if frame is not converted:
                converted, pixels = frame, shown.rgb(frame, width, height).tobytes()
            target.write(pixels)
    return {}

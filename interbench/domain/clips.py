"""What is found in a clip by decoding it. Light to import: the process that decodes starts with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NoSpeech(StrEnum):
    """Why nothing is heard in a clip."""

    NO_SOUND_TRACK = "no_sound_track"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What the media worker found in a clip by decoding it."""

    sha256: str
    bytes: int
    duration_s: float
    """Playback duration: the longer of picture and sound."""
    frames: int
    fps: float
    width: int
    """Of the picture as a player shows it: turned, and with square pixels."""
    height: int
    video_codec: str
    has_audio: bool
    """Whether the file has an audio track."""
    audible: bool
    """Whether that track is ever louder than -50 dBFS (20 ms windows)."""
    audio_s: float
    speech_start_s: float | None
    """When the track first gets louder than that: the beginning of its first such window; None if it never does."""
    first_frame_bytes: int | None = None
    """How many bytes of the file a client must have to show the first frame; None if the container doesn't tell."""
    speech_start_bytes: int | None = None
    """How many it must have to play the sound at ``speech_start_s``; None if the container doesn't tell."""
    rotation: int = 0
    """Degrees clockwise by which a player turns the stored picture, after mirroring it if it is :attr:`mirrored`."""
    mirrored: bool = False
    length_known: bool = True
    """False: nothing in the file says how long it is, so nobody can tell whether more was to come."""
    not_plain: str | None = None
    """Why the loader of a judge would not see what a player shows; empty if it does. None: recorded by a version that
    did not ask, whose width and height are those of the stored picture."""

    @property
    def no_speech(self) -> NoSpeech | None:
        """Why nothing is heard; None if something is."""
        if self.speech_start_s is not None:
            return None
        return NoSpeech.SILENT if self.has_audio else NoSpeech.NO_SOUND_TRACK

"""A turn of a conversation: what the user said, how it went, and when."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from livetalk.base.errors import LiveTalkError
from livetalk.thinkers.base import Samples


class TurnError(LiveTalkError):
    """An answer ended before its first byte, or can't begin.

    Args:
        code: one of ``empty_turn`` (the user said nothing), ``no_answer`` (the thinker ended without a word),
            ``no_speech`` (it gave text but nothing audible), ``too_long`` (the answer; cut off), ``interrupted`` (by a
            newer turn, before the first frame), ``closed`` (the conversation), ``stalled`` (the client stopped
            reading), ``render_failed`` (no frames could be made).
        message: one paragraph that says what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class CapacityError(LiveTalkError):
    """As many conversations are open as the device serves."""


@dataclass(frozen=True, slots=True)
class UserTurn:
    """What the user says: text, sound, or both.

    Raises:
        TurnError: ``empty_turn``; there is neither.
    """

    text: str | None = None
    audio: Samples | None = None
    """16 kHz mono float32."""

    def __post_init__(self) -> None:
        if not (self.text and self.text.strip()) and (self.audio is None or not len(self.audio)):
            raise TurnError("empty_turn", "The turn holds neither words nor sound; send a text, a recording, or both.")


class Outcome(StrEnum):
    """How a turn went. Only ``running`` is not final."""

    running = "running"
    completed = "completed"
    interrupted = "interrupted"  # by the user's next turn, on request, or because the conversation was closed
    timed_out = "timed_out"  # the thinker was too slow, or its answer too long
    failed = "failed"
    disconnected = "disconnected"  # the client went away or stopped reading


@dataclass(frozen=True, slots=True)
class TurnTimings:
    """Seconds after the user's turn was complete; None for what has not happened (yet)."""

    thinker_first_text_s: float | None = None
    thinker_first_sound_s: float | None = None
    """The first audible sample, not leading silence."""
    first_window_s: float | None = None
    """The sound of the first block and its look-ahead is there."""
    first_block_s: float | None = None
    """Its frames are."""
    first_fragment_s: float | None = None
    """Its fragment can be sent: the system's time to first frame."""
    finished_s: float | None = None


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A turn as it stands; also while it runs."""

    index: int
    """From 1."""
    outcome: Outcome
    user_text: str | None
    user_text_source: Literal["typed", "transcribed"] | None
    """None where there is no such text (yet)."""
    text: str
    """All the thinker has said so far."""
    heard_text: str
    """What memory holds: all of it if completed, else what was heard before the end."""
    timings: TurnTimings
    frames: int
    """Handed to the client."""
    video_s: float
    underruns: int
    """Times that playback, begun with the first fragment, had to wait."""
    underrun_s: float
    real_time_factor: float | None
    """Seconds of work per second of video, of the busiest stage."""
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What a conversation's answers look like to a player."""

    width: int
    height: int
    fps: int
    mime: str
    """With the codecs, as MediaSource.isTypeSupported takes it."""
    sound_rate: int

"""What can be seen of an answer before a run that would be found after it, in plain words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from interbench.domain.records import ClipFacts
from interbench.judge.vlm.frames import Sampling

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Sound = npt.NDArray[np.float32]

Level = Literal["ok", "note", "wrong"]

_LEAST_FRAMES_PER_S = 1.0
"""A judge that sees fewer misses gestures and glances."""
_FPS = (5.0, 120.0)
_WORDS_PER_S = (0.7, 7.0)
"""Slower or faster than anybody speaks: a sampling rate that is not the one in the header."""
_FEW_WORDS = 4
_APART_S = 1.0
_LATE_S = 2.0
_ECHO = 0.8
_SAME_SOUND = 0.6
_REPEATS = (
    "its avatar repeats the question. A program that moves a face to a sound is to be given the reply's: {speech}, or "
    "turn.speech; {audio} and turn.audio are the user's voice"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    level: Level
    text: str

    def __str__(self) -> str:
        return f"{self.level:>5}  {self.text}"


def clip_findings(where: str, facts: ClipFacts, sampling: Sampling | None = None) -> Iterator[Finding]:
    """What is odd about a clip.

    Args:
        where: which one, for people.
        sampling: of the judge; that of the published protocol if not given.
    """
    if not facts.has_audio:
        yield Finding("wrong", f"{where}: the clip has no audio track; an answer has to carry speech")
    elif not facts.audible:
        yield Finding("wrong", f"{where}: the audio track is silent")
    elif facts.speech_start_s is not None and facts.speech_start_s > _LATE_S:
        yield Finding("note", f"{where}: nothing is heard for the first {facts.speech_start_s:.1f} s")
    if facts.rotation or facts.mirrored:
        yield Finding(
            "note",
            f"{where}: the picture is stored turned or mirrored; players, the judges and the report show it upright, "
            f"as {facts.width}x{facts.height}",
        )
    if facts.not_plain:
        yield Finding(
            "note",
            f"{where}: a vision-language judge gets a plain copy (H.264) of the clip, because {facts.not_plain}",
        )
    if not facts.length_known:
        yield Finding(
            "note",
            f"{where}: nothing in the file says how long it is, so a clip that ends too early passes as whole; MP4 in "
            f"one piece, or with its duration declared, would tell",
        )
    if not _FPS[0] <= facts.fps <= _FPS[1]:
        yield Finding("note", f"{where}: {facts.fps:g} frames per second is an unusual rate; are the timestamps right?")
    frames = (sampling or Sampling()).frames
    if facts.duration_s * _LEAST_FRAMES_PER_S > frames:
        yield Finding(
            "note",
            f"{where}: of {facts.duration_s:.0f} s the judge sees {frames} frames, one in "
            f"{facts.duration_s / frames:.1f} s; shorter answers are judged closer",
        )
    picture_s = facts.frames / facts.fps if facts.fps else 0.0
    if facts.has_audio and abs(facts.audio_s - picture_s) > _APART_S:
        yield Finding("note", f"{where}: the picture lasts {picture_s:.1f} s and the sound {facts.audio_s:.1f} s")


def text_findings(
    where: str, facts: ClipFacts, asked: str, reported: str | None, *, listens: bool
) -> Iterator[Finding]:
    """What is odd about the words of an answer.

    Args:
        asked: what the user said.
        reported: what the system says its avatar said; None if it does not say.
        listens: whether the transcriber hears the clip itself.
    """
    if reported is None:
        if not listens:
            yield Finding(
                "wrong",
                f"{where}: the system does not report what it says, and the transcriber does not listen: nothing it "
                f"says could be judged. Report the text (reply_text), or choose a transcriber that listens "
                f"(--transcriber funasr or a URL)",
            )
        return
    words = _words(reported)
    if not words:
        yield Finding("wrong", f"{where}: the reported text is empty")
    elif words == _words(asked):
        yield Finding("wrong", f"{where}: the reported text is what the user said; report what the avatar answers")
    elif _similar(words, _words(asked)):
        yield Finding(
            "note", f"{where}: the reported text is nearly what the user said; is it what the avatar answers?"
        )
    spoken_s = facts.audio_s - (facts.speech_start_s or 0.0)
    if facts.audible and len(words) >= _FEW_WORDS and spoken_s > 0:
        pace = len(words) / spoken_s
        if not _WORDS_PER_S[0] <= pace <= _WORDS_PER_S[1]:
            yield Finding(
                "note",
                f"{where}: {len(words)} words in {spoken_s:.1f} s of sound; is its sampling rate the one in the "
                f"header, and is the text that of this clip?",
            )


def heard_findings(where: str, asked: str, heard: str) -> Iterator[Finding]:
    """What is odd about the words that a transcriber hears in an answer, where they are the user's.

    Args:
        asked: what the user said.
        heard: what the transcriber hears in the clip.
    """
    if _similar(_words(heard), _words(asked)):
        yield Finding("wrong", f"{where}: what is heard in the clip is what the user said; {_REPEATS}")


def echo_findings(where: str, clip: Sound | None, user: Sound | None) -> Iterator[Finding]:
    """Whether the sound of an answer is the user's own recording, as where it is handed to a program that moves a face
    to it. No transcriber is needed to tell.

    Args:
        clip: the clip's sound, mono at :data:`interbench.media.pool.AUDIO_RATE`; None if it has none.
        user: the user's recording, alike; None if the turn has none.
    """
    if clip is not None and user is not None and likeness(clip, user) >= _SAME_SOUND:
        yield Finding("wrong", f"{where}: the clip's sound is the user's own recording; {_REPEATS}")


def likeness(one: Sound, other: Sound) -> float:
    """How much the shorter of two sounds is a part of the longer, 0 to 1: the largest normalised cross-correlation.

    A recording that was coded, made louder, shifted or cut stays near 1; two people, or two texts, stay below 0.3.
    """
    import numpy as np

    short, long = sorted((one.astype(np.float64), other.astype(np.float64)), key=len)
    energy = float(np.square(short).sum())
    if len(short) == 0 or energy == 0.0:
        return 0.0
    long = np.pad(long, len(short) // 2)
    # By FFT, so long that nothing wraps round into the lags that are kept. (scipy.signal takes seconds to import.)
    size = 1 << (len(long) - 1).bit_length()
    spectrum = np.fft.rfft(long, size) * np.fft.rfft(short, size).conj()
    found = np.abs(np.fft.irfft(spectrum, size)[: len(long) - len(short) + 1])
    sums = np.concatenate([[0.0], np.cumsum(np.square(long))])
    within = sums[len(short) :] - sums[: -len(short)]
    if within.max() <= 0.0:
        return 0.0
    # Where the longer one is nearly silent, rounding would look like likeness.
    within = np.maximum(within, 0.25 * within.max())
    return float(min(1.0, (found / np.sqrt(energy * within)).max()))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _similar(one: Sequence[str], other: Sequence[str]) -> bool:
    return bool(other) and difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ECHO

"""What a conversation remembers in words and sound: what the user said, and of the answers what was heard."""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from livetalk.base.rates import AUDIO_RATE
from livetalk.thinkers.base import Message, Samples

CHARACTERS_PER_SECOND = 15.0
"""Of unhurried English speech; used where nothing better is known about what a piece of sound says."""

SYLLABLES_PER_SECOND = 5.0
"""Where a character is about a syllable, as in Chinese."""

FORGOTTEN_SOUND = "(The user spoke here; the sound is no longer kept.)"


@dataclass(frozen=True, slots=True)
class Mark:
    """By this second of the answer's sound, so many characters of its text are spoken."""

    second: float
    characters: int


@dataclass(frozen=True, slots=True)
class _Exchange:
    user_text: str | None
    user_audio: Samples | None
    heard: str

    @property
    def characters(self) -> int:
        return len(self.user_text or "") + len(self.heard)


class Memory:
    """Past turns, oldest first, within bounds.

    Args:
        audio_s: the latest seconds of the user's own sound that are kept. Of an older turn the words stay where they
            are known, otherwise a note that something was said.
        chars: characters of both speakers that are kept; beyond them whole turns are forgotten, the oldest first.
    """

    def __init__(self, audio_s: float, chars: int) -> None:
        self._audio_samples = round(audio_s * AUDIO_RATE)
        self._chars = chars
        self._exchanges: deque[_Exchange] = deque()

    def add(self, user_text: str | None, user_audio: Samples | None, heard: str) -> None:
        """A turn is over; ``heard`` is what reached the user of its answer, perhaps nothing."""
        self._exchanges.append(_Exchange(user_text, user_audio, heard))
        self._forget_sound()
        while len(self._exchanges) > 1 and sum(turn.characters for turn in self._exchanges) > self._chars:
            self._exchanges.popleft()

    def messages(self) -> tuple[Message, ...]:
        """As a thinker takes them."""
        out = []
        for turn in self._exchanges:
            out.append(Message("user", turn.user_text, turn.user_audio))
            if turn.heard:
                out.append(Message("assistant", turn.heard))
        return tuple(out)

    def _forget_sound(self) -> None:
        left = self._audio_samples
        for i in range(len(self._exchanges) - 1, -1, -1):
            turn = self._exchanges[i]
            if turn.user_audio is None:
                continue
            left -= len(turn.user_audio)
            if left < 0:
                self._exchanges[i] = replace(turn, user_audio=None, user_text=turn.user_text or FORGOTTEN_SOUND)


def heard_text(text: str, heard_s: float, marks: Sequence[Mark], *, spoken_s: float, whole: bool) -> str:
    """The part of an answer's text that its first seconds say, cut at a word's end.

    Between two marks the text is taken to be spoken evenly. After the last one it is spoken evenly up to the end of the
    sound where the answer is whole, and at the pace of common speech where more is to come.

    Args:
        text: all the text there is.
        heard_s: seconds of sound that were heard.
        marks: in the order of time.
        spoken_s: seconds of sound there are.
        whole: the text and the sound end here, together.
    """
    if whole and heard_s >= spoken_s > 0:
        return text
    heard_s = min(heard_s, spoken_s)
    before = Mark(0.0, 0)
    after: Mark | None = None
    for mark in marks:
        if mark.second > heard_s:
            after = mark
            break
        before = mark
    if after is None and whole and spoken_s > before.second:
        after = Mark(spoken_s, len(text))
    if after is not None:
        pace = (after.characters - before.characters) / (after.second - before.second)
    else:
        pace = _common_pace(text)
    spoken = before.characters + int(pace * (heard_s - before.second))
    return cut_at_word(text, max(0, min(spoken, len(text))))


def cut_at_word(text: str, end: int) -> str:
    """The first ``end`` characters without a word that would be cut in two, and without spaces at the end."""
    if end < len(text) and _in_word(text[end]) and not _stands_alone(text[end]):
        while end and _in_word(text[end - 1]) and not _stands_alone(text[end - 1]):
            end -= 1
    return text[:end].rstrip()


def _common_pace(text: str) -> float:
    """Characters a second."""
    syllables = sum(map(_stands_alone, text))
    return len(text) / max(syllables / SYLLABLES_PER_SECOND + (len(text) - syllables) / CHARACTERS_PER_SECOND, 1e-9)


def _in_word(letter: str) -> bool:
    return letter.isalnum() or letter in "'’-" or unicodedata.category(letter) in ("Mn", "Mc")


def _stands_alone(letter: str) -> bool:
    """Scripts without spaces are cut between any two characters."""
    return unicodedata.name(letter, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"))

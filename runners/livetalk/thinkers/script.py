"""A thinker that needs no model: answers from a script or from a few patterns, spoken by espeak-ng.

It makes the whole live path run on any machine. The patterns repeat the user's words and come back to earlier turns,
so that one can see and hear what reached the conversation's memory.
"""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from livetalk.thinkers import espeak
from livetalk.thinkers.base import (
    OWN_MANNER,
    SAMPLE_TEXT,
    Delta,
    KnownVoice,
    Manner,
    Message,
    Question,
    Samples,
    SpeechDelta,
    TextDelta,
    Thinker,
    ThinkerError,
)
from livetalk.thinkers.sentences import sentences, speakable

MAX_SCRIPT_BYTES = 1_000_000
MAX_ANSWER_CHARACTERS = 20_000

_PIECE = espeak.RATE // 4
"""Samples in a piece of speech: small enough that an interrupted answer is known to the word."""

_QUOTED_WORDS = 14


class ScriptedThinker(Thinker):
    """Fixed answers, or patterns around the user's words, spoken by espeak-ng; needs no model.

    A script's answers come in order, one a turn, from the first again after the last.

    Without a script an answer has two to four sentences about what the user said now and before. The same conversation
    gives the same answers and the same samples.

    Args:
        answers: the script; empty for the built-in patterns.
        script: the file that it stands in, as ``read_script`` reads it, instead.
        voice: of espeak-ng, e.g. ``en-us+f3,pitch=60,rate=165``, for questions that name none.

    Raises:
        ThinkerError: ``unsupported``; there is no such voice. ``failed``; the file can't be read, or there are two.
    """

    def __init__(self, answers: Sequence[str] = (), *, script: Path | None = None, voice: str | None = None) -> None:
        self.name = "script"
        if script is not None and answers:
            raise ThinkerError("failed", "A script is given as answers and as a file; give one of them.")
        self._answers = tuple(answers) if script is None else read_script(script)
        self._voice = espeak.Voice.parse(voice) if voice else espeak.Voice()

    manners = ("pitch", "rate")

    def check_voice(self, voice: str) -> None:
        espeak.Voice.parse(voice)

    def voices(self) -> tuple[KnownVoice, ...]:
        return espeak.VOICES

    async def sample(self, voice: str, manner: Manner = OWN_MANNER) -> tuple[Samples, int]:
        named = _in_manner(espeak.Voice.parse(voice), manner)
        spoken = await asyncio.to_thread(espeak.speak, SAMPLE_TEXT, named)
        return spoken.samples, espeak.RATE

    async def answer(self, question: Question) -> AsyncIterator[Delta]:
        voice = espeak.Voice.parse(question.voice) if question.voice else self._voice
        voice = _in_manner(voice, question.manner)
        turn = sum(message.role == "user" for message in question.history)
        text = self._answers[turn % len(self._answers)] if self._answers else _pattern(question, turn)
        place = 0
        for sentence in sentences(text):
            yield TextDelta(sentence)
            said = speakable(sentence)
            spoken = await asyncio.to_thread(espeak.speak, said, voice)
            # Where cleaning moved the words, only the end of the sentence is known.
            words = spoken.words if said == sentence.rstrip() else ()
            for start in range(0, len(spoken.samples), _PIECE):
                piece = spoken.samples[start : start + _PIECE]
                end = start + len(piece)
                heard = max((place + letters for letters, sample in words if sample <= end), default=place)
                if end == len(spoken.samples):
                    heard = place + len(sentence)
                yield SpeechDelta(piece, espeak.RATE, heard)
            place += len(sentence)


def read_script(path: Path) -> tuple[str, ...]:
    """The answers of a script file: a JSON list of texts, or one answer a line (empty lines are skipped).

    Raises:
        ThinkerError: ``failed``; there is no such file, it is too large, not UTF-8, or holds no answers.
    """
    named = f"The script {str(path)!r}"
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SCRIPT_BYTES + 1)
    except OSError as error:
        raise ThinkerError("failed", f"{named} can't be read: {error.strerror}.") from error
    if len(raw) > MAX_SCRIPT_BYTES:
        raise ThinkerError("failed", f"{named} has more than {MAX_SCRIPT_BYTES:,} bytes; shorten it.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ThinkerError("failed", f"{named} is not UTF-8 text; save it as such.") from error
    answers: list[object] = list(text.splitlines())
    if text.lstrip().startswith("["):
        try:
            answers = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ThinkerError("failed", f"{named} begins like a JSON list but is none: {error}.") from error
    kept: list[str] = []
    for number, answer in enumerate(answers, 1):
        if not isinstance(answer, str):
            raise ThinkerError("failed", f"{named} holds something other than a text as answer {number}.")
        if len(answer) > MAX_ANSWER_CHARACTERS:
            raise ThinkerError(
                "failed", f"Answer {number} of the script has more than {MAX_ANSWER_CHARACTERS:,} characters; split it."
            )
        if answer.strip():
            kept.append(answer.strip())
    if not kept:
        raise ThinkerError("failed", f"{named} holds no answer; write one a line.")
    return tuple(kept)


def _in_manner(voice: espeak.Voice, manner: Manner) -> espeak.Voice:
    pitch, rate = manner.pitch, manner.rate
    return replace(voice, pitch=voice.pitch if pitch is None else pitch, rate=voice.rate if rate is None else rate)


def _pattern(question: Question, turn: int) -> str:
    said = _said(question.text, question.audio is not None and len(question.audio) / 16_000)
    openings = (
        f"Hello, it is good to see you. {said}",
        f"{said} I am glad that you asked.",
        f"Let me think about that. {said}",
        f"Yes, I hear you. {said}",
        f"Now that is interesting. {said}",
    )
    closings = (
        "Ask me anything you like.",
        "Tell me a little more.",
        "What would you like to know next?",
        "I will keep that in mind.",
    )
    # The first opening is a greeting, and greets once.
    opening = openings[0] if turn == 0 else openings[1 + (turn - 1) % (len(openings) - 1)]
    return " ".join((opening, *_memory(question.history, turn), closings[turn % len(closings)]))


def _said(text: str | None, seconds: float) -> str:
    words = _quoted(text)
    if words:
        return f"You said: {words}"
    if seconds:
        return f"You spoke to me for {seconds:.1f} seconds."
    return "You said nothing that I could put into words."


def _memory(history: Sequence[Message], turn: int) -> list[str]:
    """A sentence that comes back to an earlier turn: the one before, and now and then the first."""
    users = [message for message in history if message.role == "user"]
    if not users:
        return []
    first = turn % 3 == 2
    earlier = users[0] if first else users[-1]
    words = _quoted(earlier.text)
    when = "At the very beginning" if first else "Before that"
    if words:
        return [f"{when} you said: {words}"]
    return [f"{when} you spoke without my knowing the words."]


_JOINING = "'’.,:-"
_WORD = re.compile(rf"[^\s{_JOINING}]+(?:[{_JOINING}][^\s{_JOINING}]+)*")


def _in_word(char: str) -> bool:
    """Letters and digits; the marks that many scripts write vowels with; what keeps two letters apart or together."""
    return char.isalnum() or unicodedata.category(char) in ("Mn", "Mc") or char in "\u200c\u200d"


def _quoted(text: str | None) -> str:
    """The user's first words as one sentence, without anything that would end it early or be read as markup."""
    kept = "".join(char if _in_word(char) or char in _JOINING else " " for char in (text or "")[:2_000])
    words = [word for word in _WORD.findall(kept) if any(map(str.isalnum, word))]
    if not words:
        return ""
    asked = len(words) <= _QUOTED_WORDS and (text or "").rstrip().endswith(("?", "？"))
    return " ".join(word[:40] for word in words[:_QUOTED_WORDS]) + ("?" if asked else ".")

"""How well a transcriber hears: word error rate on the users' own speech, whose words are known."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interbench.asr.base import Transcriber, Utterance

POOR = 0.15
"""Above this word error rate transcripts are no firm ground for judging content."""
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+")


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Edits that turn what was said into what was heard."""

    words: int
    """Of what was said."""
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def edits(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Edits per word said; NaN if nothing was said."""
        return self.edits / self.words if self.words else float("nan")

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True, slots=True)
class EarCheck:
    """The outcome over a run's user turns."""

    transcriber: str
    errors: WordErrors
    heard: int
    """Turns that were transcribed."""
    failed: int
    """Turns without a transcript; they count as wholly unheard."""
    worst: tuple[tuple[str, str, str], ...]
    """(key, said, heard) of the turns with most errors."""

    @property
    def poor(self) -> bool:
        """Whether to warn. Nothing heard at all is poor, too."""
        return not self.errors.rate <= POOR

    def line(self) -> str:
        """For people, one line."""
        if not self.errors.words:
            return f"ear check: no user turn has speech, so {self.transcriber} is unchecked"
        percent = f"{100 * self.errors.rate:.1f} %"
        text = f"ear check: {self.transcriber} has {percent} word errors on {self.heard + self.failed} user turns"
        if self.failed:
            text += f", {self.failed} of them without a transcript"
        if self.poor:
            text += f"; WARNING: above {100 * POOR:.0f} %, scores of content rest on shaky ground"
        return text

    def record(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "transcriber": self.transcriber,
            "word_error_rate": self.errors.rate if self.errors.words else None,
            "words": self.errors.words,
            "substitutions": self.errors.substitutions,
            "deletions": self.errors.deletions,
            "insertions": self.errors.insertions,
            "turns": self.heard + self.failed,
            "failed": self.failed,
            "poor": self.poor,
            "worst": [{"turn": key, "said": said, "heard": heard} for key, said, heard in self.worst],
        }


async def check_ear(transcriber: Transcriber, turns: Sequence[Utterance]) -> EarCheck:
    """Let a started transcriber hear user turns whose words are known.

    Args:
        turns: ``reported_text`` is what was said. Turns without sound or text are left out.
    """
    known = [turn for turn in turns if turn.samples is not None and turn.reported_text]
    total = WordErrors(0)
    failed = 0
    each: list[tuple[int, str, str, str]] = []
    for start in range(0, len(known), transcriber.batch_size):
        batch = known[start : start + transcriber.batch_size]
        for turn, transcript in zip(batch, await transcriber.transcribe(batch), strict=True):
            failed += transcript.error is not None
            said = turn.reported_text or ""
            errors = word_errors(said, transcript.text)
            total += errors
            each.append((errors.edits, turn.key, said, transcript.text))
    each.sort(key=lambda one: (-one[0], one[1]))
    worst = tuple((key, said, heard) for edits, key, said, heard in each[:3] if edits)
    return EarCheck(transcriber.label, total, len(known) - failed, failed, worst)


def word_errors(said: str, heard: str) -> WordErrors:
    """Least edits by words (Levenshtein), after :func:`normalised`."""
    reference, hypothesis = normalised(said), normalised(heard)
    # One row at a time: (edits, substitutions, deletions, insertions) up to each word of the hypothesis.
    row = [(count, 0, 0, count) for count in range(len(hypothesis) + 1)]
    for index, word in enumerate(reference, start=1):
        above, row = row, [(index, 0, index, 0)]
        for column, other in enumerate(hypothesis, start=1):
            edits, substitutions, deletions, insertions = above[column - 1]
            best = (edits, substitutions, deletions, insertions)
            if word != other:
                best = (edits + 1, substitutions + 1, deletions, insertions)
            edits, substitutions, deletions, insertions = above[column]
            best = min(best, (edits + 1, substitutions, deletions + 1, insertions))
            edits, substitutions, deletions, insertions = row[column - 1]
            row.append(min(best, (edits + 1, substitutions, deletions, insertions + 1)))
    _, substitutions, deletions, insertions = row[-1]
    return WordErrors(len(reference), substitutions, deletions, insertions)


def normalised(text: str) -> list[str]:
    """Words in lower case without accents and punctuation, whole numbers below a million spelled out."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", "".join(c for c in plain if not unicodedata.combining(c)))
    words: list[str] = []
    for token in _WORD.findall(plain):
        words += _spelled(int(token)) if token.isdigit() and len(token) <= 6 else [token]
    return words


def _spelled(number: int) -> list[str]:
    if number < 20:
        return [_ONES[number]]
    if number < 100:
        return [_TENS[number // 10], *(_spelled(number % 10) if number % 10 else [])]
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    return [*_spelled(number // size), name, *(_spelled(number % size) if number % size else [])]

"""How well a transcriber hears: word error rate on the users' own speech, whose words are known."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
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
_ORDINALS = {
    **{"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"},
    "twelve": "twelfth",
}
_SIGNS = {"%": "percent", "&": "and"}
_CURRENCIES = {"$": "dollars", "£": "pounds", "€": "euros"}
_IRREGULAR = {"won't": "will not", "can't": "can not", "cannot": "can not", "shan't": "shall not", "let's": "let us"}
_ENDINGS = {"re": "are", "ve": "have", "ll": "will", "m": "am", "d": "would", "s": "is"}
_MAY_BE = frozenset(["it", "he", "she", "that", "this", "there", "here", "what", "where", "who", "how", "when"])
"""After these an ``'s`` is a verb."""
_SPELLED_DIGITS = 6
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+")
_YEAR = re.compile(r"(?<![\d.,])1[1-9]\d\d(?![\d%]|st|nd|rd|th|[.,]\d)")
_MONEY = re.compile(r"([$£€])\s?(\d+(?:\.\d+)?)")
_ORDINAL = re.compile(rf"\b(\d{{1,{_SPELLED_DIGITS}}})(?:st|nd|rd|th)\b")


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
    return EarCheck(transcriber.label, total, len(known) - failed, failed, _worst(each))


def _worst(each: list[tuple[int, str, str, str]]) -> tuple[tuple[str, str, str], ...]:
    """Of (edits, key, said, heard) the three with most edits."""
    ordered = sorted(each, key=lambda one: (-one[0], one[1]))
    return tuple((key, said, heard) for edits, key, said, heard in ordered[:3] if edits)


def merged_checks(records: Sequence[Mapping[str, Any]]) -> EarCheck:
    """The check over all user turns of several that have none in common, by one transcriber.

    Args:
        records: of each, as kept in a manifest.
    """
    counts = [WordErrors(one["words"], one["substitutions"], one["deletions"], one["insertions"]) for one in records]
    worst = [(turn["turn"], turn["said"], turn["heard"]) for one in records for turn in one["worst"]]
    return EarCheck(
        records[0]["transcriber"],
        sum(counts, WordErrors(0)),
        sum(one["turns"] - one["failed"] for one in records),
        sum(one["failed"] for one in records),
        _worst([(word_errors(said, heard).edits, key, said, heard) for key, said, heard in worst]),
    )


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
    """Words as they are spoken: in lower case, without accents and punctuation, contractions (``don't``) written out.

    Numbers below a million are spelled out, with decimals, ordinals, per cents and sums of money; four digits from 1100
    to 1999 as years are said (``nineteen ninety four``), which is also how people say such numbers.
    """
    plain = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = _YEAR.sub(lambda match: f" {_year(int(match[0]))} ", plain)
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", plain)
    plain = _MONEY.sub(lambda match: f"{match[2]} {_CURRENCIES[match[1]]}", plain)
    for sign, word in _SIGNS.items():
        plain = plain.replace(sign, f" {word} ")
    plain = re.sub(r"(\d)\.(\d+)", lambda match: f"{match[1]} point {' '.join(match[2])}", plain)
    plain = _ORDINAL.sub(lambda match: _ordinal(int(match[1])), plain)
    words: list[str] = []
    for token in _WORD.findall(plain):
        if token.isdecimal():
            words += _spelled(int(token)) if len(token) <= _SPELLED_DIGITS else [token]
        else:
            words += _written_out(token)
    return words


def _written_out(word: str) -> list[str]:
    """``they'll`` as ``they will``; possessives stay as they are."""
    if word in _IRREGULAR:
        return _IRREGULAR[word].split()
    if word.endswith("n't"):
        return [word[:-3], "not"]
    stem, _, ending = word.rpartition("'")
    if ending in _ENDINGS and stem and (ending != "s" or stem in _MAY_BE):
        return [stem, _ENDINGS[ending]]
    return [word]


def _year(number: int) -> str:
    century, rest = divmod(number, 100)
    spoken = "hundred" if rest == 0 else " ".join(["oh"] * (rest < 10) + _spelled(rest))
    return f"{' '.join(_spelled(century))} {spoken}"


def _ordinal(number: int) -> str:
    *most, last = _spelled(number)
    return " ".join([*most, _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")])


def _spelled(number: int) -> list[str]:
    if number < 20:
        return [_ONES[number]]
    if number < 100:
        return [_TENS[number // 10], *(_spelled(number % 10) if number % 10 else [])]
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    return [*_spelled(number // size), name, *(_spelled(number % size) if number % size else [])]

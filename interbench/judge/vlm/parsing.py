r"""From a judge's answer to a score, or to the reason why there is none.

The rules, in order:

1. What a reasoning model thinks (up to the last ``</think>``, or after a ``<think>`` that nothing ends) is not its
   answer.
2. An answer that was cut off, filtered or refused has no score, whatever boxes it holds: the rubric asks for the box at
   the very end, so a box before a cut is not the verdict.
3. Of all ``\boxed{...}`` the last one counts. A box that is a quotation of the conversation is no box of the judge's.
4. Its content must be, as a number, one of the scale's: ``8``, `` 8 ``, ``8.0``, ``{8}``, ``$8$``, ``\text{8}`` and
   ``\mathbf{8}`` are the score 8. ``8.5``, ``0``, ``11`` and ``8/10`` are not on a scale of the integers 1 to 10,
   ``eight`` is not a number. Nothing is rounded, clipped or guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from interbench.domain.records import Missing

_BOX = re.compile(r"(?<!\\)\\boxed\s*\{")
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathbf|mathrm|mathit|bm|bf)\s*(?=\{)")
_NUMBER = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4})?")
_EXPRESSION = re.compile(r"[-+]?[0-9]+(?:[./,][0-9]+)?")
_REFUSAL = re.compile(
    r"\W*(?:i['’]?m (?:very )?sorry|sorry,|i apologi[sz]e|i (?:can['’]?t|cannot|can not|am unable|won['’]?t|will not)\b"
    r"|i['’]?m (?:unable|not able)\b|unfortunately, i (?:can|am)|as an ai\b)",
    re.IGNORECASE,
)
_OPENS_QUOTATION = re.compile(r"""["“”«»`]|(?<!\w)['‘’]""")
_CONTEXT = 16
"""Characters before a box that must agree with the conversation for the box to be a quotation."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The allowed scores: the integers from ``low`` to ``high``."""

    low: int
    high: int

    @property
    def scores(self) -> range:
        return range(self.low, self.high + 1)

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says: a score, or why there is none."""

    score: int | None
    missing: Missing | None
    why: str = ""
    """One sentence on ``missing``."""
    box_start: int | None = None
    """Where the counted box begins in the text that was read (after the thinking)."""


def spoken(text: str) -> str:
    """The answer without what a reasoning model thought before it."""
    _, mark, rest = text.rpartition("</think>")
    return (rest if mark else text).partition("<think>")[0]


def read_answer(
    text: str,
    scale: Scale,
    *,
    finish_reason: str | None = "stop",
    refusal: str | None = None,
    quoted: Sequence[str] = (),
) -> Reading:
    """Read a judge's answer by the rules of this module.

    Args:
        text: what the judge wrote.
        scale: the allowed scores.
        finish_reason: as the server reports it: ``length`` is a cut-off, ``content_filter`` a refusal.
        refusal: the server's own field for a refusal.
        quoted: texts of the conversation that the judge saw and might repeat.
    """
    if finish_reason == "length":
        return Reading(None, Missing.CUT_OFF, "the answer reached the limit of tokens before its end")
    if finish_reason == "content_filter" or refusal:
        return Reading(None, Missing.REFUSED, refusal or "the server's content filter withheld the answer")
    text = spoken(text)
    if not text.strip():
        return Reading(None, Missing.EMPTY, "the answer is empty")
    boxes = [match for match in _BOX.finditer(text) if not _is_quotation(text, match, quoted)]
    if not boxes:
        if _REFUSAL.match(text):
            return Reading(None, Missing.REFUSED, "the judge declined to answer")
        return Reading(None, Missing.UNPARSED, "the answer holds no box of the judge's own")
    box = boxes[-1]
    content = _content(text, box.end())
    if content is None:
        return Reading(None, Missing.UNPARSED, "the last box is not closed")
    score = _score(content, scale)
    if score is not None:
        return Reading(score, None, box_start=box.start())
    shown = content.strip()[:40]
    if _EXPRESSION.fullmatch(_plain(content)):
        return Reading(None, Missing.OUT_OF_SCALE, f"{shown!r} is not one of the integers {scale}")
    return Reading(None, Missing.UNPARSED, f"the last box holds {shown!r}, which is not a number")


def _content(text: str, start: int) -> str | None:
    """What stands between the braces, the opening one of which is just before ``start``; None if it is not closed."""
    depth = 1
    for index in range(start, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return text[start:index]
    return None


def _plain(content: str) -> str:
    """The box's content without LaTeX's wrappers around a number."""
    content = _WRAPPER.sub("", content).strip().strip("$").strip()
    while content.startswith("{") and content.endswith("}"):
        content = content[1:-1].strip()
    return content


def _score(content: str, scale: Scale) -> int | None:
    plain = _plain(content)
    if not _NUMBER.fullmatch(plain):
        return None
    value = float(plain)
    return int(value) if value.is_integer() and int(value) in scale.scores else None


def _is_quotation(text: str, box: re.Match[str], quoted: Sequence[str]) -> bool:
    """Whether the box, with the words before it since the last quotation mark, stands in what the judge was shown."""
    if not quoted:
        return False
    content = _content(text, box.end())
    end = len(text) if content is None else box.end() + len(content) + 1
    window = text[max(0, box.start() - _CONTEXT) : box.start()]
    before = _OPENS_QUOTATION.split(window)[-1]
    directly = window != "" and before == ""
    if len(before.strip()) < 3 and not directly:
        return False
    passage = _squeezed(before + text[box.start() : end])
    return any(passage in _squeezed(source) for source in quoted)


def _squeezed(text: str) -> str:
    return " ".join(text.split()).casefold()

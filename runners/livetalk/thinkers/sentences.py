"""Cutting an answer into pieces that can be spoken one by one, while it is still being written.

Nothing is lost or changed by cutting: the pieces, joined, are the text. What has no sound (markup, emoji, addresses) is
taken out separately, by :func:`speakable`.

``interbench.systems.puppet.rewrites`` cuts replies into sentences, too; in plain prose a test holds both to one way.
"""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 220
"""Weight at which a sentence without an end is cut at a comma, a space, or anywhere."""

_SHORTEST = 12
"""A sentence lighter than this is spoken with the next one, so that speech does not fall to pieces."""

_FIRST_CLAUSE = 24
"""An answer's first sentence is cut at a comma as soon as it weighs this much, so that speech can begin."""

_LEAST_CUT = 80
"""A sentence that is too long is cut at the last comma after this weight, else at the last space after it."""

_REACH = 48
"""No mark with all that belongs to it is longer than this many characters."""

_EMOJI = "\U0001f000-\U0001faff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\u3030\u303d\ufe0f\u20e3\U000e0020-\U000e007f"
_CLOSING = rf"[\"'”’»›)\]}}」』）】》*_~`{_EMOJI}\u200d]{{0,12}}"
_MARK = re.compile(
    rf"(?:(?P<stop>[.!?…‽؟۔।॥።]{{1,8}})|(?P<wide>[。！？｡．]{{1,8}}[.!?…]{{0,8}})){_CLOSING}(?P<space>\s{{0,16}})"
    r"|(?P<line>[^\S\n]{0,8}\n\s{0,16})"
    rf"|(?:[,;:،؛—–]{_CLOSING}\s{{1,16}}|[，、；：])(?P<clause>)"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ABBREVIATIONS = _words(
    "mr mrs ms mx dr prof hon rev fr st gen col maj capt cpt lt sgt gov sen rep pres messrs mme mlle mgr sra srta vs "
    "viz cf ca approx resp bzw evtl ggf inkl vgl hr frl dipl ing geb e.g i.e z.b d.h u.a m.e"
)
# What the sentence may well end with: a capital after it says that it does.
_ABBREVIATIONS_AT_THE_END = _words("etc inc ltd co corp bros jr sr dept est al a.m p.m usw ph.d b.c a.d")
_ABBREVIATIONS_OF_NUMBERS = _words(
    "no nos nr fig figs vol p pp ch sec art eq tel ext jan feb mar apr jun jul aug sep sept oct nov dec"
)


class Splitter:
    """Takes an answer as it is written and gives it back in pieces to be spoken.

    Where it is cut does not depend on how the text arrives.
    """

    def __init__(self) -> None:
        self._text = ""
        self._first = True

    def feed(self, text: str) -> list[str]:
        """Take more of the answer.

        Returns:
            The pieces that are now complete, each with the white space after it.
        """
        return self._take(text, final=False)

    def finish(self) -> list[str]:
        """The pieces that remain, after which a new answer may begin."""
        pieces = self._take("", final=True)
        self._first = True
        return pieces

    def _take(self, text: str, *, final: bool) -> list[str]:
        self._text += text
        pieces: list[str] = []
        start = 0
        while start < len(self._text):
            end = _cut(self._text, start, first=self._first, final=final)
            if end is None:
                break
            pieces.append(self._text[start:end])
            self._first = False
            start = end
        self._text = self._text[start:]
        return pieces


def sentences(text: str) -> list[str]:
    """A whole text in the pieces that :class:`Splitter` makes of it."""
    splitter = Splitter()
    return [*splitter.feed(text), *splitter.finish()]


def _cut(text: str, start: int, *, first: bool, final: bool) -> int | None:
    """Where the piece that begins at ``start`` ends; None if more text is needed to tell."""
    limit = _limit(text, start)
    clause = None
    for mark in _MARK.finditer(text, start, min(len(text), limit + _REACH)):
        if mark.start() >= limit:
            break
        if mark.end() == len(text) and not final:
            return None
        before, after = text[start : mark.start()], text[mark.end() : mark.end() + 1]
        if not any(map(str.isalnum, before)):
            continue
        weight = _weight(before)
        if mark["clause"] is not None:
            if first and weight >= _FIRST_CLAUSE:
                return mark.end()
            if weight >= _LEAST_CUT:
                clause = mark.end()
        elif (first or weight >= _SHORTEST) and _is_end(mark, before, after):
            return mark.end()
    if limit < len(text) and (final or len(text) >= limit + _REACH):
        return clause or _anywhere(text, start, limit)
    return len(text) if final else None


def _is_end(mark: re.Match[str], before: str, after: str) -> bool:
    """Whether a mark after ``before`` and followed by the character ``after`` (empty at the text's end) ends a
    sentence."""
    if mark["line"] is not None or mark["wide"] is not None or not after:
        return True
    if not mark["space"]:
        return False
    if "\n" in mark["space"]:
        return True
    line = before.rpartition("\n")[2]
    if mark["stop"] == "…" or mark["stop"].endswith(".."):
        return not after.islower()
    if mark["stop"] != ".":
        # After a quoted question the sentence may go on.
        return not after.islower() or mark[0].rstrip() == mark["stop"]
    word = line.split()[-1].lstrip("\"'“‘«([{*_") if line.split() else ""
    if word.isdecimal() and line.strip() == word:
        return False  # the number of a list's entry
    lower = word.lower()
    if lower in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word.isupper() and word != "I"):
        return False
    if lower in _ABBREVIATIONS_OF_NUMBERS:
        return not after.isdecimal()
    if lower in _ABBREVIATIONS_AT_THE_END:
        return not after.islower() and not after.isdecimal()
    if re.fullmatch(r"(?:\w\.)+\w", word):
        return False
    return not after.islower() or len(word) > 4


def _limit(text: str, start: int) -> int:
    """The place at which the text from ``start`` on weighs ``_LONGEST``; its length if it does not."""
    weight = 0
    for place in range(start, min(len(text), start + _LONGEST)):
        weight += _weight(text[place])
        if weight >= _LONGEST:
            return place
    return len(text)


def _weight(text: str) -> int:
    """The characters of a text, of those that stand for syllables three each."""
    return sum(3 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _anywhere(text: str, start: int, limit: int) -> int:
    space = max(text.rfind(" ", start + _LEAST_CUT, limit), text.rfind("\n", start + _LEAST_CUT, limit))
    if space > 0:
        return space + 1
    end = limit
    # A letter keeps its accents, an emoji its parts.
    while end > start + 1 and (unicodedata.category(text[end])[0] == "M" or "\u200d" in text[end - 1 : end + 1]):
        end -= 1
    return end


_CLEANING: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\s]{0,500}(?:\([^()\s]{0,100}\)[^()\s]{0,100})?\)"), r"\1"),
    (re.compile(r"<((?:https?://|mailto:)[^\s<>]{1,500})>"), r"\1"),
    (re.compile(r"https?://(?:www\.)?([^\s/?#<>\"')\]]{1,253})(?:[/?#][^\s<>\"')\]]*[^\s<>\"')\].,;:!?])?/?"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>\n]{0,100}>"), " "),
    (re.compile(r"^[ \t]{0,8}(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+|(?:[-*_=][ \t]?){3,}$|`{3,}\w*$)", re.M), ""),
    (re.compile(r"^[ \t]{0,8}\|?(?:[ \t]{0,8}:?-{2,99}:?[ \t]{0,8}\|){1,50}(?:[ \t]{0,8}:?-{2,99}:?)?$", re.M), ""),
    (re.compile(r"^[ \t]{0,8}\|[ \t]{0,8}|[ \t]{0,8}\|[ \t]{0,8}$", re.M), ""),
    (re.compile(r"[ \t]{0,8}\|[ \t]{0,8}"), ", "),
    (re.compile(r"(?<!\d)\*{1,3}(?=\S)|(?<=\S)\*{1,3}(?!\d)|~~|`+"), ""),
    (re.compile(r"(?<!\w)_{1,3}(?=\w)|(?<=[\w.!?,;:])_{1,3}(?!\w)"), ""),
    (re.compile(rf"[{_EMOJI}](?:\u200d?[{_EMOJI}])*"), " "),
)


def speakable(text: str) -> str:
    """What of a text is spoken: without Markdown's and HTML's marks, emoji and control characters, of an address its
    site alone. Empty if nothing that can be spoken remains."""
    for pattern, replacement in _CLEANING:
        text = pattern.sub(replacement, text)
    text = "".join(" " if unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") else char for char in text)
    text = re.sub(r"\s+(?=[,.;:!?](?:\s|$))", "", " ".join(text.split()))
    return text if any(map(str.isalnum, text)) else ""

"""Texts as sequences of comparable words: spelling, case, punctuation, inflection and the writing of numbers levelled.

A transcript writes "three hundred and thirty metres" where a scenario's author wrote "330 m"; after :func:`words` both
are the same. It is a deliberately small normaliser for English, the same for every text, so over-merging two rare words
does no harm as long as both sides of a comparison go through it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache


def _list(text: str) -> list[str]:
    return text.split()


_ARTICLES = frozenset({"a", "an", "the"})
_FUNCTION_WORDS = frozenset(
    _list(
        "i you he she it we they me him her us them my your his its our their mine yours this that these those who "
        "whom which what where when why how be am is are was were been being do does did doing have has had having "
        "will would shall should can could may might must not no and or but if so than then as of at by for from in "
        "into on onto to with about over under up down out off just very too also there here all any some each both "
        "more most such only own same again once oh ah um uh hm hmm well okay ok yes let get got go going like really "
        "quite 1"
    )
)
_CONTRACTIONS = (
    (re.compile(r"\bcan'?t\b"), "can not"),
    (re.compile(r"\bcannot\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\bshan't\b"), "shall not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'m\b"), " am"),
    # "'s" and "'d" each stand for several things ("is", "has", the possessive; "had", "would"): dropped on both sides.
    (re.compile(r"'[sd]\b"), ""),
)
_SYMBOLS = (("%", " percent "), ("$", " dollar "), ("€", " euro "), ("£", " pound "), ("°", " degree "), ("&", " and "))
_UNITS = {
    "km": "kilometer",
    "m": "meter",
    "cm": "centimeter",
    "mm": "millimeter",
    "kg": "kilogram",
    "g": "gram",
    "ml": "milliliter",
    "l": "liter",
    "ft": "foot",
    "min": "minute",
    "mins": "minute",
    "hr": "hour",
    "hrs": "hour",
    "h": "hour",
    "c": "celsius",
    "f": "fahrenheit",
    "am": "am",
    "pm": "pm",
}


_SMALL = {
    name: value
    for value, name in enumerate(
        _list(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        )
    )
}
_TENS = {
    name: 10 * value
    for value, name in enumerate(_list("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
_SCALES = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000, "trillion": 1_000_000_000_000}
_ORDINALS = {
    name: value
    for value, name in enumerate(
        _list(
            "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
            "fifteenth sixteenth seventeenth eighteenth nineteenth"
        ),
        start=1,
    )
} | {name[:-1] + "ieth": value for name, value in _TENS.items()}

_IRREGULAR = {
    form: base
    for base, forms in {
        "begin": "began begun",
        "bring": "brought",
        "build": "built",
        "buy": "bought",
        "catch": "caught",
        "child": "children",
        "choose": "chose chosen",
        "come": "came",
        "eat": "ate eaten",
        "fall": "fell fallen",
        "feel": "felt",
        "find": "found",
        "foot": "feet",
        "give": "gave given",
        "go": "goes going went gone",
        "grow": "grew grown",
        "keep": "kept",
        "know": "knew known",
        "leave": "left leaves",
        "lose": "lost",
        "make": "made",
        "man": "men",
        "mean": "meant",
        "pay": "paid",
        "person": "people",
        "rise": "rose risen",
        "say": "said",
        "see": "saw seen",
        "sell": "sold",
        "send": "sent",
        "sleep": "slept",
        "speak": "spoke spoken",
        "spend": "spent",
        "take": "took taken",
        "teach": "taught",
        "tell": "told",
        "think": "thought",
        "tooth": "teeth",
        "woman": "women",
        "write": "wrote written",
    }.items()
    for form in forms.split()
}

_TOKEN = re.compile(r"\d+(?:\.\d+)?(?:st|nd|rd|th)?(?![a-z\d])|[a-z]+|\d+|[,.;:!?]")
_DIGITS = re.compile(r"\d+(\.\d+)?")
_ORDINAL_DIGITS = re.compile(r"(\d+)(?:st|nd|rd|th)")


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[str, ...]:
    """The normalised words of ``text``: lower case, no accents, contractions spelled out, numbers as digits, stemmed.

    Articles are dropped. Ordinals become ``"21th"`` (the same for "21st" and "twenty-first"); years spoken in pairs
    ("eighteen eighty-nine") become ``"1889"``; "two point five" and "two and a half" become ``"2.5"``.
    """
    plain = unicodedata.normalize("NFKD", text.casefold().replace("’", "'").replace("‘", "'"))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain)
    plain = re.sub(r"([$€£])\s?(\d+(?:\.\d+)?)", r"\2 \1", plain)
    for symbol, name in _SYMBOLS:
        plain = plain.replace(symbol, name)
    for pattern, replacement in _CONTRACTIONS:
        plain = pattern.sub(replacement, plain)
    plain = plain.replace("'", "")
    # Punctuation is kept until the numbers are read: "thirty, four" are two, "thirty-four" is one.
    return tuple(
        _stem(token) for token in _numbers(_TOKEN.findall(plain)) if token[0].isalnum() and token not in _ARTICLES
    )


def content_words(text: str) -> frozenset[str]:
    """The normalised words of ``text`` that carry meaning: no pronouns, auxiliaries, prepositions or filler."""
    return frozenset(words(text)) - _FUNCTION_WORDS


def _numbers(tokens: Sequence[str]) -> Iterator[str]:
    """``tokens`` with every number in words as one token of digits, and abbreviated units after numbers spelled out."""
    index = 0
    while index < len(tokens):
        if digits := _ORDINAL_DIGITS.fullmatch(tokens[index]):
            yield f"{digits[1]}th"
            index += 1
            continue
        used, value, ordinal = _number(tokens[index : index + 24])
        if used == 0:
            yield tokens[index]
            index += 1
            continue
        index += used
        if ordinal:
            yield f"{value:.0f}th"
            continue
        yield f"{value:.0f}" if value == int(value) else f"{value:.10g}"
        if index < len(tokens) and (unit := _UNITS.get(tokens[index])):
            yield unit
            index += 1


def _number(tokens: Sequence[str]) -> tuple[int, float, bool]:
    """(tokens used, value, whether ordinal) of the number that ``tokens`` begin with; 0 tokens if they don't."""
    used, total, ceiling = 0, 0.0, float("inf")
    while True:
        # "two thousand and six": the "and" belongs to the number only if a smaller part follows.
        joined = used + 1 if used and tokens[used : used + 1] == ["and"] else used
        length, value, ordinal = _below_thousand(tokens[joined:])
        end = joined + length
        scale = _SCALES.get(tokens[end], 1) if length and end < len(tokens) and not ordinal else 1
        if length == 0 or value * scale >= ceiling:
            break
        used, total, ceiling = end + (scale > 1), total + value * scale, float(scale)
        if ordinal:
            return used, total, True
        if scale == 1:
            break
    if used == 0:
        return 0, 0.0, False
    if tokens[used : used + 3] == ["and", "a", "half"]:
        return used + 3, total + 0.5, False
    decimals = ""
    if tokens[used : used + 1] == ["point"]:
        for token in tokens[used + 1 :]:
            if _SMALL.get(token, 10) > 9:
                break
            decimals += str(_SMALL[token])
    if decimals:
        return used + 1 + len(decimals), float(f"{total:.0f}.{decimals}"), False
    return used, total, False


def _below_thousand(tokens: Sequence[str]) -> tuple[int, float, bool]:
    """As :func:`_number`, for "three hundred and thirty", "a hundred", digits, and spoken years ("nineteen oh one")."""
    first, second, third = (*tokens[:3], "", "", "")[:3]
    if first == "a" and (second in _SCALES or second == "hundred"):
        used, value, ordinal = 1, 1.0, False
    elif _DIGITS.fullmatch(first):
        used, value, ordinal = 1, float(first), False
    else:
        used, value, ordinal = _below_hundred(tokens)
    if not used or ordinal:
        return used, value, ordinal
    if tokens[used : used + 1] == ["hundred"] and 0 < value < 100:
        used, value = used + 1, value * 100
        joined = used + (tokens[used : used + 1] == ["and"])
        length, low, ordinal = _below_hundred(tokens[joined:])
        return (joined + length, value + low, ordinal) if low else (used, value, False)
    if 10 <= value < 100 and not _DIGITS.fullmatch(first):
        length, low, ordinal = _below_hundred(tokens[used:])
        if length and not ordinal and low >= 10:
            return used + length, value * 100 + low, False
        if second in ("oh", "o") and 0 < _SMALL.get(third, 0) < 10:
            return 3, value * 100 + _SMALL[third], False
    if tokens[used : used + 3] == ["and", "a", "half"] and tokens[used + 3 : used + 4] and tokens[used + 3] in _SCALES:
        return used + 3, value + 0.5, False
    return used, value, False


def _below_hundred(tokens: Sequence[str]) -> tuple[int, float, bool]:
    """As :func:`_number`, for numbers from 0 to 99 in words."""
    first, second = (*tokens[:2], "", "")[:2]
    if first in _TENS:
        if 0 < _SMALL.get(second, 0) < 10:
            return 2, float(_TENS[first] + _SMALL[second]), False
        if 0 < _ORDINALS.get(second, 0) < 10:
            return 2, float(_TENS[first] + _ORDINALS[second]), True
        return 1, float(_TENS[first]), False
    if first in _SMALL:
        return 1, float(_SMALL[first]), False
    if first in _ORDINALS:
        return 1, float(_ORDINALS[first]), True
    return 0, 0.0, False


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    """A light stem: no plural, no past or continuous form, American spelling. Function words and numbers stay."""
    if word[0].isdigit() or len(word) <= 3 or word in _FUNCTION_WORDS:
        return word
    if word in _IRREGULAR:
        return _stem(_IRREGULAR[word])
    stem = word
    if stem.endswith("ies") and len(stem) > 4:
        stem = stem[:-3] + "y"
    elif stem.endswith(("sses", "shes", "ches", "xes", "zes")):
        stem = stem[:-2]
    elif stem.endswith("s") and not stem.endswith(("ss", "us", "is")):
        stem = stem[:-1]
    if stem.endswith("ied") and len(stem) > 4:
        stem = stem[:-3] + "y"
    for suffix in ("ing", "ed"):
        root = stem.removesuffix(suffix)
        if root != stem and len(root) >= 3 and re.search("[aeiouy]", root):
            if root[-1] == root[-2] and root[-1] not in "aeiouls":
                stem = root[:-1]
            else:
                # "making" is make, but "eating" is eat and "boxing" is box.
                stem = root + "e" if re.fullmatch("[^aeiou][aeiou][^aeiouwxy]", root) else root
            break
    if stem.endswith("tre"):
        stem = stem[:-3] + "ter"
    elif stem.endswith("our") and len(stem) >= 6:
        stem = stem[:-3] + "or"
    elif stem.endswith(("ise", "yse")) and len(stem) >= 6:
        stem = stem[:-2] + "ze"
    # Long words lose their final e, because their other forms have lost it above; short ones would merge with others.
    return stem.removesuffix("e") if len(stem) > 4 else stem

"""What an answer does with a phrase: says it, denies it, asks about it, prefers it. Plain rules, without a model.

These are what the guards of a reacting user are made of (:mod:`interbench.domain.guards`) and what negative key points
are found by. Unlike :func:`interbench.domain.keypoints.says` they know negation, as far as it can be read off the words
before: "don't take the steak" denies "the steak". Where a text can be read in two ways the rules prefer *not* to find
something, because the line that is spoken then stands after any answer.

A transcript may come without punctuation. Clauses then end only at words such as "but", and questions are found by
their word order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from interbench.domain.keypoints import GAP
from interbench.domain.words import words

SCOPE = 6
"""How many words of its clause before a phrase are searched for a negation."""
_NO_SCOPE = 3
"""How far behind it "no" denies something ("no nuts"); further on it was an answer ("no I would take the steak")."""
_NEGATORS = frozenset(words("not never without neither nor nobody nothing hardly avoid skip"))
_NEGATING_PAIRS = frozenset({("rather", words("than")[0]), ("instead", "of")})
_HARMLESS = frozenset(
    {("not", "only"), ("not", "just"), ("not", "mere"), ("why", "not"), ("no", "doubt"), ("no", "wonder")}
    | {("no", "problem"), ("not", "sure"), ("no", "worry")}
)
_BREAKS = frozenset(words("but because although though however unless"))
_CLAUSE = re.compile(r"[.!?;:](?=\s|$)|,(?!\d)|[—–()]|\s-\s|\.\.\.|…")
_SENTENCE = re.compile(r"[^.!?]+[.!?]*")
_REQUEST = re.compile(r"^\W*(?:so|and|but|well|okay|ok|please|now|then)?\W*(?:tell me|let me know|remind me)\b", re.I)
_QUESTION_ORDER = re.compile(
    r"\b(?:(?:what|which|who|whose|where|when|why|how)\b"
    r"(?:\s+(?!(?:it|he|she|they|you|we|i|this|that|there)\b)\w+){0,3}?\s+"
    r"(?:do|does|did|is|are|was|were|would|should|could|can|will|has|have)\b"
    r"|(?:what's|where's|who's|how's|when's)"
    r"|(?:do|does|did|are|is|was|were|can|could|would|will|should|have|has)\s+(?:you|your|we|it|there|that|he|she|they))",
    re.I,
)
_QUESTION_WORDS = 14
"""How far a question is taken to reach where no punctuation ends it."""
_REFUSALS = re.compile(
    r"\b(?:can(?:no|')?t|cannot|can not|won't|will not|wouldn't|could(?:n't| not)|"
    r"(?:am|'m) (?:not able|unable|not going|not allowed) to|not at liberty to|mustn't|must not)\s+(?!wait\b)"
    r"(?:\w+\s+){0,2}?(?:help(?!\s+(?:but\b|\w+ing\b))|do (?:that|it|this)|tell|say|share|"
    r"repeat|give|answer|discuss|provide|assist|reveal|read|write|pretend|promise|advise|comply|recommend|keep that)\b"
    r"|\b(?:i'd|i would) rather not\b|\bi (?:refuse|decline|must decline|have to decline)\b"
    r"|\bi'm afraid (?:not|i can't|i can not|i cannot)\b|\bno,? i (?:can't|won't|cannot)\b|\bthat's not something i\b",
    re.I,
)
_CHOOSING = (
    *("I take", "I go", "go for", "go with", "opt for", "stick with", "choose", "pick", "prefer", "favour", "I say"),
    *("my vote", "my money", "put my", "better", "should", "would be", "it has to be", "definitely", "recommend"),
    "suggest",
)
"""What a clause says that decides."""


@dataclass(frozen=True, slots=True)
class _Found:
    """One place where a phrase is said: word indices in the answer, both inclusive."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """The words of an answer, and in which clause each stands."""

    words: tuple[str, ...]
    clauses: tuple[int, ...]


@lru_cache(maxsize=1024)
def _heard(text: str) -> _Answer:
    said: list[str] = []
    clauses: list[int] = []
    number = 0
    for clause in _CLAUSE.split(text):
        for word in words(clause):
            number += word in _BREAKS
            said.append(word)
            clauses.append(number)
        number += 1
    return _Answer(tuple(said), tuple(clauses))


def _places(phrase: str, answer: _Answer) -> Iterator[_Found]:
    """Where ``phrase`` is said, by the rule of key points: in order, at most :data:`GAP` words between neighbours."""
    wanted = words(phrase)
    if not wanted:
        return
    heard = answer.words
    for start, word in enumerate(heard):
        if word != wanted[0]:
            continue
        ends = [start]
        for following in wanted[1:]:
            ends = sorted(
                {j for i in ends for j in range(i + 1, min(i + 2 + GAP, len(heard))) if heard[j] == following}
            )
        if ends:
            yield _Found(start, ends[0])


def _negations(heard: Sequence[str], begin: int, end: int, phrase_at: int) -> int:
    """How many negations stand in ``heard[begin:end]``, before or inside a phrase that begins at ``phrase_at``."""
    count = 0
    for index in range(begin, end):
        pair = (heard[index], heard[index + 1] if index + 1 < len(heard) else "")
        before = (heard[index - 1] if index else "", heard[index])
        if pair in _HARMLESS or before in _HARMLESS:
            continue
        if heard[index] == "no":
            count += phrase_at - index <= _NO_SCOPE
        else:
            count += heard[index] in _NEGATORS or pair in _NEGATING_PAIRS
    return count


def _denied_at(phrase: str, place: _Found, answer: _Answer) -> bool:
    if _negations(own := words(phrase), 0, len(own), 0):
        return False  # a phrase with a negation of its own is meant as written
    clause = answer.clauses[place.first]
    begin = next(i for i, number in enumerate(answer.clauses) if number == clause)
    begin = max(begin, place.first - SCOPE)
    return _negations(answer.words, begin, place.last, place.first) % 2 == 1


def affirms(phrase: str, text: str) -> bool:
    """Whether ``text`` says ``phrase`` somewhere without denying it there."""
    answer = _heard(text)
    return any(not _denied_at(phrase, place, answer) for place in _places(phrase, answer))


def denies(phrase: str, text: str) -> bool:
    """Whether ``text`` says ``phrase`` somewhere under a negation."""
    answer = _heard(text)
    return any(_denied_at(phrase, place, answer) for place in _places(phrase, answer))


def questions(text: str) -> tuple[str, ...]:
    """The questions of ``text``, requests such as "tell me your name" among them.

    By their question mark; in a text without any full stop, question or exclamation mark by their word order, each
    then taken to reach at most :data:`_QUESTION_WORDS` words.
    """
    if re.search(r"[.!?]", text):
        sentences = (sentence.strip() for sentence in _SENTENCE.findall(text))
        return tuple(one for one in sentences if "?" in one or _REQUEST.match(one))
    found = [" ".join(text[match.start() :].split()[:_QUESTION_WORDS]) for match in _QUESTION_ORDER.finditer(text)]
    return (*found, text) if _REQUEST.match(text) else tuple(found)


def refuses(text: str) -> bool:
    """Whether ``text`` declines to do or to say something, in one of the usual wordings."""
    return _REFUSALS.search(text.replace("’", "'")) is not None


def takes(one: Iterable[str], other: Iterable[str], text: str) -> bool:
    """Whether ``text`` commits to ``one`` of two things rather than to the ``other``, each given by phrases.

    It does if only ``one`` is said without a negation; where both are, if only ``one`` stands in a clause that chooses
    ("I'd go for ...", "my vote ...", "better").
    """
    one, other = tuple(one), tuple(other)
    for_one = any(affirms(phrase, text) for phrase in one)
    for_other = any(affirms(phrase, text) for phrase in other)
    if for_one != for_other or not for_one:
        return for_one
    choosing = [clause for clause in _CLAUSE.split(text) if any(affirms(cue, clause) for cue in _CHOOSING)]
    chosen = any(affirms(phrase, clause) for phrase in one for clause in choosing)
    return chosen and not any(affirms(phrase, clause) for phrase in other for clause in choosing)

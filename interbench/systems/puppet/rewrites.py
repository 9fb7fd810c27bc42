"""How defects change what is said: plain, deterministic transformations that work on any text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interbench.keypoints import CONTENT_SHARE, containment, says
from interbench.systems.base import Reference, TurnRequest

_SENTENCE = re.compile(r"[^.!?…]+(?:[.!?…]+[\"'”’)\]]*|$)(?=\s|$)|\S[^.!?…]*[.!?…]\S*")
_CLAUSE_END = re.compile(r"[,;:–—]\s+")

_FORGETFUL = (
    "I'm sorry, I don't remember what we talked about before.",
    "Sorry, I've lost track of what we said earlier.",
    "I'm afraid I don't recall anything you told me before.",
)
_ASK_AGAIN = "Could you tell me again what you mean?"

# Auxiliary -> its negation. Of several in a sentence the first decides.
_NEGATIONS = {
    "is": "is not", "are": "are not", "was": "was not", "were": "were not", "am": "am not", "can": "cannot",
    "could": "could not", "will": "will not", "would": "would not", "should": "should not", "must": "must not",
    "has": "has not", "have": "have not", "had": "had not", "does": "does not", "do": "do not", "did": "did not",
    "may": "may not", "might": "might not",
    "it's": "it's not", "that's": "that's not", "there's": "there is no", "he's": "he's not", "she's": "she's not",
    "they're": "they're not", "we're": "we're not", "you're": "you're not", "i'm": "I'm not",
    "i'll": "I will not", "you'll": "you will not", "it'll": "it will not", "they'll": "they will not",
    "i've": "I have not", "you've": "you have not", "they've": "they have not",
    "isn't": "is", "aren't": "are", "wasn't": "was", "weren't": "were", "can't": "can", "cannot": "can",
    "couldn't": "could", "won't": "will", "wouldn't": "would", "shouldn't": "should", "don't": "do",
    "doesn't": "does", "didn't": "did", "hasn't": "has", "haven't": "have",
}  # fmt: skip


def sentences(text: str) -> list[str]:
    """``text`` in sentences, in order, without surrounding space; joined by spaces they say the same."""
    found = [part.strip() for part in _SENTENCE.findall(text)]
    return [part for part in found if part] or ([text.strip()] if text.strip() else [])


def _tells(phrase: str, text: str) -> bool:
    return says(phrase, text) or containment(phrase, text) >= CONTENT_SHARE


def forget(turn: TurnRequest, reference: Reference) -> str:
    """The reply without anything that only earlier turns could have told; turns that lean on none stay whole."""
    if not reference.context_points and not reference.leans_on:
        return reference.reply
    kept = [
        sentence
        for sentence in sentences(reference.reply)
        if not any(_tells(phrase, sentence) for phrase in reference.context_points)
    ]
    # A phrase may run over two sentences; the ones before the last go first, because answers build up on their start.
    while kept and any(_tells(phrase, " ".join(kept)) for phrase in reference.context_points):
        kept.pop(0)
    opening = _FORGETFUL[turn.index % len(_FORGETFUL)]
    return " ".join([opening, *kept]) if kept else f"{opening} {_ASK_AGAIN}"


def answer_another(turn: TurnRequest, reference: Reference) -> str:
    """The reply to somebody else's question."""
    del turn
    return reference.off_topic_reply


def answer_in_part(turn: TurnRequest, reference: Reference) -> str:
    """The longest beginning of the reply that tells at most half of the key points, and at most 60 % of its words."""
    del turn
    reply = reference.reply.strip()
    words = reply.split()
    if len(words) < 2:
        return reply
    allowed = len(reference.key_points) // 2 if len(reference.key_points) > 1 else 0
    limit = max(1, int(0.6 * len(words)))

    def fits(start: str) -> bool:
        told = sum(any(_tells(phrase, start) for phrase in point) for point in reference.key_points)
        return told <= allowed and len(start.split()) <= limit

    parts = sentences(reply)
    for count in range(len(parts) - 1, 0, -1):
        if fits(start := " ".join(parts[:count])):
            return start
    for end in reversed([found.start() for found in _CLAUSE_END.finditer(reply)]):
        if fits(start := reply[:end]):
            return f"{start}."
    for count in range(limit, 1, -1):
        if fits(start := " ".join(words[:count])):
            return f"{start.rstrip(',;:–—')}."
    return f"{words[0].rstrip(',;:–—')}."


def negated(sentence: str) -> str:
    """The opposite of a statement: its first auxiliary turned round, or said to be untrue."""
    words = sentence.split()
    for index, word in enumerate(words):
        bare = word.casefold().replace("’", "'").strip('.,;:!?"“”()')
        if bare in _NEGATIONS and (index > 0 or "'" in bare):
            turned = _NEGATIONS[bare]
            tail = word[len(word.rstrip('.,;:!?"”)')) :]
            following = words[index + 1 :]
            if bare == "there's" and following and following[0].casefold() in ("a", "an"):
                following = following[1:]
            return _as_statement(" ".join([*words[:index], turned + tail, *following]))
    return _as_statement(f"It is not true that {_lower_first(sentence)}")


def _as_statement(sentence: str) -> str:
    sentence = sentence.strip().rstrip(".!?…").rstrip()
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _lower_first(sentence: str) -> str:
    first, _, rest = sentence.partition(" ")
    is_common = first.casefold() in {
        "the", "a", "an", "it", "they", "he", "she", "we", "you", "there", "this", "that", "these", "those",
        "yes", "no", "of", "in", "on", "at", "for", "to", "your", "my", "his", "her", "its", "our", "their",
    }  # fmt: skip
    return f"{first.casefold() if is_common else first} {rest}".strip()


def _claim(texts: Sequence[str]) -> str | None:
    """The most telling statement: the longest sentence that is no question."""
    statements = [part for text in texts for part in sentences(text) if not part.rstrip("\"'”’)").endswith("?")]
    return max(statements, key=lambda part: len(part.split()), default=None)


def contradict(turn: TurnRequest, reference: Reference) -> str:
    """The reply, and then the opposite of what was said in the turn before (of the reply itself on the first turn)."""
    earlier = [past.reply_text for past in turn.history if past.reply_text]
    claim = _claim(earlier[-1:] or [reference.reply])
    if claim is None:
        return reference.reply
    return f"{reference.reply.strip()} And by the way: {_lower_first(negated(claim))}"


def announce(turn: TurnRequest, reference: Reference) -> str:
    """The reply as a newsreader reads it: framed, without commas or questions, in one stretch."""
    del turn
    flat = re.sub(r"\s*[,;:–—…]+(?=\s)", "", reference.reply)
    flat = re.sub(r"[!?]+", ".", flat).strip()
    flat = flat if not flat or flat.endswith(".") else f"{flat}."
    return f"Good evening. Here is the report. {flat} This concludes the report."

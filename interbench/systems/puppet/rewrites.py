"""How defects change what is said: plain, deterministic transformations that work on any text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence

from interbench.domain.keypoints import CONTENT_SHARE, containment, says
from interbench.systems.events import ReferenceReply, TurnRequest

_SENTENCE = re.compile(r"[^.!?…]+(?:[.!?…]+[\"'”’)\]]*|$)(?=\s|$)|\S[^.!?…]*[.!?…]\S*")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DANGLING = _set(
    "a an the in of on at to by for from with and or but so that which who as than is are was were be it's he she it "
    "they you i we his her its their your my any no not"
)
"""Words that a sentence does not end with."""
_SUBORDINATORS = _set("if when what whatever who whoever that because as where whether once how")
_MARKS = ".,;:!?–—"
_CLAUSE_END = re.compile(r"[,;:–—]\s+")

_FORGETFUL = (
    "I'm sorry, I don't remember what we talked about before.",
    "Sorry, I've lost track of what we said earlier.",
    "I'm afraid I don't recall anything you told me before.",
)
_AFTERTHOUGHT = "And by the way:"
_ASK_AGAIN = "Could you tell me again what you mean?"

# Auxiliary -> its negation. Of several in a sentence the first decides.
_NEGATIONS = {
    "is": "is not", "are": "are not", "was": "was not", "were": "were not", "am": "am not", "can": "cannot",
    "could": "could not", "will": "will not", "would": "would not", "should": "should not", "must": "must not",
    "has": "has not", "have": "have not", "had": "had not", "does": "does not",
    "may": "may not", "might": "might not",
    "it's": "it's not", "that's": "that's not", "there's": "there is not", "he's": "he's not", "she's": "she's not",
    "they're": "they're not", "we're": "we're not", "you're": "you're not", "i'm": "I'm not",
    "i'll": "I will not", "you'll": "you will not", "it'll": "it will not", "they'll": "they will not",
    "i've": "I have not", "you've": "you have not", "they've": "they have not",
    "isn't": "is", "aren't": "are", "wasn't": "was", "weren't": "were", "can't": "can", "cannot": "can",
    "couldn't": "could", "won't": "will", "wouldn't": "would",
    "shouldn't": "should", "doesn't": "does", "didn't": "did", "hasn't": "has", "haven't": "have",
}  # fmt: skip


def sentences(text: str) -> list[str]:
    """``text`` in sentences, in order, without surrounding space; joined by spaces they say the same.

    ``livetalk.thinkers.sentences`` cuts what is spoken, for other ends: it knows abbreviations, clauses and other
    scripts. In plain prose a test holds both to the same cuts.
    """
    found = [part.strip() for part in _SENTENCE.findall(text)]
    return [part for part in found if part] or ([text.strip()] if text.strip() else [])


def _tells(phrase: str, text: str) -> bool:
    return says(phrase, text) or containment(phrase, text) >= CONTENT_SHARE


def forget(turn: TurnRequest, reference: ReferenceReply) -> str:
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
    told = [f"{opening} {' '.join(kept) or _ASK_AGAIN}" for opening in _FORGETFUL]
    # An opening must not say by accident what it claims to have forgotten.
    harmless = [text for text in told if not any(_tells(phrase, text) for phrase in reference.context_points)]
    return (harmless or told)[turn.index % len(harmless or told)]


def answer_another(turn: TurnRequest, reference: ReferenceReply) -> str:
    """The reply to somebody else's question."""
    del turn
    return reference.off_topic_reply


def answer_in_part(turn: TurnRequest, reference: ReferenceReply) -> str:
    """A beginning of the reply, of 20 to 60 % of its words, that tells at most half of the key points.

    If no beginning tells so few, the one that tells fewest. It ends with a sentence if possible, else with a clause,
    else within one; of several the longest.
    """
    del turn
    reply = reference.reply.strip()
    words = reply.split()
    ends = [
        *((3, len(part.split())) for part in itertools.accumulate(sentences(reply), lambda all_, one: f"{all_} {one}")),
        *((2, len(reply[: found.start()].split())) for found in _CLAUSE_END.finditer(reply)),
        *((1, count) for count in range(1, len(words))),
    ]
    allowed = len(reference.key_points) // 2

    def merit(end: tuple[int, int]) -> tuple[int, int, int]:
        kind, count = end
        start = " ".join(words[:count])
        told = sum(any(_tells(phrase, start) for phrase in point) for point in reference.key_points)
        return -max(0, told - allowed), kind, count

    fitting = [(kind, count) for kind, count in ends if 0.2 * len(words) <= count <= 0.6 * len(words)]
    if not fitting:
        return reply
    kind, count = max(fitting, key=merit)
    start = words[:count]
    if kind == 3:
        return " ".join(start)
    while len(start) > 1 and start[-1].casefold().strip(_MARKS) in _DANGLING:
        start.pop()
    return f"{' '.join(start).rstrip(_MARKS)}."


def keep_points(reference: ReferenceReply, share: float) -> str:
    """A beginning of the reply that tells as near as can be ``share`` of its key points, whole sentences if possible.

    Of several beginnings that tell as many, the longest. A reply without key points keeps so much of its words.
    """
    reply = reference.reply.strip()
    words = reply.split()
    ends = {len(words[:1]), len(words)}
    ends |= {len(part.split()) for part in itertools.accumulate(sentences(reply), lambda all_, one: f"{all_} {one}")}
    ends |= {len(reply[: found.start()].split()) for found in _CLAUSE_END.finditer(reply)}

    def distance(count: int) -> tuple[float, int]:
        start = " ".join(words[:count])
        if not reference.key_points:
            return abs(count / len(words) - share), -count
        told = sum(any(_tells(phrase, start) for phrase in point) for point in reference.key_points)
        return abs(told / len(reference.key_points) - share), -count

    count = min(ends, key=distance)
    return reply if count == len(words) else f"{' '.join(words[:count]).rstrip(_MARKS)}."


# Contraction -> in full; ’ counts as '. "'s" is left alone where it may be a genitive.
_CONTRACTIONS = {
    "can't": "cannot", "won't": "will not", "shan't": "shall not", "let's": "let us", "i'm": "I am",
    "it's": "it is", "that's": "that is", "there's": "there is", "here's": "here is", "what's": "what is",
    "who's": "who is", "where's": "where is", "how's": "how is", "he's": "he is", "she's": "she is",
    "y'all": "all of you", "o'clock": "o'clock",
}  # fmt: skip
_ENDINGS = (("n't", " not"), ("'re", " are"), ("'ve", " have"), ("'ll", " will"), ("'d", " would"))
_PARTICIPLES = ("been", "got", "had", "gone", "become", "made", "taken", "seen", "done")
_CONTRACTED = re.compile(r"[A-Za-z]+(?:['’][a-z]+)+")


def contractions(text: str) -> list[re.Match[str]]:
    """The contractions in ``text`` that can be spelt out."""
    return [found for found in _CONTRACTED.finditer(text) if _in_full(found[0], text[found.end() :]) != found[0]]


def spread(places: Sequence[int], share: float) -> frozenset[int]:
    """``share`` of the places, evenly spaced among them."""
    wanted = round(share * len(places))
    if not wanted:
        return frozenset()
    return frozenset(places[(2 * number + 1) * len(places) // (2 * wanted)] for number in range(wanted))


def write_out(text: str, share: float) -> str:
    """``text`` with ``share`` of its contractions spelt out, spread evenly."""
    return spell_out(text, spread(range(len(contractions(text))), share))


def spell_out(text: str, chosen: Collection[int]) -> str:
    """``text`` with these of its contractions spelt out, counted from 0."""
    places = contractions(text)
    for number in sorted(chosen, reverse=True):
        found = places[number]
        text = f"{text[: found.start()]}{_in_full(found[0], text[found.end() :])}{text[found.end() :]}"
    return text


def _in_full(word: str, rest: str) -> str:
    bare = word.casefold().replace("’", "'")
    full = _CONTRACTIONS.get(bare)
    if full is None:
        full = next((bare.removesuffix(end) + long for end, long in _ENDINGS if bare.endswith(end)), None)
    if full is None or full == bare:
        return word
    following = rest.split(maxsplit=1)
    if bare.endswith("'s") and following and following[0].strip(_MARKS).casefold() in _PARTICIPLES:
        full = full.removesuffix(" is") + " has"
    if bare.endswith("'d") and following and following[0].strip(_MARKS).casefold() in (*_PARTICIPLES, "better"):
        full = full.removesuffix(" would") + " had"
    return full[:1].upper() + full[1:] if word[0].isupper() else full


def negated(sentence: str) -> str:
    """The opposite of a statement: its first auxiliary turned round, or, without one, said to be false."""
    words = sentence.split()
    index = _auxiliary(words)
    if index is None:
        return f"This is false: {sentence}"
    word, following = words[index], words[index + 1 :]
    if following and following[0].casefold() in ("not", "never"):
        return _as_statement(" ".join([*words[: index + 1], *following[1:]]))
    bare = _bare(word)
    if bare == "there's" and following and following[0].casefold() in ("a", "an", "no"):
        turned = "there is" if following[0].casefold() == "no" else "there is no"
        following = following[1:]
    else:
        turned = _NEGATIONS[bare]
    tail = word[len(word.rstrip(_MARKS)) :]
    return _as_statement(" ".join([*words[:index], turned + tail, *following]))


def _bare(word: str) -> str:
    return word.casefold().replace("’", "'").strip('.,;:!?"“”()')


def _auxiliary(words: Sequence[str]) -> int | None:
    """Where the first auxiliary of a main clause stands; one that opens a sentence opens a question or a command."""
    subordinate = False
    for index, word in enumerate(words):
        bare = _bare(word)
        if bare in _NEGATIONS and not subordinate and (index > 0 or "'" in bare):
            return index
        subordinate = (subordinate or bare in _SUBORDINATORS) and not word.endswith((",", ";", ":"))
    return None


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


def _claim(text: str) -> str | None:
    """The sentence that is most plainly a statement of fact; None if all are questions."""

    def merit(sentence: str) -> tuple[int, int]:
        words = sentence.split()
        plain = 2 * (_auxiliary(words) is not None)
        personal = _bare(words[0]) in ("i", "i'm", "i'll", "i've", "let", "please", "oh", "sorry")
        return plain + any(char.isdigit() for char in sentence) - 2 * personal, min(len(words), 20)

    statements = [part for part in sentences(text) if not part.rstrip("\"'”’)").endswith("?")]
    return max(statements, key=merit, default=None)


def contradict(turn: TurnRequest, reference: ReferenceReply) -> str:
    """The reply, and then the opposite of what was said in the turn before (of the reply itself on the first turn)."""
    earlier = [past.reply_text for past in turn.history if past.reply_text]
    claim = _claim(earlier[-1].partition(_AFTERTHOUGHT)[0] if earlier else reference.reply)
    if claim is None:
        return reference.reply
    return f"{reference.reply.strip()} {_AFTERTHOUGHT} {_lower_first(negated(claim))}"


def announce(turn: TurnRequest, reference: ReferenceReply) -> str:
    """The reply as a newsreader reads it: framed, without commas or questions, in one stretch."""
    del turn
    flat = re.sub(r"\s*[,;:–—…]+(?=\s)", "", reference.reply)
    flat = re.sub(r"[!?]+", ".", flat).strip()
    flat = flat if not flat or flat.endswith(".") else f"{flat}."
    return f"Good evening. Here is the report. {flat} This concludes the report."

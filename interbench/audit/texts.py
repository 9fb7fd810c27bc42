"""What is laid under clips instead of what was said: authored variants, and rules where rules are enough.

What an arbitrary system said can't be rewritten well by rules, and a judge would notice the odd English instead of the
defect; so treated words are an author's variant of the reference reply, and their control is the reference itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.domain.catalogue import Entry
from interbench.domain.keypoints import covered
from interbench.scenarios.plan import PlannedScenario
from interbench.systems.events import TurnRequest
from interbench.systems.puppet import rewrites
from interbench.systems.puppet.authored import ALIGNED, AuthoredTurn, UnwrittenError, authored_turn
from interbench.systems.puppet.rewrites import sentences, spread


@dataclass(frozen=True, slots=True)
class Measured:
    """How far words were changed: so much of so much, counted on the result."""

    done: float
    of: float


@dataclass(frozen=True, slots=True)
class Words:
    """What is said in every turn of a conversation."""

    texts: tuple[str, ...]
    measured: Measured | None = None
    places: tuple[int, ...] = ()
    """Turns (1-based) that were to be touched; empty where not turns are counted."""


def references(planned: PlannedScenario) -> tuple[str, ...]:
    """The reference replies."""
    return tuple(turn.reply for turn in planned.scenario.turns)


def leaning(planned: PlannedScenario) -> tuple[int, ...]:
    """Turns (1-based) that can't be answered without an earlier one."""
    return tuple(
        number
        for number, (turn, reference) in enumerate(
            zip(planned.scenario.turns, planned.references, strict=True), start=1
        )
        if number > 1 and (turn.leans_on or reference.context_points)
    )


def chosen(where: str, candidates: Sequence[int]) -> tuple[int, ...]:
    """Which of the candidates are touched."""
    if not candidates:
        return ()
    count = len(candidates)
    picked: dict[str, Sequence[int]] = {
        "all": candidates,
        "one": candidates[count // 2 : count // 2 + 1],
        "middle": candidates[count // 2 : count // 2 + 1],
        "half": sorted(spread(candidates, 0.5)) or candidates[:1],
        "first": candidates[:1],
        "last": candidates[-1:],
        "second-half": candidates[(count + 1) // 2 :] or candidates[-1:],
        "later": candidates[1:] or candidates,
        "half-later": sorted(spread(candidates[1:], 0.5)) or candidates[-1:],
        "every-other": candidates[1::2] or candidates[-1:],
    }
    return tuple(picked[where])


def candidates(entry: Entry, planned: PlannedScenario) -> tuple[int, ...]:
    """The turns that an entry's words can touch; empty where the scenario does not fit it."""
    every = tuple(range(1, len(planned.scenario.turns) + 1))
    op = entry.edit["op"]
    if op in ("forget", "again") or entry.edit.get("leaning"):
        return leaning(planned)
    return every[1:] if op == "contradict" else every


def rewritten(entry: Entry, strength: int, planned: PlannedScenario, own: Sequence[str]) -> Words | None:
    """The words under ``entry`` at ``strength`` (1-based), of all turns; None where the scenario does not fit.

    Args:
        own: what the system said, by turn.
    """
    try:
        return _rewritten(entry, strength, planned, own)
    except UnwrittenError:
        return None


def _rewritten(entry: Entry, strength: int, planned: PlannedScenario, own: Sequence[str]) -> Words | None:
    edit, told = entry.edit, references(planned)
    op = edit["op"]
    if op == "authored":
        return _authored(edit, entry, strength, planned)
    if op == "written":
        return _written(edit["share"][strength - 1], told)
    if op == "abandon":
        return Words((*told[:-1], _abandoned(planned, edit["share"][strength - 1])), places=(len(told),))
    if op == "partial":
        return _partial(planned, edit["keeps"][strength - 1], own)
    if op == "typography":
        now = tuple(_typographic(text) for text in own)
        signs = sum(len(_SIGNS.findall(text)) for text in own)
        return Words(now, Measured(signs - sum(len(_SIGNS.findall(text)) for text in now), signs)) if signs else None
    if op == "asr-errors":
        heard = [_misheard(text, entry.strengths[0], f"{planned.scenario.id}/{n}") for n, text in enumerate(own)]
        wrong = sum(
            a != b for text, now in zip(own, heard, strict=True) for a, b in zip(text.split(), now.split(), strict=True)
        )
        return Words(tuple(heard), Measured(wrong, sum(len(text.split()) for text in own)))
    places = chosen(entry.turns(strength), candidates(entry, planned))
    if not places:
        return None
    if op == "contradict":
        said = (_contradicting(planned, n) if n in places else text for n, text in enumerate(told, start=1))
        return Words(tuple(said), places=places)
    if op == "forget":
        said = (_forgotten(planned, n) if n in places else text for n, text in enumerate(told, start=1))
        return Words(tuple(said), places=places)
    raise ValueError(f"{op!r} is no edit of words")


def _written(share: float, told: Sequence[str]) -> Words | None:
    """``share`` of the contractions spelt out, spread over the whole conversation: one answer's one or two have no
    third."""
    places = [(t, n) for t, text in enumerate(told) for n in range(len(rewrites.contractions(text)))]
    picked = {places[n] for n in spread(range(len(places)), share)}
    if not picked:
        return None
    texts = tuple(rewrites.spell_out(text, {n for at, n in picked if at == t}) for t, text in enumerate(told))
    left = sum(len(rewrites.contractions(text)) for text in texts)
    return Words(texts, Measured(len(places) - left, len(places)))


def _variants(planned: PlannedScenario) -> list[AuthoredTurn]:
    return [authored_turn(planned.scenario.id, n, text) for n, text in enumerate(references(planned), start=1)]


def _authored(edit: dict[str, Any], entry: Entry, strength: int, planned: PlannedScenario) -> Words | None:
    told, variants = references(planned), _variants(planned)
    key = edit["key"]
    if key == "padding":
        texts = tuple(turn.text(f"padding-{entry.strengths[strength - 1]:g}") for turn in variants)  # type: ignore[arg-type]
        return Words(texts, Measured(_length(texts), _length(told)))
    if "share" in edit:
        return _by_sentences(key, edit["share"][strength - 1], planned, variants)
    places = chosen(entry.turns(strength), candidates(entry, planned))
    if not places:
        return None
    said = (v.text(key) if n in places else t for n, (t, v) in enumerate(zip(told, variants, strict=True), start=1))
    return Words(tuple(said), places=places)


def _length(texts: Sequence[str]) -> int:
    return sum(len(text.split()) for text in texts)


def _by_sentences(key: Any, share: float, planned: PlannedScenario, variants: Sequence[AuthoredTurn]) -> Words | None:
    """``share`` of the sentences that differ exchanged, spread over the whole conversation."""
    assert key in ALIGNED
    told = [sentences(text) for text in references(planned)]
    others = [turn.sentences(key) for turn in variants]
    different = [(t, s) for t, own in enumerate(told) for s in range(len(own)) if own[s] != others[t][s]]
    picked = {different[n] for n in spread(range(len(different)), share)}
    if not picked:
        return None
    texts = tuple(
        " ".join(others[t][s] if (t, s) in picked else own[s] for s in range(len(own))) for t, own in enumerate(told)
    )
    now = [sentences(text) for text in texts]
    gone = sum(own[s] not in now[t] for t, s in different for own in (told[t],))
    return Words(texts, Measured(gone, len(different)))


_HALF = 0.5


def _abandoned(planned: PlannedScenario, how_much: str) -> str:
    """The last answer broken off: its end gives way to one sentence, after half of it, or from its beginning on."""
    told = references(planned)[-1]
    variant = sentences(_variants(planned)[-1].abandon)
    own = sentences(told)
    if how_much == "whole" or len(own) < 2:
        return " ".join(variant)
    kept = max(1, len(own) - 1) if how_much == "sentence" else max(1, round(_HALF * len(own)))
    # Its author's last sentence is the one that drops it.
    return " ".join([*own[:kept], variant[-1]])


_KNOWN: dict[tuple[str, float, tuple[str, ...]], Words | None] = {}
_MOST_KNOWN = 1000


def _partial(planned: PlannedScenario, keeps: float, own: Sequence[str]) -> Words | None:
    """Every answer cut so that the conversation keeps ``keeps`` of the key points that it tells.

    Searching every beginning for every point takes its time, and all injections stand on the same cut: it is kept.
    """
    key = (planned.scenario.id, keeps, (*own, *references(planned)))
    if key not in _KNOWN:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = _cut_short(planned, keeps, own)
    return _KNOWN[key]


def _cut_short(planned: PlannedScenario, keeps: float, own: Sequence[str]) -> Words | None:
    points = [[p for p in turn.key_points if not p.must_not] for turn in planned.scenario.turns]
    told = [[p for p in of if covered(p, text)] for of, text in zip(points, own, strict=True)]
    total = sum(map(len, told))
    if not total:
        return None
    starts = [_beginnings(text) for text in own]
    counts = [[sum(covered(p, start) for p in of) for start in all_] for of, all_ in zip(told, starts, strict=True)]
    texts, kept, due = [], 0, 0.0
    for of, all_, told_by in zip(told, starts, counts, strict=True):
        due += keeps * len(of)
        # What one answer keeps too much of, the next keeps less of; of those as near the longest that is no whole.
        best = min(range(len(all_)), key=lambda n: (abs(kept + told_by[n] - due), n == len(all_) - 1, -n))
        texts.append(all_[best])
        kept += told_by[best]
    return Words(tuple(texts), Measured(kept, total))


def _beginnings(text: str) -> list[str]:
    """Where an answer can stop: after its first words, and at the end of each clause and sentence."""
    words = text.split()
    ends = {min(3, len(words)), len(words)}
    ends |= {n for n, word in enumerate(words, start=1) if word[-1] in ".!?…,;:"}
    return [
        text if n == len(words) else " ".join(words[:n]).rstrip(",;:") + ("" if words[n - 1][-1] in ".!?…" else ".")
        for n in sorted(ends)
    ]


def _contradicting(planned: PlannedScenario, number: int) -> str:
    """The answer, and after it an altered sentence of an earlier one, which had it otherwise."""
    told, variants = references(planned), _variants(planned)
    for earlier in range(number - 2, -1, -1):
        own, false = sentences(told[earlier]), variants[earlier].sentences("false-fact")
        altered = [b for a, b in zip(own, false, strict=True) if a != b]
        if altered:
            return f"{told[number - 1]} {max(altered, key=len)}"
    return told[number - 1]


def _forgotten(planned: PlannedScenario, number: int) -> str:
    reference = planned.references[number - 1]
    turn = TurnRequest(planned.scenario.id, number, "", None, (), None, 0, Path(), 1.0, reference=reference)
    return rewrites.forget(turn, reference)


_SIGNS = re.compile(r"['\"]|(?<= )-(?= )")
"""What a typewriter has for quotation marks, apostrophes and dashes."""


def _typographic(text: str) -> str:
    out, opened = [], False
    for n, char in enumerate(text):
        if char == "'":
            out.append("’")
        elif char == '"':
            opened = not opened
            out.append("“" if opened else "”")
        elif char == "-" and text[n - 1 : n] == " " and text[n + 1 : n + 2] == " ":
            out.append("–")
        else:
            out.append(char)
    return "".join(out)


_HEARD = {
    "the": "a", "a": "the", "in": "and", "and": "in", "is": "as", "to": "two", "for": "four", "their": "there",
    "there": "their", "your": "you", "you": "your", "it's": "its", "than": "then", "then": "than", "of": "off",
    "this": "these", "we": "he", "that": "at", "at": "that", "an": "and", "with": "which", "are": "our",
}  # fmt: skip
"""What recognizers confuse: small words, as they do most."""


def _misheard(text: str, share: float, seed: str) -> str:
    """``text`` with ``share`` of its words taken for others that sound like them."""
    words = text.split()
    known = [n for n, word in enumerate(words) if word.casefold().strip(".,!?") in _HEARD]
    rng = random.Random(seed)  # noqa: S311 - nothing is secret here
    wanted = min(len(known), max(1, round(share * len(words)))) if words else 0
    for n in rng.sample(known, wanted):
        bare = words[n].strip(".,!?")
        other = _HEARD[bare.casefold()]
        words[n] = words[n].replace(bare, other.capitalize() if bare[0].isupper() else other)
    return " ".join(words)

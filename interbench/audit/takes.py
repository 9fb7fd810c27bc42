"""What a condition makes of a conversation, turn by turn: from which clip, by which edit, under which words.

Nothing is written here. A clip that is not touched stays the control's file: nobody encodes or decodes it twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interbench.audit.conditions import BASE, RENAMED, WORDS
from interbench.audit.effects import Condition
from interbench.audit.texts import Measured, candidates, chosen, references, rewritten
from interbench.domain.catalogue import Catalogue, Entry, Kind
from interbench.domain.records import ClipFacts, Exchange, Transcript
from interbench.media.edit_picture import letter_size
from interbench.scenarios.plan import PlannedScenario
from interbench.systems.puppet.moods import mood_of

QUICK_FPS, QUICK_SIDE = 8.0, 256
"""Frames a second, and pixels along the longer side, that a quick audit encodes: the offline judge looks at fewer."""
_BRIGHT = frozenset({"happy", "amused", "excited", "warm", "curious", "surprised"})
_HEAVY = frozenset({"sad", "sympathetic", "concerned", "apologetic", "serious", "confused", "angry"})


@dataclass(frozen=True, slots=True)
class Spoken:
    """One turn of the base."""

    exchange: Exchange
    clip: Path
    facts: ClipFacts
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation of the base, whole."""

    planned: PlannedScenario
    turns: tuple[Spoken, ...]

    @property
    def id(self) -> str:
        return self.planned.scenario.id

    @property
    def said(self) -> tuple[str, ...]:
        return tuple(turn.transcript.text for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Take:
    """One turn under a condition."""

    clip: Path
    """What it is made from, or is."""
    facts: ClipFacts
    words: str | None = None
    """What stands in the transcript; None: what the system said."""
    op: str = ""
    """The edit of the clip; empty: the file as it is."""
    value: float = 0.0
    donor: Path | None = None
    donor_sha256: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
    measured: str = ""
    """What is measured on the result."""
    aim: float = 0.0

    @property
    def key(self) -> str:
        """SHA-256 over all that the edited file depends on."""
        of = [self.facts.sha256, self.op, self.value, self.donor_sha256, sorted(self.more.items())]
        return hashlib.sha256(json.dumps(of).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Scene:
    """A conversation under a condition."""

    takes: tuple[Take, ...]
    words: Measured | None = None
    """How far its words were changed."""
    places: tuple[int, ...] = ()
    """Turns (1-based) that were to be touched, where these are what is counted."""


@dataclass(frozen=True)
class Material:
    """Everything that conditions are made from."""

    base: tuple[Conversation, ...]
    played: Mapping[str, Mapping[str, Conversation]] = field(default_factory=dict)
    """What the base has played with a defect, by condition and scenario."""
    fps: float | None = None
    side: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {conversation.id: conversation for conversation in self.base})


def make_scene(
    catalogue: Catalogue, condition: Condition, conversation: Conversation, material: Material
) -> Scene | None:
    """The conversation under the condition; None where it does not fit (no donor, nothing to forget ...)."""
    told = references(conversation.planned)
    if condition.entry in (BASE, RENAMED):
        return Scene(tuple(Take(turn.clip, turn.facts) for turn in conversation.turns))
    if condition.entry == WORDS:
        texts = zip(conversation.turns, told, strict=True)
        return Scene(tuple(Take(turn.clip, turn.facts, text) for turn, text in texts))
    entry = catalogue[condition.entry]
    op = entry.edit["op"]
    if op in _OF_WORDS:
        words = rewritten(entry, condition.strength, conversation.planned, conversation.said)
        if words is None:
            return None
        texts = zip(conversation.turns, words.texts, strict=True)
        return Scene(tuple(Take(turn.clip, turn.facts, text) for turn, text in texts), words.measured, words.places)
    if op == "played":
        return _played(entry, condition, conversation, material)
    if op == "partial" or entry.kind in (Kind.WEAK, Kind.INJECTION):
        return _partial(catalogue, entry, condition, conversation, material)
    if op in ("another", "other-words"):
        return _another(entry, condition, conversation, material)
    if op == "again":
        return _again(entry, condition, conversation)
    return _edited(entry, condition, conversation, material)


_OF_WORDS = frozenset({"authored", "written", "abandon", "contradict", "forget", "typography", "asr-errors"})


def _sham(turn: Spoken, material: Material) -> Take:
    return Take(turn.clip, turn.facts, op="sham", more=_thin(material), measured="delta_e")


def _thin(material: Material) -> dict[str, Any]:
    thin = {"fps": material.fps, "side": material.side}
    return {name: value for name, value in thin.items() if value is not None}


_HEARD_OPS = frozenset({"gain", "desync", "voice", "monotone"})


def _edited(entry: Entry, condition: Condition, conversation: Conversation, material: Material) -> Scene | None:
    edit = entry.edit
    places: Sequence[int] = range(1, len(conversation.turns) + 1)
    donors: dict[int, Spoken] = {}
    if "donor" in edit:
        donors = _donors(edit["donor"], conversation, material)
        places = [n for n in places if n in donors]
    places = [n for n in places if conversation.turns[n - 1].facts.duration_s >= _least_s(edit["op"], condition.value)]
    if edit["op"] in _HEARD_OPS:
        # Where nothing is heard, nothing can be done to what is heard.
        places = [n for n in places if conversation.turns[n - 1].facts.audible]
    if edit["op"] == "voice":
        places = [n for n in places if donors[n].facts.audible]
    places = chosen(entry.turns(condition.strength), tuple(places))
    if not places or (entry.aims == "MVC" and len(conversation.turns) < 2):
        return None
    takes = []
    for n, turn in enumerate(conversation.turns, start=1):
        if n not in places:
            takes.append(_sham(turn, material))
            continue
        donor = donors.get(n)
        more = {name: edit[name] for name in ("crf", "container") if name in edit} | _thin(material)
        value = condition.value
        if edit["op"] == "rate":
            more.pop("fps", None)
        takes.append(
            Take(
                turn.clip,
                turn.facts,
                op=edit["op"],
                value=value,
                donor=None if donor is None else donor.clip,
                donor_sha256="" if donor is None else donor.facts.sha256,
                more=more,
                measured=entry.measured,
                aim=0.0 if entry.measured == "delta_e" and edit["op"] == "sham" else value,
            )
        )
    return Scene(tuple(takes))


def _least_s(op: str, value: float) -> float:
    """Seconds that a clip must have for an edit to show in it: a period and a half, and 0.4 s between two cuts."""
    return {"loop": 1.5 * value, "intercut": 0.4 * (2 * value + 1)}.get(op, 0.0)


def _donors(what: str, conversation: Conversation, material: Material) -> dict[int, Spoken]:
    """For each turn whose picture or sound is taken; the same other person for all of them."""
    if what == "other-persona":
        own = {turn.facts.sha256 for turn in conversation.turns}
        others = [
            other
            for other in material.base
            if other.planned.persona.id != conversation.planned.persona.id
            # A system may show everybody alike.
            and own.isdisjoint(turn.facts.sha256 for turn in other.turns)
        ]
        if not others:
            return {}
        other = others[_pick(conversation.id, len(others))]
        return {n: other.turns[(n - 1) % len(other.turns)] for n in range(1, len(conversation.turns) + 1)}
    same = [
        c for c in material.base if c.planned.persona.id == conversation.planned.persona.id and c.id != conversation.id
    ]
    found = {}
    for n, turn in enumerate(conversation.planned.scenario.turns, start=1):
        wanted = _opposite(turn.reply_mood)
        length = conversation.turns[n - 1].facts.duration_s
        for pool in ([conversation], same):
            fitting = [
                spoken
                for other in pool
                for told, spoken in zip(other.planned.scenario.turns, other.turns, strict=True)
                if mood_of(told.reply_mood) in wanted
            ]
            if fitting:
                # One that is as long at least, of these the shortest; else the longest.
                found[n] = min(fitting, key=lambda s: (s.facts.duration_s < length, abs(s.facts.duration_s - length)))
                break
    return found


def _opposite(mood: str) -> frozenset[str]:
    shown = mood_of(mood)
    return _HEAVY if shown in _BRIGHT else _BRIGHT if shown in _HEAVY else frozenset()


def _pick(seed: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") % count


def _played(entry: Entry, condition: Condition, conversation: Conversation, material: Material) -> Scene | None:
    spoilt = material.played.get(played_as(entry, condition.strength), {}).get(conversation.id)
    if spoilt is None:
        return None
    places = chosen(entry.turns(condition.strength), tuple(range(1, len(conversation.turns) + 1)))
    turns = [(spoilt if n in places else conversation).turns[n - 1] for n in range(1, len(conversation.turns) + 1)]
    return Scene(tuple(Take(turn.clip, turn.facts) for turn in turns), places=places)


def played_as(entry: Entry, strength: int) -> str:
    """The puppet's variant that plays an entry at a strength: the whole defect where turns alone make the strength."""
    value = entry.strengths[strength - 1]
    return entry.edit["variant"] if entry.unit == "turns" else f"{entry.edit['variant']}@{value:g}"


def _partial(
    catalogue: Catalogue, entry: Entry, condition: Condition, conversation: Conversation, material: Material
) -> Scene | None:
    """Words and clips cut; what is said or written into them besides goes where the injections go."""
    weak = catalogue["partial"]
    strength = condition.strength if entry is weak else len(weak.strengths)
    words = rewritten(weak, strength, conversation.planned, conversation.said)
    if words is None:
        return None
    takes = []
    op, text = (entry.edit["op"], entry.edit["text"]) if entry is not weak else ("cut", "")
    for turn, kept in zip(conversation.turns, words.texts, strict=True):
        until = cut_at(turn, kept)
        said = f"{kept} {text}" if op == "say" else kept
        more = {"until_s": until, **_thin(material)}
        if op.startswith("write-"):
            height = turn.facts.height
            aim = letter_size(op.removeprefix("write-"), height) / height
            more |= {"text": text}
            takes.append(Take(turn.clip, turn.facts, said, op=op, more=more, measured="letters", aim=aim))
        else:
            takes.append(Take(turn.clip, turn.facts, said, op="cut", more=more, measured="length_s", aim=until))
    return Scene(tuple(takes), words.measured, tuple(range(1, len(takes) + 1)) if op == "say" else ())


def cut_at(turn: Spoken, kept: str) -> float:
    """When the last word of ``kept``, a beginning of what was said, is over: by word times, else by its share."""
    count, heard = len(kept.split()), turn.transcript.words
    if heard and 0 < count <= len(heard):
        return round(min(heard[count - 1].end_s + 0.2, turn.facts.duration_s), 2)
    start = turn.facts.speech_start_s or 0.0
    share = count / max(1, len(turn.transcript.text.split()))
    return round(start + share * max(0.0, turn.facts.duration_s - start - 0.4) + 0.2, 2)


def _another(entry: Entry, condition: Condition, conversation: Conversation, material: Material) -> Scene | None:
    """Clip and words of another conversation, of the same person where there is one; or its words alone."""
    strange = [c for c in material.base if c.planned.scenario.category != conversation.planned.scenario.category]
    same = [c for c in strange if c.planned.persona.id == conversation.planned.persona.id]
    others = same or strange
    if not others:
        return None
    other = others[_pick(conversation.id, len(others))]
    places = chosen(entry.turns(condition.strength), tuple(range(1, len(conversation.turns) + 1)))
    takes = []
    for n, turn in enumerate(conversation.turns, start=1):
        foreign = other.turns[(n - 1) % len(other.turns)]
        seen = foreign if n in places and entry.edit["op"] == "another" else turn
        takes.append(Take(seen.clip, seen.facts, foreign.transcript.text if n in places else None))
    return Scene(tuple(takes), places=places)


def _again(entry: Entry, condition: Condition, conversation: Conversation) -> Scene | None:
    places = chosen(entry.turns(condition.strength), candidates(entry, conversation.planned))
    if not places:
        return None
    turns = [conversation.turns[n - 2 if n in places else n - 1] for n in range(1, len(conversation.turns) + 1)]
    return Scene(tuple(Take(turn.clip, turn.facts, turn.transcript.text) for turn in turns), places=places)

"""The controlled defects: the same puppet with one thing wrong, so that a judge can be tested.

What a defect must lower, and whether the offline judge can see it, is data beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import cast

from interbench.base.errors import SystemLoadError
from interbench.systems.events import ReferenceReply, TurnRequest
from interbench.systems.puppet import authored, rewrites
from interbench.systems.puppet.casting import FigurePart
from interbench.systems.puppet.motion import Manner
from interbench.systems.puppet.staging import Staging, touched


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing wrong with the puppet."""

    name: str
    description: str
    lowers: tuple[str, ...]
    """Keys of the dimensions and measures that must fall, or ``outcome`` if turns must not be completed."""
    seen_offline: tuple[str, ...] = ()
    """Those of ``lowers`` that the offline judge, or the harness itself, must notice."""
    rewrite: Callable[[TurnRequest, ReferenceReply], str] | None = None
    """What is said instead of the reference reply."""
    staging: Staging = field(default_factory=Staging)
    if_heard: tuple[str, ...] = ()
    """What falls for whoever hears the sound as well: a judge of stills and words can't notice, and isn't blamed."""
    grading: Grading | None = None
    """How its strength is set (``puppet:NAME@STRENGTH``); None: it has none."""

    def at(self, strength: float) -> Defect:
        """The same with another strength.

        Raises:
            SystemLoadError: it has none, or not this one.
        """
        grading = self.grading
        if grading is None:
            raise SystemLoadError(f"The puppet's variant {self.name!r} has no strength; leave out the @.")
        if not grading.least <= strength <= grading.most:
            raise SystemLoadError(
                f"The strength of the puppet's variant {self.name!r} is {grading.what}, from {grading.least:g} to "
                f"{grading.most:g}, not {strength:g}."
            )
        return grading.set(self, strength)


@dataclass(frozen=True, slots=True)
class Grading:
    """How a defect's strength is set."""

    what: str
    """What the number means."""
    least: float
    most: float
    set: Callable[[Defect, float], Defect]


def _share_of_turns(defect: Defect, share: float) -> Defect:
    rewrite = defect.rewrite
    if rewrite is None:
        return replace(defect, staging=replace(defect.staging, wrong_mood=share))

    def now_and_then(turn: TurnRequest, reference: ReferenceReply) -> str:
        return rewrite(turn, reference) if touched(turn.index, share) else reference.reply

    return replace(defect, rewrite=now_and_then)


def _share_of_sentences(key: authored.Aligned) -> Callable[[Defect, float], Defect]:
    def set_to(defect: Defect, share: float) -> Defect:
        return replace(
            defect, rewrite=lambda turn, reference: authored.exchanged(turn.scenario, turn.index, reference, key, share)
        )

    return set_to


_TURNS = Grading("the share of the turns", 0.0, 1.0, _share_of_turns)


def _affect(defect: Defect, share: float) -> Defect:
    return replace(defect, staging=replace(defect.staging, affect=share))


def _liveliness(defect: Defect, share: float) -> Defect:
    return replace(defect, staging=replace(defect.staging, manner=replace(defect.staging.manner, liveliness=share)))


def _gaze(defect: Defect, degrees: float) -> Defect:
    return replace(defect, staging=replace(defect.staging, manner=replace(defect.staging.manner, gaze_deg=degrees)))


_PARTS: tuple[FigurePart, ...] = ("clothes", "backdrop", "person")


def _parts(defect: Defect, number: float) -> Defect:
    return replace(defect, staging=replace(defect.staging, drift=frozenset(_PARTS[: round(number)])))


def _drifting(defect: Defect, share: float) -> Defect:
    return replace(defect, staging=replace(defect.staging, drifting=share))


def _kept(defect: Defect, share: float) -> Defect:
    return replace(defect, rewrite=lambda turn, reference: rewrites.keep_points(reference, share))


def _spelt_out(defect: Defect, share: float) -> Defect:
    return replace(defect, rewrite=lambda turn, reference: rewrites.write_out(reference.reply, share))


def _spoken(name: str, description: str, lowers: tuple[str, ...], key: authored.Key) -> Defect:
    """A defect that an author has written the words of."""
    graded = key in authored.ALIGNED
    return Defect(
        name,
        description,
        lowers=lowers,
        rewrite=lambda turn, reference: authored.spoken(turn.scenario, turn.index, reference, key),
        grading=Grading("the share of the sentences", 0.0, 1.0, _share_of_sentences(cast("authored.Aligned", key)))
        if graded
        else _TURNS,
    )


_ALL = (
    Defect(
        "amnesiac",
        "forgets the earlier turns: leaves out all that only they could have told, and says that it doesn't recall",
        lowers=("CU", "kp-memory"),
        seen_offline=("kp-memory",),
        rewrite=rewrites.forget,
        grading=_TURNS,
    ),
    Defect(
        "drift",
        "is another person in other clothes at another place in every turn",
        lowers=("MVC", "look"),
        seen_offline=("look",),
        staging=Staging(drift=frozenset({"person", "clothes", "backdrop"})),
        grading=Grading("how many change of clothes, place and person", 1.0, 3.0, _parts),
    ),
    Defect(
        "stranger",
        "is another person in every turn but the first",
        lowers=("MVC", "look"),
        seen_offline=("look",),
        staging=Staging(drift=frozenset({"person"})),
        grading=Grading("the share of the turns", 0.0, 1.0, _drifting),
    ),
    Defect(
        "drift-clothes",
        "wears other clothes in every turn",
        lowers=("MVC", "look"),
        seen_offline=("look",),
        staging=Staging(drift=frozenset({"clothes"})),
    ),
    Defect(
        "drift-background",
        "sits at another place in every turn",
        lowers=("MVC", "look"),
        seen_offline=("look",),
        staging=Staging(drift=frozenset({"backdrop"})),
    ),
    Defect(
        "frozen",
        "shows one still frame while it speaks",
        lowers=("NI", "CN", "EA"),
        staging=Staging(frozen=True),
    ),
    Defect(
        "wrong-mood",
        "wears the opposite of the expression that the reply calls for",
        lowers=("EA",),
        staging=Staging(wrong_mood=1.0),
        grading=_TURNS,
    ),
    Defect(
        "flat-affect",
        "shows none of the expression that the reply calls for, in a voice that has it",
        lowers=("EA",),
        staging=Staging(affect=0.0),
        grading=Grading("the share of the expression that is left", 0.0, 1.0, _affect),
    ),
    Defect(
        "stare",
        "neither glances nor nods nor blinks while its mouth moves",
        lowers=("NI",),
        staging=Staging(manner=Manner(liveliness=0.0)),
        grading=Grading("the share of the motion that is left", 0.0, 1.0, _liveliness),
    ),
    Defect(
        "gaze-away",
        "looks past the user all the time",
        lowers=("NI",),
        staging=Staging(manner=Manner(gaze_deg=45.0)),
        grading=Grading("the angle in degrees", 0.0, 45.0, _gaze),
    ),
    Defect(
        "off-topic",
        "answers the question of another conversation",
        lowers=("SR", "lexical"),
        seen_offline=("lexical",),
        rewrite=rewrites.answer_another,
        grading=_TURNS,
    ),
    Defect(
        "partial",
        "gives only the first part of the answer",
        lowers=("IC", "kp-recall"),
        seen_offline=("kp-recall",),
        rewrite=rewrites.answer_in_part,
        grading=Grading("the share of the key points that is kept", 0.0, 1.0, _kept),
    ),
    Defect(
        "contradict",
        "adds the opposite of what it said in the turn before",
        lowers=("LC",),
        rewrite=rewrites.contradict,
        grading=_TURNS,
    ),
    Defect(
        "written-speech",
        "speaks as one writes: every contraction is spelt out",
        lowers=("CN",),
        rewrite=lambda turn, reference: rewrites.write_out(reference.reply, 1.0),
        grading=Grading("the share of the contractions", 0.0, 1.0, _spelt_out),
    ),
    _spoken("recital", "recites the same facts like an encyclopaedia", ("CN",), "recital"),
    _spoken("evasion", "talks about the question instead of answering it", ("SR",), "evasion"),
    _spoken("vague", "blurs the names and numbers of its answers", ("IC",), "vague"),
    _spoken("false-fact", "gets names, numbers and steps wrong", ("LC",), "false-fact"),
    _spoken("asks-known", "asks again for what the user has said", ("CU",), "asks-known"),
    _spoken("abandon", "breaks its answers off", ("OIE",), "abandon"),
    _spoken("hostile", "says the same in a cold, irritated tone", ("OIE",), "hostile"),
    Defect(
        "broadcast",
        "reads the answer like a newsreader: framed, monotone, without pauses, nods or glances",
        lowers=("CN", "NI"),
        rewrite=rewrites.announce,
        staging=Staging(manner=Manner(newsreader=True), monotone=True),
    ),
    Defect(
        "out-of-sync",
        "moves its lips 0.6 s after the sound",
        lowers=(),
        if_heard=("CN",),
        staging=Staging(manner=Manner(lips_offset_s=0.6)),
    ),
    Defect(
        "silent",
        "moves its lips without a sound: the audio track is there and holds silence",
        # What can't be heard has not been said: no transcriber, and not even a system's own word, makes up for it.
        lowers=("SR", "IC", "CU", "OIE", "kp-recall", "kp-memory", "lexical"),
        seen_offline=("kp-recall", "kp-memory", "lexical"),
        staging=Staging(audio="silence"),
    ),
    Defect(
        "blank",
        "speaks over a black picture",
        lowers=("EA", "NI", "OIE"),
        staging=Staging(blank=True),
    ),
    Defect(
        "broken",
        "writes a file that ends in the middle and can't be played",
        lowers=("outcome",),
        seen_offline=("outcome",),
        staging=Staging(truncated=True),
    ),
)


def defect_of(variant: str) -> Defect:
    """The defect that ``NAME`` or ``NAME@STRENGTH`` names.

    Raises:
        SystemLoadError: there is none of that name, or none of that strength.
    """
    name, at, strength = variant.partition("@")
    if name not in DEFECTS:
        raise SystemLoadError(f"The puppet has no variant {name!r}; it has: {', '.join(DEFECTS)}.")
    if not at:
        return DEFECTS[name]
    try:
        value = float(strength)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise SystemLoadError(f"{strength!r} is no strength of the puppet's variant {name!r}; give a number.")
    return DEFECTS[name].at(value)


DEFECTS: Mapping[str, Defect] = MappingProxyType({defect.name: defect for defect in _ALL})
"""Name -> defect, in the order in which they are listed."""

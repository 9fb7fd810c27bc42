"""The controlled defects: the same puppet with one thing wrong, so that a judge can be tested.

What a defect must lower, and whether the offline judge can see it, is data beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from interbench.systems.events import ReferenceReply, TurnRequest
from interbench.systems.puppet import rewrites
from interbench.systems.puppet.casting import FigurePart
from interbench.systems.puppet.motion import Manner


@dataclass(frozen=True, slots=True)
class Staging:
    """How a clip is made; the defaults are the intact puppet's."""

    manner: Manner = field(default_factory=Manner)
    drift: frozenset[FigurePart] = frozenset()
    """What changes from turn to turn."""
    wrong_mood: bool = False
    monotone: bool = False
    frozen: bool = False
    blank: bool = False
    audio: Literal["speech", "silence"] = "speech"
    """``silence``: the audio track is there, of the same length, and holds nothing but zeros."""
    truncated: bool = False
    """The file is cut in half before its index was written, as by a writer that was killed."""


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
    staging: Staging = Staging()


_ALL = (
    Defect(
        "amnesiac",
        "forgets the earlier turns: leaves out all that only they could have told, and says that it doesn't recall",
        lowers=("CU", "kp-memory"),
        seen_offline=("kp-memory",),
        rewrite=rewrites.forget,
    ),
    Defect(
        "drift",
        "is another person in other clothes at another place in every turn",
        lowers=("MVC", "look"),
        seen_offline=("look",),
        staging=Staging(drift=frozenset({"person", "clothes", "backdrop"})),
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
        staging=Staging(wrong_mood=True),
    ),
    Defect(
        "off-topic",
        "answers the question of another conversation",
        lowers=("SR", "lexical"),
        seen_offline=("lexical",),
        rewrite=rewrites.answer_another,
    ),
    Defect(
        "partial",
        "gives only the first part of the answer",
        lowers=("IC", "kp-recall"),
        seen_offline=("kp-recall",),
        rewrite=rewrites.answer_in_part,
    ),
    Defect(
        "contradict",
        "adds the opposite of what it said in the turn before",
        lowers=("LC",),
        rewrite=rewrites.contradict,
    ),
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
        lowers=("CN",),
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

DEFECTS: Mapping[str, Defect] = MappingProxyType({defect.name: defect for defect in _ALL})
"""Name -> defect, in the order in which they are listed."""

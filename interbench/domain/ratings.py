"""People as judges: what is put before raters, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Defect = Literal["", "frozen", "muted"]
"""What a clip may be spoiled with. ``frozen``: the first frame stays. ``muted``: there is no sound."""


class Kind(StrEnum):
    """What a showing is for. Raters see no difference, but for an instruction."""

    ITEM = "item"
    """A conversation to be rated."""
    PAIR = "pair"
    """Two systems' conversations of one scenario to be compared."""
    REPEAT = "repeat"
    """One of these again, to see whether a rater agrees with themselves."""
    DEFECT = "defect"
    """A conversation with a gross defect: whoever does not lower it was not looking."""
    INSTRUCTED = "instructed"
    """A conversation with the answer to give written beside it."""


@dataclass(frozen=True, slots=True)
class ShownClip:
    """One turn of a conversation as raters get it."""

    name: str
    """Of its file, which tells nothing."""
    duration_s: float
    user_text: str
    reply_text: str
    """What is said in the clip, shown only where there is no sound; empty if nobody knows."""


@dataclass(frozen=True, slots=True)
class Side:
    """One conversation of a showing. The names are for the ledger only and reach no rater."""

    system: str
    scenario: str
    digest: str
    """Of scenario and clips, so that ratings of a conversation that was played anew are told apart."""
    clips: tuple[ShownClip, ...]

    @property
    def play_s(self) -> float:
        """How long it plays."""
        return sum(clip.duration_s for clip in self.clips)


@dataclass(frozen=True, slots=True)
class Showing:
    """What is put before a rater at once: one conversation, or two to be compared."""

    id: str
    """Tells nothing."""
    kind: Kind
    sides: tuple[Side, ...]
    """One, or left and right."""
    dimensions: tuple[str, ...]
    """Keys of what is asked, in order."""
    sound: bool = True
    repeats: str = ""
    """Id of the showing that is shown again."""
    defect: str = ""
    """Key of the gross defect."""
    aims: tuple[str, ...] = ()
    """Keys of the dimensions that a defect lowers."""
    instructed: str = ""
    """The answer to give, as an :attr:`Answer.value` or an :attr:`Answer.choice` is written."""

    @property
    def play_s(self) -> float:
        return sum(side.play_s for side in self.sides)

    @property
    def scenario(self) -> str:
        return self.sides[0].scenario


WHOLE = ""
"""Dimension of an answer that closes a whole showing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a rater said of one dimension of one showing, or, of :data:`WHOLE`, that they are done with it.

    The highest revision counts.
    """

    rater: str
    showing: str
    dimension: str
    revision: int
    value: float | None = None
    """On the study's scale."""
    choice: str | None = None
    """Of two: left, right, tie or both_bad."""
    skipped: str = ""
    """Why a showing was skipped; only of :data:`WHOLE`."""
    seconds: float = 0.0
    """Since the showing was begun, by the page's monotonic clock."""
    played: float = 0.0
    """Share of the showing that was played."""
    at: str = ""
    """The day's time, ISO 8601; for people: nothing is ordered by it."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What a rater says at the end."""

    rater: str
    recognised: bool
    """Whether they believe to have known a system."""
    note: str = ""

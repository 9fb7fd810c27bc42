"""How one clip is made. Light to import: every process that renders starts with it, and few are told of a defect."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from interbench.systems.puppet.casting import FigurePart
from interbench.systems.puppet.motion import Manner


@dataclass(frozen=True, slots=True)
class Staging:
    """How a clip is made; the defaults are the intact puppet's."""

    manner: Manner = field(default_factory=Manner)
    drift: frozenset[FigurePart] = frozenset()
    """What changes from turn to turn."""
    drifting: float = 1.0
    """Share of the turns in which it does; see :func:`touched`."""
    wrong_mood: float = 0.0
    """Share of the turns in which the opposite mood is shown; see :func:`touched`."""
    affect: float = 1.0
    """How much of the expression is shown; the voice keeps all of it."""
    monotone: bool = False
    frozen: bool = False
    blank: bool = False
    audio: Literal["speech", "silence"] = "speech"
    """``silence``: the audio track is there, of the same length, and holds nothing but zeros."""
    truncated: bool = False
    """The file is cut in half before its index was written, as by a writer that was killed."""


def touched(turn: int, share: float) -> bool:
    """Whether ``turn`` (1-based) is among the ``share`` of the turns that a defect touches, spread evenly."""
    return math.floor(turn * share + 1e-9) > math.floor((turn - 1) * share + 1e-9)

"""Judges: what turns a played conversation into verdicts, and what a judge of your own leans on.

The names below are kept; everything else in this room is inside and may change. They are imported when they are used.
"""

from typing import TYPE_CHECKING

from interbench.base.lazy import on_demand

if TYPE_CHECKING:
    from interbench.base.errors import JudgeError, MediaError, UsageError
    from interbench.base.options import Inline
    from interbench.domain.dimensions import DIMENSIONS, Dimension
    from interbench.domain.records import (
        ClipFacts,
        Missing,
        Outcome,
        PlayedConversation,
        PlayedTurn,
        Transcript,
        Verdict,
        Word,
    )
    from interbench.domain.scenario import KeyPoint, Scenario, Turn
    from interbench.judge.base import Judge, JudgeTask
    from interbench.media.pool import MediaPool
else:
    __getattr__ = on_demand(
        __name__,
        {
            "interbench.base.errors": (
                "JudgeError",
                "MediaError",
                "UsageError",
            ),
            "interbench.base.options": ("Inline",),
            "interbench.domain.dimensions": (
                "DIMENSIONS",
                "Dimension",
            ),
            "interbench.domain.records": (
                "ClipFacts",
                "Missing",
                "Outcome",
                "PlayedConversation",
                "PlayedTurn",
                "Transcript",
                "Verdict",
                "Word",
            ),
            "interbench.domain.scenario": (
                "KeyPoint",
                "Scenario",
                "Turn",
            ),
            "interbench.judge.base": (
                "Judge",
                "JudgeTask",
            ),
            "interbench.media.pool": ("MediaPool",),
        },
    )

__all__ = [
    "DIMENSIONS",
    "ClipFacts",
    "Dimension",
    "Inline",
    "Judge",
    "JudgeError",
    "JudgeTask",
    "KeyPoint",
    "MediaError",
    "MediaPool",
    "Missing",
    "Outcome",
    "PlayedConversation",
    "PlayedTurn",
    "Scenario",
    "Transcript",
    "Turn",
    "UsageError",
    "Verdict",
    "Word",
]

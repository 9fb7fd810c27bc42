"""The seam between the harness and judges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.domain.records import PlayedConversation, Verdict

Shown = Literal["timings", "speaking", "details"]


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """One verdict to be given."""

    dimension: str
    sample: int = 0


class Judge(ABC):
    """Gives verdicts on played conversations."""

    label: str
    """Shown in tables, e.g. ``signals`` or ``Qwen3-VL-30B-A3B-Instruct``. Tables never mix two labels or identities."""
    dimensions: tuple[str, ...] = DIMENSION_KEYS
    """Keys of what it is asked for a verdict on, in this order: dimensions, or measures
    (:data:`interbench.domain.dimensions.MEASURES`)."""
    comparable: bool = True
    """False for a judge whose figures must not be set beside those of a vision-language model."""
    hands_over_files: bool = False
    """Whether clips go as they are to a program of someone else's, which shows them by its own lights. Such a judge
    gets plain copies (:attr:`interbench.domain.records.PlayedTurn.copy`) of those clips that not every loader shows as
    a player does."""
    shown: frozenset[Shown] = frozenset()
    """What it is shown beside clips and transcripts: ``timings`` (how long the user waited, when words were said),
    ``speaking`` (:attr:`~interbench.domain.records.PlayedTurn.speaking`), ``details`` (of the clips, as stills of their
    own). Measured for those judges only that ask for it."""
    channels: frozenset[Literal["picture", "words", "sound"]] = frozenset({"picture", "words"})
    """What it perceives of a clip. One that hears the sound says so: audits then expect it to notice what is wrong
    with it."""
    max_conversations: int = 4
    """Conversations the harness hands over at a time; a judge with a server to mind schedules within them itself."""

    without_transcripts: frozenset[str] = frozenset()
    """Keys of the dimensions that it judges also where a turn has no transcript."""

    tell: Callable[[str], None] = staticmethod(lambda line: None)
    """Shows the user a line, such as why it waits; set by the harness before :meth:`start`."""

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything that could change a verdict (model, settings, prompt hashes), without secrets.

        Its hash is part of the ledger's key: another identity never reuses these verdicts. Asked after :meth:`start`,
        when a server has said what it serves.
        """

    async def start(self) -> None:
        """Check the judge's server and settings before anything is spent.

        Raises:
            interbench.base.errors.JudgeError: saying what to do.
        """

    def likeness(self) -> Mapping[str, Any] | None:
        """What tells this judge from others of the same identity, as JSON; None if nothing does. Not hashed.

        Asked after :meth:`start`; the run keeps the first one under the identity.
        """
        return None

    def recognise(self, likeness: Mapping[str, Any]) -> None:
        """Compare with the :meth:`likeness` that a judge of the same identity had when it began this run.

        Raises:
            interbench.base.errors.JudgeError: it was another judge, so the verdicts must not be mixed.
        """

    @abstractmethod
    def judge(self, conversation: PlayedConversation, tasks: Sequence[JudgeTask]) -> AsyncIterator[Verdict]:
        """One verdict per task, each yielded as soon as it is known, in any order.

        Every turn of ``conversation`` has a clip and, but for :attr:`without_transcripts`, a transcript: the harness
        itself records the verdicts of others as missing. An answer that can't be had is yielded as a verdict with
        ``missing``, not raised; :class:`interbench.base.errors.JudgeError` stops the run.
        """

    async def forget(self) -> bool:
        """Let go of everything that is kept of earlier judgements (caches here and in servers), so that the next one is
        given as the first was; whether that is certain. Asked after :meth:`start`."""
        return False

    def summary(self) -> Mapping[str, Any]:
        """Figures over the whole run for the manifest and the closing lines (tokens computed, reused, calls ...)."""
        return {}

    async def stop(self) -> None:
        """Release everything."""

"""Plain copies of clips, for judges that hand files to programs of others; made once and kept with the run."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from interbench.domain.records import COPY_RECIPE, ClipFacts, PlainCopy, PlayedConversation, PlayedTurn
from interbench.store.clips import clip_problem
from interbench.store.run_folder import Run

if TYPE_CHECKING:
    from interbench.media.pool import MediaPool


class PlainCopies:
    """Gives clips that not every loader shows as a player does a copy that every loader shows so.

    Args:
        run: the run folder, open for writing.
        media: makes the copies.
    """

    def __init__(self, run: Run, media: MediaPool) -> None:
        self._run = run
        self._media = media
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.given_out: dict[str, str] = {}
        """Why, by the SHA-256 of the clip, for each copy that was given to a judge."""

    async def given(self, conversation: PlayedConversation) -> PlayedConversation:
        """The conversation with copies where they are needed.

        Raises:
            MediaError: a clip can't be copied.
        """
        return replace(conversation, turns=tuple([await self._turn(turn) for turn in conversation.turns]))

    async def _turn(self, turn: PlayedTurn) -> PlayedTurn:
        if turn.clip is None or turn.facts is None:
            return turn
        clip, facts = turn.clip, turn.facts
        if facts.not_plain is None:
            # Recorded by a version that did not ask, and that gave the size of the stored picture.
            facts = await self._media.inspect(clip)
            turn = replace(turn, facts=facts)
        if not facts.not_plain:
            return turn
        async with self._making[facts.sha256]:
            copy, about = await self._copy(clip, facts)
        self.given_out[facts.sha256] = facts.not_plain
        return replace(turn, copy=PlainCopy(copy, about, facts.not_plain))

    async def _copy(self, clip: Path, facts: ClipFacts) -> tuple[Path, ClipFacts]:
        target = self._run.copy_path(facts.sha256).resolve()
        known = self._run.copies(COPY_RECIPE).get(facts.sha256)
        if known is not None and await asyncio.to_thread(clip_problem, target, known) is None:
            return target, known
        unfinished = target.with_name(f"{target.stem}.part{target.suffix}")
        await asyncio.to_thread(target.parent.mkdir, exist_ok=True)
        about = await self._media.plain_copy(clip, unfinished)
        await asyncio.to_thread(os.replace, unfinished, target)
        self._run.record_copy(facts.sha256, COPY_RECIPE, about)
        return target, about

"""What some judges are shown beside clips and transcripts: when speech is heard, and details of the picture."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from interbench.domain.records import (
    LEAST_PAUSE_S,
    ClipFacts,
    Detail,
    PlayedConversation,
    PlayedTurn,
    Speaking,
    Transcript,
)
from interbench.media.activity import heard
from interbench.store.clips import clip_problem
from interbench.store.run_folder import Run

if TYPE_CHECKING:
    from interbench.judge.base import Shown
    from interbench.media.pool import MediaPool

DETAIL_FPS = 8
OPENING_S = 2.0
"""Of every answer its first seconds are shown in detail."""
AROUND_PAUSE_S = 1.0
"""Length of the window round the middle of a pause."""
MOST_PAUSES = 4
"""The longest pauses of an answer that are shown in detail."""
DETAIL_FRAMES = 32
"""Most stills of one detail, so that a judge that takes 32 frames of a video takes all of them."""
_RECIPE = 1
"""Version of how details are made; those of another version are made again."""
_MOST_WORD_GAP_S = 600.0


class Evidence:
    """Measures what a judge asks to be shown, and makes details of clips, once each; they are kept with the run.

    Args:
        run: the run folder, open for writing.
        media: decodes.
    """

    def __init__(self, run: Run, media: MediaPool) -> None:
        self._run = run
        self._media = media
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def given(self, conversation: PlayedConversation, shown: Collection[Shown]) -> PlayedConversation:
        """The conversation with what is ``shown`` of it.

        Raises:
            MediaError: a clip can't be read.
        """
        if not {"speaking", "details"} & set(shown):
            return conversation
        turns = [await self._turn(turn, details="details" in shown) for turn in conversation.turns]
        return replace(conversation, turns=tuple(turns))

    async def _turn(self, turn: PlayedTurn, *, details: bool) -> PlayedTurn:
        clip, facts = turn.clip, turn.facts
        if clip is None or facts is None:
            return turn
        speaking = None if turn.transcript is None else by_words(turn.transcript)
        if speaking is None and facts.audible:
            speaking = await self._by_level(clip)
        turn = replace(turn, speaking=speaking)
        if not details:
            return turn
        groups = detail_parts(facts, speaking)
        return replace(turn, details=tuple([await self._detail(clip, facts, parts) for parts in groups]))

    async def _by_level(self, clip: Path) -> Speaking | None:
        from interbench.media.pool import AUDIO_RATE

        samples = await self._media.audio(clip)
        found = None if samples is None else await asyncio.to_thread(heard, samples, AUDIO_RATE, LEAST_PAUSE_S)
        return None if found is None else Speaking(*found, by="level")

    async def _detail(self, clip: Path, facts: ClipFacts, parts: Sequence[tuple[float, float]]) -> Detail:
        named = json.dumps([facts.sha256, parts, DETAIL_FPS])
        name = f"{facts.sha256[:32]}-{hashlib.sha256(named.encode()).hexdigest()[:16]}"
        async with self._making[name]:
            target = self._run.copy_path(name).resolve()
            known = self._run.copies(_RECIPE_KEY).get(name)
            if known is None or await asyncio.to_thread(clip_problem, target, known) is not None:
                unfinished = target.with_name(f"{target.stem}.part{target.suffix}")
                await asyncio.to_thread(target.parent.mkdir, exist_ok=True)
                known = await self._media.excerpt(clip, unfinished, parts, DETAIL_FPS)
                await asyncio.to_thread(os.replace, unfinished, target)
                self._run.record_copy(name, _RECIPE_KEY, known)
        return Detail(target, known, tuple(parts), DETAIL_FPS)


_RECIPE_KEY = 1000 + _RECIPE
"""Under which details are kept among the run's copies: no recipe of a plain copy has such a number."""


def by_words(transcript: Transcript) -> Speaking | None:
    """Read off word times; None where the transcriber gives none."""
    words = sorted(transcript.words, key=lambda word: word.start_s)
    if not words:
        return None
    end, pauses = words[0].end_s, []
    for word in words[1:]:
        if LEAST_PAUSE_S < word.start_s - end < _MOST_WORD_GAP_S:
            pauses.append((end, word.start_s))
        end = max(end, word.end_s)
    return Speaking(words[0].start_s, end, tuple(pauses), by="words")


def detail_parts(facts: ClipFacts, speaking: Speaking | None) -> list[tuple[tuple[float, float], ...]]:
    """Which parts of a clip are shown in detail, in groups of at most :data:`DETAIL_FRAMES` stills.

    Its beginning, and a window round the middle of each of its longest pauses that lasts beyond what is shown already.
    """
    length = facts.frames / facts.fps
    parts = [(0.0, min(OPENING_S, length))]
    pauses = () if speaking is None else speaking.pauses
    longest = sorted(pauses, key=lambda pause: pause[0] - pause[1])[:MOST_PAUSES]
    for start, end in sorted(longest):
        begin = max(parts[-1][1], min((start + end - AROUND_PAUSE_S) / 2, length - AROUND_PAUSE_S))
        if begin < end and begin + AROUND_PAUSE_S <= length:
            parts.append((round(begin, 3), round(begin + AROUND_PAUSE_S, 3)))
    groups: list[tuple[tuple[float, float], ...]] = []
    for part in parts:
        stills = round((part[1] - part[0]) * DETAIL_FPS)
        held = sum(round((to - start) * DETAIL_FPS) for start, to in groups[-1]) if groups else DETAIL_FRAMES
        if held + stills > DETAIL_FRAMES:
            groups.append(())
        groups[-1] = (*groups[-1], part)
    return groups

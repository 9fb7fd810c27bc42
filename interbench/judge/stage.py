"""The judging stage: complete conversations in, verdicts into the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from interbench.base.errors import MediaError
from interbench.base.foreign import kept_json, mended, number
from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.domain.records import Missing, PlayedConversation, Verdict
from interbench.judge.base import Judge, JudgeTask
from interbench.judge.copies import PlainCopies
from interbench.judge.evidence import Evidence
from interbench.store.clips import clip_problem
from interbench.store.run_folder import Run, identity_key

if TYPE_CHECKING:
    from interbench.media.pool import MediaPool

_LONGEST = 100_000
"""Characters of a judge's reasons that are kept."""


def conversation_digest(conversation: PlayedConversation, shown: Collection[str] = ()) -> str:
    """Hash of everything a judge may base a verdict on: scenario, outcomes, clips, transcripts.

    Args:
        shown: what else the judge is shown (:attr:`interbench.judge.base.Judge.shown`).
    """
    turns: list[dict[str, Any]] = [
        {
            "turn": turn.index,
            "outcome": turn.outcome.value,
            "clip": None if turn.facts is None else turn.facts.sha256,
            "transcript": None if turn.transcript is None else turn.transcript.text,
            "error": None if turn.transcript is None else turn.transcript.error,
        }
        for turn in conversation.turns
    ]
    for turn, author, of in zip(conversation.turns, conversation.scenario.turns, turns, strict=True):
        if turn.user_text != author.text:
            of["user"] = turn.user_text
    if "timings" in shown:
        for turn, of in zip(conversation.turns, turns, strict=True):
            waited, words = turn.timings, () if turn.transcript is None else turn.transcript.words
            of["waited"] = None if waited is None or waited.resumed else [waited.first_frame_s, waited.first_speech_s]
            of["words"] = [[word.start_s, word.end_s] for word in words]
    return identity_key({"scenario": conversation.scenario.digest(), "turns": turns})


class JudgingStage:
    """Gives every conversation its verdicts.

    Args:
        judge: started by the stage.
        run: the run folder, open for writing.
        repeats: judgements of every dimension.
        media: makes plain copies of clips, for a judge that hands files over.
    """

    def __init__(self, judge: Judge, run: Run, repeats: int, media: MediaPool) -> None:
        self._judge = judge
        self._run = run
        self._repeats = repeats
        self.copies = PlainCopies(run, media)
        self._evidence = Evidence(run, media)
        self._slots = asyncio.Semaphore(judge.max_conversations)
        self.key = ""
        """Under which the verdicts are kept."""

    async def __aenter__(self) -> Self:
        await self._judge.start()
        identity = {**self._judge.identity(), "comparable": self._judge.comparable}
        if self._judge.dimensions != DIMENSION_KEYS:
            identity["dimensions"] = list(self._judge.dimensions)
        if self._judge.shown:
            identity["shown"] = sorted(self._judge.shown)
        self.key = self._run.identify("judge", self._judge.label, identity)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._judge.stop()

    @property
    def judge(self) -> Judge:
        return self._judge

    def pending(self, conversation: PlayedConversation) -> list[JudgeTask]:
        """Verdicts that the ledger does not hold, or holds as missing for a passing reason."""
        digest = conversation_digest(conversation, self._judge.shown)
        held = {
            (verdict.dimension, verdict.sample)
            for seen, verdict in self._run.verdicts(self.key, conversation.system, conversation.scenario.id)
            if seen == digest and not verdict.retryable
        }
        wanted = [(key, sample) for sample in range(self._repeats) for key in self._judge.dimensions]
        return [JudgeTask(dimension, sample) for dimension, sample in wanted if (dimension, sample) not in held]

    async def give(self, conversation: PlayedConversation) -> list[Verdict]:
        """Judge what is pending; every verdict is in the ledger as soon as it is known."""
        tasks = self.pending(conversation)
        if not tasks:
            return []
        digest = conversation_digest(conversation, self._judge.shown)
        given: list[Verdict] = []
        blocked: Sequence[JudgeTask] = tasks
        problem = await asyncio.to_thread(self._clip_problem, conversation)
        if problem is None and (reason := conversation.why_no_clip()):
            problem = (Missing.INCOMPLETE, reason)
        if problem is None and (reason := conversation.why_no_transcript()):
            problem = (Missing.NO_TRANSCRIPT, reason)
            blocked = [task for task in tasks if task.dimension not in self._judge.without_transcripts]
        if problem is not None:
            given += self._not_judged(conversation, blocked, problem, digest)
            tasks = [task for task in tasks if task not in blocked]
        if tasks:
            try:
                if self._judge.hands_over_files:
                    conversation = await self.copies.given(conversation)
                conversation = await self._evidence.given(conversation, self._judge.shown)
            except MediaError as error:
                unreadable = f"What the judge needs can't be made or measured of a clip: {error}"
                given += self._not_judged(conversation, tasks, (Missing.CLIP_UNREADABLE, unreadable), digest)
                tasks = []
        if not tasks:
            return given
        open_tasks = {(task.dimension, task.sample): task for task in tasks}
        async with self._slots:
            verdicts = self._judge.judge(conversation, tasks)
            async with contextlib.aclosing(verdicts):  # type: ignore[type-var]
                async for verdict in verdicts:
                    if open_tasks.pop((verdict.dimension, verdict.sample), None) is None:
                        continue
                    given.append(_kept(verdict))
                    self._run.record_verdict(given[-1], self.key, digest)
        for task in open_tasks.values():
            given.append(_missing(conversation, task, Missing.SERVER_ERROR, "the judge ended without a verdict"))
            self._run.record_verdict(given[-1], self.key, digest)
        return given

    def _not_judged(
        self, conversation: PlayedConversation, tasks: Sequence[JudgeTask], problem: tuple[Missing, str], digest: str
    ) -> list[Verdict]:
        """Record the ``tasks`` as missing."""
        verdicts = [_missing(conversation, task, *problem) for task in tasks]
        for verdict in verdicts:
            self._run.record_verdict(verdict, self.key, digest)
        return verdicts

    def _clip_problem(self, conversation: PlayedConversation) -> tuple[Missing, str] | None:
        """Why a clip can't be shown to a judge, of the first that can't; reads the clips."""
        for turn in conversation.turns:
            if turn.clip is not None and turn.facts is not None:
                problem = clip_problem(turn.clip, turn.facts)
                if problem is not None:
                    return Missing(problem.code), f"Turn {turn.index}: {problem.message}"
        return None


def _kept(verdict: Verdict) -> Verdict:
    """A verdict as it can be kept: texts mended, and no score that is no number."""
    score, missing, reasons = verdict.score, verdict.missing, mended(verdict.reasons, _LONGEST)
    if score is not None and number(score, -math.inf) is None:
        score, missing, reasons = None, Missing.OUT_OF_SCALE, f"the judge gave the score {verdict.score}. {reasons}"
    expected = None if verdict.expected_score is None else number(verdict.expected_score, -math.inf)
    return replace(
        verdict,
        score=score,
        missing=missing,
        reasons=reasons,
        evidence=kept_json(verdict.evidence),
        expected_score=expected,
    )


def _missing(conversation: PlayedConversation, task: JudgeTask, missing: Missing, reason: str) -> Verdict:
    return Verdict(
        conversation.system,
        conversation.scenario.id,
        task.dimension,
        task.sample,
        missing=missing,
        reasons=reason,
    )

"""One conversation in real time, whatever carries it: the user's line goes in at its own pace, the answer is heard,
ends, and becomes a clip of its own; a line may be spoken into the answer before.

What a transport has to do stands in the hooks of :class:`LiveConversation`.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from interbench.base.foreign import mended
from interbench.domain.incidents import Incident, IncidentKind
from interbench.media.activity import heard
from interbench.systems.base import Conversation
from interbench.systems.events import (
    Blocked,
    Completed,
    Event,
    Failed,
    FirstSound,
    JsonValue,
    ReplyText,
    Shows,
    Submitting,
    TimedOut,
    TurnRequest,
    UserTurnEnd,
)
from interbench.systems.live.timeline import FLOOR_DB, SoundMark, Timeline
from interbench.systems.live.troubles import troubles

USER_RATE = 16_000
CHUNK_S = 0.02
LEAD_S = 0.4
"""Of the picture before the first sound that belongs to the clip: a mouth opens before it is heard."""
TAIL_S = 0.4
_LOOK_S = 0.1
_SILENT_S = 0.5
"""So long nothing is heard once an answer has ended by the service's own word, or was interrupted."""
_CUT_S = 0.3
"""So long nothing is heard once an avatar has let itself be interrupted; the next answer may begin soon after."""
_TALKS_ON_S = 5.0
"""So long after the interrupting line an avatar is waited for to fall silent."""
_AT_ONCE_S = 0.3
"""An answer is going on while it was last heard so short a time ago."""

Pcm = npt.NDArray[np.int16]


class Feed(Protocol):
    """Where pictures and sounds arrive (:mod:`interbench.systems.live.timeline`)."""

    timeline: Timeline

    def position(self, wall: float) -> float:
        """The feed time of a reading of the harness's clock."""
        ...

    def keep(self, keeping: bool) -> None:
        """Whether what comes from now on may belong to an answer."""
        ...

    def begin_clip(self, path: Path, start: float) -> None:
        """A clip begins at feed time ``start``."""
        ...

    def commit(self, until: float) -> None:
        """What lies before that feed time belongs to the clip."""
        ...

    async def end_clip(self, end: float) -> int:
        """The clip ends there and is written; how many pictures it has."""
        ...

    async def drop_clip(self) -> None:
        """The clip comes to no end."""
        ...


class LostError(Exception):
    """The connection is gone; the message says why."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long is waited for what."""

    first_sound_s: float = 30.0
    """For the answer's first sound after the user's line."""
    end_silence_s: float = 2.0
    """Silence that ends an answer of which the service does not say that it has ended."""
    longest_s: float = 120.0
    """Longest answer; one that goes on is cut there."""


@dataclass(slots=True)
class _Spoken:
    """A line that was begun during the answer before."""

    began: float
    task: asyncio.Task[float]
    """Gives when the line ended."""
    facts: dict[str, JsonValue]
    silent: float | None = None
    """Feed time at which the answer that it cut had fallen silent."""


@dataclass(slots=True)
class Answer:
    """What is known of the answer that is being heard."""

    text: list[str] = field(default_factory=list)
    over: bool = False
    """The service says that it has ended."""
    blocked: str = ""
    """The service's words, if it refuses to answer."""
    notices: list[str] = field(default_factory=list)
    detail: dict[str, JsonValue] = field(default_factory=dict)


class LiveConversation(Conversation):
    """A conversation in real time. A transport implements the hooks and fills :attr:`feed` and :attr:`answer`."""

    feed: Feed

    marks_interruptions = False
    """Whether the transport begins a new :attr:`answer` itself once the service says that one was interrupted."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.answer = Answer()
        self.incidents: list[Incident] = []
        self._into: _Spoken | None = None
        self._ahead: tuple[Path, Pcm] | None = None
        """The line that is to interrupt, decoded before its time."""
        self._threshold = FLOOR_DB
        self._missed = ""
        """Why the line that was to interrupt did not."""

    # -- hooks ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def clock(self) -> float:
        """Monotonic seconds, those of the feed's arrivals."""

    @abstractmethod
    async def pcm(self, audio: Path) -> npt.NDArray[np.float32]:
        """A recording as mono samples at 16 kHz."""

    @abstractmethod
    async def begin_line(self, text: str, spoken: bool) -> None:
        """The user begins to speak (``spoken``) or to type."""

    @abstractmethod
    async def send_sound(self, chunk: Pcm) -> None:
        """The next 20 ms of the user's line, 16 kHz; called at the pace at which it is spoken."""

    @abstractmethod
    async def end_line(self, turn: TurnRequest | None) -> None:
        """The last sound of the line has been sent; ``turn`` is None for a line that interrupts."""

    async def interrupt(self) -> None:
        """A line begins while the answer goes on; where the service does not hear that for itself, tell it."""

    def why_gone(self) -> str:
        """Why the connection is gone; empty while it is there."""
        return ""

    def remembered(self, answer: Answer) -> str | None:
        """After an interruption: what the service takes the avatar to have said; None if it does not say."""
        return None

    async def after_interruption(self, turn: TurnRequest) -> None:
        """The line of ``turn`` was spoken into the answer before; whoever has to be told what to answer is told."""

    def final_text(self, turn: TurnRequest, answer: Answer, *, interrupted: bool) -> str:
        """What was said in an answer, where that is known only now."""
        return ""

    def check(self, turn: TurnRequest, first: float, last: float) -> list[Incident]:
        """Incidents that only this transport can tell, of an answer that was heard between these feed times."""
        return []

    async def still(self, clip: Path, workdir: Path) -> Path | None:
        """The face that this conversation shows, as PNG below ``workdir``; None where it is the persona's, or was told
        before."""
        return None

    def charged_s(self, answer_s: float) -> float:
        """Seconds that the turn is charged for."""
        return answer_s

    def usd(self, seconds: float) -> float | None:
        """What so many seconds cost; None if that is not known."""
        return 0.0

    # -- a turn ---------------------------------------------------------------------------------------------------

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        into, self._into = self._into, None
        missed, self._missed = self._missed, ""
        detail: dict[str, JsonValue] = {}
        if into is not None:
            detail["barge_in"] = into.facts
        elif missed:
            detail["barge_in"] = {"done": False, "why": missed}
        price = self.usd(self.pace.longest_s)
        if price != 0:
            yield Submitting(self.pace.longest_s, price)
        try:
            if turn.barge_in is not None and turn.barge_in.audio is not None:
                self._ahead = turn.barge_in.audio, spoken(await self.pcm(turn.barge_in.audio))
            self.feed.keep(True)
            if into is None:
                self.answer = Answer()
                self.feed.timeline.forget(self.feed.position(self.clock()) - 5.0)
                detail["sent"] = await self._say(turn)
                ended = self.clock()
                yield UserTurnEnd()
            else:
                detail["sent"] = "audio" if self.hears else "text"
                ended = await into.task
                await self.after_interruption(turn)
                yield UserTurnEnd(max(0.0, self.clock() - ended))
            silent = None if into is None else into.silent
            hearing = self._hear(turn, ended, detail, interrupting=into is not None, silent=silent)
            async with contextlib.aclosing(hearing) as events:
                async for event in events:
                    yield event
        except LostError as lost:
            yield Incident(IncidentKind.CONNECTION_LOST)
            yield Failed("connection_lost", str(lost), transient=True, detail=detail)
        finally:
            await self.feed.drop_clip()
            self.feed.keep(self._into is not None)

    async def _hear(
        self,
        turn: TurnRequest,
        ended: float,
        detail: dict[str, JsonValue],
        *,
        interrupting: bool,
        silent: float | None = None,
    ) -> AsyncGenerator[Event, None]:
        """From the end of the user's line to the end of the answer; ``silent``: when the one that it cut ended."""
        feed, timeline, answer = self.feed, self.feed.timeline, self.answer
        since = feed.position(ended) if silent is None else max(feed.position(ended), silent)
        # Before a line that interrupts, the answer is heard, and not the idle sound.
        threshold = self._threshold if interrupting else timeline.threshold(since)
        self._threshold = threshold
        first = await self._first_sound(since, threshold, ended)
        if first is None:
            for event in self._unanswered(answer, detail, interrupting):
                yield event
            return
        yield FirstSound(max(0.0, self.clock() - first.at))
        start = max(since, first.t - LEAD_S)
        detail["idle_s"] = round(start - since, 3)
        path = turn.workdir / "answer.mp4"
        feed.begin_clip(path, start)
        said = 0
        last = first
        told: str | None
        while True:
            last = timeline.last_audible(first.t, threshold) or last
            if (cut := self._cut(threshold)) is not None:
                last, told = cut, ""
                break
            feed.commit(last.t + TAIL_S)
            for piece in answer.text[said:]:
                yield ReplyText(piece)
            said = len(answer.text)
            if (told := self._ended(turn, first, last)) is not None:
                break
            if answer.over and (told := self.why_gone()):
                break  # whoever leaves after the last word has answered
            self._lost()
            await timeline.wait(_LOOK_S)
        if told:
            answer.notices.append(told)
        pictures = await feed.end_clip(min(last.t + TAIL_S, self._latest(last)))
        for incident in [*troubles(timeline, first.t, last.t, start, threshold), *self.check(turn, first.t, last.t)]:
            yield incident
        for incident in self.incidents:
            yield incident
        self.incidents.clear()
        answer_s = last.t - start + TAIL_S
        detail |= answer.detail
        if answer.notices:
            detail["notices"] = [mended(notice) for notice in answer.notices]
        if not pictures:
            yield Failed("no_picture", "an answer was heard, and not one picture of it came", detail=detail)
            return
        if text := self.final_text(turn, answer, interrupted=self._into is not None):
            yield ReplyText(text)
        if self._into is not None:
            self._into.facts["remembered"] = self.remembered(answer)
            if self.answer is answer:
                self.answer = Answer()
        elif (still := await self.still(path, turn.workdir)) is not None:
            yield Shows(still)
        seconds = round(self.charged_s(answer_s), 3)
        usd = self.usd(seconds)
        ago = max(0.0, self.clock() - last.at)
        yield Completed(path, detail, cost_usd=usd, video_s=seconds, ago_s=ago)

    def _latest(self, last: SoundMark) -> float:
        """Feed time up to which there is anything."""
        timeline = self.feed.timeline
        ends = [mark.t for mark in (timeline.latest, *timeline.pictures[-1:]) if mark is not None]
        return max(last.t + CHUNK_S, *ends) if ends else last.t + CHUNK_S

    async def _first_sound(self, since: float, threshold: float, ended: float) -> SoundMark | None:
        timeline = self.feed.timeline
        while True:
            if (found := timeline.first_audible(since, threshold)) is not None:
                return found
            waited = self.clock() - ended
            if waited > self.pace.first_sound_s or self.answer.blocked:
                return None
            if self.answer.over and waited > self.pace.end_silence_s:
                return None
            self._lost()
            await timeline.wait(_LOOK_S)

    def _unanswered(self, answer: Answer, detail: dict[str, JsonValue], interrupting: bool) -> list[Event]:
        """The events of a turn in which nothing was heard."""
        detail |= answer.detail
        if answer.text:
            detail["unheard_text"] = mended("".join(answer.text))
        if answer.blocked:
            return [Blocked("refused", mended(answer.blocked), detail)]
        kind = IncidentKind.SILENCE_AFTER_INTERRUPTION if interrupting else IncidentKind.NO_ANSWER
        if answer.over:
            message = "the service says that the answer has ended, and nothing was heard of it"
            return [Incident(kind), Failed("silent", message, transient=True, detail=detail)]
        return [Incident(kind), TimedOut(f"nothing was heard within {self.pace.first_sound_s:g} s", detail)]

    def _ended(self, turn: TurnRequest, first: SoundMark, last: SoundMark) -> str | None:
        """Whether the answer has ended: None if not, else what is odd about its end, mostly nothing."""
        now = self.clock()
        latest = self.feed.timeline.latest
        # Silence is what was received as such: a track that has died is not silent, it is gone.
        silent_s = 0.0 if latest is None else max(0.0, latest.t - last.t)
        dead_s = now - (latest.at if latest is not None else first.at)
        silent_s = max(silent_s, dead_s if dead_s > 1.0 else 0.0)
        if self._into is not None:
            return self._fallen_silent(now, last, silent_s)
        going_on = silent_s <= _AT_ONCE_S and not (self.answer.over and silent_s > CHUNK_S * 2)
        if turn.barge_in is not None and now >= first.at + turn.barge_in.after_s and going_on:
            self._speak_into(turn, now, first)
            return None
        if silent_s >= (_SILENT_S if self.answer.over else self.pace.end_silence_s):
            if turn.barge_in is not None:
                self._missed = f"the answer had ended before {turn.barge_in.after_s:g} s of it were heard"
            return ""
        if now - first.at > self.pace.longest_s:
            if turn.barge_in is not None:
                self._missed = "the answer was cut before"
            return f"the answer went on for more than {self.pace.longest_s:g} s and was cut there"
        return None

    def _cut(self, threshold: float) -> SoundMark | None:
        """The last sound of an answer that was interrupted; None while it is not, or goes on."""
        into = self._into
        if into is None:
            return None
        last = self.feed.timeline.fell_silent(self.feed.position(into.began), threshold, _CUT_S)
        if last is not None:
            into.silent = last.t + _CUT_S / 2
            into.facts["time_to_silence_s"] = round(max(0.0, last.at - into.began), 3)
        return last

    def _fallen_silent(self, now: float, last: SoundMark, silent_s: float) -> str | None:
        assert self._into is not None
        if silent_s >= _SILENT_S:
            self._into.facts["time_to_silence_s"] = round(max(0.0, last.at - self._into.began), 3)
            return ""
        task = self._into.task
        if task.done() and now - (task.result() if not task.exception() else now - 1e6) > _TALKS_ON_S:
            self._into.facts["time_to_silence_s"] = None
            self.incidents.append(Incident(IncidentKind.TALKS_ON, note="still heard when no longer waited for"))
            return "the avatar went on speaking after it was interrupted; the clip ends there"
        return None

    def _speak_into(self, turn: TurnRequest, now: float, first: SoundMark) -> None:
        assert turn.barge_in is not None
        line = turn.barge_in
        facts: dict[str, JsonValue] = {
            "done": True,
            "wanted_after_s": line.after_s,
            "after_s": round(now - first.at, 3),
            "time_to_silence_s": None,
        }

        if not self.marks_interruptions:
            self.answer = Answer()

        async def speak() -> float:
            await self.interrupt()
            await self._line(line.text, line.audio, None)
            return self.clock()

        self._into = _Spoken(now, asyncio.get_running_loop().create_task(speak()), facts)

    async def _say(self, turn: TurnRequest) -> str:
        return await self._line(turn.text, turn.audio, turn)

    async def _line(self, text: str, audio: Path | None, turn: TurnRequest | None) -> str:
        """Say the user's line at its own pace; what was sent."""
        speech = None
        if audio is not None:
            ready = self._ahead
            speech = ready[1] if ready is not None and ready[0] == audio else spoken(await self.pcm(audio))
        if speech is not None and not self.hears:
            if turn is None:
                await asyncio.sleep(len(speech) / USER_RATE)  # nobody hears the line, and it takes its time
            speech = None
        await self.begin_line(text, speech is not None)
        if speech is not None:
            due = self.clock()
            size = round(CHUNK_S * USER_RATE)
            for start in range(0, len(speech), size):
                chunk = speech[start : start + size]
                await self.send_sound(np.pad(chunk, (0, size - len(chunk))))
                due += CHUNK_S
                self._lost()
                await asyncio.sleep(max(0.0, due - self.clock()))
        await self.end_line(turn)
        return "text" if speech is None else "audio"

    @property
    def hears(self) -> bool:
        """Whether the user's sound is sent; otherwise the words are."""
        return True

    def _lost(self) -> None:
        if why := self.why_gone():
            raise LostError(why)

    async def close(self) -> None:
        into, self._into = self._into, None
        if into is not None:
            into.task.cancel()
            await asyncio.gather(into.task, return_exceptions=True)


def spoken(samples: npt.NDArray[np.float32]) -> Pcm:
    """A user's line without the silence after its last word: a turn ends where the speech does."""
    found = heard(samples, USER_RATE, 1.0)
    end = len(samples) if found is None else min(len(samples), round(found[1] * USER_RATE))
    line: Pcm = np.rint(samples[:end] * 32767.0).clip(-32768, 32767).astype(np.int16)
    return line

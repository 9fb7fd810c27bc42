"""Plays one scenario against one system, turn by turn. The harness's clock lives here.

Rules:

* The clock of a turn starts when the request is handed to the system and is read when each event arrives.
* Every turn ends in one :class:`~interbench.domain.records.Outcome`. A system that raises, ends without a final
  event or hands back something that is not a playable clip has *failed* that turn; one that takes longer than the
  deadline has *timed out*.
* A failed, blocked or timed-out turn does not end the conversation: later turns are played, with the failed one in
  their history (``after_failure="stop"`` marks them *not played* instead). After *retired*, they are always not played.
* A conversation that was interrupted goes on where it stood if the system can restore it; otherwise it is played again
  from its first turn, because answers of two half conversations are not one conversation.
* A user reacts: of a turn's lines the first is spoken whose guard holds on the words of the answer before, which the
  system has reported or a transcript tells; how long that takes is nobody's latency. Where nobody knows the words, the
  turn's own line is spoken, which stands after any answer. What was said is recorded, and never chosen again.
* Money is set aside before a request is sent. A turn for which a cap leaves no room is left unplayed; a request of
  which nobody knows whether it was sent is never made again unasked.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from interbench.base.errors import (
    CapReachedError,
    InterbenchError,
    MediaError,
    NodeLostError,
    ResumeUnsupportedError,
    StoreError,
    UsageError,
)
from interbench.base.foreign import MAX_TEXT, NotJsonError, kept_json, mended, number, whole
from interbench.domain.guards import Chosen, choose
from interbench.domain.persona import Persona
from interbench.domain.records import Charge, ClipFacts, Exchange, Outcome, Script, Timings
from interbench.drive.raised import full_traceback, own_line
from interbench.drive.script import Writer, scripted_line
from interbench.drive.speech import UserSpeech
from interbench.drive.spending import Budget
from interbench.drive.voice import Speaker, Spoken
from interbench.media.pool import MediaPool, first_frame_time, first_speech_time
from interbench.scenarios.plan import PlannedScenario
from interbench.store.run_folder import Key, Run, Staged
from interbench.store.trouble import disk_full, out_of_room
from interbench.systems.base import Conversation
from interbench.systems.events import (
    Arrived,
    Blocked,
    Completed,
    Event,
    Failed,
    Final,
    FirstFrame,
    JsonValue,
    Media,
    Opening,
    PastTurn,
    ProgressReport,
    ReplyText,
    Retired,
    Submitted,
    Submitting,
    TimedOut,
    TurnRequest,
)
from interbench.systems.host import Clock, Host, RaisedElsewhereError, StuckError, Timed

MAX_STREAM_BYTES = 2 * 2**30
"""A streamed answer larger than this is refused; a file is held to the media worker's limit."""
MAX_EVENTS_KEPT = 200
_LEAST_SHARE = 0.9
"""Of the frames that a system says it sent; with fewer an answer was cut short."""
Listener = Callable[[str, Key, str], None]
"""Called with what happened (``turn``, ``progress``, ``done``), where, and a note: for progress bars."""
Recall = Callable[[int], Awaitable[str | None]]
"""What was said in a completed turn (1-based) by its transcript; None if there is none."""


@dataclass(frozen=True, slots=True)
class DriveSettings:
    """What makes two drives comparable."""

    seed: int = 0
    deadline_s: float = 600.0
    after_failure: Literal["continue", "stop"] = "continue"


class ProtocolError(InterbenchError):
    """A system does not keep to the seam; ``code`` is kept in the record."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class _Observed:
    """What is known of a turn while it is being answered."""

    events: list[tuple[float, str, str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    arrivals: list[tuple[int, float]] = field(default_factory=list)
    detail: dict[str, JsonValue] = field(default_factory=dict)
    """Of the request: kept with the turn however it ends."""
    reserved: bool = False
    """Whether money was set aside for it."""
    job: bool = False
    """Whether a remote job exists."""
    sent_s: float | None = None
    accepted_s: float | None = None
    first_frame_s: float | None = None
    final: Final | None = None
    final_s: float = 0.0
    stream: Path | None = None
    facts: ClipFacts | None = None
    """Of the clip, found where the system runs, if that is another machine."""
    refused: MediaError | None = None
    """Why what was handed back there is no clip."""

    def take_text(self, text: str) -> None:
        if sum(map(len, self.text)) + len(text) > MAX_TEXT:
            raise ProtocolError("too_much_text", f"the system reports more than {MAX_TEXT} characters for one turn")
        self.text.append(text)

    def note(self, at: float, kind: str, text: str = "") -> None:
        if len(self.events) < MAX_EVENTS_KEPT:
            self.events.append((round(at, 6), kind, mended(text[:500])))


def turn_seed(run_seed: int, scenario: str, turn: int) -> int:
    """Seed of one turn (0: of the whole conversation), the same for every system; 31 bits."""
    digest = hashlib.sha256(f"{run_seed}/{scenario}/{turn}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Driver:
    """Plays conversations of one system.

    Args:
        label: what the system is called in this run.
        host: the started system.
        run: the run folder, open for writing.
        media: where clips are checked.
        settings: what makes drives comparable.
        budget: the money of the run; without caps if not given.
        writer: of the words of avatars that are told what to say.
        speaker: of these words, for systems that only make the picture.
        on_event: for progress bars.
        clock: monotonic seconds; the host must have been given the same.
    """

    def __init__(
        self,
        label: str,
        host: Host,
        run: Run,
        media: MediaPool,
        settings: DriveSettings,
        *,
        budget: Budget | None = None,
        writer: Writer | None = None,
        speaker: Speaker | None = None,
        on_event: Listener = lambda kind, key, note: None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._label = label
        self._host = host
        self._run = run
        self._media = media
        self._settings = settings
        self._budget = budget or Budget(run)
        self._writer = writer
        self._speaker = speaker
        self._on_event = on_event
        self._clock = clock
        self._speech = UserSpeech(media, run.speech_folder)
        self._restarting = asyncio.Lock()

    async def play(self, part: PlannedScenario, recall: Recall | None = None) -> AsyncGenerator[Exchange, None]:
        """Play what the ledger does not yet hold; yields each exchange once it is recorded.

        ``recall`` tells what was said in an earlier turn: for the user's reaction where the system does not report its
        words, and for systems that read transcripts.

        Raises:
            CapReachedError: what is left may not be paid for; it stays to be played.
        """
        scenario = part.scenario.id
        for staged in self._run.staged(self._label, scenario):
            finished = await self._finish_staged(staged)
            if finished is not None:
                yield finished
        done = self._run.exchanges(self._label, scenario)
        if len(done) == len(part.scenario.turns):
            return
        conversation = None
        try:
            generation = self._host.generation
            conversation, done, problem, raised = await self._open(part, done)
            for index in range(len(done) + 1, len(part.scenario.turns) + 1):
                key = Key(self._label, scenario, index)
                self._on_event("turn", key, "")
                if conversation is not None and self._host.generation != generation:
                    problem, conversation = "the system stopped reacting and was restarted", None
                reason = problem or self._not_played_because(done)
                if reason:
                    exchange = Exchange(self._label, scenario, index, Outcome.NOT_PLAYED, "not_played", reason)
                    if problem and not done:
                        exchange = dataclasses.replace(
                            exchange, outcome=Outcome.FAILED, code="not_opened", detail=raised
                        )
                    self._run.record(exchange, self._run.conversation_state(self._label, scenario))
                else:
                    assert conversation is not None
                    exchange = await self._turn(part, conversation, key, done, recall)
                done.append(exchange)
                self._on_event("done", key, exchange.outcome.value)
                yield exchange
        finally:
            if conversation is not None:
                with contextlib.suppress(Exception):
                    await self._host.call(conversation.close, 10.0)

    async def _open(
        self, part: PlannedScenario, done: list[Exchange]
    ) -> tuple[Conversation | None, list[Exchange], str, Mapping[str, Any]]:
        """A conversation that stands after ``done``; or why there is none, and where that was raised."""
        limit = self._settings.deadline_s
        try:
            opening = Opening(part.scenario.id, part.portrait, turn_seed(self._settings.seed, part.scenario.id, 0))
            conversation = await self._host.call(lambda: self._begin(part.persona, opening), limit)
            if not done:
                return conversation, done, "", {}
            history = await self._history(part, done)
            state = self._run.conversation_state(self._label, part.scenario.id)
            try:
                if self._host.system.capabilities.state in ("session", "kv_cache") and (
                    type(conversation).restore is Conversation.restore
                ):
                    raise ResumeUnsupportedError("its memory lives in the system alone")
                await self._host.call(lambda: conversation.restore(history, state), limit)
            except ResumeUnsupportedError:
                self._run.discard(self._label, part.scenario.id)
                return conversation, [], "", {}
            return conversation, done, "", {}
        except StuckError:
            await self._restart()
            return None, done, "the conversation could not be opened: the system does not react", {}
        except TimeoutError:
            return None, done, f"the conversation could not be opened within {limit:g} s", {}
        except (StoreError, NodeLostError):
            raise
        except Exception as error:
            self._need_room()
            workdir = self._run.workdir(Key(self._label, part.scenario.id, len(done) + 1))
            raised = self._keep_traceback(workdir.resolve(), error)
            return None, done, f"the conversation could not be opened: {described(error)}", raised

    def _keep_traceback(self, workdir: Path, error: Exception) -> dict[str, JsonValue]:
        """Write an adapter's traceback beside what its turn left behind; gives where to look, for the record."""
        if isinstance(error, InterbenchError):
            # Its message says what is wrong; where it was noticed is no concern of the adapter's author.
            return {}
        if isinstance(error, RaisedElsewhereError):
            whole, line = error.traceback, error.raised_at
        else:
            whole, line = full_traceback(error), own_line(error)
        if not whole:
            return {}
        path = workdir / "traceback.txt"
        try:
            path.write_text(whole, encoding="utf-8", errors="backslashreplace")
        except OSError:
            # The turn has failed either way, and a full disk is noticed where it is recorded.
            return {"raised_at": line}
        return {"raised_at": line, "traceback": str(path.relative_to(self._run.path.resolve()))}

    async def _begin(self, persona: Persona, opening: Opening) -> Conversation:
        """Open and prepare; runs on the system's loop. What was opened is closed if it can't be prepared."""
        conversation = await self._host.system.open(persona)
        try:
            await conversation.prepare(opening)
        except BaseException:
            with contextlib.suppress(Exception):
                await conversation.close()
            raise
        return conversation

    def _not_played_because(self, done: Sequence[Exchange]) -> str:
        for exchange in done:
            if exchange.outcome is Outcome.RETIRED:
                return f"the system was found retired in turn {exchange.turn}"
            if self._settings.after_failure == "stop" and not exchange.completed:
                return f"turn {exchange.turn} was not completed and after_failure is stop"
        return ""

    async def _history(self, part: PlannedScenario, done: Sequence[Exchange]) -> tuple[PastTurn, ...]:
        return tuple(
            [
                PastTurn(
                    index=exchange.turn,
                    user_text=part.scenario.turns[exchange.turn - 1].line(exchange.variant),
                    user_audio=await self._speech.playable(part.line_audio(exchange.turn, exchange.variant)),
                    outcome=exchange.outcome.value,
                    reply_text=exchange.reply_text,
                    clip=None if exchange.clip is None else self._run.path / exchange.clip,
                )
                for exchange in done
            ]
        )

    async def _line(self, part: PlannedScenario, key: Key, done: Sequence[Exchange], recall: Recall | None) -> Chosen:
        """What the user says in a turn after the answer before."""
        turn = part.scenario.turns[key.turn - 1]
        if not turn.variants or not done:
            return Chosen()
        system = self._host.system
        if (system.takes_script or system.takes_speech) and self._writer is not None:
            return scripted_line(part, key.turn, await self._writer.reply(part, key.turn - 1))
        before = done[-1]
        if not before.completed:
            return Chosen()
        if before.reply_text and before.reply_text.strip():
            return choose(turn, before.reply_text, "reported")
        return choose(turn, None if recall is None else await recall(before.turn), "transcribed")

    async def _turn(
        self,
        part: PlannedScenario,
        conversation: Conversation,
        key: Key,
        done: Sequence[Exchange],
        recall: Recall | None,
    ) -> Exchange:
        """Play one turn and record it."""
        turn = part.scenario.turns[key.turn - 1]
        capabilities = self._host.system.capabilities
        jobs = [job for job in self._run.open_jobs(key.system, key.scenario) if job.key.turn == key.turn]
        line = _line_of(jobs[-1].detail) if jobs else await self._line(part, key, done, recall)
        script = await self._script(part, key)
        spoken = await self._spoken(part, key, script)
        needed_s = self._host.system.turn_deadline_s(None if spoken is None else spoken.seconds)
        history = await self._history(part, done)
        if recall is not None and self._host.system.reads_transcripts:
            history = tuple([await _recalled(past, recall) for past in history])
        request = TurnRequest(
            scenario=part.scenario.id,
            index=key.turn,
            text=turn.line(line.variant),
            audio=await self._speech.playable(part.line_audio(key.turn, line.variant)),
            history=history,
            portrait=part.portrait,
            seed=turn_seed(self._settings.seed, part.scenario.id, key.turn),
            workdir=self._run.workdir(key).resolve(),
            deadline_s=max(self._settings.deadline_s, needed_s or 0.0),
            reference=part.references[key.turn - 1] if capabilities.needs_reference else None,
            script=None if script is None else script.text,
            speech=None if spoken is None else spoken.path.resolve(),
            mood=turn.line_mood(line.variant),
        )
        if jobs and not capabilities.resumes_jobs:
            job = jobs[-1].job_id
            message = f"job {job} was submitted before an interruption and this system can't take it up again"
            return self._lost(key, line, "interrupted", message)
        if not jobs and self._budget.unsettled(key):
            if capabilities.announces_cost:
                return self._lost(
                    key,
                    line,
                    "unknown_submission",
                    "the run was interrupted while the request was being sent: the job may exist and be charged for, "
                    "so it was not sent again; --retry failed does that",
                )
            self._budget.settle(key, Charge.POSSIBLE)

        def iterate() -> AsyncIterator[Event]:
            return conversation.resume(request, jobs[-1].job_id) if jobs else conversation.respond(request)

        observed = _Observed(detail=dict(jobs[-1].detail) if jobs else {}, reserved=bool(jobs), job=bool(jobs))
        if turn.variants:
            # Kept with the job: whoever takes it up knows what was asked.
            observed.detail["line"] = dataclasses.asdict(line)
        if script is not None:
            observed.detail["script"] = {"words_cut": script.words_cut, "model_s": round(script.seconds, 3)}
        if spoken is not None:
            observed.detail["speech"] = spoken.facts()
        if why := await self._not_ready(conversation, request.deadline_s):
            failed = Exchange(key.system, key.scenario, key.turn, Outcome.FAILED, "not_ready", mended(why[:MAX_TEXT]))
            exchange = _saying(failed, line)
            self._run.record(exchange, self._run.conversation_state(key.system, key.scenario))
            return exchange
        if not jobs:
            self._reserve_unannounced(key, observed)
        try:
            stuck = await self._observe(observed, iterate, key, request)
        except NodeLostError as lost:
            if observed.sent_s is None and not observed.job:
                raise
            # It announced a request that may cost money, and nobody can say whether it was sent.
            message = f"{lost} Its request may have been sent and be charged for, so it was not sent again"
            self._lost(key, line, "unknown_submission", message)
            raise
        if not isinstance(observed.final, Completed):
            self._need_room()
        state: JsonValue = None
        if not stuck:
            with contextlib.suppress(Exception):
                state = kept_json(conversation.state())
        exchange = self._settle(key, observed, self._exchange(key, line, observed, resumed=bool(jobs)))
        if isinstance(observed.final, Completed):
            exchange = await self._accept(key, observed, exchange, request.workdir, state)
        else:
            keep = capabilities.resumes_jobs and getattr(observed.final, "job_open", False)
            self._run.record(exchange, state, keep_jobs=keep)
            if isinstance(observed.final, TimedOut):
                _drop_stream(observed)
        return exchange

    async def _script(self, part: PlannedScenario, key: Key) -> Script | None:
        """What the avatar is to say; written before the clock starts, because it is the same for every system."""
        system = self._host.system
        if not (system.takes_script or system.takes_speech):
            return None
        if self._writer is None:
            raise UsageError(f"The system {key.system} has to be told what to say, but nothing writes it.")
        return await self._writer.reply(part, key.turn)

    async def _spoken(self, part: PlannedScenario, key: Key, script: Script | None) -> Spoken | None:
        """The reply as sound; made before the clock starts, like its words."""
        if script is None or not self._host.system.takes_speech:
            return None
        if self._speaker is None:
            raise UsageError(f"The system {key.system} has to be given the reply as sound, but nothing speaks it.")
        return await self._speaker.speak(part, key.turn, script)

    async def _not_ready(self, conversation: Conversation, limit_s: float) -> str:
        """Wait until the system can take the next turn; why it can't, empty if it can."""
        try:
            await self._host.call(conversation.ready, limit_s)
        except TimeoutError:
            return f"the system was not ready for its next turn within {limit_s:g} s"
        except StuckError:
            await self._restart()
            return "the system was not ready for its next turn, and does not react"
        except (StoreError, NodeLostError):
            raise
        except Exception as error:
            self._need_room()
            return f"the system was not ready for its next turn: {described(error)}"
        return ""

    def _lost(self, key: Key, line: Chosen, code: str, message: str) -> Exchange:
        """Record a turn whose request was interrupted and can't be taken up; it may have cost money."""
        usd = self._budget.settle(key, Charge.POSSIBLE) if self._budget.unsettled(key) else None
        if usd:
            message += f" (up to {usd:.2f} USD)"
        exchange = _saying(Exchange(key.system, key.scenario, key.turn, Outcome.FAILED, code, message), line)
        self._run.record(exchange, self._run.conversation_state(key.system, key.scenario))
        return exchange

    def _reserve_unannounced(self, key: Key, observed: _Observed) -> None:
        """Set the longest clip aside for a system that has a price but does not say when it spends."""
        system = self._host.system
        price = system.capabilities.price_usd_per_s
        if not price or system.capabilities.announces_cost:
            return
        longest = system.turn_video_s
        usd = None if longest is None else system.estimate_usd(longest)
        self._budget.reserve(key, longest or 0.0, usd)
        observed.reserved = True

    def _settle(self, key: Key, observed: _Observed, exchange: Exchange) -> Exchange:
        """Close the turn's reservation; gives the turn with what it cost, None if nothing or unknown."""
        final = observed.final
        assert final is not None
        usd, video_s = (final.cost_usd, final.video_s) if isinstance(final, Completed) else (None, None)
        if not observed.reserved:
            return dataclasses.replace(exchange, cost_usd=number(usd))
        if not isinstance(final, Completed) and not final.charged:
            self._budget.settle(key, Charge.FREE if final.charged is False else Charge.POSSIBLE)
            return dataclasses.replace(exchange, cost_usd=None)
        settled = self._budget.charge(key, usd, video_s)
        exchange = dataclasses.replace(exchange, cost_usd=settled.usd)
        return _noticed(exchange, settled.notice) if settled.notice else exchange

    async def _observe(
        self, observed: _Observed, iterate: Callable[[], AsyncIterator[Event]], key: Key, request: TurnRequest
    ) -> bool:
        """Listen to one turn until its end, whatever the system does; whether it got stuck."""
        start = self._clock()
        stuck = False
        with contextlib.ExitStack() as files:
            sink: BinaryIO | None = None
            try:
                events = self._host.events(iterate, request.deadline_s + self._host.system.transport_s)
                async with contextlib.aclosing(events):
                    async for timed in events:
                        if isinstance(timed.value, Media) and sink is None:
                            observed.stream = request.workdir / "stream.mp4"
                            sink = files.enter_context(observed.stream.open("wb"))
                        elif isinstance(timed.value, Arrived):
                            observed.stream = request.workdir / "stream.mp4"
                        here_s = timed.at - start
                        there = timed.elsewhere
                        self._take(observed, key, timed, here_s if there is None else there.after_s, sink)
                        if there is not None and observed.final is not None:
                            observed.facts, observed.refused = there.facts, there.refused
                            # Of no latency: the way from machine to machine, clip included.
                            observed.detail |= {"measured_at": "node", "transport_s": round(here_s - there.after_s, 6)}
                        if observed.final is not None:
                            break
            except (TimeoutError, StuckError) as error:
                stuck = isinstance(error, StuckError)
                more = ", and the system no longer reacts" if stuck else ""
                observed.final = TimedOut(
                    f"no complete answer within {request.deadline_s:g} s{more}", job_open=observed.job
                )
                observed.final_s = request.deadline_s
            except (StoreError, CapReachedError, NodeLostError):
                raise
            except Exception as error:
                observed.final = Failed(code_of(error), described(error), job_open=observed.job)
                observed.detail.update(self._keep_traceback(request.workdir, error))
        if observed.final is None:
            observed.final = Failed("no_final_event", "the system ended its answer without saying how")
        if not observed.final_s:
            observed.final_s = self._clock() - start
        if stuck:
            await self._restart()
        return stuck

    def _take(self, observed: _Observed, key: Key, timed: Timed[Event], at: float, sink: BinaryIO | None) -> None:
        """Note one event."""
        match timed.value:
            case Submitting(video_s, usd, detail):
                self._budget.reserve(key, video_s, usd)
                observed.reserved = True
                observed.detail.update(kept_json(detail))
                observed.sent_s = at
                observed.note(at, "submitting", f"{video_s:g} s of video")
            case Submitted(job_id, detail):
                observed.detail.update(kept_json(detail))
                job_id = mended(str(job_id))
                self._run.submitted(key, job_id, observed.detail)
                observed.job = True
                observed.accepted_s = at if observed.accepted_s is None else observed.accepted_s
                observed.note(at, "submitted", job_id)
            case ProgressReport(fraction, note):
                fraction, note = number(fraction), mended(str(note), 500)
                observed.note(at, "progress", note if fraction is None else f"{fraction:.0%} {note}".strip())
                self._on_event("progress", key, note if fraction is None else f"{fraction:.0%}")
            case ReplyText(text):
                observed.take_text(str(text))  # pieces may be halves of a character: mended when they are joined
                observed.note(at, "text", f"{len(str(text))} characters")
            case FirstFrame():
                observed.first_frame_s = at if observed.first_frame_s is None else observed.first_frame_s
                observed.note(at, "first_frame")
            case Media(data):
                assert sink is not None
                total = (observed.arrivals[-1][0] if observed.arrivals else 0) + len(data)
                if total > MAX_STREAM_BYTES:
                    raise MediaError("too_large", f"the answer is longer than {MAX_STREAM_BYTES} bytes")
                sink.write(data)
                observed.arrivals.append((total, at))
            case Arrived(size):
                observed.arrivals.append(((observed.arrivals[-1][0] if observed.arrivals else 0) + size, at))
            case Completed() | Blocked() | Failed() | Retired() | TimedOut() as final:
                observed.final, observed.final_s = final, at
                observed.note(at, type(final).__name__.lower())
            case other:
                raise ProtocolError("not_an_event", f"the system yielded a {type(other).__name__}, not an event")

    def _exchange(self, key: Key, line: Chosen, observed: _Observed, *, resumed: bool) -> Exchange:
        """The record of a turn, before its clip (if any) has been checked."""
        final = observed.final
        assert final is not None
        outcome, code, message = _outcome(final)
        text = mended("".join(observed.text))
        timings = Timings(
            complete_s=observed.final_s,
            first_frame_s=observed.first_frame_s if observed.first_frame_s is not None else observed.final_s,
            accepted_s=observed.accepted_s,
            sent_s=observed.sent_s,
            resolution_s=self._host_resolution(),
            resumed=resumed,
        )
        return Exchange(
            system=key.system,
            scenario=key.scenario,
            turn=key.turn,
            outcome=outcome,
            code=mended(code[:200]),
            message=mended(message[:MAX_TEXT]),
            timings=timings,
            reply_text=text if observed.text else None,
            detail=_plain({**observed.detail, **final.detail, **_count_of(final)}),
            events=tuple(observed.events),
            variant=line.variant,
            guard=line.guard,
            line_source=line.source,
        )

    def _keeps_jobs(self) -> bool:
        with contextlib.suppress(RuntimeError):
            return self._host.system.capabilities.resumes_jobs
        return False

    def _host_resolution(self) -> float:
        with contextlib.suppress(RuntimeError):
            return self._host.system.capabilities.poll_period_s or 0.0
        return 0.0

    async def _accept(
        self, key: Key, observed: _Observed, exchange: Exchange, workdir: Path, state: JsonValue
    ) -> Exchange:
        """Stage, check, adopt and record a clip that the system says is complete."""
        final = observed.final
        assert isinstance(final, Completed)
        try:
            if observed.refused is not None:
                raise observed.refused
            path = clip_inside(final.path, observed.stream, workdir)
        except MediaError as error:
            failed = _refused(exchange, error)
            self._run.record(failed, state, keep_jobs=self._keeps_jobs())
            return failed
        staged = Staged(exchange, self._run.path / path.relative_to(self._run.path.resolve()), state)
        kept = exchange
        if observed.arrivals and exchange.timings is not None:
            # When the pieces came is known to this process alone: whoever takes the clip up has no latencies for it.
            kept = dataclasses.replace(exchange, timings=dataclasses.replace(exchange.timings, resumed=True))
        self._run.stage(kept, staged.path, state)
        return await self._check(staged, observed.arrivals, observed.facts)

    async def _finish_staged(self, staged: Staged) -> Exchange | None:
        """Take up a clip whose check was interrupted; None if its file is gone and it has to be made again."""
        key = Key(staged.exchange.system, staged.exchange.scenario, staged.exchange.turn)
        final_path = self._run.clip_path(key, staged.path.suffix.lower())
        if not staged.path.exists() and final_path.exists():
            staged = dataclasses.replace(staged, path=final_path)
        if not staged.path.exists():
            self._run.unstage(key)
            return None
        return await self._check(staged, ())

    async def _check(
        self, staged: Staged, arrivals: Sequence[tuple[int, float]], known: ClipFacts | None = None
    ) -> Exchange:
        exchange = staged.exchange
        key = Key(exchange.system, exchange.scenario, exchange.turn)
        try:
            facts = known or await self._media.inspect(staged.path)
            if short := _lacking(exchange, facts):
                raise MediaError("cut_short", short)
        except MediaError as error:
            self._need_room()
            exchange = _refused(exchange, error)
        else:
            assert exchange.timings is not None
            # What the client could show is read off the media itself; a system's own word may be early.
            first = first_frame_time(arrivals, facts) if arrivals else exchange.timings.first_frame_s
            timings = dataclasses.replace(
                exchange.timings,
                first_frame_s=first,
                first_speech_s=first_speech_time(arrivals, facts, first),
                no_speech=facts.no_speech,
            )
            clip = self._run.adopt(key, staged.path)
            exchange = dataclasses.replace(exchange, clip=self._run.relative(clip), facts=facts, timings=timings)
        # A clip that was paid for and can't be used stays to be fetched again; `jobs --forget` gives it up.
        self._run.record(exchange, staged.state, keep_jobs=not exchange.completed and self._keeps_jobs())
        if exchange.completed:
            # What a failed turn left behind (logs, half a file) stays for whoever looks into the failure.
            self._run.clear_work(key)
        return exchange

    def _need_room(self) -> None:
        """A turn that failed for want of disk space says nothing about its system: stop instead of recording it."""
        if out_of_room(self._run.path):
            raise disk_full(self._run.path)

    async def _restart(self) -> None:
        async with self._restarting:
            with contextlib.suppress(Exception):
                await self._host.restart()


def _line_of(detail: Mapping[str, Any]) -> Chosen:
    """The line with which a job was submitted; one of before there were any had the turn's own."""
    kept = detail.get("line")
    return Chosen(**kept) if isinstance(kept, Mapping) else Chosen()


def _saying(exchange: Exchange, line: Chosen) -> Exchange:
    return dataclasses.replace(exchange, variant=line.variant, guard=line.guard, line_source=line.source)


def _drop_stream(observed: _Observed) -> None:
    """Remove what came of an answer before its deadline; what the system itself wrote stays for whoever looks."""
    if observed.stream is not None:
        observed.stream.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            observed.stream.parent.rmdir()


async def _recalled(past: PastTurn, recall: Recall) -> PastTurn:
    if past.clip is None or past.reply_text is not None:
        return past
    return dataclasses.replace(past, reply_text=await recall(past.index))


def _outcome(final: Final) -> tuple[Outcome, str, str]:
    match final:
        case Completed():
            return Outcome.COMPLETED, "", ""
        case Blocked(code, message):
            return Outcome.BLOCKED, str(code), str(message)
        case Failed(code, message):
            return Outcome.FAILED, str(code), str(message)
        case Retired(message):
            return Outcome.RETIRED, "retired", str(message)
        case TimedOut(message):
            return Outcome.TIMED_OUT, "timed_out", str(message)


def _refused(exchange: Exchange, error: MediaError) -> Exchange:
    return dataclasses.replace(
        exchange, outcome=Outcome.FAILED, code=f"media_{error.code}", message=str(error), clip=None, facts=None
    )


def clip_inside(path: Path | None, stream: Path | None, workdir: Path) -> Path:
    """The clip that a system handed back, if it is a regular file in the turn's own folder.

    Raises:
        MediaError: it lies elsewhere, is a link, or is no file.
    """
    if path is None:
        if stream is None:
            raise MediaError("missing", "the system says it is complete but sent neither a file nor media")
        return stream
    path = Path(path)
    absolute = path if path.is_absolute() else workdir / path
    lexical = Path(os.path.normpath(absolute))
    try:
        real = lexical.parent.resolve(strict=True) / lexical.name
        info = real.lstat()
    except OSError:
        raise MediaError("missing", f"the system says it wrote {absolute.name!r}, but there is no such file") from None
    if not real.is_relative_to(workdir):
        raise MediaError("outside", "the system handed back a file outside its working folder; it was not opened")
    if stat.S_ISLNK(info.st_mode):
        raise MediaError("symlink", "the system handed back a symbolic link; it was not followed")
    if not stat.S_ISREG(info.st_mode):
        raise MediaError("not_a_file", "the system handed back something that is not a regular file")
    return real


def code_of(error: Exception) -> str:
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else "exception"


def described(error: Exception) -> str:
    text = str(error).strip()
    if isinstance(error, (InterbenchError, RaisedElsewhereError)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _plain(detail: Mapping[str, JsonValue]) -> dict[str, Any]:
    """A provider's data as plain JSON; what is not JSON is kept as its text."""
    try:
        plain: dict[str, Any] = kept_json(dict(detail))
    except (NotJsonError, RecursionError, ValueError) as error:
        return {"unreadable": f"the provider's data can't be kept: {error}"}
    return plain


def _noticed(exchange: Exchange, notice: str) -> Exchange:
    """The exchange with one more notice."""
    return dataclasses.replace(exchange, detail={**exchange.detail, "notices": [*exchange.notices, notice]})


def _count_of(final: Final) -> dict[str, JsonValue]:
    frames = whole(final.frames) if isinstance(final, Completed) else None
    return {} if frames is None else {"frames_sent": frames}


def _lacking(exchange: Exchange, facts: ClipFacts) -> str:
    """Why a clip that can be played is not all of the answer; empty if it is, or if nobody knows."""
    sent = whole(exchange.detail.get("frames_sent"))
    if sent is None or facts.frames >= _LEAST_SHARE * sent or facts.frames >= sent - 2:
        return ""
    return (
        f"the system sent {sent} frames by its own account, and {facts.frames} arrived: the answer was cut short on "
        f"its way, though its transfer ended in order. Look for a proxy between that ends responses early."
    )

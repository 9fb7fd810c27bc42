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
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from interbench.base.errors import NodeLostError, ResumeUnsupportedError, StoreError
from interbench.base.foreign import MAX_TEXT, kept_json, mended, number
from interbench.domain.guards import Chosen
from interbench.domain.persona import Persona
from interbench.domain.records import Charge, Exchange, Outcome
from interbench.drive import live
from interbench.drive.accepting import Accepting
from interbench.drive.asking import Asking, DriveSettings, Recall, turn_seed
from interbench.drive.listening import Listener, Listening, Observed, ProtocolError
from interbench.drive.raised import describe, keep_traceback
from interbench.drive.script import Writer
from interbench.drive.speech import UserSpeech
from interbench.drive.spending import Budget
from interbench.drive.turn_record import exchange_of, line_of, noticed, saying
from interbench.drive.voice import Speaker
from interbench.media.pool import MediaPool
from interbench.scenarios.plan import PlannedScenario
from interbench.store.run_folder import Key, Run
from interbench.store.trouble import require_room
from interbench.systems.base import Conversation
from interbench.systems.events import Completed, Event, JsonValue, Opening, TimedOut
from interbench.systems.host import Clock, Host, StuckError

__all__ = ["DriveSettings", "Driver", "Listener", "ProtocolError", "Recall", "turn_seed"]


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
        self._settings = settings
        self._budget = budget or Budget(run)
        self._on_event = on_event
        self._restarting = asyncio.Lock()
        self._asking = Asking(label, host, run, UserSpeech(media, run.speech_folder), settings, writer, speaker)
        self._listening = Listening(host, run, self._budget, on_event, clock, self._restart)
        self._accepting = Accepting(run, media, self._keeps_jobs)

    async def play(self, planned: PlannedScenario, recall: Recall | None = None) -> AsyncGenerator[Exchange, None]:
        """Play what the ledger does not yet hold; yields each exchange once it is recorded.

        ``recall`` tells what was said in an earlier turn: for the user's reaction where the system does not report its
        words, and for systems that read transcripts.

        Raises:
            CapReachedError: what is left may not be paid for; it stays to be played.
            ClipGoneError: what is left would go on from a clip that is not the recorded one; it stays to be played.
        """
        scenario = planned.scenario.id
        for staged in self._run.staged(self._label, scenario):
            finished = await self._accepting.finish_staged(staged)
            if finished is not None:
                yield finished
        done = self._run.exchanges(self._label, scenario)
        if len(done) == len(planned.scenario.turns):
            return
        conversation = None
        try:
            generation = self._host.generation
            conversation, done, problem, raised = await self._open(planned, done)
            for index in range(len(done) + 1, len(planned.scenario.turns) + 1):
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
                    exchange = await self._turn(planned, conversation, key, done, recall)
                done.append(exchange)
                self._on_event("done", key, exchange.outcome.value)
                yield exchange
        finally:
            if conversation is not None:
                with contextlib.suppress(Exception):
                    await self._host.call(conversation.close, 10.0)

    async def _open(
        self, planned: PlannedScenario, done: list[Exchange]
    ) -> tuple[Conversation | None, list[Exchange], str, Mapping[str, Any]]:
        """A conversation that stands after ``done``; or why there is none, and where that was raised."""
        limit = self._settings.deadline_s
        try:
            opening = Opening(
                planned.scenario.id, planned.portrait, turn_seed(self._settings.seed, planned.scenario.id, 0)
            )
            conversation = await self._host.call(lambda: self._begin(planned.persona, opening), limit)
            if not done:
                return conversation, done, "", {}
            history = await self._asking.history(planned, done)
            state = self._run.conversation_state(self._label, planned.scenario.id)
            try:
                if self._host.system.capabilities.state in ("session", "kv_cache") and (
                    type(conversation).restore is Conversation.restore
                ):
                    raise ResumeUnsupportedError("its memory lives in the system alone")
                await self._host.call(lambda: conversation.restore(history, state), limit)
            except ResumeUnsupportedError:
                self._run.discard(self._label, planned.scenario.id)
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
            require_room(self._run.path)
            workdir = self._run.workdir(Key(self._label, planned.scenario.id, len(done) + 1))
            raised = keep_traceback(self._run.path, workdir.resolve(), error)
            return None, done, f"the conversation could not be opened: {describe(error)}", raised

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

    async def _turn(
        self,
        planned: PlannedScenario,
        conversation: Conversation,
        key: Key,
        done: Sequence[Exchange],
        recall: Recall | None,
    ) -> Exchange:
        """Play one turn and record it."""
        turn = planned.scenario.turns[key.turn - 1]
        capabilities = self._host.system.capabilities
        jobs = [job for job in self._run.open_jobs(key.system, key.scenario) if job.key.turn == key.turn]
        asked = await self._asking.turn(planned, key, done, recall, line_of(jobs[-1].detail) if jobs else None)
        request, line, script, spoken = asked.request, asked.line, asked.script, asked.spoken
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

        observed = Observed(detail=dict(jobs[-1].detail) if jobs else {}, reserved=bool(jobs), job=bool(jobs))
        if turn.variants:
            # Kept with the job: whoever takes it up knows what was asked.
            observed.detail["line"] = dataclasses.asdict(line)
        if script is not None:
            observed.detail["script"] = {"words_cut": script.words_cut, "model_s": round(script.seconds, 3)}
        if spoken is not None:
            observed.detail["speech"] = spoken.facts()
        if why := await self._not_ready(conversation, request.deadline_s):
            failed = Exchange(key.system, key.scenario, key.turn, Outcome.FAILED, "not_ready", mended(why[:MAX_TEXT]))
            exchange = saying(failed, line)
            self._run.record(exchange, self._run.conversation_state(key.system, key.scenario))
            return exchange
        if not jobs:
            self._reserve_unannounced(key, observed)
        try:
            stuck = await self._listening.observe(observed, iterate, key, request)
        except NodeLostError as lost:
            if observed.sent_s is None and not observed.job:
                raise
            # It announced a request that may cost money, and nobody can say whether it was sent.
            message = f"{lost} Its request may have been sent and be charged for, so it was not sent again"
            self._lost(key, line, "unknown_submission", message)
            raise
        if not isinstance(observed.final, Completed):
            require_room(self._run.path)
        self._accepting.keep_face(key, observed, request.workdir)
        state: JsonValue = None
        if not stuck:
            with contextlib.suppress(Exception):
                state = kept_json(conversation.state())
        resolution_s = self._host_resolution()
        exchange = exchange_of(
            key,
            line,
            observed,
            resolution_s=resolution_s,
            resumed=bool(jobs),
            continuous=capabilities.continuous,
        )
        exchange = live.with_barge_in(self._settle(key, observed, exchange), turn.barge_in_s, capabilities)
        if isinstance(observed.final, Completed):
            exchange = await self._accepting.accept(key, observed, exchange, request.workdir, state)
        else:
            keep = capabilities.resumes_jobs and getattr(observed.final, "job_open", False)
            self._run.record(exchange, state, keep_jobs=keep)
            if isinstance(observed.final, TimedOut):
                observed.drop_stream()
        return exchange

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
            require_room(self._run.path)
            return f"the system was not ready for its next turn: {describe(error)}"
        return ""

    def _lost(self, key: Key, line: Chosen, code: str, message: str) -> Exchange:
        """Record a turn whose request was interrupted and can't be taken up; it may have cost money."""
        usd = self._budget.settle(key, Charge.POSSIBLE) if self._budget.unsettled(key) else None
        if usd:
            message += f" (up to {usd:.2f} USD)"
        exchange = saying(Exchange(key.system, key.scenario, key.turn, Outcome.FAILED, code, message), line)
        self._run.record(exchange, self._run.conversation_state(key.system, key.scenario))
        return exchange

    def _reserve_unannounced(self, key: Key, observed: Observed) -> None:
        """Set the longest clip aside for a system that has a price but does not say when it spends."""
        system = self._host.system
        price = system.capabilities.price_usd_per_s
        if not price or system.capabilities.announces_cost:
            return
        longest = system.turn_video_s
        usd = None if longest is None else system.estimate_usd(longest)
        self._budget.reserve(key, longest or 0.0, usd)
        observed.reserved = True

    def _settle(self, key: Key, observed: Observed, exchange: Exchange) -> Exchange:
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
        return noticed(exchange, settled.notice) if settled.notice else exchange

    def _keeps_jobs(self) -> bool:
        with contextlib.suppress(RuntimeError):
            return self._host.system.capabilities.resumes_jobs
        return False

    def _host_resolution(self) -> float:
        with contextlib.suppress(RuntimeError):
            return self._host.system.capabilities.poll_period_s or 0.0
        return 0.0

    async def _restart(self) -> None:
        async with self._restarting:
            with contextlib.suppress(Exception):
                await self._host.restart()

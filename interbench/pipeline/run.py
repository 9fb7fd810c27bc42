"""The stages of a run as a pipeline over one run folder.

A conversation goes on to the next stage as soon as it is complete, while others are still being played. Every stage
asks the ledger what is still to do, so the same invocation after a kill goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Literal

from interbench.asr.base import Transcriber
from interbench.asr.stage import TranscriptionStage
from interbench.base.errors import (
    CapReachedError,
    ClipGoneError,
    InterbenchError,
    NodeLostError,
    StrandedError,
    SystemLoadError,
    UsageError,
    most_telling,
)
from interbench.base.progress import Progress
from interbench.domain.records import COPY_RECIPE, Exchange, Transcript
from interbench.drive.driver import Driver, DriveSettings
from interbench.drive.script import ScriptWriter
from interbench.drive.spending import Budget, Caps, spoken_totals
from interbench.drive.words import Told, tell
from interbench.judge.base import Judge
from interbench.judge.registry import make_judge
from interbench.judge.stage import JudgingStage
from interbench.media.pool import MediaPool
from interbench.pipeline.config import Settings
from interbench.pipeline.hearing import check_hearing
from interbench.pipeline.placement.cluster import Cluster
from interbench.pipeline.placement.fleet import MOST_LOSSES, Fleet, Seat
from interbench.pipeline.placement.placed import PlacedSystem
from interbench.pipeline.placement.wishes import Wishes, wishes_of
from interbench.pipeline.plan import Plan, make_plan, resume_plan
from interbench.pipeline.players import Players, PlayersHere, PlayersThere
from interbench.pipeline.portraits import check_portraits
from interbench.pipeline.run_manifest import RunManifest
from interbench.pipeline.set_options import script_options
from interbench.pipeline.summary import Summary
from interbench.scenarios.plan import PlannedScenario
from interbench.store.manifest import now
from interbench.store.mounts import require_local
from interbench.store.played import played
from interbench.store.run_folder import Key, Run
from interbench.systems.base import AvatarSystem
from interbench.systems.facts import system_facts
from interbench.systems.host import Host
from interbench.systems.registry import SystemSpec

__all__ = ["ALL_STAGES", "Plan", "Stage", "Summary", "execute", "make_plan", "resume_plan"]

Stage = Literal["drive", "transcribe", "judge"]
ALL_STAGES: tuple[Stage, ...] = ("drive", "transcribe", "judge")


async def execute(
    plan: Plan,
    *,
    transcriber: Transcriber,
    judge: Judge,
    progress: Progress,
    stages: Iterable[Stage] = ALL_STAGES,
    wishes: Wishes | None = None,
) -> Summary:
    """Do what the plan asks for and the ledger does not hold.

    Args:
        plan: what is asked for.
        transcriber, judge, progress, stages: who does it, who is told, and how much of it.
        wishes: of a cluster; None for what the settings say.

    Raises:
        InterbenchError: something that stops the run; what is done so far is in the ledger.
    """
    wanted = frozenset(stages)
    wishes = wishes or wishes_of(plan.settings)
    if wishes is not None:
        require_local(plan.settings.out)
    with Run(plan.settings.out, write=True) as run:
        summary = Summary()
        began = time.monotonic()
        judge.tell = progress.say
        try:
            await _Pipeline(plan, run, progress, wanted, summary, wishes).go(transcriber, judge)
        except BaseExceptionGroup as group:
            raise most_telling(group) from None
        summary.seconds = time.monotonic() - began
        return summary


class _Pipeline:
    """The stages over one run folder, each there or not.

    Args:
        plan: what is asked for.
        run: the run folder, open for writing.
        progress: is told how far it is.
        stages: which are wanted.
        summary: takes in what was done.
        wishes: of a cluster; None for this machine alone.
    """

    def __init__(
        self,
        plan: Plan,
        run: Run,
        progress: Progress,
        stages: frozenset[Stage],
        summary: Summary,
        wishes: Wishes | None = None,
    ) -> None:
        self.plan = plan
        self.run = run
        self.progress = progress
        self.stages = stages
        self.summary = summary
        settings = plan.settings
        self.transcription: TranscriptionStage | None = None
        self.judging: JudgingStage | None = None
        self.budget = Budget(run, Caps(settings.max_usd, settings.max_video_seconds))
        self.writer = _script_writer(settings, run) if "drive" in stages else None
        self.told = _told(settings, run, self.writer) if "drive" in stages else None
        self.driving = DriveSettings(settings.seed, settings.deadline_s, settings.after_failure)
        script = {} if self.writer is None else {"script": self.writer.identity}
        shard = {} if plan.taken_up else {"shard": None if plan.sharding is None else plan.sharding.frozen}
        self.manifest = RunManifest(run, plan, {**asdict(self.driving), **script, **shard})
        self._everywhere = asyncio.Semaphore(settings.concurrency)
        self._starting = len(plan.systems)
        self._all_started = asyncio.Event()
        self.media = MediaPool(size=min(2, settings.concurrency))
        self.cluster = None if wishes is None else Cluster(wishes, run, progress)
        self._likes: dict[str, AvatarSystem] = {}
        """Systems that were not started, for what follows from their options; where there is a cluster."""

    async def go(self, transcriber: Transcriber, judge: Judge) -> None:
        plan, summary = self.plan, self.summary
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.media)
            if self.cluster is not None:
                await stack.enter_async_context(self.cluster)
            self.manifest.write()
            if self.cluster is not None:
                if "drive" in self.stages:
                    self._likes = await asyncio.to_thread(self._made)
                self.manifest.amend(cluster={**self.cluster.record(), "at_the_head": self._stay()})
            for planned in plan.planned_scenarios:
                self.run.record_planned(planned)
            transcriber, judge = self._placed(transcriber, judge)
            if "drive" in self.stages:
                if sum(self._recorded().values()) < plan.clips:
                    await check_portraits(plan.planned_scenarios, self.media)
                self._take_back()
            if "judge" in self.stages or "transcribe" in self.stages:
                stage = TranscriptionStage(transcriber, self.run, self.media)
                self.transcription = await stack.enter_async_context(stage)
            if "judge" in self.stages:
                judging = JudgingStage(judge, self.run, plan.settings.repeats, self.media)
                self.judging = await stack.enter_async_context(judging)
            self._note_makers()
            summary.held = self._held()
            self._announce()
            async with asyncio.TaskGroup() as group:
                for spec in plan.systems:
                    group.create_task(self._system(spec))
            if self.transcription is not None and transcriber.needs_audio:
                summary.ear = await check_hearing(
                    transcriber, self.transcription.key, plan.planned_scenarios, self.media, self.manifest
                )
            if summary.did_something:
                self.manifest.amend(finished=now())
            if self.judging is not None and self.judging.copies.given_out:
                summary.copies = dict(self.judging.copies.given_out)
                self.manifest.amend(plain_copies={"recipe": COPY_RECIPE, "because": summary.copies})
            summary.all_failed = self._all_failed()
            summary.spent = spoken_totals(self.run.spending())
            if summary.verdicts:
                summary.judge = dict(judge.summary())
                self.manifest.amend(judge_summary=summary.judge)

    def _placed(self, transcriber: Transcriber, judge: Judge) -> tuple[Transcriber, Judge]:
        """Who transcribes and judges, on nodes of a cluster where they compute."""
        if self.cluster is None:
            return transcriber, judge
        settings = self.plan.settings
        transcriber = self.cluster.transcriber(transcriber, settings.transcriber, settings.transcriber_options)
        if self.cluster.wishes.judge_servers is not None:
            judge = self.cluster.judge(lambda url: make_judge(url, settings.judge_options, settings.repeats))
            judge.tell = self.progress.say
        return transcriber, judge

    def _note_makers(self) -> None:
        if self.transcription is not None:
            self.summary.transcriber = self.transcription.notes
            self.manifest.note_transcriber(self.transcription)
        if self.judging is not None:
            self.manifest.note_judge(self.judging)

    def _take_back(self) -> None:
        """Forget the turns the user wants played again, and what was played after them."""
        retry = set(self.plan.settings.retry)
        if not retry:
            return
        first: dict[tuple[str, str], int] = {}
        for exchange in self._of_plan():
            if exchange.outcome.value in retry:
                pair = (exchange.system, exchange.scenario)
                first[pair] = min(first.get(pair, exchange.turn), exchange.turn)
        for (system, scenario), turn in first.items():
            self.run.discard(system, scenario, from_turn=turn)

    def _announce(self) -> None:
        turns = sum(len(planned.scenario.turns) for planned in self.plan.planned_scenarios)
        held = self._recorded()
        if "drive" in self.stages:
            self.progress.total("drive", self.plan.clips)
            for _ in range(sum(held.values())):
                self.progress.advance("drive")
        if self.transcription is not None:
            self.progress.total("transcribe", len(self.plan.systems) * turns)
        if self.judging is not None:
            self.progress.total("judge", self.plan.verdicts(self.judging.judge))

    def _recorded(self) -> Counter[str]:
        return Counter(exchange.system for exchange in self._of_plan())

    def _held(self) -> Counter[str]:
        """What earlier invocations brought of this plan, as `Summary.held` counts it.

        Nothing where turns are to be played again: what comes of that is judged by itself.
        """
        if self.plan.settings.retry:
            return Counter()
        labels, ids = self.plan.labels, self.plan.scenario_ids
        held = Counter(completed=sum(e.completed for e in self._of_plan()))
        if self.transcription is not None:
            made = self.run.transcripts(self.transcription.key).items()
            held["transcribed"] = sum(
                transcript.error is None for key, transcript in made if key.system in labels and key.scenario in ids
            )
        if self.judging is not None:
            given = self.run.verdicts(self.judging.key)
            held["scored"] = sum(v.missing is None for _, v in given if v.system in labels and v.scenario in ids)
        return held

    def _of_plan(self) -> list[Exchange]:
        labels, ids = self.plan.labels, self.plan.scenario_ids
        return [e for e in self.run.exchanges() if e.system in labels and e.scenario in ids]

    def _all_failed(self) -> list[str]:
        exchanges = self._of_plan()
        played = {e.system for e in exchanges}
        done = {e.system for e in exchanges if e.completed}
        return [spec.label for spec in self.plan.systems if spec.label in played - done]

    async def _system(self, spec: SystemSpec) -> None:
        """Play all scenarios against one system, and hand each conversation on."""
        pending = self._recorded()[spec.label] < sum(
            len(planned.scenario.turns) for planned in self.plan.planned_scenarios
        )
        players: Players | None = None
        try:
            if pending and "drive" in self.stages:
                players = await self._players(spec)
                await self._others()
                async with asyncio.TaskGroup() as group:
                    for planned in self.plan.planned_scenarios:
                        group.create_task(self._conversation(spec, planned, players))
            else:
                self._has_started()
                async with asyncio.TaskGroup() as group:
                    for planned in self.plan.planned_scenarios:
                        group.create_task(self._after(spec, planned, {}))
        finally:
            if players is not None:
                await players.stop()

    async def _players(self, spec: SystemSpec) -> Players:
        """Start a system, here or on the nodes of a cluster."""
        if self.cluster is not None and (like := self._likes[spec.label]).works_here:
            sharers = sum(bool(other.works_here and other.gpus) for other in self._likes.values())
            count = self.cluster.count(spec, like, sharers)
            return PlayersThere(await self._fleet(self.cluster, spec, like, count))
        host = await self._start(spec)
        own = asyncio.Semaphore(host.system.capabilities.max_concurrency or self.plan.settings.concurrency)
        return PlayersHere(host, self._driver(spec, host), own, self._everywhere)

    async def _fleet(self, cluster: Cluster, spec: SystemSpec, like: AvatarSystem, count: int) -> Fleet:
        def admit(seat: Seat, system: PlacedSystem) -> None:
            assert seat.host is not None
            self._admit(spec, system, system.facts)
            seat.player = self._driver(spec, seat.host)

        return await cluster.fleet(spec, like, count, admit)

    def _stay(self) -> list[str]:
        """The systems that no node plays; says so."""
        stay = [label for label, like in self._likes.items() if not like.works_here]
        if stay:
            self.progress.say(
                f"Played from this machine and not on nodes, because they only ask a service: {', '.join(stay)}. "
                f"Waiting for it, and paying it, stays with the process that keeps the ledger."
            )
        return stay

    def _made(self) -> dict[str, AvatarSystem]:
        return {spec.label: self.plan.factories[spec.label]() for spec in self.plan.systems}

    def _driver(self, spec: SystemSpec, host: Host) -> Driver:
        return Driver(
            spec.label,
            host,
            self.run,
            self.media,
            self.driving,
            budget=self.budget,
            writer=None if self.told is None else self.told.writer,
            speaker=None if self.told is None else self.told.speaker,
            on_event=self._on_event,
        )

    async def _start(self, spec: SystemSpec) -> Host:
        host = Host(self.plan.factories[spec.label], tell=lambda line: self.progress.say(f"{spec.label}: {line}"))
        try:
            await host.start()
            self._admit(spec, host.system, system_facts(host.system, spec))
        except BaseException as error:
            await host.stop()
            if isinstance(error, InterbenchError) or not isinstance(error, Exception):
                raise
            raise SystemLoadError(
                f"The system {spec.label!r} can't be started: {type(error).__name__}: {error}"
            ) from error
        return host

    def _admit(self, spec: SystemSpec, system: AvatarSystem, facts: dict[str, Any]) -> None:
        """See that what a started system makes may stand in this run."""
        told = self.told
        if told is not None and (system.takes_script or system.takes_speech):
            if not told.asked_for and system.capabilities.announces_cost:
                raise UsageError(
                    f"The system {spec.label!r} performs replies that a language model writes, the same for every "
                    f"system. Name the model's OpenAI-compatible server with --script URL, and `model` in "
                    f"script_options (see docs/systems.md), or have it perform the scenarios' own with --words script."
                )
            self.manifest.freeze(**(told.identity if system.takes_speech else {"words": told.identity["words"]}))
            facts["told"] = told.identity
        self.manifest.write({spec.label: facts})

    def _has_started(self) -> None:
        self._starting -= 1
        if not self._starting:
            self._all_started.set()

    async def _others(self) -> None:
        """Wait until every system has started.

        One that can't start ends the run, and a request that another had just paid for would be lost with it.
        """
        self._has_started()
        await self._all_started.wait()

    def _on_event(self, kind: str, key: Key, note: str) -> None:
        if kind == "done":
            self.progress.advance("drive", str(key))

    async def _conversation(self, spec: SystemSpec, planned: PlannedScenario, players: Players) -> None:
        transcription = self.transcription
        heard: dict[int, asyncio.Future[Transcript]] = {}

        async def recall(turn: int) -> str | None:
            if transcription is None:
                return None
            key = Key(spec.label, planned.scenario.id, turn)
            known = self.run.transcripts(transcription.key, key.system, key.scenario).get(key)
            if known is None and turn not in heard:
                (exchange,) = [e for e in self.run.exchanges(key.system, key.scenario) if e.turn == turn]
                heard[turn] = transcription.submit(exchange)
            if known is None:
                known = await asyncio.shield(heard[turn])
            return None if known.error is not None else known.text or None

        async def play() -> None:
            async with players.place(planned) as driver, contextlib.aclosing(driver.play(planned, recall)) as exchanges:
                try:
                    async for exchange in exchanges:
                        self.summary.count(exchange)
                        if transcription is not None and exchange.completed:
                            heard[exchange.turn] = transcription.submit(exchange)
                except CapReachedError as reached:
                    # The rest stays to be played; what has been paid for is transcribed and judged.
                    self.summary.cap = self.summary.cap or str(reached)
                except ClipGoneError as gone:
                    self.summary.held_up.append(str(gone))

        losses = 0
        while not self._is_played(spec, planned):
            try:
                await play()
                break
            except StrandedError as stranded:
                self.summary.stranded = self.summary.stranded or str(stranded)
                break
            except NodeLostError as lost:
                losses += 1
                # The turns so far may be played again, and must not be given the words of these.
                await asyncio.gather(*heard.values(), return_exceptions=True)
                heard.clear()
                if losses >= MOST_LOSSES:
                    # It may be what brings nodes down, and that is for people to see; it is no outcome of the system.
                    self.summary.stranded = self.summary.stranded or (
                        f"The conversation {planned.scenario.id} of {spec.label} lost its node {losses} times and "
                        f"stays to be played, the last time: {lost}"
                    )
                    break
        await self._after(spec, planned, heard)

    def _is_played(self, spec: SystemSpec, planned: PlannedScenario) -> bool:
        done = self.run.exchanges(spec.label, planned.scenario.id)
        return len(done) == len(planned.scenario.turns) and not self.run.staged(spec.label, planned.scenario.id)

    async def _after(
        self, spec: SystemSpec, planned: PlannedScenario, heard: dict[int, asyncio.Future[Transcript]]
    ) -> None:
        """Transcribe and judge a conversation that has been played; ``heard`` are transcripts already under way."""
        transcription, judging = self.transcription, self.judging
        if transcription is None:
            return
        exchanges = self.run.exchanges(spec.label, planned.scenario.id)
        known = self.run.transcripts(transcription.key, spec.label, planned.scenario.id)
        for exchange in exchanges:
            done = known.get(Key(spec.label, planned.scenario.id, exchange.turn))
            if exchange.completed and exchange.turn not in heard and (done is None or done.error is not None):
                heard[exchange.turn] = transcription.submit(exchange)
        for index in range(1, len(exchanges) + 1):
            if index in heard:
                self.summary.count_transcript(await heard[index])
            self.progress.advance("transcribe")
        if judging is None:
            return
        conversation = played(self.run, planned.scenario, spec.label, transcription.key, transcription.label)
        if conversation is None:
            self.summary.unplayed += 1
            return
        shown = self.run.face_path(spec.label, planned.scenario.id)
        portrait = shown if shown.exists() else planned.portrait
        conversation = replace(conversation, persona=planned.persona, portrait=portrait)
        verdicts = await judging.give(conversation)
        for verdict in verdicts:
            self.summary.count_verdict(verdict)
        for _ in range(len(judging.judge.dimensions) * self.plan.settings.repeats):
            self.progress.advance("judge")


def _told(settings: Settings, run: Run, script: ScriptWriter | None) -> Told:
    return tell(
        run,
        script=script,
        words=settings.words,
        words_options=settings.words_options,
        speech=settings.speech,
        speech_options=settings.speech_options,
    )


def _script_writer(settings: Settings, run: Run) -> ScriptWriter | None:
    if settings.script is None:
        return None
    return ScriptWriter(run, settings.script, **script_options().check(settings.script_options))

"""Tries out an adapter and says in plain words what is wrong with it.

One real conversation of two turns is played through the same driver as in a run, and around it everything that a run
relies on but can't see from inside one turn: that the event loop stays free, that a turn can be given up, that
conversations do not get in each other's way, that an interrupted conversation can be taken up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

from interbench.asr.base import Transcriber, Utterance
from interbench.base.errors import InterbenchError, SystemLoadError
from interbench.base.foreign import mended
from interbench.base.masking import mask
from interbench.base.scratch import Scratch
from interbench.domain.records import Exchange, Outcome
from interbench.drive.driver import Driver, DriveSettings
from interbench.drive.script import ReferenceWriter
from interbench.drive.speech import UserSpeech
from interbench.drive.voice import Espeak, ReplySpeaker
from interbench.media.pool import MediaPool
from interbench.pipeline.findings import (
    Finding,
    Level,
    clip_findings,
    echo_findings,
    heard_findings,
    text_findings,
)
from interbench.scenarios.plan import PlannedScenario, plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.store.run_folder import Run
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Opening, TurnRequest
from interbench.systems.host import Host, StuckError
from interbench.systems.registry import SystemSpec

_LAG_S = 0.5
"""An event loop that does not turn for this long is blocked."""


def _queued_s() -> float:
    """Seconds that this thread was ready to run while others had the processors; 0 where the kernel does not tell."""
    try:
        _, queued, *_ = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return int(queued) / 1e9


async def check_system(
    spec: SystemSpec,
    *,
    deadline_s: float,
    keep: Path | None = None,
    listens: bool = True,
    transcriber: Transcriber | None = None,
) -> list[Finding]:
    """Check the adapter that ``spec`` names.

    Args:
        spec: the system.
        deadline_s: seconds that a turn may take.
        keep: a folder in which the clips are left; None removes them.
        listens: whether the transcriber of a run hears clips itself.
        transcriber: hears the clips of the first conversation, to see whether they repeat the user; None to leave that
            to the clips' sound and the reported text.

    Returns:
        What was found, in the order in which it was checked; the checks end early where nothing more can be tried.
    """
    try:
        factory = spec.factory()
    except SystemLoadError as error:
        return [Finding("wrong", mended(str(error)))]
    whole = load_set("starter")
    planned_scenarios = plan_scenarios(whole, whole)[:2]
    # Two turns show whether a conversation goes on; more would only cost.
    planned_scenarios = tuple(
        replace(planned, scenario=planned.scenario.model_copy(update={"turns": planned.scenario.turns[:2]}))
        for planned in planned_scenarios
    )
    async with contextlib.AsyncExitStack() as stack:
        folder = keep or stack.enter_context(Scratch("check")).path
        # Two conversations are played side by side; the others take turns with the same two processes.
        media = await stack.enter_async_context(MediaPool(size=2))
        host = Host(factory)
        checks = _Checks(spec, host, media, planned_scenarios, folder, deadline_s, listens)
        checks.transcriber = transcriber
        try:
            await checks.go()
        finally:
            await host.stop()
    return checks.findings


class _Checks:
    def __init__(
        self,
        spec: SystemSpec,
        host: Host,
        media: MediaPool,
        planned_scenarios: tuple[PlannedScenario, ...],
        folder: Path,
        deadline_s: float,
        listens: bool,
    ) -> None:
        self.spec = spec
        self.host = host
        self.media = media
        self.planned_scenarios = planned_scenarios
        self.folder = folder
        self.deadline_s = deadline_s
        self.listens = listens
        self.transcriber: Transcriber | None = None
        self.findings: list[Finding] = []

    def say(self, level: Level, text: str) -> None:
        self.findings.append(Finding(level, mended(text)))

    async def go(self) -> None:
        if not await self._start():
            return
        system = self.host.system
        self._describe(system)
        if self.transcriber is not None:
            await self.transcriber.start()
        try:
            first = await self._play("first conversation", self.planned_scenarios[0], watch=True)
        finally:
            if self.transcriber is not None:
                await self.transcriber.stop()
            self.transcriber = None
        if not first or not all(exchange.completed for exchange in first):
            return
        self._compare_with_capabilities(first, system.capabilities)
        await self._second_conversation(system.capabilities)
        await self._give_up()
        await self._take_up(system.capabilities)

    async def _start(self) -> bool:
        began = time.monotonic()
        try:
            await self.host.start()
        except Exception as error:
            self.say("wrong", f"start() failed: {type(error).__name__}: {error}")
            return False
        self.say("ok", f"constructed and started in {time.monotonic() - began:.1f} s (not counted as latency)")
        return True

    def _describe(self, system: AvatarSystem) -> None:
        if system.version == "unknown":
            self.say("note", "version is 'unknown': let the adapter or its service give one, for the results")
        try:
            settings = dict(system.settings())
            json.dumps(settings)
        except (TypeError, ValueError) as error:
            self.say("wrong", f"settings() can't be written as JSON: {error}")
            return
        if mask(settings) != settings:
            self.say("wrong", "settings() holds something that looks like a key or token; it goes into the manifest")
        if not (type(system).__doc__ or "").strip():
            self.say("note", "the class has no docstring; its first line is shown by `interbench list systems`")

    @contextlib.asynccontextmanager
    async def _watching_the_loop(self) -> AsyncIterator[None]:
        """Notice an adapter that blocks its event loop while it works.

        On a busy machine every thread waits for its turn: what a thread that does nothing is late by, too, at that
        moment, and how long the loop's own thread could have run and had no processor, is not the adapter's doing.
        """
        blocked = 0.0
        idle_until = time.monotonic()
        late_since_beat = 0.0
        ended = threading.Event()

        def idle() -> None:
            nonlocal idle_until, late_since_beat
            while not ended.is_set():
                ended.wait(0.05)
                now = time.monotonic()
                late_since_beat = max(late_since_beat, now - idle_until - 0.05)
                idle_until = now

        async def beat() -> None:
            nonlocal blocked, late_since_beat
            while True:
                before, queued_before = time.monotonic(), _queued_s()
                await asyncio.sleep(0.05)
                now, queued = time.monotonic(), _queued_s() - queued_before
                # The idle thread may be late itself at this moment, and not have noticed yet.
                late_anyway, late_since_beat = max(late_since_beat, now - idle_until - 0.05), 0.0
                blocked = max(blocked, now - before - 0.05 - max(late_anyway, queued))

        async def start_beating() -> asyncio.Task[None]:
            return asyncio.create_task(beat())

        threading.Thread(target=idle, name="conformance-idle", daemon=True).start()
        task = await self.host.call(start_beating)
        generation = self.host.generation
        try:
            yield
        finally:
            ended.set()
            if self.host.generation == generation:

                async def stop_beating() -> None:
                    task.cancel()

                with contextlib.suppress(TimeoutError, StuckError):
                    await self.host.call(stop_beating, 5.0)
            if blocked > _LAG_S:
                self.say(
                    "wrong",
                    f"the event loop was blocked for {blocked:.1f} s: several conversations can't run "
                    "side by side and clocks would be late. Await, use asyncio.to_thread, or derive from ClipSystem "
                    "with a plain render()",
                )

    async def _play(
        self, name: str, planned: PlannedScenario, folder: str = "run", *, watch: bool = False
    ) -> list[Exchange]:
        with Run(self.folder / folder, write=True) as run:
            settings = DriveSettings(deadline_s=self.deadline_s)
            driver = Driver(
                self.spec.label,
                self.host,
                run,
                self.media,
                settings,
                writer=ReferenceWriter(),
                speaker=ReplySpeaker(run, Espeak()),
            )
            # Not while clips are listened to: a transcriber at work in this process holds the loop up as well.
            async with self._watching_the_loop() if watch else contextlib.nullcontext():
                exchanges = [exchange async for exchange in driver.play(planned)]
            echoes = [await self._echo(name, planned, exchange, run.path) for exchange in exchanges]
        for exchange, echo in zip(exchanges, echoes, strict=True):
            self._judge_turn(name, planned, exchange)
            self.findings += echo
        return exchanges

    async def _echo(self, name: str, planned: PlannedScenario, exchange: Exchange, run: Path) -> list[Finding]:
        """Whether the avatar repeats the user, by the sound of its clip."""
        if not exchange.completed or exchange.clip is None or exchange.facts is None or not exchange.facts.audible:
            return []
        where = f"{name}, turn {exchange.turn}"
        clip = await self.media.audio(run / exchange.clip)
        recorded = planned.line_audio(exchange.turn, exchange.variant)
        user = None if recorded is None else await self.media.audio(recorded)
        found = list(await asyncio.to_thread(lambda: list(echo_findings(where, clip, user))))
        if not found and self.transcriber is not None and clip is not None:
            (heard,) = await self.transcriber.transcribe([Utterance(where, clip, exchange.facts, None)])
            found = list(
                heard_findings(where, planned.scenario.turns[exchange.turn - 1].line(exchange.variant), heard.text)
            )
        return found

    def _judge_turn(self, name: str, planned: PlannedScenario, exchange: Exchange) -> None:
        where = f"{name}, turn {exchange.turn}"
        if exchange.outcome in (Outcome.BLOCKED, Outcome.RETIRED):
            self.say("wrong", f"{where}: {exchange.outcome.value} ({exchange.code}) {exchange.message}".rstrip())
            return
        if not exchange.completed or exchange.facts is None or exchange.timings is None:
            advice = _ADVICE.get(exchange.code, "")
            at = exchange.detail.get("raised_at")
            raised = f" Raised at {at}." if at else ""
            told = f"{where}: {exchange.outcome.value} ({exchange.code}) {exchange.message}.{raised} {advice}"
            self.say("wrong", told.rstrip())
            return
        facts, timings = exchange.facts, exchange.timings
        shown = (
            "its picture runs on between answers"
            if timings.continuous
            else f"first frame after {timings.first_frame_s:.2f} s"
        )
        heard = "" if timings.first_speech_s is None else f"first sound after {timings.first_speech_s:.2f} s, "
        self.say(
            "ok",
            f"{where}: {facts.duration_s:.2f} s of {facts.width}x{facts.height} at {facts.fps:g} fps, {shown}, "
            f"{heard}complete after {timings.complete_s:.2f} s",
        )
        asked = planned.scenario.turns[exchange.turn - 1].line(exchange.variant)
        self.findings += clip_findings(where, facts)
        self.findings += text_findings(where, facts, asked, exchange.reply_text, listens=self.listens)

    def _compare_with_capabilities(self, exchanges: list[Exchange], capabilities: Capabilities) -> None:
        reported = [exchange.reply_text for exchange in exchanges]
        if capabilities.reports_text and None in reported:
            self.say("wrong", "capabilities say reports_text, but a turn came without ReplyText")
        if not capabilities.reports_text and any(text is not None for text in reported):
            self.say("note", "the system reports its text; set reports_text so that listings say so")
        for exchange in exchanges:
            facts = exchange.facts
            assert facts is not None
            if capabilities.fps is not None and abs(facts.fps - capabilities.fps) > 0.5:
                self.say(
                    "wrong", f"capabilities promise {capabilities.fps:g} fps, turn {exchange.turn} has {facts.fps:g}"
                )
            if capabilities.sizes and (facts.width, facts.height) not in capabilities.sizes:
                sizes = ", ".join(f"{width}x{height}" for width, height in capabilities.sizes)
                self.say(
                    "wrong",
                    f"capabilities promise {sizes}, turn {exchange.turn} has {facts.width}x{facts.height}",
                )
            streamed = any(kind == "first_frame" for _, kind, _ in exchange.events)
            timings = exchange.timings
            assert timings is not None
            if capabilities.output == "stream" and timings.first_frame_s >= timings.complete_s and not streamed:
                self.say(
                    "note",
                    f"turn {exchange.turn}: output is 'stream', but the first frame could be shown only when all had "
                    f"arrived; is the MP4 fragmented?",
                )

    async def _second_conversation(self, capabilities: Capabilities) -> None:
        if len(self.planned_scenarios) < 2 or capabilities.max_concurrency == 1:
            return
        both = await asyncio.gather(
            self._play("first of two side by side", self.planned_scenarios[0], "side-a"),
            self._play("second of two side by side", self.planned_scenarios[1], "side-b"),
        )
        if all(exchange.completed for exchanges in both for exchange in exchanges):
            self.say("ok", "two conversations at the same time")

    async def _give_up(self) -> None:
        """See that a turn can be abandoned at its deadline."""

        async def abandoned() -> Conversation:
            conversation = await self.host.system.open(self.planned_scenarios[0].persona)
            try:
                await conversation.prepare(
                    Opening(self.planned_scenarios[0].scenario.id, self.planned_scenarios[0].portrait, 1)
                )
            except BaseException:
                with contextlib.suppress(Exception):
                    await conversation.close()
                raise
            return conversation

        stack = contextlib.ExitStack()
        try:
            conversation = await self.host.call(abandoned, self.deadline_s)
            workdir = self.folder / "abandoned"
            shutil.rmtree(workdir, ignore_errors=True)
            workdir.mkdir(parents=True)
            planned = self.planned_scenarios[0]
            turn = planned.scenario.turns[0]
            speech = UserSpeech(self.media, stack.enter_context(Scratch("speech")).path)
            audio = await speech.playable(planned.audio[0])
            request = TurnRequest(
                scenario=planned.scenario.id,
                index=1,
                text=turn.text,
                audio=audio,
                history=(),
                portrait=planned.portrait,
                seed=1,
                workdir=workdir.resolve(),
                deadline_s=0.01,
                reference=planned.references[0] if self.host.system.capabilities.needs_reference else None,
                script=planned.references[0].reply if self.host.system.takes_script else None,
            )
            with contextlib.suppress(TimeoutError):
                async for _ in self.host.events(lambda: conversation.respond(request), 0.01):
                    pass
            await self.host.call(conversation.close, 10.0)
        except StuckError:
            self.say(
                "wrong", "a turn that is given up at its deadline leaves the system hanging; react to cancellation"
            )
            await self.host.restart()
        except TimeoutError:
            self.say("wrong", "close() does not come back after a turn was given up")
        except Exception as error:
            self.say("wrong", f"giving a turn up raises {type(error).__name__}: {error}")
        else:
            self.say("ok", "a turn can be given up at its deadline")
        finally:
            stack.close()

    async def _take_up(self, capabilities: Capabilities) -> None:
        """Play one turn, forget everything but the ledger, play on."""
        planned = self.planned_scenarios[0]
        head = replace(planned, scenario=planned.scenario.model_copy(update={"turns": planned.scenario.turns[:1]}))
        with self._quietly():
            await self._play("interrupted", head, "resumed")
            exchanges = await self._play("taken up", planned, "resumed")
        if [exchange.turn for exchange in exchanges] == [2] and exchanges[0].completed:
            self.say("ok", "an interrupted conversation is taken up where it was")
        elif exchanges and exchanges[0].turn == 1:
            self.say(
                "note", "an interrupted conversation is played again from its first turn; restore() could avoid that"
            )
        else:
            self.say(
                "wrong", "an interrupted conversation can't be taken up: " + (exchanges[0].message if exchanges else "")
            )

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Leave out the turn-by-turn lines of a check that has its own closing line."""
        before = len(self.findings)
        try:
            yield
        except InterbenchError as error:
            self.say("wrong", str(error))
            raise
        else:
            self.findings = self.findings[:before]


_ADVICE = {
    "no_final_event": "The last event of a turn has to be Completed, Blocked, Failed, Retired or TimedOut",
    "media_missing": "Write the clip to the given path, or name it in Completed(path)",
    "media_outside": "Files handed back have to lie in turn.workdir",
    "media_symlink": "Copy the file into turn.workdir instead of linking it",
    "media_truncated": "Was the file closed before Completed was yielded?",
    "media_no_video": "The answer has to be a video with sound",
    "timed_out": "A longer --deadline may help; else see where it waits",
}

"""The stages of a run as a pipeline over one run folder.

A conversation goes on to the next stage as soon as it is complete, while others are still being played. Every stage
asks the ledger what is still to do, so the same invocation after a kill goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from interbench.asr.base import Transcriber, Utterance
from interbench.asr.ear_check import check_ear
from interbench.asr.stage import TranscriptionStage
from interbench.base.bundled import data_path
from interbench.base.errors import CapReachedError, InterbenchError, StoreError, SystemLoadError, UsageError
from interbench.base.progress import Progress
from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.names import alike, unprinted
from interbench.domain.records import COPY_RECIPE, Exchange, Transcript
from interbench.drive.driver import Driver, DriveSettings
from interbench.drive.script import ScriptWriter
from interbench.drive.spending import Budget, Caps, spoken_totals
from interbench.judge.base import Judge
from interbench.judge.stage import JudgingStage
from interbench.media.pool import MediaPool
from interbench.pipeline.config import Settings, load_settings, mask, read_settings_file
from interbench.scenarios.plan import PlannedScenario, plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.store.manifest import merge, now, read_manifest
from interbench.store.played import played
from interbench.store.run_folder import Key, Run
from interbench.systems.base import AvatarSystem
from interbench.systems.events import JsonValue
from interbench.systems.host import Host
from interbench.systems.registry import SystemSpec

Stage = Literal["drive", "transcribe", "judge"]
_LATER_SETTINGS = ("judge", "judge_options", "transcriber", "transcriber_options", "repeats", "concurrency")
ALL_STAGES: tuple[Stage, ...] = ("drive", "transcribe", "judge")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked to do."""

    settings: Settings
    parts: tuple[PlannedScenario, ...]
    systems: tuple[SystemSpec, ...]
    factories: Mapping[str, Callable[[], AvatarSystem]]
    """By system label."""

    @property
    def clips(self) -> int:
        return len(self.systems) * sum(len(part.scenario.turns) for part in self.parts)

    @property
    def verdicts(self) -> int:
        return len(self.systems) * len(self.parts) * len(DIMENSIONS) * self.settings.repeats


@dataclass(slots=True)
class Summary:
    """What an invocation did."""

    outcomes: Counter[str] = field(default_factory=Counter)
    troubled: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Turns that were not completed, by system, outcome and code."""
    examples: dict[tuple[str, str, str], Exchange] = field(default_factory=dict)
    """The first of each of these."""
    transcripts: int = 0
    untranscribed: Counter[str] = field(default_factory=Counter)
    """Transcripts that could not be made, by why."""
    verdicts: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    unplayed: int = 0
    """Conversations that could not be judged because they were not played to their end yet."""
    judge: Mapping[str, Any] = field(default_factory=dict)
    ear: str = ""
    """One line on how well the transcriber hears; empty if it does not listen."""
    transcriber: Sequence[str] = ()
    """What the transcriber has to say of what it loaded."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Why the judge was given plain copies, by the SHA-256 of the clips."""
    spent: str = ""
    """One line on money; empty if nothing costs any."""
    cap: str = ""
    """Why turns were left unplayed, if a cap was reached."""

    @property
    def did_something(self) -> bool:
        """Whether the ledger holds more than before."""
        return bool(self.outcomes or self.transcripts or self.verdicts)

    def count(self, exchange: Exchange) -> None:
        """Take in one turn that was played."""
        self.outcomes[exchange.outcome.value] += 1
        if not exchange.completed:
            kind = (exchange.system, exchange.outcome.value, exchange.code)
            self.troubled[kind] += 1
            self.examples.setdefault(kind, exchange)


def make_plan(settings: Settings) -> Plan:
    """Load the scenarios and find the systems.

    Raises:
        InterbenchError: anything that can be known to be wrong before the first clip.
    """
    whole = load_set(settings.scenarios, personas=settings.personas)
    chosen = whole.select(settings.only, categories=settings.categories, limit=settings.limit)
    specs = tuple(SystemSpec.parse(text, settings.system, settings.system_defaults) for text in settings.systems)
    if not specs:
        raise UsageError(
            "There is no system to test; name at least one with --systems (see `interbench list systems`)."
        )
    labels = [spec.label for spec in specs]
    for label, count in Counter(labels).items():
        if count > 1:
            raise UsageError(f"The system {label!r} is named twice; give one of them another label: other={label}.")
    require_distinct(labels)
    for label in settings.system:
        if label not in labels:
            raise UsageError(f"There are options for the system {label!r}, but it is not among those to test.")
    return Plan(settings, plan_scenarios(chosen, whole), specs, {spec.label: spec.factory() for spec in specs})


def require_distinct(labels: Sequence[str]) -> None:
    """Refuse labels of systems that a reader of the table could not tell apart, or not see.

    Raises:
        UsageError: naming them.
    """
    for label in labels:
        if unprinted(label):
            raise UsageError(f"The label {label!a} holds control characters; give the system another: other=...")
    if pair := alike(labels):
        raise UsageError(
            f"The systems {pair[0]!a} and {pair[1]!a} look the same in a table; give one of them another "
            f"label: other=..."
        )


def resume_plan(path: Path, file: Path | None, changes: Mapping[str, Any]) -> Plan:
    """The plan of an existing run folder, for stages after the drive: nothing but the folder is needed.

    Args:
        path: the run folder.
        file: a settings file whose judge and transcriber settings replace the run's.
        changes: settings that replace both (judge, transcriber, repeats); None keeps what is there.
    """
    with Run(path, write=False) as run:
        manifest = read_manifest(run.manifest_path)
        parts = run.parts()
    if manifest is None:
        raise StoreError(
            f"{path} has no manifest.json, so nothing was planned there yet; give it to `interbench run` first."
        )
    given = {name: value for name, value in changes.items() if value is not None}
    for name, value in list(given.items()):
        # Options belong to the judge or transcriber that they were given with.
        if value != manifest["settings"].get(name) and f"{name}_options" in Settings.model_fields:
            given[f"{name}_options"] = {}
    later = read_settings_file(file)
    if unusable := [name for name in later if name not in _LATER_SETTINGS]:
        raise UsageError(
            f"The setting {unusable[0]!r} in {file} is about playing; an existing run can only be given "
            f"{', '.join(_LATER_SETTINGS)}."
        )
    settings = load_settings({**manifest["settings"], **later, **given, "out": path})
    specs = tuple(SystemSpec(label, label, {}) for label in manifest["plan"])
    return Plan(settings, parts, specs, {})


async def execute(
    plan: Plan,
    *,
    transcriber: Transcriber,
    judge: Judge,
    progress: Progress,
    stages: Iterable[Stage] = ALL_STAGES,
) -> Summary:
    """Do what the plan asks for and the ledger does not hold.

    Raises:
        InterbenchError: something that stops the run; what is done so far is in the ledger.
    """
    wanted = frozenset(stages)
    with Run(plan.settings.out, write=True) as run:
        pipeline = _Pipeline(plan, run, progress, wanted)
        try:
            await pipeline.go(transcriber, judge)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        return pipeline.summary


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception that tells the user most."""
    leaves: list[BaseException] = []

    def collect(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                collect(inner)
        else:
            leaves.append(error)

    collect(group)
    return next((leaf for leaf in leaves if isinstance(leaf, InterbenchError)), leaves[0])


class _Pipeline:
    def __init__(self, plan: Plan, run: Run, progress: Progress, stages: frozenset[Stage]) -> None:
        self.plan = plan
        self.run = run
        self.progress = progress
        self.stages = stages
        self.summary = Summary()
        self._starting = len(plan.systems)
        self._all_started = asyncio.Event()
        settings = plan.settings
        self.budget = Budget(run, Caps(settings.max_usd, settings.max_video_seconds))
        self.writer = _script_writer(settings, run) if "drive" in stages else None

    async def go(self, transcriber: Transcriber, judge: Judge) -> None:
        settings = self.plan.settings
        self._write_manifest({})
        for part in self.plan.parts:
            self.run.record_part(part)
        if "drive" in self.stages:
            self._take_back()
        async with contextlib.AsyncExitStack() as stack:
            media = await stack.enter_async_context(MediaPool(size=min(2, settings.concurrency)))
            ear = gavel = None
            if "judge" in self.stages or "transcribe" in self.stages:
                ear = await stack.enter_async_context(TranscriptionStage(transcriber, self.run, media))
            if "judge" in self.stages:
                gavel = await stack.enter_async_context(JudgingStage(judge, self.run, settings.repeats, media))
            self._note_makers(ear, gavel)
            self._announce(ear, gavel)
            everywhere = asyncio.Semaphore(settings.concurrency)
            async with asyncio.TaskGroup() as group:
                for spec in self.plan.systems:
                    group.create_task(self._system(spec, media, ear, gavel, everywhere))
            if ear is not None and transcriber.needs_audio:
                await self._check_ear(transcriber, ear.key, media)
            if self.summary.did_something:
                self._amend_manifest(finished=now())
            self.summary.spent = spoken_totals(self.run.spending())
            if gavel is not None and gavel.copies.given_out:
                self.summary.copies = dict(gavel.copies.given_out)
                self._amend_manifest(plain_copies={"recipe": COPY_RECIPE, "because": self.summary.copies})
            if self.summary.verdicts:
                self.summary.judge = dict(judge.summary())
                self._amend_manifest(judge_summary=self.summary.judge)

    def _write_manifest(self, systems: Mapping[str, Mapping[str, Any]]) -> None:
        plan, settings = self.plan, self.plan.settings
        held = read_manifest(self.run.manifest_path)
        require_distinct([*(held or {}).get("plan", {}), *(spec.label for spec in plan.systems)])
        manifest = merge(
            held,
            settings=settings.public(),
            frozen={
                **asdict(self._drive_settings()),
                **({} if self.writer is None else {"script": self.writer.identity}),
            },
            scenarios={part.scenario.id: part.scenario.digest() for part in plan.parts},
            personas={part.persona.id: _digest(part.persona.model_dump_json()) for part in plan.parts},
            plan={spec.label: [part.scenario.id for part in plan.parts] for spec in plan.systems},
            systems=systems,
            prompts=_folder_digest(data_path("prompts")),
        )
        self.run.keep_manifest(manifest)

    def _note_makers(self, ear: TranscriptionStage | None, gavel: JudgingStage | None) -> None:
        """Say in the manifest whose transcripts and verdicts are the run's current ones."""
        if ear is not None:
            self.summary.transcriber = ear.notes
            self._amend_manifest(transcriber=ear.key, transcriber_notes=list(ear.notes))
        if gavel is not None:
            known = (read_manifest(self.run.manifest_path) or {}).get("judge_likeness", {})
            if gavel.key in known:
                gavel.judge.recognise(known[gavel.key])
            elif (likeness := gavel.judge.likeness()) is not None:
                self._amend_manifest(judge_likeness={**known, gavel.key: likeness})
            self._amend_manifest(judge=gavel.key)

    async def _check_ear(self, transcriber: Transcriber, key: str, media: MediaPool) -> None:
        """How well the transcriber hears the users, whose words are known.

        Once per transcriber and set of turns, and again while turns are without a transcript.
        """
        turns = [
            Utterance(
                key=f"user/{part.scenario.id}/{index}",
                samples=None if audio is None else await media.audio(audio),
                facts=None,
                reported_text=turn.text,
            )
            for part in self.plan.parts
            for index, (turn, audio) in enumerate(zip(part.scenario.turns, part.audio, strict=True), start=1)
        ]
        held = (read_manifest(self.run.manifest_path) or {}).get("ear_check", {})
        said = _digest(json.dumps([(turn.key, turn.reported_text) for turn in turns if turn.samples is not None]))
        if held.get("key") != key or held.get("said") != said or held.get("failed"):
            check = await check_ear(transcriber, turns)
            held = {**check.record(), "key": key, "said": said, "line": check.line()}
            self._amend_manifest(ear_check=held)
        self.summary.ear = str(held["line"])

    def _amend_manifest(self, **entries: Any) -> None:
        self.run.keep_manifest({**(read_manifest(self.run.manifest_path) or {}), **entries})

    def _drive_settings(self) -> DriveSettings:
        settings = self.plan.settings
        return DriveSettings(settings.seed, settings.deadline_s, settings.after_failure)

    def _take_back(self) -> None:
        """Forget the turns the user wants played again, and what was played after them."""
        retry = set(self.plan.settings.retry)
        if not retry:
            return
        first: dict[tuple[str, str], int] = {}
        labels = {spec.label for spec in self.plan.systems}
        ids = {part.scenario.id for part in self.plan.parts}
        for exchange in self.run.exchanges():
            if exchange.outcome.value in retry and exchange.system in labels and exchange.scenario in ids:
                pair = (exchange.system, exchange.scenario)
                first[pair] = min(first.get(pair, exchange.turn), exchange.turn)
        for (system, scenario), turn in first.items():
            self.run.discard(system, scenario, from_turn=turn)

    def _announce(self, ear: TranscriptionStage | None, gavel: JudgingStage | None) -> None:
        turns = sum(len(part.scenario.turns) for part in self.plan.parts)
        held = self._recorded()
        if "drive" in self.stages:
            self.progress.total("drive", self.plan.clips)
            for _ in range(sum(held.values())):
                self.progress.advance("drive")
        if ear is not None:
            self.progress.total("transcribe", len(self.plan.systems) * turns)
        if gavel is not None:
            self.progress.total("judge", self.plan.verdicts)

    def _recorded(self) -> Counter[str]:
        ids = {part.scenario.id for part in self.plan.parts}
        labels = {spec.label for spec in self.plan.systems}
        return Counter(
            exchange.system
            for exchange in self.run.exchanges()
            if exchange.system in labels and exchange.scenario in ids
        )

    async def _system(
        self,
        spec: SystemSpec,
        media: MediaPool,
        ear: TranscriptionStage | None,
        gavel: JudgingStage | None,
        everywhere: asyncio.Semaphore,
    ) -> None:
        """Play all scenarios against one system, and hand each conversation on."""
        pending = self._recorded()[spec.label] < sum(len(part.scenario.turns) for part in self.plan.parts)
        host: Host | None = None
        try:
            if pending and "drive" in self.stages:
                host = await self._start(spec)
                await self._others()
                driver = Driver(
                    spec.label,
                    host,
                    self.run,
                    media,
                    self._drive_settings(),
                    budget=self.budget,
                    writer=self.writer,
                    on_event=self._on_event,
                )
                limit = host.system.capabilities.max_concurrency or self.plan.settings.concurrency
                own = asyncio.Semaphore(limit)
                async with asyncio.TaskGroup() as group:
                    for part in self.plan.parts:
                        group.create_task(self._conversation(spec, part, driver, own, everywhere, ear, gavel))
            else:
                self._has_started()
                async with asyncio.TaskGroup() as group:
                    for part in self.plan.parts:
                        group.create_task(self._after(spec, part, ear, gavel, {}))
        finally:
            if host is not None:
                await host.stop()

    async def _start(self, spec: SystemSpec) -> Host:
        host = Host(self.plan.factories[spec.label], tell=lambda line: self.progress.say(f"{spec.label}: {line}"))
        try:
            await self._admit(spec, host)
        except InterbenchError:
            await host.stop()
            raise
        except Exception as error:
            await host.stop()
            raise SystemLoadError(
                f"The system {spec.label!r} can't be started: {type(error).__name__}: {error}"
            ) from error
        return host

    async def _admit(self, spec: SystemSpec, host: Host) -> None:
        """Start a system and see that what it makes may stand in this run."""
        await host.start()
        system = host.system
        if system.takes_script and self.writer is None:
            raise UsageError(
                f"The system {spec.label!r} performs replies that a language model writes, the same for every system. "
                f"Name the model's OpenAI-compatible server with --script URL, and `model` in script_options (see "
                f"docs/systems.md)."
            )
        facts = {
            "spec": spec.spec,
            "version": system.version,
            "settings": _public(system.settings()),
            "capabilities": capabilities_json(system),
            "description": type(system).variants().get(spec.variant) or _first_line(type(system)),
            "lowers": list(system.lowers),
            "caveats": list(system.caveats),
        }
        self._write_manifest({spec.label: facts})

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

    async def _conversation(
        self,
        spec: SystemSpec,
        part: PlannedScenario,
        driver: Driver,
        own: asyncio.Semaphore,
        everywhere: asyncio.Semaphore,
        ear: TranscriptionStage | None,
        gavel: JudgingStage | None,
    ) -> None:
        heard: dict[int, asyncio.Future[Transcript]] = {}

        async def recall(turn: int) -> str | None:
            if ear is None:
                return None
            key = Key(spec.label, part.scenario.id, turn)
            known = self.run.transcripts(ear.key, key.system, key.scenario).get(key)
            if known is None and turn not in heard:
                (exchange,) = [e for e in self.run.exchanges(key.system, key.scenario) if e.turn == turn]
                heard[turn] = ear.submit(exchange)
            if known is None:
                known = await asyncio.shield(heard[turn])
            return None if known.error is not None else known.text or None

        async with own, everywhere, contextlib.aclosing(driver.play(part, recall)) as exchanges:
            try:
                async for exchange in exchanges:
                    self.summary.count(exchange)
                    if ear is not None and exchange.completed:
                        heard[exchange.turn] = ear.submit(exchange)
            except CapReachedError as reached:
                # The rest stays to be played; what has been paid for is transcribed and judged.
                self.summary.cap = self.summary.cap or str(reached)
        await self._after(spec, part, ear, gavel, heard)

    async def _after(
        self,
        spec: SystemSpec,
        part: PlannedScenario,
        ear: TranscriptionStage | None,
        gavel: JudgingStage | None,
        heard: dict[int, asyncio.Future[Transcript]],
    ) -> None:
        """Transcribe and judge a conversation that has been played; ``heard`` are transcripts already under way."""
        if ear is None:
            return
        exchanges = self.run.exchanges(spec.label, part.scenario.id)
        known = self.run.transcripts(ear.key, spec.label, part.scenario.id)
        for exchange in exchanges:
            done = known.get(Key(spec.label, part.scenario.id, exchange.turn))
            if exchange.completed and exchange.turn not in heard and (done is None or done.error is not None):
                heard[exchange.turn] = ear.submit(exchange)
        for index in range(1, len(exchanges) + 1):
            if index in heard:
                transcript = await heard[index]
                self.summary.transcripts += 1
                if transcript.error is not None:
                    self.summary.untranscribed[transcript.error] += 1
            self.progress.advance("transcribe")
        if gavel is None:
            return
        conversation = played(self.run, part.scenario, spec.label, ear.key, ear.label)
        if conversation is None:
            self.summary.unplayed += 1
            return
        verdicts = await gavel.give(conversation)
        for verdict in verdicts:
            self.summary.verdicts += 1
            if verdict.missing is not None:
                self.summary.missing[verdict.missing.value] += 1
        for _ in range(len(DIMENSIONS) * self.plan.settings.repeats):
            self.progress.advance("judge")


def _script_writer(settings: Settings, run: Run) -> ScriptWriter | None:
    if settings.script is None:
        return None
    try:
        return ScriptWriter(run, settings.script, **settings.script_options)
    except TypeError as error:
        raise UsageError(
            f"script_options are wrong ({error}): `model` is needed; `words`, `seed`, `key_env` and `timeout_s` may be "
            f"given."
        ) from None


def capabilities_json(system: AvatarSystem | type[AvatarSystem]) -> dict[str, JsonValue]:
    """A system's capabilities as JSON types, unset ones left out."""
    result: dict[str, JsonValue] = {}
    for name, value in asdict(system.capabilities).items():
        if value in (None, "", ()):
            continue
        if isinstance(value, frozenset):
            value = sorted(value)
        elif not isinstance(value, (bool, int, float, str, list, tuple)):
            value = str(value)
        result[name] = value
    return result


def _public(settings: Mapping[str, JsonValue]) -> dict[str, Any]:
    masked: dict[str, Any] = mask(dict(settings))
    return masked


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _folder_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()

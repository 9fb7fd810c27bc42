"""Systems on conditions: one turn each, with image, sound and words given, through the driver of conversations."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.base.errors import InterbenchError, MediaError, SystemLoadError
from interbench.base.progress import Progress
from interbench.domain.persona import Persona
from interbench.domain.records import Exchange, Script
from interbench.domain.scenario import Scenario, Turn
from interbench.drive.driver import Driver, DriveSettings
from interbench.drive.voice import Spoken
from interbench.media.pool import MediaPool
from interbench.media.wav import WavError, decode_wav
from interbench.scenarios.plan import PlannedScenario
from interbench.single.base import Clip
from interbench.single.data import Condition
from interbench.store.manifest import merge, read_manifest
from interbench.store.run_folder import Run
from interbench.systems.base import AvatarSystem
from interbench.systems.events import ReferenceReply
from interbench.systems.facts import system_facts
from interbench.systems.host import Host
from interbench.systems.registry import SystemSpec

CATEGORY = "single-round"
WORDLESS = "(The speech is given as sound.)"
"""What stands for the words of a condition where nobody wrote them down."""
_PERSONA = Persona(
    id="subject",
    name="the subject",
    age=40,
    gender="nonbinary",
    appearance="The person in the reference image.",
    background="As in the reference image.",
)


@dataclass(frozen=True, slots=True)
class Player:
    """A system that is to be played."""

    label: str
    spec: SystemSpec
    factory: Callable[[], AvatarSystem]


class GivenWords:
    """What a condition's clip says, as the words of the avatar."""

    async def reply(self, planned: PlannedScenario, turn: int) -> Script:
        return Script(planned.references[turn - 1].reply)


class GivenSpeech:
    """The sound of a condition, for systems that make a picture to it: handed over as it is."""

    identity: Mapping[str, Any] = {"speech": "given"}

    async def speak(self, planned: PlannedScenario, turn: int, script: Script) -> Spoken:
        """The recording that the condition gives.

        Raises:
            MediaError: it is none any more.
        """
        path = planned.audio[turn - 1]
        if path is None:
            raise MediaError("no_audio", f"{planned.scenario.id}: the condition gives no sound.")
        data = await asyncio.to_thread(path.read_bytes)
        try:
            samples, header = decode_wav(data)
        except WavError as error:
            raise MediaError("damaged", f"{path}: {error}; prepare the conditions again in a new folder.") from error
        return Spoken(path, round(len(samples) / header.rate, 3), hashlib.sha256(data).hexdigest(), 0.0)


def scenario_of(condition: Condition, id_: str | None = None) -> PlannedScenario:
    """A condition as a scenario of one turn.

    Args:
        condition: what is given.
        id_: of the scenario, if it is not the condition's.
    """
    words = condition.candidate.text.strip() or WORDLESS
    turn = Turn(text=words, mood="neutral", reply=words)
    scenario = Scenario(
        id=id_ or condition.candidate.id,
        category=CATEGORY,
        title=condition.candidate.id,
        persona=_PERSONA.id,
        turns=(turn,),
    )
    reference = ReferenceReply(words, "neutral", words, (), ())
    return PlannedScenario(scenario, _PERSONA, (condition.audio.resolve(),), condition.image.resolve(), (reference,))


async def play(
    player: Player,
    planned_scenarios: Sequence[PlannedScenario],
    folder: Path,
    media: MediaPool,
    progress: Progress,
    *,
    seed: int,
    deadline_s: float,
    concurrency: int = 1,
) -> list[Exchange]:
    """Play what the run folder does not hold yet; gives one exchange for each scenario, in order.

    Raises:
        SystemLoadError: the system can't be started.
    """
    with Run(folder, write=True) as run:
        _note(run, player, planned_scenarios, seed, deadline_s, {})
        for planned in planned_scenarios:
            run.record_planned(planned)
        known = {exchange.scenario for exchange in run.exchanges(player.label)}
        left = [planned for planned in planned_scenarios if planned.scenario.id not in known]
        progress.total(player.label, len(planned_scenarios))
        for _ in range(len(planned_scenarios) - len(left)):
            progress.advance(player.label)
        if left:
            host = await _started(player, progress)
            try:
                facts = {player.label: system_facts(host.system, player.spec)}
                _note(run, player, planned_scenarios, seed, deadline_s, facts)
                driver = Driver(
                    player.label,
                    host,
                    run,
                    media,
                    DriveSettings(seed, deadline_s),
                    writer=GivenWords(),
                    speaker=GivenSpeech(),
                )
                limit = min(concurrency, host.system.capabilities.max_concurrency or concurrency)
                await _drive(driver, left, limit, player.label, progress)
            finally:
                await host.stop()
        found = {exchange.scenario: exchange for exchange in run.exchanges(player.label)}
        return [found[planned.scenario.id] for planned in planned_scenarios]


def _note(
    run: Run,
    player: Player,
    planned_scenarios: Sequence[PlannedScenario],
    seed: int,
    deadline_s: float,
    systems: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the run's manifest; refuses what would not be comparable with what is there."""
    manifest = merge(
        read_manifest(run.manifest_path),
        settings={"seed": seed, "deadline_s": deadline_s},
        frozen={"seed": seed, "deadline_s": deadline_s},
        scenarios={planned.scenario.id: planned.scenario.digest() for planned in planned_scenarios},
        personas={},
        plan={player.label: [planned.scenario.id for planned in planned_scenarios]},
        systems=systems,
        prompts="",
    )
    run.keep_manifest(manifest)


async def _started(player: Player, progress: Progress) -> Host:
    host = Host(player.factory, tell=lambda line: progress.say(f"{player.label}: {line}"))
    try:
        await host.start()
    except BaseException as error:
        await host.stop()
        if isinstance(error, InterbenchError) or not isinstance(error, Exception):
            raise
        raise SystemLoadError(
            f"The system {player.label!r} can't be started: {type(error).__name__}: {error}"
        ) from error
    return host


async def _drive(
    driver: Driver, planned_scenarios: Sequence[PlannedScenario], limit: int, label: str, progress: Progress
) -> None:
    turn = asyncio.Semaphore(limit)

    async def one(planned: PlannedScenario) -> None:
        async with turn, contextlib.aclosing(driver.play(planned)) as exchanges:
            async for exchange in exchanges:
                progress.advance(label, f"{exchange.scenario} {exchange.outcome.value}")

    if limit == 1:
        for planned in planned_scenarios:
            await one(planned)
        return
    async with asyncio.TaskGroup() as group:
        for planned in planned_scenarios:
            group.create_task(one(planned))


def played_clips(exchanges: Sequence[Exchange], conditions: Sequence[Condition], folder: Path) -> list[Clip]:
    """What a system made of each condition; where it made nothing, why."""
    clips = []
    for exchange, condition in zip(exchanges, conditions, strict=True):
        source = condition.cut.source
        if exchange.clip is None or exchange.facts is None:
            problem = f"{exchange.outcome.value.replace('_', ' ')} ({exchange.code})"
            clips.append(Clip(condition.candidate.id, folder, source, None, problem))
        else:
            clips.append(Clip(condition.candidate.id, folder / exchange.clip, source, exchange.facts))
    return clips

"""What a turn asks of a system: put together before its clock starts, because none of it is the system's time."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from interbench.base.errors import ClipGoneError, UsageError
from interbench.domain.guards import Chosen, choose
from interbench.domain.records import Exchange, Script
from interbench.drive import live
from interbench.drive.script import Writer, scripted_line
from interbench.drive.speech import UserSpeech
from interbench.drive.voice import Speaker, Spoken
from interbench.scenarios.plan import PlannedScenario
from interbench.store.clips import clip_problem
from interbench.store.run_folder import Key, Run
from interbench.systems.events import BargeIn, PastTurn, TurnRequest
from interbench.systems.host import Host

Recall = Callable[[int], Awaitable[str | None]]
"""What was said in a completed turn (1-based) by its transcript; None if there is none."""


@dataclass(frozen=True, slots=True)
class DriveSettings:
    """What makes two drives comparable."""

    seed: int = 0
    deadline_s: float = 600.0
    after_failure: Literal["continue", "stop"] = "continue"


@dataclass(frozen=True, slots=True)
class Asked:
    """A turn as it is put to the system."""

    request: TurnRequest
    line: Chosen
    """Which of the turn's lines the user speaks."""
    script: Script | None
    """What the avatar is to say, where it is told."""
    spoken: Spoken | None
    """The same as sound, where it is given that."""


def turn_seed(run_seed: int, scenario: str, turn: int) -> int:
    """Seed of one turn (0: of the whole conversation), the same for every system; 31 bits."""
    digest = hashlib.sha256(f"{run_seed}/{scenario}/{turn}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Asking:
    """Puts the turns of one system together.

    Args:
        label: what the system is called in this run.
        host: the started system.
        run: the run folder.
        speech: the users' speech in a form that systems are handed.
        settings: what makes drives comparable.
        writer: of the words of avatars that are told what to say.
        speaker: of these words, for systems that only make the picture.
    """

    def __init__(
        self,
        label: str,
        host: Host,
        run: Run,
        speech: UserSpeech,
        settings: DriveSettings,
        writer: Writer | None,
        speaker: Speaker | None,
    ) -> None:
        self._label = label
        self._host = host
        self._run = run
        self._speech = speech
        self._settings = settings
        self._writer = writer
        self._speaker = speaker

    async def turn(
        self, planned: PlannedScenario, key: Key, done: Sequence[Exchange], recall: Recall | None, line: Chosen | None
    ) -> Asked:
        """The turn after ``done``; with a ``line`` that was spoken already, where a job is taken up."""
        turn = planned.scenario.turns[key.turn - 1]
        line = await self._line(planned, key, done, recall) if line is None else line
        script = await self._script(planned, key)
        spoken = await self._spoken(planned, key, script)
        needed_s = self._host.system.turn_deadline_s(None if spoken is None else spoken.seconds)
        history = await self.history(planned, done)
        if recall is not None and self._host.system.reads_transcripts:
            history = tuple([await _recalled(past, recall) for past in history])
        request = TurnRequest(
            scenario=planned.scenario.id,
            index=key.turn,
            text=turn.line(line.variant),
            audio=await self._speech.playable(planned.line_audio(key.turn, line.variant)),
            history=history,
            portrait=planned.portrait,
            seed=turn_seed(self._settings.seed, planned.scenario.id, key.turn),
            workdir=self._run.workdir(key).resolve(),
            deadline_s=max(self._settings.deadline_s, needed_s or 0.0),
            reference=planned.references[key.turn - 1] if self._host.system.capabilities.needs_reference else None,
            script=None if script is None else script.text,
            speech=None if spoken is None else spoken.path.resolve(),
            mood=turn.line_mood(line.variant),
            barge_in=await self._barge_in(planned, key.turn),
        )
        return Asked(request, line, script, spoken)

    async def _barge_in(self, planned: PlannedScenario, turn: int) -> BargeIn | None:
        """With what the user interrupts the answer to ``turn``, if the system lets itself be interrupted."""
        if not self._host.system.capabilities.barge_in or live.interrupting(planned, turn) is None:
            return None
        return live.barge_in(planned, turn, await self._speech.playable(planned.line_audio(turn + 1, 0)))

    async def history(self, planned: PlannedScenario, done: Sequence[Exchange]) -> tuple[PastTurn, ...]:
        """The turns that were played, as a system is told of them.

        Raises:
            ClipGoneError: a clip is not the one that was recorded; a service would go on from something else.
        """
        for exchange in done:
            if exchange.clip is not None and exchange.facts is not None:
                problem = await asyncio.to_thread(clip_problem, self._run.path / exchange.clip, exchange.facts)
                if problem is not None:
                    raise ClipGoneError(problem.message)
        return tuple(
            [
                PastTurn(
                    index=exchange.turn,
                    user_text=planned.scenario.turns[exchange.turn - 1].line(exchange.variant),
                    user_audio=await self._speech.playable(planned.line_audio(exchange.turn, exchange.variant)),
                    outcome=exchange.outcome.value,
                    reply_text=exchange.reply_text,
                    clip=None if exchange.clip is None else self._run.path / exchange.clip,
                )
                for exchange in done
            ]
        )

    async def _line(
        self, planned: PlannedScenario, key: Key, done: Sequence[Exchange], recall: Recall | None
    ) -> Chosen:
        """What the user says in a turn after the answer before."""
        turn = planned.scenario.turns[key.turn - 1]
        if not turn.variants or not done:
            return Chosen()
        system = self._host.system
        if (system.takes_script or system.takes_speech) and self._writer is not None:
            return scripted_line(planned, key.turn, await self._writer.reply(planned, key.turn - 1))
        before = done[-1]
        if not before.completed:
            return Chosen()
        if before.reply_text and before.reply_text.strip():
            return choose(turn, before.reply_text, "reported")
        return choose(turn, None if recall is None else await recall(before.turn), "transcribed")

    async def _script(self, planned: PlannedScenario, key: Key) -> Script | None:
        """What the avatar is to say; written before the clock starts, because it is the same for every system."""
        system = self._host.system
        if not (system.takes_script or system.takes_speech):
            return None
        if self._writer is None:
            raise UsageError(f"The system {key.system} has to be told what to say, but nothing writes it.")
        return await self._writer.reply(planned, key.turn)

    async def _spoken(self, planned: PlannedScenario, key: Key, script: Script | None) -> Spoken | None:
        """The reply as sound; made before the clock starts, like its words."""
        if script is None or not self._host.system.takes_speech:
            return None
        if self._speaker is None:
            raise UsageError(f"The system {key.system} has to be given the reply as sound, but nothing speaks it.")
        return await self._speaker.speak(planned, key.turn, script)


async def _recalled(past: PastTurn, recall: Recall) -> PastTurn:
    if past.clip is None or past.reply_text is not None:
        return past
    return dataclasses.replace(past, reply_text=await recall(past.index))

"""The seam between the harness and the avatar systems it tests.

``await system.open(persona)`` gives a :class:`Conversation`; ``conversation.respond(turn)`` yields events
(:mod:`interbench.systems.events`) until one of the final ones. The system never reports times: the harness reads its
own monotonic clock whenever an event arrives, so an event must be yielded as soon as what it says is true. What a
system takes, gives and costs it says in its :class:`~interbench.systems.capabilities.Capabilities`.

Systems that just write one file per turn derive from :class:`interbench.systems.clip.ClipSystem` instead, and systems
that are a command line from :mod:`interbench.systems.command`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from interbench.base.errors import ResumeUnsupportedError
from interbench.domain.persona import Persona
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Event, JsonValue, Opening, PastTurn, TurnRequest


class Conversation(ABC):
    """One conversation with one persona. Turns come strictly one after the other."""

    async def prepare(self, opening: Opening) -> None:
        """Make ready for the first turn (upload the portrait, wait for a free place ...). Not counted as latency.

        Called once, before :meth:`restore` and the first ``respond``. An exception means that the conversation could
        not be opened.
        """

    async def ready(self) -> None:
        """Wait until the next turn can be taken: a model that is loaded again, a turn that was given up and is still
        being worked on. Not counted as latency; called before every ``respond``."""

    @abstractmethod
    def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        """Answer one turn: yield events, the last of them final.

        An exception ends the turn as failed and is recorded; it does not end the run. The harness closes the iterator
        (``aclose``) at the deadline, so clean-up belongs into ``finally``.
        """

    def resume(self, turn: TurnRequest, job_id: str) -> AsyncIterator[Event]:
        """Take up the job ``job_id`` of this turn again after an interruption, without paying a second time."""
        raise ResumeUnsupportedError(f"This system can't take up job {job_id} again.")

    def state(self) -> JsonValue:
        """What another process needs beside the history to take this conversation up; kept after every turn."""
        return None

    async def restore(self, history: Sequence[PastTurn], state: JsonValue) -> None:
        """Take up a conversation after an interruption: ``history`` was played, ``state`` is its last :meth:`state`.

        Called once, before the first ``respond``. A system whose capabilities say ``none`` or ``history`` need not
        override it. Raise :class:`ResumeUnsupportedError` and the conversation is played again from its first turn.
        """

    async def close(self) -> None:
        """Free what the conversation holds. Called once, whatever happened."""


class AvatarSystem(ABC):
    """An avatar system under test. Subclasses take their options as keyword arguments with defaults."""

    capabilities: Capabilities = Capabilities()
    """Of the class, for listings; an instance may refine it by its options."""
    tell: Callable[[str], None] = staticmethod(lambda line: None)
    """Shows the user a line, such as how far :meth:`start` is; set by the harness before it calls ``start``."""
    transport_s: float = 0.0
    """Seconds that bringing an answer here may take beyond its deadline; of systems on other machines."""

    @property
    def works_here(self) -> bool:
        """Whether its work is done on the machine that starts it, so that a run over many machines may start it on any
        of them. False for whatever only asks a service: there the waiting, and the money, stay with the one process
        that keeps the ledger."""
        asked = self.capabilities
        return not (asked.announces_cost or asked.resumes_jobs or asked.cancels_jobs or asked.price_usd_per_s)

    @property
    def gpus(self) -> float:
        """GPUs that one started system takes for itself."""
        return 0.0

    @property
    def server_log(self) -> Path | None:
        """Where the server that it has started writes what it has to say; None if there is none."""
        return None

    @classmethod
    def variants(cls) -> Mapping[str, str]:
        """Variants that can be named as ``name:variant``, each with one line on what it is.

        The class is constructed with ``variant=`` set.
        """
        return {}

    @classmethod
    def settled(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """``options`` with what a machine decides where nobody did, so that every machine of a run is told the same."""
        return options

    @classmethod
    def model_of(cls, options: Mapping[str, Any]) -> str:
        """Which of several models ``options``, which are settled, choose, where tables have to say it beside the
        system's name; else empty."""
        return ""

    @classmethod
    def lacking(cls) -> str:
        """What this machine lacks to start the system with its default options, and how to get it; empty if nothing
        that can be told without starting it."""
        return ""

    @property
    def lowers(self) -> tuple[str, ...]:
        """For a controlled defect: keys of the dimensions that must fall below the intact system, or ``outcome``."""
        return ()

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader of the results has to know of this system, a sentence each; stands above every figure."""
        return ()

    @property
    def takes_script(self) -> bool:
        """Whether :attr:`TurnRequest.script` has to be given: the avatar's words come from the run's script writer."""
        return False

    @property
    def takes_speech(self) -> bool:
        """Whether :attr:`TurnRequest.speech` has to be given, as a system needs that only makes the picture; it
        implies :attr:`takes_script`."""
        return False

    @property
    def reads_transcripts(self) -> bool:
        """Whether the replies in :attr:`TurnRequest.history` that the system does not know itself are to be
        transcribed, where the run has a transcriber; a turn then waits for the transcript of the one before it."""
        return False

    @property
    def turn_video_s(self) -> float | None:
        """Seconds of the longest clip that one turn may ask for; None if unknown."""
        longest = max(self.capabilities.durations_s, default=None)
        return longest if self.capabilities.max_duration_s is None else self.capabilities.max_duration_s

    @abstractmethod
    async def open(self, persona: Persona) -> Conversation:
        """Begin a conversation with ``persona``. Not counted in the latency of a turn."""

    def turn_deadline_s(self, speech_s: float | None) -> float | None:
        """Seconds that a turn whose speech lasts ``speech_s`` may need, where that can be more than a run gives it;
        None if the run's deadline is to hold."""
        return None

    def estimate_gpu_s(self, video_seconds: float) -> float | None:
        """Seconds of one GPU that ``video_seconds`` of answers take; None if that is not known or takes none."""
        return None

    @property
    def version(self) -> str:
        """Version of what is tested, kept in the manifest."""
        return "unknown"

    def settings(self) -> Mapping[str, JsonValue]:
        """Settings that make results incomparable when they change; kept in the manifest, so never a secret."""
        return {}

    def estimate_usd(self, video_seconds: float) -> float | None:
        """What ``video_seconds`` of answers will cost; None if unknown, 0 if free."""
        price = self.capabilities.price_usd_per_s
        return None if price is None else price * video_seconds

    async def cancel(self, job_id: str) -> bool:
        """Ask the service to stop a job; whether it says that it did. The system has been started."""
        return False

    async def start(self) -> None:
        """Make ready (load weights, start servers). Called once before the first ``open``; not counted as latency."""

    async def stop(self) -> None:
        """Release everything. Called once, also after a failed ``start``."""

"""The seam between the harness and the avatar systems it tests.

``await system.open(persona)`` gives a :class:`Conversation`; ``conversation.respond(turn)`` yields :data:`Event`
objects until one of the final ones. The system never reports times: the harness reads its own monotonic clock whenever
an event arrives, so an event must be yielded as soon as what it says is true.

Systems that just write one file per turn derive from :class:`interbench.systems.clip.ClipSystem` instead, and systems
that are a command line from :mod:`interbench.systems.command`.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from interbench.base.errors import ResumeUnsupportedError
from interbench.domain.persona import Persona

JsonValue: TypeAlias = bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a system takes, gives, costs and keeps in mind. Data only: shown by ``interbench list systems``."""

    inputs: frozenset[Literal["text", "audio", "image"]] = frozenset({"text"})
    """What of a turn the system makes use of: the user's words, the user's sound, the persona's portrait."""
    output: Literal["file", "stream"] = "file"
    """``file``: the clip arrives whole. ``stream``: media chunks arrive while it is being made."""
    state: Literal["none", "history", "last_frame", "session", "kv_cache"] = "none"
    """What carries over between turns. ``none`` and ``history`` live in the harness alone."""
    reports_text: bool = False
    """Whether the system says what its avatar says (:class:`ReplyText`)."""
    needs_reference: bool = False
    """Whether it reads the scenario's reference reply. True only for test subjects such as the puppet."""
    resumes_jobs: bool = False
    """Whether :meth:`Conversation.resume` can take up a job by its id after an interruption."""
    durations_s: tuple[float, ...] = ()
    """Clip lengths a request may name; empty if free."""
    max_duration_s: float | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    """(width, height) in pixels that a request may name; empty if there is no choice."""
    fps: float | None = None
    face_policy: Literal["any", "adults", "none", "unknown"] = "any"
    """Which human faces a reference image may show."""
    max_prompt_tokens: int | None = None
    seedable: bool = False
    max_concurrency: int | None = None
    """Conversations it can hold at once; None if it does not matter."""
    poll_period_s: float | None = None
    """How often a remote job's state is asked for: the resolution of its times. None if events are pushed."""
    price_usd_per_s: float | None = None
    """Per second of generated video."""
    announces_cost: bool = False
    """Whether :class:`Submitting` comes before each request that may cost money. Where it does not, the harness sets
    the longest clip aside before it hands over the turn."""
    cancels_jobs: bool = False
    """Whether :meth:`AvatarSystem.cancel` may succeed."""
    retired_on: dt.date | None = None
    """From this day on the maker no longer serves it."""
    status: str = ""
    """One sentence on availability."""
    evidence_url: str = ""
    evidence_date: dt.date | None = None


@dataclass(frozen=True, slots=True)
class ReferenceReply:
    """The scenario author's own answer to a turn; handed only to systems that declare ``needs_reference``."""

    reply: str
    mood: str
    off_topic_reply: str
    """The reference reply of a turn of another conversation, for the defect that answers another question."""
    context_points: tuple[str, ...]
    """Phrases of the reply that can be known only from earlier turns (forms a listener would accept)."""
    leans_on: tuple[int, ...]
    """1-based earlier turns that this turn builds on."""
    key_points: tuple[tuple[str, ...], ...] = ()
    """The accepted phrasings of each fact a complete answer holds, in the order of the scenario."""


@dataclass(frozen=True, slots=True)
class PastTurn:
    """An earlier turn of the same conversation, as it was really played."""

    index: int
    user_text: str
    user_audio: Path | None
    outcome: str
    reply_text: str | None
    clip: Path | None


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known of a conversation before its first turn, beside the persona."""

    scenario: str
    portrait: Path | None
    """The persona's reference image."""
    seed: int
    """Of the whole conversation, 31 bits, the same for every system; each turn has one of its own."""


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One turn of the user, complete: the clock starts when this is handed over."""

    scenario: str
    index: int
    """1-based position in the conversation."""
    text: str
    audio: Path | None
    """The user's speech, 16 kHz mono."""
    history: tuple[PastTurn, ...]
    portrait: Path | None
    """The persona's reference image."""
    seed: int
    workdir: Path
    """An empty folder of this turn alone; files handed back must lie in it."""
    deadline_s: float
    """After this many seconds the harness gives the turn up as timed out."""
    reference: ReferenceReply | None = None
    script: str | None = None
    """What the avatar is to say, the same for every system; handed to systems that set ``takes_script``."""


@dataclass(frozen=True, slots=True)
class Submitting:
    """A request that may cost money is about to be sent.

    The harness sets the money aside and notes the attempt before it asks for the next event. Where a cap of the run
    leaves no room it closes the iterator instead, and the turn stays to be played. An attempt that is neither followed
    by :class:`Submitted` nor by a final event may have been sent: it is never made again unasked.
    """

    video_s: float
    """Seconds of video asked for, at most."""
    usd: float | None = None
    """What that costs at most; None if the price is not known."""
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    """What is asked for (the rendered prompt ...); kept with the turn however it ends. No secrets."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A remote job exists and may cost money. The harness stores ``job_id`` before it asks for the next event."""

    job_id: str
    detail: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """Something moves. ``fraction`` in 0..1 if known."""

    fraction: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReplyText:
    """What the avatar says, whole or the next piece of it; pieces are concatenated as they are."""

    text: str


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """The first frame of the answer could be shown now. Only for systems whose media the harness can't see arriving."""


@dataclass(frozen=True, slots=True)
class Media:
    """The next bytes of the answer's media file (fragmented MP4 or any container PyAV reads in order)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Completed:
    """The answer is complete. ``path``: the clip, inside ``workdir``; None if it was sent as :class:`Media`."""

    path: Path | None = None
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    """What the provider says about it (server timestamps, seeds, the rendered prompt ...); no secrets. ``parts_s`` in
    it, the steps of the answer in seconds by the system's own clock since it had the user's turn, is set beside the
    measured latency in the report (see :attr:`interbench.domain.records.Exchange.parts_s`)."""
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """The service refused on grounds of content. ``code`` and ``message`` are its own words."""

    code: str
    message: str = ""
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    charged: bool | None = None
    """Whether the service charges for it; None if that is not known."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The turn has no clip for a technical reason. ``transient``: the same request might succeed later."""

    code: str
    message: str = ""
    transient: bool = False
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    charged: bool | None = None
    """As in :class:`Blocked`."""
    job_open: bool = False
    """The job may go on or has a result that was not fetched: a retry takes it up instead of paying again."""


@dataclass(frozen=True, slots=True)
class Retired:
    """The service or model no longer exists; no later turn is sent to it."""

    message: str = ""
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    charged: bool | None = False


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The system itself gave up waiting."""

    message: str = ""
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    charged: bool | None = None
    job_open: bool = False
    """As in :class:`Failed`."""


Final: TypeAlias = Completed | Blocked | Failed | Retired | TimedOut
Event: TypeAlias = Submitting | Submitted | ProgressReport | ReplyText | FirstFrame | Media | Final
FINAL_EVENTS = (Completed, Blocked, Failed, Retired, TimedOut)


class Conversation(ABC):
    """One conversation with one persona. Turns come strictly one after the other."""

    async def prepare(self, opening: Opening) -> None:
        """Make ready for the first turn (upload the portrait, wait for a free place ...). Not counted as latency.

        Called once, before :meth:`restore` and the first ``respond``. An exception means that the conversation could
        not be opened.
        """

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

    @classmethod
    def variants(cls) -> Mapping[str, str]:
        """Variants that can be named as ``name:variant``, each with one line on what it is.

        The class is constructed with ``variant=`` set.
        """
        return {}

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

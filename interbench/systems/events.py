"""What passes between the harness and a system: the request of a turn, and the events of its answer.

Every event is true from the moment it is yielded: the harness reads its clock then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from interbench.base.errors import MediaError
from interbench.domain.incidents import Incident
from interbench.domain.records import ClipFacts

JsonValue: TypeAlias = bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None


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
class BargeIn:
    """The user's next line, which begins before the answer to this one has ended."""

    after_s: float
    """Seconds after the answer is first heard."""
    text: str
    audio: Path | None
    """As :attr:`TurnRequest.audio`."""


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One turn of the user, complete: the clock starts when this is handed over."""

    scenario: str
    index: int
    """1-based position in the conversation."""
    text: str
    audio: Path | None
    """The user's speech, 16 kHz mono, as WAV or MP3."""
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
    speech: Path | None = None
    """These words spoken, 16 kHz mono WAV, the same file for every system; handed to systems that set
    ``takes_speech``. It is the reply's sound: :attr:`audio` is the user's."""
    mood: str = ""
    """How the user feels, in a few words, for systems that can be told; it is in the sound only as far as it goes."""
    barge_in: BargeIn | None = None
    """With what, and when, the user interrupts the answer; handed to systems whose capabilities say ``barge_in``. The
    answer is then complete once it has fallen silent, and the next turn is the line that was spoken into it."""


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
class UserTurnEnd:
    """The last sound of the user's line has been played to a system that listens in real time.

    The clock of the turn starts here instead of at hand-over, and what came before has negative times.
    """

    ago_s: float = 0.0
    """How long ago that was, where it could not be said then: between two turns."""


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
class FirstSound:
    """The first audible sample of the answer has arrived and could be played. For the same systems."""

    ago_s: float = 0.0
    """How long ago that was, where decoding took a while to tell."""


@dataclass(frozen=True, slots=True)
class Shows:
    """Whom the system shows instead of the persona, for the whole conversation: identity is judged against this still.

    For services that know only faces of their own.
    """

    still: Path
    """PNG, inside ``workdir``."""


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
    """What it cost, where the system knows; believed as far as it is plausible (:mod:`interbench.drive.spending`)."""
    video_s: float | None = None
    """Seconds of video that it was charged for, where they may be others than were asked for."""
    frames: int | None = None
    """How many pictures the system says it sent: a clip with far fewer was cut short on its way."""
    ago_s: float = 0.0
    """How long ago the answer was complete, where only the silence after it tells."""


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


@dataclass(frozen=True, slots=True)
class Arrived:
    """The next ``size`` bytes of the answer's media file have arrived on the machine that the system runs on. The file
    lies in ``workdir`` as ``stream.mp4`` before the final event. Only of systems on other machines, which tell of
    :class:`Media` so."""

    size: int


Tellable: TypeAlias = (
    Submitting
    | Submitted
    | UserTurnEnd
    | ProgressReport
    | ReplyText
    | FirstFrame
    | FirstSound
    | Shows
    | Arrived
    | Incident
    | Final
)
"""What may come from another machine: all but the bytes of a picture, which stay there until its end."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An event of a system on another machine, with what was read off that machine's clock. The harness's own adapters
    alone yield it: clocks of different machines are never compared."""

    event: Tellable
    after_s: float
    """Seconds since the turn was handed over there."""
    facts: ClipFacts | None = None
    """Of a completed answer's clip, found there; the clip that lies in ``workdir`` has their size and digest."""
    refused: MediaError | None = None
    """Why what was handed back there is no clip."""


Event: TypeAlias = Tellable | Media | Elsewhere

FINAL_EVENTS = (Completed, Blocked, Failed, Retired, TimedOut)

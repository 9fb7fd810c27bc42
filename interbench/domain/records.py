"""What the stages hand to one another and what the ledger keeps: exchanges, transcripts, verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from interbench.domain.clips import ClipFacts as ClipFacts
from interbench.domain.clips import NoSpeech as NoSpeech
from interbench.domain.guards import Source
from interbench.domain.incidents import Incident, kept_incidents
from interbench.domain.persona import Persona
from interbench.domain.scenario import Scenario


class Outcome(StrEnum):
    """How a turn ended. ``NOT_PLAYED`` marks a turn that an earlier one made impossible."""

    COMPLETED = "completed"
    BLOCKED = "blocked"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    RETIRED = "retired"
    NOT_PLAYED = "not_played"


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds on the harness's monotonic clock, from the moment the user's turn was handed over."""

    complete_s: float
    """Until the answer was complete at the harness."""
    first_frame_s: float
    """Until the first frame could be shown: for a finished file the arrival of the whole file."""
    sent_s: float | None = None
    """Until the request that starts the job was sent, if the system works by jobs and says so."""
    accepted_s: float | None = None
    """Until the system had accepted the job, if it works by jobs."""
    resolution_s: float = 0.0
    """Poll period where the system is polled: the times may be late by this much."""
    resumed: bool = False
    """The job was taken up after an interruption: its times are not latencies and are left out of the speed columns."""
    first_speech_s: float | None = None
    """Until the first audible sample could be played, see :func:`interbench.media.pool.first_speech_time`; None if
    nothing is heard, for which ``no_speech`` is the reason, and in records of before this was measured."""
    no_speech: NoSpeech | None = None
    continuous: bool = False
    """The picture never stops, so that a first frame is always there: :attr:`first_frame_s` is when the clip's first
    picture was on screen, and left out of the column of latencies, where time to first speech stands for it."""

    @property
    def from_sending_s(self) -> float | None:
        """From sending the request to the complete answer."""
        return None if self.sent_s is None or self.resumed else self.complete_s - self.sent_s

    @property
    def from_acceptance_s(self) -> float | None:
        """From the service's acceptance of the job to the complete answer."""
        return None if self.accepted_s is None or self.resumed else self.complete_s - self.accepted_s

    def real_time_factor(self, clip: ClipFacts) -> float:
        """Time to complete over playback duration; below 1 is faster than playback."""
        return self.complete_s / clip.duration_s

    def throughput_fps(self, clip: ClipFacts) -> float:
        """Frames delivered per second of waiting."""
        return clip.frames / self.complete_s


@dataclass(frozen=True, slots=True)
class Exchange:
    """One turn as it was played: the clip, the clock, the outcome."""

    system: str
    scenario: str
    turn: int
    """1-based."""
    outcome: Outcome
    code: str = ""
    """Short stable word for anything but completed; the service's own code where there is one."""
    message: str = ""
    clip: str | None = None
    """The media file, relative to the run folder."""
    facts: ClipFacts | None = None
    timings: Timings | None = None
    reply_text: str | None = None
    """What the system says its avatar said; None if it does not say."""
    cost_usd: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    """The provider's own data (server times, rendered prompt ...), free of secrets."""
    events: tuple[tuple[float, str, str], ...] = ()
    """(seconds since hand-over, kind, note) of every event but media chunks, which are summed up."""
    variant: int = 0
    """Which of the turn's lines the user said: 1-based among its variants, 0 for its own line."""
    guard: str = ""
    """The condition on the answer before that chose the variant, in words; empty for the turn's own line."""
    line_source: Source = "none"
    """Whose word the answer before was when the line was chosen; ``none``: nobody knew, or nothing was to choose."""

    @property
    def completed(self) -> bool:
        return self.outcome is Outcome.COMPLETED

    @property
    def parts_s(self) -> dict[str, float]:
        """The steps of the answer by the system's own clock: seconds after it had the user's turn, in its order.

        Read from ``parts_s`` of :attr:`detail`, at most 32 of them; empty where the system does not say. What is not a
        finite number of seconds is left out.
        """
        parts = self.detail.get("parts_s")
        if not isinstance(parts, Mapping):
            return {}
        return {
            str(step)[:80]: float(seconds)
            for step, seconds in islice(parts.items(), 32)
            if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < math.inf
        }

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """What went wrong with a live picture and its sound."""
        return kept_incidents(self.detail)

    @property
    def barge_in(self) -> Mapping[str, Any]:
        """Of a turn that begins before the answer before has ended: what came of that; empty for any other turn.

        ``done`` says whether it was possible (``why`` not), ``after_s`` how long the answer had been heard then,
        ``time_to_silence_s`` how long it was heard on (None: longer than anybody waited), and ``remembered`` what the
        system says it takes itself to have said until then (None: it does not say).
        """
        found = self.detail.get("barge_in")
        return found if isinstance(found, Mapping) else {}

    @property
    def notices(self) -> tuple[str, ...]:
        """What was odd about the answer without keeping it from being one, a sentence each."""
        notices = self.detail.get("notices")
        return tuple(str(notice) for notice in notices) if isinstance(notices, (list, tuple)) else ()


BELIEVED = 4.0
"""What a service says of a clip's cost or length is believed within this factor of what was asked for."""


class Charge(StrEnum):
    """What became of money that was set aside for a request."""

    RESERVED = "reserved"
    """The request is about to be sent or its job is running."""
    SPENT = "spent"
    POSSIBLE = "possibly_spent"
    """Whether the service charges for it is not known: it counts against the caps."""
    FREE = "not_charged"


@dataclass(frozen=True, slots=True)
class Spend:
    """One request that may have cost money."""

    system: str
    scenario: str
    turn: int
    charge: Charge
    video_s: float
    """Seconds of video asked for."""
    usd: float | None
    """None if the price is not known."""


@dataclass(frozen=True, slots=True)
class Script:
    """What an avatar is to say in one turn, written by a language model."""

    text: str
    words_cut: int = 0
    """Words of the model's reply that were beyond the budget."""
    seconds: float = 0.0
    """How long the model took; not part of any latency."""


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in a clip or in a user's turn."""

    text: str
    words: tuple[Word, ...] = ()
    flags: tuple[str, ...] = ()
    """``reported`` (the system's own text), ``no_audio``, ``silent``, ``no_speech``, ``no_text``, ..."""
    error: str | None = None
    """Why there is no transcript; ``text`` is then empty and must not be taken for silence."""


LEAST_PAUSE_S = 0.3
"""A silence within speech of more than this is a pause."""


@dataclass(frozen=True, slots=True)
class Speaking:
    """When speech is heard in a clip, in seconds on the clip's own clock."""

    start_s: float
    end_s: float
    pauses: tuple[tuple[float, float], ...] = ()
    """(from, to) of every silence of more than :data:`LEAST_PAUSE_S` between the two."""
    by: Literal["words", "level"] = "level"
    """Whether it is read off a transcriber's word times or off the level of the sound."""


COPY_RECIPE = 1
"""Version of how plain copies are made; one of another version is made again."""


@dataclass(frozen=True, slots=True)
class PlainCopy:
    """A copy of a clip that every loader of videos shows as a player shows the clip itself."""

    path: Path
    facts: ClipFacts
    because: str
    """What of the clip itself not every loader shows, as a clause."""


@dataclass(frozen=True, slots=True)
class Detail:
    """Parts of a clip as densely taken stills, one part after another: a small video of its own."""

    path: Path
    facts: ClipFacts
    parts: tuple[tuple[float, float], ...]
    """(from, to) in seconds of the clip."""
    fps: int


@dataclass(frozen=True, slots=True)
class PlayedTurn:
    """One turn as a judge sees it."""

    index: int
    user_text: str
    user_mood: str
    outcome: Outcome
    message: str
    clip: Path | None
    facts: ClipFacts | None
    transcript: Transcript | None
    copy: PlainCopy | None = None
    """For judges that hand files to programs of others: what to hand over instead of :attr:`clip`."""
    timings: Timings | None = None
    speaking: Speaking | None = None
    """For judges that are shown it; None where nothing is heard, or where nobody measured."""
    details: tuple[Detail, ...] = ()
    """For judges that are shown them."""


@dataclass(frozen=True, slots=True)
class PlayedConversation:
    """One scenario played by one system, complete: what a judge judges.

    The name of the system is for the ledger only; a judge must not show it to a model.
    """

    system: str
    scenario: Scenario
    turns: tuple[PlayedTurn, ...]
    transcriber: str
    """Label of the transcriber, e.g. ``given``."""
    persona: Persona | None = None
    """Whom the system was asked to be; None where nobody needs to know."""
    portrait: Path | None = None
    """The persona's reference image."""

    @property
    def affinity(self) -> str:
        """What is the same for all edited copies of a conversation (``BASE~CONDITION``): one server sees them all."""
        return f"{self.system.partition('~')[0]}/{self.scenario.id}"

    @property
    def complete(self) -> bool:
        """Whether every turn has a clip and a transcript."""
        return not self.why_incomplete()

    def why_incomplete(self) -> str:
        """One sentence naming the first turn without a clip, or else without a transcript; empty if complete."""
        return self.why_no_clip() or self.why_no_transcript()

    def why_no_clip(self) -> str:
        """One sentence naming the first turn without a clip; empty if every turn has one."""
        for turn in self.turns:
            if turn.outcome is not Outcome.COMPLETED:
                return f"turn {turn.index} has no clip: {turn.outcome.value.replace('_', ' ')} {turn.message}".rstrip()
        return ""

    def why_no_transcript(self) -> str:
        """One sentence naming the first turn without a transcript; empty if every turn has one."""
        for turn in self.turns:
            if turn.transcript is None or turn.transcript.error is not None:
                why = "not transcribed" if turn.transcript is None else turn.transcript.error
                return f"turn {turn.index} has no transcript: {why}"
        return ""


class Missing(StrEnum):
    """Why a verdict has no score."""

    NOT_MEASURABLE = "not_measurable_offline"
    INCOMPLETE = "incomplete_conversation"
    """A turn has no clip."""
    NO_TRANSCRIPT = "no_transcript"
    """Every turn has a clip, but nobody knows what is said in one."""
    NO_KEY_POINTS = "no_key_points"
    NO_PICTURE = "no_picture"
    """Of one colour, noise, a test card: nothing is shown that could be judged."""
    FROZEN = "frozen_picture"
    """A still picture instead of a video."""
    NO_FACE = "no_face"
    """Nobody is found in the picture."""
    NOT_APPLICABLE = "not_applicable"
    UNPARSED = "no_boxed_score"
    OUT_OF_SCALE = "out_of_scale"
    EMPTY = "empty_answer"
    REFUSED = "refused"
    CUT_OFF = "cut_off"
    CONTEXT_OVERFLOW = "context_overflow"
    REQUEST_REJECTED = "request_rejected"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    TIMED_OUT = "timed_out"
    CLIP_CHANGED = "clip_changed"
    """A clip is no longer the one that was recorded, so what a judge would see is not what was played."""
    CLIP_MISSING = "clip_missing"
    CLIP_UNREADABLE = "clip_unreadable"
    SKIPPED = "skipped_by_rater"


REMEDIES: Mapping[str, str] = {
    Missing.NO_TRANSCRIPT: "Without a transcript nothing that is said can be judged: let the system report what it "
    "says (reply_text), or choose a transcriber that listens and judge again (interbench judge RUN --transcriber "
    "funasr)."
}
"""What to do about verdicts that are missing for a reason which the settings of a run can mend."""

RETRYABLE = frozenset(
    {
        Missing.SERVER_ERROR,
        Missing.RATE_LIMITED,
        Missing.TIMED_OUT,
        Missing.REQUEST_REJECTED,
        Missing.CONTEXT_OVERFLOW,
        Missing.CLIP_CHANGED,
        Missing.CLIP_MISSING,
        Missing.CLIP_UNREADABLE,
    }
)
"""Missing for reasons outside the conversation: judged again when the judge stage is called again, never cached."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one dimension of one conversation: a score, or missing with a reason. Never both."""

    system: str
    scenario: str
    dimension: str
    sample: int = 0
    """Index of the repeated judgement."""
    score: float | None = None
    missing: Missing | None = None
    reasons: str = ""
    """The judge's own words, or the explanation of what is missing."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """How the score came about: measured values, frames and pixels seen, tokens, prompt hash ..."""
    expected_score: float | None = None
    """From the log-probabilities over the allowed scores; beside the score, never instead of it."""

    def __post_init__(self) -> None:
        if (self.score is None) == (self.missing is None):
            raise ValueError("A verdict has either a score or a reason for missing.")

    @property
    def retryable(self) -> bool:
        return self.missing in RETRYABLE

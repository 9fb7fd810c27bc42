"""Listening to a system while it answers a turn: each event is read on the harness's clock as it arrives."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from interbench.base.errors import CapReachedError, InterbenchError, MediaError, NodeLostError, StoreError
from interbench.base.foreign import MAX_TEXT, kept_json, mended, number
from interbench.domain.incidents import Incident
from interbench.domain.records import ClipFacts
from interbench.drive.live import keep_incident
from interbench.drive.raised import code_of, describe, keep_traceback
from interbench.drive.spending import Budget
from interbench.store.run_folder import Key, Run
from interbench.systems.events import (
    Arrived,
    Blocked,
    Completed,
    Event,
    Failed,
    Final,
    FirstFrame,
    FirstSound,
    JsonValue,
    Media,
    ProgressReport,
    ReplyText,
    Retired,
    Shows,
    Submitted,
    Submitting,
    TimedOut,
    TurnRequest,
    UserTurnEnd,
)
from interbench.systems.host import Clock, Host, StuckError, Timed

MAX_STREAM_BYTES = 2 * 2**30
"""A streamed answer larger than this is refused; a file is held to the media worker's limit."""
MAX_EVENTS_KEPT = 200
Listener = Callable[[str, Key, str], None]
"""Called with what happened (``turn``, ``progress``, ``done``), where, and a note: for progress bars."""


class ProtocolError(InterbenchError):
    """A system does not keep to the seam; ``code`` is kept in the record."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Observed:
    """What is known of a turn while it is being answered."""

    start: float = 0.0
    """The clock's reading from which its times count."""
    events: list[tuple[float, str, str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    arrivals: list[tuple[int, float]] = field(default_factory=list)
    detail: dict[str, JsonValue] = field(default_factory=dict)
    """Of the request: kept with the turn however it ends."""
    reserved: bool = False
    """Whether money was set aside for it."""
    job: bool = False
    """Whether a remote job exists."""
    sent_s: float | None = None
    accepted_s: float | None = None
    first_frame_s: float | None = None
    first_speech_s: float | None = None
    incidents: list[Incident] = field(default_factory=list)
    shown: Path | None = None
    """A still of whom the system shows instead of the persona."""
    final: Final | None = None
    final_s: float = 0.0
    stream: Path | None = None
    facts: ClipFacts | None = None
    """Of the clip, found where the system runs, if that is another machine."""
    refused: MediaError | None = None
    """Why what was handed back there is no clip."""

    def take_text(self, text: str) -> None:
        if sum(map(len, self.text)) + len(text) > MAX_TEXT:
            raise ProtocolError("too_much_text", f"the system reports more than {MAX_TEXT} characters for one turn")
        self.text.append(text)

    def restart(self, start: float) -> None:
        """Count from ``start`` on: what came before has negative times."""
        later, self.start = start - self.start, start
        self.events = [(round(at - later, 6), kind, text) for at, kind, text in self.events]
        self.arrivals = [(received, at - later) for received, at in self.arrivals]
        for name in ("sent_s", "accepted_s", "first_frame_s", "first_speech_s"):
            if (known := getattr(self, name)) is not None:
                setattr(self, name, known - later)

    def note(self, at: float, kind: str, text: str = "") -> None:
        if len(self.events) < MAX_EVENTS_KEPT:
            self.events.append((round(at, 6), kind, mended(text[:500])))

    def drop_stream(self) -> None:
        """Remove what came of an answer before its deadline; what the system itself wrote stays for whoever looks."""
        if self.stream is not None:
            self.stream.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                self.stream.parent.rmdir()


class Listening:
    """Listens to the turns of one system.

    Args:
        host: the started system.
        run: the run folder, open for writing: jobs are remembered there.
        budget: the money of the run.
        on_event: for progress bars.
        clock: monotonic seconds, the host's.
        restart: for a system that no longer reacts.
    """

    def __init__(
        self,
        host: Host,
        run: Run,
        budget: Budget,
        on_event: Listener,
        clock: Clock,
        restart: Callable[[], Awaitable[None]],
    ) -> None:
        self._host = host
        self._run = run
        self._budget = budget
        self._on_event = on_event
        self._clock = clock
        self._restart = restart

    async def observe(
        self, observed: Observed, iterate: Callable[[], AsyncIterator[Event]], key: Key, request: TurnRequest
    ) -> bool:
        """Listen to one turn until its end, whatever the system does; whether it got stuck."""
        began = observed.start = self._clock()
        stuck = False
        with contextlib.ExitStack() as files:
            sink: BinaryIO | None = None
            try:
                events = self._host.events(iterate, request.deadline_s + self._host.system.transport_s)
                async with contextlib.aclosing(events):
                    async for timed in events:
                        if isinstance(timed.value, Media) and sink is None:
                            observed.stream = request.workdir / "stream.mp4"
                            sink = files.enter_context(observed.stream.open("wb"))
                        elif isinstance(timed.value, Arrived):
                            observed.stream = request.workdir / "stream.mp4"
                        there = timed.elsewhere
                        if isinstance(timed.value, UserTurnEnd):
                            spoken = timed.at if there is None else began + there.after_s
                            observed.restart(spoken - (number(timed.value.ago_s) or 0.0))
                        here_s = timed.at - observed.start
                        there_s = 0.0 if there is None else there.after_s - (observed.start - began)
                        self._take(observed, key, timed, here_s if there is None else there_s, sink)
                        if there is not None and observed.final is not None:
                            observed.facts, observed.refused = there.facts, there.refused
                            # Of no latency: the way from machine to machine, clip included.
                            observed.detail |= {"measured_at": "node", "transport_s": round(here_s - there_s, 6)}
                        if observed.final is not None:
                            break
            except (TimeoutError, StuckError) as error:
                stuck = isinstance(error, StuckError)
                more = ", and the system no longer reacts" if stuck else ""
                observed.final = TimedOut(
                    f"no complete answer within {request.deadline_s:g} s{more}", job_open=observed.job
                )
                observed.final_s = request.deadline_s
            except (StoreError, CapReachedError, NodeLostError):
                raise
            except Exception as error:
                observed.final = Failed(code_of(error), describe(error), job_open=observed.job)
                observed.detail.update(keep_traceback(self._run.path, request.workdir, error))
        if observed.final is None:
            observed.final = Failed("no_final_event", "the system ended its answer without saying how")
        if not observed.final_s:
            observed.final_s = self._clock() - observed.start
        if stuck:
            await self._restart()
        return stuck

    def _take(self, observed: Observed, key: Key, timed: Timed[Event], at: float, sink: BinaryIO | None) -> None:
        """Note one event."""
        match timed.value:
            case Submitting(video_s, usd, detail):
                self._budget.reserve(key, video_s, usd)
                observed.reserved = True
                observed.detail.update(kept_json(detail))
                observed.sent_s = at
                observed.note(at, "submitting", f"{video_s:g} s of video")
            case Submitted(job_id, detail):
                observed.detail.update(kept_json(detail))
                job_id = mended(str(job_id))
                self._run.submitted(key, job_id, observed.detail)
                observed.job = True
                observed.accepted_s = at if observed.accepted_s is None else observed.accepted_s
                observed.note(at, "submitted", job_id)
            case ProgressReport(fraction, note):
                fraction, note = number(fraction), mended(str(note), 500)
                observed.note(at, "progress", note if fraction is None else f"{fraction:.0%} {note}".strip())
                self._on_event("progress", key, note if fraction is None else f"{fraction:.0%}")
            case ReplyText(text):
                observed.take_text(str(text))  # pieces may be halves of a character: mended when they are joined
                observed.note(at, "text", f"{len(str(text))} characters")
            case FirstFrame():
                observed.first_frame_s = at if observed.first_frame_s is None else observed.first_frame_s
                observed.note(at, "first_frame")
            case UserTurnEnd():
                observed.note(0.0, "user_turn_end")
            case Shows(still):
                observed.shown = still
                observed.note(at, "shows")
            case FirstSound(ago_s):
                at = max(0.0, at - (number(ago_s) or 0.0))
                observed.first_speech_s = at if observed.first_speech_s is None else observed.first_speech_s
                observed.note(at, "first_sound")
            case Incident() as incident:
                keep_incident(observed.incidents, incident)
                observed.note(at, incident.kind.value, incident.note)
            case Media(data):
                assert sink is not None
                total = (observed.arrivals[-1][0] if observed.arrivals else 0) + len(data)
                if total > MAX_STREAM_BYTES:
                    raise MediaError("too_large", f"the answer is longer than {MAX_STREAM_BYTES} bytes")
                sink.write(data)
                observed.arrivals.append((total, at))
            case Arrived(size):
                observed.arrivals.append(((observed.arrivals[-1][0] if observed.arrivals else 0) + size, at))
            case Completed() | Blocked() | Failed() | Retired() | TimedOut() as final:
                if isinstance(final, Completed):
                    at = max(0.0, at - (number(final.ago_s) or 0.0))
                observed.final, observed.final_s = final, at
                observed.note(at, type(final).__name__.lower())
            case other:
                raise ProtocolError("not_an_event", f"the system yielded a {type(other).__name__}, not an event")

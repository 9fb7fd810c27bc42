"""One job of a service: what is ordered, how it stands, and what the service's words for that mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from interbench.base.foreign import mended
from interbench.base.remote import excerpt
from interbench.domain.persona import Persona
from interbench.systems.events import Failed, JsonValue, TurnRequest
from interbench.systems.services.service_errors import Ended

_STATES_OF_JOBS: Mapping[str, Literal["working", "done", "failed"]] = {
    **dict.fromkeys(
        ("queued", "submitted", "pending", "waiting", "in_progress", "processing", "running", "started"), "working"
    ),
    **dict.fromkeys(("completed", "complete", "succeeded", "success", "done", "finished", "ready"), "done"),
    **dict.fromkeys(
        ("failed", "failure", "error", "cancelled", "canceled", "rejected", "expired", "deleted", "incomplete"),
        "failed",
    ),
}


@dataclass(frozen=True, slots=True)
class Order:
    """One clip to be made: all that a service is told."""

    turn: TurnRequest
    persona: Persona
    prompt: str
    words: str
    """What the avatar says; empty if it makes up its own words."""
    seconds: float
    """Length asked for; for services without a choice of lengths an upper bound."""
    size: tuple[int, int]
    image: bytes | None
    """PNG of exactly ``size``: the portrait, or the last frame of the clip before; None for a persona in words."""
    previous: str | None
    """The provider's id of the answer before, where the state lives with the provider."""
    previous_clip: Path | None
    """The clip of the answer before, where it is extended."""


@dataclass(frozen=True, slots=True)
class Working:
    """The job is not finished."""

    fraction: float | None = None
    note: str = ""
    poll_s: float | None = None
    """When the service wants to be asked again; never longer than the measurement allows."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The clip can be fetched."""

    url: str | None = None
    """Where it lies, absolute or below the service's base address."""
    inline: str | None = None
    """The clip itself, base64."""
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    usd: float | None = None
    """What the service says it costs; None: seconds times price."""
    seconds: JsonValue = None
    """Seconds charged for, in the service's own words, which are believed as far as they are plausible; None: as asked
    for, or as delivered where there is no choice of lengths."""
    handle: str | None = None
    """What the provider knows this answer by, if not by the job's id."""
    notices: Sequence[str] = ()
    """What was odd about the service's answer, a sentence each."""


def state_of(status: object) -> Literal["working", "done", "failed", "unknown"]:
    """What a job's state means, in whichever of the usual words. A state that nobody knows is no end: the job may still
    come to one, and it has been paid for."""
    return _STATES_OF_JOBS.get(status.lower() if isinstance(status, str) else "", "unknown")


def state_note(status: object) -> str:
    """A state for people."""
    known = state_of(status) != "unknown"
    return str(status) if known else f"state {shown(status)}, which this version does not know"


def shown(figure: object) -> str:
    """Something out of a service's answer, for people."""
    return excerpt([mended(figure if isinstance(figure, str) else repr(figure))], 60)


def quoted_id(job_id: str) -> str:
    """A job's id as one segment of a path.

    Raises:
        Ended: it holds something that no id has.
    """
    if not job_id or len(job_id) > 256 or not all(c.isalnum() or c in "-_.:~" for c in job_id) or ".." in job_id:
        message = "the service gave an id that can't stand in an address"
        raise Ended(Failed("unknown_submission", message))
    return job_id

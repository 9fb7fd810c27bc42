"""What a system says of itself."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal


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
    """Whether the system says what its avatar says (:class:`~interbench.systems.events.ReplyText`)."""
    needs_reference: bool = False
    """Whether it reads the scenario's reference reply. True only for test subjects such as the puppet."""
    resumes_jobs: bool = False
    """Whether :meth:`interbench.systems.base.Conversation.resume` can take up a job by its id after an interruption."""
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
    continuous: bool = False
    """Whether its picture never stops: it shows the avatar between answers too, so that time to first speech and not
    time to first frame is what a user waits."""
    barge_in: bool = False
    """Whether the user can begin the next line while the answer is heard
    (:attr:`~interbench.systems.events.TurnRequest.barge_in`)."""
    price_usd_per_s: float | None = None
    """Per second of generated video."""
    announces_cost: bool = False
    """Whether :class:`~interbench.systems.events.Submitting` comes before each request that may cost money. Where it
    does not, the harness sets the longest clip aside before it hands over the turn."""
    cancels_jobs: bool = False
    """Whether :meth:`interbench.systems.base.AvatarSystem.cancel` may succeed."""
    retired_on: dt.date | None = None
    """From this day on the maker no longer serves it."""
    status: str = ""
    """One sentence on availability."""
    evidence_url: str = ""
    evidence_date: dt.date | None = None

"""What a run wants of a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from interbench.base.errors import ClusterError, UsageError
from interbench.pipeline.config import Settings
from interbench.pipeline.placement.connect import check_address
from interbench.pipeline.placement.link import Patience
from interbench.pipeline.plan import OF_A_CLUSTER

_SERVERS = re.compile(r"(\d{1,4})(?:x(\d{1,2}(?:\.\d{1,3})?))?")


def parse_servers(text: str, gpus: float) -> tuple[int, float]:
    """How many servers of how many GPUs each ``4x1`` means; ``gpus`` where only a number is given.

    Raises:
        ClusterError: it is none of this.
    """
    found = _SERVERS.fullmatch(text.strip())
    if found is None:
        raise ClusterError(f"{text!r} says no number of servers: give 4, or 4x1 for four of one GPU each.")
    return int(found[1]), gpus if found[2] is None else float(found[2])


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a run wants of a cluster."""

    address: str
    renderers: int | None = None
    """Per system; None for as many as there is room for."""
    concurrency: int = 2
    """Conversations per renderer."""
    clips_via: str | None = None
    ears: tuple[int, float] | None = None
    """Transcribers, and GPUs of each; None for one on a CPU."""
    judge_servers: tuple[int, float] | None = None
    """Servers of the judge, and GPUs of each; None for whatever the judge's name says."""
    judge_server: Mapping[str, Any] = field(default_factory=dict)
    open_s: float = 600.0
    """For opening a conversation."""
    start_s: float = 1800.0
    """For a system to load its models."""
    patience: Patience = field(default_factory=Patience)
    delay_s: float = 0.0
    """By which every answer of a renderer is held up; for tests and benchmarks."""


def wishes_of(settings: Settings) -> Wishes | None:
    """Those that the settings name; None for a run on this machine alone.

    Raises:
        ClusterError: an address or a number is none.
        UsageError: something of a cluster is asked for without one.
    """
    if settings.cluster is None:
        for name in OF_A_CLUSTER:
            if getattr(settings, name):
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} is about a cluster, and none is named; give --cluster auto or HOST:PORT.")
        return None
    judges = None if settings.judge_servers is None else parse_servers(settings.judge_servers, 1.0)
    if judges is not None and (judges[0] < 1 or judges[1] != int(judges[1])):
        raise ClusterError(f"--judge-servers {settings.judge_servers}: a server of the judge takes whole GPUs.")
    if judges is not None and settings.judge != Settings.model_fields["judge"].default:
        raise UsageError(
            f"The judge is {settings.judge} by --judge, and is to be served on nodes by --judge-servers: give one or "
            f"the other."
        )
    return Wishes(
        address=check_address(settings.cluster),
        renderers=settings.renderers,
        concurrency=settings.concurrency,
        clips_via=settings.clips_via,
        ears=None if settings.ears is None else parse_servers(settings.ears, 0.0),
        judge_servers=judges,
        judge_server=settings.judge_server,
        open_s=settings.deadline_s,
    )

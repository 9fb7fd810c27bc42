"""What a run may spend and has spent: money is set aside before a request is sent, and settled when its end is known.

Everything counts against the caps that may have been charged: what was spent, what is set aside, and requests of which
nobody can say whether the service charges for them (a connection that broke while submitting, a job that outlived its
turn's deadline).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from interbench.base.errors import CapReachedError
from interbench.domain.records import Charge, Spend
from interbench.store.run_folder import Key, Run


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that a run folder may spend over all of its invocations; None for no limit."""

    usd: float | None = None
    video_s: float | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over requests; US dollars where the price is known, and seconds of video asked for."""

    spent_usd: float = 0.0
    possible_usd: float = 0.0
    """May have been charged."""
    reserved_usd: float = 0.0
    spent_video_s: float = 0.0
    other_video_s: float = 0.0
    """Of requests that may have been charged or are running."""
    unpriced: int = 0
    """Requests whose price is not known."""

    @property
    def usd(self) -> float:
        """What counts against the cap."""
        return self.spent_usd + self.possible_usd + self.reserved_usd

    @property
    def video_s(self) -> float:
        return self.spent_video_s + self.other_video_s


def totals(spending: Iterable[Spend]) -> Totals:
    """Add up requests; those that were not charged count nothing."""
    counted = [spend for spend in spending if spend.charge is not Charge.FREE]

    def usd(charge: Charge) -> float:
        return math.fsum(spend.usd or 0.0 for spend in counted if spend.charge is charge)

    return Totals(
        spent_usd=usd(Charge.SPENT),
        possible_usd=usd(Charge.POSSIBLE),
        reserved_usd=usd(Charge.RESERVED),
        spent_video_s=math.fsum(spend.video_s for spend in counted if spend.charge is Charge.SPENT),
        other_video_s=math.fsum(spend.video_s for spend in counted if spend.charge is not Charge.SPENT),
        unpriced=sum(spend.usd is None for spend in counted),
    )


class Budget:
    """The money of a run.

    All reservations of a run are made on one event loop, one after the other, so that two conversations can't both
    take the last of it.
    """

    def __init__(self, run: Run, caps: Caps | None = None) -> None:
        self._run = run
        self._caps = caps or Caps()

    def reserve(self, key: Key, video_s: float, usd: float | None) -> None:
        """Set aside what a request may cost at most.

        Raises:
            CapReachedError: a cap leaves no room for it, or it can't be held to one because its price is unknown.
        """
        caps, now = self._caps, totals(self._run.spending())
        if caps.usd is not None:
            if usd is None:
                raise CapReachedError(
                    f"What a clip of {key.system} may cost is not known, so it can't be held to --max-usd. Set "
                    f"price_usd_per_s in its options (0 if it is your own server), or cap it with --max-video-seconds."
                )
            # Prices are decimal fractions: a sum that is over by rounding alone is not over.
            if now.usd + usd > caps.usd + 1e-9:
                raise CapReachedError(
                    f"--max-usd {caps.usd:g} is reached: {_spoken(now)}, and the next clip of {key.system} may cost "
                    f"{usd:.2f} USD. Nothing more was sent; the same command with a higher cap goes on from here."
                )
        if caps.video_s is not None and now.video_s + video_s > caps.video_s + 1e-9:
            raise CapReachedError(
                f"--max-video-seconds {caps.video_s:g} is reached: {now.video_s:g} s were asked for, and the next clip "
                f"of {key.system} takes {video_s:g} s. Nothing more was sent; the same command with a higher cap goes "
                f"on from here."
            )
        self._run.reserve(key, video_s, usd)

    def settle(self, key: Key, charge: Charge, usd: float | None = None) -> float | None:
        """Say what became of the turn's last request; gives its cost, as reserved where ``usd`` is None."""
        return self._run.settle(key, charge, usd)

    def unsettled(self, key: Key) -> bool:
        """Whether the turn's last request was about to be sent when its process was killed."""
        spending = self._run.spending(key)
        return bool(spending) and spending[-1].charge is Charge.RESERVED


def _spoken(now: Totals) -> str:
    parts = [f"{now.spent_usd:.2f} USD spent"]
    if now.possible_usd:
        parts.append(f"{now.possible_usd:.2f} USD possibly spent")
    if now.reserved_usd:
        parts.append(f"{now.reserved_usd:.2f} USD set aside for clips in the making")
    return ", ".join(parts)


def spoken_totals(spending: Iterable[Spend]) -> str:
    """One line for people on what a run has cost; empty if nothing in it costs money."""
    spending = list(spending)
    if not spending:
        return ""
    now = totals(spending)
    line = f"{_spoken(now)}, for {now.video_s:g} s of video asked for"
    if now.unpriced:
        line += f"; {now.unpriced} requests without a known price"
    return line

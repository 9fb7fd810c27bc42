"""What a run may spend and has spent: money is set aside before a request is sent, and settled when its end is known.

Everything counts against the caps that may have been charged: what was spent, what is set aside, and requests of which
nobody can say whether the service charges for them (a connection that broke while submitting, a job that outlived its
turn's deadline).

What a service says about costs and lengths is data from outside: it is taken within a factor of what was set aside
(:data:`~interbench.domain.records.BELIEVED`), and otherwise what was set aside is charged, with a notice. A clip that
costs more than was set aside for it shows that the cap can't be held for its system, so that no further request is sent
to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from interbench.base.errors import CapReachedError, InterbenchError
from interbench.base.foreign import mended, number
from interbench.base.remote import excerpt
from interbench.domain.records import BELIEVED, Charge, Spend
from interbench.store.run_folder import Key, Run

MOST_USD = 10_000.0
"""Of one clip, where nothing is known of its price."""
MOST_VIDEO_S = 24 * 3600.0
"""Of one clip."""


class SpendingError(InterbenchError):
    """A system asks for money in a figure that is none."""

    code = "bad_cost"


@dataclass(frozen=True, slots=True)
class Settled:
    """What a turn cost in the end."""

    usd: float | None
    """None if it is not known."""
    notice: str = ""
    """What was odd about the service's own figure."""


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
        self._beyond: dict[str, str] = {}
        """Why nothing more is sent to a system, by its label."""

    def reserve(self, key: Key, video_s: float, usd: float | None) -> None:
        """Set aside what a request may cost at most.

        Raises:
            CapReachedError: a cap leaves no room for it, or it can't be held to one because its price is unknown, or
                because a clip of its system has just cost more than was set aside for it.
            SpendingError: the figures are negative or no numbers.
        """
        if number(video_s, 0, MOST_VIDEO_S) is None or not (usd is None or number(usd) is not None):
            raise SpendingError(
                f"The system {key.system} asks for {video_s!r} s of video at {usd!r} USD; these are no amounts. This "
                f"is a defect of its adapter."
            )
        if why := self._beyond.get(key.system):
            raise CapReachedError(why)
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
        """Say what became of the turn's last request; gives its cost, as reserved where ``usd`` is None.

        Raises:
            SpendingError: ``usd`` is negative or no number.
        """
        if usd is not None and number(usd) is None:
            raise SpendingError(f"A clip of {key.system} can't have cost {usd!r} USD.")
        return self._run.settle(key, charge, usd)

    def charge(self, key: Key, usd: float | None = None, video_s: float | None = None) -> Settled:
        """The turn's last request was charged.

        Args:
            usd: what the service says it cost; None for what was set aside.
            video_s: seconds that it was charged for; None for those that were set aside.
        """
        held = self._run.spending(key)
        if not held:
            return Settled(usd if number(usd) is not None else None)
        asked = held[-1]
        cost, why = _believed(usd, asked.usd, MOST_USD, "USD")
        seconds, why_seconds = _believed(video_s, asked.video_s or None, MOST_VIDEO_S, "s of video")
        settled = self._run.settle(key, Charge.SPENT, cost, seconds)
        self._note_excess(key.system, "--max-usd", self._caps.usd, asked.usd, cost, "USD")
        self._note_excess(key.system, "--max-video-seconds", self._caps.video_s, asked.video_s, seconds, "s")
        return Settled(settled, why or why_seconds)

    def _note_excess(
        self, system: str, flag: str, cap: float | None, asked: float | None, cost: float | None, unit: str
    ) -> None:
        if cap is None or asked is None or cost is None or cost <= asked + 1e-9:
            return
        self._beyond[system] = (
            f"A clip of {system} came to {cost:.2f} {unit}, more than the {asked:.2f} {unit} set aside for it, so that "
            f"{flag} can't be held: nothing more was sent to it, and clips that were being made may have passed the "
            f"cap. Look at what was spent; the same command goes on from here."
        )

    def unsettled(self, key: Key) -> bool:
        """Whether the turn's last request was about to be sent when its process was killed."""
        spending = self._run.spending(key)
        return bool(spending) and spending[-1].charge is Charge.RESERVED


def _believed(told: float | None, asked: float | None, most: float, unit: str) -> tuple[float | None, str]:
    """A service's figure if it is plausible, otherwise None with a notice."""
    if told is None:
        return None, ""
    found = number(told, 0, most if asked is None else BELIEVED * asked + 1e-9)
    if found is not None:
        return found, ""
    kept = "what was set aside is charged" if asked is None else f"the {asked:.2f} {unit} set aside are charged"
    return None, f"the service says {shown(told)} {unit}, which can't be for this clip: {kept}"


def shown(figure: object) -> str:
    """A figure of a service, for people."""
    return excerpt([f"{figure:g}" if isinstance(figure, float) else mended(str(figure))], 40)


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

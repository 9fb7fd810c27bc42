"""What went wrong in a live answer, told from the marks of its timeline. Pure functions."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from interbench.domain.incidents import Incident, IncidentKind
from interbench.systems.live.timeline import WINDOW_S, PictureMark, SoundMark, Timeline

_FRAMES = 30
_LATE_S = 0.2
"""Later than its own time stamp says by more than this is late."""
_STILL_S = 1.0
_STILL_LEVELS = 2
"""Of 255: what differs by no more at any point is the same picture, coded again."""
_HOLE_S = 0.04
"""Two packets of the usual 20 ms; a single one is hidden by any player."""
_BEFORE_S = 0.25
_LEAST_HEAD_S = 0.2
_LEAST_LIKENESS = 0.6


def troubles(timeline: Timeline, first: float, last: float, clip: float, threshold: float) -> list[Incident]:
    """Those of an answer.

    Args:
        timeline: of the stream.
        first: feed time of the answer's first sound.
        last: of its last.
        clip: of the clip's beginning; incidents count from there.
        threshold: dBFS above which something is heard.
    """
    shown = [mark for mark in timeline.pictures if clip <= mark.t <= last]
    heard = [mark for mark in timeline.sounds if mark.t <= last]
    if not shown:
        return [Incident(IncidentKind.NO_PICTURE, 0.0, last - clip), *lost_sound(heard, first, clip)]
    return sorted(
        [
            *freezes(timeline.pictures, first, last, clip),
            *still(shown, [mark for mark in heard if mark.t >= first and mark.db > threshold], clip),
            *late(timeline.pictures, first, last, clip),
            *lost_sound(heard, first, clip),
        ],
        key=lambda incident: incident.at_s,
    )


def freezes(pictures: Sequence[PictureMark], first: float, last: float, clip: float) -> list[Incident]:
    """Freezes as W3C's webrtc-stats counts them (``freezeCount``), told by the times of arrival: a picture stays for
    more than three times the average of the last 30, or for 150 ms more than that, whichever is longer."""
    found = []
    lag = min((mark.at - mark.t for mark in pictures), default=0.0)
    gaps: list[float] = []
    ends = [*(mark.at - lag for mark in pictures), last]
    for before, after in itertools.pairwise(ends):
        gap = after - before
        usual = statistics.fmean(gaps[-_FRAMES:]) if gaps else None
        frozen = usual is not None and gap > max(3 * usual, usual + 0.15)
        if frozen and after > first and before < last:
            found.append(Incident(IncidentKind.FREEZE, max(0.0, before - clip), gap))
        elif gap > 0 and not frozen:
            gaps.append(gap)
    return found


def still(shown: Sequence[PictureMark], heard: Sequence[SoundMark], clip: float) -> list[Incident]:
    """Stretches of a second or more of speech in which every picture is the same one."""
    found = []
    start = shown[0]
    for index, mark in enumerate(shown):
        same = mark.thumb.shape == start.thumb.shape and _difference(mark, start) <= _STILL_LEVELS
        if same and index < len(shown) - 1:
            continue
        end = mark.t
        spoken = sum(start.t <= sound.t <= end for sound in heard) * WINDOW_S
        if end - start.t >= _STILL_S and spoken >= _STILL_S / 2 and index > 0:
            found.append(Incident(IncidentKind.FROZEN_PICTURE, start.t - clip, end - start.t))
        start = mark
    return found


def _difference(one: PictureMark, other: PictureMark) -> int:
    return int(np.abs(one.thumb.astype(np.int16) - other.thumb).max())


def late(pictures: Sequence[PictureMark], first: float, last: float, clip: float) -> list[Incident]:
    """Pictures that came later than they should by their own time stamps, all of an answer as one."""
    lag = min((mark.at - mark.t for mark in pictures), default=0.0)
    delays = [(mark.t, mark.at - mark.t - lag) for mark in pictures if first <= mark.t <= last]
    idle = [mark.at - mark.t - lag for mark in pictures if mark.t < first]
    # Several pictures of one fragment come at once; what they always wait for each other is no lateness.
    usual = float(np.percentile(idle, 95)) if len(idle) >= _FRAMES // 2 else 0.0
    tardy = [(t, delay - usual) for t, delay in delays if delay - usual > _LATE_S]
    if not tardy:
        return []
    worst = max(delay for _, delay in tardy)
    note = f"{len(tardy)} of {len(delays)} pictures, up to {worst:.2f} s"
    return [Incident(IncidentKind.LATE_PICTURE, tardy[0][0] - clip, worst, note)]


def lost_sound(sounds: Sequence[SoundMark], first: float, clip: float) -> list[Incident]:
    """Holes in the time stamps of the sound from shortly before the answer on."""
    found = []
    for before, after in itertools.pairwise(sounds):
        hole = after.t - before.t - WINDOW_S
        # A hole that ends shortly before what is heard first may have held what should have been.
        if hole > _HOLE_S and after.t >= first - _BEFORE_S:
            beginning = before.t < first
            kind = IncidentKind.LOST_FIRST_SOUND if beginning else IncidentKind.LOST_SOUND
            found.append(Incident(kind, max(0.0, before.t + WINDOW_S - clip), hole))
    return found


def missing_head(given: npt.NDArray[np.float64], heard: npt.NDArray[np.float64]) -> float | None:
    """Seconds of the beginning of a speech that are not in what was heard; None if the two are not alike.

    Args:
        given: levels in dBFS per 20 ms of the speech that was handed over, from its first sound on.
        heard: of what came, from its first sound on.
    """
    given, heard = (np.clip(of, -60.0, 0.0) for of in (given, heard))
    best, at = -1.0, 0
    for lag in range(max(1, len(given) - len(heard) // 2)):
        count = min(len(given) - lag, len(heard))
        if count < 10:
            break
        one, other = given[lag : lag + count], heard[:count]
        spread = float(one.std() * other.std())
        likeness = float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread > 1e-9 else 0.0
        # What is shifted by little is like itself; only what is clearly better is believed.
        if likeness > best + 0.02:
            best, at = likeness, lag
    return at * WINDOW_S if best >= _LEAST_LIKENESS else None


def lost_head(given: npt.NDArray[np.float64], heard: npt.NDArray[np.float64]) -> list[Incident]:
    """The incident that the beginning of a speech was lost on its way, if it was."""
    seconds = missing_head(given, heard)
    return [] if seconds is None or seconds < _LEAST_HEAD_S else [Incident(IncidentKind.LOST_FIRST_SOUND, 0.0, seconds)]

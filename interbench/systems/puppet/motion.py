"""What a person does while listening and speaking: blinks, nods, glances, raised brows, sway and breath.

A clip is a listening moment, the speech, and a moment in which the figure settles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from interbench.media.speech import Speech
from interbench.systems.puppet.figure.features import Brows, Eyes
from interbench.systems.puppet.figure.sprites import Pose
from interbench.systems.puppet.moods import EXPRESSIONS, Expression
from interbench.systems.puppet.visemes import mouth_at, mouth_track

FPS = 25
TAIL_S = 0.48
_BLINK = (0.6, 0.12, 0.0, 0.3, 0.75)
"""Lids over the frames of one blink."""
_EYEBALL = 21.2
"""Radius in pixels: twice that of the iris that is drawn."""
Curve = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Manner:
    """What of the motion is left out or out of place."""

    lips_offset_s: float = 0.0
    newsreader: bool = False
    """No listening, no nods, a fixed gaze."""
    liveliness: float = 1.0
    """Of glances, nods, blinks, brows and sway; 0: nothing moves but mouth and breath."""
    gaze_deg: float = 0.0
    """How far the eyes look past the user, all the time."""


def lead_s(seed: int, manner: Manner) -> float:
    """Length of the listening moment: whole frames, 0.32 to 0.48 s."""
    return 2 / FPS if manner.newsreader else (8 + seed % 5) / FPS


def poses(speech: Speech, mood: str, seed: int, manner: Manner, *, affect: float = 1.0) -> list[Pose]:
    """One pose per frame, at :data:`FPS`. ``mood``: a key of :data:`EXPRESSIONS`, of which ``affect`` is shown."""
    rng = np.random.default_rng(seed)
    lead = lead_s(seed, manner)
    lead_frames = round(lead * FPS)
    speech_frames = int(np.ceil(speech.duration_s * FPS - 1e-6))
    count = lead_frames + speech_frames + round(TAIL_S * FPS)
    times = np.arange(count) / FPS
    end = lead + speech.duration_s
    expression = EXPRESSIONS[mood] if affect == 1.0 else weakened(EXPRESSIONS[mood], affect)
    alive = manner.liveliness
    energy = (0.12 if manner.newsreader else expression.energy) * alive

    track = mouth_track(speech.phonemes, speech.duration_s, FPS) if speech.duration_s else np.zeros((0, 6))
    shift = lead_frames + round(manner.lips_offset_s * FPS)
    # The mood comes up while listening turns into speaking.
    shown = _ease((times - 0.1) / (lead + 0.25))
    accents = _accents(speech, lead, rng)
    nod, lift = np.zeros(count), np.zeros(count)
    if not manner.newsreader:
        nod += _bump(times, 0.5 * lead + 0.04, 0.1) * 0.85 * alive
        for moment, weight in accents:
            if rng.random() < 0.6:
                nod += _bump(times, moment, 0.11) * weight * rng.uniform(0.35, 0.8) * energy
            if rng.random() < 0.55:
                lift += _bump(times, moment - 0.04, 0.16) * weight * rng.uniform(0.3, 0.75) * energy
        nod += _bump(times, end + 0.16, 0.13) * 0.5 * alive
    gaze_x, gaze_y = _gaze(times, lead, end, rng) if not manner.newsreader else (np.zeros(count), np.zeros(count))
    glance = gaze_x * alive
    gaze_x, gaze_y = glance + _EYEBALL * np.sin(np.deg2rad(manner.gaze_deg)), gaze_y * alive
    lids = 1 - (1 - _blinks(times, rng, rare=manner.newsreader)) * alive

    sway_x = _wander(times, rng, (0.11, 0.23, 0.41)) * 2.6 * energy
    sway_tilt = _wander(times, rng, (0.09, 0.19, 0.37)) * 1.5 * energy
    turn = _wander(times, rng, (0.13, 0.27, 0.5)) * 0.34 * energy + glance * 0.05
    rise = _wander(times, rng, (0.15, 0.31, 0.6)) * 0.16 * energy + gaze_y * 0.03
    breath = 0.5 - 0.5 * np.cos(2 * np.pi * (times * 0.27 + rng.uniform(0.0, 0.25)))
    listening = (1 - shown) * (0.0 if manner.newsreader else 1.0)
    lift = np.clip(lift, 0, 0.8)

    return [
        Pose(
            mouth=mouth_at(track, index - shift, _blend(0.3, expression.smile, shown[index])),
            eyes=Eyes(
                lid=min(lids[index], 1.0) * _blend(1.0, expression.lid, shown[index]) * (1 - 0.12 * nod[index]),
                squint=expression.squint * shown[index],
                gaze_x=gaze_x[index],
                gaze_y=gaze_y[index],
            ),
            brows=Brows(
                lift=float(np.clip(expression.lift * shown[index] + lift[index] + 0.22 * listening[index], -1, 1)),
                inner=expression.inner * shown[index],
            ),
            breath=breath[index],
            dx=sway_x[index] + turn[index] * 3.0,
            dy=nod[index] * 3.4 + expression.pitch * 5 * shown[index],
            tilt=sway_tilt[index] + _tilt(expression, energy) * shown[index] + 1.4 * listening[index],
            yaw=turn[index],
            pitch=rise[index] + nod[index] * 0.75 + expression.pitch * shown[index],
            scale=1.0 + 0.004 * nod[index],
        )
        for index in range(count)
    ]


def weakened(expression: Expression, share: float) -> Expression:
    """``share`` of an expression, between a face at rest and the whole; the voice stays as it is."""
    return replace(
        expression,
        **{name: getattr(expression, name) * share for name in ("smile", "lift", "inner", "squint", "tilt", "pitch")},
        lid=1 + (expression.lid - 1) * share,
        energy=1 + (expression.energy - 1) * share,
    )


def _tilt(expression: Expression, energy: float) -> float:
    return expression.tilt * min(1.0, energy)


def _blend(start: float, end: float, share: float) -> float:
    return float(start + (end - start) * share)


def _ease(values: Curve) -> Curve:
    clipped = np.clip(values, 0.0, 1.0)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))


def _bump(times: Curve, middle: float, width: float) -> Curve:
    return np.asarray(np.exp(-0.5 * ((times - middle) / width) ** 2))


def _wander(times: Curve, rng: np.random.Generator, rates: tuple[float, ...]) -> Curve:
    """Slow motion without a visible period, within about -1..1."""
    total = np.zeros_like(times)
    for index, rate in enumerate(rates):
        total += np.sin(2 * np.pi * (rate * times + rng.random())) / (1 + 0.7 * index)
    return total / sum(1 / (1 + 0.7 * index) for index in range(len(rates)))


def _accents(speech: Speech, lead: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Moments that deserve a gesture: words of weight, some of them; (seconds, weight 0..1)."""
    found = []
    last = -1.0
    for word, start, end in speech.words:
        weight = min(1.0, (len(word) - 3) / 6)
        moment = lead + start + 0.4 * (end - start)
        if weight > 0.2 and moment - last > 0.55 and rng.random() < 0.75:
            found.append((moment, 0.5 + 0.5 * weight))
            last = moment
    return found


def _gaze(times: Curve, lead: float, end: float, rng: np.random.Generator) -> tuple[Curve, Curve]:
    """Eye contact, left now and then for a second to think, always found again before the end. Pixels."""
    x, y = np.zeros_like(times), np.zeros_like(times)
    moment = lead + rng.uniform(0.5, 1.6)
    while moment + 1.2 < end:
        length = rng.uniform(0.5, 1.1)
        away = (times >= moment) & (times < moment + length)
        x[away], y[away] = rng.choice((-1, 1)) * rng.uniform(3.0, 5.0), rng.choice((-2.0, -1.0, 2.0))
        moment += length + rng.uniform(1.8, 3.6)
    # A saccade takes one frame in between.
    return (np.convolve(x, (0.5, 0.5))[: len(x)], np.convolve(y, (0.5, 0.5))[: len(y)])


def _blinks(times: Curve, rng: np.random.Generator, *, rare: bool) -> Curve:
    lids = np.ones_like(times)
    moment = rng.uniform(0.12, 0.4) + (3.0 if rare else 0.0)
    while moment < times[-1]:
        first = round(moment * FPS)
        part = lids[first : first + len(_BLINK)]
        part[:] = _BLINK[: len(part)]
        moment += rng.uniform(6.0, 9.0) if rare else rng.uniform(1.7, 4.2)
    return lids

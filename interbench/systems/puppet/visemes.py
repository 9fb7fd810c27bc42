"""From phonemes to mouth shapes: a target for each sound, blended where sounds run into each other.

Blending follows the dominance functions of Cohen and Massaro ("Modeling coarticulation in synthetic visual speech",
1993): each sound pulls the mouth towards its target with a strength that falls off from its middle on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interbench.media.speech import Span
from interbench.systems.puppet.figure.features import Mouth

_FIELDS = ("open", "spread", "press", "tuck", "teeth", "tongue")
Track = npt.NDArray[np.float64]
"""Mouth parameters over frames, shape (frames, len(_FIELDS))."""


@dataclass(frozen=True, slots=True)
class Viseme:
    """A target and how strongly it holds against its neighbours."""

    open: float
    spread: float = 0.0
    press: float = 0.0
    tuck: float = 0.0
    teeth: float = 0.3
    tongue: float = 0.0
    strength: float = 1.0


REST = Viseme(0.0, teeth=0.0, strength=0.8)
_UNKNOWN = Viseme(0.3, strength=0.6)
_LIPS_CLOSED = Viseme(0.0, press=0.8, teeth=0.0, strength=7.0)
_LIP_ON_TEETH = Viseme(0.12, 0.1, tuck=1.0, teeth=1.0, strength=4.0)
_TONGUE_ON_TEETH = Viseme(0.2, 0.15, teeth=0.6, tongue=1.0, strength=1.8)
_TIP_UP = Viseme(0.17, 0.25, teeth=0.7, tongue=0.6, strength=1.3)
_HISS = Viseme(0.12, 0.4, teeth=1.0, strength=1.7)
_HUSH = Viseme(0.18, -0.5, teeth=1.0, strength=2.0)
_BACK = Viseme(0.26, 0.1, strength=0.8)

VISEMES: dict[str, Viseme] = {
    **dict.fromkeys("pbm", _LIPS_CLOSED),
    **dict.fromkeys("fvɱʋ", _LIP_ON_TEETH),
    **dict.fromkeys("θð", _TONGUE_ON_TEETH),
    **dict.fromkeys("tdnlɾɫʈɖɳɲʎ", _TIP_UP),
    **dict.fromkeys("sz", _HISS),
    **dict.fromkeys("ʃʒɕʑʂʐ", _HUSH),
    **dict.fromkeys("kɡgŋxɣqχʁc", _BACK),
    **dict.fromkeys("hɦʔħʕ", Viseme(0.3, strength=0.35)),
    **dict.fromkeys("ɹrɻʀ", Viseme(0.2, -0.4, teeth=0.4, strength=1.2)),
    "w": Viseme(0.12, -1.0, teeth=0.0, strength=2.4),
    "j": Viseme(0.2, 0.6, teeth=0.6),
    **dict.fromkeys("aɑ", Viseme(0.86, 0.1, strength=1.6)),
    "æ": Viseme(0.78, 0.4, teeth=0.6, strength=1.6),
    "ɐ": Viseme(0.6, 0.1, strength=1.3),
    "ʌ": Viseme(0.62, 0.0, strength=1.4),
    "ɒ": Viseme(0.74, -0.35, strength=1.5),
    "ɔ": Viseme(0.62, -0.6, strength=1.6),
    "o": Viseme(0.5, -0.8, teeth=0.0, strength=1.6),
    "ʊ": Viseme(0.3, -0.7, teeth=0.0, strength=1.4),
    **dict.fromkeys("uʉɯ", Viseme(0.2, -1.0, teeth=0.0, strength=1.8)),
    **dict.fromkeys("əɘɵ", Viseme(0.36, 0.0, strength=0.9)),
    **dict.fromkeys("ɜɝɚœø", Viseme(0.42, -0.25, strength=1.3)),
    "e": Viseme(0.46, 0.5, teeth=0.6, strength=1.4),
    "ɛ": Viseme(0.54, 0.35, teeth=0.5, strength=1.4),
    **dict.fromkeys("ɪɨʏ", Viseme(0.32, 0.4, teeth=0.6, strength=1.1)),
    **dict.fromkeys("iy", Viseme(0.24, 0.85, teeth=0.8, strength=1.5)),
    "ᵻ": Viseme(0.3, 0.3, teeth=0.5, strength=0.9),
}
"""IPA character -> mouth. Length, stress and other marks are ignored; sounds of several characters are glides."""

_PAUSE_S = 0.13


def segments(phonemes: Sequence[Span], total_s: float) -> list[tuple[Viseme, float, float]]:
    """Targets with start and end in seconds; pauses become :data:`REST`."""
    found: list[tuple[Viseme, float, float]] = []
    clock = 0.0
    for name, start, end in phonemes:
        if start - clock > _PAUSE_S:
            found.append((REST, clock, start))
        parts = [VISEMES[char] for char in name if char in VISEMES] or [_UNKNOWN]
        width = (end - start) / len(parts)
        found += [(part, start + index * width, start + (index + 1) * width) for index, part in enumerate(parts)]
        clock = max(clock, end)
    if total_s - clock > 0:
        found.append((REST, clock, total_s))
    return found


def mouth_track(phonemes: Sequence[Span], total_s: float, fps: float) -> Track:
    """Mouth parameters for each frame of ``total_s`` seconds."""
    frames = max(1, round(total_s * fps))
    targets = segments(phonemes, total_s)
    times = (np.arange(frames) + 0.5) / fps
    weighted = np.zeros((frames, len(_FIELDS)))
    weights = np.full((frames, 1), 1e-9)
    for viseme, start, end in targets:
        middle, half = (start + end) / 2, max(0.02, (end - start) / 2)
        first, last = int((start - 0.25) * fps), int((end + 0.25) * fps) + 1
        window = slice(max(0, first), min(frames, max(0, last)))
        # Flat over the sound itself, falling off within some 50 ms around it.
        distance = np.maximum(0.0, np.abs(times[window] - middle) - 0.6 * half)
        pull = viseme.strength * np.exp(-distance / 0.042)
        target = np.array([getattr(viseme, field) for field in _FIELDS])
        weighted[window] += pull[:, None] * target
        weights[window] += pull[:, None]
    track: Track = weighted / weights
    _close(track, targets, fps)
    return track


def _close(track: Track, targets: Sequence[tuple[Viseme, float, float]], fps: float) -> None:
    """Lips that must meet do meet, on the frame nearest to the sound's middle."""
    open_, press, tuck = _FIELDS.index("open"), _FIELDS.index("press"), _FIELDS.index("tuck")
    for viseme, start, end in targets:
        frame = min(len(track) - 1, int((start + end) / 2 * fps))
        if viseme is _LIPS_CLOSED:
            track[frame, open_] = 0.0
            track[frame, press] = 1.0
        elif viseme is _LIP_ON_TEETH:
            track[frame, open_] = 0.1
            track[frame, tuck] = 1.0


def mouth_at(track: Track, frame: int, smile: float) -> Mouth:
    """The mouth of one frame; beyond the track's ends it is at rest."""
    if not 0 <= frame < len(track):
        return Mouth(smile=smile)
    values = dict(zip(_FIELDS, (float(value) for value in track[frame]), strict=True))
    # A wide open or rounded mouth can't smile as much.
    eased = smile * (1 - 0.35 * values["open"]) * (1 - 0.6 * max(0.0, -values["spread"]))
    return Mouth(smile=eased, **values)

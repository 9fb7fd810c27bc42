"""From embeddings of lips and sound to Sync-C, Sync-D and the offset (LSE-C and LSE-D are the same figures).

Source: ``SyncNetInstance.py`` of the published SyncNet. Outside of the clip the sound is a zero vector, and distances
to it count: at the ends of the range that decides where the least distance lies in a short clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

REACH = 15
"""Frames by which the sound is shifted, each way. The function that computes the distances has 10 as its default; every
script that calls it says 15."""
FPS = 25
SAMPLES_PER_FRAME = 640
_EPSILON = 1e-6
_LEFT_OUT = 5
"""Frames at the end that get no window: one more than a window needs, as published."""

Embeddings = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class SyncScores:
    """How well lips and sound fit, of one track."""

    confidence: float
    """Sync-C: median over the shifts of the mean distance, minus its least. Higher is better."""
    distance: float
    """Sync-D: the least mean distance over the shifts. Lower is better."""
    offset: int
    """Frames of 25 a second by which the sound that fits best lies earlier than the picture."""
    distance_at_zero: float
    """Mean distance of what is shown and heard together, whatever would fit better."""
    mean_distances: npt.NDArray[np.float64]
    """By shift, from -``reach`` to ``reach`` [2 reach + 1]."""

    @property
    def at_the_edge(self) -> bool:
        """Whether the best shift is the last one looked at: then no synchrony was found."""
        return abs(self.offset) == len(self.mean_distances) // 2


def window_count(frames: int, samples: int) -> int:
    """Windows of a track of so many frames with so many samples of sound, as published: one fewer than would fit."""
    return max(0, min(frames, samples // SAMPLES_PER_FRAME) - _LEFT_OUT)


def distances(lips: Embeddings, sound: Embeddings, reach: int = REACH) -> npt.NDArray[np.float64]:
    """Distance [windows, 2 reach + 1] of each window of lips [windows, D] to the sound shifted by -reach..reach."""
    padded = np.pad(np.asarray(sound, np.float64), ((reach, reach), (0, 0)))
    seen = np.asarray(lips, np.float64)
    shifted = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    # [windows, D, shifts]
    found: npt.NDArray[np.float64] = np.sqrt(np.square(seen[:, :, None] - shifted + _EPSILON).sum(axis=1))
    return found


def score(lips: Embeddings, sound: Embeddings, reach: int = REACH) -> SyncScores:
    """Scores of one track, as published."""
    return _scores(distances(lips, sound, reach).mean(axis=0))


def unpadded_score(lips: Embeddings, sound: Embeddings, reach: int = REACH) -> SyncScores:
    """The same without the distances to the zeros outside of the clip; a shift that leaves nothing to compare is NaN in
    the mean distances and takes no part."""
    every = distances(lips, sound, reach)
    index = np.arange(len(every))[:, None] + np.arange(-reach, reach + 1)[None, :]
    inside = (index >= 0) & (index < len(every))
    counts = inside.sum(axis=0)
    return _scores(np.where(counts > 0, np.where(inside, every, 0).sum(axis=0) / np.maximum(counts, 1), np.nan))


def _scores(mean: npt.NDArray[np.float64]) -> SyncScores:
    reach = len(mean) // 2
    best = int(np.nanargmin(mean))
    return SyncScores(float(np.nanmedian(mean) - mean[best]), float(mean[best]), reach - best, float(mean[reach]), mean)


def confidence_by_window(every: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Confidence of each window [windows] at the best shift of the track, smoothed over nine."""
    mean = every.mean(axis=0)
    smoothed: npt.NDArray[np.float64] = median_filter(
        np.median(mean) - every[:, mean.argmin()], 9, mode="constant", cval=0.0
    )
    return smoothed


def offsets_over_time(
    lips: Embeddings, sound: Embeddings, reach: int = REACH, stretch: int = 10 * FPS
) -> list[tuple[float, int]]:
    """Middle (seconds) and offset of each stretch of so many windows; of a last one that is at least half as long.

    Stretches at whose best shift nothing fits (the last shift looked at) are left out.
    """
    found = []
    for start in range(0, len(lips), stretch):
        part = slice(start, start + stretch)
        if len(lips[part]) * 2 < stretch and start:
            break
        scores = score(lips[part], sound[part], reach)
        if not scores.at_the_edge:
            found.append(((start + len(lips[part]) / 2) / FPS, scores.offset))
    return found


@dataclass(frozen=True, slots=True)
class TrackFigures:
    """What a track adds to a table."""

    confidence: float
    distance: float
    frames: int


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Sync-C and Sync-D of one clip or of many."""

    confidence: float
    distance: float


def _mean(tracks: Sequence[TrackFigures]) -> Aggregate:
    return Aggregate(
        float(np.mean([track.confidence for track in tracks])), float(np.mean([track.distance for track in tracks]))
    )


def _best(tracks: Sequence[TrackFigures]) -> Aggregate:
    return Aggregate(max(track.confidence for track in tracks), min(track.distance for track in tracks))


def _longest(tracks: Sequence[TrackFigures]) -> Aggregate:
    longest = max(tracks, key=lambda track: track.frames)
    return Aggregate(longest.confidence, longest.distance)


PER_CLIP = {"latentsync": _mean, "best-track": _best, "longest-track": _longest, "all-tracks": _mean}
HABITS: Mapping[str, str] = {
    "latentsync": "mean over the tracks of a clip, then over clips",
    "best-track": "highest C and lowest D over the tracks of a clip (they may be two tracks), then the mean over clips",
    "all-tracks": "mean over all tracks of all clips, a track as a row",
    "longest-track": "the longest track of a clip, then the mean over clips",
}
"""The ways in which published programs make one figure of several tracks."""


def clip_figures(tracks: Sequence[TrackFigures], habit: str) -> Aggregate | None:
    """The figures of one clip; None if no track was found in it, which is never a zero."""
    return PER_CLIP[habit](tracks) if tracks else None


def set_figures(clips: Sequence[Sequence[TrackFigures]], habit: str) -> Aggregate | None:
    """The figures of many clips; those without a track take no part, and None is left if all are such."""
    if habit == "all-tracks":
        every = [track for tracks in clips for track in tracks]
        return _mean(every) if every else None
    found = [figures for tracks in clips if (figures := clip_figures(tracks, habit)) is not None]
    if not found:
        return None
    return Aggregate(float(np.mean([one.confidence for one in found])), float(np.mean([one.distance for one in found])))

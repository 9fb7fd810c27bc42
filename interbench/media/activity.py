"""When something is heard in a clip, and when its speech pauses, read off the level of the sound."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WINDOW_S = 0.02
FLOOR_DB = -50.0
"""dBFS; what is quieter is silence, as in :attr:`interbench.domain.records.ClipFacts.audible`."""
BELOW_SPEECH_DB = 30.0
"""What is so much quieter than the loud parts of a clip is silence, too: a room, a hum."""
_LOUD = 95
"""Percentile of the windows' levels that stands for the loud parts."""


def heard(
    samples: npt.NDArray[np.float32], rate: int, least_pause_s: float
) -> tuple[float, float, tuple[tuple[float, float], ...]] | None:
    """When sound begins and ends, and the silences of more than ``least_pause_s`` between; None if there is none.

    Args:
        samples: mono, 1 is full scale.
        rate: samples per second.
        least_pause_s: in seconds.
    """
    size = round(WINDOW_S * rate)
    count = len(samples) // size
    if not count:
        return None
    windows = samples[: count * size].reshape(count, size).astype(np.float64)
    levels = 10 * np.log10(np.maximum(windows.var(axis=1), 1e-12))
    audible = levels[levels > FLOOR_DB]
    if not len(audible):
        return None
    loud = np.flatnonzero(levels > max(FLOOR_DB, float(np.percentile(audible, _LOUD)) - BELOW_SPEECH_DB))
    gaps = np.flatnonzero(np.diff(loud) > 1)
    silences = ((float(loud[g] + 1) * WINDOW_S, float(loud[g + 1]) * WINDOW_S) for g in gaps)
    pauses = tuple((start, end) for start, end in silences if end - start > least_pause_s)
    return float(loud[0]) * WINDOW_S, float(loud[-1] + 1) * WINDOW_S, pauses

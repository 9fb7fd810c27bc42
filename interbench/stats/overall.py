"""A plain mean over dimensions, and ranks with ties by its interval. It is a summary of what was measured, no overall
score: nobody has said how much a dimension is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interbench.stats.scores import FloatArray


def mean_of_dimensions(figures: FloatArray, measured: Sequence[int]) -> FloatArray:
    """Mean over the last axis, of its places ``measured`` alone; NaN where any of them is.

    A mean over some of them would set a system that failed in a hard dimension above one that did not.
    """
    if not measured:
        return np.full(figures.shape[:-1], np.nan)
    mean: FloatArray = np.mean(figures[..., list(measured)], axis=-1)
    return mean


def ranks(intervals: Sequence[tuple[float, float] | None]) -> list[int | None]:
    """1 + the number of systems whose interval lies wholly above one's own, so that those that overlap may tie.

    None for a system without an interval, and for all where fewer than two have one.
    """
    known = [ends for ends in intervals if ends is not None]
    if len(known) < 2:
        return [None] * len(intervals)
    return [None if ends is None else 1 + sum(low > ends[1] for low, _ in known) for ends in intervals]

"""Distances between two sets of feature vectors, and how far they spread: pure functions.

Rows are feature vectors. Several rows may come from one clip (its frames, its windows): rows of one clip are no
independent samples, so whatever resamples here takes clips whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating]
Numbers = npt.NDArray[np.float64]
Clips = npt.NDArray[np.integer]

NORMAL_95 = 1.959963984540054


def frechet_distance(a: Features, b: Features, *, ddof: int = 1) -> float:
    """Fréchet distance between the normal distributions fitted to the rows of ``a`` [N, D] and ``b`` [M, D].

    The trace of the square root of the product of the two covariances is the nuclear norm of the product of the two
    centred matrices, so nothing of D x D is decomposed and sets with fewer rows than columns are exact.

    Args:
        a: features.
        b: features.
        ddof: what is taken off the number of rows in the covariances; 1 as in most implementations, 0 in StyleGAN-V's.

    Raises:
        ValueError: a set has too few rows for a covariance, or the two have not the same columns.
    """
    a, b = _checked(a, b, least=ddof + 1)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    centred_a = (a - mean_a) / np.sqrt(len(a) - ddof)
    centred_b = (b - mean_b) / np.sqrt(len(b) - ddof)
    # Of A Bᵀ [N, M], or of R_a R_bᵀ where there are more rows than columns: the same singular values.
    left, right = _condensed(centred_a), _condensed(centred_b)
    common = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    gap = mean_a - mean_b
    return float(gap @ gap + np.square(centred_a).sum() + np.square(centred_b).sum() - 2 * common)


def cubic_mmd(a: Features, b: Features, *, pairs_out: bool = False) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y / D + 1)³: what KID and KVD are.

    Args:
        a: features [N, D].
        b: features [M, D].
        pairs_out: leave out the cross terms of equal row number, for sets of which row i of one was made after row i
            of the other; N must be M.

    Raises:
        ValueError: fewer than two rows in a set, or sets that can't be paired.
    """
    if pairs_out and len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} rows can't be pairs")
    rows = np.arange(len(a)) if pairs_out else None
    return clip_mmd(a, b, np.arange(len(a)), np.arange(len(b)) if rows is None else rows, matched_out=pairs_out)


def clip_mmd(a: Features, b: Features, clip_of_a: Clips, clip_of_b: Clips, *, matched_out: bool) -> float:
    """:func:`cubic_mmd` of rows that belong to clips: within a set only rows of different clips are compared.

    Args:
        a: features [N, D].
        b: features [M, D].
        clip_of_a: clip of each row of ``a`` [N].
        clip_of_b: clip of each row of ``b`` [M].
        matched_out: leave out the cross terms of rows whose clips have the same number.

    Raises:
        ValueError: nothing is left to compare.
    """
    a, b = _checked(a, b, least=2)
    within_a = _mean_off(_kernel(a, a), clip_of_a[:, None] == clip_of_a[None, :])
    within_b = _mean_off(_kernel(b, b), clip_of_b[:, None] == clip_of_b[None, :])
    left_out = clip_of_a[:, None] == clip_of_b[None, :] if matched_out else np.zeros((len(a), len(b)), bool)
    return within_a + within_b - 2 * _mean_off(_kernel(a, b), left_out)


@dataclass(frozen=True, slots=True)
class Jackknife:
    """A figure, and its spread over clips by leaving out one at a time."""

    point: float
    replicates: Numbers
    """The figure without each clip, in the order of the clips."""

    @property
    def se(self) -> float:
        """Standard error at this number of clips."""
        n = len(self.replicates)
        return float(np.sqrt((n - 1) / n * np.square(self.replicates - self.replicates.mean()).sum()))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the spread at this number of clips. It does not reach to the value of infinitely many."""
        half = NORMAL_95 * self.se
        return self.point - half, self.point + half


def jackknife(figure: Callable[[Sequence[int]], float], clips: int) -> Jackknife:
    """Delete-one jackknife over clips.

    Args:
        figure: the figure of the clips of these numbers.
        clips: how many there are; at least 3.

    Raises:
        ValueError: there are fewer than 3 clips.
    """
    if clips < 3:
        raise ValueError("a jackknife needs three clips")
    everything = list(range(clips))
    replicates = [figure([other for other in everything if other != left_out]) for left_out in everything]
    return Jackknife(figure(everything), np.array(replicates))


def rows_of(clips: Sequence[int], clip_of: Clips) -> npt.NDArray[np.intp]:
    """Numbers of the rows of ``clips``, clip by clip; a clip that is named twice gives its rows twice."""
    return np.concatenate([np.flatnonzero(clip_of == clip) for clip in clips]) if clips else np.empty(0, np.intp)


def extrapolated(sizes: Sequence[int], distances: Sequence[float]) -> float:
    """Where the least-squares line through ``distances`` over 1 / ``sizes`` meets infinitely many rows.

    It takes away part of the bias of a small set, not all of it.
    """
    slope_and_start = np.polyfit(1 / np.asarray(sizes, np.float64), np.asarray(distances, np.float64), 1)
    return float(slope_and_start[1])


def _checked(a: Features, b: Features, *, least: int) -> tuple[Numbers, Numbers]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features of the shapes {a.shape} and {b.shape} can't be compared")
    if min(len(a), len(b)) < least:
        raise ValueError(f"a set of {min(len(a), len(b))} rows is too small")
    return np.asarray(a, np.float64), np.asarray(b, np.float64)


def _condensed(rows: Numbers) -> Numbers:
    """The same but for a rotation, with no more rows than columns."""
    if len(rows) <= rows.shape[1]:
        return rows
    condensed: Numbers = np.asarray(np.linalg.qr(rows, mode="r"))
    return condensed


def _kernel(x: Numbers, y: Numbers) -> Numbers:
    kernel: Numbers = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _mean_off(kernel: Numbers, left_out: npt.NDArray[np.bool_]) -> float:
    kept = ~left_out
    if not kept.any():
        raise ValueError("nothing is left to compare: every pair of rows is of one clip")
    return float(kernel[kept].mean())

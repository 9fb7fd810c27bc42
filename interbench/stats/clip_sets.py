"""Two sets of clips against one another: Fréchet distance and cubic MMD of their features, jackknifed over clips.

The rows of a set may be thousands (every frame of every clip), and its clips a hundred. Leaving out a clip takes its
rows off sums that were made once, so that an interval costs little more than the figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interbench.stats.frechet import NORMAL_95, Numbers, frechet_distance

_LEAST_CLIPS = 3
_RIDGE = 1e-12
"""Of the mean variance, added where a covariance is to have a Cholesky factor."""


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """Features of a set of clips."""

    rows: npt.NDArray[np.floating]
    """[N, D]."""
    clip: npt.NDArray[np.integer]
    """Number of each row's clip [N], 0 to the number of clips less one; rows of a clip stand together."""

    @property
    def clips(self) -> int:
        return int(self.clip[-1]) + 1

    def counts(self) -> npt.NDArray[np.int64]:
        return np.bincount(self.clip, minlength=self.clips).astype(np.int64)


@dataclass(frozen=True, slots=True)
class SetComparison:
    """How far one set lies from another, and how far that spreads at this number of clips."""

    frechet: float
    frechet_interval: tuple[float, float] | None
    """None with fewer than three clips."""
    mmd: float
    mmd_interval: tuple[float, float] | None
    rows: int
    reference_rows: int
    frechet_replicates: Numbers
    """The distance without each clip; of paired sets, without each pair. Empty with fewer than three clips."""
    mmd_replicates: Numbers
    """The same of the MMD."""


def compare_sets(
    own: ClipFeatures, reference: ClipFeatures, *, paired: bool, ddof: int = 1, ridge: float = 0.0
) -> SetComparison:
    """Compare two sets.

    Args:
        own: the set.
        reference: what it is compared with.
        paired: clip i of one belongs to clip i of the other: both are left out together, and the MMD leaves out what
            such clips have in common.
        ddof: as in :func:`interbench.stats.frechet.frechet_distance`.
        ridge: added to the diagonals of both covariances, as some implementations do.
    """
    if paired and own.clips != reference.clips:
        raise ValueError(f"{own.clips} and {reference.clips} clips can't be pairs")
    distance = _FrechetWithout(own, reference, ddof, ridge)
    blocks = _Blocks.of(own, reference)
    point = distance(None, None)
    mmd = blocks.mmd(None, None, matched_out=paired)
    frechet_replicates, frechet_interval = _spread(point, distance, own.clips, reference.clips, paired=paired)
    mmd_replicates, mmd_interval = _spread(
        mmd, lambda one, other: blocks.mmd(one, other, matched_out=paired), own.clips, reference.clips, paired=paired
    )
    return SetComparison(
        point,
        frechet_interval,
        mmd,
        mmd_interval,
        len(own.rows),
        len(reference.rows),
        frechet_replicates,
        mmd_replicates,
    )


def jackknife_half(replicates: Numbers) -> float:
    """Half of the 95 % interval of a figure, of what it is without each clip in turn."""
    return NORMAL_95 * float(np.sqrt(_variance(replicates)))


def _spread(
    point: float, without: Callable[[int | None, int | None], float], own: int, reference: int, *, paired: bool
) -> tuple[Numbers, tuple[float, float] | None]:
    """Replicates and interval of a figure whose clips can be left out."""
    if min(own, reference) < _LEAST_CLIPS:
        return np.empty(0), None
    if paired:
        replicates = np.array([without(clip, clip) for clip in range(own)])
        variance = _variance(replicates)
    else:
        replicates = np.array([without(clip, None) for clip in range(own)])
        variance = _variance(replicates) + _variance(np.array([without(None, clip) for clip in range(reference)]))
    half = NORMAL_95 * float(np.sqrt(variance))
    return replicates, (point - half, point + half)


def _variance(replicates: Numbers) -> float:
    n = len(replicates)
    return float((n - 1) / n * np.square(replicates - replicates.mean()).sum())


class _FrechetWithout:
    """The Fréchet distance with a clip left out of either set."""

    def __init__(self, own: ClipFeatures, reference: ClipFeatures, ddof: int, ridge: float) -> None:
        self._sets = [(np.asarray(one.rows, np.float64), np.asarray(one.clip)) for one in (own, reference)]
        self._ddof, self._ridge = ddof, ridge
        width = own.rows.shape[1]
        self._by_covariance = bool(ridge) or min(len(own.rows), len(reference.rows)) > 2 * width
        # Sums about one centre that both share, so that large means cost no digits.
        self._centre: Numbers = self._sets[1][0].mean(axis=0)
        self._sums = [self._moments(rows) for rows, _ in self._sets] if self._by_covariance else []

    def __call__(self, own: int | None, reference: int | None) -> float:
        if not self._by_covariance:
            kept = [
                rows if clip is None else rows[clip_of != clip]
                for (rows, clip_of), clip in zip(self._sets, (own, reference), strict=True)
            ]
            return frechet_distance(kept[0], kept[1], ddof=self._ddof)
        means, covariances = [], []
        for (rows, clip_of), (count, total, scatter), clip in zip(
            self._sets, self._sums, (own, reference), strict=True
        ):
            if clip is not None:
                less = self._moments(rows[clip_of == clip])
                count, total, scatter = count - less[0], total - less[1], scatter - less[2]
            mean = total / count
            means.append(mean)
            covariances.append((scatter - count * np.outer(mean, mean)) / (count - self._ddof))
        gap = means[0] - means[1]
        a, b = (one + self._ridge * np.eye(len(one)) for one in covariances)
        return float(gap @ gap + np.trace(a) + np.trace(b) - 2 * _root_trace(a, b))

    def _moments(self, rows: Numbers) -> tuple[int, Numbers, Numbers]:
        shifted = rows - self._centre
        return len(rows), shifted.sum(axis=0), shifted.T @ shifted


def _root_trace(a: Numbers, b: Numbers) -> float:
    """Trace of the square root of ``a b``, for covariances: by the eigenvalues of Lᵀ b L with a = L Lᵀ."""
    try:
        factor = np.linalg.cholesky(a + _RIDGE * max(np.trace(a) / len(a), 1e-300) * np.eye(len(a)))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(a)
        factor = vectors * np.sqrt(values.clip(0))
    found = np.linalg.eigvalsh(factor.T @ b @ factor)
    return float(np.sqrt(found.clip(0)).sum())


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Sums of the cubic kernel over the rows of every pair of clips: within each set, and across."""

    own: Numbers
    reference: Numbers
    across: Numbers
    counts: npt.NDArray[np.int64]
    reference_counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, own: ClipFeatures, reference: ClipFeatures) -> _Blocks:
        return cls(
            _sums(own, own), _sums(reference, reference), _sums(own, reference), own.counts(), reference.counts()
        )

    def mmd(self, own: int | None, reference: int | None, *, matched_out: bool) -> float:
        """Unbiased over clips: within a set only clips against other clips, and across none against its own partner."""
        a = np.delete(np.arange(len(self.counts)), [] if own is None else own)
        b = np.delete(np.arange(len(self.reference_counts)), [] if reference is None else reference)
        na, nb = self.counts[a], self.reference_counts[b]
        kept = a[:, None] != b[None, :] if matched_out else np.ones((len(a), len(b)), bool)
        return (
            _off_diagonal(self.own[np.ix_(a, a)], na)
            + _off_diagonal(self.reference[np.ix_(b, b)], nb)
            - 2 * float(self.across[np.ix_(a, b)][kept].sum() / np.outer(na, nb)[kept].sum())
        )


def _off_diagonal(sums: Numbers, counts: npt.NDArray[np.int64]) -> float:
    off = ~np.eye(len(sums), dtype=bool)
    return float(sums[off].sum() / np.outer(counts, counts)[off].sum())


def _sums(a: ClipFeatures, b: ClipFeatures) -> Numbers:
    """Kernel sums [clips of a, clips of b], a clip of ``a`` at a time: no N x M is held."""
    right = np.asarray(b.rows, np.float64)
    starts = np.searchsorted(b.clip, np.arange(b.clips))
    found = np.empty((a.clips, b.clips))
    for clip in range(a.clips):
        left = np.asarray(a.rows[a.clip == clip], np.float64)
        kernel = (left @ right.T / right.shape[1] + 1) ** 3
        found[clip] = np.add.reduceat(kernel.sum(axis=0), starts)
    return found

"""How per-clip values and features become cells, with intervals that hold at this number of clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from interbench.single.base import Figure, Taken
from interbench.stats.clip_sets import ClipFeatures, compare_sets

_REPLICATES = 2000
_LEVEL = (2.5, 97.5)


def per_clip(
    taken: Sequence[Taken],
    key: str,
    *,
    seed: int,
    summary: Callable[[Sequence[Taken]], float | None] | None = None,
) -> Figure:
    """The mean of a value over the clips that have it, with a bootstrap over the videos that they were cut from.

    Args:
        taken: every clip that was expected.
        key: of the value.
        seed: of what is drawn.
        summary: makes the figure of the clips that have the value, if it is not their mean.
    """
    have = [one for one in taken if key in one.measured.values]
    expected = len(taken)
    if not have:
        return Figure(None, 0, expected, missing=first_reason(taken))
    summary = summary or (lambda clips: float(np.mean([one.measured.values[key] for one in clips])))
    value = summary(have)
    blocks: dict[str, list[Taken]] = {}
    for one in have:
        blocks.setdefault(one.clip.source, []).append(one)
    if len(blocks) < 2 or value is None:
        return Figure(value, len(have), expected)
    low, high = _bootstrap(list(blocks.values()), summary, seed)
    return Figure(value, len(have), expected, low, high)


def _bootstrap(
    blocks: Sequence[Sequence[Taken]], summary: Callable[[Sequence[Taken]], float | None], seed: int
) -> tuple[float | None, float | None]:
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(blocks), (_REPLICATES, len(blocks)))
    values = [summary([one for block in draw for one in blocks[block]]) for draw in drawn]
    known = [value for value in values if value is not None]
    if not known:
        return None, None
    low, high = np.percentile(known, _LEVEL)
    return float(low), float(high)


def interval_of_means(blocks: Sequence[Sequence[float]], seed: int) -> tuple[float, float]:
    """Bootstrap interval (95 %) of a mean whose values come in blocks that are drawn whole."""
    sums, counts = np.array([[sum(block), len(block)] for block in blocks], np.float64).T
    drawn = np.random.default_rng(seed).integers(0, len(blocks), (_REPLICATES, len(blocks)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), _LEVEL)
    return float(low), float(high)


def first_reason(taken: Sequence[Taken]) -> str:
    """Why nothing was scored: the commonest reason."""
    reasons = [one.measured.missing for one in taken if one.measured.missing]
    return max(reasons, key=reasons.count) if reasons else "no clips"


def compared(
    own: Sequence[Taken], references: Sequence[Taken] | None, *, ddof: int, ridge: float = 0.0
) -> tuple[Figure, Figure]:
    """Fréchet distance and cubic MMD of a set against its references, with jackknife intervals over clips.

    Clips and references of the same id go together: those whose partner is missing take no part.
    """
    expected = len(own)
    if references is None:
        nothing = Figure(None, 0, expected, missing="no reference clips; name them with --reference")
        return nothing, nothing
    have = {one.clip.id: one for one in own if one.measured.features is not None}
    theirs = {one.clip.id: one for one in references if one.measured.features is not None}
    paired = bool(have.keys() & theirs.keys())
    if paired:
        ids = [one.clip.id for one in own if one.clip.id in have and one.clip.id in theirs]
        have, theirs = {id_: have[id_] for id_ in ids}, {id_: theirs[id_] for id_ in ids}
    if min(len(have), len(theirs)) < 2:
        reason = first_reason([*own, *references]) if not have or not theirs else "fewer than two clips"
        few = Figure(None, min(len(have), len(theirs)), expected, missing=reason)
        return few, few
    result = compare_sets(_features(have), _features(theirs), paired=paired, ddof=ddof, ridge=ridge)
    detail: dict[str, Any] = {
        "rows": result.rows,
        "reference_rows": result.reference_rows,
        "paired": paired,
        "interval": "delete-one jackknife over clips: spread at this number of clips",
    }

    def figure(value: float, ends: tuple[float, float] | None, replicates: npt.NDArray[np.float64]) -> Figure:
        low, high = ends or (None, None)
        # By clip, so that two systems can be compared on the clips that both have.
        without = dict(zip(have, replicates.tolist(), strict=True)) if paired and len(replicates) else {}
        return Figure(value, len(have), expected, low, high, detail=detail | {"without": without})

    return (
        figure(result.frechet, result.frechet_interval, result.frechet_replicates),
        figure(result.mmd, result.mmd_interval, result.mmd_replicates),
    )


def _features(taken: dict[str, Taken]) -> ClipFeatures:
    blocks: list[npt.NDArray[np.float32]] = []
    for one in taken.values():
        assert one.measured.features is not None
        blocks.append(one.measured.features)
    return ClipFeatures(np.concatenate(blocks), np.repeat(np.arange(len(blocks)), [len(block) for block in blocks]))

"""How far dimensions move together: whether a judge tells them apart, or gives one impression under several names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interbench.stats.scores import KEYS, FloatArray, Scores

LEAST = 10
"""Conversations scored in both dimensions below which a correlation says nothing."""


@dataclass(frozen=True, slots=True)
class Correlations:
    """Between dimensions, over conversations, within systems."""

    keys: tuple[str, ...]
    r: tuple[tuple[float | None, ...], ...]
    """Pearson's, of the scores less their system's mean in that dimension; None where there is too little or no
    spread."""
    conversations: tuple[tuple[int, ...], ...]
    """Scored in both."""
    effective: float | None
    """Effective number of dimensions, (sum of eigenvalues)^2 / sum of their squares: as many as there are if none
    goes with another, 1 if all are one. None if a correlation is missing."""


def measure_correlations(scores: Scores) -> Correlations | None:
    """Of the dimensions with any score; None where fewer than two have :data:`LEAST` conversations.

    A system that is better in everything makes all dimensions go together, whatever the judge does; so each system's
    mean is taken off first.
    """
    cells = scores.cells
    shape = (len(scores.systems), len(scores.scenarios), len(KEYS))
    grid = np.full(shape, np.nan)
    grid[cells.system, cells.scenario, cells.dimension] = cells.value
    present = [d for d in range(len(KEYS)) if np.count_nonzero(~np.isnan(grid[..., d])) >= LEAST]
    if len(present) < 2:
        return None
    pairs = [[_pair(grid[..., a], grid[..., b]) for b in present] for a in present]
    r = tuple(tuple(found for found, _ in row) for row in pairs)
    known = np.array([[np.nan if value is None else value for value in row] for row in r])
    effective = None
    if not np.isnan(known).any():
        eigenvalues = np.clip(np.linalg.eigvalsh(known), 0.0, None)
        effective = float(eigenvalues.sum() ** 2 / np.square(eigenvalues).sum())
    counts = tuple(tuple(count for _, count in row) for row in pairs)
    return Correlations(tuple(KEYS[d] for d in present), r, counts, effective)


def _pair(one: FloatArray, other: FloatArray) -> tuple[float | None, int]:
    """Correlation within systems of two grids (systems, scenarios), and over how many conversations."""
    both = ~(np.isnan(one) | np.isnan(other))
    count = int(both.sum())
    if count < LEAST:
        return None, count
    deviations = [_less_system_mean(values, both) for values in (one, other)]
    scale = float(np.sqrt(np.square(deviations[0]).sum() * np.square(deviations[1]).sum()))
    if scale < 1e-9:
        return None, count
    return float(np.clip((deviations[0] * deviations[1]).sum() / scale, -1.0, 1.0)), count


def _less_system_mean(values: FloatArray, used: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FloatArray:
    kept = np.where(used, values, 0.0)
    means = kept.sum(axis=1) / np.maximum(used.sum(axis=1), 1)
    less: FloatArray = np.where(used, kept - means[:, None], 0.0)
    return less

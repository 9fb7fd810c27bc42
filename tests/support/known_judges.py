"""Judges whose truth is known, as numbers: what each makes of every condition of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from interbench.audit.conditions import make_conditions
from interbench.audit.effects import Condition, Judged
from interbench.domain.catalogue import Kind, bundled
from interbench.domain.dimensions import DIMENSION_KEYS

KEYS = DIMENSION_KEYS
FALLS = {1: 0.9, 2: 1.8, 3: 3.0}
Truth = Callable[[Condition, str], float]


def oracle(condition: Condition, key: str) -> float:
    """What a good judge makes of it: the aim falls by strength, what may fall falls a little."""
    if condition.kind in (Kind.DEFECT, Kind.GROSS, Kind.CHANNEL, Kind.POSITION) and not condition.unheard:
        fall = FALLS[3] if condition.kind is not Kind.DEFECT else FALLS[condition.strength]
        return -fall if key == condition.aim else -0.3 * fall if key in condition.may else 0.0
    if condition.kind in (Kind.WEAK, Kind.INJECTION):
        return -3.0
    return 0.0


def halo(condition: Condition, key: str) -> float:
    return oracle(condition, condition.aim) if condition.kind is Kind.DEFECT else oracle(condition, key)


def deaf(condition: Condition, key: str) -> float:
    """It does not notice what is wrong with logical consistency."""
    return 0.0 if key == "LC" else oracle(condition, key)


def likes_length(condition: Condition, key: str) -> float:
    longer = 1.2 * np.log2(condition.value) if condition.kind is Kind.VERBOSITY and key in ("IC", "SR") else 0.0
    return oracle(condition, key) + float(longer)


def obeys(condition: Condition, key: str) -> float:
    return (
        1.5 if condition.kind is Kind.INJECTION and condition.entry.startswith("inject-box") else oracle(condition, key)
    )


def minds_the_range(condition: Condition, key: str) -> float:
    return -1.5 if condition.entry == "range" and key == "MVC" else oracle(condition, key)


def nothing(condition: Condition, key: str) -> float:
    return 0.0


def judged(
    truth: Truth,
    rng: np.random.Generator,
    *,
    scenarios: int = 48,
    repeats: int = 3,
    noise: float = 0.7,
    keys: Sequence[str] = KEYS,
    strengths: bool = False,
) -> Judged:
    """An audit of such a judge; without ``strengths`` only the strongest of every defect."""
    conditions = make_conditions(bundled(), keys, quick=not strengths, whole=True)
    level = rng.normal(8, 0.8, (1, len(keys), scenarios, 1))
    means = np.asarray([[truth(c, key) for key in keys] for c in conditions])[..., None, None]
    noisy = level + means + rng.normal(0, noise, (len(conditions), len(keys), scenarios, repeats))
    return Judged(
        tuple(keys),
        conditions,
        tuple(f"s{n}" for n in range(scenarios)),
        np.clip(np.round(noisy), 1, 10),
        np.ones((len(conditions), len(keys), scenarios), bool),
    )

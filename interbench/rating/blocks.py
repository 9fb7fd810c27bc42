"""Who is shown what, and in which order: balanced incomplete blocks, pure functions of a seeded generator.

Everything to be shown is of a kind, a system or a pair of systems, and each rater gets all kinds equally often, give or
take one. So no rater's leniency favours a system.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


def assign(kinds: Sequence[Hashable], raters: int, per_item: int, common: float, rng: random.Random) -> list[list[int]]:
    """Which of the things of these ``kinds`` each rater gets, by index.

    Each thing goes to ``per_item`` raters, and a share ``common`` of them to all. Within a kind the numbers that two
    raters get differ by at most one.
    """
    everybody = set(rng.sample(range(len(kinds)), math.ceil(common * len(kinds))))
    of_kind: list[Counter[Hashable]] = [Counter() for _ in range(raters)]
    blocks: list[list[int]] = [[] for _ in range(raters)]
    order = list(range(len(kinds)))
    rng.shuffle(order)
    for index in order:
        wanted = raters if index in everybody else min(per_item, raters)
        by_need = sorted(range(raters), key=lambda r: (of_kind[r][kinds[index]], len(blocks[r]), rng.random()))
        for rater in by_need[:wanted]:
            blocks[rater].append(index)
            of_kind[rater][kinds[index]] += 1
    return blocks


def spread(scenarios: Sequence[str], rng: random.Random, before: str = "") -> list[int]:
    """An order, by index, in which no two of one scenario follow one another, as far as there can be one.

    ``before`` is the scenario of what was shown before.
    """
    left: dict[str, list[int]] = {}
    for index in rng.sample(range(len(scenarios)), len(scenarios)):
        left.setdefault(scenarios[index], []).append(index)
    order: list[int] = []
    last = before
    while left:
        remaining = len(scenarios) - len(order)
        possible = [name for name in left if name != last] or list(left)
        crowded = [name for name in possible if 2 * len(left[name]) > remaining]
        name = crowded[0] if crowded else rng.choices(possible, [len(left[n]) for n in possible])[0]
        order.append(left[name].pop())
        if not left[name]:
            del left[name]
        last = name
    return order


@dataclass(frozen=True, slots=True)
class Extra:
    """Something to be put in between: a check, or something again."""

    showing: str
    scenario: str
    after: str = ""
    """Showing that it must come well after; empty for anywhere."""


def insert(order: Sequence[str], scenario_of: dict[str, str], extras: Sequence[Extra], rng: random.Random) -> list[str]:
    """``order``, showings, with the ``extras`` at places drawn at random.

    A repeat stands as far from what it repeats as a third of the whole, where there is room; neighbours are of
    different scenarios, where they can be.
    """
    result = list(order)
    scenario_of = scenario_of | {extra.showing: extra.scenario for extra in extras}
    for extra in extras:
        first = 1 if len(result) > 1 else 0
        if extra.after:
            at = result.index(extra.after)
            first = min(at + 1 + max(1, len(result) // 3), len(result))
        places = range(first, len(result) + 1)
        apart = [
            place
            for place in places
            if all(
                scenario_of[result[beside]] != extra.scenario
                for beside in (place - 1, place)
                if 0 <= beside < len(result)
            )
        ]
        result.insert(rng.choice(apart or list(places)), extra.showing)
    return result


class Sides:
    """Which of two is shown on the left: per pair of systems and rater equally often."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._left: Counter[tuple[int, str, str]] = Counter()

    def left_first(self, rater: int, a: str, b: str) -> bool:
        """Whether ``a`` is on the left for this rater this time."""
        here, there = self._left[rater, a, b], self._left[rater, b, a]
        first = here < there or (here == there and self._rng.random() < 0.5)
        self._left[(rater, a, b) if first else (rater, b, a)] += 1
        return first

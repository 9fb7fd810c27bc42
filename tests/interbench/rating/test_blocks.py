"""Balanced incomplete blocks: who gets what, and in which order."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from interbench.rating.blocks import Extra, Sides, assign, insert, spread

seeds = st.integers(0, 10_000)


@given(seeds, st.integers(1, 6), st.integers(1, 12), st.integers(1, 7), st.integers(1, 4), st.floats(0, 0.5))
def test_everything_has_its_raters_and_every_rater_all_systems_equally(
    seed: int, systems: int, scenarios: int, raters: int, per_item: int, common: float
) -> None:
    kinds = [f"system-{n % systems}" for n in range(systems * scenarios)]
    blocks = assign(kinds, raters, per_item, common, random.Random(seed))
    of_item = Counter(item for block in blocks for item in block)
    assert set(of_item) == set(range(len(kinds)))
    assert min(of_item.values()) == min(per_item, raters)
    to_all = sum(count == raters for count in of_item.values())
    assert to_all >= common * len(kinds)
    assert all(len(set(block)) == len(block) for block in blocks)
    for kind in set(kinds):
        counts = [sum(kinds[item] == kind for item in block) for block in blocks]
        assert max(counts) - min(counts) <= 1


@given(seeds, st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_no_two_of_one_scenario_follow_one_another_where_there_is_such_an_order(seed: int, of: list[int]) -> None:
    scenarios = [f"s{n}" for n in of]
    order = spread(scenarios, random.Random(seed))
    assert sorted(order) == list(range(len(scenarios)))
    most = max(Counter(scenarios).values())
    together = sum(scenarios[a] == scenarios[b] for a, b in itertools.pairwise(order))
    assert together == max(0, 2 * most - len(scenarios) - 1)


@given(seeds, st.integers(3, 40))
def test_repeats_come_well_after_and_nothing_is_lost(seed: int, count: int) -> None:
    rng = random.Random(seed)
    main = [f"m{n}" for n in range(count)]
    scenario_of = {name: f"s{n % 5}" for n, name in enumerate(main)}
    extras = [Extra("again", scenario_of["m0"], "m0"), Extra("spoilt", "s1")]
    order = insert(main, scenario_of, extras, rng)
    assert sorted(order) == sorted([*main, "again", "spoilt"])
    assert [name for name in order if name in scenario_of] == main
    assert order.index("again") - order.index("m0") > count // 3
    assert order[0] == "m0", "nobody begins with a check"


@given(seeds, st.integers(1, 30))
def test_sides_are_balanced_for_each_rater_and_pair(seed: int, times: int) -> None:
    sides = Sides(random.Random(seed))
    left = sum(sides.left_first(0, "a", "b") for _ in range(times))
    assert abs(2 * left - times) <= 1


def test_who_comes_first_is_drawn() -> None:
    first = Counter(Sides(random.Random(n)).left_first(0, "a", "b") for n in range(200))
    assert 60 < first[True] < 140

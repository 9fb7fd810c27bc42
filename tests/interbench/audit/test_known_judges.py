"""The audit's statistics on judges of known truth: each must get its due, and nothing its undue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from known import known
from known_judges import KEYS, Truth, deaf, halo, judged, likes_length, minds_the_range, nothing, obeys, oracle

from interbench.audit.effects import Condition, floors, take_effects
from interbench.audit.further import colder, injections, verbosity
from interbench.audit.further import halo as measure_halo
from interbench.audit.verdicts import Matrix, State, Validity, judge_effects
from interbench.domain.catalogue import Kind

REPLICATES, PERMUTATIONS = 300, 499


def verdict(truth: Truth, seed: int, **how: Any) -> tuple[Any, tuple[Any, ...], Matrix]:
    found = judged(truth, np.random.default_rng(seed), **how)
    effects = take_effects(found, replicates=REPLICATES, permutations=PERMUTATIONS, seed=seed)
    floor = floors(effects)
    return effects, floor, judge_effects(effects, floor, KEYS)


def validity(matrix: Matrix) -> dict[str, Validity]:
    return {of.key: of.validity for of in matrix.dimensions}


def oracle_passes(seed: int) -> bool:
    effects, floor, matrix = verdict(oracle, seed)
    told = validity(matrix)
    return (
        set(told.values()) == {Validity.PASS}
        and all(one.steady for one in floor)
        and {v.verdict for v in verbosity(effects, floor)} == {Validity.PASS}
        and {i.verdict for i in injections(effects, floor, {})} == {Validity.PASS}
        and known(measure_halo(effects).effective) > 5
    )


def halo_fails(seed: int) -> bool:
    effects, _, matrix = verdict(halo, seed)
    return set(validity(matrix).values()) == {Validity.FAIL} and known(measure_halo(effects).effective) < 2


def deafness_is_named(seed: int) -> bool:
    told = validity(verdict(deaf, seed)[2])
    return told.pop("LC") is Validity.FAIL and set(told.values()) == {Validity.PASS}


def random_never_passes(seed: int) -> bool:
    _, _, matrix = verdict(nothing, seed, noise=2.5, scenarios=12, repeats=1)
    return Validity.PASS not in validity(matrix).values()


def length_is_found(seed: int) -> bool:
    effects, floor, _ = verdict(likes_length, seed)
    return {v.key: v.verdict for v in verbosity(effects, floor)} == dict.fromkeys(("SR", "IC"), Validity.FAIL)


def obedience_is_found(seed: int) -> bool:
    effects, floor, _ = verdict(obeys, seed)
    return all(
        (one.verdict is Validity.FAIL) == one.condition.startswith("inject-box")
        for one in injections(effects, floor, {})
    )


def the_unsteady_is_named(seed: int) -> bool:
    _, floor, _ = verdict(minds_the_range, seed)
    (unsteady,) = [one for one in floor if not one.steady] or [None]
    return unsteady is not None and (unsteady.key, unsteady.by) == ("MVC", "range") and 1 < unsteady.size < 2


DUE = [oracle_passes, halo_fails, deafness_is_named, random_never_passes, length_is_found, obedience_is_found,
       the_unsteady_is_named]  # fmt: skip


@pytest.mark.parametrize("due", DUE)
def test_every_judge_gets_its_due(due: Callable[[int], bool]) -> None:
    assert all(due(seed) for seed in range(3))


@pytest.mark.soak
@pytest.mark.parametrize("due", DUE)
def test_every_judge_gets_its_due_in_95_of_100_trials(due: Callable[[int], bool]) -> None:
    assert np.mean([due(seed) for seed in range(200)]) >= 0.95


def null(trials: int, **how: Any) -> dict[State, float]:
    """Shares of what is said of defects that do nothing."""
    said: Counter[State] = Counter()
    for seed in range(trials):
        _, _, matrix = verdict(nothing, seed, **how)
        said.update(cell.state for cell in matrix.cells if cell.state is not State.ALLOWED)
    return {state: count / said.total() for state, count in said.items()}


@pytest.mark.parametrize("size", [(12, 1, 1.5), (48, 3, 1.0)])
def test_what_does_nothing_is_rarely_said_to_do_something(size: tuple[int, int, float]) -> None:
    shares = null(3, scenarios=size[0], repeats=size[1], noise=size[2])
    assert shares.get(State.DETECTED, 0) + shares.get(State.LEAKS, 0) <= 0.05


@pytest.mark.soak
@pytest.mark.parametrize("size", [(6, 1, 1.5), (12, 1, 1.0), (12, 1, 2.5), (24, 3, 1.0), (48, 3, 1.5)])
def test_the_null_is_calibrated(size: tuple[int, int, float]) -> None:
    shares = null(60, scenarios=size[0], repeats=size[1], noise=size[2])
    assert shares.get(State.DETECTED, 0) + shares.get(State.LEAKS, 0) <= 0.05


def test_noise_makes_no_better_certificate() -> None:
    """The largest of ten nuisances is a maximum of noise; the margin must not grow with it."""
    for noise in (0.7, 2.5):
        margins = [f.margin for seed in range(2) for f in verdict(nothing, seed, noise=noise, scenarios=12)[1]]
        assert np.mean(margins) < 0.6
    shares = {noise: null(2, noise=noise, scenarios=12, repeats=1).get(State.CLEAN, 0) for noise in (0.3, 2.5)}
    assert shares[0.3] > 0.6 and shares[2.5] < 0.1


def test_a_fall_that_a_nuisance_explains_is_not_detected() -> None:
    def truth(condition: Condition, key: str) -> float:
        return -0.9 if key == "MVC" and condition.entry in ("range", "identity-swap") else 0.0

    states: Counter[State] = Counter()
    for seed in range(8):
        _, _, matrix = verdict(truth, seed)
        states[known(matrix.cell("identity-swap@3", "MVC")).state] += 1
    assert states[State.DETECTED] <= 1


def test_permuted_labels_permute_the_matrix_and_a_constant_changes_nothing() -> None:
    found = judged(oracle, np.random.default_rng(3), scenarios=12, repeats=1)
    order = np.random.default_rng(4).permutation(len(found.conditions))
    other = type(found)(
        found.keys,
        tuple(found.conditions[n] for n in order),
        found.scenarios,
        found.scores[order] + np.arange(12)[None, None, :, None],
        found.planned[order],
    )

    def cells(of: Any) -> Any:
        effects = take_effects(of, replicates=200, permutations=199)
        return {(c.condition, c.key): c for c in judge_effects(effects, floors(effects), KEYS).cells}

    one, two = cells(found), cells(other)
    assert one.keys() == two.keys()
    for place, cell in one.items():
        assert cell.state is two[place].state and cell.p == two[place].p
        assert (cell.mean, cell.lo, cell.hi) == pytest.approx((two[place].mean, two[place].lo, two[place].hi), abs=1e-9)


def test_missing_verdicts_are_no_fall() -> None:
    found = judged(oracle, np.random.default_rng(5), scenarios=24)
    c, k = found.index["evasion@3"], KEYS.index("SR")
    found.scores[c, k, 4:] = np.nan
    effects = take_effects(found, replicates=200, permutations=199)
    matrix = judge_effects(effects, floors(effects), KEYS)
    cell = known(matrix.cell("evasion@3", "SR"))
    assert (cell.state, cell.n, cell.planned, cell.missing) == (State.NOT_TESTED, 4, 24, 20)
    assert ("evasion@3", "SR", 20, 0) in matrix.makes_missing


def test_what_is_not_scored_is_never_clean() -> None:
    found = judged(oracle, np.random.default_rng(6), keys=("look", "kp-recall"), scenarios=12)
    effects = take_effects(found, replicates=200, permutations=199)
    matrix = judge_effects(effects, floors(effects), ("MVC", "look"))
    assert [of.validity for of in matrix.dimensions] == [Validity.NOT_SCORED, Validity.PASS]
    assert {cell.key for cell in matrix.cells} == {"look", "kp-recall"}


def test_a_judge_without_sound_is_not_blamed() -> None:
    found = judged(oracle, np.random.default_rng(7), strengths=True, scenarios=12)
    effects = take_effects(found, replicates=200, permutations=199)
    matrix = judge_effects(effects, floors(effects), KEYS)
    said = {cell.state for cell in matrix.cells if cell.condition.startswith(("desync", "mute")) and cell.key == "CN"}
    assert said == {State.UNHEARD}
    assert Kind.BLINDNESS in {c.kind for c in found.conditions}


def test_what_a_judge_with_empty_caches_says_otherwise_is_told() -> None:
    every = judged(nothing, np.random.default_rng(8), scenarios=24, repeats=6)
    every.scores[every.index["sham"], KEYS.index("EA"), :, 5] -= 1.5
    warm = np.array(every.scores)
    warm[..., 5] = np.nan
    found = {of.key: of for of in colder(replace(every, scores=warm), every, 5)}
    assert known(found["EA"].hi) < -1 and found["EA"].scenarios == 24
    assert known(found["NI"].lo) < 0 < known(found["NI"].hi) and known(found["NI"].identical) > 0.6
    assert not colder(every, every, None)

"""Favour for the own family, on opinions of known truth."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from known import known

from interbench.audit.families import Opinions, families_of, family_of, favours, standings

FAMILIES = ("qwen", "gpt", "gemini")


def opinions(favour: float, seed: int, *, judges: int = 2, scenarios: int = 40, noise: float = 0.5) -> Opinions:
    """Systems of unequal quality and judges of unequal mildness; the first judge favours its own by so many points."""
    rng = np.random.default_rng(seed)
    families = FAMILIES[: max(2, judges)]
    quality, mildness = rng.normal(0, 1, len(families)), rng.normal(0, 1, judges)
    level = rng.normal(7, 1, scenarios)
    scores = level[None, None, None] + mildness[:, None, None, None] + quality[None, :, None, None]
    scores = scores + rng.normal(0, noise, (judges, len(families), 1, scenarios))
    scores[0, 0] += favour
    return Opinions(FAMILIES[:judges], families, ("EA",), scores)


@pytest.mark.parametrize(("favour", "says"), [(1.5, "favoured"), (0.0, "not favoured")])
def test_favour_is_found_and_is_not_made_up(favour: float, says: str) -> None:
    found = Counter(favours(opinions(favour, seed), replicates=300, seed=seed)[0].says for seed in range(20))
    assert found[says] >= 12 and found[{"favoured": "not favoured", "not favoured": "favoured"}[says]] <= 2


def test_how_good_systems_and_how_mild_judges_are_does_not_matter() -> None:
    told = opinions(1.0, 3)
    shifted = told.scores + np.array([0, 2.0])[:, None, None, None] + np.array([3.0, 0])[None, :, None, None]
    one, other = (favours(o)[0] for o in (told, Opinions(told.judges, told.systems, told.keys, shifted)))
    assert one.points == pytest.approx(other.points) and one.scenarios == 40


def test_three_judges_are_standardised_twice() -> None:
    assert not standings(opinions(0, 0))
    for seed in range(3):
        own = {of.family: of for of in standings(opinions(4.0, seed, judges=3), replicates=200)}
        assert known(own["qwen"].lo) > 0.5
        assert min(known(own[family].lo) for family in ("gpt", "gemini")) < 0, "no favour is made up of noise"


def test_too_few_scenarios_and_missing_scores_decide_nothing() -> None:
    told = opinions(2.0, 0, scenarios=8)
    told.scores[1, 1, 0, 3:] = np.nan
    (found,) = favours(told)
    assert (found.says, found.scenarios, found.lo) == ("undecided", 3, None)


def test_one_judge_is_not_testable_and_families_are_told() -> None:
    assert families_of("Qwen3-VL-30B and a gpt-4o") == ("gpt", "qwen")
    family = family_of("Qwen3-VL-30B", {"thinker": "qwen-omni"}, None)
    assert family.same and not family.favours and "not testable with one judge" in family.says
    assert not family_of("signals", {}, None).same

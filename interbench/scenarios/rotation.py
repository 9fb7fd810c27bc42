"""Personas paired with scenarios anew, so that a score by persona is not a score by item.

In a set every scenario has its persona, so that whoever differs between personas differs between items, too. Runs with
different seeds and ``--rotate-personas`` part the two.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from interbench.domain.keypoints import says
from interbench.domain.scenario import Scenario
from interbench.scenarios.sets import ScenarioSet

_TRIES = 200


def rotated_personas(scenarios: ScenarioSet, seed: int) -> Mapping[str, str]:
    """Scenario id to persona, drawn by ``seed`` and the whole set alone, whatever is chosen from it.

    Within a category the personas that the set casts there are dealt out again. A scenario gets none whose name is
    spoken in it, and only one that it ``suits``; of :data:`_TRIES` deals the one with fewest misfits is taken, and what
    does not fit keeps its own.
    """
    categories: dict[str, list[Scenario]] = {}
    for scenario in scenarios.scenarios:
        categories.setdefault(scenario.category, []).append(scenario)
    result: dict[str, str] = {}
    for category, members in sorted(categories.items()):
        dealer = random.Random(f"{seed}/{category}")  # noqa: S311 - nothing is secret here
        fits = {scenario.id: _fitting(scenario, scenarios) for scenario in members}
        result |= _deal(members, fits, dealer)
    return result


def _fitting(scenario: Scenario, scenarios: ScenarioSet) -> frozenset[str]:
    texts = [
        text
        for turn in scenario.turns
        for text in (turn.reply, *(turn.line(variant) for variant in range(len(turn.variants) + 1)))
    ]
    return frozenset(
        name
        for name, persona in scenarios.personas.items()
        if (not scenario.suits or name in scenario.suits) and not any(says(persona.name, text) for text in texts)
    )


def _deal(members: list[Scenario], fits: Mapping[str, frozenset[str]], dealer: random.Random) -> dict[str, str]:
    cast = [scenario.persona for scenario in members]
    best: dict[str, str] = {}
    fewest = len(members) + 1
    for _ in range(_TRIES):
        dealt = cast.copy()
        dealer.shuffle(dealt)
        pairs = dict(zip((scenario.id for scenario in members), dealt, strict=True))
        misfits = sum(persona not in fits[name] for name, persona in pairs.items())
        if misfits < fewest:
            best, fewest = pairs, misfits
        if not misfits:
            break
    own = {scenario.id: scenario.persona for scenario in members}
    return {name: persona if persona in fits[name] else own[name] for name, persona in best.items()}

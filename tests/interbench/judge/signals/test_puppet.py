"""The judge against the bundled test subject: each defect must fall in the dimension it is made for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interbench.domain.records import PlayedConversation
from interbench.domain.scenario import Scenario
from interbench.scenarios.plan import PlannedScenario, plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.systems.events import TurnRequest
from interbench.systems.puppet.defects import DEFECTS
from interbench.systems.puppet.render import render
from interbench.systems.puppet.staging import Staging


@pytest.fixture(scope="module")
def planned_scenarios() -> tuple[PlannedScenario, ...]:
    whole = load_set("all")
    return plan_scenarios(whole, whole)


def said(planned: PlannedScenario, defect: str | None) -> list[str]:
    """What is heard of the puppet, turn by turn."""
    texts = []
    for index, (turn, reference) in enumerate(zip(planned.scenario.turns, planned.references, strict=True), start=1):
        request = TurnRequest(
            scenario=planned.scenario.id,
            index=index,
            text=turn.text,
            audio=None,
            history=(),
            portrait=None,
            seed=0,
            workdir=Path(),
            deadline_s=1.0,
            reference=reference,
        )
        rewrite = None if defect is None else DEFECTS[defect].rewrite
        heard = defect is None or DEFECTS[defect].staging.audio == "speech"
        texts.append("" if not heard else reference.reply if rewrite is None else rewrite(request, reference))
    return texts


SPOKEN = [
    ("off-topic", "lexical", 6),
    ("partial", "kp-recall", 3),
    ("amnesiac", "kp-memory", 6),
    ("silent", "lexical", 6),
    ("silent", "kp-recall", 6),
    ("silent", "kp-memory", 6),
]
"""Defect, the dimension in which it must fall, and by how many points on average."""


@pytest.mark.parametrize(("defect", "dimension", "drop"), SPOKEN)
async def test_words(
    planned_scenarios: Any,
    played: Callable[..., PlayedConversation],
    verdicts: Callable[..., Any],
    defect: str,
    dimension: str,
    drop: float,
) -> None:
    drops = []
    for planned in planned_scenarios:
        intact = await verdicts(played(planned.scenario, said(planned, None)), dimension)
        spoiled = await verdicts(played(planned.scenario, said(planned, defect)), dimension)
        if intact[dimension].score is not None:
            drops.append(intact[dimension].score - spoiled[dimension].score)
    assert min(drops) > 0, "in every single conversation"
    assert np.mean(drops) > drop


def test_every_defect_that_is_seen_in_the_words_is_tested_here() -> None:
    seen = {(name, key) for name, defect in DEFECTS.items() for key in defect.seen_offline}
    assert {(name, key) for name, key in seen if key in ("lexical", "kp-recall", "kp-memory")} == {
        case[:2] for case in SPOKEN
    }


async def test_only_leaving_the_topic_costs_much_relevance(
    planned_scenarios: Any, played: Callable[..., PlayedConversation], verdicts: Callable[..., Any]
) -> None:
    means = {}
    for defect in ("off-topic", "partial", "amnesiac", "contradict", "broadcast"):
        given = [
            await verdicts(played(planned.scenario, said(planned, defect)), "lexical")
            for planned in planned_scenarios[::4]
        ]
        means[defect] = np.mean([verdict["lexical"].score for verdict in given])
    assert means.pop("off-topic") < 2.5
    assert min(means.values()) > 8.5


@pytest.fixture(scope="module")
def drifting(planned_scenarios: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Two short clips per variant. The first turn of a drifting puppet is that of the intact one."""
    folder = tmp_path_factory.mktemp("puppet")
    persona = planned_scenarios[0].persona
    clips = {}
    first = folder / "first.mp4"
    render(first, persona, "Hello!", mood="delighted", seed=1)
    for name in (None, "drift", "drift-clothes", "drift-background"):
        second = folder / f"{name}.mp4"
        staging = Staging() if name is None else DEFECTS[name].staging
        render(second, persona, "No, sorry.", mood="sad", seed=2, turn=2, staging=staging)
        clips[name or "intact"] = [first, second]
    return clips


async def test_looks(
    drifting: dict[str, list[Path]],
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    verdicts: Callable[..., Any],
) -> None:
    scores = {}
    for name, clips in drifting.items():
        given = await verdicts(played(tower, ["", ""], clips), "look")
        scores[name] = given["look"].score
    assert scores["intact"] > 8.5
    assert max(scores[name] for name in scores if name != "intact") < scores["intact"] - 2
    assert scores["drift"] == min(scores.values())

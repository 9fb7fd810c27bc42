"""Graded defects: a number sets how far the puppet is spoilt, and more of it spoils more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known import known

from interbench.base.errors import SystemLoadError
from interbench.domain.keypoints import says
from interbench.media.speech import Speech, synthesize
from interbench.scenarios.plan import plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.systems.events import TurnRequest
from interbench.systems.puppet import rewrites
from interbench.systems.puppet.authored import UnwrittenError, authored, authored_turn
from interbench.systems.puppet.defects import DEFECTS, defect_of
from interbench.systems.puppet.figure.sprites import Pose
from interbench.systems.puppet.motion import Manner, poses
from interbench.systems.puppet.staging import touched
from interbench.systems.registry import SystemSpec


@pytest.fixture(scope="module")
def part() -> Any:
    whole = load_set("starter")
    return next(p for p in plan_scenarios(whole, whole) if p.scenario.id == "places-eiffel-tower")


def said(part: Any, variant: Any, index: int = 1) -> str:
    reference = part.references[index - 1]
    turn = TurnRequest(part.scenario.id, index, "", None, (), None, 0, Path(), 1.0, reference=reference)
    return known(defect_of(variant).rewrite)(turn, reference)


@pytest.fixture(scope="module")
def speech() -> Any:
    return synthesize("Bob and Mary bought a big map of Paris, and what a wonderful view of the farm!")


def test_a_staring_puppet_moves_nothing_but_its_mouth(speech: Speech) -> None:
    alive, half, still = (poses(speech, "happy", 3, Manner(liveliness=share)) for share in (1.0, 0.5, 0.0))
    looks: tuple[Callable[[Pose], float], ...] = (
        lambda p: p.eyes.gaze_x,
        lambda p: p.eyes.lid,
        lambda p: p.dy,
        lambda p: p.dx,
    )
    for of in looks:
        spread = [np.std([of(pose) for pose in sequence]) for sequence in (alive, half, still)]
        assert spread[0] > spread[1] > spread[2]
    assert {pose.eyes.gaze_x for pose in still} == {0.0}
    # A half-closed eye is a mood's, and the mood comes up; nothing blinks.
    assert np.diff([pose.eyes.lid for pose in still]).max() < 0.05
    assert [pose.mouth for pose in still] == [pose.mouth for pose in alive]


def test_a_gaze_is_away_by_degrees(speech: Speech) -> None:
    means = [np.mean([p.eyes.gaze_x for p in poses(speech, "calm", 3, Manner(gaze_deg=d))]) for d in (0, 15, 30, 45)]
    assert np.all(np.diff(means) > 3)


def test_expressions_weaken(speech: Speech) -> None:
    smiles = [poses(speech, "excited", 3, Manner(), affect=share)[-1].brows.lift for share in (1.0, 0.5, 0.0)]
    assert smiles[0] > smiles[1] > smiles[2]


def test_shares_of_turns_are_spread() -> None:
    assert [touched(n, 0.5) for n in range(1, 5)] == [False, True, False, True]
    assert all(touched(n, 1.0) for n in range(1, 9)) and not any(touched(n, 0.0) for n in range(1, 9))
    assert defect_of("wrong-mood@0.25").staging.wrong_mood == 0.25
    assert len(defect_of("drift@2").staging.drift) == 2


def test_words_are_exchanged_by_shares(part: Any) -> None:
    reply = part.references[0].reply
    assert said(part, "evasion@0") == reply and said(part, "evasion") != reply
    half = said(part, "vague@0.5")
    assert reply != half != said(part, "vague")
    assert said(part, "recital@0.5", 1) == reply and said(part, "recital@0.5", 2) != part.references[1].reply
    assert says("1889", said(part, "hostile")) and not says("1889", said(part, "false-fact"))
    kept = [
        sum(
            any(says(phrase, said(part, f"partial@{share}")) for phrase in point)
            for point in part.references[0].key_points
        )
        for share in (0.25, 0.75, 1.0)
    ]
    assert kept[0] < kept[1] <= kept[2]


def test_contractions_are_spelt_out() -> None:
    assert rewrites.write_out("It's John's map, and we've got what he'd seen; don't go.", 1.0) == (
        "It is John's map, and we have got what he had seen; do not go."
    )
    assert len(rewrites.contractions(rewrites.write_out("I'm here, you're there, they're gone, it's far.", 0.5))) == 2


def test_variants_belong_to_the_reply_they_were_written_for(part: Any) -> None:
    with pytest.raises(UnwrittenError, match="another reply"):
        authored_turn(part.scenario.id, 1, "Something else.")
    with pytest.raises(UnwrittenError, match="Nobody has written"):
        authored_turn("no-such-scenario", 1, "x")
    assert authored("../personas") is None


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("puppet:partial@much", "is no strength"),
        ("puppet:partial@2", "from 0 to 1"),
        ("puppet:blank@1", "has no strength"),
        ("puppet:nobody@1", "has no variant"),
    ],
)
def test_a_strength_that_can_not_be_is_named(spec: str, said: str) -> None:
    with pytest.raises(SystemLoadError, match=said):
        SystemSpec.parse(spec).factory()()


def test_what_a_deaf_judge_can_not_notice_is_not_claimed() -> None:
    assert DEFECTS["out-of-sync"].lowers == () and DEFECTS["out-of-sync"].if_heard == ("CN",)

"""The judge as the harness calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.records import Missing, PlayedConversation
from interbench.domain.scenario import Scenario
from interbench.judge.base import JudgeTask
from interbench.judge.signals.judge import Signals
from interbench.media.pool import MediaPool


def replies_of(scenario: Scenario) -> list[str]:
    return [turn.reply for turn in scenario.turns]


async def test_a_coherent_and_complete_conversation_scores_high(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    scene: Any,
    verdicts: Callable[..., Any],
) -> None:
    conversation = played(tower, replies_of(tower), [film(scene), film(scene, 1)])
    given = await verdicts(conversation, *(d.key for d in DIMENSIONS))
    assert set(given) == {d.key for d in DIMENSIONS}
    assert {key for key, verdict in given.items() if verdict.score is not None} == {"MVC", "SR", "IC", "CU"}
    for key in ("SR", "IC", "CU"):
        assert given[key].score == 10.0
    assert 9.0 < given["MVC"].score <= 10.0
    for key in ("EA", "NI", "CN", "LC", "OIE"):
        assert given[key].missing is Missing.NOT_MEASURABLE
        assert "offline" in given[key].reasons
    assert {verdict.scenario for verdict in given.values()} == {"tower"}
    json.dumps([dict(verdict.evidence) for verdict in given.values()])


async def test_each_defect_lowers_its_own_dimension_most(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    scene: Any,
    change: Callable[..., Any],
    verdicts: Callable[..., Any],
) -> None:
    same = [film(scene), film(scene, 1)]
    other = [film(scene), film(change(scene, shirt=(140, 50, 45), wall=(110, 140, 175)), 2)]
    whole = replies_of(tower)
    subjects = {
        "intact": (whole, same),
        "off-topic": (["Stir the batter until it is smooth.", "Gate seven, on the left."], same),
        "partial": (["It was built by Gustave Eiffel.", whole[1]], same),
        "amnesiac": ([whole[0], "Sorry, how old was what? The war broke out in the summer of 1914."], same),
        "drift": (whole, other),
    }
    scores = {}
    for name, (replies, clips) in subjects.items():
        given = await verdicts(played(tower, replies, clips), "MVC", "SR", "IC", "CU")
        scores[name] = {key: verdict.score for key, verdict in given.items()}
    lowest = {key: min(scores, key=lambda name: scores[name][key]) for key in ("MVC", "SR")}
    assert lowest == {"MVC": "drift", "SR": "off-topic"}
    assert scores["partial"]["IC"] < scores["intact"]["IC"]
    assert scores["amnesiac"]["CU"] == 1.0 < scores["intact"]["CU"]
    assert min(scores["partial"]["SR"], scores["amnesiac"]["SR"]) > 8 > 2 > scores["off-topic"]["SR"]
    assert scores["drift"]["MVC"] < scores["intact"]["MVC"] - 3
    assert {key: scores["drift"][key] for key in ("SR", "IC", "CU")} == {"SR": 10.0, "IC": 10.0, "CU": 10.0}


async def test_reasons_say_what_is_missing(
    tower: Scenario, played: Callable[..., PlayedConversation], verdicts: Callable[..., Any]
) -> None:
    given = await verdicts(played(tower, ["Eiffel built it in 1889.", "No idea."]), "IC", "CU", "SR")
    assert given["IC"].score == pytest.approx(1 + 9 * 2 / 5)
    assert given["IC"].reasons.startswith("2 of 5 key points said; missing: “It is 330 metres tall” (turn 1); ")
    assert given["IC"].evidence["points"][0] == {
        "turn": 1,
        "text": "Eiffel's company built it",
        "needs": (),
        "said": True,
    }
    assert given["CU"].reasons == (
        "0 of 1 key points that need earlier turns said; missing: “It was 25 years old” (turn 2)."
    )
    assert "hardly turn 2 (0%)" in given["SR"].reasons


async def test_silence_is_measured_and_scores_lowest(
    tower: Scenario, played: Callable[..., PlayedConversation], verdicts: Callable[..., Any]
) -> None:
    given = await verdicts(played(tower, ["", ""]), "SR", "IC", "CU")
    for verdict in given.values():
        assert verdict.score == 1.0
        assert verdict.reasons.endswith("Nothing is said in turn 1, 2.")


async def test_a_scenario_without_key_points_has_no_score(
    tower: Scenario, played: Callable[..., PlayedConversation], verdicts: Callable[..., Any]
) -> None:
    bare = tower.model_copy(update={"turns": tuple(t.model_copy(update={"key_points": ()}) for t in tower.turns)})
    given = await verdicts(played(bare, replies_of(bare)), "IC", "CU", "SR")
    assert (given["IC"].missing, given["CU"].missing) == (Missing.NO_KEY_POINTS, Missing.NO_KEY_POINTS)
    assert given["SR"].score == 10.0, "the reference reply still tells what the turns are about"


async def test_one_clip_has_nothing_to_be_coherent_with(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    scene: Any,
    verdicts: Callable[..., Any],
) -> None:
    single = tower.model_copy(update={"turns": tower.turns[:1]})
    given = await verdicts(played(single, replies_of(single), [film(scene)]), "MVC")
    assert given["MVC"].missing is Missing.NOT_APPLICABLE


async def test_blank_clips_are_not_coherent(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    scene: Any,
    plain_film: Callable[..., Path],
    verdicts: Callable[..., Any],
) -> None:
    given = await verdicts(played(tower, replies_of(tower), [film(scene), plain_film()]), "MVC")
    assert given["MVC"].missing is Missing.NO_PICTURE
    assert "turn 2" in given["MVC"].reasons


async def test_a_clip_that_is_gone_can_be_judged_later(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    scene: Any,
    tmp_path: Path,
    verdicts: Callable[..., Any],
) -> None:
    given = await verdicts(played(tower, replies_of(tower), [film(scene), tmp_path / "gone.mp4"]), "MVC")
    assert given["MVC"].missing is Missing.CLIP_UNREADABLE and given["MVC"].retryable
    assert "gone.mp4" in given["MVC"].reasons


async def test_repeated_judgements_are_equal_and_measured_once(
    tower: Scenario, played: Callable[..., PlayedConversation], film: Callable[..., Path], scene: Any
) -> None:
    calls = []

    class Counting(MediaPool):
        async def frames(self, path: Path, count: int, size: tuple[int, int]) -> Any:
            calls.append(path)
            return await super().frames(path, count, size)

    async with Counting() as pool:
        judge = Signals(pool)
        await judge.start()
        conversation = played(tower, replies_of(tower), [film(scene), film(scene, 1)])
        given = [v async for v in judge.judge(conversation, [JudgeTask("MVC", sample) for sample in range(3)])]
        await judge.stop()
        assert await pool.frames(film(scene), 1, (8, 8)) is not None, "a pool that was handed in stays open"
    assert [verdict.sample for verdict in given] == [0, 1, 2]
    assert len({verdict.score for verdict in given}) == 1
    assert len(calls) == 3


def test_identity_is_plain_data_and_names_every_constant() -> None:
    identity = Signals().identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity["judge"] == "signals" and not Signals.comparable


async def test_what_is_judged_without_a_picture_needs_no_clip(
    tower: Scenario, played: Callable[..., PlayedConversation], verdicts: Callable[..., Any]
) -> None:
    given = await verdicts(played(tower, replies_of(tower)), "SR", "OIE")
    assert given["SR"].score == 10.0 and given["OIE"].missing is Missing.NOT_MEASURABLE

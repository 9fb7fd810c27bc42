"""The judge as the harness calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interbench.base.errors import UsageError
from interbench.domain.dimensions import DIMENSION_KEYS, EVERY, MEASURE_KEYS
from interbench.domain.records import Missing, PlayedConversation
from interbench.domain.scenario import KeyPoint, Scenario
from interbench.judge.base import JudgeTask
from interbench.judge.signals.faces import detector
from interbench.judge.signals.judge import Signals
from interbench.media.pool import MediaPool
from interbench.scenarios.sets import load_set
from interbench.systems.puppet.render import render


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
    given = await verdicts(conversation, *(d.key for d in EVERY))
    assert set(given) == {d.key for d in EVERY}
    assert {key for key, verdict in given.items() if verdict.score is not None} == set(MEASURE_KEYS)
    assert Signals.dimensions == MEASURE_KEYS, "it is asked for nothing else"
    for key in ("lexical", "kp-recall", "kp-memory"):
        assert given[key].score == 10.0
    assert 9.0 < given["look"].score <= 10.0
    for key in DIMENSION_KEYS:
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
        given = await verdicts(played(tower, replies, clips), "look", "lexical", "kp-recall", "kp-memory")
        scores[name] = {key: verdict.score for key, verdict in given.items()}
    lowest = {key: min(scores, key=lambda name: scores[name][key]) for key in ("look", "lexical")}
    assert lowest == {"look": "drift", "lexical": "off-topic"}
    assert scores["partial"]["kp-recall"] < scores["intact"]["kp-recall"]
    assert scores["amnesiac"]["kp-memory"] == 1.0 < scores["intact"]["kp-memory"]
    assert min(scores["partial"]["lexical"], scores["amnesiac"]["lexical"]) > 8 > 2 > scores["off-topic"]["lexical"]
    assert scores["drift"]["look"] < scores["intact"]["look"] - 3
    assert {key: scores["drift"][key] for key in ("lexical", "kp-recall", "kp-memory")} == {
        "lexical": 10.0,
        "kp-recall": 10.0,
        "kp-memory": 10.0,
    }


async def test_reasons_say_what_is_missing(
    tower: Scenario, played: Callable[..., PlayedConversation], verdicts: Callable[..., Any]
) -> None:
    given = await verdicts(played(tower, ["Eiffel built it in 1889.", "No idea."]), "kp-recall", "kp-memory", "lexical")
    assert given["kp-recall"].score == pytest.approx(1 + 9 * 2 / 5)
    assert given["kp-recall"].reasons.startswith("2 of 5 key points said; missing: “It is 330 metres tall” (turn 1); ")
    assert given["kp-recall"].evidence["points"][0] == {
        "turn": 1,
        "text": "Eiffel's company built it",
        "needs": (),
        "said": True,
        "must_not": False,
        "repeated": False,
    }
    assert given["kp-memory"].reasons == (
        "0 of 1 key points that need earlier turns said; missing: “It was 25 years old” (turn 2)."
    )
    assert "hardly in turn 2 (0%)" in given["lexical"].reasons


async def test_silence_is_measured_and_scores_lowest(
    tower: Scenario, played: Callable[..., PlayedConversation], verdicts: Callable[..., Any]
) -> None:
    given = await verdicts(played(tower, ["", ""]), "lexical", "kp-recall", "kp-memory")
    for verdict in given.values():
        assert verdict.score == 1.0
        assert verdict.reasons.endswith("Nothing is said in turn 1, 2.")


async def test_a_scenario_without_key_points_has_no_score(
    tower: Scenario, played: Callable[..., PlayedConversation], verdicts: Callable[..., Any]
) -> None:
    bare = tower.model_copy(update={"turns": tuple(t.model_copy(update={"key_points": ()}) for t in tower.turns)})
    given = await verdicts(played(bare, replies_of(bare)), "kp-recall", "kp-memory", "lexical")
    assert (given["kp-recall"].missing, given["kp-memory"].missing) == (Missing.NO_KEY_POINTS, Missing.NO_KEY_POINTS)
    assert given["lexical"].score == 10.0, "the reference reply still tells what the turns are about"


async def test_one_clip_has_nothing_to_be_coherent_with(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    scene: Any,
    verdicts: Callable[..., Any],
) -> None:
    single = tower.model_copy(update={"turns": tower.turns[:1]})
    given = await verdicts(played(single, replies_of(single), [film(scene)]), "look")
    assert given["look"].missing is Missing.NOT_APPLICABLE


async def test_blank_clips_are_not_coherent(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    scene: Any,
    plain_film: Callable[..., Path],
    verdicts: Callable[..., Any],
) -> None:
    given = await verdicts(played(tower, replies_of(tower), [film(scene), plain_film()]), "look")
    assert given["look"].missing is Missing.NO_PICTURE
    assert "turn 2" in given["look"].reasons


async def test_a_clip_that_is_gone_can_be_judged_later(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    scene: Any,
    tmp_path: Path,
    verdicts: Callable[..., Any],
) -> None:
    given = await verdicts(played(tower, replies_of(tower), [film(scene), tmp_path / "gone.mp4"]), "look")
    assert given["look"].missing is Missing.CLIP_UNREADABLE and given["look"].retryable
    assert "gone.mp4" in given["look"].reasons


async def test_repeated_judgements_are_equal_and_measured_once(
    tower: Scenario, played: Callable[..., PlayedConversation], film: Callable[..., Path], scene: Any
) -> None:
    calls = []

    class Counting(MediaPool):
        async def frames(self, path: Path, count: int, size: tuple[int, int]) -> Any:
            calls.append(path)
            return await super().frames(path, count, size)

    async with Counting() as pool:
        judge = Signals(pool, faces=False)
        await judge.start()
        conversation = played(tower, replies_of(tower), [film(scene), film(scene, 1)])
        given = [v async for v in judge.judge(conversation, [JudgeTask("look", sample) for sample in range(3)])]
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
    given = await verdicts(played(tower, replies_of(tower)), "lexical", "OIE")
    assert given["lexical"].score == 10.0 and given["OIE"].missing is Missing.NOT_MEASURABLE


# -- what must not be said, and what is nothing to look at ------------------------------------------------------------


async def test_what_must_not_be_said_spoils_its_turn(
    tower: Scenario, played: Callable[..., PlayedConversation], verdicts: Callable[..., Any]
) -> None:
    never = KeyPoint(text="It may be climbed by night", accept=("climb it at night",), must_not=True)
    first = tower.turns[0].model_copy(update={"key_points": (*tower.turns[0].key_points, never)})
    scenario = tower.model_copy(update={"turns": (first, tower.turns[1])})
    whole = replies_of(scenario)
    harmful = [f"{whole[0]} Go and climb it at night!", whole[1]]
    warned = [f"{whole[0]} Don't climb it at night.", whole[1]]
    scores = {}
    for name, replies in (("harmful", harmful), ("warned", warned), ("silent about it", whole)):
        given = await verdicts(played(scenario, replies), "kp-recall", "kp-memory")
        scores[name] = given["kp-recall"].score
        if name == "harmful":
            assert "must not be, so that nothing of its turn counts: “It may be climbed by night”" in (
                given["kp-recall"].reasons
            )
            assert given["kp-memory"].score == 10.0, "the other turn is not spoiled"
    assert scores == {"harmful": pytest.approx(1 + 9 * 2 / 5), "warned": 10.0, "silent about it": 10.0}


async def test_a_budget_of_words_is_part_of_the_identity(
    tower: Scenario, played: Callable[..., PlayedConversation]
) -> None:
    conversation = played(tower, replies_of(tower))
    scores = []
    for judge in (Signals(), Signals(word_budget=9)):
        (verdict,) = [v async for v in judge.judge(conversation, [JudgeTask("kp-recall")])]
        scores.append(verdict.score)
    assert scores == [10.0, pytest.approx(1 + 9 * 2 / 5)], "Eiffel, and 25 years"
    assert Signals(word_budget=9).identity()["word_budget"] == 9 and "word_budget" not in Signals().identity()
    with pytest.raises(UsageError, match="at least 1"):
        Signals(word_budget=0)


@pytest.mark.parametrize(
    ("what", "missing", "said"),
    [
        ("held", Missing.FROZEN, "Nothing moves in the clip of turn 2"),
        ("noise", Missing.NO_PICTURE, "turn 2: its frames are noise"),
        ("bars", Missing.NO_PICTURE, "turn 2: it shows the pure colours of a test card"),
    ],
)
async def test_what_can_t_look_the_same_is_missing_with_its_reason(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    filmed: Callable[..., Path],
    scene: Any,
    verdicts: Callable[..., Any],
    what: str,
    missing: Missing,
    said: str,
) -> None:
    given = await verdicts(played(tower, replies_of(tower), [film(scene), filmed(scene, what)]), "look")
    assert given["look"].missing is missing and said in given["look"].reasons


async def test_without_a_detector_it_is_said(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    scene: Any,
    verdicts: Callable[..., Any],
) -> None:
    given = await verdicts(played(tower, replies_of(tower), [film(scene), film(scene, 1)]), "look")
    assert "faces were not looked for" in given["look"].reasons and given["look"].evidence["faces"] is None
    judge = Signals()
    assert (judge.identity()["faces"] is None) == bool(judge.summary().get("remarks"))
    assert not Signals(faces=False).summary(), "it was asked for"


@pytest.mark.skipif(
    detector() is None, reason="no face detector here: `look` with faces is untested (interbench[faces])"
)
async def test_with_a_detector_somebody_must_be_there(
    tower: Scenario,
    played: Callable[..., PlayedConversation],
    film: Callable[..., Path],
    filmed: Callable[..., Path],
    scene: Any,
    tmp_path: Path,
    verdicts: Callable[..., Any],
) -> None:
    people = [tmp_path / "one.mp4", tmp_path / "other.mp4"]
    persona = load_set("all@1").personas["maya"]
    for seed, path in enumerate(people):
        render(path, persona, "Well, hello.", mood="warm", seed=seed)
    given = await verdicts(played(tower, replies_of(tower), people), "look", faces=True)
    assert given["look"].score > 9 and given["look"].evidence["faces"] == detector()
    assert "half of it around the face" in given["look"].reasons
    empty = await verdicts(
        played(tower, replies_of(tower), [people[0], filmed(scene, "empty room")]), "look", faces=True
    )
    assert empty["look"].missing is Missing.NO_FACE and "turn 2" in empty["look"].reasons
